"""Auxiliary losses, added to any head: intra, inter, triplet, center. One paper's idea, one file."""

from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliary_names, create_auxiliary

__all__ = ["Auxiliary", "auxiliary_names", "create_auxiliary"]
