"""YuNet by OpenCV: the default detector."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces.detectors.registry import DETECTORS
from hyperarc.faces.face import Face, check_photo
from hyperarc.faces.image import Pixels
from hyperarc.faces.model_file import Release, model_folders, obtain, sha256_of

_AUTHORS = "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/02246e79b1e976c83d1e135a85e0628120c93769"
RELEASE = Release(
    file="face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    bytes=232_589,
    # the authors' yunet_s_640_640.onnx is the same file, byte for byte, as OpenCV's
    addresses=(
        f"{_AUTHORS}/onnx/yunet_s_640_640.onnx",
        "https://huggingface.co/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx",
    ),
    license="MIT",
)
KNOWN = {
    RELEASE.file: RELEASE.sha256,
    "yunet_n_640_640.onnx": "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
    "yunet_n_dynamic.onnx": "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
}
"""Files that are looked for, in this order, and their SHA-256."""


@DETECTORS.register("yunet")
class YuNet:
    """Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023.

    May be shared by threads: each has a network of its own.

    Args:
        model: an ONNX file of YuNet, taken as it is; default one of :data:`KNOWN`, looked for in ``$HYPERARC_MODELS``
            and the cache of the user, else downloaded.
        min_score: faces below are left out.
        longest_px: photos are shrunk to this longest side.

    Raises:
        HyperArcError: OpenCV is not installed, or no model is there and none can be downloaded.
        DataError: the file is no YuNet that the installed OpenCV can run.
    """

    def __init__(self, model: Path | None = None, *, min_score: float = 0.6, longest_px: int = 640) -> None:
        self.model = Path(model) if model is not None else find_model()
        self.min_score = min_score
        self.longest_px = longest_px
        self._own = threading.local()
        self._network()

    def detect(self, image: Pixels) -> list[Face]:
        """Faces of a photo, uint8 [H, W, 3] RGB, the highest score first."""
        photo = check_photo(image)
        cv2 = _opencv()
        shrink = max(1.0, max(photo.shape[:2]) / self.longest_px)
        size = tuple(max(1, round(side / shrink)) for side in photo.shape[1::-1])
        small = cv2.cvtColor(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        network = self._network()
        network.setInputSize(size)
        rows = network.detect(small)[1]
        if rows is None:
            return []
        across, down = photo.shape[1] / size[0], photo.shape[0] / size[1]
        stretch = np.array([across, down])
        faces = [
            Face(
                np.concatenate([row[:2], row[:2] + row[2:4]]) * np.tile(stretch, 2),
                row[4:14].reshape(5, 2) * stretch,
                row[14],
            )
            for row in rows
        ]
        return sorted(faces, key=lambda face: -face.score)

    def _network(self) -> Any:
        if not hasattr(self._own, "network"):
            cv2 = _opencv()
            try:
                self._own.network = cv2.FaceDetectorYN.create(
                    str(self.model), "", (64, 64), self.min_score, 0.3, 5000
                )
            except cv2.error as error:
                raise DataError(
                    f"OpenCV {cv2.__version__} cannot open it: {error.err}", where=self.model, mend="use another file"
                ) from error
        return self._own.network


def find_model() -> Path:
    """The YuNet file of the user, or a download of :data:`RELEASE`.

    A file of a known name that holds other bytes is used where it lies in ``$HYPERARC_MODELS``, with a warning, and
    an error in the cache, where HyperArc alone writes.
    """
    *own, cache = model_folders()
    for folder in (*own, cache):
        for name, sha256 in KNOWN.items():
            path = folder / name
            if not path.is_file():
                continue
            found = sha256_of(path)
            if found != sha256 and folder == cache:
                raise DataError(
                    f"expected SHA-256 {sha256}, got {found}", where=path, mend="remove it, and it is downloaded anew"
                )
            if found != sha256:
                warnings.warn(f"{path}: not the released file (SHA-256 {found}); it is used all the same", stacklevel=2)
            return path
    return obtain(RELEASE)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise HyperArcError("OpenCV is not installed", mend="pip install 'hyperarc[detect]'") from error
    return cv2
