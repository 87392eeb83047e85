"""Files of embeddings: one row a face, as Parquet, or as a NumPy array with the table of its faces beside it.

====== ==================== ===========================================================
face   string               key of the face inside its source
source string               short name of the source
person string               who it is
label  int64                class index of the manifest
norm   float32              length of the embedding
vector float32 [d]          raw embedding, not normalized; in the .npy instead of here
====== ==================== ===========================================================

The metadata ``hyperarc`` of the table is a JSON object with the contract's fields and its digest. Rows are written part
by part, so no more than one part is in memory. The same parts give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.contract import Contract
from hyperarc.data.manifest import Manifest

PARQUET, ARRAY = ".parquet", ".npy"
Part = tuple[Manifest, npt.NDArray[np.float32]]
"""Faces, and their raw embeddings [n, d]."""

_COLUMNS = [
    ("face", pa.large_string()),
    ("source", pa.string()),
    ("person", pa.string()),
    ("label", pa.int64()),
    ("norm", pa.float32()),
]


def table_beside(path: Path) -> Path:
    """Where the table of faces of an array lies.

    Example:
        >>> table_beside(Path("runs/lfw.npy")).as_posix()
        'runs/lfw.faces.parquet'
    """
    return path.with_name(f"{path.stem}.faces{PARQUET}")


def write_parquet(path: Path, parts: Iterable[Part], contract: Contract) -> None:
    """Write faces and embeddings into one Parquet file."""
    schema = _schema(contract, vectors=True)
    with _table(path, schema) as write:
        for faces, vectors in parts:
            flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, contract.embedding_dim)
            write(pa.table([*_columns(faces, vectors), column], schema=schema))


def write_array(path: Path, table: Path, parts: Iterable[Part], rows: int, contract: Contract) -> None:
    """Write embeddings into a NumPy array [rows, d] at ``path``, and their faces into the Parquet file ``table``."""
    schema = _schema(contract, vectors=False)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, contract.embedding_dim)}
    with open(path, "wb") as file, _table(table, schema) as write:
        np.lib.format.write_array_header_1_0(file, header)
        for faces, vectors in parts:
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            write(pa.table(_columns(faces, vectors), schema=schema))


@contextmanager
def _table(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Opens a Parquet file; every table handed over becomes a row group."""
    # names repeat or are alike; floats hardly compress, and a dictionary of them only costs
    coded = [name for name, _ in _COLUMNS if name in ("source", "person")]
    packed = {name: "zstd" for name, _ in _COLUMNS}
    with pq.ParquetWriter(path, schema, use_dictionary=coded, compression=packed) as writer:
        yield lambda table: writer.write_table(table, row_group_size=max(1, len(table)))


def _columns(faces: Manifest, vectors: npt.NDArray[np.float32]) -> list[Any]:
    names = [faces.table["face"], *(faces.table[name].cast(pa.string()) for name in ("source", "person"))]
    return [*names, faces.table["label"], pa.array(np.linalg.norm(vectors, axis=1).astype(np.float32))]


def _schema(contract: Contract, *, vectors: bool) -> pa.Schema:
    vector = [("vector", pa.list_(pa.float32(), contract.embedding_dim))] if vectors else []
    about = {"contract": contract.model_dump(), "digest": contract.digest}
    return pa.schema([*_COLUMNS, *vector], metadata={b"hyperarc": json.dumps(about).encode()})
