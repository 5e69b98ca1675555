"""Passes of any network, by autograd. `ganvas.gan.Pass` says what a pass is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ganvas.gan import FastPasses, Pass


def tracer_of(network: nn.Module, fast: bool = True) -> Callable[..., Pass]:
    """The function that makes passes of a network from its inputs: if `fast`, the network's own
    where it has one; else autograd's."""
    if fast and isinstance(network, FastPasses):
        return network.tracer()
    return partial(AutogradPass, network)


class AutogradPass:
    """A pass of any network, made by autograd.

    run: the function of the inputs that the pass computes, with the network's weights; by default
        the network itself.
    """

    def __init__(
        self,
        network: nn.Module,
        *inputs: Tensor | None,
        run: Callable[..., Tensor] | None = None,
    ) -> None:
        first, *others = inputs
        assert first is not None
        self.weights = [p for p in network.parameters() if p.requires_grad]
        self.first = first.detach().requires_grad_()
        with torch.enable_grad():
            self.graph: Tensor = (run or network)(self.first, *others)
        self.output = self.graph.detach()

    def to_weights(self, gradient: Tensor, *, add: bool = False) -> None:
        self._back(gradient, self.weights, add)

    def to_input(self, gradient: Tensor) -> Tensor:
        # add=True: the weights' gradients stay as they are.
        return self._back(gradient, [self.first], add=True)

    def to_both(self, gradient: Tensor, *, add: bool = False) -> Tensor:
        return self._back(gradient, [*self.weights, self.first], add)

    def _back(self, gradient: Tensor, inputs: Sequence[Tensor], add: bool) -> Tensor:
        if not add:
            for p in self.weights:
                p.grad = None
        torch.autograd.backward(self.graph, gradient.to(self.graph.dtype), inputs=inputs)
        # `to_weights` makes no gradient of the input, and ignores what is returned.
        return self.first.grad if self.first.grad is not None else gradient
