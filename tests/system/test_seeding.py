"""The random draws of a training: functions of seed, purpose and position alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganvas.layers import dropout
from ganvas.system import seeding

pytestmark = pytest.mark.usefixtures("steady")


def test_the_order_shows_each_image_once_an_epoch_in_another_order_each() -> None:
    order = seeding.EpochOrder(seed=1, size=50)
    epochs = order.indices(0, 200).view(4, 50)
    assert epochs.dtype == torch.int64
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(50))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    assert epochs[0].tolist() != list(range(50))
    assert seeding.EpochOrder(seed=2, size=50).indices(0, 50).tolist() != epochs[0].tolist()


def test_the_order_is_the_same_from_any_place_and_in_any_batches() -> None:
    endless = seeding.EpochOrder(seed=1, size=50).indices(0, 500)
    for batch in (1, 7, 50, 64, 130):
        order = seeding.EpochOrder(seed=1, size=50)
        assert torch.equal(
            torch.cat([order.indices(k, batch) for k in range(0, 260, batch)])[:260], endless[:260]
        )
    order = seeding.EpochOrder(seed=1, size=50)
    for start in (480, 0, 49, 333):  # backwards too
        assert torch.equal(order.indices(start, 20), endless[start : start + 20])


def test_a_batch_larger_than_the_data_holds_whole_epochs() -> None:
    indices = seeding.EpochOrder(seed=3, size=3).indices(2, 10)
    assert indices.shape == (10,)
    for start in (1, 4, 7):
        assert sorted(indices[start : start + 3].tolist()) == [0, 1, 2]
    assert seeding.EpochOrder(seed=3, size=1).indices(5, 4).tolist() == [0, 0, 0, 0]


def test_a_generator_is_a_function_of_seed_purpose_and_position_alone() -> None:
    def drawn(seed: int, purpose: str, position: int) -> Tensor:
        return torch.randn(2000, generator=seeding.generator(seed, purpose, position))

    state = torch.random.get_rng_state()
    base = drawn(1, "z", 0)
    assert torch.equal(base, drawn(1, "z", 0))
    assert torch.equal(torch.random.get_rng_state(), state)
    for other in (
        drawn(2, "z", 0),
        drawn(1, "order", 0),
        drawn(1, "z", 1),
        drawn(2**63 - 1, "z", 10**12),
    ):
        assert abs(torch.corrcoef(torch.stack([base, other]))[0, 1].item()) < 5 / 2000**0.5


def masks(groups: int, rank: int, world: int, layers: int = 2) -> list[Tensor]:
    """Ones after two Dropout layers, each alone, in a process's part of 8 images a group."""
    dropouts = [dropout.Dropout(0.4) for _ in range(layers)]
    dropout.set_source(dropouts, seeding.bits(1, "d-dropout", 64), rank, world)
    dropout.set_groups(dropouts, groups)
    return [layer(torch.ones(groups * 8 // world, 300)) for layer in dropouts]


@pytest.mark.parametrize("groups", [1, 2])
def test_dropout_of_two_processes_is_that_of_one(groups: int) -> None:
    whole, first, second = masks(groups, 0, 1), masks(groups, 0, 2), masks(groups, 1, 2)
    for one, a, b in zip(whole, first, second, strict=True):
        halves = [torch.cat(pair) for pair in zip(a.chunk(groups), b.chunk(groups), strict=True)]
        assert torch.equal(torch.cat(halves), one)
        assert not torch.equal(a, b)


def test_dropout_keeps_its_share_scales_it_and_draws_each_value_on_its_own() -> None:
    one, two = masks(2, 0, 1)
    assert one.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert one.count_nonzero() / one.numel() == pytest.approx(
        0.6, abs=5 * (0.24 / one.numel()) ** 0.5
    )
    assert not torch.equal(one, two)
    assert len({tuple(row.tolist()) for row in one}) == len(one)
    layer = dropout.Dropout(0.4).eval()
    assert torch.equal(layer(one), one)
    assert torch.equal(dropout.Dropout(0.0)(one), one)
