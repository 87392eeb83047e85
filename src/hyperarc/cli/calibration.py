"""The command that calibrates an artifact."""

from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result


def calibrate(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder; calibration.json is written into it.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="The protocol's own, such as count=20000.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder, zip or .rec of aligned faces, or a .bin.")] = None,
    pairs: Annotated[str | None, typer.Option(help="Pairs: rows a, b, same; or the protocol's own files.")] = None,
    protocol: Annotated[str | None, typer.Option(help="lfw, cfp_fp ...; default pairs, without a list folder.")] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Thresholds from all pairs of the faces.")] = False,
    far: Annotated[list[float] | None, typer.Option(help="False accept rates; default 1e-1, 1e-2 ... 1e-6.")] = None,
    map_: Annotated[str, typer.Option("--map", help="To probabilities: isotonic, or logistic for few.")] = "isotonic",
    prior: Annotated[float, typer.Option(help="Share of genuine pairs assumed where probabilities are used.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of pairs that are drawn, and of folds.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where the report goes; default beside the artifact.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Replace a calibration that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what an artifact's cosines mean: thresholds per FAR with intervals, and probabilities; kept in it."""
    from hyperarc.commands.calibrate import Job, calibrate_artifact
    from hyperarc.commands.calibrate_report import facts_of, report_calibration, text_of
    from hyperarc.commands.show import Show
    from hyperarc.protocols.calibration import FARS, Asked
    from hyperarc.recipe.file import read_values

    own = read_values(arguments or [])
    fields = {"protocol": protocol, "faces": data, "pairs": pairs, "seed": seed, "arguments": own}
    job = Job(artifact, fields, Asked(far or FARS, map_, prior, seed), all_pairs, device, force)
    done = calibrate_artifact(job, Show(quiet=quiet))
    name = "" if artifact.name == "artifact" else f"-{artifact.name}"
    page = out or artifact.parent / f"calibration{name}.html"
    report = report_calibration(done, name.removeprefix("-") or "an artifact", page)
    text = f"{text_of(done.calibrated.calibration)}\ncalibration {done.path}\nreport {report}"
    print_result(facts_of(done, report), text, as_json)
