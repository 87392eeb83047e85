"""The command line: parse, call one command, show. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped.

Commands are imported when they run, so that ``hyperarc --help`` answers at once. For that, too, no file here has
``from __future__ import annotations``: typer would compile the text of every annotation.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hyperarc import __version__
from hyperarc.cli.angles import angles
from hyperarc.cli.calibration import calibrate
from hyperarc.cli.evaluation import evaluate
from hyperarc.cli.faces import align, check, overlap, pack, unpack
from hyperarc.cli.invert import invert
from hyperarc.cli.judging import count
from hyperarc.cli.options import Json, Quiet
from hyperarc.cli.options import print_result as _print
from hyperarc.cli.purify import purify
from hyperarc.errors import HyperArcError, UsageError


class Commands(TyperGroup):
    """Lists commands, and tells of wrong words, without Rich, whose import takes longer than all else of ``--help``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "rich_markup_mode": None})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Wrapped where Click would cut."""
        with formatter.section("Commands"):
            told = [(name, self.commands[name].get_short_help_str(1000)) for name in self.list_commands(ctx)]
            formatter.write_dl(told)


app = typer.Typer(
    cls=Commands,
    help="Margin-based face recognition: train, judge and use embeddings of the ArcFace family.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"hyperarc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and end.")
    ] = False,
) -> None:
    """What stands before a command."""


Overrides = Annotated[list[str] | None, typer.Argument(help="key=value changes, such as head.margin=cosface.")]
Triple = tuple[float, float, float]


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
    estimate: Annotated[bool, typer.Option("--estimate", help="Do not train: tell what memory it would take.")] = False,
    people: Annotated[int | None, typer.Option(help="With --estimate: so many, instead of the data's.")] = None,
    processes: Annotated[int | None, typer.Option(help="With --estimate: that train together.")] = None,
    memory_gb: Annotated[float | None, typer.Option(help="With --estimate: GiB that a process may hold.")] = None,
    device: Annotated[str | None, typer.Option(help="With --estimate: cpu or cuda, here or not.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe; the run folder holds log, checkpoints, artifact and report."""
    from hyperarc.commands.report import report_runs
    from hyperarc.commands.show import Show
    from hyperarc.commands.train import Start
    from hyperarc.commands.train import train as run_train
    from hyperarc.recipe.file import load_recipe

    content = load_recipe(recipe, overrides or [])
    folder = run or Path("runs") / content.name
    show = Show(quiet=quiet)
    if estimate:
        from hyperarc.commands.estimate import Planned, estimate_text, estimate_training

        told = estimate_training(content, Planned(people, processes, memory_gb, device), show)
        _print(told, estimate_text(told), as_json)
        return
    trained = run_train(content, folder, Start(resume, from_), show)
    if not trained.finished:
        raise typer.Exit(130)
    if not trained.leads:
        return
    title = f"HyperArc: {content.name}"
    report = report_runs(title, content.description, {content.name: trained}, folder / "report.html")
    lines = [f"{judgement.result.name}: {judgement.headline()}" for judgement in trained.judgements]
    _print(
        {"run": str(folder), "report": str(report), **trained.facts, "results": trained.results()},
        "\n".join([*lines, f"artifact {folder / 'artifact'}", f"report   {report}"]),
        as_json,
    )


@app.command()
def embed(
    data: Annotated[Path, typer.Argument(help="Aligned faces: folder, zip, .rec, or a manifest (.parquet).")],
    out: Annotated[Path, typer.Argument(help="A .parquet, or a .npy with its table of faces beside it.")],
    artifact: Annotated[Path, typer.Option(help="Artifact folder.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Faces per forward pass.")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode while the model works.")] = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Embed every kept face, with its norm; started again after a kill it goes on, to the same bytes."""
    from hyperarc.commands.embed import Job
    from hyperarc.commands.embed import embed as run_embed
    from hyperarc.commands.show import Show

    done = run_embed(data, out, Job(artifact, device, batch_size, workers), Show(quiet=quiet))
    _print(done, f"{out}: {done['faces']} faces, {done['embedding_dim']}-d, contract {done['contract']}", as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="ONNX file, or weights: .pth .pt .ckpt .safetensors")],
    out: Annotated[Path, typer.Argument(help="Artifact folder to make.")],
    backbone: Annotated[str | None, typer.Option(help="That the weights are of; default whichever fits.")] = None,
    like: Annotated[str | None, typer.Option(help="Color, mean and std of arcface_torch, adaface, mxnet ...")] = None,
    color: Annotated[str | None, typer.Option(help="rgb or bgr: the order the model was trained with.")] = None,
    mean: Annotated[Triple | None, typer.Option(help="Per channel, gray levels 0..255.")] = None,
    std: Annotated[Triple | None, typer.Option(help="Per channel: input = (pixel - mean) / std.")] = None,
    template: Annotated[str | None, typer.Option(help="Landmark template; default by the crop's shape.")] = None,
    flip: Annotated[str, typer.Option(help="sum: add the embedding of the mirror image; none: do not.")] = "sum",
    height: Annotated[int | None, typer.Option(help="Crop, in px, where the file leaves it open.")] = None,
    width: Annotated[int | None, typer.Option(help="As --height.")] = None,
    output: Annotated[str | None, typer.Option(help="Output to take, where several may be the embedding.")] = None,
    source: Annotated[str | None, typer.Option(help="Where the file came from, for the card.")] = None,
    licence: Annotated[str, typer.Option(help="Of the weights, for the card.")] = "unknown",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an artifact of an ONNX file or of weights, checked by running it, for every command that takes one."""
    from hyperarc.commands.importing import Stated, import_model
    from hyperarc.commands.show import Show

    pixels = {"color": color, "mean": mean, "std": std, "template": template, "flip": flip}
    card = {"source": source or file.name, "licence": licence}
    stated = Stated(like, pixels, (height, width), output, backbone, card)
    done = import_model(file, out, stated, Show(quiet=quiet))
    lines = [f"{name:14} {value}" for name, value in done["contract"].items()]
    _print(done, "\n".join([*lines, f"artifact {out}, contract {done['digest']}"]), as_json)


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


for command in (evaluate, align, angles, calibrate, check, count, invert, overlap, pack, purify, unpack):
    app.command()(command)


def main() -> None:
    """Run the command line; an error that the user can mend is one paragraph and exit code 1, of wrong usage 2."""
    # Huge pages halve the time of large heads on CPU; torch reads the switch when it is loaded.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app()
    except HyperArcError as error:
        print(f"hyperarc: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # of files that no command expected to fail: no permission, a full disk behind a pipe
        what = error.strerror or str(error)
        print(f"hyperarc: {error.filename}: {what}" if error.filename else f"hyperarc: {what}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
