"""`--flip`: mirrored images, and runs that resume, repeat and differ like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ganvas import gans
from ganvas.data import MIRRORED, NAMES
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.launch import launch
from ganvas.recipe import ImageSpec
from ganvas.runs.run import Run
from ganvas.training import pictures
from ganvas.training.batches import Batches
from ganvas.training.distributed import World
from ganvas.training.learner import Learner
from helpers.common import assert_same_run, noise_images, state

SPEC = ImageSpec(height=16, width=16, channels=3, classes=("a", "b"))


@pytest.fixture(params=["cgan/tiny", "dcgan/tiny"])
def batches(request: pytest.FixtureRequest) -> Callable[..., Batches]:
    """Batches of a data set of 40 images, for fully connected and for convolutional networks."""
    _, file, recipe = gans.find_recipe(request.param)
    learner = Learner(file.build(recipe.model, SPEC), recipe.train, 40, torch.device("cpu"))

    def make(flip: bool, seed: int = 3) -> Batches:
        return Batches(noise_images(SPEC, 40), learner, seed, flip)

    return make


def mirrored(plain: Tensor, flipped: Tensor) -> list[bool]:
    """True for each mirrored image; every image must be mirrored or unchanged."""
    same = (plain == flipped).flatten(1).all(1)
    turned = (plain.flip(3) == flipped).flatten(1).all(1)
    assert bool((same ^ turned).all())
    return turned.tolist()


def test_half_of_the_images_are_mirrored_and_nothing_else_changes(
    batches: Callable[..., Batches],
) -> None:
    plain, flipped = batches(False), batches(True)
    size = plain.config.batch
    turned = []
    for k in range(60):
        one, two = plain.at(k * size), flipped.at(k * size)
        turned += mirrored(one.real, two.real)
        assert torch.equal(one.d_z, two.d_z)
        if one.real_labels is not None and two.real_labels is not None:
            assert torch.equal(one.real_labels, two.real_labels)
    assert 0.4 < sum(turned) / len(turned) < 0.6
    order = [int(i) for i in plain.order.indices(0, len(turned))]
    of_first = {coin for i, coin in zip(order, turned, strict=True) if i == order[0]}
    assert of_first == {True, False}  # a new coin each time


def test_flips_are_a_function_of_seed_and_position(batches: Callable[..., Batches]) -> None:
    size = batches(True).config.batch
    used = batches(True)
    for k in range(3):
        used.at(k * size)
    assert torch.equal(used.at(7 * size).real, batches(True).at(7 * size).real)
    coins = [
        mirrored(batches(False, seed).at(0).real, batches(True, seed).at(0).real)
        for seed in range(4)
    ]
    assert len({tuple(one) for one in coins}) > 1


def test_processes_share_the_flips_of_one_batch(batches: Callable[..., Batches]) -> None:
    whole = batches(True).at(0).real
    parts = []
    for rank in (0, 1):
        part = batches(True)
        part.world = World(rank, 2)
        parts.append(part.at(0).real)
    assert torch.equal(torch.cat(parts), whole)


def test_a_flipped_run_resumes_and_repeats_to_the_same_end(
    pictures: Path, tmp_path: Path, cli_run: Callable[..., Any], stop_after: Callable[[int], None]
) -> None:
    command = (
        "train",
        "cgan/tiny",
        "--data",
        pictures,
        "--images",
        "160",
        "--threads",
        "1",
        "--flip",
    )
    assert cli_run(*command, "--out", "whole").code == 0
    assert Run.open("whole").card.data.flip
    stop_after(4)
    assert cli_run(*command, "--out", "part").code == 130
    assert cli_run("train", "--out", "part").code == 0
    assert_same_run(tmp_path / "whole", tmp_path / "part")
    assert cli_run("train", "--config", "whole/recipe.json", "--out", "again").code == 0
    assert_same_run(tmp_path / "whole", tmp_path / "again")
    assert cli_run(*command[:-1], "--out", "plain").code == 0
    assert not Run.open("plain").card.data.flip
    weights = [state(tmp_path / name)["learner"]["discriminator"] for name in ("whole", "plain")]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_another_flip_is_another_run_and_named(
    pictures: Path, cli_run: Callable[..., Any], stop_after: Callable[[int], None]
) -> None:
    command = ("train", "mlp/tiny", "--data", pictures, "--images", "160", "--threads", "1")
    stop_after(3)
    assert cli_run(*command, "--flip", "--out", "run").code == 130
    assert "flip=True, not False" in cli_run("train", "--out", "run", "--flip=false").error
    stop_after(3)
    assert cli_run(*command, "--flip").code == 130
    assert cli_run(*command).out.startswith("runs/0002-")
    assert cli_run(*command, "--flip").out.startswith("runs/0001-")


def test_from_toml(pictures: Path, cli_run: Callable[..., Any], tmp_path: Path) -> None:
    text = f'recipe = "mlp/tiny"\ndata = "{pictures}"\nimages = 32\nthreads = 1\nflip = '
    (tmp_path / "my.toml").write_text(f"{text}true\n")
    assert cli_run("train", "--config", "my.toml", "--out", "run").code == 0
    assert Run.open("run").card.data.flip
    assert cli_run("train", "--config", "my.toml", "--out", "not", "--flip=false").code == 0
    assert not Run.open("not").card.data.flip
    (tmp_path / "my.toml").write_text(f'{text}"left"\n')
    assert (
        "my.toml.flip: expected `bool"
        in cli_run("train", "--config", "my.toml", "--out", "bad").error
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MIRRORED])
def test_characters_are_never_mirrored(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"--flip with {name}: .* leave it out") as error:
        launch.train(
            "mlp/tiny", data=name, flip=True, out=tmp_path / "run", data_dir=tmp_path, quiet=True
        )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_default_data_are_characters_too(cli_run: Callable[..., Any]) -> None:
    assert "--flip with mnist-5k" in cli_run("train", "mlp/tiny", "--flip").error
    assert set(MIRRORED) == {"fashion-mnist", "cifar10", "cifar100"}


def test_the_nearest_training_image_may_be_a_mirrored_one() -> None:
    store = noise_images(SPEC, 20).images
    data = Dataset("noise", store)
    queries = torch.cat([store[3:4], store[7:8].flip(3)]).permute(0, 2, 3, 1)
    assert torch.equal(pictures.nearest_images(queries, data, flip=True), queries)
    assert not torch.equal(pictures.nearest_images(queries, data), queries)
