"""The optimizer of each network, and the moving average of G's weights that is sampled.

Both call private functions of torch for speed; tests/training/test_adam.py and test_ema.py hold
them against torch's public classes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), by torch's fused kernel.

    torch.optim.Adam around the same kernel takes half as long again for half a million weights: it
    keeps a step count and options for each parameter, where all weights of a network take every
    step together. torch.amp.GradScaler accepts this class: it has `param_groups` and `step()`. A
    parameter without a gradient stays as it is.

    lr: learning rate, set before each step.
    betas, eps: as in the paper.
    """

    def __init__(
        self, parameters: list[nn.Parameter], betas: tuple[float, float], eps: float
    ) -> None:
        self.parameters, self.lr = parameters, 0.0
        self.param_groups = [{"params": parameters}]
        self.options: dict[str, Any] = {"beta1": betas[0], "beta2": betas[1], "eps": eps}
        self.options |= {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        for p in parameters:
            # A view of a part of a larger tensor gets memory of its own.
            if torch.empty_like(p, device="meta").stride() != p.stride():
                p.data = p.data.contiguous()
        # The kernel walks through memory from end to end: it gets every tensor with its axes in the
        # order that the parameter has in memory.
        self.orders = [sorted(range(p.ndim), key=p.stride, reverse=True) for p in parameters]
        self.weights = [
            p.detach().permute(order) for p, order in zip(parameters, self.orders, strict=True)
        ]
        self.means = [torch.zeros_like(w) for w in self.weights]
        self.squares = [torch.zeros_like(w) for w in self.weights]
        self.steps = torch.zeros((), device=parameters[0].device)

    def step(self) -> None:
        """Update the parameters once, from the gradients in their `.grad`."""
        everything = self.parameters, self.orders, self.weights, self.means, self.squares
        rows = [
            (w, p.grad.permute(order).contiguous(), mean, square)
            for p, order, w, mean, square in zip(*everything, strict=True)
            if p.grad is not None
        ]
        weights, gradients, means, squares = (list(column) for column in zip(*rows, strict=True))
        self.steps += 1
        steps = [self.steps] * len(rows)
        torch._fused_adam_(
            weights, gradients, means, squares, [], steps, lr=self.lr, **self.options
        )

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state. Raises ValueError if it does not fit the parameters or is not finite."""
        saved = [state["steps"], *state["means"], *state["squares"]]
        for mine, theirs in zip([self.steps, *self.means, *self.squares], saved, strict=True):
            if theirs.shape != mine.shape or not bool(theirs.isfinite().all()):
                raise ValueError("moments of another shape than the weights, or not finite")
            mine.copy_(theirs)


class EMA:
    """Exponential moving average of a network's weights (Karras et al. 2018, arXiv 1710.10196,
    section C.2).

    Buffers such as running statistics are averaged like weights; counters are copied.

    network: the averaged copy of the network.
    half_life: in images, so that it does not depend on the batch size. It is at most `RAMP` times
        the images seen so far, so that the beginning is soon forgotten (Karras et al. 2020, arXiv
        1912.04958).
    """

    RAMP = 0.05

    def __init__(self, network: nn.Module, half_life: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.half_life = half_life

    @torch.no_grad()
    def update(self, network: nn.Module, images: int, images_seen: int) -> None:
        """Average in the weights after a step of `images` images, `images_seen` in all."""
        half_life = min(self.half_life, self.RAMP * images_seen)
        weight = 1 - 0.5 ** (images / half_life)
        averaged, new = self.network.state_dict().values(), network.state_dict().values()
        floats = [(a, b) for a, b in zip(averaged, new, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)
        for a, b in zip(averaged, new, strict=True):
            if not a.is_floating_point():
                a.copy_(b)
