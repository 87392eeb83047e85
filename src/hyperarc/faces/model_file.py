"""Files of weights: found in the user's folders, else downloaded once and held to a pinned digest."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any

from hyperarc.errors import HyperArcError
from hyperarc.files import write_beside

_CHUNK = 2**16


@dataclass(frozen=True)
class Release:
    """A file of weights as its authors released it.

    Attributes:
        file: name under which it is kept.
        sha256: hexadecimal digest.
        bytes: its size, which a download may not pass.
        address: https address that serves these very bytes.
        license: SPDX name.

    Example:
        >>> Release("a.onnx", "00" * 32, 10, "https://example.org/a.onnx", "MIT").file
        'a.onnx'
    """

    file: str
    sha256: str
    bytes: int
    address: str
    license: str


def model_folders() -> list[Path]:
    """Where files of weights are looked for, in this order: ``$HYPERARC_MODELS`` (one or more folders, separated as in
    ``PATH``), then the cache of the user.

    Example:
        >>> model_folders()[-1].name
        'models'
    """
    own = [Path(folder).expanduser() for folder in os.environ.get("HYPERARC_MODELS", "").split(os.pathsep) if folder]
    return [*own, cache_folder() / "models"]


def cache_folder() -> Path:
    """The user's cache of HyperArc: in ``$XDG_CACHE_HOME`` where it is set, else in ``~/.cache``, of macOS in
    ``~/Library/Caches``, of Windows in ``%LOCALAPPDATA%``.

    Example:
        >>> cache_folder().name
        'hyperarc'
    """
    asked = os.environ.get("XDG_CACHE_HOME")
    if asked and Path(asked).is_absolute():
        return Path(asked) / "hyperarc"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local or Path.home() / "AppData" / "Local") / "hyperarc"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "hyperarc"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def obtain(release: Release, *, time_out_s: float = 60.0) -> Path:
    """The file of a release, downloaded into the cache of the user at first use.

    It is whole and of the pinned digest when it appears; nothing half-written is left.

    Raises:
        HyperArcError: it cannot be had within the time. The message says which file to put where, from which address,
            with which digest.
    """
    place = cache_folder() / "models" / release.file
    if place.is_file() and sha256_of(place) == release.sha256:
        return place
    try:
        content = _download(release, time_out_s)
    except (OSError, HTTPException, ValueError) as error:
        raise HyperArcError(
            f"could not be downloaded from {release.address}: {error}",
            where=release.file,
            mend=f"fetch it on a machine with a network ({release.bytes} bytes, SHA-256 {release.sha256}) and put it "
            f"into {place.parent} or a folder named by HYPERARC_MODELS",
        ) from error
    with write_beside(place) as beside:
        beside.write_bytes(content)
    return place


def _download(release: Release, time_out_s: float) -> bytes:
    latest, content = time.monotonic() + time_out_s, bytearray()
    with _open(release.address, time_out_s) as answer:
        while chunk := answer.read1(_CHUNK):
            content += chunk
            if len(content) > release.bytes:
                raise ValueError(f"expected {release.bytes} bytes, got more")
            if time.monotonic() > latest:
                raise TimeoutError(f"{len(content)} of {release.bytes} bytes came in {time_out_s:g} s")
    if len(content) < release.bytes:
        raise ValueError(f"expected {release.bytes} bytes, the connection ended after {len(content)}")
    found = hashlib.sha256(content).hexdigest()
    if found != release.sha256:
        raise ValueError(f"expected SHA-256 {release.sha256}, got {found}")
    return bytes(content)


def _open(address: str, time_out_s: float) -> Any:
    if not address.startswith("https://"):
        raise ValueError("expected an https address")
    return urllib.request.build_opener(HttpsAlone()).open(address, timeout=time_out_s)


class HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follows redirections to https addresses, and to no others."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
