"""Which of the faces of a photo is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hyperarc.errors import unknown_name
from hyperarc.faces.face import Face


def choose_faces(faces: Sequence[Face], image_shape: Sequence[int], policy: str = "all") -> list[Face]:
    """The faces that a policy asks for, best first.

    With width w and height h of a face's box and its center d px from the center of the photo:

    - ``all``: every face, by score;
    - ``largest``: the one face of the largest area w h;
    - ``central``: the one face of the largest w h - 2 d^2, as facenet's align_dataset_mtcnn.py and InsightFace choose
      among several faces; in photos made of one person, as LFW's, it passes over larger faces at the border.

    Of equal values the higher score counts, then the face further left, then the one further up.

    Args:
        faces: of one photo.
        image_shape: its height and width in px; more is ignored, so ``image.shape`` will do.
        policy: one of :data:`POLICIES`.

    Raises:
        UnknownNameError: no such policy.

    Example:
        >>> import numpy as np
        >>> small, large = (Face(box, np.zeros((5, 2)), 0.9) for box in ([45, 45, 55, 55], [0, 0, 20, 20]))
        >>> choose_faces([small, large], (100, 100), "largest") == [large]
        True
        >>> choose_faces([small, large], (100, 100), "central") == [small]
        True
    """
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES)
    height, width = image_shape[:2]
    worth = POLICIES[policy]

    def rank(face: Face) -> tuple[float, ...]:
        return (-worth(face, height, width), -face.score, float(face.box[0]), float(face.box[1]))

    ordered = sorted(faces, key=rank)
    return ordered if policy == "all" else ordered[:1]


def _centrality(face: Face, height: int, width: int) -> float:
    left, top, right, bottom = face.box.tolist()
    distance = complex(left + right - width, top + bottom - height) / 2
    return face.width * face.height - 2 * abs(distance) ** 2


POLICIES: dict[str, Callable[[Face, int, int], float]] = {
    "all": lambda face, height, width: face.score,
    "largest": lambda face, height, width: face.width * face.height,
    "central": _centrality,
}
"""What a face is worth under each policy, given height and width of its photo."""
