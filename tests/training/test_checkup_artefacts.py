"""Checkups look at what pictures suffer from, beside real images of the same kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganvas import gans
from ganvas.data.dataset import Dataset
from ganvas.doctor.picture_rules import ARTEFACTS
from ganvas.recipe import ImageSpec
from ganvas.training.batches import Batches
from ganvas.training.checkup import Checkup
from ganvas.training.learner import Learner
from helpers.common import train

SIDE = 16


def plain(colours: Tensor, seed: int) -> Tensor:
    """Draw images of one colour each, with noise: uint8 (N, 3, SIDE, SIDE)."""
    rng = torch.Generator().manual_seed(seed)
    noise = 10 * torch.randn(len(colours), 3, SIDE, SIDE, generator=rng)
    return (colours.view(-1, 3, 1, 1) + noise).clamp(0, 255).to(torch.uint8)


def alarms(dataset: Dataset, images: Tensor, flip: bool = False) -> list[str]:
    """Return the states that samples show; those of class k are taken from the k-th tenth of
    `images`."""
    _, file, recipe = gans.find_recipe("r3gan/tiny")
    gan = file.build(recipe.model, ImageSpec.of(dataset))
    learner = Learner(gan, recipe.train, len(dataset), torch.device("cpu"))

    class Stub:
        classes = dataset.classes

        def __call__(self, indices: range, seed: int, labels: list[int] | None) -> Tensor:
            tenth = len(images) // 10
            places = [tenth * (0 if labels is None else labels[k]) + k // 8 for k in indices]
            return images[places if labels else list(indices)].permute(0, 2, 3, 1)

    checkup = Checkup(learner, Batches(dataset, learner, 0, flip), Stub(), None)  # type: ignore[arg-type]
    figures = checkup()
    return [name for name, artefact in ARTEFACTS.items() if artefact.extent(figures.get) >= 1]


def test_samples_of_some_classes_are_compared_with_real_images_of_these() -> None:
    """Nine tenths of the data are of a class of its own colour, which is one in eight samples."""
    palette = torch.linspace(40, 215, 30).view(10, 3)[torch.randperm(10)]
    palette[:, 1] = palette[:, 1].flip(0)
    labels = torch.cat([torch.zeros(900, dtype=torch.int64), torch.arange(10).repeat(10)])
    reals, classes = plain(palette[labels], seed=0), tuple("abcdefghij")
    samples = plain(palette.repeat_interleave(8, 0), seed=1)
    assert alarms(Dataset("made", reals, labels, classes), samples) == []
    tinted = (samples.float() + torch.tensor([0.0, -45, 45]).view(3, 1, 1)).clamp(0, 255)
    found = alarms(Dataset("made", reals, labels, classes), tinted.to(torch.uint8))
    assert found == ["colour cast"]


def test_mirrored_images_are_real_where_d_sees_them() -> None:
    colours = 128 + 20 * torch.randn(300, 3)
    reals = plain(colours, seed=0)
    reals[:, :, :2, :2] = 255  # a mark in a corner
    mirrored = reals[200:].flip(3)
    dataset = Dataset("marked", reals[:200])
    assert alarms(dataset, mirrored) == ["border artefacts"]
    both = torch.cat([mirrored[::2], reals[200::2]])[torch.randperm(100)]
    assert alarms(dataset, both, flip=True) == []


def test_a_training_logs_them(tmp_path: Path) -> None:
    """Colours are left out of grey images, and what 8 pixels a side cannot show."""
    for name, shape in (("colour", (40, 16, 16, 3)), ("grey", (40, 8, 8))):
        pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=pixels)
    lines = {}
    for name in ("colour", "grey"):
        often = {"log": "2 steps", "sheet": "24 images"}
        data = str(tmp_path / f"{name}.npz")
        log = train(
            "r3gan/tiny", tmp_path / name, images=96.0, data=data, settings=often
        ).read_log()
        lines[name] = next(line for line in log if "diversity" in line)
    both = {"border_step", "real_border_step", "border_step_usual", "background"}
    assert lines["grey"].keys() & (colour := both | {"grid_peak", "chroma", "red_shift"}) == both
    assert lines["colour"].keys() >= colour
