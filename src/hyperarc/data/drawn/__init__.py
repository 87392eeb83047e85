"""Drawn faces: people who do not exist, rendered with identity parameters and nuisances known."""

from hyperarc.data.drawn.faces import (
    IDENTITY_NAMES,
    NUISANCE_NAMES,
    Conditions,
    DrawnFaces,
    DrawnSet,
    class_sizes,
    draw_chunks,
    draw_faces,
    draw_nuisances,
    draw_people,
    draw_set,
    set_nuisances,
)

__all__ = [
    "IDENTITY_NAMES",
    "NUISANCE_NAMES",
    "Conditions",
    "DrawnFaces",
    "DrawnSet",
    "class_sizes",
    "draw_chunks",
    "draw_faces",
    "draw_nuisances",
    "draw_people",
    "draw_set",
    "set_nuisances",
]
