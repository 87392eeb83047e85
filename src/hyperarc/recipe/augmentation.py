"""The augmentation section of a recipe: what may befall a face in training, how likely and within which limits.

:mod:`hyperarc.faces.augmentation` does it. Ranges are [least, most], both included; values are drawn evenly between.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from hyperarc.recipe.frozen import Frozen

Interpolation = Literal["nearest", "bilinear", "area", "bicubic", "lanczos"]


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected [least, most], got [{limits[0]:g}, {limits[1]:g}]")
    return limits


Shares = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_ascending)
]
Factors = Annotated[
    tuple[Annotated[float, Field(ge=0, le=10)], Annotated[float, Field(ge=0, le=10)]], AfterValidator(_ascending)
]
Degrees = Annotated[
    tuple[Annotated[float, Field(ge=-180, le=180)], Annotated[float, Field(ge=-180, le=180)]],
    AfterValidator(_ascending),
]
Pixels = Annotated[
    tuple[Annotated[float, Field(ge=0, le=15)], Annotated[float, Field(ge=0, le=15)]], AfterValidator(_ascending)
]
Qualities = Annotated[
    tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]], AfterValidator(_ascending)
]


class Chance(Frozen):
    """An augmentation and how likely it is."""

    p: float = Field(0.2, ge=0, le=1, description="probability for each face")


class Sunglasses(Chance):
    """Sunglasses, drawn over the eyes."""

    opacity: Shares = Field((0.6, 0.98), description="of the lenses")


class Mask(Chance):
    """A face mask, drawn over nose, mouth and chin."""

    kinds: tuple[Literal["surgical", "cloth", "respirator"], ...] = Field(
        ("surgical", "cloth", "respirator"), min_length=1, description="which to draw from"
    )


class Occlusion(Chance):
    """A square filled anew, as random erasing and MXNet's cutoff do."""

    side: Shares = Field((0.2, 0.5), description="of the square, as a share of the crop's")
    fill: Literal["gray", "noise"] = Field("gray", description="the value 128, or noise")


class Crop(Chance):
    """A rectangle of the face stays in place, all around it turns black."""

    area: Shares = Field((0.2, 1.0), description="of the rectangle, as a share of the crop's")
    aspect: float = Field(4 / 3, ge=1, le=10, description="most that width / height, or height / width, may be")


class LowResolution(Chance):
    """Shrunk and enlarged again."""

    side: Shares = Field((0.2, 1.0), description="of the shrunken face, as a share of the crop's")
    interpolations: tuple[Interpolation, ...] = Field(
        ("nearest", "bilinear", "area", "bicubic", "lanczos"), min_length=1, description="drawn for each way anew"
    )
    antialias: bool = Field(True, description="filter before shrinking; OpenCV, which AdaFace takes, does not")


class Blur(Chance):
    """Blur of the lens, a Gaussian, and of a moving camera."""

    sigma_px: Pixels = Field((0.5, 2.0), description="of the Gaussian")
    motion_px: Pixels = Field((0.0, 0.0), description="length of the streak; at a random angle")


class Color(Chance):
    """Brightness, contrast, saturation and hue, in random order."""

    brightness: Factors = Field((0.5, 1.5), description="factor")
    contrast: Factors = Field((0.5, 1.5), description="factor, around the mean gray level")
    saturation: Factors = Field((0.5, 1.5), description="factor, around the gray of each pixel")
    hue_deg: Degrees = Field((0.0, 0.0), description="turn of the hues")


class Gray(Chance):
    """Color is lost."""


class Jpeg(Chance):
    """Compressed as JPEG, with chroma at half the resolution."""

    quality: Qualities = Field((30, 95), description="as libjpeg counts it")


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "none": {},
    # mk-minchul/AdaFace, dataset/augmenter.py; Kim, Jain, Liu, CVPR 2022, section 4.1: p = 0.2 each
    "adaface": {"crop": {}, "low_resolution": {"antialias": False}, "color": {}},
    # insightface, recognition/arcface_torch/dataset.py, dali_aug; for windows of 3 and 5 px DALI takes 0.8 and 1.1
    "arcface_torch_dali": {
        "low_resolution": {"p": 0.1, "side": [0.5, 0.8], "interpolations": ["bilinear"]},
        "blur": {"p": 0.2, "sigma_px": [0.8, 1.1]},
        "color": {"p": 0.2, "brightness": [1, 1], "contrast": [1, 1], "saturation": [1, 1.2], "hue_deg": [0, 20]},
        "gray": {"p": 0.1},
    },
    # HyperArc's own
    "occluded": {"sunglasses": {"p": 0.1}, "mask": {"p": 0.2}, "occlusion": {"p": 0.1}},
}


class Augmentation(Frozen):
    """What befalls faces in training: a preset's name, or sections that add to one.

    Those present follow one another in the order below: what is worn, what stands before the face, how the picture is
    framed, taken and stored. Mirroring is none of them; see ``data.flip``.

    Example:
        >>> Augmentation.model_validate("adaface").low_resolution.side
        (0.2, 1.0)
        >>> mine = Augmentation.model_validate({"preset": "adaface", "crop": None, "color": {"p": 0.5}})
        >>> mine.crop, mine.color.p, mine.color.contrast
        (None, 0.5, (0.5, 1.5))
    """

    preset: Literal["none", "adaface", "arcface_torch_dali", "occluded"] = Field(
        "none", description="sections to begin with; what is given beside it counts, null takes one out"
    )
    sunglasses: Sunglasses | None = None
    mask: Mask | None = None
    occlusion: Occlusion | None = None
    crop: Crop | None = None
    low_resolution: LowResolution | None = None
    blur: Blur | None = None
    color: Color | None = None
    gray: Gray | None = None
    jpeg: Jpeg | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        given = {"preset": given} if isinstance(given, str) else given
        if not isinstance(given, dict):
            return given
        name = given.get("preset", "none")
        whole: dict[str, Any] = dict(PRESETS.get(name, {})) if isinstance(name, str) else {}
        for key, section in given.items():
            begun = whole.get(key)
            whole[key] = begun | section if isinstance(begun, dict) and isinstance(section, dict) else section
        return whole

    def steps(self) -> dict[str, Chance]:
        """The augmentations asked for, in their order.

        Example:
            >>> list(Augmentation(preset="adaface").steps())
            ['crop', 'low_resolution', 'color']
        """
        named = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: section for name, section in named if isinstance(section, Chance)}
