"""Adam against torch.optim.Adam, step by step.

These tests pin the private `torch._fused_adam_`: a torch that changes its arguments or results
fails them.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganvas.training.optimizers import Adam

pytestmark = pytest.mark.usefixtures("steady")

SHAPES = [(5, 4), (5,), (6, 3, 4, 4), (6, 1, 2, 2), ()]


def parameters(layout: torch.memory_format) -> list[nn.Parameter]:
    tensors = [
        torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        for shape in SHAPES
    ]
    return [nn.Parameter(t.to(memory_format=layout) if t.ndim == 4 else t) for t in tensors]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradients", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_torch_whatever_the_layout_in_memory(
    layout: torch.memory_format, gradients: torch.memory_format
) -> None:
    """Each argument that `step()` passes to the kernel is a public option of torch.optim.Adam."""
    ours, torchs = parameters(layout), parameters(torch.contiguous_format)
    adam = Adam(ours, (0.5, 0.99), 1e-6)
    reference = torch.optim.Adam(
        torchs, betas=(0.5, 0.99), eps=1e-6, weight_decay=0.0, amsgrad=False, maximize=False
    )
    for step in range(4):
        adam.lr = reference.param_groups[0]["lr"] = 0.1 / (1 + step)
        for a, b in zip(ours, torchs, strict=True):
            b.grad = torch.randn_like(b)
            a.grad = b.grad.to(memory_format=gradients) if b.ndim == 4 else b.grad.clone()
        adam.step()
        reference.step()
        for a, b in zip(ours, torchs, strict=True):
            assert torch.allclose(a, b, rtol=1e-12)


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    some = parameters(torch.contiguous_format)
    before = [p.detach().clone() for p in some]
    adam = Adam(some, (0.9, 0.999), 1e-8)
    adam.lr = 0.1
    some[0].grad = torch.ones_like(some[0])
    adam.step()
    assert not torch.equal(some[0], before[0])
    assert all(torch.equal(a, b) for a, b in zip(some[1:], before[1:], strict=True))


def test_a_part_of_a_larger_tensor_is_trained_alone() -> None:
    whole = torch.ones(4, 6)
    part = nn.Parameter(whole[:, :3])
    adam = Adam([part], (0.9, 0.999), 1e-8)
    adam.lr = 0.1
    part.grad = torch.ones_like(part)
    adam.step()
    assert torch.allclose(part, torch.full((4, 3), 0.9))
    assert torch.equal(whole[:, 3:], torch.ones(4, 3))


def test_a_saved_state_resumes_to_the_bit() -> None:
    def train(adam: Adam, steps: range) -> None:
        adam.lr = 0.01
        for step in steps:
            for p in adam.parameters:
                p.grad = torch.full_like(p, step - 1.5)
            adam.step()

    one, two = parameters(torch.channels_last), parameters(torch.channels_last)
    whole, second = Adam(one, (0.9, 0.999), 1e-8), Adam(two, (0.9, 0.999), 1e-8)
    train(whole, range(2))
    second.load_state_dict(whole.state_dict())
    for p, kept in zip(two, one, strict=True):
        p.data.copy_(kept)
    train(whole, range(2, 4))
    train(second, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("damage", ["shape", "count", "nan"])
def test_a_state_that_does_not_fit_is_refused(damage: str) -> None:
    adam = Adam(parameters(torch.contiguous_format), (0.9, 0.999), 1e-8)
    state = {
        name: list(value) if name != "steps" else value for name, value in adam.state_dict().items()
    }
    if damage == "shape":
        state["means"][0] = torch.zeros(3)
    elif damage == "count":
        state["squares"].pop()
    else:
        state["squares"][1] = torch.full((5,), float("nan"))
    with pytest.raises(ValueError):  # noqa: PT011 - zip's own message for a count
        adam.load_state_dict(state)
