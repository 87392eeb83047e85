"""FID of inverted faces: Inception's features of them and of real faces of the same people, by torch-fidelity."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hyperarc.commands.invert_judgement import Found
from hyperarc.commands.invert_real import RealFaces
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.crops import cut, read_crops
from hyperarc.errors import ArtifactError, HyperArcError, UsageError
from hyperarc.metrics import Frechet, frechet_distance

DIM = 2048
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
_BATCH = 32


class Inception:
    """InceptionV3 as FID was defined with it: TensorFlow's weights, and TensorFlow's way of resizing to 299 px.

    Both come of the package torch-fidelity (Obukhov et al., 2020), whose numbers agree with those of the FID authors.

    Args:
        weights: torch-fidelity's file, ``weights-inception-2015-12-05-6726825d.pth`` of its releases; read as tensors
            alone.
        device: to run on.

    Raises:
        HyperArcError: torch-fidelity is missing, or does not import. ArtifactError: no file of such weights.

    Example:
        >>> Inception("weights-inception-2015-12-05-6726825d.pth")  # doctest: +SKIP
    """

    def __init__(self, weights: str | Path, device: torch.device | str = "cpu") -> None:
        try:
            from torch_fidelity import FeatureExtractorInceptionV3
        except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises either
            mend = "pip install 'hyperarc[fid]', with the torchvision that was built for this torch"
            raise HyperArcError(f"FID needs the package torch-fidelity: {error}", mend=mend) from error
        state = _tensors(Path(weights))
        with tempfile.TemporaryDirectory() as folder:  # it unpickles the file that it is given: give it one of ours
            ours = Path(folder) / "weights.pth"
            torch.save(state, ours)
            try:
                network = FeatureExtractorInceptionV3("inception", [str(DIM)], feature_extractor_weights_path=str(ours))
            except RuntimeError as error:
                told = " ".join(str(error).split())[:200]
                raise ArtifactError(f"expected InceptionV3 as torch-fidelity has it: {told}", where=weights) from error
        self.device = torch.device(device)
        self._network: Any = network.to(self.device)

    def features(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Pooled features [n, 2048] of RGB pictures [n, H, W, 3], of any length."""
        batch = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(self.device)
        with torch.inference_mode():
            (found,) = self._network(batch)
        features: npt.NDArray[np.float32] = found.float().cpu().numpy()
        return features


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    mend = f"torch-fidelity's releases have it: {WEIGHTS}"
    if not path.is_file():
        raise ArtifactError("no such file of Inception's weights", where=path, mend=mend)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything for what is no file of its own
        raise ArtifactError(f"no weights that can be read: {type(error).__name__}", where=path, mend=mend) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ArtifactError("expected tensors by name", where=path, mend=mend)
    return state


def open_inception(weights: Path, real: RealFaces | None, device: torch.device) -> Inception:
    """The network, before a long search.

    Raises:
        UsageError: no real faces to compare with. HyperArcError, ArtifactError: see :class:`Inception`.
    """
    if real is None:
        raise UsageError("--inception needs real faces to compare with", mend="name them with --real")
    return Inception(weights, device)


def fid_of(
    found: Mapping[str, Found], real: RealFaces, network: Inception, contract: Contract, show: Show
) -> dict[str, Frechet]:
    """FID between the kept faces and the real ones, by the priors used; nothing with fewer than two of either."""
    theirs = _features_of_real(network, real, contract, show)
    told = {}
    for name, one in found.items():
        faces = one.faces
        if min(len(faces), len(theirs)) > 1:
            ours = [network.features(faces[part]) for part in cut(np.arange(len(faces)), _BATCH)]
            told[name] = frechet_distance(np.concatenate(ours), theirs, unit=False)
    return told


def _features_of_real(
    network: Inception, real: RealFaces, contract: Contract, show: Show
) -> npt.NDArray[np.float32]:
    """Of those that can be read."""
    features = [np.zeros((0, DIM), np.float32)]
    batches = cut(real.rows, _BATCH)
    with (
        show.progress("Inception's features") as tell,
        closing(read_crops(real.faces.reader, batches, contract, threads=2)) as read,
    ):
        done = 0
        for batch in read:
            if len(batch.crops):
                features.append(network.features(batch.crops))
            done += len(batch.rows) + len(batch.unreadable)
            tell(done, len(real.rows))
    return np.concatenate(features)
