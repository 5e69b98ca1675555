"""Checkups: what they measure, and that they do not change a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import data, gans
from ganvas.doctor.rules import COPIED, COPIED_BLIND
from ganvas.recipe import ImageSpec
from ganvas.training import learner, loop
from ganvas.training.checkup import Checkup
from ganvas.views import diagnosis
from helpers.common import assert_same_run, assert_same_tree, noise_images, put_idx, state, train
from helpers.patients import RECIPES, run_info


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.endswith("/tiny")])
def test_checkups_do_not_change_the_training(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: Callable[[int], None]
) -> None:
    """Nor does the log depend on stops."""
    options: dict[str, Any] = {"images": 96.0, "settings": {"log": "2 steps", "sheet": "24 images"}}
    whole = train(recipe, tmp_path / "whole", **options)
    assert sum("diversity" in line for line in whole.read_log()) >= 2
    assert all(
        {"d_gradient", "g_gradient", "g_least_gradient"} <= line.keys() for line in whole.read_log()
    )
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "pieces", **options)
    assert_same_run(whole.path, train(recipe, tmp_path / "pieces", **options).path)
    monkeypatch.setattr(Checkup, "__call__", lambda self: {})
    bare = train(recipe, tmp_path / "bare", **options)
    assert_same_tree(state(whole.path), state(bare.path))


def test_held_out_images_may_be_of_other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of classes that D does not know are left out."""
    part = data.load_dataset("mnist-5k", split="test")
    assert part.labels is not None
    card = run_info("cgan/tiny").card
    for classes, number in (
        (tuple("9876543210"), 1000),
        (tuple("01234abcde"), 500),
        (tuple("abcdefghij"), None),
    ):
        with monkeypatch.context() as patch:
            other = dataclasses.replace(part, classes=classes)
            patch.setattr(data.load, "load_dataset", lambda *_, other=other, **__: other)
            found = card.held_out()
        assert (None if found is None else len(found)) == number
        if found is not None:
            assert found.labels is not None
            assert found.classes == card.image.classes
            names = [classes[k] for k in part.labels if classes[k] in found.classes]
            assert [found.classes[k] for k in found.labels] == names


def test_a_held_out_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for part, count in (("train", 40), ("test", 4)):
        (tmp_path / "pictures" / part).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng(k).integers(256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / part / f"{k}.png")
    run = train("r3gan/tiny", tmp_path / "run", images=16.0, data=str(tmp_path / "pictures"))
    told: list[str] = []
    held_out = run.card.held_out(tell=told.append)
    assert held_out is not None
    assert (len(held_out), told) == (4, [])
    for path in (tmp_path / "pictures" / "test").iterdir():
        path.write_bytes(b"no picture")
    assert run.card.held_out(tell=told.append) is None
    (line,) = told
    assert line.startswith("the held-out part is left out: ")
    assert "test" in line
    assert line in diagnosis.examine(run).notes


def test_a_held_out_part_is_read_in_the_way_that_was_found_for_training(tmp_path: Path) -> None:
    for part, most, height in (("train", 4095, 20), ("test", 500, 8)):
        (tmp_path / "scans" / part).mkdir(parents=True)
        for k in range(4):
            pixels = np.full((height, 8), most, np.uint16)
            pixels[0, 0] = k
            Image.fromarray(pixels).save(tmp_path / "scans" / part / f"{k}.png")
    run = train("mlp/tiny", tmp_path / "run", images=16.0, data=str(tmp_path / "scans"), size=8)
    assert (run.card.data.fit, run.card.data.range) == ("pad", (0, 4095))
    held_out = run.card.held_out()
    assert held_out is not None
    assert held_out.images[:, 0, 1, 1].tolist() == [31] * 4
    assert run.card.dataset().fingerprint == run.card.data.fingerprint


def test_nothing_is_fetched_to_be_held_out(tmp_path: Path, no_network: None) -> None:
    digits = data.load_dataset("mnist-5k")
    assert digits.labels is not None
    put_idx(
        tmp_path / "MNIST" / "raw",
        "train",
        digits.images[:200, 0].numpy(),
        digits.labels[:200].tolist(),
    )
    run = train("mlp/tiny", tmp_path / "run", images=320.0, data="mnist", data_dir=tmp_path)
    assert run.card.held_out(tmp_path) is None
    assert "nearest" in run.read_log()[-1]
    assert "memorised" not in run.read_log()[-1]


def test_figures_of_a_copier_of_unseen_images_and_of_one_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digits, others = data.load_dataset("mnist-5k"), data.load_dataset("mnist-5k", split="test")
    held_out = data.Dataset("others", others.images[:500])
    _, file, recipe = gans.find_recipe("mlp/tiny")
    made = learner.Learner(
        file.build(recipe.model, ImageSpec.of(digits)),
        recipe.train,
        4000,
        torch.device("cpu"),
    )
    batches = loop.Batches(digits, made, seed=0)

    class Stub:
        classes = ()

        def __init__(self, images: torch.Tensor) -> None:
            self.images = images.permute(0, 2, 3, 1)

        def __call__(self, indices: range, seed: int, labels: None) -> torch.Tensor:
            return self.images[: len(indices)]

    def figures(images: torch.Tensor, others: Any = held_out) -> dict[str, float]:
        checkup = Checkup(made, batches, Stub(images), others)  # type: ignore[arg-type]
        return checkup() | checkup.of_all()

    known, novel = figures(digits.images), figures(others.images[500:])
    assert known["copying"] < 0.5
    assert 0.9 < novel["copying"] < 1.1
    assert 0.8 < known["diversity"] < 1.2
    assert 0.8 < known["apart"] < 1.2
    three = figures(digits.images[:3].repeat(22, 1, 1, 1))
    assert three["diversity"] > 0.5 > 0.01 > three["apart"]
    assert known["class_kl"] < 0.3
    one = figures(digits.images[:1].expand(64, -1, -1, -1))
    assert one["diversity"] < 0.01
    assert one["class_kl"] > 2
    # 200 of 4000 images hold the originals of three or so of 64 copies
    monkeypatch.setattr("ganvas.training.checkup.MAX_COMPARED", 200)
    few, of_others = figures(digits.images), figures(others.images[500:])
    assert few["copying"] > COPIED > 0.1 > few["copying_of_all"]
    assert 0.9 < of_others["copying_of_all"] < 1.1
    alone = figures(digits.images, data.Dataset("too few", others.images[:2]))
    assert alone["nearest"] > COPIED_BLIND > 0.1 > alone["nearest_of_all"]
    assert figures(others.images[500:], None)["nearest_of_all"] > 0.8
    photographs = data.Dataset(
        "photographs", digits.images, digits.labels[torch.randperm(4000)], digits.classes
    )
    batches.dataset = photographs  # of which the nearest does not tell the class
    assert "class_kl" not in figures(digits.images)


def test_d_scores_images_in_batches_of_the_training() -> None:
    """All images at once would take more memory than the training."""
    spec = ImageSpec(height=32, width=32, channels=3)
    _, file, recipe = gans.find_recipe("dcgan/tiny")  # with BatchNorm in D
    made = learner.Learner(file.build(recipe.model, spec), recipe.train, 100, torch.device("cpu"))
    images = noise_images(spec, 3 * recipe.train.batch - 1).images.float() / 127.5 - 1
    whole, seen = made.gan.discriminator.eval()(images), []
    made.gan.discriminator.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    logits = made.eval_logits(images, None)
    assert logits is not None
    assert torch.allclose(logits, whole.flatten(), atol=1e-5)
    assert max(seen) == recipe.train.batch
    assert sum(seen) == len(images)
