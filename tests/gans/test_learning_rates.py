"""The learning rates of each system over its training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from ganvas import gans
from ganvas.overrides import override
from ganvas.training.learner import Learner
from helpers.common import plan_of

pytestmark = pytest.mark.usefixtures("steady")


def rates(
    recipe_name: str, changes: dict[str, Any], images: int, at: list[int]
) -> list[tuple[float, float]]:
    """G's and D's learning rates at each position of `at`, of a training on `images` images."""
    _, file, recipe = gans.find_recipe(recipe_name)
    recipe = override(recipe, changes)
    tiny = file.recipes["tiny"]
    learner = Learner(
        file.build(tiny.model, tiny.native), recipe.train, images, torch.device("cpu")
    )
    plan = plan_of(recipe.train, images)
    result = []
    for images_seen in at:
        learner.set_rates(plan, images_seen)
        result.append((learner.g_optimizer.lr, learner.d_optimizer.lr))
    return result


@pytest.mark.parametrize(
    ("recipe", "lr"), [("mlp/relu", 1e-4), ("mlp/leaky", 3e-4), ("cgan/digits", 2e-4)]
)
def test_constant_learning_rates_stay_as_they_are(recipe: str, lr: float) -> None:
    assert rates(recipe, {}, 1000, [0, 1000, 49_000]) == [(lr, lr)] * 3


def test_the_keras_systems_learning_rate_falls_with_every_step() -> None:
    steps = [0, 1, 100, 4999]
    expected = [2e-4 / (1 + 8e-8 * n) for n in steps]
    result = rates("mlp/batchnorm", {}, 60_000, [32 * n for n in steps])
    assert [g for g, _ in result] == pytest.approx(expected, rel=1e-12)
    assert [d for _, d in result] == [g for g, _ in result]
    assert result[0] != result[1]


def test_dcgans_learning_rate_is_torchs_cosine_stepped_after_each_epoch() -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))], 2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=500, eta_min=2e-5)
    expected = []
    for _ in range(500):
        expected.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    assert expected[0] == 2e-3
    for offset in (0, 50, 99):  # images into an epoch of 100: the same rate all through it
        result = rates("dcgan/64", {}, 100, [epoch * 100 + offset for epoch in range(500)])
        assert [g for g, _ in result] == pytest.approx(expected, rel=1e-9)
        assert [d for _, d in result] == [g for g, _ in result]


def test_dcgans_repository_warms_up_over_3_epochs_and_holds_the_last_15() -> None:
    expected = []
    for epoch in range(500):
        if epoch < 3:
            expected.append(2e-4 + (2e-3 - 2e-4) * (epoch / 3) ** 2)
        elif epoch >= 485:
            expected.append(2e-5)
        else:
            expected.append(2e-5 + (2e-3 - 2e-5) * (1 + math.cos(math.pi * (epoch - 3) / 482)) / 2)
    result = rates("dcgan/repository", {}, 100, [epoch * 100 + 64 for epoch in range(500)])
    assert [g for g, _ in result] == pytest.approx(expected, rel=1e-9)
    assert expected[0] == 2e-4


def test_d_may_have_a_learning_rate_of_its_own() -> None:
    assert rates("mlp/relu", {"d_lr": 4e-4}, 100, [0, 160]) == [(1e-4, 4e-4)] * 2
    falling = {"start": 1.0, "end": 0.0, "shape": "linear"}
    assert rates("mlp/relu", {"d_lr": falling, "length": "2 epochs"}, 100, [0, 100]) == [
        (1e-4, 1.0),
        (1e-4, 0.5),
    ]


def test_the_papers_constant_rate_is_one_setting() -> None:
    assert rates("dcgan/64", {"lr": 2e-4}, 100, [0, 49_000]) == [(2e-4, 2e-4)] * 2
