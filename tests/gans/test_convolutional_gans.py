"""The convolutional GANs beyond the source systems: r3gan, sngan, wgan-gp; the recipe for data."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvas import gans, objectives
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, Schedule

pytestmark = pytest.mark.usefixtures("steady")

NAMES = ["r3gan", "sngan", "wgan-gp"]


def tiny(name: str, *classes: str) -> tuple[Gan, ImageSpec]:
    file, spec = gans.load_gan(name), ImageSpec(height=8, width=12, channels=1, classes=classes)
    return file.build(file.recipes["tiny"].model, spec, 3), spec


@pytest.mark.parametrize("name", NAMES)
def test_d_compares_its_features_with_the_classs_embedding(name: str) -> None:
    gan, _ = tiny(name, "a", "b", "c")
    d, images, labels = gan.discriminator.eval(), torch.randn(6, 1, 8, 12), torch.arange(6) % 3
    features: list[Tensor] = []
    d.logit.register_forward_hook(lambda layer, inputs, output: features.append(inputs[0]))
    logits = gan.judge(images, labels)
    projected = (d.embedding.weight[labels] * features[0]).sum(1)
    torch.testing.assert_close(logits, d.logit(features[0]).squeeze(1) + projected)
    assert projected.abs().min() > 0
    assert (logits - gan.judge(images, (labels + 1) % 3)).abs().min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_g_takes_the_class_and_without_classes_neither_network_does(name: str) -> None:
    gan, _ = tiny(name, "a", "b", "c")
    gan.generator.eval()
    with torch.no_grad():
        made = gan.make(torch.randn(1, gan.z_dim).expand(4, -1), torch.tensor([0, 1, 2, 1]))
    assert torch.equal(made[1], made[3])
    assert all(not torch.equal(made[a], made[b]) for a, b in itertools.combinations(range(3), 2))
    plain, _ = tiny(name)
    assert not plain.conditional
    assert not any(
        isinstance(m, nn.Embedding)
        for n in (plain.generator, plain.discriminator)
        for m in n.modules()
    )


def test_every_layer_of_sngans_d_has_a_largest_singular_value_of_one() -> None:
    gan, _ = tiny("sngan", "a", "b", "c")
    layers = [
        m
        for m in gan.discriminator.modules()
        if isinstance(m, (nn.Conv2d, nn.Linear, nn.Embedding))
    ]
    assert len(layers) == 6
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(7)  # whatever the weights
        for _ in range(50):  # each pass takes one step towards the largest
            gan.judge(torch.randn(2, 1, 8, 12), torch.tensor([0, 1]))
        for layer in layers:
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
                1, rel=0.02
            )
    assert not any(hasattr(m, "parametrizations") for m in gan.generator.modules())


TRAINING: dict[str, dict[str, Any]] = {
    "r3gan/digits": {
        "batch": 32,
        "order": "together",
        "g_fakes": "same",
        "betas": (0.0, 0.99),
        "average": "1M images",
        "penalty": "r1+r2",
        "penalty_every": 8,
        "gamma": None,
        "augment": "adaptive",
        "precision": "fastest",
        "d_lr": None,
        "lr": Schedule(start=2e-3, shape="cosine", end=1e-4, warmup=0.05, warmup_from=2e-4),
    },
    "sngan/digits": {
        "batch": 64,
        "order": "d-first",
        "g_fakes": "fresh",
        "betas": (0.0, 0.99),
        "average": "10k images",
        "penalty": "none",
        "lr": Schedule(start=5e-4, end=5e-5, shape="linear"),
        "d_lr": Schedule(start=1e-3, end=1e-4, shape="linear"),
    },
    "wgan-gp/digits": {
        "batch": 64,
        "order": "d-first",
        "g_fakes": "fresh",
        "g_batch": None,
        "betas": (0.0, 0.9),
        "penalty": "gradient",
        "penalty_every": 1,
        "gamma": None,
        "average": "10k images",
        "lr": Schedule(start=5e-4, end=5e-5, shape="linear"),
        "d_lr": Schedule(start=1.5e-3, end=1.5e-4, shape="linear"),
    },
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_settings_are_those_that_the_files_describe(name: str) -> None:
    train = gans.find_recipe(name)[2].train
    for field, expected in TRAINING[name].items():
        assert getattr(train, field) == expected, field


@pytest.mark.parametrize(("name", "times"), [("sngan", 2), ("wgan-gp", 3)])
def test_d_learns_two_or_three_times_as_fast_as_g(name: str, times: int) -> None:
    recipes = gans.load_gan(name).recipes
    whole, small = recipes["digits"].train, recipes["tiny"].train
    assert isinstance(whole.lr, Schedule)
    assert isinstance(whole.d_lr, Schedule)
    for progress in (0.0, 0.3, 1.0):
        assert whole.d_lr.at(progress, 0) == pytest.approx(times * whole.lr.at(progress, 0))
    assert small.d_lr == times * small.lr  # type: ignore[operator]


def test_objectives_by_default() -> None:
    for name, expected in (
        ("r3gan", "relativistic"),
        ("sngan", "hinge"),
        ("wgan-gp", "wasserstein"),
    ):
        assert tiny(name)[0].objective is getattr(objectives, expected)


@pytest.mark.parametrize("name", gans.gan_names())
def test_weights_of_convolutions_are_channels_last(name: str) -> None:
    """A CPU is 1.6 times as fast with them."""
    file = gans.load_gan(name)
    recipe = file.recipes["tiny"]
    gan = file.build(recipe.model, recipe.native)
    again = file.restore(recipe.model, recipe.native, gan.generator.state_dict())
    weights = [
        p
        for n in (gan.generator, gan.discriminator, again.generator)
        for p in n.parameters()
        if p.ndim == 4
    ]
    assert bool(weights) == (name in {"dcgan", "projected", *NAMES})
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


@pytest.mark.parametrize("name", ["r3gan", "wgan-gp"])
def test_activations_of_g_are_channels_last(name: str) -> None:
    gan, _ = tiny(name)
    seen: list[Tensor] = []
    for layer in gan.generator.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
            layer.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    gan.make(torch.randn(3, gan.z_dim), None)
    assert len(seen) >= 4
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


@pytest.mark.parametrize("recipe", [*(f"{name}/tiny" for name in NAMES), "mlp/tiny"])
def test_a_notice_says_that_images_have_no_labels_where_labels_would_be_used(
    recipe: str, pictures: Path, cli_run: Callable[..., Any]
) -> None:
    for k, file in enumerate(sorted(pictures.rglob("*.png"))):
        shutil.move(file, pictures / f"{k}.png")
    for folder in ("cat", "dog"):
        (pictures / folder).rmdir()
    done = cli_run(
        "train", recipe, "--data", pictures, "--images", 16, "--threads", 1, "--set", "batch=8"
    )
    assert done.code == 0, done.err
    notice = f"pictures has no labels: {recipe} is trained without, and cannot be asked for a class"
    assert (notice in done.err) == (recipe != "mlp/tiny")


def test_the_default_recipe_depends_on_the_data(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()  # the data set's name comes before a folder's
    for what in (None, "mnist", "mnist-5k", "fashion-mnist", "nowhere", "my.idx3", "i.gz"):
        assert gans.default_recipe(what) == "r3gan/digits"
    (tmp_path / "many.npz").touch()
    files = ["my.ZIP", "my.npz", "many.npz:faces", "my.tar.gz", "my.7z", "my.npy", "train.csv"]
    files += ["train.csv.gz", "my.mat", "my.h5", "my.parquet", "train.p"]
    for what in (str(pictures), "pictures", *files):
        assert gans.default_recipe(what) == "projected/images"
        assert gans.default_recipe(what, (64, 33)) == "projected/images"
        assert gans.default_recipe(what, (32, 20)) == "r3gan/images"
    assert gans.default_recipe("mnist", (28, 28)) == "r3gan/digits"
    for what in ("stacked-mnist", "stacked-mnist-5k"):
        assert gans.default_recipe(what) == "r3gan/stacked-mnist"
