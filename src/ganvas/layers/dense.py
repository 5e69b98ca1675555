"""Fully connected networks whose passes have hand-written gradients.

With layers as small as those of the tutorial GANs, autograd itself takes a fifth of a step
(docs/log.md). `Dense` does without it: the gradient of each layer is a few lines, which the tests
hold against autograd's. One pass can also serve two batches (`make_two_batches`), which halves the
number of matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu_

from ganvas.gan import Pass
from ganvas.layers.dropout import Dropout
from ganvas.layers.passes import AutogradPass

aten = torch.ops.aten


class Dense(nn.Module):
    """Layers in a row, meant to be fully connected; any others work, too.

    layers: modules from (N, inputs) to (N, outputs).
    shape: of one output, such as (1, 28, 28); () for a single value.
    classes: if not 0, the layers' input is followed by an embedding of the label, with as many
        values as classes.
    """

    def __init__(self, layers: list[nn.Module], shape: tuple[int, ...], classes: int = 0) -> None:
        super().__init__()
        self.shape, self.embedding = shape, nn.Embedding(classes, classes) if classes else None
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """x float (N, ...), labels int64 (N,) if there are classes -> float (N, *shape)."""
        out: Tensor = self.layers(self.with_embedding(x, labels))
        return out.view(-1, *self.shape)

    def with_embedding(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The input of the layers: x flattened, then the label's embedding if there are classes."""
        x = x.flatten(1)
        return x if self.embedding is None else torch.cat([x, self.embedding(labels)], 1)

    def tracer(self) -> Callable[..., Pass]:
        """Return the function that makes passes: (x [, labels] [, aside]) -> Pass."""
        if not self._simple:
            return partial(AutogradPass, self)
        layers: list[_Layer] = []
        # True where no other layer keeps the activation's input: it may work in place.
        unshared = False
        for layer in self.layers:
            kind = _kind(layer)
            layers.append(_Activation(layer, unshared) if kind is _Activation else kind(layer))
            unshared = kind in (_Linear, _BatchNorm) or (unshared and kind is _Dropout)
        return partial(DensePass, self, layers)

    @property
    def divisible(self) -> bool:
        """True if a pass may set samples aside: only BatchNorm1d makes samples depend on each
        other, and no layer draws masks."""
        return self._simple and all(
            _kind(layer) in (_Linear, _Activation, _BatchNorm) for layer in self.layers
        )

    @property
    def _simple(self) -> bool:
        """True if every weight is trained and used once: else the network's gradients are not those
        of its layers."""
        parts = [*self.layers] if self.embedding is None else [self.embedding, *self.layers]
        weights = [p for part in parts for p in part.parameters()]
        return all(p.requires_grad for p in weights) and len(set(weights)) == len(weights)


class Aside(NamedTuple):
    """The first samples of a pass, if they are a batch of their own that needs no gradients.

    size: how many samples are set aside.
    training: the mode in which BatchNorm sees them, before it sees the others.
    """

    size: int = 0
    training: bool = True

    def others(self, x: Tensor) -> Tensor:
        """The samples that are not set aside."""
        return x[self.size :] if self.size else x


NONE_ASIDE = Aside()


Inputs = tuple[Tensor, Tensor | None]  # of a Dense: x and labels, None without classes


def make_two_batches(
    make: Callable[..., Any], first: Inputs, second: Inputs, *, first_training: bool
) -> tuple[Tensor, Pass]:
    """Run a divisible network once over two batches, with one matrix product a layer for both.

    make: the network's function from `tracer()`.
    first, second: both batches.
    first_training: the mode in which BatchNorm sees the first batch.
    Returns the first batch's output, and the pass of the second batch.
    """
    (x, labels), (more_x, more_labels) = first, second
    both = None if labels is None or more_labels is None else torch.cat([labels, more_labels])
    made = make(torch.cat([x, more_x]), both, Aside(len(x), first_training))
    return made.aside, made


class DensePass:
    """A pass of a Dense network. aside: the output of the samples that are set aside."""

    def __init__(
        self,
        network: Dense,
        layers: list[_Layer],
        x: Tensor,
        labels: Tensor | None = None,
        aside: Aside = NONE_ASIDE,
    ) -> None:
        self.layers, self.shape, self.embedding = layers, x.shape, network.embedding
        self.labels = None if labels is None else aside.others(labels)
        x = network.with_embedding(x, labels)
        self.saved = []
        for layer in layers:
            x, saved = layer.forward(x, aside)
            self.saved.append(saved)
        out = x.view(-1, *network.shape)
        self.aside, self.output = out[: aside.size], aside.others(out)

    def to_weights(self, gradient: Tensor, *, add: bool = False) -> None:
        self._to_weights(gradient, add, to_input=self.embedding is not None)

    def to_both(self, gradient: Tensor, *, add: bool = False) -> Tensor:
        return self._without_embedding(self._to_weights(gradient, add, to_input=True))

    def to_input(self, gradient: Tensor) -> Tensor:
        return self._without_embedding(self._back(gradient, "leave", to_input=True))

    def _to_weights(self, gradient: Tensor, add: bool, to_input: bool) -> Tensor:
        gradient = self._back(gradient, "add" if add else "set", to_input)
        if self.embedding is not None:
            table = self.embedding.weight
            by_table = aten.embedding_dense_backward.default(
                gradient[:, -table.shape[1] :], self.labels, len(table), -1, False
            )
            table.grad = by_table if table.grad is None or not add else table.grad + by_table
        return gradient

    def _back(self, gradient: Tensor, weights: Weights, to_input: bool) -> Tensor:
        """Pull the output's gradient back through all layers; through the first one only if the
        gradient of the input is needed."""
        gradient = gradient.reshape(len(gradient), -1)
        for k in range(len(self.layers) - 1, -1, -1):
            gradient = self.layers[k].back(gradient, self.saved[k], weights, to_input or k > 0)
        return gradient

    def _without_embedding(self, gradient: Tensor) -> Tensor:
        """The part of the layers' input gradient that belongs to x, in its shape."""
        return gradient[:, : self.shape[1:].numel()].reshape(self.shape)


Weights = Literal["leave", "set", "add"]  # what `back` does to the weights' gradients


class _Layer(Protocol):
    """One layer of a DensePass.

    forward: returns the output, and what `back` needs of the samples that are not set aside.
    back: returns the gradient of the input, if it is needed, from that of the output; the weights'
        gradients go into their `.grad`.
    """

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]: ...
    def back(self, gradient: Tensor, saved: Any, weights: Weights, to_input: bool) -> Tensor: ...


class _Linear:
    def __init__(self, layer: nn.Linear) -> None:
        self.layer, self.weight, self.bias = layer, layer.weight.detach(), layer.bias.detach()
        self.transposed = self.weight.t()

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        return torch.addmm(self.bias, x, self.transposed), aside.others(x)

    def back(self, gradient: Tensor, saved: Tensor, weights: Weights, to_input: bool) -> Tensor:
        if weights == "set":
            # Into the same memory in every step: it is in the cache.
            torch.mm(gradient.t(), saved, out=_grad(self.layer.weight))
            torch.sum(gradient, 0, out=_grad(self.layer.bias))
        elif weights == "add":
            _grad(self.layer.weight).addmm_(gradient.t(), saved)
            _grad(self.layer.bias).add_(gradient.sum(0))
        return torch.mm(gradient, self.weight) if to_input else gradient


class _Activation:
    """LeakyReLU, ReLU or Tanh: their gradients are functions of their outputs, so they can work in
    place."""

    def __init__(self, layer: nn.Module, in_place: bool = False) -> None:
        self.in_place = in_place
        self.slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
        self.tanh = isinstance(layer, nn.Tanh)

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        x = x if self.in_place else x.clone()
        x = x.tanh_() if self.tanh else leaky_relu_(x, self.slope)
        return x, aside.others(x)

    def back(self, gradient: Tensor, saved: Tensor, weights: Weights, to_input: bool) -> Tensor:
        if self.tanh:
            by_input: Tensor = aten.tanh_backward.default(gradient, saved)
        else:
            by_input = aten.leaky_relu_backward.default(gradient, saved, self.slope, True)
        return by_input


class _BatchNorm:
    def __init__(self, layer: nn.BatchNorm1d) -> None:
        self.layer = layer

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        if not aside.size:
            y, *statistics = self._normalised(x, self.layer.training)
            return y, (x, statistics)
        before = self._normalised(x[: aside.size], aside.training)[0]
        y, *statistics = self._normalised(aside.others(x), self.layer.training)
        return torch.cat([before, y]), (aside.others(x), statistics)

    def _normalised(self, x: Tensor, training: bool) -> tuple[Tensor, ...]:
        """The output, the batch's mean and its inverse deviation."""
        layer, running = self.layer, (self.layer.running_mean, self.layer.running_var)
        if training:
            layer.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        out: tuple[Tensor, ...] = aten.native_batch_norm.default(
            x, layer.weight, layer.bias, *running, training, layer.momentum, layer.eps
        )
        return out

    def back(self, gradient: Tensor, saved: Any, weights: Weights, to_input: bool) -> Tensor:
        layer, (x, statistics) = self.layer, saved
        running, needed = (layer.running_mean, layer.running_var), weights != "leave"
        options = layer.training, layer.eps, [True, needed, needed]
        gradient, by_gain, by_bias = aten.native_batch_norm_backward.default(
            gradient, x, layer.weight, *running, *statistics, *options
        )
        for parameter, by_parameter in ((layer.weight, by_gain), (layer.bias, by_bias)):
            if weights == "set":
                parameter.grad = by_parameter
            elif weights == "add":
                _grad(parameter).add_(by_parameter)
        return gradient


class _Dropout:
    def __init__(self, layer: Dropout) -> None:
        self.layer = layer

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        mask = self.layer.mask(x)
        return x if mask is None else x * mask, mask

    def back(self, gradient: Tensor, saved: Any, weights: Weights, to_input: bool) -> Tensor:
        return gradient if saved is None else gradient * saved


class _Other:
    """Any other layer: left to autograd."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        inner = AutogradPass(self.layer, x)
        return inner.output, inner

    def back(self, gradient: Tensor, saved: Any, weights: Weights, to_input: bool) -> Tensor:
        inner: AutogradPass = saved
        leave, add = weights == "leave", weights == "add"
        return inner.to_input(gradient) if leave else inner.to_both(gradient, add=add)


def _kind(layer: nn.Module) -> Callable[..., _Layer]:
    """The class above that works like a layer. A subclass, such as one with spectral normalisation,
    may do anything: it is left to autograd."""
    if type(layer) not in (nn.Linear, nn.LeakyReLU, nn.ReLU, nn.Tanh, nn.BatchNorm1d, Dropout):
        return _Other
    match layer:
        case nn.Linear(weight=nn.Parameter(), bias=nn.Parameter()):
            return _Linear
        case nn.LeakyReLU(negative_slope=slope) if slope < 0:
            return _Other  # its gradient is no function of the output
        case nn.LeakyReLU() | nn.ReLU() | nn.Tanh():
            return _Activation
        case nn.BatchNorm1d(affine=True, track_running_stats=True, momentum=float()):
            return _BatchNorm
        case Dropout():
            return _Dropout
    return _Other


def _grad(parameter: Tensor) -> Tensor:
    """A parameter's gradient, made of zeros if it has none yet."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
