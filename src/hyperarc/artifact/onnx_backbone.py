"""An ONNX graph as a backbone, run by ONNX Runtime: whatever takes a backbone takes other people's models too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hyperarc.artifact.onnx_graph import OnnxGraph
from hyperarc.errors import ArtifactError
from hyperarc.onnx_session import one_line, open_session

_FLOATS: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SIZES = range(16, 1025)  # px, as the contract allows
_MOST_VALUES = 1 << 28  # of one batch: 1 GiB
_Declared = tuple[str, str, list[int | str | None]]  # name, type and axes of an input or output
_LONGEST = 65536  # values of an embedding, as the contract allows


@dataclass(frozen=True)
class _Input:
    """What a graph says of its input; batch None is any."""

    name: str
    dtype: type[np.floating[Any]]
    batch: int | None
    height: int
    width: int
    channels_last: bool


class OnnxBackbone(nn.Module):
    """A graph that takes float crops [N, 3, H, W] (or [N, H, W, 3], where it says so) and returns embeddings [N, d].

    A graph with a fixed batch size gets its batches cut and padded to it. It runs on as many threads as torch does, on
    CPU or, after ``.to("cuda")``, on CUDA; never on another device than asked for.

    Args:
        graph: of :func:`hyperarc.artifact.onnx_graph.read_graph`.
        size: height and width of the crops; needed where the graph leaves them open.
        output: name of the embedding; default the only float output of two axes.

    Attributes:
        height, width: of the crops, in px.
        embedding_dim: length of an embedding.
        output: name of the output it is read from.

    Raises:
        ArtifactError: the graph is damaged, takes something else than crops of that size, returns no embedding or
            several, or cannot be run.
        HyperArcError: ONNX Runtime or its CUDA part is not installed.
    """

    place: Tensor

    def __init__(self, graph: OnnxGraph, *, size: tuple[int, int] | None = None, output: str | None = None) -> None:
        super().__init__()
        self.graph = graph
        self.register_buffer("place", torch.empty(0), persistent=False)  # knows the device that was asked for
        self._session = _open_session(graph, self.place.device)
        inputs, self._outputs = self._declared("get_inputs"), self._declared("get_outputs")
        self._input = self._read_input(inputs, size)
        self.height, self.width = self._input.height, self._input.width
        self.output, self.embedding_dim = self._choose_output(output)

    def forward(self, images: Tensor) -> Tensor:
        """Float crops [N, 3, H, W], normalized as the contract says, to embeddings [N, d] in float32."""
        pixels = images.detach().movedim(1, 3) if self._input.channels_last else images.detach()
        crops = np.ascontiguousarray(pixels.cpu().numpy(), dtype=self._input.dtype)
        batch = self._input.batch or max(1, len(crops))
        vectors = np.empty((len(crops), self.embedding_dim), np.float32)
        for start in range(0, len(crops), batch):
            part = crops[start : start + batch]
            padded = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), part.dtype)])
            (returned,) = self._run([self.output], padded)
            if returned.shape != (batch, self.embedding_dim):
                expected = [batch, self.embedding_dim]
                raise self._wrong(f"expected embeddings {expected} of a batch of {batch}, got {list(returned.shape)}")
            vectors[start : start + batch] = returned[: len(part)]
        return torch.from_numpy(vectors).to(images.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = self.place.device
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.place.device != before:
            self._session = _open_session(self.graph, self.place.device)
        return moved

    def _run(self, outputs: list[str], crops: NDArray[np.floating[Any]]) -> list[NDArray[np.floating[Any]]]:
        try:
            returned: list[NDArray[np.floating[Any]]] = self._session.run(outputs, {self._input.name: crops})
        except Exception as error:  # the errors of ONNX Runtime share no class but this
            raise self._wrong(f"ONNX Runtime cannot run it on a batch of {len(crops)}: {one_line(error)}") from error
        return returned

    def _declared(self, what: str) -> list[_Declared]:
        try:
            return [(value.name, value.type, list(value.shape)) for value in getattr(self._session, what)()]
        except UnicodeDecodeError as error:
            raise self._wrong(f"names in it are no UTF-8: {error}") from error

    def _read_input(self, inputs: list[_Declared], size: tuple[int, int] | None) -> _Input:
        if len(inputs) != 1:
            raise self._wrong(f"expected one input, the crops; got {', '.join(i[0] for i in inputs) or 'none'}")
        name, kind, shape = inputs[0]
        axes = [axis if isinstance(axis, int) and axis > 0 else None for axis in shape]
        if kind not in _FLOATS or len(axes) != 4 or 3 not in (axes[1], axes[3]):
            raise self._wrong(f"expected a float input [N, 3, H, W] or [N, H, W, 3], got {name!r} {kind} {shape}")
        channels_last = axes[1] != 3
        stated = (axes[1], axes[2]) if channels_last else (axes[2], axes[3])
        if size is None and None in stated:
            raise self._wrong(f"input {name!r} {shape} leaves the size of the crops open", "give --height and --width")
        height, width = (stated[i] or (size[i] if size else 0) for i in (0, 1))
        if size is not None and (height, width) != tuple(size):
            raise self._wrong(f"expected a graph for crops of {size[1]}x{size[0]} px, it takes {width}x{height}")
        if height not in _SIZES or width not in _SIZES or (axes[0] or 1) * 3 * height * width > _MOST_VALUES:
            raise self._wrong(f"expected crops of 16 to 1024 px in batches of at most 1 GiB, got {shape}")
        return _Input(name, _FLOATS[kind], axes[0], height, width, channels_last)

    def _choose_output(self, name: str | None) -> tuple[str, int]:
        """Name and length of the embedding, seen in what a black crop returns: declared shapes are often wrong."""
        if name is not None:
            self.graph.require_output(name)
        batch, (height, width) = self._input.batch or 1, (self.height, self.width)
        shape = (batch, height, width, 3) if self._input.channels_last else (batch, 3, height, width)
        asked = [output for output, kind, _ in self._outputs if kind in _FLOATS and name in (None, output)]
        returned = self._run(asked, np.zeros(shape, self._input.dtype)) if asked else []
        shapes = {output: value.shape for output, value in zip(asked, returned, strict=True)}
        # one value a face is a norm or a quality, as AdaFace's graphs return beside the embedding
        fitting = [n for n, s in shapes.items() if len(s) == 2 and s[0] == batch and 1 < s[1] <= _LONGEST]
        if len(fitting) > 1:
            raise self._wrong(f"several outputs may be the embedding: {', '.join(fitting)}", "choose one with --output")
        if not fitting:
            got = ", ".join(f"{n} {list(s)}" for n, s in shapes.items()) or "no float output"
            raise self._wrong(f"expected a float output [{batch}, d] of {batch} crops, got {got}")
        return fitting[0], int(shapes[fitting[0]][1])

    def _wrong(self, message: str, mend: str | None = None) -> ArtifactError:
        return ArtifactError(message, where=self.graph.where, mend=mend)


def _open_session(graph: OnnxGraph, device: torch.device) -> Any:
    threads = torch.get_num_threads()
    return open_session(
        graph.content, device=str(device), threads=threads, where=graph.where, refused=ArtifactError
    )
