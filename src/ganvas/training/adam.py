"""Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1): torch's fused kernel, called directly.

torch.optim.Adam around the same kernel takes half as long again for half a million weights: it asks
after each parameter's own step count and options. Here all weights of a network take every step
together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Adam:
    """The optimizer of one network, as torch.amp.GradScaler knows optimizers: parameters with their
    gradients in
    `param_groups`, and `step()`. A parameter without a gradient stays as it is.

    lr: set before each step. betas, eps: as in the paper.
    """

    def __init__(
        self, parameters: list[nn.Parameter], betas: tuple[float, float], eps: float
    ) -> None:
        self.parameters, self.betas, self.eps, self.lr = parameters, betas, eps, 0.0
        self.param_groups = [{"params": parameters}]
        for p in parameters:
            # a part of a larger tensor
            if torch.empty_like(p, device="meta").stride() != p.stride():
                p.data = p.data.contiguous()
        # The kernel goes through memory from end to end, so all is shown to it with the axes in the
        # parameter's order there.
        self.orders = [sorted(range(p.ndim), key=p.stride, reverse=True) for p in parameters]
        self.weights = [
            p.detach().permute(order) for p, order in zip(parameters, self.orders, strict=True)
        ]
        self.means = [torch.zeros_like(w) for w in self.weights]
        self.squares = [torch.zeros_like(w) for w in self.weights]
        self.steps = torch.zeros((), device=parameters[0].device)

    def step(self) -> None:
        """Change the parameters once, down their gradients."""
        rows = [
            (w, p.grad.permute(order).contiguous(), mean, square)
            for p, order, w, mean, square in zip(
                self.parameters, self.orders, self.weights, self.means, self.squares, strict=True
            )
            if p.grad is not None
        ]
        weights, gradients, means, squares = (list(column) for column in zip(*rows, strict=True))
        self.steps += 1
        torch._fused_adam_(
            weights,
            gradients,
            means,
            squares,
            [],
            [self.steps] * len(rows),
            lr=self.lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state. Raises ValueError where it does not fit the parameters, or is no
        number."""
        saved = [state["steps"], *state["means"], *state["squares"]]
        for mine, theirs in zip([self.steps, *self.means, *self.squares], saved, strict=True):
            if theirs.shape != mine.shape or not bool(theirs.isfinite().all()):
                raise ValueError("an optimizer's state that does not fit its weights")
            mine.copy_(theirs)
