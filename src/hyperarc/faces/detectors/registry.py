"""The registry that every detector file declares itself in."""

from __future__ import annotations

from collections.abc import Callable

from hyperarc.faces.face import Detector
from hyperarc.registry import Registry

DETECTORS: Registry[Callable[..., Detector]] = Registry("detector", "hyperarc.faces.detectors")
"""Name -> ``(**args) -> Detector``."""
