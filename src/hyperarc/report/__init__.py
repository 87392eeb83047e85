"""Figures, contact sheets and self-contained HTML pages. Plain numbers and pictures in; nothing of the work
rooms.

matplotlib, Pillow and Jinja are imported when something is drawn, not before.
"""

from hyperarc.report.comparison_plots import Panel, angle_ridges, interval_panels
from hyperarc.report.histograms import Histogram, histograms
from hyperarc.report.page import (
    Card,
    FacesToFaces,
    FaceToFace,
    Listing,
    Plot,
    Report,
    Section,
    Strip,
    Table,
    Tile,
    Value,
    render_report,
    write_report,
)
from hyperarc.report.plots import Curve, angle_histogram, det_curve, roc_curve
from hyperarc.report.sections import (
    Angles,
    ProtocolFacts,
    conditions_table,
    faces_section,
    hardest_strips,
    pair_tile,
    protocol_section,
    recipe_section,
    training_section,
)
from hyperarc.report.sheet import contact_sheet
from hyperarc.report.style import percent
from hyperarc.report.training_plots import TRAINING_FIELDS, training_curves

__all__ = [
    "TRAINING_FIELDS",
    "Angles",
    "Card",
    "Curve",
    "FaceToFace",
    "FacesToFaces",
    "Histogram",
    "Listing",
    "Panel",
    "Plot",
    "ProtocolFacts",
    "Report",
    "Section",
    "Strip",
    "Table",
    "Tile",
    "Value",
    "angle_histogram",
    "angle_ridges",
    "conditions_table",
    "contact_sheet",
    "det_curve",
    "faces_section",
    "hardest_strips",
    "histograms",
    "interval_panels",
    "pair_tile",
    "percent",
    "protocol_section",
    "recipe_section",
    "render_report",
    "roc_curve",
    "training_curves",
    "training_section",
    "write_report",
]
