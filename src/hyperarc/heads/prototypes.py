"""Hard Prototype Mining: a step sweeps over the batch's classes and those that are easily taken for them.

Liu, Zhu, Lei, Li: "AdaptiveFace: Adaptive Margin and Sampling for Face Recognition", CVPR 2019, where W_c is called the
prototype of class c. Defaults of k and h are our own: the summaries of the paper that could be read give none.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError, unknown_name
from hyperarc.geometry import unit
from hyperarc.heads.shard import Shard, merge
from hyperarc.parallel import world_size


class HardPrototypes(nn.Module):
    """A queue of the k hardest other classes for every class, filled by neighborhood and kept up by mistakes.

    Queues start as the nearest neighbors among the centers (exact, in blocks). After each step every face whose nearest
    center is not its own puts the classes that beat its own at the head of its class's queue, the best first; the
    oldest fall out at the end. An entry stays only while cos(w_owner, w_entry) > h.

    Args:
        num_classes: C.
        queue: k, places in a queue; 16, or all other classes where they are fewer.
        threshold: h, a cosine; -1 keeps all. The larger, the fewer and harder the negatives.
        threshold_end: where h goes, linearly, over ``threshold_steps``; None leaves it. A rising h trains harder.
        threshold_steps: steps that h takes.
        refresh_every: steps after which the queues are made anew from the centers as they stand; 0, the paper's,
            does it once at the start; None never, so that mistakes alone fill them. C^2 d work each time.
        memory_mb: what the search for neighbors may hold, MiB.

    Attributes:
        queues: buffer [C, k] int64, -1 where empty.
        steps: buffer [], training steps seen.
        selected: how many classes the last step swept over; C before the first.

    Example:
        >>> centers = Shard.whole(torch.tensor([[[1.0, 0.0]], [[0.9, 0.1]], [[-1.0, 0.0]], [[0.0, 1.0]]]))
        >>> mining = HardPrototypes(4, queue=1)
        >>> mining.select(torch.tensor([0, 0]), centers).tolist()  # class 1 is the nearest to class 0
        [0, 1]
    """

    def __init__(
        self,
        num_classes: int,
        *,
        queue: int = 16,
        threshold: float = -1.0,
        threshold_end: float | None = None,
        threshold_steps: int = 0,
        refresh_every: int | None = 0,
        memory_mb: float = 64.0,
    ) -> None:
        super().__init__()
        if queue < 1:
            raise HyperArcError(f"queue must be at least 1, got {queue}")
        for name, value in (("threshold", threshold), ("threshold_end", threshold_end)):
            if value is not None and not -1.0 <= value < 1.0:
                raise HyperArcError(f"{name} is a cosine in [-1, 1), got {value}")
        if (threshold_end is not None) != (threshold_steps > 0):
            raise HyperArcError("give threshold_end and threshold_steps together, or neither")
        if refresh_every is not None and refresh_every < 0:
            raise HyperArcError(f"refresh_every must not be negative, got {refresh_every}")
        self.queue = queue = min(queue, num_classes - 1)
        self.first, self.last, self.threshold_steps = threshold, threshold_end, threshold_steps
        self.refresh_every = refresh_every
        self.memory_mb = memory_mb
        self.selected = num_classes
        self.queues: Tensor
        self.steps: Tensor
        self.register_buffer("queues", torch.full((num_classes, queue), -1, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def threshold(self) -> float:
        """h at this step."""
        if self.last is None:
            return self.first
        return self.first + (self.last - self.first) * min(1.0, int(self.steps) / self.threshold_steps)

    def select(self, labels: Tensor, centers: Shard) -> Tensor:
        """Sorted classes of labels [N] and of their queues; the first step, or a due one, looks for neighbors."""
        due = self.steps % self.refresh_every == 0 if self.refresh_every else self.steps == 0
        if self.refresh_every is not None and bool(due):
            self.queues.copy_(neighbors(centers, self.queue, self.memory_mb))
            self._leave_out_dissimilar(torch.arange(len(self.queues), device=labels.device), centers)
        own = labels.unique()
        entries = self.queues[own]
        picked: Tensor = torch.cat([own, entries[entries >= 0]]).unique()
        self.selected = len(picked)
        return picked

    def observe(self, labels: Tensor, target: Tensor, nearest: Tensor, nearest_class: Tensor, centers: Shard) -> None:
        """Put the classes that beat their own into the queues.

        Args:
            labels: [N].
            target: [N] cosines to the own centers.
            nearest: [N, k] largest cosines to other centers, falling.
            nearest_class: [N, k] their classes.
            centers: as they stand.
        """
        beaten = nearest > target[:, None]
        own = labels.unique()
        old = self.queues[own]
        owners = torch.cat([labels[:, None].expand_as(nearest)[beaten], own[:, None].expand_as(old)[old >= 0]])
        entries = torch.cat([nearest_class[beaten], old[old >= 0]])
        places = torch.arange(self.queue, device=labels.device, dtype=nearest.dtype).expand_as(old)
        rank = torch.cat([-2.0 - nearest[beaten], places[old >= 0]])  # new before old, best before good
        self.queues[own] = -1
        self._put(owners, entries, rank)
        self._leave_out_dissimilar(own, centers)
        self.steps += 1

    def _put(self, owners: Tensor, entries: Tensor, rank: Tensor) -> None:
        """Write each owner's entries in the order of their rank, each once, as many as the queue holds."""
        order = rank.argsort(stable=True)
        owners, entries = owners[order], entries[order]
        pair = owners * len(self.queues) + entries
        by_pair = pair.argsort(stable=True)
        sorted_pair = pair[by_pair]
        again = torch.zeros_like(sorted_pair, dtype=torch.bool)
        again[1:] = sorted_pair[1:] == sorted_pair[:-1]
        once = by_pair[~again].sort().values  # back in the order of rank
        owners, entries = owners[once], entries[once]
        by_owner = owners.argsort(stable=True)
        owners, entries = owners[by_owner], entries[by_owner]
        place = torch.arange(len(owners), device=owners.device) - torch.searchsorted(owners, owners)
        fits = place < self.queue
        self.queues[owners[fits], place[fits]] = entries[fits]

    def _leave_out_dissimilar(self, owners: Tensor, centers: Shard) -> None:
        """Empty the places of entries whose similarity to the queue's owner is not above h."""
        if self.threshold <= -1.0:
            return
        numbers = self.queue * centers.weight.shape[1:].numel()
        for part in owners.split(max(1, int(self.memory_mb * 2**18) // numbers)):
            queues = self.queues[part]
            entries = centers.of(queues.clamp_min(0).flatten()).unflatten(0, queues.shape)
            similarity = torch.einsum("okd,oqjd->oqkj", unit(centers.of(part)), unit(entries))
            self.queues[part] = queues.masked_fill(similarity.amax(dim=(2, 3)) <= self.threshold, -1)


def create_prototypes(num_classes: int, **arguments: Any) -> HardPrototypes:
    """Build :class:`HardPrototypes`; an unknown argument names the nearest known ones.

    Example:
        >>> create_prototypes(100, queue=4).queues.shape
        torch.Size([100, 4])
    """
    known = [name for name in inspect.signature(HardPrototypes).parameters if name != "num_classes"]
    for name in arguments:
        if name not in known:
            raise unknown_name("argument of prototypes:", name, known)
    return HardPrototypes(num_classes, **arguments)


@torch.no_grad()
def neighbors(centers: Shard, count: int, memory_mb: float = 64.0) -> Tensor:
    """The ``count`` classes nearest to every class, [C, count], nearest first; exact, within ``memory_mb``.

    The similarity of two classes is the largest cosine between a sub-center of the one and of the other. Where several
    processes hold the centers, each compares all classes, block by block, with its own.

    Example:
        >>> centers = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[-1.0, 0.1]]])
        >>> neighbors(Shard.whole(centers), 1).tolist()
        [[1], [0], [1]]
    """
    cut, (held, sub_centers, _) = centers.cut, centers.weight.shape
    flat = centers.weight.detach().flatten(0, 1)
    norm = flat.norm(dim=1)
    inverse = norm.masked_fill(norm <= 1e-12, 1.0).reciprocal()
    found: list[Tensor] = []
    most = -(-cut.classes // world_size()) if not cut.whole else held  # the same in all processes
    width = max(1, int(memory_mb * 2**18) // (2 * most * sub_centers**2))
    for first in range(0, cut.classes, width):
        block = torch.arange(first, min(first + width, cut.classes), device=flat.device)
        cosine = (unit(centers.of(block)).flatten(0, 1) @ flat.T).mul_(inverse)
        similarity = cosine.view(len(block), sub_centers, held, sub_centers).amax(dim=(1, 3))
        own = (block >= cut.first) & (block < cut.last)
        similarity[own.nonzero()[:, 0], block[own] - cut.first] = -torch.inf
        near, places = similarity.topk(min(count, held), dim=1)
        found.append(places if cut.whole else merge(near, places + cut.first, count)[1])
    return torch.cat(found)
