"""The members of a tar, from its headers: ustar, GNU's long names, pax. Nothing is extracted.

A member is a header of 512 bytes and its content, filled up with zeros to a multiple of 512. A member of type x, g, L
or K belongs to the next one and holds its name and size, which are too long for the header. A header of zeros ends the
file. Every number is held against the size of the file. What is no plain file is told apart, and skipped by readers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hyperarc.data.formats.byte_file import Bytes
from hyperarc.errors import DataError

BLOCK = 512
FILE, FOLDER, LINK, DEVICE, SPARSE, OTHER, NO_END = "file", "folder", "link", "device", "sparse file", "other", "no end"
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"1": LINK, b"2": LINK, b"3": DEVICE, b"4": DEVICE, b"6": DEVICE}
_KINDS |= {b"5": FOLDER, b"S": SPARSE}
_LONGEST = 2**20  # bytes of a name, or of a pax header
_GZIP, _OTHER_PACKED = b"\x1f\x8b", (b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class Member(NamedTuple):
    """One member; ``offset`` is where its content begins. ``NO_END`` comes last where the end mark is missing."""

    name: str
    kind: str
    offset: int
    size: int


def members(file: Bytes) -> Iterator[Member]:
    """All members in their order.

    Raises:
        DataError: damaged, cut off within a member, compressed, or no tar at all.
    """
    at, name, pax = 0, "", dict[str, str]()
    common: dict[str, str] = {}
    while (head := file.read_at(at, BLOCK)).strip(b"\0"):
        _require_header(head, at, file)
        letter, size = head[156:157], _number(head[124:136], at, file)
        if letter in (b"x", b"g", b"L", b"K"):
            text = _text(file, at, size)
            if letter == b"L":
                name = text.split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif letter == b"x":
                pax = _pax(text, at, file)
            elif letter == b"g":
                common |= _pax(text, at, file)
            at = _after(at + BLOCK, size)
            continue
        known = common | pax
        size = _size(known["size"], at, file) if "size" in known else size
        kind = SPARSE if any(key.startswith("GNU.sparse") for key in known) else _KINDS.get(letter, OTHER)
        start = _after_map(file, at, head) if letter == b"S" else at + BLOCK
        called = known.get("path") or name or _short_name(head)
        kind = FOLDER if letter == b"\0" and called.endswith("/") else kind  # as the oldest tars have them
        size = 0 if kind in (FOLDER, LINK, DEVICE) else size
        if start + size > file.size:
            raise _damaged(f"{called!r} of {size} bytes reaches beyond the file, which has {file.size}", at, file)
        yield Member(called, kind, start, size)
        at, name, pax = _after(start, size), "", {}
    if 0 < len(head) < BLOCK:
        raise _damaged("the file ends within a header", at, file)
    if not head:
        yield Member("", NO_END, at, 0)


def _require_header(head: bytes, at: int, file: Bytes) -> None:
    if at == 0 and head.startswith(_GZIP):
        mend = "unpack it once (gzip -d): in a compressed tar no face can be found without reading all before it"
        raise DataError("expected a plain tar, got a gzip file", where=file.where, mend=mend)
    if at == 0 and head.startswith(_OTHER_PACKED):
        raise DataError("expected a plain tar, got a compressed one", where=file.where, mend="decompress it once")
    if len(head) < BLOCK:
        raise _damaged("the file ends within a header", at, file)
    said = head[148:156].strip(b" \0")
    summed = sum(head) - sum(head[148:156]) + 8 * ord(" ")
    if not said.isdigit() or set(said) - set(b"01234567") or int(said, 8) != summed:
        raise _damaged("a header does not match its checksum", at, file)


def _number(field: bytes, at: int, file: Bytes) -> int:
    """Octal digits, or with the highest bit set a binary number."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return _inside(value if field[0] == 0x80 else -1, at, file)
    digits = field.strip(b" \0")
    if set(digits) - set(b"01234567"):
        raise _damaged(f"a size is {field!r}", at, file)
    return _inside(int(digits or b"0", 8), at, file)


def _size(text: str, at: int, file: Bytes) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _damaged(f"a size is {text[:40]!r}", at, file)
    return _inside(int(text), at, file)


def _inside(size: int, at: int, file: Bytes) -> int:
    if not 0 <= size <= file.size:
        raise _damaged(f"a member of {size} bytes in a file of {file.size}", at, file)
    return size


def _after(start: int, size: int) -> int:
    return start + size + -size % BLOCK


def _short_name(head: bytes) -> str:
    name = head[:100].split(b"\0")[0]
    if head[257:263] == b"ustar\0":  # GNU's own kind has other things in place of the prefix
        prefix = head[345:500].split(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "surrogateescape")


def _text(file: Bytes, at: int, size: int) -> bytes:
    text = file.read_at(at + BLOCK, size) if size <= _LONGEST else b""
    if len(text) < max(size, 1):
        raise _damaged(f"a name or header of {size} bytes", at, file)
    return text


def _pax(text: bytes, at: int, file: Bytes) -> dict[str, str]:
    """Lines of length, blank, key=value, line end; the length counts the whole line, itself too."""
    found: dict[str, str] = {}
    start = 0
    while start < len(text) and text[start]:
        length, blank, _ = text[start : start + 20].partition(b" ")
        end = start + int(length) if length.isdigit() and blank else 0
        key, equals, value = text[start + len(length) + 1 : end - 1].partition(b"=")
        if not start < end <= len(text) or text[end - 1 : end] != b"\n" or not equals:
            raise _damaged("a pax header cannot be read", at, file)
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        start = end
    return found


def _after_map(file: Bytes, at: int, head: bytes) -> int:
    """Where the content of an old GNU sparse file begins: behind the blocks that go on with its map."""
    more, start = head[482:483] not in (b"\0", b"0"), at + BLOCK
    while more:
        block = file.read_at(start, BLOCK)
        if len(block) < BLOCK:
            raise _damaged("the file ends within the map of a sparse file", at, file)
        more, start = block[504:505] not in (b"\0", b"0"), start + BLOCK
    return start


def _damaged(what: str, at: int, file: Bytes) -> DataError:
    return DataError(f"damaged tar: {what}, at byte {at}", where=file.where, mend="copy or pack it again")
