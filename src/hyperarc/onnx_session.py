"""Sessions of ONNX Runtime (extra ``onnx``): opened in one place, on the device asked for and no other."""

from __future__ import annotations

from typing import Any

from hyperarc.errors import DataError, HyperArcError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def open_session(
    content: bytes,
    *,
    device: str = "cpu",
    threads: int = 0,
    where: object = None,
    refused: type[HyperArcError] = DataError,
) -> Any:
    """A session that runs a graph.

    Args:
        content: the whole ONNX file. Being bytes without a place, it cannot name other files as its data.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        threads: of one operator on CPU; 0 leaves it to ONNX Runtime.
        where: what to call the graph in an error.
        refused: the error to raise when it refuses the graph.

    Raises:
        HyperArcError: ONNX Runtime is not installed, or not for this device.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise HyperArcError("ONNX Runtime is not installed", mend="pip install 'hyperarc[onnx]'") from error
    providers = providers_for(device, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # its errors are raised as well, its warnings are about declared shapes
    try:
        # else it starts anew on CPU when anything goes wrong, and prints that on standard output
        session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:  # the errors of ONNX Runtime share no class but this
        raise refused(f"ONNX Runtime refuses it: {one_line(error)}", where=where) from error
    first = providers[0][0]
    if session.get_providers()[0] != first:
        raise HyperArcError(f"ONNX Runtime could not start its {first}", where=f"device {device}", mend="use cpu")
    return session


def providers_for(device: str, available: list[str]) -> list[tuple[str, dict[str, int]]]:
    """The providers of ONNX Runtime for a device; it would quietly go on without one that is missing.

    Example:
        >>> providers_for("cuda:1", [CUDA, CPU])
        [('CUDAExecutionProvider', {'device_id': 1}), ('CPUExecutionProvider', {})]
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return [(CPU, {})]
    if kind != "cuda" or CUDA not in available:
        raise HyperArcError(
            f"expected an ONNX Runtime for {kind}, this one has {', '.join(available)}",
            where=f"device {device}",
            mend="install onnxruntime-gpu" if kind == "cuda" else "use cpu or cuda",
        )
    return [(CUDA, {"device_id": int(index or 0)}), (CPU, {})]


def one_line(error: Exception) -> str:
    """The first 300 letters of an error, in one line.

    Example:
        >>> one_line(ValueError("a\\n  b"))
        'a b'
    """
    return " ".join(str(error).split())[:300]
