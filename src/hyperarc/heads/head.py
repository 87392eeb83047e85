"""The head: centers x margin x sweep -> loss and angles."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import DataError, HyperArcError, unknown_name
from hyperarc.geometry import unit
from hyperarc.heads.auxiliary import Auxiliary, create_auxiliary
from hyperarc.heads.centers import Centers
from hyperarc.heads.first_loss import expected_loss
from hyperarc.heads.output import HeadOutput
from hyperarc.heads.shard import Shard, sweep_over
from hyperarc.heads.sweep import SWEEPS, Plan, Swept, cosines
from hyperarc.heads.sweep.precision import choose_precision
from hyperarc.heads.sweep.update import UpdateInBackward
from hyperarc.heads.trimming import Trimming
from hyperarc.margins import Margin, create_margin, margin_names
from hyperarc.margins.margin import margins
from hyperarc.parallel import gather, log_sum_exp, row_counts, spread, summed
from hyperarc.registry import Registry

structures: Registry[type[Head]] = Registry("head", "hyperarc.heads")
"""Heads that are more than a margin on centers, by name."""


class Head(nn.Module):
    """A margin on class centers; built by :func:`create_head`.

    Attributes:
        centers: the class centers, ``centers.weight`` is [C, K, d].
        margin: the margin; its running state are registered buffers.
        auxiliary: losses added to the margin's, by name. trimming: leaves a batch's largest losses out, or None.
        update: moves the centers in the backward pass of a training step, or None, where an optimizer does so after it.
    """

    def __init__(
        self,
        centers: Centers,
        margin: Margin,
        *,
        sweep: str = "auto",
        memory_mb: float = 176.0,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        if sweep not in SWEEPS:
            raise unknown_name("sweep", sweep, SWEEPS)
        if memory_mb <= 0:
            raise HyperArcError(f"memory_mb must be positive, got {memory_mb}")
        choose_precision(precision, "cpu")
        self.centers = centers
        self.margin = margin
        self.auxiliary = nn.ModuleDict()
        self.trimming: Trimming | None = None
        self.sweep = sweep
        self.memory_mb = memory_mb
        self.precision = precision
        self.update: UpdateInBackward | None = None

    def forward(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        """Loss of raw embeddings [N, d] with labels [N]; computed in fp32 or the embeddings' higher precision.

        Where several processes train, the loss and all running state are those of their whole batch, and so the same in
        each; cosines are of the process's own rows. Gradients are those of that one loss, without a factor of the
        number of processes: of the process's rows, and of the centers that it holds.
        """
        self._check(embeddings, labels)
        counts, shared = row_counts(labels), not self.centers.cut.whole
        labels, own = gather(labels, counts)
        with torch.autocast(embeddings.device.type, enabled=False):
            rows, norm = self._rows(embeddings)
            (rows, _), (norm, _) = gather(rows, counts, partial=shared), gather(norm, counts)
            shard = self.centers.shard(rows.dtype)
            with torch.no_grad():
                target, winner = self._target_cosine(rows, shard, labels)
                if self.training:
                    self.margin.observe(target, norm)
                    self.centers.vote(labels, winner)
            classes, plan = self.centers.select(labels), self.plan(target, norm)
            if self.update is not None and self.training and torch.is_grad_enabled():
                plan = replace(plan, update=self.update.of(classes))
            swept = sweep_over(SWEEPS[self.sweep], (rows, labels), shard, classes, plan)
            if self.training and self.centers.prototypes is not None:
                self._mine(labels, swept)
            logit = self.margin.scale * self.margin.target(swept.target, norm, labels)
            nearest_k = None if swept.nearest_k is None else swept.nearest_k[:, : self.margin.top_k]
            each = self.margin.loss(logit, swept.log_sum, nearest_k)
            loss = each.mean() if self.trimming is None else self.trimming(each)
            penalty = self.margin.penalty(norm)
            loss = loss if penalty is None else loss + penalty
            values = {}
            if self.auxiliary:
                embeddings, _ = gather(embeddings.to(rows.dtype), counts)
            for added_name, added in self._auxiliary().items():
                value = added(embeddings, labels, shard)
                loss = loss + added.weight * value
                values[added_name] = value.detach()
            out = self._output(loss, swept, rows.detach(), shard.detach(), labels)
            share = None if self.centers.votes is None else (winner == self.centers.dominant(labels)).to(loss).mean()
            cosines_of_own = {name: getattr(out, name)[own] for name in ("target_cosine", "nearest_negative_cosine")}
            return replace(out, auxiliary=values, dominant_share=share, **cosines_of_own)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """[N, C] scaled margin logits, all at once: for looking and testing. A label of -1 gets no margin.

        Errors: centers that several processes hold.
        """
        if not self.centers.cut.whole:
            raise HyperArcError("expected all centers, got one process's", where="logits", mend="use sharded=False")
        rows, norm = self._rows(embeddings)
        shard, own = self.centers.shard(rows.dtype), labels.clamp_min(0)
        target, _ = self._target_cosine(rows, shard, own)
        plan = self.plan(target.detach(), norm)
        cosine = cosines(rows, shard.weight, plan)
        negative = cosine if plan.negative_map is None else plan.negative_map(cosine)
        margined = self.margin.target(cosine.gather(1, own[:, None])[:, 0], norm, own)
        is_target = torch.zeros_like(cosine, dtype=torch.bool).scatter_(1, own[:, None], (labels >= 0)[:, None])
        return self.margin.scale * torch.where(is_target, margined[:, None], negative)

    def plan(self, target: Tensor, norm: Tensor) -> Plan:
        """What the sweep is asked of rows with these target cosines [N] and norms [N]."""
        offset, bias, shared = self.margin.offset(), self.centers.bias, not self.centers.cut.whole
        return Plan(
            scale=self.margin.scale,
            negative_map=self.margin.negative_map(target, norm),
            normalize_centers=self.margin.normalizes_centers,
            bias=None if bias is None else bias.to(norm.dtype),
            offset=spread(offset) if shared and offset is not None else offset,
            top_k=max(self.margin.top_k, self.centers.mined),
            rescale=self._rescale if self.training and self.margin.rescales else None,
            memory_mb=self.memory_mb,
            foreign=shared,
            precision=choose_precision(self.precision, norm.device.type),
        )

    @property
    def sharded(self) -> frozenset[str]:
        """Names in ``state_dict`` of what has a row for every class held here; the rest is the same everywhere."""
        parts: list[tuple[str, tuple[str, ...]]] = [("centers", self.centers.sharded)]
        parts += [(f"auxiliary.{name}", added.sharded) for name, added in self._auxiliary().items()]
        return frozenset(f"{part}.{name}" for part, names in parts for name in names)

    def expected_first_loss(self) -> float:
        """The loss to expect of random embeddings and centers; one far from it means a wrong scale or margin."""
        return expected_loss(self.margin, self.centers)

    def _auxiliary(self) -> dict[str, Auxiliary]:
        return {name: added for name, added in self.auxiliary.items() if isinstance(added, Auxiliary)}

    def _rows(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        norm = embeddings.norm(dim=1)
        return (unit(embeddings) if self.margin.normalizes_embeddings else embeddings), norm

    def _target_cosine(self, rows: Tensor, shard: Shard, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cosine to the own center, and which of the K it was, [N] each."""
        bias = self.centers.bias

        def answer(held: Tensor, places: Tensor) -> Tensor:
            own = shard.weight[places]  # [n, K, d]
            own = unit(own) if self.margin.normalizes_centers else own
            cosine, winner = torch.einsum("nd,nkd->nk", rows[held], own).max(dim=1)
            cosine = cosine if bias is None else cosine + bias[places].to(cosine)
            return torch.stack([cosine, winner.to(cosine)], dim=1)

        cosine, winner = shard.cut.ask(labels, answer, rows[:0, :2]).unbind(dim=1)
        return cosine, winner.detach().long()

    def _mine(self, labels: Tensor, swept: Swept) -> None:
        """Tell hard prototype mining which classes beat the own ones."""
        assert self.centers.prototypes is not None
        assert swept.nearest_k is not None
        assert swept.nearest_k_class is not None
        target, nearest = swept.target.detach(), swept.nearest_k.detach()
        self.centers.prototypes.observe(labels, target, nearest, swept.nearest_k_class, self.centers.shard().detach())

    def _rescale(self, target: Tensor, log_sum: Tensor) -> Tensor:
        shared = not self.centers.cut.whole
        self.margin.rescale(*(summed(target), log_sum_exp(log_sum)) if shared else (target, log_sum))
        return torch.as_tensor(self.margin.scale)

    def _output(self, loss: Tensor, swept: Swept, rows: Tensor, shard: Shard, labels: Tensor) -> HeadOutput:
        target, nearest = swept.target.detach(), swept.nearest
        accuracy = (target > nearest).to(target.dtype).mean()
        if not (self.margin.normalizes_embeddings and self.margin.normalizes_centers):
            # the sweep answered with products, biases included: make cosines of them
            units = unit(rows)

            def answer(held: Tensor, places: Tensor) -> Tensor:
                return torch.einsum("nd,nkd->nk", units[held], unit(shard.weight[places])).amax(dim=1)

            target, nearest = (
                shard.cut.ask(classes, answer, units[:0, 0]) for classes in (labels, swept.nearest_class)
            )
        return HeadOutput(loss, target, nearest, accuracy, skipped=swept.skipped)

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        classes, dim = self.centers.cut.classes, self.centers.weight.shape[2]
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise HyperArcError(f"expected embeddings [N, {dim}], got {list(embeddings.shape)}")
        if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
            raise HyperArcError(f"expected int64 labels [{len(embeddings)}], got {labels.dtype} {list(labels.shape)}")
        if labels.device.type == "cpu" and len(labels) and not (0 <= int(labels.min()) <= int(labels.max()) < classes):
            row = int(((labels < 0) | (labels >= classes)).nonzero()[0, 0])
            raise DataError(f"label {int(labels[row])} is outside 0..{classes - 1}", where=f"batch row {row}")


def create_head(
    name: str,
    *,
    num_classes: int,
    embedding_dim: int,
    sub_centers: int = 1,
    sample_rate: float = 1.0,
    prototypes: Mapping[str, Any] | None = None,
    seed: int = 0,
    sweep: str = "auto",
    memory_mb: float = 176.0,
    precision: str = "fp32",
    auxiliary: Mapping[str, Mapping[str, Any]] | None = None,
    trimming: Mapping[str, Any] | None = None,
    sharded: bool = False,
    **margin_args: Any,
) -> Head:
    """A head with the margin called ``name``.

    Args:
        name: one of :func:`hyperarc.margin_names`, or groupface (:class:`hyperarc.heads.groupface.GroupFace`).
        num_classes: C, the number of people. embedding_dim: d.
        sub_centers: K centers per class. seed: of the initial centers and of the sampling.
        sample_rate: share of the classes swept in a training step (Partial FC).
        prototypes: arguments of hard prototype mining (AdaptiveFace), such as ``queue``: a step then sweeps over the
            batch's classes and those easily taken for them.
        sweep: "chunked"; "fused", in Triton's kernels on a GPU, where what it does not know goes to the chunked; "auto"
            is fused where that can be, else chunked; "reference" is dense, for tests and small C.
        memory_mb: what the sweep may hold beside inputs and results.
        precision: of the sweep: "fp32" is exact, "bf16" keeps exponentials in bf16 and multiplies in bf16 where
            the hardware does, "auto" is bf16 where the hardware has it. float64 embeddings are computed exactly.
        auxiliary: losses to add, name -> arguments (``weight`` among them): intra, inter, triplet, center.
        trimming: arguments of :class:`~hyperarc.heads.trimming.Trimming`, which leaves a batch's largest losses out.
        sharded: where several processes train, each keeps C / processes of the centers, and calls the head with its own
            rows at the same time as the others. Without it each keeps all. Values and gradients are the same.
        margin_args: the margin's own arguments, such as ``scale`` and ``margin``. A head with structure takes its own
            as well, and ``over``, the name of its margin ("arcface").

    Errors: unknown names and arguments name the nearest known ones; values out of range say so.

    Example:
        >>> head = create_head("arcface", num_classes=10, embedding_dim=4, seed=1)
        >>> out = head(torch.randn(8, 4), torch.arange(8))
        >>> out.loss.shape, out.target_cosine.shape
        (torch.Size([]), torch.Size([8]))
    """
    build, margin = _structure(name, margin_args)
    margin.for_classes(num_classes)
    centers = Centers(
        num_classes,
        embedding_dim,
        sub_centers=sub_centers,
        sample_rate=sample_rate,
        prototypes=prototypes,
        bias=bool(getattr(margin, "bias", False)),
        seed=seed,
        sharded=sharded,
    )
    head = build(centers, margin, sweep=sweep, memory_mb=memory_mb, precision=precision)
    head.trimming = None if trimming is None else Trimming(**trimming)
    for added, arguments in (auxiliary or {}).items():
        loss = create_auxiliary(added, **arguments)
        loss.for_classes(centers.cut, embedding_dim)
        head.auxiliary[added] = loss
    return head


def _structure(name: str, arguments: Mapping[str, Any]) -> tuple[Callable[..., Head], Margin]:
    """What builds the head called ``name``, its own arguments bound, and the margin it goes over."""
    if name not in structures.names():
        if name not in margin_names():
            raise unknown_name("margin", name, [*margin_names(), *structures.names()])
        return Head, create_margin(name, **arguments)
    kind = structures.get(name)
    own = [p.name for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY]
    over = arguments.get("over", "arcface")
    known = ["over", *own, *margins.argument_names(over, Margin)]
    for argument in arguments:
        if argument not in known:
            raise unknown_name(f"argument of head {name!r} over {over!r}:", argument, known)
    rest = {key: value for key, value in arguments.items() if key != "over" and key not in own}
    return partial(kind, **{key: arguments[key] for key in own if key in arguments}), create_margin(over, **rest)
