"""The speed table compares like with like: the plain loops train the recipes' systems."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import ganvas
from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.gan import GanFile
from ganvas.overrides import override
from ganvas.recipe import ImageSpec
from ganvas.runs.run import Run
from ganvas.system.machine import threads

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
IMAGES = 200  # two batches of the largest
PLAIN = ("mlp/relu", "mlp/leaky", "mlp/batchnorm", "cgan/digits", "dcgan/64")
TEXTBOOK = (
    "projected/images",
    "r3gan/digits",
    "r3gan/images",
    "r3gan/stacked-mnist",
    "sngan/digits",
    "wgan-gp/digits",
    "dcgan/repository",
)
SYSTEMS = PLAIN + TEXTBOOK


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plain() -> Iterator[ModuleType]:
    yield load("plain")
    del sys.modules["plain"]


@pytest.fixture(scope="module")
def textbook(plain: ModuleType) -> Iterator[ModuleType]:  # which imports plain
    yield load("textbook")
    del sys.modules["textbook"]


@pytest.fixture(scope="module")
def speed(textbook: ModuleType) -> Iterator[ModuleType]:  # which imports both
    yield load("speed")
    del sys.modules["speed"]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory, speed: ModuleType) -> Path:
    """A folder where torchvision finds an MNIST of random images."""
    root = tmp_path_factory.mktemp("mnist")
    images = torch.randint(
        0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    dataset = Dataset("random", images, torch.arange(IMAGES) % 10, tuple("0123456789"))
    for part in ("train", "t10k"):
        speed.write_mnist(root, part, dataset)
    return root


def parameters(system: Any) -> list[nn.Parameter]:
    return [*system.generator.parameters(), *system.discriminator.parameters()]


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def recipe_of(name: str, speed: ModuleType) -> tuple[GanFile, Any]:
    _, file, recipe = gans.find_recipe(name)
    return file, override(recipe, speed.SETTINGS.get(name, {}))


def test_every_recipe_is_compared(
    plain: ModuleType, textbook: ModuleType, speed: ModuleType
) -> None:
    recipes = {
        f"{name}/{key}"
        for name in gans.gan_names()
        for key in gans.load_gan(name).recipes
        if key != "tiny"
    }
    assert set(plain.SYSTEMS) == set(PLAIN)
    assert set(textbook.SYSTEMS) == set(TEXTBOOK)
    assert recipes == set(speed.LOOPS) == {row.recipe for row in speed.COMPARISONS if not row.other}


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_plain_steps(name: str, speed: ModuleType, mnist: Path) -> None:
    torch.set_num_threads(1)
    system = speed.LOOPS[name](mnist)
    before = [p.clone() for p in parameters(system)]
    steps = list(itertools.islice(system.steps, 2))
    assert [step.images for step in steps] == [recipe_of(name, speed)[1].train.batch] * 2
    assert all(math.isfinite(loss) for step in steps for loss in (step.d_loss, step.g_loss))
    # D's last bias may stay as it is: in a loss of differences, it cancels out
    pairs = zip(before, parameters(system), strict=True)
    assert all(not torch.equal(old, new) for old, new in pairs if old.numel() > 1)


def test_textbook_layers_are_torchs_own(speed: ModuleType, mnist: Path) -> None:
    for name in TEXTBOOK:
        system = speed.LOOPS[name](mnist)
        for layer in (
            each
            for network in (system.generator, system.discriminator)
            for each in network.modules()
        ):
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                assert type(layer).__module__.startswith("torch."), name


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_are_the_recipes(
    name: str, plain: ModuleType, speed: ModuleType, mnist: Path
) -> None:
    file, recipe = recipe_of(name, speed)
    spec = ImageSpec(height=28, width=28, channels=1, classes=tuple("0123456789"))
    gan = file.build(recipe.model, spec)
    system = plain.SYSTEMS[name](mnist)
    assert trainable(system.generator) == trainable(gan.generator)
    assert trainable(system.discriminator) == trainable(gan.discriminator)


def test_both_sides_see_the_same_images(plain: ModuleType, mnist: Path) -> None:
    ours = data.load_dataset("mnist", data_dir=mnist)
    loader = plain.mnist_loader(mnist, 1)
    theirs = torch.stack([loader.dataset[k][0] for k in range(IMAGES)])
    assert torch.allclose(theirs, ours.images / 127.5 - 1, atol=1e-6)
    assert ours.labels is not None
    assert [loader.dataset[k][1] for k in range(IMAGES)] == ours.labels.tolist()


def test_embedded_digits_replace_a_missing_mnist(
    speed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANVAS_DATA", str(tmp_path / "empty"))
    root = speed.mnist_root(tmp_path / "made")
    assert torch.equal(
        data.load_dataset("mnist", data_dir=root).images, data.load_dataset("mnist-5k").images
    )
    monkeypatch.setenv("GANVAS_DATA", str(root))
    assert speed.mnist_root(tmp_path / "unused") == root


def test_ganvas_steps_are_those_of_train(
    speed: ModuleType, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, images: float) -> Run:
        settings = {"train.batch": 16, "train.log": "1 steps"}
        return ganvas.train(
            "mlp/leaky",
            data="mnist",
            data_dir=mnist,
            images=images,
            settings=settings,
            threads=1,
            out=tmp_path / name,
            quiet=True,
        )

    whole, one = run("whole", 48.0), run("one", 16.0)
    monkeypatch.setattr("ganvas.training.logger.FLUSH_SECONDS", 0.0)
    with (
        threads(1),
        closing(speed.ganvas_steps(one, data.load_dataset("mnist", data_dir=mnist))) as steps,
    ):
        assert [next(steps) for _ in range(3)] == [16, 16, 16]
    expected = [(line["d_loss"], line["g_loss"]) for line in whole.read_log()]
    assert [(line["d_loss"], line["g_loss"]) for line in one.read_log()] == expected[:1] + expected
