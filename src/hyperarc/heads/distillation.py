"""What a student can learn of a teacher: where it puts a face, and how like every class it finds it.

The light track of ArcFace's journal version (Deng et al., TPAMI 2022, arXiv 1801.07698v4) trains with ArcFace
+ 1.0 * L2 between the 512-d features + 0.1 * KL between the class similarities, from an R100. Teachers get no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hyperarc.errors import HyperArcError
from hyperarc.geometry import unit
from hyperarc.heads.sweep import Plan, cosines
from hyperarc.parallel import log_sum_exp, spread, summed

_BLOCKS_HELD = 8  # N x block matrices alive at once: cosines, logits, shares and their gradients, of both sides


def embedding_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the batch of ||x_i / ||x_i|| - t_i / ||t_i|| ||^2 = 2 - 2 cos(x_i, t_i), a scalar.

    The source speaks of L2 between features and not of their length. Only directions are compared later on, and lengths
    differ from network to network, so both sides are normalized here.

    Args:
        student, teacher: raw embeddings [N, d] of the same faces.

    Example:
        >>> float(embedding_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])))
        2.0
    """
    if student.shape != teacher.shape:
        raise HyperArcError(
            f"expected embeddings of one shape, got {list(student.shape)} and {list(teacher.shape)}",
            where="embedding_distance",
        )
    return (unit(student) - unit(teacher.detach())).square().sum(dim=1).mean()


def class_divergence(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    *,
    scale: float = 64.0,
    memory_mb: float = 64.0,
    sharded: bool = False,
) -> Tensor:
    """Mean over the batch of KL(teacher || student) of the class similarities, a scalar.

    A side's class similarities are softmax_j(s c_ij) over all C classes, c_ij the cosine of embedding i to that side's
    own center j (the largest over its sub-centers), without margin. The N x C matrices never exist: classes are taken
    in blocks, and a block is computed again in the backward pass.

    Args:
        student, teacher: raw embeddings [N, d] and centers [C, K, d] of each; d and K may differ, C may not.
        scale: s of both sides. Smaller is softer, as a temperature of 64 / s would be on cosines scaled by 64.
        memory_mb: what the blocks may hold, MiB.
        sharded: whether both sides' centers are this process's part alone; the rows are those of all processes.

    Example:
        >>> centers = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
        >>> teacher, student = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(float(class_divergence((student, centers), (teacher, centers), scale=1.0)), 4)  # (e - 1) / (e + 1)
        0.4621
    """
    (embeddings, centers), (their_embeddings, their_centers) = student, teacher
    if len(centers) != len(their_centers) or len(embeddings) != len(their_embeddings):
        raise HyperArcError(
            f"expected the same rows and classes on both sides, got {len(embeddings)} x {len(centers)} and "
            f"{len(their_embeddings)} x {len(their_centers)}",
            where="class_divergence",
        )
    rows, their_rows = unit(embeddings), unit(their_embeddings.detach())
    rows = spread(rows) if sharded else rows
    numbers_per_class = sum(
        (_BLOCKS_HELD // 2 * len(rows) + 2 * side.shape[2]) * side.shape[1] for side in (centers, their_centers)
    )
    width = max(1, int(memory_mb * 2**20) // (numbers_per_class * rows.element_size()))
    parts = [
        checkpoint(_block, rows, own, their_rows, theirs, scale, use_reentrant=False, preserve_rng_state=False)
        for own, theirs in zip(centers.split(width), their_centers.detach().split(width), strict=True)
    ]
    log_sum, their_log_sum, gap = (torch.stack(part) for part in zip(*parts, strict=True))  # [blocks, N] each
    whole, their_whole = log_sum.logsumexp(dim=0), their_log_sum.logsumexp(dim=0)
    if sharded:
        whole, their_whole = log_sum_exp(whole), log_sum_exp(their_whole)
    mean_gap = ((their_log_sum - their_whole).exp() * gap).sum(dim=0)
    return ((summed(mean_gap) if sharded else mean_gap) - their_whole + whole).mean()


def _block(
    rows: Tensor, own: Tensor, their_rows: Tensor, theirs: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Of one block of classes: both log-sum-exps [N], and the teacher's mean of its logits minus the student's [N]."""
    logits = scale * cosines(rows, own, Plan())
    with torch.no_grad():
        their_logits = scale * cosines(their_rows, theirs, Plan())
        shares = their_logits.softmax(dim=1)
    gap = (shares * (their_logits - logits)).sum(dim=1)
    return logits.logsumexp(dim=1), their_logits.logsumexp(dim=1), gap
