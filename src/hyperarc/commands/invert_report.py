"""Inverted faces as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperarc.commands.invert_judgement import JUDGE, MODEL, Found, plain
from hyperarc.commands.invert_real import RealFaces
from hyperarc.commands.invert_targets import Targets
from hyperarc.inversion.judging import Judgement
from hyperarc.report.page import Report, Section, Strip, Tile, write_report

_COLUMNS = "target person priors try kept cosine_to_target model_cosine_to_real judge_cosine_to_real".split()


@dataclass(frozen=True, eq=False)
class Judged:
    """Everything that is told.

    Attributes:
        targets: what was inverted.
        found: by the priors used.
        judgements: by the priors used, and by who judges: "model" and "judge".
        real: real faces of the people, or None.
    """

    targets: Targets
    found: Mapping[str, Found]
    judgements: Mapping[str, Mapping[str, Judgement]]
    real: RealFaces | None

    def as_dict(self) -> dict[str, Any]:
        """Numbers by the priors used."""
        return {name: plain(one, dict(self.judgements[name])) for name, one in self.found.items()}

    def table(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the table of all tries, its header first; cosines to real faces are of the kept try."""
        yield tuple(_COLUMNS)
        for name, found in self.found.items():
            for row, target in enumerate(self.targets.names):
                for attempt in range(len(found.cosines)):
                    kept = attempt == found.best[row]
                    own = [self._own(name, side, row) if kept else "" for side in (MODEL, JUDGE)]
                    cosine = f"{found.cosines[attempt, row]:.6f}"
                    yield target, self.targets.people[row], name, attempt, int(kept), cosine, *own

    def _own(self, name: str, side: str, row: int) -> str:
        judgement = self.judgements[name].get(side)
        value = None if judgement is None else float(judgement.own[row])
        return "" if value is None or value != value else f"{value:.6f}"


def report_inversion(judged: Judged, facts: Mapping[str, Any], path: Path) -> Path:
    """Write the page."""
    sections = []
    for name, found in judged.found.items():
        tiles = [Tile((face,), person) for face, person in zip(found.faces, judged.targets.people, strict=True)]
        sections.append(Section(name, image_strips=[Strip(name, tiles[:200])]))
    return write_report(Report(f"Inversion of {facts['artifact']}", sections=sections), path)
