"""The calibration of an artifact: what its cosines mean, at which threshold, and how far that can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from hyperarc.artifact.calibrated import ROUNDING, CalibratedFar, CalibratedRate, MapScores, Strict
from hyperarc.contract import Contract
from hyperarc.errors import ArtifactError, ContractError, DataError, HyperArcError
from hyperarc.files import write_beside
from hyperarc.metrics import ProbabilityMap, probability_map
from hyperarc.metrics.inputs import BoolArray, FloatArray, as_array

CALIBRATION = "calibration.json"
_MOST_BYTES = 16 * 2**20
_MOST_KNOTS = 100_000


def _read_map(plain: Any) -> ProbabilityMap:
    if isinstance(plain, ProbabilityMap):
        return plain
    if not isinstance(plain, dict) or any(isinstance(v, list) and len(v) > _MOST_KNOTS for v in plain.values()):
        raise ValueError(f"expected a probability map of at most {_MOST_KNOTS} knots")
    if not all(type(plain.get(name)) is int and plain[name] > 0 for name in ("genuine", "impostor")):
        raise ValueError("expected numbers of genuine and impostor pairs")
    try:
        return probability_map(plain)
    except DataError as error:
        raise ValueError(str(error)) from None


class Calibration(Strict):
    """What the cosines of an artifact's embeddings mean; read by :meth:`hyperarc.artifact.Artifact.calibration`.

    Attributes:
        contract: digest of the embeddings' contract.
        fars: one entry for each false accept rate, highest first.
        equal_error: where FAR = FRR; best_accuracy: where 1 - (FAR + FRR) / 2 is highest.
        probability_map: cosine -> P(one person), under a prior.
        scores: of the map, by cross-validation over people.
        conditions: data, pairs, people, flip, device ...

    Example (needs a calibrated artifact):
        >>> calibration = hyperarc.open_artifact("runs/mine/artifact").calibration()  # doctest: +SKIP
        >>> calibration.verify(0.61, far=1e-4)  # doctest: +SKIP
    """

    contract: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    fars: Annotated[tuple[CalibratedFar, ...], Field(min_length=1, max_length=64)]
    equal_error: CalibratedRate
    best_accuracy: CalibratedRate
    probability_map: Annotated[ProbabilityMap, PlainValidator(_read_map), PlainSerializer(ProbabilityMap.as_dict)]
    scores: MapScores
    conditions: Annotated[dict[str, str | bool | int | float], Field(max_length=64)]

    @model_validator(mode="after")
    def _falls(self) -> Calibration:
        cosines = [2.0 if one.threshold is None else one.threshold.cosine for one in self.fars]
        targets = [one.target for one in self.fars]
        if sorted(set(targets), reverse=True) != targets or sorted(cosines) != cosines:
            raise ValueError("expected falling rates with thresholds that never fall")
        return self

    def threshold(self, far: float) -> float:
        """The cosine from which pairs are accepted at ``far``.

        Raises:
            DataError: the rate was not calibrated (nothing is interpolated), or the pairs were too few for it.
        """
        supported = ", ".join(f"{one.target:g}" for one in self.fars if one.supported) or "none"
        for one in self.fars:
            if one.target != far:
                continue
            if not one.supported or one.threshold is None:
                raise DataError(
                    f"FAR {far:g} is not supported: it needs {one.pairs_to_bound:,} independent impostor pairs to be "
                    f"bounded and {one.pairs_to_measure:,} to be measured, the {one.far.pairs:,} pairs of this "
                    f"calibration are worth {one.far.worth:,.0f}",
                    mend=f"calibrate on more people or with --all-pairs, or use a supported rate ({supported})",
                )
            return one.threshold.cosine
        raise DataError(f"FAR {far:g} was not calibrated", mend=f"use {supported}, or calibrate with --far {far:g}")

    def verify(self, cosine: Any, far: float) -> BoolArray:
        """Whether pairs are accepted at ``far``.

        Args:
            cosine: of one pair or of many; the result has its shape.
            far: one of the supported rates.

        Raises:
            DataError: as :meth:`threshold`; no cosine (NaN, or outside -1..1).
        """
        return np.asarray(_cosines(cosine) >= self.threshold(far), dtype=np.bool_)

    def probability(self, cosine: Any, prior: float | None = None) -> FloatArray:
        """P(one person | cosine).

        Args:
            cosine: of one pair or of many; the result has its shape.
            prior: share of genuine pairs where it is used; by default the one of the calibration.

        Raises:
            DataError: no cosine (NaN, or outside -1..1), a prior outside 0..1.
        """
        cosines = _cosines(cosine)
        return self.probability_map.probability(cosines.ravel(), prior).reshape(cosines.shape)


def read_calibration(folder: Path, contract: Contract) -> Calibration:
    """The calibration in an artifact's folder.

    Raises:
        ArtifactError: there is none, or it is damaged.
        ContractError: it is of other embeddings.
    """
    path = folder / CALIBRATION
    again = "calibrate again with --force"
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ArtifactError("the artifact is not calibrated", where=path, mend="run hyperarc calibrate") from None
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=path) from error
    if len(content) > _MOST_BYTES:
        raise ArtifactError(f"not a calibration: larger than {_MOST_BYTES:,} bytes", where=path, mend=again)
    try:
        calibration = Calibration.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise ArtifactError(f"damaged: {place} {problem['msg']}".strip(), where=path, mend=again) from None
    if calibration.contract != contract.digest:
        raise ContractError(
            f"is of embeddings of contract {calibration.contract}, the artifact's are of {contract.digest}",
            where=path,
            mend=again,
        )
    return calibration


def require_uncalibrated(folder: Path) -> None:
    """Raise :class:`HyperArcError` where the artifact is calibrated already."""
    if (folder / CALIBRATION).exists():
        where = folder / CALIBRATION
        raise HyperArcError("the artifact is calibrated already", where=where, mend="give --force to replace it")


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write the calibration into an artifact's folder, whole or not at all; one that is there is replaced."""
    path = folder / CALIBRATION
    with write_beside(path) as beside:
        beside.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def _cosines(value: Any) -> npt.NDArray[np.float64]:
    cosines = as_array(value, "cosine")
    if cosines.dtype.kind not in "fiu" or not (np.abs(cosines) <= 1.0 + ROUNDING).all():
        raise DataError("expected cosines in -1..1", mend="divide embeddings by their lengths before multiplying them")
    return cosines.astype(np.float64)
