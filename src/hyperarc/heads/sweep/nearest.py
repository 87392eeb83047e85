"""The nearest negatives of every row, found while the blocks pass by."""

from __future__ import annotations

import torch
from torch import Tensor

_FEW = 8  # where the maximum of fewer than one row in so many rose, only those are looked through


class Nearest:
    """The ``count`` largest cosines of every row so far, with their classes.

    Attributes:
        values: [N, count] falling, in the unit of the cosines looked at.
        classes: [N, count]; the row's own class where there is none yet.
    """

    def __init__(self, rows: Tensor, labels: Tensor, count: int) -> None:
        self.values = rows.new_full((len(rows), count), -torch.inf)
        self.classes = labels[:, None].expand(self.values.shape)

    def look(self, cosine: Tensor, first: int) -> None:
        """Take a block's cosines [N, w] into account, the own classes' set to -inf; its first class is ``first``."""
        if self.values.shape[1] > 1:
            values, slots = cosine.topk(min(self.values.shape[1], cosine.shape[1]), dim=1)
            both = torch.cat([self.values, values.to(self.values.dtype)], dim=1)
            self.values, places = both.topk(self.values.shape[1], dim=1)
            self.classes = torch.cat([self.classes, slots + first], dim=1).gather(1, places)
            return
        largest = cosine.amax(dim=1)  # much cheaper than a maximum with its place, which few rows need
        (nearer,) = (largest > self.values[:, 0]).nonzero(as_tuple=True)
        many = len(nearer) * _FEW > len(largest)
        slots = cosine.argmax(dim=1)[nearer] if many else cosine[nearer].argmax(dim=1)
        self.values[nearer, 0] = largest[nearer].to(self.values.dtype)
        self.classes = self.classes.index_put((nearer, torch.zeros_like(nearer)), slots + first)
