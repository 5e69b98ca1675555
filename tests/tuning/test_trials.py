"""Scores of a search: by real images that no trial is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganvas import data
from ganvas.recipe import ImageSpec
from ganvas.runs.request import Request
from ganvas.tuning import trials
from helpers.common import noise_images
from helpers.tuning import SHORT, search

SPEC = ImageSpec(height=28, width=28, channels=1)


def test_real_images_score_near_zero_and_noise_far_from_it() -> None:
    digits, held_out = (
        data.load_dataset("mnist-5k"),
        data.load_dataset("mnist-5k", split="test"),
    )
    score = trials.Score(digits, held_out)
    near = score(digits.images[:500])
    ones = score(digits.images[digits.labels == 1][:300])
    noise = score(noise_images(SPEC, 300).images)
    assert abs(near) < 0.01 * ones
    assert ones < noise


def test_images_to_score_by_are_not_trained_on(squares: Path) -> None:
    whole = data.load_dataset(squares)
    request = Request(data=str(squares), seed=3)
    training, held_out, note = trials.hold_out(whole, request)
    assert (len(training), len(held_out)) == (96, 24)
    assert "scored by 24 of the 120 images" in note
    rows = [image.numpy().tobytes() for part in (training, held_out) for image in part.images]
    assert sorted(rows) == sorted(image.numpy().tobytes() for image in whole.images)
    assert training.labels is not None
    # each image keeps its label
    assert torch.equal(training.labels == 0, training.images[:, 0, :4].flatten(1).any(1))


def test_a_held_out_part_is_scored_by() -> None:
    whole = data.load_dataset("mnist-5k")
    training, held_out, _ = trials.hold_out(whole, Request(data="mnist-5k"))
    assert training is whole
    assert torch.equal(held_out.images, data.load_dataset("mnist-5k", split="test").images)


@pytest.mark.parametrize("count", [1, 5, 49])
def test_too_few_images_are_refused(squares: Path, count: int, cli_run: Callable[..., Any]) -> None:
    np.savez(squares, images=np.zeros((count, 8, 8), np.uint8))
    error = cli_run("tune", "mlp/tiny", "--data", squares, *SHORT).error
    assert f"holds {count} image" in error
    assert "it needs 50 images; train with the recipe's own settings" in error


def test_classes_are_sampled_as_often_as_they_are_trained_on(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[list[int]] = []
    inner = trials.Sampler.__call__
    monkeypatch.setattr(
        trials.Sampler,
        "__call__",
        lambda self, indices, *, seed, labels: (
            sampled.append(labels) or inner(self, indices, seed=seed, labels=labels)
        ),
    )
    with np.load(squares) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    keep = (labels == 0) | (np.arange(120) < 30)
    np.savez(squares, images=images[keep], labels=labels[keep])
    search(squares, "cgan/tiny", trials=2, images=96, out=tmp_path / "t.toml")
    assert len(sampled) == 2 * trials.CHECKPOINTS
    assert 0.7 < sampled[0].count(0) / len(sampled[0]) < 0.9  # 60 of 75
