"""Dropout whose masks are drawn for the global batch of all processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ganvas.system.seeding import kept


class Dropout(nn.Module):
    """Dropout whose masks do not depend on the number of processes, for GAN files.

    Masks are drawn for the global batch, and each process takes its rows. In a training
    `set_source()` is called before each step; its bits serve all Dropout layers in turn. A plain
    nn.Dropout also resumes exactly (the global generator is seeded at every step), but its masks
    differ with the number of processes.
    """

    source: np.random.SFC64 | None = None
    groups: int = 1
    rank: int = 0
    world: int = 1

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x float (N, ...), N = groups * images of this process -> the same shape; kept values are
        scaled by 1 / (1 - p)."""
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, x: Tensor) -> Tensor | None:
        """Draw the factors of x, in its shape: 0, or 1 / (1 - p) for a kept value. None if nothing
        is dropped."""
        if not self.training or self.p == 0:
            return None
        if self.source is None:  # outside a training
            return nn.functional.dropout(torch.ones_like(x), self.p)
        local = len(x) // self.groups
        mask = kept(self.source, (self.groups, local * self.world, *x.shape[1:]), self.p)
        mine = mask[:, self.rank * local : (self.rank + 1) * local].reshape(x.shape)
        return mine.to(x.device, x.dtype).mul_(1 / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


def set_source(layers: list[Dropout], source: np.random.SFC64, rank: int, world: int) -> None:
    """Let Dropout layers draw the coming step's masks from `source`, for process `rank` of
    `world`."""
    for layer in layers:
        layer.source, layer.rank, layer.world = source, rank, world


def set_groups(layers: list[Dropout], groups: int) -> None:
    """Tell Dropout layers that the coming pass is over `groups` batches, one after the other."""
    for layer in layers:
        layer.groups = groups
