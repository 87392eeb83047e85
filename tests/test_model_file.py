"""Weights that are found or downloaded: from a server of this test, whole and of the pinned digest, or not at all."""

from __future__ import annotations

import hashlib
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces import model_file
from hyperarc.faces.detectors import yunet_file
from hyperarc.faces.model_file import HttpsAlone, Release, cache_folder, model_folders, obtain

CONTENT = bytes(range(256)) * 1000


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        asked = self.path.strip("/")
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        if asked == "gone":
            self.send_error(404)
            return
        if asked == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        body = {"whole": CONTENT, "other": CONTENT[::-1], "cut": CONTENT[:1000]}[asked]
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HYPERARC_MODELS", raising=False)
    return tmp_path / "hyperarc" / "models"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server on the loopback, and an opener that reaches it alone, by http."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        there = f"http://127.0.0.1:{running.server_port}"

        def reach(address: str, time_out_s: float) -> Any:
            return urllib.request.urlopen(address.replace("https://weights.example", there), timeout=time_out_s)

        monkeypatch.setattr(model_file, "_open", reach)
        yield running
        running.shutdown()
        thread.join()


def release(page: str) -> Release:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Release("weights.onnx", digest, len(CONTENT), f"https://weights.example/{page}", "MIT")


def test_a_file_is_downloaded_once(cache: Path, server: Any) -> None:
    assert obtain(release("whole")) == cache / "weights.onnx"
    assert obtain(release("whole")).read_bytes() == CONTENT
    assert server.asked == ["whole"]
    assert [file.name for file in cache.iterdir()] == ["weights.onnx"]


@pytest.mark.parametrize(
    ("page", "least", "reason"),
    [
        ("other", 0, "expected SHA-256 .*, got "),
        ("whole", 1, "expected 255999 bytes, got more"),
        ("cut", 0, "expected 256000 bytes, the connection ended after 1000"),
        ("gone", 0, "HTTP Error 404"),
    ],
)
def test_what_is_not_the_file_is_never_kept(cache: Path, server: Any, page: str, least: int, reason: str) -> None:
    asked = replace(release(page), bytes=len(CONTENT) - least)
    with pytest.raises(HyperArcError, match=reason) as error:
        obtain(asked)
    text = str(error.value)
    assert text.startswith(f"weights.onnx: could not be downloaded from https://weights.example/{page}: ")
    assert f"{asked.bytes} bytes, SHA-256 {asked.sha256}" in text
    assert f"into {cache} or a folder named by HYPERARC_MODELS" in text
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_fetched_anew(cache: Path, server: Any) -> None:
    cache.mkdir(parents=True)
    (cache / "weights.onnx").write_bytes(CONTENT[:-1])
    assert obtain(release("whole")).read_bytes() == CONTENT


def test_a_slow_server_is_given_up(cache: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, 100.0))
    monkeypatch.setattr(model_file.time, "monotonic", lambda: next(times))
    with pytest.raises(HyperArcError, match=r"\d+ of 256000 bytes came in 20 s"):
        obtain(release("whole"), time_out_s=20)


def test_without_a_network_the_error_says_what_to_put_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*words: Any, **more: Any) -> Any:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", none)
    with pytest.raises(HyperArcError) as error:
        yunet_file.find_model()
    text = str(error.value)
    for part in ("Name or service not known", str(cache), "HYPERARC_MODELS", *yunet_file.RELEASE.address.split()):
        assert part in text
    assert yunet_file.RELEASE.sha256 in text


def test_only_https_is_opened_and_followed(server: Any, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    with pytest.raises(HyperArcError, match="expected an https address"):
        obtain(replace(release("whole"), address=f"http://127.0.0.1:{server.server_port}/whole"))
    assert server.asked == []
    opener = urllib.request.build_opener(HttpsAlone())
    with pytest.raises(urllib.error.URLError, match="which is not https"):
        opener.open(f"http://127.0.0.1:{server.server_port}/elsewhere", timeout=5)
    assert server.asked == ["elsewhere"]


def test_folders_of_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYPERARC_MODELS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, cache in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "local")):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == tmp_path / cache / "hyperarc"
    monkeypatch.setattr(sys, "platform", "linux")
    assert model_folders() == [tmp_path / "a", tmp_path / "b", tmp_path / ".cache" / "hyperarc" / "models"]


def test_the_users_files_come_first_and_strange_ones_are_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, name = tmp_path / "own", "face_detection_yunet_2023mar.onnx"
    monkeypatch.setenv("HYPERARC_MODELS", str(own))
    monkeypatch.setitem(yunet_file.KNOWN, name, hashlib.sha256(CONTENT).hexdigest())
    for folder in (own, cache):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(CONTENT)
    assert yunet_file.find_model() == own / name
    (own / name).write_bytes(b"of another day")
    with pytest.warns(UserWarning, match=f"{name}: not the released file of this name"):
        assert yunet_file.find_model() == own / name
    (own / name).unlink()
    assert yunet_file.find_model() == cache / name
    (cache / name).write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"{name}: expected SHA-256 .* remove it, and it is downloaded anew"):
        yunet_file.find_model()


def test_the_shared_file_is_a_known_one(shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERARC_MODELS", str(shared / "models"))
    assert yunet_file.find_model() == shared / "models" / "yunet_n_dynamic.onnx"
