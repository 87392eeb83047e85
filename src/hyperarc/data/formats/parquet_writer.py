"""Writing faces into Parquet files in the layout of Hugging Face's data sets, the same bytes for the same faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.data.formats.face_writer import Packed, Place, ShardLimits

_GROUP_FACES = 256  # of a row group, which is read as a whole: few, so that random access stays bearable
_GROUP_BYTES = 2**26
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class ParquetWriter:
    """Adds faces to ``content``: one file, or with limits a folder of files ``000000.parquet`` ...

    Columns are ``image`` (``bytes``, ``path``), ``label``, ``person``, and ``landmarks`` and ``color`` where the
    manifest knows of any. A Parquet file cannot be added to once it is closed, so row groups are kept apart and joined
    in the end.

    Args:
        place: where.
        limits: of one file.
        extra: which of ``landmarks`` and ``color`` to write.

    Example:
        >>> import tempfile
        >>> from hyperarc.data.row import Row
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = ParquetWriter(Place(folder / "set.parquet", folder, {}), ShardLimits(), ())
        >>> row = Row("ann/1.jpg", "set", "ann", 0, None, 112, 112, "rgb", True, "")
        >>> writer.add(Packed("ann/1.jpg", b"a picture file", row)); writer.finish()
        >>> pq.read_table(folder / "set.parquet").to_pylist()[0]["image"]
        {'bytes': b'a picture file', 'path': 'ann/1.jpg'}
    """

    other_ending: str | None = None

    def __init__(self, place: Place, limits: ShardLimits, extra: tuple[str, ...]) -> None:
        self._content, self._parts, self._limits = place.content, place.scratch / "row-groups", limits
        self._schema = _schema(extra)
        self._shard: int = place.state.get("shard", 0)
        self._faces: int = place.state.get("faces", 0)
        self._bytes: int = place.state.get("bytes", 0)
        self._closed: int = place.state.get("parts", 0)
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._part: pq.ParquetWriter | None = None
        self._parts.mkdir(exist_ok=True)
        for path in self._parts.iterdir():
            if int(path.stem.partition("-")[2]) >= self._closed:
                path.unlink()  # begun, but never known to be whole

    @property
    def may_pause(self) -> bool:
        """Between row groups."""
        return not self._group

    def add(self, face: Packed) -> None:
        """Append a face."""
        if self._limits.full(self._faces, self._bytes, len(face.data)):
            self._write_group()
            self._close_part()
            self._shard, self._faces, self._bytes = self._shard + 1, 0, 0
        row = face.row
        points = None if row.landmarks is None else row.landmarks.ravel()
        image = {"bytes": face.data, "path": face.name}
        known = {"image": image, "label": row.label, "person": row.person, "landmarks": points, "color": row.color}
        self._group.append({name: known[name] for name in self._schema.names})
        self._group_bytes += len(face.data)
        self._faces, self._bytes = self._faces + 1, self._bytes + len(face.data)
        if len(self._group) >= _GROUP_FACES or self._group_bytes >= _GROUP_BYTES:
            self._write_group()

    def pause(self) -> dict[str, Any]:
        """How many parts are whole; each holds the row groups between two pauses."""
        self._close_part()
        return {"shard": self._shard, "faces": self._faces, "bytes": self._bytes, "parts": self._closed}

    def finish(self) -> None:
        """Join the parts of each shard."""
        self._write_group()
        self._close_part()
        if self._limits:
            self._content.mkdir(exist_ok=True)
        for shard in range(self._shard + 1):
            parts = sorted(self._parts.glob(f"{shard:06d}-*"))
            target = self._content / f"{shard:06d}.parquet" if self._limits else self._content
            self._join(parts, target)

    def _write_group(self) -> None:
        if not self._group:
            return
        if self._part is None:
            self._part = self._open(self._parts / f"{self._shard:06d}-{self._closed:09d}")
        table = pa.Table.from_pylist(self._group, schema=self._schema)
        self._part.write_table(table, row_group_size=len(table))
        self._group, self._group_bytes = [], 0

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part, self._closed = None, self._closed + 1

    def _join(self, parts: list[Path], target: Path) -> None:
        with self._open(target) as whole:
            for path in parts:
                with pq.ParquetFile(path) as part:
                    for number in range(part.num_row_groups):
                        group = part.read_row_group(number, use_threads=False)
                        whole.write_table(group, row_group_size=len(group))

    def _open(self, path: Path) -> pq.ParquetWriter:
        coded = [name for name in ("person", "color") if name in self._schema.names]
        packed = {name: "zstd" for name in self._schema.names if name != "image"}
        packed |= {"image.bytes": "none", "image.path": "zstd"}
        return pq.ParquetWriter(path, self._schema, compression=packed, use_dictionary=coded, write_statistics=False)


def _schema(extra: tuple[str, ...]) -> pa.Schema:
    fields = [("image", _IMAGE), ("label", pa.int64()), ("person", pa.string())]
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {"label": {"dtype": "int64", "_type": "Value"}, "person": {"dtype": "string", "_type": "Value"}}
    if "landmarks" in extra:
        fields.append(("landmarks", pa.list_(pa.float32(), 10)))
        number = {"dtype": "float32", "_type": "Value"}
        features["landmarks"] = {"feature": number, "length": 10, "_type": "Sequence"}
    if "color" in extra:
        fields.append(("color", pa.string()))
        features["color"] = {"dtype": "string", "_type": "Value"}
    described = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={"huggingface": described})
