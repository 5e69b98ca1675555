"""Forward passes whose gradients can be pulled back: by autograd for any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Pass(Protocol):
    """One forward pass of a network. output: what came out of it, without a graph."""

    output: Tensor

    def to_weights(self, gradient: Tensor, *, add: bool = False) -> None:
        """From the output's gradient, the weights' gradients: into their `.grad`, or added to what
        is there."""

    def to_input(self, gradient: Tensor) -> Tensor:
        """From the output's gradient, the gradient of the first input."""

    def to_both(self, gradient: Tensor, *, add: bool = False) -> Tensor:
        """Both at once: the weights' gradients as in `to_weights`, and that of the first input."""


def passes(network: nn.Module) -> Callable[..., Any]:
    """What makes passes of a network, from its inputs: its own `tracer()` where it has one, such as
    Dense, else autograd."""
    tracer: Any = getattr(network, "tracer", None)
    return partial(AutogradPass, network) if tracer is None else tracer()


class AutogradPass:
    """A pass of any network."""

    def __init__(self, network: nn.Module, *inputs: Tensor) -> None:
        first, *others = inputs
        self.weights, self.first = (
            [p for p in network.parameters() if p.requires_grad],
            first.detach().requires_grad_(),
        )
        with torch.enable_grad():
            self.graph: Tensor = network(self.first, *others)
        self.output = self.graph.detach()

    def to_weights(self, gradient: Tensor, *, add: bool = False) -> None:
        self._back(gradient, self.weights, add)

    def to_input(self, gradient: Tensor) -> Tensor:
        return self._back(gradient, [self.first], add=True)

    def to_both(self, gradient: Tensor, *, add: bool = False) -> Tensor:
        return self._back(gradient, [*self.weights, self.first], add)

    def _back(self, gradient: Tensor, inputs: Sequence[Tensor], add: bool) -> Tensor:
        for p in () if add else self.weights:
            p.grad = None
        torch.autograd.backward(self.graph, gradient.to(self.graph.dtype), inputs=inputs)
        return self.first.grad if self.first.grad is not None else gradient
