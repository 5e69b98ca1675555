"""Three training steps of each source system against a transcription of its listed formulae.

Both sides run in float64 from the same weights on the same batches, so that they must agree to
rounding; and each transcription can be made wrong on purpose, to show that the comparison would
notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ganvas import gans
from ganvas.data.dataset import Dataset
from ganvas.overrides import override
from ganvas.plan import Plan
from ganvas.recipe import ImageSpec
from ganvas.system import seeding
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.logger import statistics
from ganvas.training.loop import take_step
from ganvas.training.step import step
from helpers.common import plan_of
from helpers.transcriptions import (
    SEED,
    Dcgan,
    Digits,
    Keras,
    Leaky,
    Relu,
    Source,
    dcgan,
    layers_with_state,
)

pytestmark = pytest.mark.usefixtures("steady")


OTHER = 2e-4  # every slip changes more than this


def same(name: str) -> float:
    """The largest change that rounding may cause in three steps of float64.

    It is 1e-15 as a rule. But a bias before a BatchNorm has a gradient of rounding alone, which
    Adam divides by its eps of 1e-8, and DCGAN is full of them.
    """
    return 1e-6 if name.startswith("dcgan") else 1e-12


QUICK = {"width": Dcgan.WIDTH, "batch": 6, "length": f"{Dcgan.EPOCHS} epochs"}
# name: the recipe, its overrides, image shape, images in the data set, its transcription
SYSTEMS: dict[
    str, tuple[str, dict[str, Any], tuple[int, int, int], int, Callable[[str], Source]]
] = {
    "relu": ("mlp/relu", {}, (1, 28, 28), 100, Relu),
    "leaky": ("mlp/leaky", {}, (1, 28, 28), 250, Leaky),
    "keras": ("mlp/batchnorm", {}, (1, 28, 28), 100, Keras),
    "digits": ("cgan/digits", {}, (1, 28, 28), 150, Digits),
    # 12 images in batches of 6: the third step is the second epoch's first, with another learning
    # rate
    "dcgan 28x28 grey": ("dcgan/64", QUICK, (1, 28, 28), 12, dcgan(28, 28, 1)),
    "dcgan 32x32 RGB": ("dcgan/64", QUICK, (3, 32, 32), 12, dcgan(32, 32, 3)),
    "dcgan 64x64 RGB": ("dcgan/64", QUICK, (3, 64, 64), 12, dcgan(64, 64, 3)),
    "dcgan 21x35 RGBA": ("dcgan/64", QUICK, (4, 21, 35), 12, dcgan(21, 35, 4)),
}


def pictures(shape: tuple[int, int, int], count: int, classes: bool) -> Dataset:
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=rng)
    labels, names = (torch.arange(count) % 10, tuple("0123456789")) if classes else (None, ())
    return Dataset("noise", images, labels, names)


def prepared(name: str, dtype: torch.dtype = torch.float32) -> tuple[Learner, Batches, Plan]:
    full_name, changes, shape, count, _ = SYSTEMS[name]
    _, file, recipe = gans.find_recipe(full_name)
    recipe = override(recipe, changes)
    dataset = pictures(shape, count, bool(recipe.native.classes))
    gan = file.build(recipe.model, ImageSpec.of(dataset), 3)
    gan.generator.to(dtype)
    gan.discriminator.to(dtype)
    learner = Learner(gan, recipe.train, count, torch.device("cpu"))
    return learner, Batches(dataset, learner, SEED), plan_of(recipe.train, count)


def difference(name: str, slip: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Largest difference of any figure, weight or running statistic after three steps, or after the
    first that shows a slip."""
    monkeypatch.setattr(Tensor, "float", lambda self: self)  # logits stay float64, too
    learner, batches, plan = prepared(name, torch.float64)
    gan = learner.gan
    source = SYSTEMS[name][-1](slip)
    source.start_from(gan.generator, gan.discriminator)
    largest = 0.0
    for images_seen in (n * learner.config.batch for n in range(3)):
        b = batches.at(images_seen)
        b.real, b.d_z, b.g_z = b.real.double(), b.d_z.double(), b.g_z.double()
        learner.set_rates(plan, images_seen)
        learner.seed_dropout(SEED, images_seen)
        figures = statistics(gan.objective, learner.config.d_loss_scale, [step(learner, b)])[0]
        assert figures.dtype == torch.float64
        expected = torch.tensor(source.step(b, images_seen), dtype=torch.float64)
        pairs = [(figures, expected)]
        for listed, trained in ((source.g, gan.generator), (source.d, gan.discriminator)):
            layers = zip(layers_with_state(listed), layers_with_state(trained), strict=True)
            for one, two in layers:
                pairs += zip(two.state_dict().values(), one.state_dict().values(), strict=True)
        largest = max(
            largest, *((a - b).abs().max().item() for a, b in pairs if a.is_floating_point())
        )
        if largest > OTHER:
            break
        if (images_seen + learner.config.batch) % plan.epoch == 0:
            source.end_epoch()
    return largest


@pytest.mark.parametrize("name", SYSTEMS)
def test_three_steps_give_the_losses_and_weights_of_the_listed_formulae(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert difference(name, "", monkeypatch) < same(name)


SLIPS = [
    (name, slip)
    for name, source in (
        ("relu", Relu),
        ("leaky", Leaky),
        ("keras", Keras),
        ("digits", Digits),
        ("dcgan 28x28 grey", Dcgan),
    )
    for slip in source.slips
]


@pytest.mark.parametrize(("name", "slip"), SLIPS)
def test_the_comparison_notices_every_way_of_getting_a_step_wrong(
    name: str, slip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert difference(name, slip, monkeypatch) > OTHER


@pytest.mark.parametrize("name", SYSTEMS)
def test_training_in_float32_gives_the_same_figures(name: str) -> None:
    learner, batches, plan = prepared(name)
    source = SYSTEMS[name][-1]("")
    source.start_from(learner.gan.generator, learner.gan.discriminator)
    # Adam makes much of float32's rounding in DCGAN: plain PyTorch on its own is 2% off in its
    # second step
    steps, tolerance = (1, 1e-2) if name.startswith("dcgan") else (3, 1e-5)
    for images_seen in (n * learner.config.batch for n in range(steps)):
        learner.set_rates(plan, images_seen)
        logits = take_step(learner, batches, images_seen)
        figures = statistics(learner.gan.objective, learner.config.d_loss_scale, [logits])[0]
        assert figures.dtype == torch.float32
        b = batches.at(images_seen)
        b.real, b.d_z, b.g_z = b.real.double(), b.d_z.double(), b.g_z.double()
        expected = source.step(b, images_seen)
        assert figures.tolist()[:4] == pytest.approx(expected[:4], rel=tolerance)


@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_hold_the_recipes_images_noise_and_labels(name: str) -> None:
    learner, batches, plan = prepared(name)
    config, dataset = learner.config, batches.dataset
    seen: list[Tensor] = []
    latents: list[Tensor] = []
    for images_seen in range(0, plan.epoch + config.batch, config.batch):
        b = batches.at(images_seen)
        indices = seeding.EpochOrder(SEED, len(dataset)).indices(images_seen, config.batch)
        seen.append(indices)
        assert torch.allclose(
            b.real.double(), dataset.images[indices].double() / 255 * 2 - 1, atol=1e-6
        )
        assert b.d_z.shape == (config.batch, learner.gan.z_dim)
        shared = name in ("relu", "digits")
        assert torch.equal(b.d_z, b.g_z) == shared
        latents += [b.d_z] if shared else [b.d_z, b.g_z]
        if name == "digits":
            assert dataset.labels is not None
            assert b.real_labels is not None
            assert b.d_labels is not None
            assert b.g_labels is b.d_labels
            assert torch.equal(b.real_labels, dataset.labels[indices])
            assert b.d_labels.unique().tolist() == list(range(10))  # random ones, not the images'
            assert not torch.equal(b.d_labels, b.real_labels)
        else:
            assert b.real_labels is b.d_labels is b.g_labels is None
    assert sorted(torch.cat(seen)[: plan.epoch].tolist()) == list(range(plan.epoch))
    z = torch.cat(latents).flatten()
    assert len(z.unique()) > 0.99 * len(z)  # none drawn twice
    assert z.mean().item() == pytest.approx(0, abs=5 / len(z) ** 0.5)
    assert z.std().item() == pytest.approx(1, abs=5 / len(z) ** 0.5)
