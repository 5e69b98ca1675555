"""Runs for the doctor that nobody trained."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from ganvas import gans
from ganvas.doctor.log_summary import RunInfo
from ganvas.gan import Gan
from ganvas.overrides import resolve_gamma, with_preset
from ganvas.plan import Plan
from ganvas.recipe import settings
from ganvas.runs.card import Card, DataCard, versions
from ganvas.runs.run import Run

RECIPES = [f"{name}/{key}" for name in gans.gan_names() for key in gans.load_gan(name).recipes]


@functools.cache
def network(recipe: str) -> Gan:
    """Build the networks of a recipe, once."""
    _, file, own = gans.find_recipe(recipe)
    return file.build(own.model, own.native)


def run_info(
    recipe: str,
    what: str = "mnist-5k",
    images: int = 4000,
    requested: str = "20000 images",
    **changes: Any,
) -> RunInfo:
    """Describe a run of a recipe with some settings changed, with the card of its training."""
    name, file, own = gans.find_recipe(recipe)
    gan = network(recipe)
    changed, _ = resolve_gamma(with_preset(own, changes, requested)[0], own.native)
    plain = settings(changed)
    card = Card(
        recipe=name,
        gan=file.name,
        gan_sha256=file.sha256,
        model=plain["model"],
        train=plain["train"],
        image=dataclasses.replace(own.native, classes=tuple("0123456789")),
        data=DataCard(what=what, name="some", images=images, fingerprint=""),
        seed=0,
        threads=1,
        device="cpu",
        plan=Plan(images=20_000, batch=changed.train.batch, epoch=images, requested=requested),
        versions=versions(),
    )
    own = recipe.partition(":")[0] if ".py" in recipe else None
    return RunInfo.of(Run(Path("a run"), card, own), file, gan, None, "stopped")


WELL = {
    "lr": 1e-3, "d_loss": 1.0, "g_loss": 1.0, "d_real": 0.6, "d_fake": 0.4, "d_accuracy": 0.7,
    "d_gradient": 3.0, "g_gradient": 2.0, "g_least_gradient": 0.1, "diversity": 0.8, "apart": 0.9,
    "nearest": 1.1, "copying": 1.0, "d_known": 0.6, "d_held": 0.6, "memorised": 0.05,
    "d_separation": 0.9,
}  # fmt: skip


def made_up_log(count: int = 12, **changes: Any) -> list[dict[str, float]]:
    """Make a log of `count` means of 100 steps each.

    changes: a figure's value, or a function from the progress (0 to 1) to its value.
    """
    log = []
    for k in range(1, count + 1):
        place = {"images": 1600 * k, "step": 100 * k, "epoch": 0.4 * k, "seconds": k}
        wobble = {"nearest": 1.1 + 0.1 * (k % 2)}
        figures = {
            name: value(k / count) if callable(value) else value for name, value in changes.items()
        }
        log.append(
            {name: v for name, v in (WELL | place | wobble | figures).items() if v is not None}
        )
    return log
