"""Adaptive augmentation: which data sets get it, of which kinds, and its probability."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ganvas import data
from ganvas.plan import Plan
from ganvas.training.augment import (
    AUGMENT_BELOW,
    MAX_AUGMENT,
    MIN_TO_HOLD_OUT,
    TARGET,
    Controller,
    explained,
    held_out_count,
    kinds_for,
    memorised_share,
    plain_ground,
    ramp_images,
)
from ganvas.training.distributed import World
from ganvas.training.learner import Learner

ALL = ("translation", "colour", "cutout")


def glyphs() -> Tensor:
    return data.load_dataset("mnist-5k").images


def inverted() -> Tensor:
    return 255 - glyphs()


def photographs() -> Tensor:
    return torch.randint(
        256, (200, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_digits_are_moved_alone_and_all_else_recoloured_and_cut() -> None:
    images: Callable[[], Tensor]
    for images in (glyphs, inverted):
        assert plain_ground(images())
        assert kinds_for(images()) == ("translation",)
    assert kinds_for(photographs()) == ALL
    assert kinds_for(photographs().expand(-1, 3, -1, -1)) == ALL
    assert kinds_for(glyphs()[:5].repeat(1, 4, 1, 1)) == ALL
    assert kinds_for(glyphs()[:1]) == ("translation",)


def test_small_sets_alone_are_augmented() -> None:
    few, many = MIN_TO_HOLD_OUT, AUGMENT_BELOW
    numbers = (5, few - 1, few, 200, 4000, many - 1, many, 60_000)
    assert [held_out_count(n) for n in numbers] == [0, 0, 10, 20, 256, 256, 0, 0]
    assert explained(("translation",), 60_000).startswith("no augmentation: 60,000 images")
    line = explained(("translation",), 4000)
    assert line.startswith(
        "augmentation: translation alone (grey figures on a plain ground), as there are 4,000"
        " images"
    )
    assert "256 images are held out" in line
    tiny = explained(("translation", "colour", "cutout"), 5)
    assert "translation, colour, cutout" in tiny
    assert "climbs to 0.8" in tiny


def test_memorised_share_counts_pairs_whatever_the_offset_and_scale() -> None:
    known, held_out = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 2.0, 1.0])
    # 3 is above all three; 1 is above one, below one, and ties with one.
    assert memorised_share(known, held_out).item() == pytest.approx((3 + 1 - 1) / 6)
    for factor, offset in ((1.0, -50.0), (1e-3, 7.0), (40.0, 0.0)):
        assert memorised_share(
            known * factor + offset, held_out * factor + offset
        ).item() == pytest.approx(0.5)
    assert memorised_share(known, known).item() == 0
    assert memorised_share(known + 10, known).item() == 1
    assert memorised_share(known - 10, known).item() == -1


def test_memorised_of_two_processes_is_that_of_one() -> None:
    known, held_out = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    # each against all that is held out
    parts = [memorised_share(World(rank, 2).shard(known), held_out) for rank in (0, 1)]
    assert torch.stack(parts).mean() == memorised_share(known, held_out)


def test_the_controller_moves_p_by_the_images_over_the_ramp() -> None:
    controller = Controller(ramp=1000)
    assert controller.p == 0
    assert controller.update(TARGET + 0.1, 50) == pytest.approx(0.05)
    assert controller.update(1.0, 50) == pytest.approx(0.1)
    assert controller.update(TARGET - 0.1, 20) == pytest.approx(0.08)
    assert controller.update(TARGET, 20) == pytest.approx(0.08)
    assert controller.update(float("nan"), 20) == pytest.approx(0.08)
    assert controller.update(-1.0, 500) == 0
    assert controller.update(1.0, 5000) == MAX_AUGMENT < 1


def test_the_ramp_follows_the_plan_as_it_stands() -> None:
    """A training by the clock may revise it; a resume finds later revisions in the plan."""
    plan = Plan(images=8000, batch=8, epoch=100, requested="").revise(80, 800).revise(160, 4000)
    learner: Any = SimpleNamespace(
        g_optimizer=SimpleNamespace(),
        d_optimizer=SimpleNamespace(),
        controller=Controller(1),
        config=SimpleNamespace(lr=0.1, d_lr=None, gamma=None),
    )
    ramps = []
    for images_seen in (0, 72, 80, 152, 160):
        Learner.set_rates(learner, plan, images_seen)
        ramps.append(learner.controller.ramp)
    assert ramps == [2000, 2000, 200, 200, 1000]


def test_the_ramp_is_a_quarter_of_the_training_and_never_longer_than_the_papers() -> None:
    assert ramp_images(100_000) == 25_000
    assert ramp_images(25_000_000) == 500_000


def test_the_controller_raises_p_while_d_memorises_and_lowers_it_else() -> None:
    rng = torch.Generator().manual_seed(0)
    controller = Controller(ramp=10_000)
    # better: how far D puts training images above held-out ones.
    for better, direction in ((2.0, 1), (0.0, -1)):
        before = controller.p
        for _ in range(20):
            # a relativistic D's logits lie anywhere
            known, held_out = torch.randn(2, 100, generator=rng) * 5 - 300
            controller.update(memorised_share(known + 5 * better, held_out).item(), 100)
        assert controller.p - before == pytest.approx(0.2 * direction)


def test_the_controller_resumes_exactly() -> None:
    whole, first = Controller(ramp=700), Controller(ramp=700)
    values = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    for value in values[:20]:
        whole.update(value, 17)
        first.update(value, 17)
    second = Controller(ramp=700)
    second.load_state_dict(first.state_dict())
    for value in values[20:]:
        assert second.update(value, 17) == whole.update(value, 17)


@pytest.mark.parametrize("p", [-0.1, 0.9, float("nan"), "0.5", None])
def test_a_damaged_state_is_refused(p: object) -> None:
    controller = Controller(ramp=700)
    with pytest.raises(ValueError, match=r"p is .*, expected 0 to 0\.8"):
        controller.load_state_dict({"p": p})  # type: ignore[dict-item]
    assert controller.p == 0
