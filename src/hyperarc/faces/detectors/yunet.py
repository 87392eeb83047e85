"""YuNet by OpenCV: the default detector.

YuNet was trained on faces 10 to 300 px high. It still finds smaller and larger ones, but marks them badly: against its
own median over many sizes, landmarks of faces 16 px high are 9 px off (in px of a crop of 112), of 96 px 2 px. So a
photo is searched at several sizes, and every face found is then looked at by itself, brought to 96 px:
box, landmarks and score are those of this second look. What it does not confirm is left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces.detectors.registry import DETECTORS
from hyperarc.faces.detectors.yunet_file import RELEASE, find_model
from hyperarc.faces.face import Face, check_photo
from hyperarc.faces.image import Pixels
from hyperarc.faces.overlap import overlaps, suppress

Floats = npt.NDArray[np.float64]
Window = tuple[int, int, int, int]

# Longer side of a face in the second look, where landmarks are best, and one more try: profiles are at times seen only
# there, but so is what chance makes look like a face, so more of min_score is asked.
_LOOKS = ((96, 1.0), (192, 1.25))
_AROUND = 2  # side of the second look's window over the longer side of the box
_BORDER = 0.25  # black around the smallest search, over the photo's longest side: for faces that fill the photo
_STEP = 1.5  # a search at less than this over the size before finds nothing new
_HINT = 0.7  # of min_score: enough to be looked at again
_CONFIRMS = 0.3  # overlap of a face with what the second look finds

_LOG, _SILENT = threading.Lock(), 0  # OpenCV has one log for all threads


@DETECTORS.register("yunet")
class YuNet:
    """Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023.

    May be shared by threads: each has a network of its own.

    Args:
        model: an ONNX file of YuNet, taken as it is; default the one that
            :func:`hyperarc.faces.detectors.yunet_file.find_model` finds.
        min_score: faces below are left out.
        sizes: longest sides in px at which a photo is searched; photos are shrunk to them, never enlarged. The last one
            finds the faces of a crowd and takes most of the time.

    Raises:
        HyperArcError: OpenCV is not installed, or no model is there and none can be downloaded.
        DataError: the file is no YuNet that the installed OpenCV can run.
    """

    def __init__(
        self, model: Path | None = None, *, min_score: float = 0.6, sizes: Sequence[int] = (160, 640, 1920)
    ) -> None:
        if not sizes or min(sizes) < 32 or not 0 < min_score < 1:
            raise HyperArcError(
                f"expected min_score between 0 and 1 and sizes from 32 px on, got {min_score} and {tuple(sizes)}"
            )
        self.model = Path(model) if model is not None else find_model()
        self.min_score = min_score
        self.sizes = tuple(sorted(sizes))
        self._own = threading.local()
        self._network()

    def detect(self, image: Pixels) -> list[Face]:
        """Faces of a photo, uint8 [H, W, 3] RGB, the highest score first."""
        photo = check_photo(image)
        rows = self._second_looks(photo, self._search(photo))
        return [Face(row[:4], row[4:14].reshape(5, 2), row[14]) for row in rows]

    def _search(self, photo: Pixels) -> Floats:
        """Rows [n, 15] of all sizes together: box, landmarks, score."""
        height, width = photo.shape[:2]
        longest, before, found = max(height, width), 0.0, []
        for size in self.sizes:
            reached = min(size, longest)
            if reached < before * _STEP:
                break
            around = 0 if before else round(_BORDER * longest)
            window = (-around, -around, width + around, height + around)
            found.append(self._look(photo, window, reached / longest, _HINT * self.min_score))
            before = reached
        return _alone(np.concatenate(found))

    def _second_looks(self, photo: Pixels, found: Floats) -> Floats:
        confirmed = []
        for row in found:
            side = max(row[2] - row[0], row[3] - row[1], 1.0)  # less would be enlarged without bound
            x, y, half = (row[0] + row[2]) / 2, (row[1] + row[3]) / 2, side * _AROUND / 2
            window = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
            for look_px, sure in _LOOKS:
                seen = self._look(photo, window, look_px / side, sure * self.min_score)
                shared = overlaps(row[:4], seen[:, :4])
                if len(seen) and shared.max() >= _CONFIRMS:
                    confirmed.append(seen[shared.argmax()])
                    break
        return _alone(np.array(confirmed).reshape(-1, 15))

    def _look(self, photo: Pixels, window: Window, ratio: float, min_score: float) -> Floats:
        """Faces in a window of the photo, brought to ``ratio`` times its size; black outside the photo."""
        cv2 = _opencv()
        left, top, right, bottom = window
        x, y = max(left, 0), max(top, 0)
        part = photo[y : max(bottom, 0), x : max(right, 0)]
        if 0 in part.shape:
            return np.zeros((0, 15))
        size = tuple(max(1, round(side * ratio)) for side in part.shape[1::-1])
        how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        bgr = cv2.resize(part, size, interpolation=how)[..., ::-1]  # the only place where RGB becomes BGR
        before = [round(v * ratio) for v in (y - top, x - left)]
        after = [max(0, round(v * ratio)) for v in (bottom - photo.shape[0], right - photo.shape[1])]
        canvas = np.pad(bgr, [(before[0], after[0]), (before[1], after[1]), (0, 0)])
        network = self._network()
        network.setInputSize(canvas.shape[1::-1])
        network.setScoreThreshold(min_score)
        found = network.detect(canvas)[1]
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, dtype=np.float64)
        rows[:, 2:4] += rows[:, :2]
        stretch = np.array(part.shape[1::-1]) / size
        points = (rows[:, :14].reshape(-1, 7, 2) - before[::-1]) * stretch + (x, y)
        rows[:, :14] = points.reshape(-1, 14)
        return rows[np.isfinite(rows).all(1)]

    def _network(self) -> Any:
        if not hasattr(self._own, "network"):
            self._own.network = _open(self.model)
        return self._own.network

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_own"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _own=threading.local())


def _alone(rows: Floats) -> Floats:
    return rows[suppress(rows[:, :4], rows[:, 14])]


def _open(model: Path) -> Any:
    cv2 = _opencv()
    if not model.is_file():
        raise DataError("expected an ONNX file of YuNet, found none", where=model, mend="check the path")
    try:
        with _LOG, _quiet(cv2):
            network = cv2.FaceDetectorYN.create(str(model), "", (64, 64), 0.5, 0.3, 5000)
            network.detect(np.zeros((64, 64, 3), np.uint8))
    except cv2.error as error:
        raise DataError(
            f"OpenCV {cv2.__version__} cannot run it as YuNet: {' '.join(error.err.split())}",
            where=model,
            mend=f"{RELEASE.file} runs on OpenCV 4.10 and later",
        ) from error
    return network


@contextmanager
def _quiet(cv2: Any) -> Iterator[None]:
    """OpenCV 5 warns of a missing choice of devices that nobody made."""
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 moved it
    before = log.setLogLevel(_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(before)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise HyperArcError("OpenCV is not installed", mend="pip install 'hyperarc[detect]'") from error
    return cv2
