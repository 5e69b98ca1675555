"""Passes with hand-written gradients against autograd on the same layers, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.prune import random_unstructured

from ganvas.layers import dropout
from ganvas.layers.dense import Dense, make_two_batches
from ganvas.layers.passes import tracer_of
from ganvas.system import seeding

pytestmark = pytest.mark.usefixtures("steady")

STACKS: dict[str, list[nn.Module]] = {
    "leaky": [nn.Linear(6, 5), nn.LeakyReLU(0.2), nn.Linear(5, 4), nn.Tanh()],
    "relu": [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)],
    "batchnorm after": [
        nn.Linear(6, 5),
        nn.LeakyReLU(0.2),
        nn.BatchNorm1d(5, 1e-3, 0.2),
        nn.Linear(5, 4),
        nn.Tanh(),
    ],
    "batchnorm before": [
        nn.Linear(6, 5),
        nn.BatchNorm1d(5, 0.8),
        nn.LeakyReLU(0.2),
        nn.Linear(5, 4),
    ],
    "dropout": [
        nn.Linear(6, 5),
        dropout.Dropout(0.4),
        nn.LeakyReLU(0.2),
        dropout.Dropout(0.5),
        nn.Linear(5, 4),
    ],
    "layers left to autograd": [
        nn.GELU(),
        nn.Linear(6, 5, bias=False),
        nn.LayerNorm(5),
        nn.ReLU(),
        nn.Linear(5, 4),
    ],
    "an activation first, two in a row": [
        nn.Tanh(),
        nn.Linear(6, 5),
        nn.LeakyReLU(0.1),
        nn.LeakyReLU(0.3),
        nn.Linear(5, 4),
    ],
    "a tanh that a dropout follows": [nn.Linear(6, 4), nn.Tanh(), dropout.Dropout(0.3)],
}


def network(stack: str, classes: int = 0) -> Dense:
    layers = [copy.deepcopy(layer) for layer in STACKS[stack]]
    if classes:
        layers[0] = nn.Linear(6 + classes, 5)
    dense = Dense(layers, (2, 2), classes).double()
    # BatchNorm's initial gain 1 and bias 0 would hide mistakes
    for parameter in dense.parameters():
        nn.init.normal_(parameter)
    return dense


def seed_masks(dense: Dense) -> None:
    layers = [layer for layer in dense.modules() if isinstance(layer, dropout.Dropout)]
    dropout.set_source(layers, seeding.bits(1, "dropout", 0), rank=0, world=1)


def by_autograd(
    dense: Dense, x: Tensor, labels: Tensor | None, times: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output, gradient of the input and of the weights, by nn.Module's forward and backward."""
    first = x.clone().requires_grad_()
    for _ in range(times):
        seed_masks(dense)
        output = dense(first, labels)
        output.backward(slope(output))
    assert first.grad is not None
    return (
        output.detach(),
        first.grad / times,
        [p.grad for p in dense.parameters() if p.grad is not None],
    )


def slope(output: Tensor) -> Tensor:
    return torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("stack", "classes"), [*((stack, 0) for stack in STACKS), ("leaky", 3), ("dropout", 3)]
)
def test_a_dense_pass_is_what_autograd_makes_of_the_same_layers(
    stack: str, classes: int, times: int
) -> None:
    dense, reference = network(stack, classes), network(stack, classes)
    reference.load_state_dict(dense.state_dict())
    x = torch.randn(7, 6, dtype=torch.float64)
    labels = torch.arange(7) % classes if classes else None
    output, by_input, by_weights = by_autograd(reference, x, labels, times)

    trace, before = tracer_of(dense), x.clone()
    for parameter in dense.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)  # of an earlier step: to be forgotten
    with torch.no_grad():
        for time in range(times):  # the second is added, as that of a second batch in one step
            seed_masks(dense)
            one = trace(x, labels) if classes else trace(x)
            one.to_weights(slope(one.output), add=time > 0)
        seed_masks(dense)
        other = trace(x, labels) if classes else trace(x)
        gradient = other.to_input(slope(other.output))

    assert torch.equal(x, before)  # no layer works in place on a tensor that it shares
    assert torch.allclose(one.output, output, atol=1e-12)
    assert not one.output.requires_grad
    assert torch.allclose(gradient, by_input, atol=1e-12)
    for parameter, expected in zip(dense.parameters(), by_weights, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected, atol=1e-12)
    for name, buffer in reference.state_dict().items():
        if "running" in name and times == 1:
            assert not torch.equal(buffer, torch.zeros_like(buffer))


@pytest.mark.parametrize("made", [network("leaky"), nn.Linear(6, 4).double()])
def test_to_input_leaves_the_gradients_of_the_weights_alone(made: nn.Module) -> None:
    with torch.no_grad():
        one = tracer_of(made)(torch.randn(7, 6, dtype=torch.float64))
        one.to_input(slope(one.output))
    assert all(p.grad is None for p in made.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("stack", "classes"),
    [("leaky", 0), ("batchnorm after", 0), ("batchnorm before", 0), ("batchnorm before", 4)],
)
def test_one_pass_over_two_batches_is_a_pass_over_each(
    stack: str, classes: int, training: bool
) -> None:
    dense, reference = network(stack, classes), network(stack, classes)
    reference.load_state_dict(dense.state_dict())
    assert dense.divisible
    x = torch.randn(10, 6, dtype=torch.float64)
    labels = torch.arange(10) % classes if classes else None
    first, second = (
        (x[part], None if labels is None else labels[part]) for part in (slice(3), slice(3, None))
    )
    with torch.no_grad():
        aside, made = make_two_batches(dense.tracer(), first, second, first_training=training)
        made.to_weights(slope(made.output))

    reference.train(training)
    with torch.no_grad():
        assert torch.allclose(aside, reference(*first), atol=1e-12)
    output, _, by_weights = by_autograd(reference.train(), *second, 1)
    assert torch.allclose(made.output, output, atol=1e-12)
    for parameter, expected in zip(dense.parameters(), by_weights, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected, atol=1e-12)
    # The first batch counts for running statistics in training mode alone.
    for name, buffer in reference.state_dict().items():
        assert torch.allclose(dense.state_dict()[name], buffer, atol=1e-12)


def test_layers_that_mix_samples_or_draw_masks_are_not_divisible() -> None:
    assert not network("dropout").divisible
    assert not network("layers left to autograd").divisible


def test_other_networks_are_left_to_autograd() -> None:
    convolution = nn.Conv2d(1, 2, 3).double()
    x = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    one = tracer_of(convolution)(x)
    one.to_weights(slope(one.output))
    one = tracer_of(convolution)(x)
    one.to_weights(slope(one.output), add=True)
    first = x.clone().requires_grad_()
    output = convolution(first)
    expected = torch.autograd.grad(output, [first, *convolution.parameters()], slope(output))
    assert torch.allclose(tracer_of(convolution)(x).to_input(slope(output)), expected[0])
    for parameter, gradient in zip(convolution.parameters(), expected[1:], strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, 2 * gradient)


def _frozen() -> list[nn.Module]:
    return [nn.Linear(6, 5).requires_grad_(False), nn.ReLU(), nn.Linear(5, 4)]


def _shared() -> list[nn.Module]:
    twice = nn.Linear(6, 6)
    return [twice, nn.ReLU(), twice, nn.Tanh(), nn.Linear(6, 4)]


UNUSUAL = {
    "frozen": _frozen,
    "shared": _shared,
    "spectral norm": lambda: [
        spectral_norm(nn.Linear(6, 5)),
        nn.ReLU(),
        spectral_norm(nn.Linear(5, 4)),
    ],
    "pruned": lambda: [
        random_unstructured(nn.Linear(6, 5), "weight", 0.5),
        nn.ReLU(),
        nn.Linear(5, 4),
    ],
    "negative slope": lambda: [nn.Linear(6, 5), nn.LeakyReLU(-0.2), nn.Linear(5, 4)],
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("wrapped", [False, True])
def test_layers_with_weights_frozen_shared_or_made_of_others_have_autograds_gradients(
    kind: str, wrapped: bool
) -> None:
    dense = Dense(UNUSUAL[kind](), (4,)).double()
    reference = Dense(UNUSUAL[kind](), (4,)).double()
    reference.load_state_dict(dense.state_dict())
    x = torch.randn(7, 6, dtype=torch.float64)
    trace = tracer_of(nn.Sequential(dense) if wrapped else dense)
    for step in range(2):  # in the second the weights are others
        output, _, expected = by_autograd(reference, x, None, 1)
        with torch.no_grad():
            one = trace(x)
            one.to_weights(slope(one.output))
            assert torch.allclose(one.output, output), step
            gradients = [p.grad for p in dense.parameters() if p.grad is not None]
            for a, b in zip(gradients, expected, strict=True):
                assert torch.allclose(a, b), step
            for network in (dense, reference):
                for p in network.parameters():
                    if p.requires_grad and p.grad is not None:
                        p -= 0.1 * p.grad
                        if network is reference:
                            p.grad = None
