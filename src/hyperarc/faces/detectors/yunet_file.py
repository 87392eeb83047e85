"""Which files of YuNet there are, and where this one comes from."""

from __future__ import annotations

import warnings
from pathlib import Path

from hyperarc.errors import DataError
from hyperarc.faces.model_file import Release, cache_folder, model_folders, obtain, sha256_of

RELEASE = Release(
    file="yunet_n_640_640.onnx",
    sha256="25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
    bytes=317_466,
    address="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
    "02246e79b1e976c83d1e135a85e0628120c93769/onnx/yunet_n_640_640.onnx",
    license="Apache-2.0",
)
"""The authors' file that is downloaded."""

KNOWN = {
    RELEASE.file: RELEASE.sha256,
    "face_detection_yunet_2023mar.onnx": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "yunet_n_dynamic.onnx": "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
}
"""Files that are looked for, in this order, and their SHA-256.

Two networks: the larger one, which finds more of the small faces, as its authors give it for pictures of 640 x 640
(OpenCV takes any size all the same) and, last, of any size, which needs OpenCV 5; and the smaller one, under the name
that it has in OpenCV's model zoo.
"""


def find_model() -> Path:
    """The first of :data:`KNOWN` in the folders of ``HYPERARC_MODELS`` and the user's cache, else :data:`RELEASE`,
    downloaded.

    A file of such a name with another content is used with a warning where it lies in a folder of ``HYPERARC_MODELS``;
    in the cache, where HyperArc alone writes, it is an error.

    Raises:
        DataError: the file in the cache is not the released one.
        HyperArcError: there is none, and it could not be downloaded.
    """
    return local_model() or obtain(RELEASE)


def local_model() -> Path | None:
    """What :func:`find_model` finds without downloading, or None."""
    for folder in model_folders():
        for name, sha256 in KNOWN.items():
            path = folder / name
            if path.is_file():
                _check(path, sha256, own=folder != cache_folder() / "models")
                return path
    return None


def _check(path: Path, sha256: str, *, own: bool) -> None:
    found = sha256_of(path)
    if found == sha256:
        return
    if not own:
        mend = "remove it, and it is downloaded anew"
        raise DataError(f"expected SHA-256 {sha256}, got {found}", where=path, mend=mend)
    warnings.warn(f"{path}: not the released file of this name (SHA-256 {found}); used all the same", stacklevel=4)
