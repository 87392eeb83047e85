"""From a photo to aligned crops of its faces, each with what is doubtful about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperarc.errors import DataError
from hyperarc.faces.alignment import align
from hyperarc.faces.choice import choose_faces
from hyperarc.faces.face import Detector, Face
from hyperarc.faces.image import Pixels
from hyperarc.faces.quality import Quality, assess_quality
from hyperarc.faces.template import Floats, open_template, similarity

LOW_SCORE, OFF, SEVERAL = "low score", "landmarks off", "several faces"


@dataclass(frozen=True)
class Cutting:
    """How faces are chosen and cut out, and what is doubtful.

    Attributes:
        policy: ``all``, ``largest`` or ``central`` (:func:`hyperarc.faces.choice.choose_faces`).
        size: height of a crop in px.
        template: that crops are aligned to.
        sure_score: a detector's score below this is doubtful. HyperArc's own value for YuNet.
        most_residual_px: landmarks further from the template than this, at a crop height of 112, are doubtful.
        rival_share: another face at least this large, as a share of the chosen one's area, makes the choice doubtful.
    """

    policy: str = "central"
    size: int = 112
    template: str = "arcface_112"
    sure_score: float = 0.8
    most_residual_px: float = 10.0
    rival_share: float = 0.4


@dataclass(frozen=True, eq=False)
class Crop:
    """A face cut out of a photo.

    Attributes:
        pixels: uint8 [size, width, 3], RGB, aligned.
        face: where it was in the photo.
        landmarks: float64 [5, 2], px of the crop.
        quality: measures of the crop.
        rival: largest other face of the photo, as a share of this one's area; 0 where the policy takes all.
        doubts: why a person should look at it, each ``"kind: detail"``; empty for nearly all.
    """

    pixels: Pixels
    face: Face
    landmarks: Floats
    quality: Quality
    rival: float
    doubts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """What came of a photo.

    Attributes:
        crops: of the faces that the policy asks for.
        found: how many faces the detector saw.
        problems: why faces that the policy asks for could not be cut out, such as landmarks all in one place.
    """

    crops: list[Crop]
    found: int
    problems: list[str]


def cut_faces(photo: Pixels, detector: Detector, cutting: Cutting) -> Cut:
    """Aligned crops of the faces that the policy asks for.

    Args:
        photo: uint8 [H, W, 3], RGB.
        detector: finds the faces.
        cutting: which faces, how large, what is doubtful.

    Example:
        >>> class Template:
        ...     def detect(self, image):
        ...         points = open_template("arcface_112").points * 2
        ...         return [Face([40, 40, 190, 210], points, 0.95), Face([0, 0, 100, 130], points / 2, 0.6)]
        >>> cut = cut_faces(np.full((250, 250, 3), 90, np.uint8), Template(), Cutting())
        >>> cut.found, cut.crops[0].pixels.shape, cut.crops[0].doubts
        (2, (112, 112, 3), ('several faces: the second has 51 % of the area',))
    """
    faces = detector.detect(photo)
    crops, problems = [], []
    for face in choose_faces(faces, photo.shape, cutting.policy):
        try:
            crops.append(_cut(photo, face, faces, cutting))
        except DataError as error:
            problems.append(f"a face that cannot be cut out: {error}")
    return Cut(crops, len(faces), problems)


def _cut(photo: Pixels, face: Face, faces: Sequence[Face], cutting: Cutting) -> Crop:
    pixels = align(photo, face.landmarks, cutting.size, template=cutting.template)
    matrix = similarity(face.landmarks, cutting.template, cutting.size)
    landmarks = face.landmarks.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    quality = assess_quality(pixels, face.landmarks, template=cutting.template)
    others = [other for other in faces if other is not face and cutting.policy != "all"]
    rival = max((other.width * other.height for other in others), default=0.0) / max(face.width * face.height, 1.0)
    return Crop(pixels, face, landmarks, quality, rival, _doubts(face, quality, rival, cutting))


def _doubts(face: Face, quality: Quality, rival: float, cutting: Cutting) -> tuple[str, ...]:
    doubts = []
    if face.score < cutting.sure_score:
        doubts.append(f"{LOW_SCORE}: {face.score:.2f}, at least {cutting.sure_score:g}")
    if quality.residual_px > cutting.most_residual_px:
        doubts.append(f"{OFF}: {quality.residual_px:.1f} px, at most {cutting.most_residual_px:g}")
    if rival >= cutting.rival_share:
        doubts.append(f"{SEVERAL}: the second has {100 * rival:.0f} % of the area")
    return tuple(doubts)


def misfit_px(landmarks: Floats, template: str = "arcface_112", size: int = 112) -> Floats:
    """How far landmarks in a crop lie from the template as they stand, root mean square, in px of a crop 112 high.

    A few px for crops that are aligned to the template; crops cut in another way, or photos, have more. Unlike
    :func:`hyperarc.faces.template.residual_px` nothing is fitted.

    Args:
        landmarks: [..., 5, 2], px of the crop.
        template: name of the template.
        size: height of the crop in px.

    Example:
        >>> float(misfit_px(open_template("arcface_112").points + [3, 4]))
        5.0
    """
    apart = np.asarray(landmarks, np.float64) - open_template(template, size).points
    return np.asarray(np.sqrt((apart**2).sum(-1).mean(-1)) * 112 / size, dtype=np.float64)
