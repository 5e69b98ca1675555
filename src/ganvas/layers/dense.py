"""Forward passes whose gradients can be pulled back: by autograd for any network, written out for
fully connected layers.

With layers as small as those of the tutorial GANs, autograd takes a fifth of a step for itself
(docs/log.md). `Dense` does
without it: its layers' gradients are a dozen lines, which the tests hold against autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu_

from ganvas.layers.dropout import Dropout
from ganvas.layers.passes import AutogradPass

aten = torch.ops.aten


class Dense(nn.Module):
    """Fully connected layers, or any others, in a row.

    shape: of one output, such as (1, 28, 28); () for one value.
    classes: where not 0, the layers' input is followed by an embedding of the label, of as many
    values as classes.
    """

    def __init__(
        self, layers: Iterable[nn.Module], shape: tuple[int, ...], classes: int = 0
    ) -> None:
        super().__init__()
        self.shape, self.embedding = shape, nn.Embedding(classes, classes) if classes else None
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """x float (N, ...) [, labels int64 (N,)] -> float (N, *shape)."""
        out: Tensor = self.layers(self.joined(x, labels))
        return out.view(-1, *self.shape)

    def joined(self, x: Tensor, labels: Tensor | None) -> Tensor:
        x = x.flatten(1)
        return x if self.embedding is None else torch.cat([x, self.embedding(labels)], 1)

    def tracer(self) -> Callable[..., Any]:
        """What makes passes of this network: (x [, labels]) -> Pass; (x [, labels] [, aside]) ->
        DensePass if divisible."""
        if not self._simple:
            return partial(AutogradPass, self)
        layers: list[_Layer] = []
        fresh = False  # whether the layer's input is nobody else's: an activation may work in place
        for layer in self.layers:
            kind = _kind(layer)
            layers.append(_Activation(layer, fresh) if kind is _Activation else kind(layer))
            fresh = kind in (_Linear, _BatchNorm) or (fresh and kind is _Dropout)
        return partial(DensePass, self, layers)

    @property
    def divisible(self) -> bool:
        """Whether passes may have samples set aside: no layer but BatchNorm1d makes samples depend
        on one another."""
        return self._simple and all(
            _kind(layer) in (_Linear, _Activation, _BatchNorm) for layer in self.layers
        )

    @property
    def _simple(self) -> bool:
        """Whether each weight is trained, and in one place: else the layers' own gradients are not
        the network's."""
        parts = [*self.layers] if self.embedding is None else [self.embedding, *self.layers]
        weights = [p for part in parts for p in part.parameters()]
        return all(p.requires_grad for p in weights) and len(set(weights)) == len(weights)


class Aside(NamedTuple):
    """The first samples of a pass, if they are a batch of their own that no gradient is asked for:
    so one product of
    matrices serves two batches. training: the mode in which BatchNorm sees them, before it sees the
    others."""

    size: int = 0
    training: bool = True

    def others(self, x: Tensor) -> Tensor:
        """The samples that are not set aside."""
        return x[self.size :] if self.size else x


NONE = Aside()


class DensePass:
    """A pass of a Dense network. aside: the output of the samples set aside."""

    def __init__(
        self,
        network: Dense,
        layers: list[_Layer],
        x: Tensor,
        labels: Tensor | None = None,
        aside: Aside = NONE,
    ) -> None:
        self.layers, self.shape, self.embedding = layers, x.shape, network.embedding
        self.labels = None if labels is None else aside.others(labels)
        x = network.joined(x, labels)
        self.kept = []
        for layer in layers:
            x, kept = layer.forward(x, aside)
            self.kept.append(kept)
        images = x.view(-1, *network.shape)
        self.aside, self.output = images[: aside.size], aside.others(images)

    def _back(self, gradient: Tensor, weights: Weights, whole: bool) -> Tensor:
        """whole: whether the gradient of the input is wanted, too."""
        gradient = gradient.reshape(len(gradient), -1)
        for k in range(len(self.layers) - 1, -1, -1):
            gradient = self.layers[k].back(gradient, self.kept[k], weights, whole or k > 0)
        return gradient

    def to_weights(self, gradient: Tensor, *, add: bool = False) -> None:
        self._to_weights(gradient, add, whole=self.embedding is not None)

    def to_both(self, gradient: Tensor, *, add: bool = False) -> Tensor:
        return self._first(self._to_weights(gradient, add, whole=True))

    def to_input(self, gradient: Tensor) -> Tensor:
        return self._first(self._back(gradient, "leave", whole=True))

    def _to_weights(self, gradient: Tensor, add: bool, whole: bool) -> Tensor:
        gradient = self._back(gradient, "add" if add else "set", whole)
        if self.embedding is not None:
            table = self.embedding.weight
            own = aten.embedding_dense_backward.default(
                gradient[:, -table.shape[1] :], self.labels, len(table), -1, False
            )
            table.grad = own if table.grad is None or not add else table.grad + own
        return gradient

    def _first(self, gradient: Tensor) -> Tensor:
        """The first input's part of the gradient of what the layers see."""
        return gradient[:, : self.shape[1:].numel()].reshape(self.shape)


Weights = Literal["leave", "set", "add"]  # what is to become of the weights' gradients


class _Layer(Protocol):
    """forward: the output, and what back() needs of the samples that are not set aside. back: the
    gradient of the input, where it is wanted, from that of the output; the weights' own go into
    their `.grad`."""

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]: ...
    def back(self, gradient: Tensor, kept: Any, weights: Weights, wanted: bool) -> Tensor: ...


class _Linear:
    def __init__(self, layer: nn.Linear) -> None:
        self.layer, self.weight, self.bias = layer, layer.weight.detach(), layer.bias.detach()
        self.transposed = self.weight.t()

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        return torch.addmm(self.bias, x, self.transposed), aside.others(x)

    def back(self, gradient: Tensor, kept: Tensor, weights: Weights, wanted: bool) -> Tensor:
        if weights == "set":
            # Into the same memory in every step: it is in the cache.
            torch.mm(gradient.t(), kept, out=_room(self.layer.weight))
            torch.sum(gradient, 0, out=_room(self.layer.bias))
        elif weights == "add":
            _room(self.layer.weight).addmm_(gradient.t(), kept)
            _room(self.layer.bias).add_(gradient.sum(0))
        return torch.mm(gradient, self.weight) if wanted else gradient


class _Activation:
    """LeakyReLU, ReLU or Tanh, whose gradients are functions of their outputs: they can work in
    place."""

    def __init__(self, layer: nn.Module, in_place: bool = False) -> None:
        self.in_place = in_place
        self.slope = layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
        self.tanh = isinstance(layer, nn.Tanh)

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        x = x if self.in_place else x.clone()
        x = x.tanh_() if self.tanh else leaky_relu_(x, self.slope)
        return x, aside.others(x)

    def back(self, gradient: Tensor, kept: Tensor, weights: Weights, wanted: bool) -> Tensor:
        pulled: Tensor
        if self.tanh:
            pulled = aten.tanh_backward.default(gradient, kept)
        else:
            pulled = aten.leaky_relu_backward.default(gradient, kept, self.slope, True)
        return pulled


class _BatchNorm:
    def __init__(self, layer: nn.BatchNorm1d) -> None:
        self.layer = layer

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        if not aside.size:
            y, *statistics = self._normed(x, self.layer.training)
            return y, (x, statistics)
        before = self._normed(x[: aside.size], aside.training)[0]
        y, *statistics = self._normed(aside.others(x), self.layer.training)
        return torch.cat([before, y]), (aside.others(x), statistics)

    def _normed(self, x: Tensor, training: bool) -> tuple[Tensor, ...]:
        """The output, mean and deviation."""
        layer = self.layer
        if training:
            layer.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        normed: tuple[Tensor, ...] = aten.native_batch_norm.default(
            x,
            layer.weight,
            layer.bias,
            layer.running_mean,
            layer.running_var,
            training,
            layer.momentum,
            layer.eps,
        )
        return normed

    def back(self, gradient: Tensor, kept: Any, weights: Weights, wanted: bool) -> Tensor:
        layer, (x, statistics) = self.layer, kept
        gradient, gain, bias = aten.native_batch_norm_backward.default(
            gradient,
            x,
            layer.weight,
            layer.running_mean,
            layer.running_var,
            *statistics,
            layer.training,
            layer.eps,
            [True, weights != "leave", weights != "leave"],
        )
        for parameter, own in ((layer.weight, gain), (layer.bias, bias)):
            if weights == "set":
                parameter.grad = own
            elif weights == "add":
                _room(parameter).add_(own)
        return gradient


class _Dropout:
    def __init__(self, layer: Dropout) -> None:
        self.layer = layer

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        mask = self.layer.mask(x)
        return x if mask is None else x * mask, mask

    def back(self, gradient: Tensor, kept: Any, weights: Weights, wanted: bool) -> Tensor:
        return gradient if kept is None else gradient * kept


class _Other:
    """Any other layer: left to autograd."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def forward(self, x: Tensor, aside: Aside) -> tuple[Tensor, Any]:
        inner = AutogradPass(self.layer, x)
        return inner.output, inner

    def back(self, gradient: Tensor, kept: AutogradPass, weights: Weights, wanted: bool) -> Tensor:
        return (
            kept.to_input(gradient)
            if weights == "leave"
            else kept.to_both(gradient, add=weights == "add")
        )


def _kind(layer: nn.Module) -> Callable[..., _Layer]:
    """The class that works like a layer. Subclasses, such as layers with spectral normalisation,
    work as they like."""
    if type(layer) not in (nn.Linear, nn.LeakyReLU, nn.ReLU, nn.Tanh, nn.BatchNorm1d, Dropout):
        return _Other
    match layer:
        case nn.Linear(weight=nn.Parameter(), bias=nn.Parameter()):
            return _Linear
        case nn.LeakyReLU(negative_slope=slope) if slope < 0:  # no function of the output
            return _Other
        case nn.LeakyReLU() | nn.ReLU() | nn.Tanh():
            return _Activation
        case nn.BatchNorm1d(affine=True, track_running_stats=True, momentum=float()):
            return _BatchNorm
        case Dropout():
            return _Dropout
        case _:
            return _Other


def _room(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
