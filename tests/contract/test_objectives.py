"""Losses in closed form, and penalties on D's slope against finite differences."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ganvas import objectives

pytestmark = pytest.mark.usefixtures("steady")


def test_minimax_is_binary_cross_entropy_and_stays_finite_where_that_does_not() -> None:
    real, fake = (
        torch.randn(2, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    )
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


def test_wasserstein_is_the_difference_of_logits() -> None:
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    assert objectives.wasserstein.d_loss(real, fake).tolist() == [-1.5, 4]
    assert objectives.wasserstein.g_loss(None, fake).tolist() == [-0.5, -3]


def test_relativistic_depends_on_differences_alone_and_is_even_at_equality() -> None:
    real, fake = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    r = objectives.relativistic
    assert r.paired
    assert torch.allclose(r.d_loss(real, fake), -(real - fake).sigmoid().log())
    assert torch.allclose(r.g_loss(real, fake), -(fake - real).sigmoid().log())
    assert torch.allclose(r.d_loss(real + 7, fake + 7), r.d_loss(real, fake))
    assert torch.allclose(r.d_loss(real, real), torch.full_like(real, math.log(2)))
    # each the other's mirror image
    assert torch.allclose(r.g_loss(fake, real), r.d_loss(real, fake))
    by_real, by_fake = r.d_gradient(real, fake)
    assert torch.allclose(by_real, (real - fake).sigmoid() - 1)
    assert torch.allclose(by_real, -by_fake)
    assert torch.allclose(r.g_gradient(real, fake), (fake - real).sigmoid() - 1)


class TestPenalties:
    @staticmethod
    def curved(seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        layers = (
            nn.Conv2d(2, 3, 3),
            nn.Softplus(),
            nn.Flatten(),
            nn.Linear(3 * 3 * 2, 4),
            nn.Tanh(),
            nn.Linear(4, 1),
            nn.Flatten(0),
        )
        return nn.Sequential(*layers).double()

    images = torch.randn(
        4, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )

    def test_a_linear_function_has_the_norm_of_its_weights(self) -> None:
        weight = torch.randn(2, 5, 4, dtype=torch.float64)
        slopes = objectives.squared_gradient_norm(
            lambda x: (x * weight).flatten(1).sum(1), self.images
        )
        assert torch.allclose(slopes, weight.square().sum().expand(4))

    def test_a_square_has_four_times_its_value(self) -> None:
        slopes = objectives.squared_gradient_norm(
            lambda x: x.square().flatten(1).sum(1), self.images
        )
        assert torch.allclose(slopes, 4 * self.images.square().flatten(1).sum(1))

    def test_slopes_are_those_of_finite_differences(self) -> None:
        judge, step = self.curved(), 1e-5
        slopes = objectives.squared_gradient_norm(judge, self.images)
        expected = torch.zeros(4, dtype=torch.float64)
        for place in itertools.product(range(2), range(5), range(4)):
            nudge = torch.zeros_like(self.images)
            nudge[(slice(None), *place)] = step
            expected += (
                ((judge(self.images + nudge) - judge(self.images - nudge)) / (2 * step))
                .detach()
                .square()
            )
        assert torch.allclose(slopes, expected, rtol=1e-6)

    @pytest.mark.parametrize("kind", ["slopes", "penalty"])
    def test_their_gradients_by_the_weights_are_those_of_finite_differences(
        self, kind: str
    ) -> None:
        judge, other, mix = (
            self.curved(),
            self.images.flip(0) * 0.3,
            torch.tensor([0.1, 0.5, 0.9, 0.0]).double(),
        )

        def value() -> Tensor:
            if kind == "slopes":
                return objectives.squared_gradient_norm(judge, self.images).mean()
            return objectives.gradient_penalty(judge, self.images, other, mix).mean()

        value().backward()
        weight, step = judge[0].weight, 1e-5
        assert weight.grad is not None
        for place in [(0, 0, 0, 0), (2, 1, 2, 1), (1, 0, 1, 2)]:
            kept = weight.data[place].item()
            weight.data[place] = kept + step
            above = value().item()
            weight.data[place] = kept - step
            below = value().item()
            weight.data[place] = kept
            assert weight.grad[place].item() == pytest.approx(
                (above - below) / (2 * step), rel=1e-5, abs=1e-9
            )

    def test_the_gradient_penalty_is_0_for_a_slope_of_1_and_looks_between_real_and_fake(
        self,
    ) -> None:
        real, fake = self.images, -self.images
        unit = torch.full((2, 5, 4), 1 / math.sqrt(40), dtype=torch.float64)
        mix = torch.tensor([0.0, 0.25, 0.5, 1.0]).double()
        flat = objectives.gradient_penalty(lambda x: (x * unit).flatten(1).sum(1), real, fake, mix)
        assert torch.allclose(flat, torch.zeros(4).double(), atol=1e-9)
        seen: list[Tensor] = []

        def noting(x: Tensor) -> Tensor:
            seen.append(x.detach())
            return x.flatten(1).sum(1)

        penalty = objectives.gradient_penalty(noting, real, fake, mix)
        assert torch.allclose(
            seen[0], mix.view(-1, 1, 1, 1) * real + (1 - mix).view(-1, 1, 1, 1) * fake
        )
        assert torch.allclose(penalty, torch.full((4,), (math.sqrt(40) - 1) ** 2).double())

    def test_penalties_take_vectors_too(self) -> None:
        layer = torch.nn.Linear(6, 1).double()
        points, mix = torch.randn(5, 6).double(), torch.rand(5).double()
        slopes = objectives.gradient_penalty(lambda x: layer(x).squeeze(1), points, -points, mix)
        expected = (layer.weight.norm() - 1).square().expand(5)
        assert torch.allclose(slopes, expected)

    def test_a_slope_of_0_has_a_finite_gradient(self) -> None:
        gain = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        mix = torch.full((4,), 0.5).double()
        objectives.gradient_penalty(
            lambda x: gain * x.flatten(1).sum(1), self.images, self.images, mix
        ).sum().backward()
        assert gain.grad is not None
        assert gain.grad.isfinite().all()


@pytest.mark.parametrize("name", ["minimax", "least_squares", "hinge"])
def test_gradients_that_are_written_out_are_those_of_the_losses(name: str) -> None:
    objective = getattr(objectives, name)
    real, fake = 2 * torch.randn(
        2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    by_autograd = dataclasses.replace(objective, d_slopes=None, g_slope=None)
    for gradient, expected in zip(
        objective.d_gradient(real, fake), by_autograd.d_gradient(real, fake), strict=True
    ):
        assert torch.allclose(gradient, expected, rtol=1e-12)
        assert gradient.abs().sum() > 0
    assert torch.allclose(
        objective.g_gradient(None, fake), by_autograd.g_gradient(None, fake), rtol=1e-12
    )
    assert real.grad is None  # the logits themselves are left as they are
    assert not fake.requires_grad
