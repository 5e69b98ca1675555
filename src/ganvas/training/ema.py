"""An average of the generator's weights over the recent past: what is sampled, where a recipe asks
for it."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """Exponential moving average of a network's weights (Karras et al. 2018, arXiv 1710.10196,
    section C.2).

    half_life: in images, so that it does not depend on the batch. It is ramped up from zero, to
    `RAMP` of the images seen, so that the beginning is soon forgotten (Karras et al. 2020, arXiv
    1912.04958). Buffers, such as running statistics, are averaged like weights; counters are
    copied.
    """

    RAMP = 0.05

    def __init__(self, network: nn.Module, half_life: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.half_life = half_life

    @torch.no_grad()
    def update(self, network: nn.Module, images: int, images_seen: int) -> None:
        """Take in the weights after a step of `images` images, `images_seen` in all."""
        half_life = min(self.half_life, self.RAMP * images_seen)
        weight = 1 - 0.5 ** (images / half_life)
        new, old = network.state_dict().values(), self.network.state_dict().values()
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], weight)
        for a, b in zip(old, new, strict=True):
            if not a.is_floating_point():
                a.copy_(b)
