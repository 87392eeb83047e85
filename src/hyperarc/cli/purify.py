"""The command that cleans faces by sub-centers."""

from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result


def purify(
    what: Annotated[str, typer.Argument(help="Recipe to train with sub-centers; or artifact folder; or a manifest.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes of a recipe.")] = None,
    sub_centers: Annotated[
        int | None, typer.Option(min=1, help="K of a recipe; default its own, or 3 where it has one.")
    ] = None,
    angle: Annotated[str, typer.Option(help="Faces further from their dominant center are dropped; or auto.")] = "75",
    data: Annotated[Path | None, typer.Option(help="Other faces of the same people, matched by name.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Look at faces as well that an earlier purification left out.")
    ] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Then train again on the rest, with K = 1.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Change names as proposed: split, move, merge.")] = False,
    decisions: Annotated[Path | None, typer.Option(help="Decisions that the report exported (JSON).")] = None,
    cosine: Annotated[
        float | None, typer.Option(help="From which on two centers are one person; by default chosen from the data.")
    ] = None,
    fewest_faces: Annotated[int, typer.Option(min=2, help="Faces of a split or move at least.")] = 5,
    truth: Annotated[Path | None, typer.Option(help="truth.parquet of known noise; default the recipe's.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; default runs/purify-NAME.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back marks and names in the manifest.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces per forward pass.")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Drop the faces that lie far from the dominant one of their person's sub-centers; mark them in a manifest."""
    from hyperarc.commands.polling import Polling
    from hyperarc.commands.purify import Purification, closing_line, undo_purify
    from hyperarc.commands.purify import purify as run_purify
    from hyperarc.commands.show import Show

    if undo:
        back = undo_purify(Path(what), run)
        text = f"{back['faces_taken_back']:,} of {back['faces']:,} faces kept again, {back['names_taken_back']:,} names"
        print_result(back, f"{text} taken back: {back['manifest']}", as_json)
        return
    asked = Purification(
        angle_deg=_angle(angle),
        sub_centers=sub_centers,
        data=data,
        again=again,
        truth=truth,
        cosine=cosine,
        fewest_faces=fewest_faces,
        apply=apply,
        decisions=decisions,
        retrain=retrain,
        polling=Polling(device, batch_size),
    )
    outcome = run_purify(what, overrides or [], asked, run, Show(quiet=quiet))
    if outcome is None:
        raise typer.Exit(130)
    print_result(outcome.facts, closing_line(outcome.facts), as_json)


def _angle(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        degrees = float(text)
    except ValueError:
        degrees = -1.0
    if not 0.0 < degrees <= 180.0:
        raise typer.BadParameter(f"--angle takes degrees, above 0 and at most 180, or auto; got {text!r}")
    return degrees
