"""The size of large pictures for which no size is asked: what this machine can train in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas.data import count_dataset, load_dataset
from ganvas.data.sizes import reduced_size
from ganvas.launch import launch
from ganvas.recipe import MNIST, ImageSpec
from ganvas.runs.run import Run
from ganvas.training import preflight
from ganvas.training.preflight import trainable_side
from helpers.common import train


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the number of cores that this machine seems to have."""
    return lambda number: monkeypatch.setattr(preflight, "cores", lambda: number)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Four pictures of 150 wide and 300 high."""
    folder = tmp_path / "large"
    folder.mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (300, 150), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((300, 300), 96, (96, 96)),
        ((200, 300), 96, (64, 96)),
        ((300, 200), 96, (96, 64)),
        ((1080, 1920), 128, (72, 128)),
        ((4000, 100), 64, (64, 16)),
        ((129, 129), 64, (64, 64)),
        ((128, 100), 64, (128, 100)),
        ((28, 28), 64, (28, 28)),
        ((200, 200), 256, (200, 200)),
        ((300, 300), None, (300, 300)),
    ],
)
def test_large_pictures_keep_about_their_shape(
    size: tuple[int, int], side: int | None, expected: tuple[int, int]
) -> None:
    assert reduced_size(size, side) == expected


@pytest.mark.parametrize(
    ("number", "length", "device", "side"),
    [
        (4, "60 minutes", "cpu", 96),
        (2, "60 minutes", "cpu", 64),
        (2, "5 minutes", "cpu", 64),
        (1, "60 minutes", "cpu", 64),
        (16, "60 minutes", "cpu", 128),
        (4, "100 epochs", "cpu", 96),
        (2, "5 minutes", "cuda", 128),
    ],
)
def test_the_side_follows_from_cores_and_time(
    number: int, length: str, device: str, side: int, cores: Callable[[int], None]
) -> None:
    cores(number)
    assert trainable_side(MNIST, length, device) == side


def test_a_recipe_for_large_images_gets_them() -> None:
    native = ImageSpec(height=256, width=256, channels=3)
    assert trainable_side(native, "5 minutes", "cpu") == 256


def test_what_is_asked_for_wins_and_the_library_resizes_nothing_by_itself(large: Path) -> None:
    assert load_dataset(large).images.shape[2:] == (300, 150)
    assert load_dataset(large, side=96).images.shape[2:] == (96, 48)
    assert load_dataset(large, side=96, size=20).images.shape[2:] == (20, 20)


def test_arrays_are_brought_to_the_same_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 300, 150, 3), np.uint8))
    assert count_dataset(tmp_path / "a.npz", side=96).trained_as == {
        "height": 96,
        "width": 48,
        "channels": 1,
    }


def test_one_line_says_so(large: Path) -> None:
    (note,) = load_dataset(large, side=96).notes
    assert note.startswith("4 pictures of 300x150, resized to 96x48, which can be trained here")
    assert "--size 300x150" in note


def trained(data: Path | None, out: Path, **options: Any) -> Run:
    return train("mlp/tiny", out, data=data, threads=1, **options)


def test_the_size_is_kept_with_the_run(
    large: Path, tmp_path: Path, cores: Callable[[int], None]
) -> None:
    cores(4)
    run = trained(large, tmp_path / "run", images=16)
    assert run.card.data.size == (96, 48)
    # on another machine
    cores(64)
    assert run.card.dataset().fingerprint == run.card.data.fingerprint
    again = launch.train(config=run.path / "recipe.json", out=tmp_path / "again", quiet=True)
    assert again.card.data == run.card.data


def test_pictures_that_an_older_version_kept_large_stay_so(large: Path, tmp_path: Path) -> None:
    run = trained(large, tmp_path / "run", images=16, size=(300, 150))
    card = dataclasses.replace(run.card, data=dataclasses.replace(run.card.data, size=None))
    run.save_card(card)
    again = launch.train(config=run.path / "recipe.json", out=tmp_path / "again", quiet=True)
    assert again.card.image == run.card.image
    assert again.card.data.fingerprint == run.card.data.fingerprint
