"""The commands that judge embeddings which are there already."""

from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result

People = Annotated[Path | None, typer.Option(help="List 'path person', -1 for strangers; else the file's own table.")]


def count(
    files: Annotated[list[Path], typer.Argument(help="Embeddings (.parquet, .npy, .bin); with --merge counts files.")],
    gallery: Annotated[Path | None, typer.Option(help="Other side; else they are compared among themselves.")] = None,
    people: People = None,
    gallery_people: People = None,
    among_probes: Annotated[str, typer.Option(help="With --gallery, these count too: all, genuine or none.")] = "none",
    far: Annotated[list[float] | None, typer.Option(help="False accept rate, several times; 1e-3 to 1e-6.")] = None,
    hardest: Annotated[int, typer.Option(min=0, help="Pairs to list, of either kind.")] = 0,
    shard: Annotated[str | None, typer.Option(help="Count only this part, such as 3/8, into --counts.")] = None,
    counts: Annotated[Path | None, typer.Option(help="File where counts are kept; a killed run goes on there.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Make one result of the counts of all shards.")] = False,
    out: Annotated[Path | None, typer.Option(help="Page to write; default beside the first file.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...; under torchrun cuda is each one's own.")] = "cpu",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8; no number depends on it.")] = "auto",
    memory_mb: Annotated[float | None, typer.Option(help="For vectors on the device; default 1024, or half.")] = None,
    caution: Annotated[float, typer.Option(min=1.0, help="Wider windows, where shards missed a threshold.")] = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count all pairs of embeddings, up to trillions: TAR at FAR, exactly; on several processes or many machines."""
    from hyperarc.commands import count as run
    from hyperarc.commands.show import Show
    from hyperarc.metrics.all_pairs import Execution, Wanted

    page = out or files[0].with_name(f"{files[0].stem}-pairs.html")
    if merge:
        told = run.merge(files, page)
        print_result(told, run.closing_line(told), as_json)
        return
    if len(files) != 1:
        raise typer.BadParameter("one file of embeddings is counted at a time; --gallery names another side")
    if shard is not None and counts is None:
        raise typer.BadParameter("a shard needs --counts FILE")
    wanted = Wanted(tuple(far) if far else Wanted.fars, hardest, False, among_probes, caution)  # type: ignore[arg-type]
    execution = Execution(device, precision, memory_mb, counts)  # type: ignore[arg-type]
    sides, show = run.Sides(files[0], gallery, (people, gallery_people)), Show(quiet=quiet)
    if shard is not None:
        done = run.count_one_shard(sides, run.parse_shard(shard), wanted, execution, show)
        print_result(done, f"shard {done['shard']} is counted: {done['counts']}", as_json)
    elif found := run.count(sides, wanted, execution, page, show):
        print_result(found, run.closing_line(found), as_json)
