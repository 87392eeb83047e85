"""What was measured of one model: its class centers, and the sets of faces it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hyperarc.commands.angle_faces import EmbeddedFaces, Model
from hyperarc.commands.show import Show
from hyperarc.protocols.angles import Asked, MeasuredAngles, measure_angles

TRAIN, OTHER = "train", "other"


@dataclass(frozen=True, eq=False)
class Looked:
    """A set of faces under a model, and its angles."""

    embedded: EmbeddedFaces
    angles: MeasuredAngles


@dataclass(frozen=True, eq=False)
class ModelAngles:
    """Everything measured of one model.

    Attributes:
        model: which.
        w_inter_deg: of its class centers; None when it has none.
        sets: "train" and "other", those that were given.
        overlap: people of the other faces who bear the name of one it was trained on.
    """

    model: Model
    w_inter_deg: float | None
    sets: dict[str, Looked]
    overlap: int

    def table(self) -> dict[str, float | None]:
        """The rows of Table 3 of the ArcFace paper, in degrees; None where there is nothing to measure."""
        rows: dict[str, float | None] = {"W-EC": None, "W-Inter": self.w_inter_deg}
        for number, name in ((1, TRAIN), (2, OTHER)):
            found = self.sets[name].angles.statistics if name in self.sets else None
            if found is not None and name == TRAIN:
                rows["W-EC"] = found.w_ec_deg
            rows[f"Intra{number}"] = None if found is None else found.intra_deg
            rows[f"Inter{number}"] = None if found is None else found.inter_deg
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        artifact, classes = self.model.artifact, self.model.classes
        told: dict[str, Any] = {"model": self.model.name, "artifact": str(artifact.path)}
        told |= {"contract": artifact.contract.digest, "flip": artifact.contract.flip}
        told |= {"margin": None if artifact.recipe is None else artifact.recipe.head.margin}
        told |= {"classes": None if classes is None else len(classes.people)}
        told |= {"sub_centers": None if classes is None else classes.sub_centers, "table_deg": self.table()}
        for name, looked in self.sets.items():
            told[name] = {"data": looked.embedded.name, "unreadable_faces": looked.embedded.unreadable}
            told[name] |= looked.angles.as_dict()
        if OTHER in self.sets and classes is not None:
            told[OTHER]["people_named_like_trained_ones"] = self.overlap
        return told


def measure_model(model: Model, sets: dict[str, EmbeddedFaces], asked: Asked, show: Show) -> ModelAngles:
    """Measure a model on sets of faces, "train" and "other"; notes tell of what does not fit together."""
    looked, overlap = {}, 0
    for name, embedded in sets.items():
        classes = model.classes if name == TRAIN else None
        with show.progress(f"angles of {embedded.name} under {model.name}") as tell:
            looked[name] = Looked(embedded, measure_angles(embedded.faces, classes, asked, tell))
        _warn(model, name, looked[name], show)
        if name == OTHER and model.classes is not None:
            overlap = int((model.classes.classes_of(embedded.stored.people) >= 0).sum())
    w_inter = None
    if model.classes is not None:
        with show.progress(f"class centers of {model.name}"):
            w_inter = model.classes.w_inter_deg()
    return ModelAngles(model, w_inter, looked, overlap)


def _warn(model: Model, name: str, looked: Looked, show: Show) -> None:
    people, matched = looked.angles.statistics.people, looked.angles.matched
    if name == TRAIN and model.classes is not None and matched < people:
        show.note(
            f"warning: {people - matched} of {people} people of {looked.embedded.name} are not among those that "
            f"{model.name} was trained on; W-EC is over the others"
        )
    if looked.embedded.unreadable:
        show.note(f"{looked.embedded.unreadable} faces of {looked.embedded.name} could not be read, and are left out")


def sets_of(found: Sequence[ModelAngles], name: str) -> list[tuple[ModelAngles, Looked]]:
    """The models that were measured on a set."""
    return [(one, one.sets[name]) for one in found if name in one.sets]
