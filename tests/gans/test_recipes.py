"""The recipes: their listed settings, and that every GAN's tiny recipe trains."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from ganvas import gans
from ganvas.overrides import override
from ganvas.plan import Plan
from ganvas.recipe import (
    DIGIT_CLASSES,
    ImageSpec,
    Interval,
    Schedule,
    TrainConfig,
    settings,
)
from ganvas.system.schema import convert
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.logger import statistics
from ganvas.training.loop import take_step
from helpers.common import noise_images

pytestmark = pytest.mark.usefixtures("steady")

EVERY = [f"{gan}/{key}" for gan in gans.gan_names() for key in gans.load_gan(gan).recipes]

ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
SOFT = {"betas": (0.5, 0.999), "eps": 1e-8}
D_FIRST = {"order": "d-first", "d_fakes": "training", "d_loss_scale": 1.0, "g_batch": None}
TRAINING: dict[str, dict[str, Any]] = {
    "mlp/relu": {
        **ADAM,
        **D_FIRST,
        "g_fakes": "same",
        "batch": 16,
        "length": "50 epochs",
        "lr": 1e-4,
        "log": "1 epochs",
        "sheet": "1 epochs",
        "sheet_rows": 4,
        "sheet_columns": 4,
    },
    "dcgan/64": {
        **SOFT,
        **D_FIRST,
        "g_fakes": "fresh",
        "batch": 64,
        "length": "500 epochs",
        "sheet": "50 steps",
        "weights": "10 epochs",
        "sheet_rows": 5,
        "sheet_columns": 5,
    },
    "cgan/digits": {
        **SOFT,
        "order": "g-first",
        "g_fakes": "same",
        "d_fakes": "training",
        "batch": 64,
        "length": "100 epochs",
        "lr": 2e-4,
        "sheet_columns": 10,
        "d_loss_scale": 1.0,
    },
    "mlp/leaky": {
        **ADAM,
        **D_FIRST,
        "g_fakes": "fresh",
        "batch": 100,
        "length": "200 epochs",
        "lr": 3e-4,
        "log": "300 steps",
        "sheet": "1 epochs",
        "sheet_name": "fake_images-{epoch}",
    },
    "mlp/batchnorm": {
        "betas": (0.5, 0.999),
        "eps": 1e-7,
        "order": "d-first",
        "g_fakes": "fresh",
        "d_fakes": "inference",
        "batch": 32,
        "g_batch": 64,
        "d_loss_scale": 0.5,
        "length": "5000 steps",
        "log": "1 steps",
        "sheet": "100 steps",
        "lr": Schedule(start=2e-4, shape="inverse", decay=8e-8),
        "sheet_rows": 4,
        "sheet_columns": 4,
    },
}
TRAINING["dcgan/repository"] = TRAINING["dcgan/64"]


@pytest.mark.parametrize("name", TRAINING)
def test_training_settings_are_the_listed_ones(name: str) -> None:
    train = gans.find_recipe(name)[2].train
    for field, expected in TRAINING[name].items():
        value = getattr(train, field)
        if field in ("length", "log", "sheet", "weights"):
            value, expected = Interval.parse(value), Interval.parse(expected)
        assert value == expected, field
    assert train.d_lr is None
    assert train.average is None
    assert (
        gans.find_recipe(name)[2].native
        == {
            "mlp": ImageSpec(height=28, width=28, channels=1),
            "cgan": ImageSpec(height=28, width=28, channels=1, classes=DIGIT_CLASSES),
            "dcgan": ImageSpec(height=64, width=64, channels=3),
        }[name.split("/")[0]]
    )


@pytest.mark.parametrize("gan_name", gans.gan_names())
def test_every_gan_has_a_tiny_recipe_that_trains_both_networks(gan_name: str) -> None:
    file = gans.load_gan(gan_name)
    recipe = file.recipes["tiny"]
    spec, config = recipe.native, recipe.train
    gan = file.build(recipe.model, spec, 1)
    labels = torch.zeros(5, dtype=torch.int64) if gan.conditional else None
    images = gan.make(torch.randn(5, gan.z_dim), labels)
    assert images.shape == (5, spec.channels, spec.height, spec.width)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert gan.judge(images, labels).shape == (5,)

    learner = Learner(gan, config, 50, torch.device("cpu"))
    batches = Batches(noise_images(spec, 50), learner, 3)
    plan = Plan(images=10 * config.batch, batch=config.batch, epoch=50, requested="10 steps")
    weights = [
        p
        for network in (gan.generator, gan.discriminator)
        for p in network.parameters()
        if p.ndim > 1
    ]
    assert len(weights) >= 4
    for n in range(3):
        before = [p.detach().clone() for p in weights]
        learner.set_rates(plan, n * config.batch)
        assert learner.g_optimizer.lr > 0
        figures = statistics(
            gan.objective, config.d_loss_scale, [take_step(learner, batches, n * config.batch)]
        )
        assert figures.shape == (1, 5)
        assert figures.isfinite().all()
        assert all(p.requires_grad and p.isfinite().all() for p in weights)
        assert not any(torch.equal(p, old) for p, old in zip(weights, before, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_settings_go_to_json_and_back_unchanged(name: str) -> None:
    _, file, recipe = gans.find_recipe(name)
    plain = json.loads(json.dumps(settings(recipe)))
    assert override(recipe, plain) == recipe
    assert override(recipe, {}) == recipe
    assert convert(plain["model"], file.config, "model") == recipe.model
    assert convert(plain["train"], TrainConfig, "train") == recipe.train
    assert recipe.summary
    assert "\n" not in recipe.summary
