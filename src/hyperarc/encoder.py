"""The encoder: crops in, embeddings out, under one contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hyperarc.contract import Contract
from hyperarc.errors import DataError, HyperArcError, UsageError


@dataclass(frozen=True)
class Embeddings:
    """Raw embeddings of N crops.

    Attributes:
        vectors: [N, d] float32, not normalized (with flip "sum", the sum over a crop and its mirror image).
        norms: [N] their lengths, a measure of quality for some margins.
        contract: digest of the contract they were made under.
    """

    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]
    contract: str


def model_input(faces: Tensor, contract: Contract, device: torch.device | str, channels_last: bool = False) -> Tensor:
    """uint8 RGB crops [N, 3, H, W] as the float input a model of this contract expects.

    Example:
        >>> model_input(torch.zeros(1, 3, 112, 112, dtype=torch.uint8), Contract(), "cpu").unique().tolist()
        [-1.0]
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pixels = faces.to(device, non_blocking=True).to(torch.float32, memory_format=layout)
    if contract.color == "bgr":
        pixels = pixels.flip(1)
    mean = torch.tensor(contract.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(contract.std, device=pixels.device)[:, None, None]
    return pixels.sub_(mean).div_(std)


class Encoder:
    """A backbone with its contract, in eval mode.

    Args:
        backbone: [N, 3, H, W] -> [N, d].
        contract: what the backbone expects; its flip policy decides whether the mirror image is added.
        device: "cpu", "cuda" ...; one that is not there is a :class:`HyperArcError`.
        batch_size: crops per forward pass; on CPU more than 32 leave the cache and get slower.
        dtype: of the computation inside the backbone (autocast when it is not float32).

    Example:
        >>> encoder = Encoder(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), Contract(embedding_dim=4))
        >>> encoder.embed(np.zeros((2, 112, 112, 3), np.uint8)).vectors.shape
        (2, 4)
    """

    def __init__(
        self,
        backbone: nn.Module,
        contract: Contract,
        *,
        device: torch.device | str = "cpu",
        batch_size: int = 32,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        try:
            self.device = torch.device(device)
        except RuntimeError as error:  # torch's own message lists twenty kinds that HyperArc never runs on
            what = "the device cannot be used: no such kind"
            raise UsageError(what, where=f"device {device}", mend="use cpu, cuda, cuda:1 ...") from error
        try:
            self.backbone = backbone.to(self.device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise HyperArcError(
                f"the device cannot be used: {str(error).splitlines()[0]}", where=f"device {device}", mend="use cpu"
            ) from error
        self.contract = contract
        self.batch_size = batch_size
        self.dtype = dtype

    def embed(
        self, faces: NDArray[np.uint8], progress: Callable[[int], None] | None = None
    ) -> Embeddings:
        """Embed crops.

        Args:
            faces: uint8 RGB [N, H, W, 3], of the contract's size and aligned to its template.
            progress: called with the count of each batch.

        Returns:
            Embeddings [N, d], not normalized, and their norms; with flip ``sum`` over crop and mirror image.

        Raises:
            DataError: no array, or another dtype, shape or size.
        """
        self._check(faces)
        starts = range(0, len(faces), self.batch_size)
        return self.embed_batches((faces[i : i + self.batch_size] for i in starts), progress)

    @torch.inference_mode()
    def embed_batches(
        self, batches: Iterable[NDArray[np.uint8]], progress: Callable[[int], None] | None = None
    ) -> Embeddings:
        """Embed batches of crops as they come; nothing but the vectors is kept."""
        was_training = self.backbone.training
        self.backbone.eval()
        try:
            parts = list(self._vectors(batches, progress))
        finally:
            self.backbone.train(was_training)
        vectors = np.concatenate(parts) if parts else np.zeros((0, self.contract.embedding_dim), np.float32)
        return Embeddings(vectors, np.linalg.norm(vectors, axis=1), self.contract.digest)

    def _vectors(
        self, batches: Iterable[NDArray[np.uint8]], progress: Callable[[int], None] | None
    ) -> Iterator[NDArray[np.float32]]:
        for faces in batches:
            self._check(faces)
            pixels = torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)
            inputs = model_input(pixels, self.contract, self.device, channels_last=True)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                vectors = self.backbone(inputs).float()
                if self.contract.flip == "sum":
                    vectors += self.backbone(inputs.flip(3)).float()
            if progress is not None:
                progress(len(faces))
            yield vectors.cpu().numpy()

    def _check(self, faces: NDArray[np.uint8]) -> None:
        size = (self.contract.height, self.contract.width, 3)
        if not isinstance(faces, np.ndarray):
            raise DataError(
                f"expected an array of faces, uint8 RGB [N, {size[0]}, {size[1]}, 3], got a {type(faces).__name__}",
                mend="join crops by numpy.stack",
            )
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != size:
            raise DataError(
                f"expected uint8 RGB faces [N, {size[0]}, {size[1]}, 3], got {faces.dtype} {list(faces.shape)}",
                mend="align the faces to the contract's size first",
            )
