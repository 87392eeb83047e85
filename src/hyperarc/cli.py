"""The command line: parse, call one command, show. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped.

Commands are imported when they run, so that ``hyperarc --help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperarc.errors import HyperArcError, UnknownNameError

app = typer.Typer(
    help="Margin-based face recognition: train, judge and use embeddings of the ArcFace family.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="key=value changes, such as head.margin=cosface.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No notes and no progress bars.")]


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="Where the demo works and leaves its report.")] = Path("runs/demo"),
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw faces, train ArcFace and norm-softmax on them, judge both on new people, write one HTML report."""
    from hyperarc.commands.demo import demo as run_demo
    from hyperarc.commands.show import Show

    done = run_demo(run, overrides or [], Show(quiet=quiet))
    if done.facts is None:
        raise typer.Exit(130)
    _print(done.facts, done.closing_line, as_json)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/RECIPE.")] = None,
    resume: Annotated[str | None, typer.Option(help="'auto' for the newest checkpoint, or a checkpoint file.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Artifact to fine-tune.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe; the run folder holds log, checkpoints, artifact and report."""
    from hyperarc.commands.report import report_runs
    from hyperarc.commands.show import Show
    from hyperarc.commands.train import Start
    from hyperarc.commands.train import train as run_train
    from hyperarc.recipe_file import load_recipe

    content = load_recipe(recipe, overrides or [])
    folder = run or Path("runs") / content.name
    show = Show(quiet=quiet)
    trained = run_train(content, folder, Start(resume, from_), show)
    if not trained.finished:
        raise typer.Exit(130)
    title = f"HyperArc: {content.name}"
    report = report_runs(title, content.description, {content.name: trained}, folder / "report.html")
    lines = [f"{judgement.result.name}: {judgement.headline()}" for judgement in trained.judgements]
    _print(
        {"run": str(folder), "report": str(report), **trained.facts, "results": trained.results()},
        "\n".join([*lines, f"artifact {folder / 'artifact'}", f"report   {report}"]),
        as_json,
    )


@app.command()
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder.")],
    protocol: Annotated[str, typer.Option(help="lfw, cfp_ff, cfp_fp, pairs or drawn.")],
    data: Annotated[str | None, typer.Option(help="Folder, zip or .rec of aligned faces, or a .bin.")] = None,
    pairs: Annotated[str | None, typer.Option(help="pairs.txt, CFP's folder, or a CSV; a .bin needs none.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes; default beside the artifact.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge an artifact by a protocol and write a report."""
    from hyperarc.commands.evaluate import evaluate as run_evaluate
    from hyperarc.commands.report import report_judgement
    from hyperarc.commands.show import Show

    asked = {"protocol": protocol, "faces": data, "pairs": pairs}
    judgement = run_evaluate(artifact, asked, device, Show(quiet=quiet))
    report = report_judgement(judgement, out or artifact.parent / f"evaluation-{protocol}.html")
    _print(judgement.result.as_dict(), f"{judgement.result.name}: {judgement.headline()}\nreport {report}", as_json)


@app.command()
def plots(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures, or losses such as arcface; none draws all comparing figures.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("runs/plots"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw the losses: target-logit curves, decision boundaries, gradients, a toy in two dimensions; SVG and PNG."""
    from hyperarc.commands.plots import plots as run_plots
    from hyperarc.commands.show import Show

    written = run_plots(names or [], out, Show(quiet=quiet))
    figures = {name: [str(path) for path in paths] for name, paths in written.items()}
    _print({"figures": figures}, "\n".join(path for paths in figures.values() for path in paths), as_json)


@app.command()
def pack(
    source: Annotated[str, typer.Argument(help="Faces of any kind: folder, zip, tar, .rec, Parquet, list, manifest.")],
    target: Annotated[Path, typer.Argument(help="X.zip, X.tar, X.parquet, or a folder for train.rec; of pairs X.bin.")],
    to: Annotated[str | None, typer.Option(help="rec, zip, tar, parquet, folder or list; else by the ending.")] = None,
    shard_faces: Annotated[int | None, typer.Option(help="A folder of tar or Parquet shards of so many faces.")] = None,
    shard_mb: Annotated[float | None, typer.Option(help="The same, of so many MiB at most.")] = None,
    shuffle: Annotated[int | None, typer.Option(help="Seed of a random order of the faces; not for rec.")] = None,
    pairs: Annotated[str | None, typer.Option(help="pairs.txt, CFP's protocol folder, or a CSV a,b,same.")] = None,
    protocol: Annotated[str, typer.Option(help="Of the pairs: lfw, cfp_ff, cfp_fp or pairs.")] = "pairs",
    flat: Annotated[bool, typer.Option("--flat", help="Every record a face, without records of people.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pack faces into one file or folder: train.rec, zip, tar shards, Parquet; or pairs of faces into a .bin."""
    from hyperarc.commands.pack import kind_of, pack_faces, pack_pairs
    from hyperarc.commands.show import Show
    from hyperarc.data.formats.face_writer import ShardLimits
    from hyperarc.data.packing import Packing

    if pairs is None:
        shards = ShardLimits(shard_faces, None if shard_mb is None else int(shard_mb * 2**20))
        packing = Packing(to or kind_of(target), shards, flat, shuffle)
        done = pack_faces(source, target, Show(quiet=quiet), packing)
    else:
        done = pack_pairs({"protocol": protocol, "faces": source, "pairs": pairs}, target, Show(quiet=quiet))
    _print(done, f"{target}: {done['faces']} faces", as_json)


@app.command()
def unpack(
    source: Annotated[str, typer.Argument(help="Faces of any kind, or a .bin of pairs.")],
    target: Annotated[Path, typer.Argument(help="Folder to make: person/face; of a .bin faces/ and pairs.csv.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Unpack faces of any kind into person folders, or a .bin into faces and their list of pairs."""
    from hyperarc.commands.show import Show
    from hyperarc.commands.unpack import unpack as run_unpack

    done = run_unpack(source, target, Show(quiet=quiet))
    _print(done, f"{target}: {done['faces']} faces", as_json)


def main() -> None:
    """Run the command line; an error that the user can mend is one paragraph and exit code 1, of a name 2."""
    # Huge pages halve the time of large heads on CPU; torch reads the switch when it is loaded.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app()
    except HyperArcError as error:
        print(f"hyperarc: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UnknownNameError) else 1)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _print(content: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(content, indent=2, default=str) if as_json else text)
