"""ElasticFace: a margin drawn anew for every sample.

Boutros, Damer, Kirchbuchner, Kuijper: "ElasticFace: Elastic Margin Loss for Deep Face Recognition", CVPR Workshops
2022, arXiv 2109.09416, equations 5 to 7. The released code of the "+" form hands the sorted margins out by the inverse
permutation; the default here is the paper's rule, "released" the code's.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import HyperArcError, unknown_name
from hyperarc.geometry import add_angle
from hyperarc.margins.margin import Margin, register

Kind = Literal["arc", "cos"]
Assignment = Literal["paper", "released"]
MARGINS = {"arc": 0.5, "cos": 0.35}


@register("elasticface")
class ElasticFace(Margin):
    """Target cos(theta_y + e) or cos(theta_y) - e with e ~ N(margin, sigma^2), one draw a sample and step.

    Use it where one margin for all samples is too rigid, at the price of one more number to choose, sigma.

    Args:
        kind: "arc" or "cos".
        margin: mean of the draws; None for 0.5 (arc) or 0.35 (cos).
        sigma: standard deviation; 0.05, for the "+" forms the authors take 0.0175 (arc) and 0.02 (cos).
        plus: the smaller a sample's target cosine, the larger the draw it gets.
        assignment: how "+" hands out the sorted draws: "paper" by rank, "released" as the published code.
        seed: of the draws.
        scale: s; 64.

    In eval mode every sample gets the mean.

    Attributes:
        draw_state: buffer, state of the random generator, so that a resumed run draws on.

    Example:
        >>> elastic = ElasticFace(kind="cos", sigma=0.0)
        >>> elastic.target(torch.tensor([0.5]), torch.ones(1), torch.zeros(1, dtype=torch.long)).tolist()
        [0.15000000596046448]
    """

    def __init__(
        self,
        *,
        kind: Kind = "arc",
        margin: float | None = None,
        sigma: float = 0.05,
        plus: bool = False,
        assignment: Assignment = "paper",
        seed: int = 0,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        for what, value, known in (("kind", kind, Kind), ("assignment", assignment, Assignment)):
            if value not in get_args(known):
                raise unknown_name(what, value, get_args(known))
        if sigma < 0:
            raise HyperArcError(f"sigma must not be negative, got {sigma}")
        self.kind, self.plus, self.assignment = kind, plus, assignment
        self.margin = MARGINS[kind] if margin is None else margin
        self.sigma = sigma
        self.draw_state: Tensor
        self.register_buffer("draw_state", torch.Generator().manual_seed(seed).get_state())

    def draw(self, cosine: Tensor) -> Tensor:
        """The draws [N] of one step, in sample order before any sorting."""
        if not self.training or self.sigma == 0.0:
            return torch.full_like(cosine, self.margin)
        generator = torch.Generator()
        generator.set_state(self.draw_state.cpu())
        draws = torch.normal(self.margin, self.sigma, cosine.shape, generator=generator)
        self.draw_state.copy_(generator.get_state())
        return draws.to(cosine)

    def assign(self, draws: Tensor, cosine: Tensor) -> Tensor:
        """Which sample gets which draw [N]."""
        if not self.plus:
            return draws
        order = cosine.detach().argsort(descending=True)
        return draws.sort().values[order if self.assignment == "released" else order.argsort()]

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        margins = self.assign(self.draw(cosine), cosine)
        return add_angle(cosine, margins) if self.kind == "arc" else cosine - margins
