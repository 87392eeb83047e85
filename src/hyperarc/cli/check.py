"""``hyperarc check`` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result


def check(
    data: Annotated[Path, typer.Argument(help="Faces: folder, zip, .rec, or a manifest (.parquet).")],
    out: Annotated[Path | None, typer.Option(help="Folder for results; default runs/check-NAME.")] = None,
    size: Annotated[int | None, typer.Option(help="Width and height in px that every picture must have.")] = None,
    min_faces: Annotated[int, typer.Option(min=1, help="People with fewer faces are left out.")] = 2,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Leave out these too: gray, blurred, tiny, blank, near-copy, conflict ...")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Artifact folder: compare embeddings, too; for copies, and people listed twice.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    undo: Annotated[str | None, typer.Option(help="Take back a kind of marks in manifest DATA, or 'all'.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find what is wrong with faces: unreadable, copies, exchanged colors ...; mark it in a manifest, draw a report."""
    from hyperarc.commands.check import CheckOptions, closing_line, undo_check
    from hyperarc.commands.check import check as run_check
    from hyperarc.commands.check_people import Artifact
    from hyperarc.commands.show import Show
    from hyperarc.data.checks.faults import FaultLimits

    if undo is not None:
        told = undo_check(data, undo, out)
        print_result(told, f"{told['changed']:,} of {told['faces']:,} faces changed: {told['manifest']}", as_json)
        return
    model = Artifact(artifact, device) if artifact else None
    options = CheckOptions(FaultLimits(size=size), min_faces, tuple(leave_out or ()), model)
    told = run_check(data, options, out, Show(quiet=quiet))
    print_result(told, closing_line(told), as_json)
