"""Loss pairs in closed form."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from ganvas import objectives

pytestmark = pytest.mark.usefixtures("steady")


def test_minimax_is_binary_cross_entropy_and_stays_finite_where_that_does_not() -> None:
    real, fake = torch.randn(2, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)

    def bce(logits: Tensor, label: Tensor) -> Tensor:
        return binary_cross_entropy(logits.sigmoid(), label, reduction="none")

    assert torch.allclose(objectives.minimax.d_loss(real, fake), bce(real, ones) + bce(fake, zeros))
    assert torch.allclose(objectives.minimax.g_loss(None, fake), bce(fake, ones))
    assert torch.allclose(objectives.minimax.score(fake), fake.sigmoid())
    sure = torch.tensor([-200.0], requires_grad=True)
    objectives.minimax.g_loss(None, sure).sum().backward()
    assert objectives.minimax.g_loss(None, sure).item() == pytest.approx(200)
    assert sure.grad is not None
    assert sure.grad.item() == pytest.approx(-1)  # G still learns from fakes that D is sure of


def test_least_squares_pulls_real_to_1_and_fakes_to_0_with_a_half_for_d_alone() -> None:
    real, fake = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 1.0, -1.0])
    assert objectives.least_squares.d_loss(real, fake).tolist() == [0, 1, 2.5]
    assert objectives.least_squares.g_loss(None, fake).tolist() == [1, 0, 4]
    assert objectives.least_squares.score(fake).tolist() == fake.tolist()
    for objective in (objectives.minimax, objectives.least_squares):
        assert objective.boundary == 0.5
        assert not objective.paired


def test_hinge_pushes_d_to_1_and_minus_1_and_no_further() -> None:
    real, fake = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([-2.0, -1.0, 0.0, 1.0])
    assert objectives.hinge.d_loss(real, fake).tolist() == [0, 0, 2, 4]
    assert objectives.hinge.g_loss(None, fake).tolist() == [2, 1, 0, -1]
    assert objectives.hinge.score(fake).tolist() == fake.tolist()
    assert objectives.hinge.boundary == 0
    assert not objectives.hinge.paired


@pytest.mark.parametrize("name", ["minimax", "least_squares", "hinge"])
def test_gradients_that_are_written_out_are_those_of_the_losses(name: str) -> None:
    objective = getattr(objectives, name)
    real, fake = 2 * torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_autograd = dataclasses.replace(objective, d_slopes=None, g_slope=None)
    for mine, its in zip(objective.d_gradient(real, fake), by_autograd.d_gradient(real, fake), strict=True):
        assert torch.allclose(mine, its, rtol=1e-12)
        assert mine.abs().sum() > 0
    assert torch.allclose(objective.g_gradient(None, fake), by_autograd.g_gradient(None, fake), rtol=1e-12)
    assert real.grad is None  # the logits themselves are left as they are
    assert not fake.requires_grad
