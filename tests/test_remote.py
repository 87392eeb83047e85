"""Tar shards read from a web server: by ranges, from few blocks, and whatever a server may answer."""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.face_writer import ShardLimits
from hyperarc.data.formats.http_bytes import BlockCache, HttpBytes, RemoteLimits, as_text, shown
from hyperarc.data.formats.tar_index import INDEX
from hyperarc.data.formats.tar_source import TarSource
from hyperarc.data.loader import Loader
from hyperarc.data.packing import Packing, pack
from hyperarc.data.shard_order import ShardOrder, Streams, places_of
from hyperarc.data.sources import ArraySource, open_source
from hyperarc.data.training_set import open_training_set
from hyperarc.errors import DataError
from hyperarc.recipe import Data

QUICK = RemoteLimits(block_bytes=4096, cache_bytes=16384, timeout_s=5, tries=3, pause_s=0.01)


class Store:
    """An object store on this machine; ``mood`` says how it misbehaves."""

    def __init__(self, root: Path) -> None:
        self.root, self.mood, self.asked = root, "", list[tuple[str, str]]()
        self.bad_answers = 10**9  # how often it misbehaves
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                store.answer(self)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def answer(self, ask: BaseHTTPRequestHandler) -> None:
        path, asked = ask.path.partition("?")[0], ask.headers.get("Range", "")
        self.asked.append((ask.path, asked))
        usual = {"range", "accept-encoding", "host", "user-agent", "connection"}
        assert {name.lower() for name in ask.headers} <= usual
        file = self.root / path.lstrip("/")
        mood = self.mood if self.bad_answers > 0 else ""
        self.bad_answers -= 1
        if mood.startswith("to "):
            ask.send_response(302)
            ask.send_header("Location", mood[3:])
            ask.send_header("Content-Length", "0")
            ask.end_headers()
            return
        if mood.isdigit() or not file.is_file():
            ask.send_response(int(mood) if mood.isdigit() else 404)
            ask.send_header("Content-Length", "0")
            ask.end_headers()
            return
        data, found = file.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        assert found
        start, end = int(found[1]), min(int(found[2]), len(data) - 1)
        part = data if mood == "no ranges" else data[start : end + 1]
        said = f"bytes {start + (mood == 'other part')}-{end}/{len(data)}"
        ask.send_response(200 if mood == "no ranges" else 206)
        ask.send_header("Content-Range", "nonsense" if mood == "nonsense" else said)
        ask.send_header("ETag", f'"{hash(data)}"')
        length = len(part) if mood != "long" else len(part) + 10
        ask.send_header("Content-Length", str(length))
        ask.send_header("Connection", "close")
        ask.end_headers()
        ask.wfile.write(part[: len(part) // 2] if mood == "cut off" else part + b"x" * (length - len(part)))
        ask.close_connection = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "store")
    one.root.mkdir()
    yield one
    one.server.shutdown()
    one.server.server_close()
    one.thread.join()


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def fill(store: Store) -> None:
    """Four shards of five faces each, and their index, as ``hyperarc pack`` makes them."""
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    source = ArraySource(images, [f"p{row % 4}" for row in range(20)])
    store.root.rmdir()
    pack(FaceSet((source,), source.scan()), store.root, Packing("tar", ShardLimits(faces=5), shuffle=1))


def test_shards_are_read_by_their_index(store: Store) -> None:
    fill(store)
    here = open_source(store.root)
    far = open_source(f"{store.url}/{{000000..000003}}.tar")
    assert [path for path, _ in store.asked] == [f"/{INDEX}"] * 2  # its size, its bytes: no shard was touched
    manifest = far.scan()
    columns = ["face", "person", "label"]
    assert manifest.table.select(columns).equals(here.scan().table.select(columns))
    assert manifest.findings == ()
    for face in manifest.faces(np.arange(20)):
        assert far.read(face) == here.read(face)
    again = pickle.loads(pickle.dumps(far))
    assert again.image(manifest.row(7).face).shape == (32, 32, 3)


def test_without_an_index_shards_are_read_through_once(store: Store) -> None:
    fill(store)
    (store.root / INDEX).unlink()
    far = TarSource(f"{store.url}/{{000001..000002}}.tar", remote=QUICK)
    assert [str(found) for found in far.scan().findings] == [
        f"{far.name}: 2 shards without a fitting index read through once: '000001.tar', '000002.tar'"
    ]
    for face in far.scan().faces(np.arange(10)):
        assert far.read(face) == open_source(store.root).read(face)
    single = open_source(f"{store.url}/000001.tar")
    assert len(single.scan()) == 5


def test_blocks_are_kept_and_let_go(store: Store) -> None:
    (store.root / "a").write_bytes(bytes(range(256)) * 100)
    cache = BlockCache(QUICK.cache_bytes)
    file = HttpBytes(f"{store.url}/a", cache, 25_600, QUICK)
    whole = (store.root / "a").read_bytes()
    for offset, count in ((0, 10), (5, 4000), (4090, 10), (25_590, 100), (25_600, 5), (0, 25_600), (100, 8000)):
        assert file.read_at(offset, count) == whole[offset : offset + count]
    assert len(cache._blocks) == 4  # of seven
    asked = len(store.asked)
    file.read_at(8000, 100)
    assert len(store.asked) == asked  # there still


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("no ranges", "expected a part of the file, got all of it .status 200.; use a server that knows Range"),
        ("cut off", r"no whole answer after 3 tries: (IncompleteRead|HTTPException)"),
        ("long", "no whole answer after 3 tries: HTTPException: cut off: expected 4096 bytes, got 4097"),
        ("other part", "no whole answer after 3 tries: HTTPException: another part"),
        ("nonsense", "another part: 'nonsense'"),
        ("404", "the server refuses: status 404; look at the address"),
        ("403", "the server refuses: status 403; sign the address anew"),
        ("416", "changed since it was scanned"),
        ("503", "no whole answer after 3 tries: it says 503"),
        ("to file:///etc/passwd", "refused: redirected to no web server; do not trust"),
        ("to ftp://127.0.0.1/x", "refused: redirected from http to ftp; do not trust"),
        ("to data:,x", "refused: redirected to no web server"),
    ],
)
def test_answers_that_cannot_be_used(store: Store, mood: str, said: str) -> None:
    (store.root / "a").write_bytes(bytes(9000))
    file = HttpBytes(f"{store.url}/a?signature=secret", BlockCache(0), limits=QUICK)
    assert file.size == 9000
    store.mood = mood
    with pytest.raises(DataError, match=rf"^{store.url}/a: .*{said}"):
        file.read_at(0, 100)
    store.mood = ""
    assert file.read_at(0, 100) == bytes(100)


def test_what_fails_once_is_tried_again(store: Store) -> None:
    (store.root / "a").write_bytes(bytes(9000))
    for mood in ("503", "cut off", "other part"):
        store.mood, store.bad_answers = mood, 2
        assert HttpBytes(f"{store.url}/a", BlockCache(0), 9000, QUICK).read_at(10, 10) == bytes(10)


def test_a_redirect_to_another_web_server_is_followed(store: Store) -> None:
    (store.root / "a").write_bytes(b"there")
    store.mood, store.bad_answers = f"to {store.url}/a", 1
    assert HttpBytes(f"{store.url}/elsewhere", BlockCache(0), 5, QUICK).read_at(0, 5) == b"there"
    store.mood, store.bad_answers = f"to {store.url}/a", 10**9
    with pytest.raises(DataError, match="redirected to no web server"):  # round and round
        HttpBytes(f"{store.url}/a", BlockCache(0), limits=QUICK).read_at(0, 5)


def test_a_file_that_changes_is_noticed(store: Store) -> None:
    fill(store)
    far = TarSource(f"{store.url}/{{000000..000003}}.tar", remote=QUICK)
    faces = far.scan().faces(np.arange(20))
    path = store.root / "000000.tar"
    far.read(next(face for face in faces if face.startswith("000000/")))
    far._shards[0]._cache = BlockCache(0)  # type: ignore[attr-defined]
    path.write_bytes(bytes(path.stat().st_size))  # of the same size: the ETag tells
    with pytest.raises(DataError, match=r"000000\.tar: changed since it was scanned"):
        far.read(faces[0])
    (store.root / "000001.tar").write_bytes(b"x")  # the index tells
    with pytest.raises(DataError, match=r"000001\.tar: changed since it was scanned"):
        far.read(next(face for face in faces if face.startswith("000001/")))


def test_nobody_answers() -> None:
    with pytest.raises(DataError, match=r"no whole answer after 3 tries: URLError: .*refused"):
        _ = HttpBytes("http://127.0.0.1:9/a", BlockCache(0), limits=QUICK).size


@pytest.mark.parametrize("url", ["ftp://store/a.tar", "file:///a.tar", "http://me:secret@store/a.tar"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(DataError, match="refused: no address that is read from") as told:
        HttpBytes(url, BlockCache(0))
    assert "secret" not in str(told.value)


def test_secrets_are_neither_shown_nor_saved(store: Store, tmp_path: Path) -> None:
    fill(store)
    faces = open_faces(f"{store.url}/{{000000..000003}}.tar?signature=secret")
    assert "/index.parquet?signature=secret" in {path for path, _ in store.asked}
    assert "secret" not in str(faces.manifest.about) + str(faces.name)
    faces.manifest.mark([0], "doubtful").write(tmp_path / "marked.parquet")
    assert b"secret" not in (tmp_path / "marked.parquet").read_bytes()


def test_a_manifest_does_not_reach_out_by_itself(store: Store, tmp_path: Path) -> None:
    fill(store)
    faces = open_faces(f"{store.url}/{{000000..000003}}.tar")
    faces.manifest.mark([0], "doubtful").write(tmp_path / "marked.parquet")
    asked = len(store.asked)
    with pytest.raises(DataError, match=r"is far away: http://.*or open_faces\(\.\.\., remote=True\)"):
        open_faces(tmp_path / "marked.parquet")
    assert len(store.asked) == asked
    again = open_faces(tmp_path / "marked.parquet", remote=True)
    assert again.read(3) == faces.read(3)
    for shard in store.root.iterdir():  # or the shards lie beside it
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    assert open_faces(tmp_path / "marked.parquet").read(3) == faces.read(3)


def test_addresses_as_paths() -> None:
    assert as_text(Path("https://store/a/{0..1}.tar?x=1")) == "https://store/a/{0..1}.tar?x=1"
    assert as_text(Path("a//b")) == "a/b"
    assert shown("https://me:secret@store:1/a.tar?x#y") == "https://store:1/a.tar"


@pytest.mark.parametrize(("turns", "times"), [(1, 2.0), (2, 1.0)])
def test_workers_with_shards_of_their_own_read_them_once(store: Store, turns: int, times: float) -> None:
    """Two workers: every shard is read by both, or with two turns by one, but where the cut goes through one."""
    images = np.random.default_rng(0).integers(0, 256, (80, 112, 112, 3), np.uint8)
    source = ArraySource(images, [f"p{row % 4}" for row in range(80)])
    store.root.rmdir()
    pack(FaceSet((source,), source.scan()), store.root, Packing("tar", ShardLimits(faces=8), shuffle=1))
    far = open_source(f"{store.url}/{{000000..000009}}.tar")
    faces = FaceSet((far,), far.scan())
    shards, places = places_of(faces, window=8)
    order = ShardOrder(shards, places, 4, 8, seed=1, streams=Streams(turns=turns))
    store.asked.clear()
    assert len(list(Loader(faces.sources, faces.manifest, order, workers=2))) == 20
    read = [path for path, _ in store.asked if path.endswith(".tar")]
    assert set(read) == {f"/{number:06d}.tar" for number in range(10)}
    assert times * 10 <= len(read) <= times * 10 + (turns > 1)


def test_recipes_train_on_shards_far_away(store: Store, run: Any, tmp_path: Path) -> None:
    with tarfile.open(store.root / "a.tar", "w") as tar:
        for number in range(4):
            buffer = io.BytesIO()
            Image.new("RGB", (112, 112), (number, 0, 0)).save(buffer, "PNG")
            member = tarfile.TarInfo(f"p{number % 2}/{number}.png")
            member.size = len(buffer.getvalue())
            tar.addfile(member, io.BytesIO(buffer.getvalue()))
    faces = open_training_set(Data(sources=({"path": f"{store.url}/a.tar"},)))  # type: ignore[arg-type]
    assert faces.kept.people == ("p0", "p1")
    done = run("pack", f"{store.url}/a.tar", tmp_path / "b.zip", "--quiet")
    assert done.code == 0, done.err
