"""Functions for tests of several files. Fixtures are in conftest.py."""

from __future__ import annotations

import builtins
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.launch import launch
from ganvas.plan import Plan
from ganvas.recipe import ImageSpec, Interval, TrainConfig
from ganvas.runs.run import Run
from ganvas.training import loop

# a training that goes on until it is stopped
ENDLESS = [sys.executable, "-m", "ganvas", *"train cgan/tiny --epochs 1000 --threads 1".split()]
TRAIN = ("train", "cgan/tiny", "--images", "32", "--threads", "1")


def train(recipe: str, out: Path | None = None, **options: Any) -> Run:
    return launch.train(recipe, out=out, quiet=True, **({"threads": 1} | options))


def state(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path / "state.pt", weights_only=True)
    return loaded


def assert_same_tree(one: Any, two: Any, at: str = "") -> None:
    """Tensors and plain values are equal to the bit. Only times may differ."""
    assert type(one) is type(two), at
    if isinstance(one, dict):
        assert one.keys() == two.keys(), at
        for key in one.keys() - {"seconds"}:
            assert_same_tree(one[key], two[key], f"{at}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), at
        for k, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same_tree(a, b, f"{at}/{k}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype, at
        assert one.numpy().tobytes() == two.numpy().tobytes(), at
    else:
        assert one == two, at


def assert_same_run(one: Path, two: Path) -> None:
    """Weights, optimizers, logs and pictures of two runs are equal to the bit.

    Not losses.png, which only `drawn_losses` draws.
    """
    assert_same_tree(state(one), state(two))
    assert_same_tree(Run.open(one).read_log(), Run.open(two).read_log())
    assert (one / "generator.safetensors").read_bytes() == (
        two / "generator.safetensors"
    ).read_bytes()
    for pattern in ("samples/*", "weights/*", "*.png"):
        names = sorted(str(path.relative_to(one)) for path in one.glob(pattern))
        assert names == sorted(str(path.relative_to(two)) for path in two.glob(pattern))
        for name in set(names) - {"losses.png"}:
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


def put_idx(
    folder: Path, part: str, images: NDArray[np.uint8], labels: list[int], suffix: str = ""
) -> None:
    """Write PART-images-idx3-ubyte and PART-labels-idx1-ubyte, gzipped if the suffix is ".gz"."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", np.array(labels, np.uint8))):
        head = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        body = head + array.tobytes()
        (folder / f"{part}-{name}-ubyte{suffix}").write_bytes(
            gzip.compress(body) if suffix else body
        )


def refusal(call: Any, *arguments: Any) -> str:
    """The message of a SettingError, which is one line."""
    with pytest.raises(SettingError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def hide_package(patch: pytest.MonkeyPatch, package: str) -> None:
    """Make `import package` fail, as where it is not installed."""
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named '{package}'", name=name)
        return plain(name, *rest)

    patch.setattr(builtins, "__import__", without)


def noise_images(spec: ImageSpec, number: int) -> Dataset:
    shape = (number, spec.channels, spec.height, spec.width)
    images = torch.randint(
        256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(number) % len(spec.classes) if spec.classes else None
    return Dataset("noise", images, labels, spec.classes)


def plan_of(train: TrainConfig, images: int) -> Plan:
    total = Interval.parse(train.length).images(train.batch, images)
    return Plan(images=round(total), batch=train.batch, epoch=images, requested=train.length)


def spoil_weights(
    patch: pytest.MonkeyPatch,
    network: str,
    value: float,
    before: int | None = None,
    after: int | None = None,
) -> None:
    """Fill a network's first weights with a value.

    before, after: images seen at the begin of the step before or after which it happens.
    """
    step = loop.take_step

    def fill(learner: Any) -> None:
        with torch.no_grad():
            getattr(learner, network)[0].fill_(value)

    def broken(learner: Any, batches: Any, seen: int) -> Any:
        if seen == before:
            fill(learner)
        logits = step(learner, batches, seen)
        if seen == after:
            fill(learner)
        return logits

    patch.setattr(loop, "take_step", broken)


def twelve_pictures(folder: Path) -> Path:
    """Make a folder of 12 grey 8x8 pictures in two classes, "cat" and "dog". Returns it."""
    rng = np.random.default_rng(0)
    for k in range(12):
        part = folder / ("cat" if k < 6 else "dog")
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(part / f"{k:02}.png")
    return folder


MY_GAN = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from ganvas import objectives
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, Recipe, TrainConfig

@dataclass(frozen=True, kw_only=True)
class Config:
    z_dim: int = 4

class Generator(nn.Module):
    def __init__(self, z_dim, spec):
        super().__init__()
        self.shape = (spec.channels, spec.height, spec.width)
        self.layer = nn.Linear(z_dim, spec.channels * spec.height * spec.width)
        self.drop = nn.Dropout(0.5)
    def forward(self, z):
        return torch.tanh(self.layer(self.drop(z))).view(-1, *self.shape)

class Discriminator(nn.Module):
    def __init__(self, spec):
        super().__init__()
        size = spec.channels * spec.height * spec.width
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 1))
    def forward(self, x):
        return self.layers(x).squeeze(1)

def build(config: Config, spec: ImageSpec) -> Gan:
    return Gan(Generator(config.z_dim, spec), Discriminator(spec), objectives.minimax, config.z_dim)

RECIPES = {
    "one": Recipe(
        model=Config(),
        train=TrainConfig(
            batch=8, length="64 images", lr=1e-3, log="1 steps", sheet="32 images"),
        native=ImageSpec(height=8, width=8, channels=1), summary="mine"),
    "two": Recipe(
        model=Config(z_dim=2), train=TrainConfig(batch=8, length="64 images", lr=1e-3),
        native=ImageSpec(height=8, width=8, channels=1)),
}
"""
