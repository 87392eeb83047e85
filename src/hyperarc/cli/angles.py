"""``hyperarc angles``."""

from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result


def angles(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifact folders; several stand side by side.")],
    data: Annotated[str | None, typer.Option(help="Other faces, such as LFW: Intra2, Inter2.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Faces trained on: W-EC, Intra1, Inter1; 'auto': the run's own manifest.")
    ] = None,
    embeddings: Annotated[
        list[Path] | None, typer.Option(help="Instead of --data, a file that hyperarc embed wrote; one an artifact.")
    ] = None,
    train_embeddings: Annotated[list[Path] | None, typer.Option(help="The same, instead of --train.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of a kind whose angles are drawn, at most.")] = 200_000,
    people: Annotated[int, typer.Option(min=0, help="Widest and nearest people that are shown.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the pairs, where there are more.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for results; default runs/angles-NAMES.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Faces per forward pass.")] = 32,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode while the model works.")] = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Angles within and between people, of pairs, and to class centers: Table 3 of the ArcFace paper."""
    from hyperarc.commands.angle_faces import Source
    from hyperarc.commands.angles import AngleJob, closing_text
    from hyperarc.commands.angles import angles as run_angles
    from hyperarc.commands.embed import Job
    from hyperarc.commands.show import Show
    from hyperarc.protocols.angles import Asked

    for faces, files, name in ((data, embeddings, "data"), (train, train_embeddings, "train")):
        if faces and files:
            other = "--embeddings" if name == "data" else "--train-embeddings"
            raise typer.BadParameter(f"give --{name} or {other}, not both")
    sources = (Source(train, tuple(train_embeddings or ())), Source(data, tuple(embeddings or ())))
    embedding = Job(Path(), device, batch_size, workers)
    job = AngleJob(tuple(artifacts), *sources, out, Asked(pairs, seed, people), embedding)
    facts = run_angles(job, Show(quiet=quiet))
    print_result(facts, closing_text(facts), as_json)
