"""The augmenter: which faces of a batch are changed, how, and in which order, as a function of seed and step."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperarc.errors import DataError
from hyperarc.faces.augmentation import blur, color, framing, jpeg, mask, resolution, sunglasses
from hyperarc.faces.template import open_template
from hyperarc.recipe.augmentation import Augmentation

Change = Callable[[Tensor, Tensor, Tensor, Any], Tensor]  # faces, landmarks, draws, section -> faces


def _occlude(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    boxes = framing.draw_squares(draws, section, *faces.shape[2:])
    seeds = (draws[:, 3] * 2**31).long() if section.fill == "noise" else None
    return framing.occlude(faces, boxes, seeds)


def _crop(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    return framing.crop(faces, framing.draw_crops(draws, section, *faces.shape[2:]))


def _lower(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    shares, ways = resolution.draw_resolutions(draws, section)
    return resolution.lower_resolution(faces, shares, ways, antialias=section.antialias)


def _blur(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    return blur.blur(faces, blur.draw_kernels(draws, section))


def _color(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    return color.jitter_color(faces, *color.draw_factors(draws, section))


def _gray(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    return color.turn_gray(faces)


def _compress(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Any) -> Tensor:
    return jpeg.compress(faces, jpeg.draw_qualities(draws, section))


# name of the section -> how many even draws a face takes, and what is done
_CHANGES: dict[str, tuple[int, Change]] = {
    "sunglasses": (sunglasses.DRAWS, sunglasses.put_on_sunglasses),
    "mask": (mask.DRAWS, mask.put_on_mask),
    "occlusion": (framing.OCCLUSION_DRAWS, _occlude),
    "crop": (framing.CROP_DRAWS, _crop),
    "low_resolution": (resolution.DRAWS, _lower),
    "blur": (blur.DRAWS, _blur),
    "color": (color.DRAWS, _color),
    "gray": (0, _gray),
    "jpeg": (jpeg.DRAWS, _compress),
}


@dataclass(frozen=True)
class Augmenter:
    """Changes batches of faces as an augmentation section says.

    What befalls a face is a function of (seed, step, its place in the global batch) alone: a resumed run, any number of
    loader workers and any number of ranks see the same pixels.

    Args:
        section: of the recipe, ``data.augmentation``.
        seed: of all that is drawn.
        template: where the five points of aligned crops lie; for what is drawn on a face when its own are not given.

    Example:
        >>> augmenter = Augmenter(Augmentation.model_validate({"gray": {"p": 1.0}}), seed=0)
        >>> red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None].expand(2, 3, 16, 16)
        >>> augmenter(red, step=0).unique().tolist()
        [76]
    """

    section: Augmentation
    seed: int
    template: str = "arcface_112"

    def __call__(
        self, faces: Tensor, step: int, *, rank: int = 0, world_size: int = 1, landmarks: Tensor | None = None
    ) -> Tensor:
        """The faces of a step as the model shall see them; those given stay as they are.

        Args:
            faces: uint8 RGB [N, 3, H, W] in any memory format; this rank's part of the global batch.
            step: global step.
            rank, world_size: which part of the global batch these are; parts are contiguous and equally long.
            landmarks: five points [N, 5, 2] in px of the crops; None takes the template's.

        Raises:
            DataError: faces that are no uint8 [N, 3, H, W], or landmarks of another shape.
        """
        if faces.dtype != torch.uint8 or faces.ndim != 4 or faces.shape[1] != 3:
            raise DataError(f"expected uint8 faces [N, 3, H, W], got {faces.dtype} {list(faces.shape)}")
        count = len(faces)
        if landmarks is None:
            landmarks = torch.from_numpy(open_template(self.template, faces.shape[2]).points).expand(count, 5, 2)
        kept = list(faces.contiguous().unbind())  # whole faces are exchanged, which is faster than writing into a batch
        for name, section in self.section.steps().items():
            number, change = _CHANGES[name]
            draws = self._draw(step, name, count * world_size, 1 + number)[rank * count : (rank + 1) * count]
            rows = (draws[:, 0] < section.p).nonzero()[:, 0]
            chosen = [kept[row] for row in rows.tolist()]
            if chosen:
                points = landmarks[rows.to(landmarks.device)]
                changed = change(torch.stack(chosen), points, draws[rows, 1:], section)
                for row, face in zip(rows.tolist(), changed.unbind(), strict=True):
                    kept[row] = face
        return torch.stack(kept) if kept else faces

    def pictures(self, faces: NDArray[np.uint8], step: int = 0) -> NDArray[np.uint8]:
        """The same for uint8 crops [N, H, W, 3], to look at."""
        changed = self(torch.from_numpy(faces).permute(0, 3, 1, 2), step)
        return changed.permute(0, 2, 3, 1).contiguous().numpy()

    def _draw(self, step: int, name: str, count: int, number: int) -> Tensor:
        """Even draws [count, number]; each augmentation has a stream of its own, so others may come and go."""
        stream = np.random.default_rng((self.seed, step, zlib.crc32(name.encode())))
        return torch.from_numpy(stream.random((count, number)))


def open_augmenter(section: Augmentation, seed: int, template: str = "arcface_112") -> Augmenter | None:
    """The augmenter that a recipe asks for, or None.

    Example:
        >>> open_augmenter(Augmentation(), seed=0) is None
        True
    """
    return Augmenter(section, seed, template) if section.steps() else None
