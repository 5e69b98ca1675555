"""Data that can be trained on, with a notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import data
from ganvas.runs.run import Run
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.mark.parametrize(("recipe", "side"), [("r3gan/images", 16), ("r3gan/digits", 28)])
def test_five_pictures_are_trained_on_with_a_notice(
    recipe: str, side: int, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "five").mkdir()
    for k in range(5):
        pixels = np.random.default_rng(k).integers(
            256, size=(side, side, 3 if side == 16 else 1), dtype=np.uint8
        )
        Image.fromarray(pixels.squeeze()).save(tmp_path / "five" / f"{k}.png")
    settings = ("--set", "width=4", "batch=8", "log='100 images'")
    options = (*settings, "--images", "3000", "--threads", "1", "--precision", "32", "--out", "run")
    done = cli_run("train", recipe, "--data", "five", "--size", side, *options)
    assert done.code == 0, done.err
    assert "as there are 5 images, fewer than 20,000; the probability climbs to 0.8" in done.err
    states = [line for line in done.err.splitlines() if line.startswith("doctor: ")]
    assert [line.split(": ")[1] for line in states] == ["starving on tiny data"]
    assert Run.open("run").finished
    assert cli_run("sample", "run", "--n", "2", "--out", "two.npz").code == 0


def test_a_few_steps_are_noted_as_too_few(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    """With a recipe that counts in epochs, five images end before anything is learned."""
    np.savez(
        tmp_path / "five.npz",
        images=np.random.default_rng(0).integers(256, size=(5, 28, 28), dtype=np.uint8),
    )
    options = ("--data", "five.npz", "--threads", "1")
    done = cli_run("train", "mlp/relu", *options, "--out", "run")
    assert done.code == 0, done.err
    assert (
        "50 epochs of 5 images are 16 steps, too few to learn from: give --minutes or --images"
        in done.err
    )
    assert (
        "too few to learn from"
        not in cli_run("train", "mlp/relu", *options, "--images", "80", "--out", "asked").err
    )


def test_classes_without_images_are_noted_and_never_sampled(
    cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(256, size=(20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "two.npz", images=images, labels=np.tile([0, 8], 10))
    done = cli_run(
        "train",
        "cgan/tiny",
        "--data",
        "two.npz",
        "--images",
        "64",
        "--threads",
        "1",
        "--out",
        "run",
    )
    assert "no image of two.npz is of class 1, 2, 3, 4, 5, 6, 7: not learned" in done.err
    dataset, card = data.load_dataset("two.npz"), Run.open("run").card
    file = card.gan_file()
    recipe = card.settings(file)
    gan = file.build(recipe.model, card.image)
    learner = Learner(gan, recipe.train, len(dataset), torch.device("cpu"))
    batches = Batches(dataset, learner, seed=0)
    labels = torch.cat([batches.at(seen).d_labels for seen in range(0, 320, 16)])
    assert set(labels.tolist()) == {0, 8}
