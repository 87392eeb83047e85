"""The commands that make sets of faces, look at them and turn them into other files."""

from pathlib import Path
from typing import Annotated

import typer

from hyperarc.cli.options import Json, Quiet, print_result


def align(
    source: Annotated[Path, typer.Argument(help="Folder of photos and videos, best person/photo; or a zip, .rec ...")],
    target: Annotated[Path, typer.Argument(help="Folder to make: crops, faces.parquet, align.csv, report.html.")],
    policy: Annotated[str, typer.Option(help="Which face of a photo: central, largest or all.")] = "central",
    size: Annotated[int, typer.Option(help="Height of a crop in pixels.")] = 112,
    template: Annotated[str, typer.Option(help="arcface_112 or sphereface_112x96.")] = "arcface_112",
    detector: Annotated[str, typer.Option(help="A detector's name, or its ONNX file.")] = "yunet",
    kind: Annotated[str, typer.Option(help="Files of the crops: jpg (quality 95), png or webp (lossless).")] = "jpg",
    every_s: Annotated[float, typer.Option(help="Videos: seconds between the frames looked at.", min=0.0)] = 1.0,
    leave_out_doubtful: Annotated[
        bool, typer.Option("--leave-out-doubtful", help="The manifest leaves doubtful crops out.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Photos looked at at a time.", min=1)] = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Detect faces in photos and cut them out, aligned; goes on where it was stopped."""
    from hyperarc.commands.align import Alignment
    from hyperarc.commands.align import align as run_align
    from hyperarc.commands.show import Show
    from hyperarc.faces.cutting import Cutting

    cutting = Cutting(policy=policy, size=size, template=template)
    asked = Alignment(cutting, detector, every_s, kind, leave_out_doubtful, threads)
    done = run_align(source, target, asked, Show(quiet=quiet))
    print_result(
        done,
        f"{target}: {done['faces']} faces of {done['photos_with_faces']} of {done['photos']} photos, "
        f"{done['doubtful']} doubtful\n"
        f"faces  {target / 'faces.parquet'}, with landmarks and marks\nreport {target / 'report.html'}",
        as_json,
    )


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
    from hyperarc.commands.check import check as run_check
    from hyperarc.commands.check import closing_line, undo_check
    from hyperarc.commands.check_people import Artifact
    from hyperarc.commands.checked import CheckOptions
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


def overlap(
    train: Annotated[Path, typer.Argument(help="Faces to train on: folder, zip, .rec or manifest (.parquet).")],
    test: Annotated[Path, typer.Argument(help="Faces to test with, likewise.")],
    artifact: Annotated[Path | None, typer.Option(help="Artifact folder; without it names alone are compared.")] = None,
    cosine: Annotated[
        float | None, typer.Option(help="From which on two people look alike; by default chosen from the data.")
    ] = None,
    names: Annotated[bool, typer.Option("--names/--no-names", help="Compare names.")] = True,
    faces_per_person: Annotated[int, typer.Option(min=1, help="Faces of a person that are embedded at most.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Folder for results; default runs/overlap-TRAIN-TEST.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the marks in manifest TRAIN that name TEST.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find people of a test set among those to train on, and mark them in the manifest."""
    from hyperarc.commands.comparison import Comparison
    from hyperarc.commands.overlap import closing_line, find_overlap, undo_overlap
    from hyperarc.commands.show import Show

    if undo:
        told = undo_overlap(train, test, out)
        text = f"{told['faces_taken_back']:,} of {told['faces']:,} faces kept again: {told['manifest']}"
        print_result(told, text, as_json)
        return
    if artifact is None and (cosine is not None or not names):
        raise typer.BadParameter("without --artifact names alone can be compared")
    comparison = Comparison(artifact, cosine, names, faces_per_person, device)
    told = find_overlap(train, test, comparison, out, Show(quiet=quiet))
    files = "\n".join(f"{name:<8} {told[name]}" for name in ("manifest", "table", "report"))
    print_result(told, f"{closing_line(told)}\n{files}", as_json)


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
    print_result(done, f"{target}: {done['faces']} faces", as_json)


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
    print_result(done, f"{target}: {done['faces']} faces", as_json)
