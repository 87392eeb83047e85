"""Files made to do harm: each ends as a result or as one HyperArcError, within bounds of memory and in its own folder.

Fuzzing of single formats stands with their tests; here are bombs, in processes that may not have more than some memory,
and whole files of every kind, changed at random.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperarc.data.drawn import draw_set
from hyperarc.data.face_set import open_faces
from hyperarc.data.manifest import manifest_of
from hyperarc.errors import HyperArcError, RecipeError
from hyperarc.faces.image import ImageLimits, decode
from hyperarc.recipe.file import load_recipe, parse_recipe

ROOM_MB = 700  # beyond what an interpreter with torch and pyarrow has mapped already
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

# Reads each path given in one process whose address space may not grow by more than some megabytes, and says how it
# ended; anything but a result or a HyperArcError comes out as a traceback.
READ_WITHIN = """
import json, resource, sys
import numpy as np
import torch
from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.pair_pack import PairPack
from hyperarc.data.verification import verify_faces
from hyperarc.errors import HyperArcError
from hyperarc.faces.image import decode
from hyperarc.recipe.file import load_recipe
room_mb, paths = int(sys.argv[1]), sys.argv[2:]
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + room_mb * 2**20,) * 2)
ends = {}
for path in paths:
    try:
        if path.endswith(".yaml"):
            load_recipe(path).to_yaml()
        elif path.endswith(".bin"):
            PairPack(path)
        elif path.endswith((".zip", ".rec", ".parquet", ".tar")):
            faces = open_faces(path)
            for row in range(min(len(faces), 8)):
                try:
                    faces.image(row)
                except HyperArcError:
                    pass
        else:
            decode(open(path, "rb").read())
        ends[path] = "read"
    except HyperArcError as error:
        ends[path] = str(error)
print(json.dumps(ends))
"""


def read_within(*paths: Path, room_mb: int = ROOM_MB) -> list[str]:
    """How reading each path ended."""
    pytest.importorskip("resource")
    if not Path("/proc/self/statm").is_file():
        pytest.skip("the memory of a process is not told here")
    command = [sys.executable, "-c", READ_WITHIN, str(room_mb), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    ends: dict[str, str] = json.loads(done.stdout)
    return [ends[str(path)] for path in paths]


def encoded(kind: str, side: int = 40, **options: Any) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def nothing_written_outside(folder: Path) -> Iterator[None]:
    """Beside ``folder`` nothing may appear."""
    before = sorted(folder.parent.iterdir())
    yield
    assert sorted(folder.parent.iterdir()) == before


# ---- bombs


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int, *chunks: bytes, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def deflated_zeros(count: int) -> bytes:
    """A zlib stream of so many zeros (whole MiB), made of one MiB repeated: after a full flush it says the same."""
    squeeze, block = zlib.compressobj(9), bytes(2**20)
    first = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    again = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    adler = (count % 65521) << 16 | 1
    return first + again * ((count >> 20) - 1) + b"\x03\0" + struct.pack(">I", adler)


def test_streams_of_zeros_are_sound() -> None:
    assert zlib.decompress(deflated_zeros(3 << 20)) == bytes(3 << 20)


@pytest.fixture(scope="module")
def gigabyte() -> bytes:
    return deflated_zeros(2**30)


def test_picture_bombs(gigabyte: bytes, tmp_path: Path) -> None:
    tiff = encoded("TIFF")
    wide = tiff.replace(struct.pack("<HHI", 256, 4, 1) + struct.pack("<I", 40), struct.pack("<HHII", 256, 4, 1, 2**31))
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x01\0\0;"
    bombs = {
        "text.png": png(8, chunk(b"zTXt", b"a\0\0" + gigabyte), pixels=zlib.compress(bytes(8 * 25))),
        "profile.png": png(8, chunk(b"iCCP", b"a\0\0" + gigabyte), pixels=zlib.compress(bytes(8 * 25))),
        "pixels.png": png(64, pixels=gigabyte),
        "sides.png": png(60_000, pixels=gigabyte),
        "sides.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf0\0\0" + bytes(6) + frame,
        "sides.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 6, 0, 0, 0, 0),
        "sides.tiff": wide,
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        assert len(content) < 3_000_000
    ends = dict(zip(bombs, read_within(*(tmp_path / name for name in bombs)), strict=True))
    for name in ("sides.png", "sides.gif", "sides.bmp"):
        assert "expected a picture of at most" in ends[name], ends[name]


def zip_of(path: Path, name: str, stream: bytes, size: int, crc: int) -> Path:
    """A zip whose one member has a given deflated stream, size and checksum, true or not."""
    raw = name.encode()
    about = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, crc, len(stream), size, len(raw), 0)
    local = b"PK\x03\x04" + about + raw + stream
    central = b"PK\x01\x02" + struct.pack("<H", 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, 0) + raw
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path


def test_zip_bombs(gigabyte: bytes, tmp_path: Path) -> None:
    stream = gigabyte[2:-4]  # raw deflate
    honest = zip_of(tmp_path / "honest.zip", "ann/1.png", stream, 2**30, 0)
    liar = zip_of(tmp_path / "liar.zip", "ann/1.png", stream, 200, 0)
    ends = read_within(honest, liar)
    assert "has 1073741824 bytes; at most 67108864 are accepted" in ends[0]
    assert ends[1] == "read"  # the directory was; the face is damaged
    with pytest.raises(HyperArcError, match="damaged zip member: expected 200 bytes"):
        open_faces(liar).read(0)


def test_overlapping_members_share_no_more_than_their_limit(tmp_path: Path) -> None:
    """Many names for one stretch of the file (Fifield, 2019): each is inflated alone, when it is asked for."""
    stream = deflated_zeros(16 << 20)[2:-4]
    names = [f"ann/{number:05d}.png".encode() for number in range(2000)]
    local = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(stream), 16 << 20, len(names[0]), 0)
    body = b"PK\x03\x04" + local + names[0] + stream
    central = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + local + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name for name in names
    )
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(central), len(body), 0)
    (tmp_path / "overlap.zip").write_bytes(body + central + end)
    assert read_within(tmp_path / "overlap.zip", room_mb=300)[0]


@pytest.mark.parametrize("offset", [2**32 - 2, 2**31, 10**6])
def test_members_that_begin_elsewhere(offset: int, tmp_path: Path) -> None:
    content = bytearray(zip_of(tmp_path / "set.zip", "ann/1.png", b"\x03\0", 0, 0).read_bytes())
    at = content.rfind(b"PK\x01\x02") + 42
    content[at : at + 4] = struct.pack("<I", offset)
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(HyperArcError, match=r"set\.zip:ann/1\.png: damaged zip member: no member header"):
        open_faces(tmp_path / "set.zip").read(0)


def test_a_zip_within_a_zip_is_no_folder(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("bob/1.png", encoded("PNG"))
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("ann/1.png", encoded("PNG"))
        archive.writestr("ann/inner.zip", inner.getvalue())
    assert open_faces(tmp_path / "outer.zip").manifest.people == ("ann",)


def lengths_that_lie() -> dict[str, bytes]:
    magic = struct.pack("<I", 0xCED7230A)
    return {
        "train.rec": magic + struct.pack("<I", 2**29 - 1) + struct.pack("<IfQQ", 0, 0.0, 1, 0) + bytes(8),
        "string.bin": b"\x80\x03T" + struct.pack("<I", 2**31 - 1) + b"abc.",
        "bytes.bin": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        "frame.bin": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"].",
        "memo.bin": b"\x80\x03]r" + struct.pack("<I", 2**32 - 1) + b".",
    }


def test_lengths_that_lie(tmp_path: Path) -> None:
    for name, content in lengths_that_lie().items():
        (tmp_path / name).write_bytes(content)
    ends = read_within(*(tmp_path / name for name in lengths_that_lie()))
    assert "read" not in ends


# ---- recipes


LAUGHS = "".join(f"    {new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in ("ab", "bc", "cd", "de", "ef"))
HEAD = "name: x\ndata: {drawn: {}}\n"
HOSTILE_YAML = {
    "laughs": HEAD + "backbone:\n  arguments:\n    a: &a [lol, lol]\n" + LAUGHS,
    "merges": "a: &a {k: 1}\n" + LAUGHS.replace("    ", "").replace("[", "{<<: [").replace("]", "]}") + HEAD,
    "circle": HEAD + "backbone: {arguments: &a {b: *a}}",
    "number": "seed: 0x" + "f" * 300_000 + "\n" + HEAD,
    "sixties": "seed: 1" + ":59" * 100_000 + "\n" + HEAD,
    "digits": "seed: " + "9" * 300_000 + "\n" + HEAD,
    "exponent": HEAD + "optimizer: {lr: 1e999999999}",
    "nesting": HEAD + "backbone: {arguments: {a: " + "[" * 20_000 + "]" * 20_000 + "}}",
    "keys": HEAD + "".join(f"key{number}: 1\n" for number in range(3000)),
    "long key": HEAD + "? " + "y" * 300_000 + "\n: 1\n",
    "python": HEAD + "seed: !!python/object/apply:os.mkdir [made]",
    "new": HEAD + "seed: !!python/object/new:type [x, [], {}]",
    "module": HEAD + "seed: !!python/module:antigravity ''",
}


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_recipes_are_refused_in_few_words(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(HOSTILE_YAML[name])
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert len(str(caught.value)) < 4000
    assert sorted(tmp_path.iterdir()) == [path]


def test_anchors_alone_are_harmless_and_values_that_occur_twice_come_back(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(HEAD + "seed: &s 3\n")
    assert load_recipe(str(path)).seed == 3
    twice = [1, 2]
    content = {"name": "x", "data": {"drawn": {}}, "backbone": {"arguments": {"a": twice, "b": twice}}}
    recipe = parse_recipe(content, where="here")
    path.write_text(recipe.to_yaml())
    assert load_recipe(str(path)) == recipe


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_recipe_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    text = bytearray(load_recipe("demo", ["data.augmentation=occluded"]).to_yaml().encode()[:700])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from([b"*", b"&a", b"!!", b"[", b"{", b": ", b"\n", b"\0", b"-", b"0x", b"\xff", b"~", b"'", b"9" * 40]))  # fmt: skip  # noqa: E501
    (tmp_path / "recipe.yaml").write_bytes(text)
    with contextlib.suppress(HyperArcError):
        load_recipe(str(tmp_path / "recipe.yaml")).to_yaml()


# ---- files of faces, changed at random


def changed(data: st.DataObject, good: bytes, *, front: int = 200) -> bytes:
    """A file with some bytes exchanged, mostly near its front, and perhaps cut or with a part repeated."""
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        last = len(content) - 1 if data.draw(st.booleans()) else min(front, len(content) - 1)
        content[data.draw(st.integers(0, last))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, *b"PK*&"]))
    if data.draw(st.booleans()):
        start, length = data.draw(st.integers(0, len(content))), data.draw(st.integers(0, 200))
        content[start:start] = content[start : start + length]
    return bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_any_picture_is_read_or_refused(data: st.DataObject, kind: str) -> None:
    content = changed(data, encoded(kind))
    with contextlib.suppress(HyperArcError):
        pixels = decode(content, limits=ImageLimits(pixels=10**6))
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("zip") / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"ann/{number}.png", encoded("PNG", 8))
        archive.writestr("bob/1.bmp", encoded("BMP", 8))
    return path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_zip_is_read_or_refused(data: st.DataObject, packed: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    back = data.draw(st.booleans())  # the directory stands at the end
    content = changed(data, packed[::-1], front=400)[::-1] if back else changed(data, packed)
    (folder / "set.zip").write_bytes(content)
    with nothing_written_outside(folder), contextlib.suppress(HyperArcError):
        faces = open_faces(folder / "set.zip")
        for row in range(len(faces)):
            with contextlib.suppress(HyperArcError):
                faces.image(row)
    assert [path.name for path in folder.iterdir()] == ["set.zip"]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("manifest") / "faces.parquet"
    faces = [f"{person}/{number}.png" for person in ("ann", "bob") for number in range(20)]
    manifest_of(faces, [face[:3] for face in faces], source="set", size=(112, 112)).write(path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_manifest_is_read_or_refused(data: st.DataObject, listed: bytes, tmp_path: Path) -> None:
    from hyperarc.data.manifest import read_manifest

    content = changed(data, listed[::-1], front=3000)[::-1] if data.draw(st.booleans()) else changed(data, listed)
    (tmp_path / "faces.parquet").write_bytes(content)
    with contextlib.suppress(HyperArcError):
        manifest = read_manifest(tmp_path / "faces.parquet")
        assert len(list(manifest.rows)) == len(manifest)
        manifest.relabelled()


def test_crops_of_hostile_sources_do_not_stop_the_others(tmp_path: Path) -> None:
    """One bad face among good ones is left out by name; the rest is trained on."""
    from hyperarc.data.verification import verify_faces

    good = draw_set(people=2, faces_per_person=2, seed=0).images
    for number, face in enumerate(good):
        place = tmp_path / "set" / f"p{number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place)
    (tmp_path / "set" / "p0" / "bomb.png").write_bytes(png(60_000, pixels=deflated_zeros(1 << 20)))
    faces = open_faces(tmp_path / "set")
    verified = verify_faces(faces.sources, faces.manifest, size=112)
    assert int(verified.keep.sum()) == 4
    assert [row.face for row in verified.rows if not row.keep] == ["p0/bomb.png"]
