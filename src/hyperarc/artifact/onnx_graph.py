"""An ONNX file: read as one whole, with what it says of itself. Nothing of it is run here.

ONNX and ONNX Runtime are the extra ``onnx``. Libraries of custom operators are never loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperarc.errors import ArtifactError, HyperArcError, nearest_names
from hyperarc.onnx_session import one_line

MOST_BYTES = 2**31 - 1  # what one protobuf message may hold
_DEFAULT_DOMAIN = "ai.onnx"


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """An ONNX model in one piece; built by :func:`read_graph` or :func:`parse_graph`.

    Attributes:
        content: the file, without external data.
        proto: the same as ``onnx.ModelProto``.
        where: named in errors.
    """

    content: bytes
    proto: Any
    where: Path

    @property
    def sha256(self) -> str:
        """Of ``content``, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in the file's order."""
        return [output.name for output in self.proto.graph.output]

    def facts(self) -> dict[str, str]:
        """Opset and producer, as the file states them."""
        opsets = [f"{entry.domain or _DEFAULT_DOMAIN} {entry.version}" for entry in self.proto.opset_import]
        producer = f"{self.proto.producer_name} {self.proto.producer_version}".strip()
        return {"opset": ", ".join(opsets) or "not stated", "producer": producer or "not stated"}

    def only(self, output: str) -> OnnxGraph:
        """The same graph with one output; another output is another model, and so another digest."""
        self.require_output(output)
        proto = type(self.proto)()
        proto.CopyFrom(self.proto)
        kept = next(entry for entry in self.proto.graph.output if entry.name == output)
        del proto.graph.output[:]
        proto.graph.output.append(kept)
        return OnnxGraph(_serialize(proto, self.where), proto, self.where)

    def require_output(self, name: str) -> None:
        """Raise :class:`ArtifactError` unless there is an output of this name."""
        if name not in self.outputs:
            near = nearest_names(name, self.outputs)
            mend = f"did you mean {near[0]!r}?" if near else "name one of them"
            raise ArtifactError(
                f"expected an output {name!r}, the graph has {', '.join(self.outputs)}", where=self.where, mend=mend
            )


def read_graph(path: Path | str) -> OnnxGraph:
    """Read an ONNX file; weights kept in files beside it are taken in.

    Raises:
        ArtifactError: missing, not ONNX, larger than 2 GiB, or external data that is missing, too short, or outside the
            file's folder.
    """
    path = Path(path)
    graph = _parse(_content(path), path)
    external = [tensor for tensor in _tensors(graph.proto) if _is_external(tensor)]
    if not external:
        return graph
    _require_inside(external, path)
    try:
        require_onnx().external_data_helper.load_external_data_for_model(graph.proto, str(path.parent))
    except Exception as error:  # onnx raises errors of its own, of its C++ part, and plain ones
        raise ArtifactError(f"external data cannot be read: {one_line(error)}", where=path) from error
    return parse_graph(_serialize(graph.proto, path), path)


def parse_graph(content: bytes, where: Path) -> OnnxGraph:
    """The ONNX model of these bytes; weights kept in other files are refused."""
    graph = _parse(content, where)
    if any(_is_external(tensor) for tensor in _tensors(graph.proto)):
        raise ArtifactError(
            "expected one file, this one keeps weights in other files", where=where, mend="import the ONNX file again"
        )
    return graph


def require_onnx() -> Any:
    """The package ``onnx``, or an error that names the extra."""
    try:
        import onnx
        import onnx.external_data_helper
    except ImportError as error:
        raise HyperArcError("ONNX files need the package onnx", mend="pip install 'hyperarc[onnx]'") from error
    return onnx


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ArtifactError(f"expected at most 2 GiB in one ONNX file, got {size:,} bytes", where=path)
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError("no such ONNX file", where=path) from None
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=path) from error


def _parse(content: bytes, where: Path) -> OnnxGraph:
    onnx = require_onnx()
    try:
        proto = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError, whose module differs between versions
        raise ArtifactError(f"not an ONNX file: {one_line(error)}", where=where) from error
    if not proto.graph.node or not proto.graph.output:
        raise ArtifactError("not an ONNX file: it holds no graph", where=where)
    return OnnxGraph(content, proto, where)


def _serialize(proto: Any, where: Path) -> bytes:
    try:
        content: bytes = proto.SerializeToString()
    except Exception as error:  # a ValueError or an EncodeError, by version of protobuf
        raise ArtifactError(f"does not fit into one ONNX file of 2 GiB: {one_line(error)}", where=where) from error
    return content


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor of a model that may hold weights, those of nested graphs and functions too."""
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        yield from _of_sparse([attribute.sparse_tensor, *attribute.sparse_tensors])
        for graph in (attribute.g, *attribute.graphs):
            yield from _of_graph(graph)


def _of_sparse(tensors: Iterable[Any]) -> Iterator[Any]:
    for tensor in tensors:
        yield tensor.values
        yield tensor.indices


def _is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == type(tensor).EXTERNAL)


def _require_inside(tensors: Iterable[Any], path: Path) -> None:
    """External data lies in the folder of the ONNX file, is there, and is no more than one file may hold."""
    folder = path.parent.resolve()
    total = 0
    for tensor in tensors:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = (path.parent / entries.get("location", "")).resolve()
        if not place.is_relative_to(folder):
            raise ArtifactError(
                f"refused: external data {entries.get('location')!r} leads out of the folder",
                where=path,
                mend="copy the ONNX file and its data into one folder",
            )
        if not place.is_file():
            raise ArtifactError(
                f"external data {entries.get('location', '')!r} is missing", where=path, mend="copy it beside the file"
            )
        total += _length(entries, place, path)
        if total > MOST_BYTES:
            raise ArtifactError("expected at most 2 GiB of weights, the external data is larger", where=path)


def _length(entries: dict[str, str], place: Path, path: Path) -> int:
    """Bytes of one external tensor, which the file must hold."""
    size = place.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError:
        raise ArtifactError(f"external data of {place.name}: offset or length is no number", where=path) from None
    if offset < 0 or length < 0 or offset + length > size:
        raise ArtifactError(
            f"external data {place.name} is too short: expected {offset + length:,} bytes, got {size:,}",
            where=path,
            mend="copy it again",
        )
    return length
