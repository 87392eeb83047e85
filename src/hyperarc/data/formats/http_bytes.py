"""Bytes of a file in an object store or on any web server that answers range requests, read by blocks.

Only ``http`` and ``https`` are spoken, also where a server redirects to. Nothing is sent but the request for bytes.
What an address holds beyond its path, such as the signature of a presigned one, is never shown or saved.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from hyperarc.errors import DataError

_SCHEMES = ("http", "https")
_COLLAPSED = re.compile(r"^(https?):/+(?=[^/])")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteLimits:
    """How files far away are read.

    Attributes:
        block_bytes: read at a time; default 4 MiB.
        cache_bytes: blocks kept in memory, of all shards of a source together, in each process; default 256 MiB.
        timeout_s: without an answer; default 30 s.
        tries: before giving up, with growing pauses between them; default 4.
        pause_s: the first of these pauses; default 0.5 s.
    """

    block_bytes: int = 2**22
    cache_bytes: int = 2**28
    timeout_s: float = 30.0
    tries: int = 4
    pause_s: float = 0.5


class BlockCache:
    """The latest blocks of some files, up to a number of bytes. It is emptied when it is sent to another process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._start()

    def get(self, key: tuple[str, int]) -> bytes | None:
        """A block that is still there."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
            return self._blocks.get(key)

    def put(self, key: tuple[str, int], block: bytes) -> None:
        """Keep a block, and let go of the oldest ones."""
        with self._lock:
            self._held += len(block) - len(self._blocks.get(key, b""))
            self._blocks[key] = block
            while self._held > self._most and len(self._blocks) > 1:
                self._held -= len(self._blocks.popitem(last=False)[1])

    def __getstate__(self) -> dict[str, object]:
        return {"_most": self._most}

    def __setstate__(self, state: dict[str, int]) -> None:
        self._most = state["_most"]
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._held = 0


class MissingError(DataError):
    """The server knows of no such file, or shows none."""


class HttpBytes:
    """A file behind an ``http`` or ``https`` address.

    Args:
        url: its address.
        cache: where its blocks are kept.
        size: its size in bytes, where an index says so; else the server is asked.
        limits: of reading.

    Raises:
        DataError: when read: no answer after several tries, an answer that was cut off, a server that answers no range
            requests or redirects elsewhere than to a web server, a file that is missing, refused or has changed.
    """

    def __init__(
        self, url: str, cache: BlockCache, size: int | None = None, limits: RemoteLimits | None = None
    ) -> None:
        if urlsplit(url).scheme not in _SCHEMES or "@" in urlsplit(url).netloc:
            mend = "give an http or https address without a user in it; presigned addresses need none"
            raise DataError("refused: no address that is read from", where=shown(url), mend=mend)
        self.url, self._cache, self._size = url, cache, size
        self.limits = limits or RemoteLimits()
        self._tag: str | None = None

    @property
    def where(self) -> str:
        """The address, without what follows its path."""
        return shown(self.url)

    @property
    def size(self) -> int:
        """In bytes."""
        if self._size is None:
            self._fetch(0, 1)
        assert self._size is not None
        return self._size

    def read_at(self, offset: int, count: int) -> bytes:
        """The bytes from ``offset`` on, fewer than ``count`` at the end."""
        end = min(offset + count, self.size)
        step = self.limits.block_bytes
        blocks = []
        for number in range(offset // step, -(-end // step)):
            block = self._block(number)
            blocks.append(block[max(0, offset - number * step) : max(0, end - number * step)])
        return b"".join(blocks)

    def _block(self, number: int) -> bytes:
        block = self._cache.get((self.url, number))
        if block is None:
            start = number * self.limits.block_bytes
            block = self._fetch(start, min(self.limits.block_bytes, self.size - start))
            self._cache.put((self.url, number), block)
        return block

    def _fetch(self, start: int, count: int) -> bytes:
        """Bytes from the server, tried again while there is hope."""
        for once in range(self.limits.tries):
            if once:
                time.sleep(self.limits.pause_s * 2 ** (once - 1))
            try:
                return self._ask(start, count)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _TRY_AGAIN:
                    raise self._refused(error.code) from None
                why = f"it says {error.code}"
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {str(getattr(error, 'reason', error))[:100]}"
        raise DataError(
            f"no whole answer after {self.limits.tries} tries: {why}", where=self.where, mend="look at the connection"
        )

    def _ask(self, start: int, count: int) -> bytes:
        asked = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(self.url, headers=asked)
        with _opener().open(request, timeout=self.limits.timeout_s) as answer:
            self._check(answer.status, answer.headers, start)
            data: bytes = answer.read(count + 1)
        wanted = min(count, self.size - start)
        if len(data) != wanted:
            raise http.client.HTTPException(f"cut off: expected {wanted} bytes, got {len(data)}")
        return data

    def _check(self, status: int, headers: Any, start: int) -> None:
        if status != 206:
            got = f"expected a part of the file, got all of it (status {status})"
            raise DataError(got, where=self.where, mend="use a server that knows Range, or copy the file here")
        said = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if said is None or int(said[1]) != start:
            raise http.client.HTTPException(f"another part: {headers.get('Content-Range', '')[:60]!r}")
        size, tag = int(said[3]), headers.get("ETag") or headers.get("Last-Modified")
        if self._size not in (None, size) or (self._tag is not None and tag != self._tag):
            raise DataError("changed since it was scanned", where=self.where, mend="start again")
        self._size, self._tag = size, tag

    def _refused(self, code: int) -> DataError:
        if code == 416 and self._size is not None:
            return DataError("changed since it was scanned", where=self.where, mend="start again")
        if 300 <= code < 400:
            return DataError("refused: redirected to no web server", where=self.where, mend="do not trust this address")
        mend = "sign the address anew" if code in (401, 403) and urlsplit(self.url).query else "look at the address"
        return MissingError(f"the server refuses: status {code}", where=self.where, mend=mend)


def fetched(file: HttpBytes, most: int) -> bytes | None:
    """A whole small file, or None where the server has none.

    Raises:
        DataError: larger than ``most`` bytes, or no whole answer.
    """
    try:
        size = file.size
    except MissingError:
        return None
    if size > most:
        raise DataError(f"expected at most {most} bytes, got {size}", where=file.where)
    return file.read_at(0, size)


def is_url(path: str) -> bool:
    """Whether a path is an address to read from.

    Example:
        >>> is_url("https://store/faces.tar"), is_url("faces.tar")
        (True, False)
    """
    return _COLLAPSED.match(path) is not None


def as_text(path: object) -> str:
    """A path as text; of addresses the slashes that a ``Path`` has merged are put back.

    Example:
        >>> from pathlib import PurePosixPath
        >>> as_text(PurePosixPath("https://store/faces.tar"))
        'https://store/faces.tar'
    """
    return _COLLAPSED.sub(r"\1://", str(path))


def shown(url: str) -> str:
    """An address without user, query and fragment, which may hold secrets.

    Example:
        >>> shown("https://me:secret@store/faces.tar?signature=1")
        'https://store/faces.tar'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to other web servers only, and from https to https only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in _SCHEMES or (before == "https" and after != "https"):
            what = f"refused: redirected from {before} to {after or 'nowhere'}"
            raise DataError(what, where=shown(req.full_url), mend="do not trust this address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Unlike urllib's own it knows neither ``file`` nor ``ftp`` nor ``data``."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
