"""Detectors that an ONNX file holds: which one it is, and SCRFD and RetinaFace by ONNX Runtime."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperarc.errors import DataError, HyperArcError, unknown_name
from hyperarc.faces.detectors.decoding import DECODERS, Array, decode_distances
from hyperarc.faces.detectors.graph import output_names
from hyperarc.faces.detectors.yunet import YuNet
from hyperarc.faces.face import Detector, Face, check_photo
from hyperarc.faces.image import Pixels
from hyperarc.faces.overlap import suppress
from hyperarc.onnx_session import one_line, open_session

_YUNET = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
_STRIDE = 32
_SIZE = 640  # InsightFace's


def open_onnx(path: Path, **args: Any) -> Detector:
    """The detector that an ONNX file holds, known by the outputs of its graph.

    Raises:
        DataError: no ONNX file, or none of YuNet, SCRFD or RetinaFace with landmarks.
        UnknownNameError: the detector takes no such argument.
    """
    names = output_names(path)
    if set(names) != _YUNET and len(names) != 9:
        raise _unknown(path, f"a graph with the outputs {', '.join(names)}")
    detector = YuNet if set(names) == _YUNET else OnnxDetector
    known = inspect.signature(detector).parameters
    for argument in args:
        if argument not in known:
            raise unknown_name(f"argument of {detector.__name__}", argument, known)
    return detector(path, **args)


class OnnxDetector:
    """SCRFD and RetinaFace with five landmarks, as InsightFace's packs hold them; may be shared by threads.

    Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022; Deng et al.,
    "RetinaFace: Single-shot Multi-level Face Localisation in the Wild", CVPR 2020. As there, a photo is shrunk or
    enlarged to fit the input, black below or to the right of it, and boxes that overlap by more than 0.4 are one face.
    SCRFD is given (RGB - 127.5) / 128, RetinaFace RGB from 0 to 255.

    Args:
        model: the ONNX file.
        min_score: faces below are left out.
        size: side of the square input in px, a multiple of 32; default the file's, and 640 where it takes any.
        device: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        HyperArcError: ONNX Runtime is not installed, or the file takes another size.
        DataError: no such file, or other outputs.
    """

    def __init__(self, model: Path, *, min_score: float = 0.5, size: int | None = None, device: str = "cpu") -> None:
        self.model = Path(model)
        self.min_score = min_score
        self._session = open_session(self.model.read_bytes(), device=device, where=self.model)
        self._input = self._session.get_inputs()[0]
        self._shape = self._input_shape(size)
        outputs = self._run(np.zeros((*self._shape, 3), dtype=np.float32))
        holds = {output.shape[1 if output.ndim == 4 else -1] for output in outputs if output.ndim}
        known = [kind for kind in DECODERS if holds == set(kind)]
        if not known:
            raise _unknown(self.model, f"outputs {[list(output.shape) for output in outputs]}")
        self._decode = DECODERS[known[0]]
        self._mean, self._std = (127.5, 128.0) if self._decode is decode_distances else (0.0, 1.0)

    def _input_shape(self, size: int | None) -> tuple[int, int]:
        if len(self._input.shape) != 4:
            raise _unknown(self.model, f"an input {self._input.shape}")
        own = [side if isinstance(side, int) and side > 0 else None for side in self._input.shape[2:]]
        asked = _SIZE if size is None else size
        height, width = (side or asked for side in own)
        fits = size is None or height == width == size
        if not fits or min(height, width) < _STRIDE or height % _STRIDE or width % _STRIDE:
            raise HyperArcError(
                f"expected a size that {_STRIDE} divides and the file takes, got {asked}",
                where=self.model,
                mend=f"it takes {' x '.join(str(side or 'any') for side in own)} px",
            )
        return height, width

    def _run(self, pixels: npt.NDArray[np.float32]) -> list[Array]:
        try:
            outputs: list[Array] = self._session.run(None, {self._input.name: pixels.transpose(2, 0, 1)[None]})
        except Exception as error:  # ONNX Runtime has a class of its own for each kind of damage
            raise DataError(f"ONNX Runtime cannot run it: {one_line(error)}", where=self.model) from error
        return outputs

    def detect(self, image: Pixels) -> list[Face]:
        """Faces of a photo, uint8 [H, W, 3] RGB, the highest score first."""
        photo = check_photo(image)
        ratio = min(self._shape[0] / photo.shape[0], self._shape[1] / photo.shape[1])
        height, width = (max(1, int(side * ratio)) for side in photo.shape[:2])
        canvas = np.zeros((*self._shape, 3), dtype=np.float32)
        shrunk = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR)
        canvas[:height, :width] = np.asarray(shrunk)
        outputs = self._run((canvas - np.float32(self._mean)) / np.float32(self._std))
        try:
            rows = self._decode(outputs, self._shape, self.min_score)
        except ValueError as error:
            raise _unknown(self.model, str(error)) from error
        rows = rows[np.isfinite(rows).all(1)]
        rows = rows[suppress(rows[:, :4], rows[:, 14])]
        rows[:, :14] *= np.tile([photo.shape[1] / width, photo.shape[0] / height], 7)
        return [Face(row[:4], row[4:14].reshape(5, 2), row[14]) for row in rows]


def _unknown(path: Path, got: str) -> DataError:
    return DataError(
        f"expected a face detector with five landmarks (YuNet, SCRFD, RetinaFace), got {got}",
        where=path,
        mend="of InsightFace's packs take det_10g.onnx, det_500m.onnx or a scrfd_..._bnkps.onnx",
    )
