"""The moving average of G's weights: its half-life, its beginning, and that runs sample with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ganvas
from ganvas.training.optimizers import EMA


def constant(value: float) -> nn.Linear:
    layer = nn.Linear(2, 1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, value)
    return layer


def test_after_one_half_life_half_of_the_past_is_left() -> None:
    for batch in (10, 50):  # a half-life in images does not depend on the batch
        average = EMA(constant(0.0), half_life=100)
        for _ in range(100 // batch):
            average.update(constant(1.0), batch, images_seen=1_000_000)
        torch.testing.assert_close(average.network.weight, torch.full((1, 2), 0.5))


def test_at_the_beginning_the_half_life_is_a_twentieth_of_what_was_seen() -> None:
    average = EMA(constant(0.0), half_life=1e9)
    average.update(constant(1.0), 10, images_seen=200)
    torch.testing.assert_close(average.network.weight, torch.full((1, 2), 0.5))


def test_an_update_is_torchs_own_lerp_of_every_weight() -> None:
    """Pins the private `torch._foreach_lerp_` to the public `torch.lerp`."""
    old, new = (nn.Sequential(nn.Linear(3, 4), nn.Conv2d(1, 2, 3)) for _ in range(2))
    average = EMA(old, half_life=100)
    average.update(new, 10, images_seen=1_000_000)
    weight = 1 - 0.5 ** (10 / 100)
    for a, b, averaged in zip(
        old.parameters(), new.parameters(), average.network.parameters(), strict=True
    ):
        assert torch.equal(averaged, torch.lerp(a, b, weight))


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    new = nn.BatchNorm1d(1)
    average = EMA(new, half_life=10)
    new.running_mean += 8
    new.num_batches_tracked += 7
    average.update(new, 10, images_seen=1000)
    assert average.network.running_mean.item() == pytest.approx(4)
    assert average.network.num_batches_tracked.item() == 7


def test_the_network_itself_is_left_alone() -> None:
    network = constant(3.0)
    average = EMA(network, half_life=10)
    average.update(constant(1.0), 10, images_seen=1000)
    assert network.weight.requires_grad
    torch.testing.assert_close(network.weight, torch.full((1, 2), 3.0))


def test_a_run_keeps_the_average_as_its_generator(tmp_path: Path) -> None:
    run = ganvas.train("sngan/tiny", images=64, out=tmp_path / "run", threads=1, quiet=True)
    kept = load_file(run.generator_file)
    learner = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["learner"]
    assert all(torch.equal(kept[name], learner["average"][name]) for name in kept)
    assert not torch.equal(kept["last.weight"], learner["generator"]["last.weight"])


def test_a_run_without_an_average_keeps_the_weights_themselves(tmp_path: Path) -> None:
    run = ganvas.train("mlp/tiny", images=64, out=tmp_path / "run", threads=1, quiet=True)
    kept = load_file(run.generator_file)
    learner = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["learner"]
    assert all(torch.equal(kept[name], learner["generator"][name]) for name in kept)
