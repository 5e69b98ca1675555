"""Recipes: the listed networks, settings and draws, and how a person changes settings."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ganvas import draws, gans, objectives
from ganvas.card import Plan
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.recipe import (
    ImageSpec,
    Interval,
    Recipe,
    Schedule,
    TrainConfig,
    convert,
    differences,
    override,
    parse_assignments,
    settings,
)
from ganvas.show import count
from ganvas.training import Batches, Learner, take_step

EVERY = [f"{gan}/{key}" for gan in gans.names() for key in gans.load(gan).recipes]
DIGITS = tuple("0123456789")


@pytest.fixture(autouse=True)
def _steady() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def built(name: str, spec: ImageSpec | None = None, seed: int = 0, changes: dict[str, Any] | None = None) -> Gan:
    _, file, recipe = gans.find(name)
    return file.build(override(recipe, changes or {}).model, spec or recipe.native, seed)


def refusal(call: Any, *arguments: Any) -> str:
    """The one line that a SettingError says."""
    with pytest.raises(SettingError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The networks


@pytest.mark.parametrize(
    ("name", "changes", "generator", "discriminator"),
    [
        ("mlp/relu", {}, (559_632, 559_632), (533_505, 533_505)),
        ("mlp/leaky", {}, (283_920, 283_920), (267_009, 267_009)),
        ("mlp/batchnorm", {}, (1_489_936, 1_493_520), (1_066_497, 1_066_497)),
        ("cgan/digits", {}, (1_511_412, 1_514_996), (932_965, 932_965)),
        ("dcgan/64", {}, (12_675_715, 12_679_555), (11_038_081, 11_041_665)),
        ("dcgan/64", {"width": 64}, (3_585_347, 3_587_267), (2_766_529, 2_768_321)),
        ("dcgan/repository", {}, (3_585_347, 3_587_267), (2_766_529, 2_768_321)),
    ],
)
def test_parameter_counts(
    name: str, changes: dict[str, Any], generator: tuple[int, int], discriminator: tuple[int, int]
) -> None:
    gan = built(name, changes=changes)
    for network, (trainable, total) in ((gan.generator, generator), (gan.discriminator, discriminator)):
        assert count(network) == {"trainable": trainable, "total": total}


def used_layers(gan: Gan, network: nn.Module, spec: ImageSpec) -> list[str]:
    """The layers of a network in the order in which a batch goes through them, with what matters of each."""
    found: list[str] = []

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        found.append(describe(layer))

    hooks = [m.register_forward_hook(note) for m in network.modules() if not list(m.children())]
    labels = torch.arange(4) if gan.conditional else None
    if network is gan.generator:
        gan.make(torch.randn(4, gan.z_dim), labels)
    else:
        gan.judge(torch.zeros(4, spec.channels, spec.height, spec.width), labels)
    for hook in hooks:
        hook.remove()
    return [layer for layer in found if not layer.startswith("Flatten")]


def describe(layer: nn.Module) -> str:
    name, a = type(layer).__name__, layer
    if isinstance(a, nn.Linear):
        return f"{name} {a.in_features}->{a.out_features}"
    if isinstance(a, nn.Embedding):
        return f"{name} {a.num_embeddings}->{a.embedding_dim}"
    if isinstance(a, (nn.Conv2d, nn.ConvTranspose2d)):
        assert a.kernel_size == (4, 4)
        assert a.stride == (2, 2)
        assert a.padding == (1, 1)
        return f"{name} {a.in_channels}->{a.out_channels}"
    if isinstance(a, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return f"{name} {a.num_features} eps {a.eps:g} momentum {a.momentum:g}"
    if isinstance(a, nn.LeakyReLU):
        return f"{name} {a.negative_slope:g}"
    return f"{name} {a.p:g}" if isinstance(a, draws.Dropout) else name


def dense(*sizes: int, after: tuple[str, ...]) -> list[str]:
    """Linear layers of these sizes, each but the last followed by `after`, where {n} is its width."""
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [f"Linear {fan_in}->{fan_out}", *(text.format(n=fan_out) for text in after)]
    return layers[: -len(after)]


KERAS_NORM, TORCH_NORM = "BatchNorm1d {n} eps 0.001 momentum 0.2", "BatchNorm2d {} eps 1e-05 momentum 0.1"
CGAN_NORM = "BatchNorm1d {n} eps 0.8 momentum 0.1"
LEAKY = "LeakyReLU 0.2"
LAYERS = {
    "mlp/relu": (
        [*dense(100, 256, 512, 784, after=("ReLU",)), "Tanh"],
        dense(784, 512, 256, 1, after=("LeakyReLU 0.01",)),
    ),
    "mlp/leaky": (
        [*dense(64, 256, 256, 784, after=(LEAKY,)), "Tanh"],
        dense(784, 256, 256, 1, after=(LEAKY,)),
    ),
    "mlp/batchnorm": (
        [*dense(100, 256, 512, 1024, 784, after=(LEAKY, KERAS_NORM)), "Tanh"],
        dense(784, 1024, 256, 1, after=(LEAKY,)),
    ),
    "cgan/digits": (
        ["Embedding 10->10", "Linear 110->128", LEAKY, *dense(128, 256, 512, 1024, 784, after=(CGAN_NORM, LEAKY)), "Tanh"],
        ["Embedding 10->10", "Linear 794->512", LEAKY, *dense(512, 512, 512, 1, after=("Dropout 0.4", LEAKY))],
    ),
    "dcgan/64": (
        [
            "Linear 100->16384", TORCH_NORM.format(1024), "ReLU",
            "ConvTranspose2d 1024->512", TORCH_NORM.format(512), "ReLU",
            "ConvTranspose2d 512->256", TORCH_NORM.format(256), "ReLU",
            "ConvTranspose2d 256->128", TORCH_NORM.format(128), "ReLU",
            "ConvTranspose2d 128->3", "Tanh",
        ],
        [
            "Conv2d 3->128", LEAKY,
            "Conv2d 128->256", TORCH_NORM.format(256), LEAKY,
            "Conv2d 256->512", TORCH_NORM.format(512), LEAKY,
            "Conv2d 512->1024", TORCH_NORM.format(1024), LEAKY,
            "Linear 16384->1",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_the_order_of_use(name: str) -> None:
    gan, spec = built(name), gans.find(name)[2].native
    generator, discriminator = LAYERS[name]
    assert used_layers(gan, gan.generator, spec) == generator
    assert used_layers(gan, gan.discriminator, spec) == discriminator
    assert gan.conditional == (name == "cgan/digits")
    assert gan.joint == (name != "dcgan/64")
    assert gan.objective is (objectives.least_squares if name == "cgan/digits" else objectives.minimax)


def of_kind(gan: Gan, *kinds: type[nn.Module]) -> list[Any]:
    return [m for network in (gan.generator, gan.discriminator) for m in network.modules() if isinstance(m, kinds)]


def assert_normal(values: Tensor, mean: float, std: float) -> None:
    n = values.numel()
    assert values.mean().item() == pytest.approx(mean, abs=5 * std / n**0.5)
    assert values.std().item() == pytest.approx(std, rel=5 / n**0.5)
    assert values.abs().sub(mean).max() > 2 * std  # tails, which a uniform density of this spread has not


def assert_uniform(values: Tensor, bound: float) -> None:
    n = values.numel()
    assert values.abs().max().item() <= bound * (1 + 1e-6)
    assert values.abs().max().item() > bound * (1 - 20 / n)
    assert values.mean().item() == pytest.approx(0, abs=5 * bound / (3 * n) ** 0.5)
    assert values.std().item() == pytest.approx(bound / 3**0.5, rel=5 / n**0.5)


def test_dcgan_starts_from_the_listed_weights() -> None:
    gan = built("dcgan/64", changes={"width": 32})
    for layer in of_kind(gan, nn.Conv2d, nn.ConvTranspose2d, nn.Linear):
        assert_normal(layer.weight, 0, 0.02)
    for layer in of_kind(gan, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d):
        assert layer.bias.count_nonzero() == 0
    assert_normal(torch.cat([layer.weight for layer in of_kind(gan, nn.BatchNorm2d)]), 1, 0.02)
    for layer in of_kind(gan, nn.Conv2d):
        assert_uniform(layer.bias, 1 / (layer.in_channels * 16) ** 0.5)  # PyTorch's default


def test_the_keras_system_starts_from_glorot_uniform_weights_and_zero_biases() -> None:
    for layer in of_kind(built("mlp/batchnorm"), nn.Linear):
        assert_uniform(layer.weight, (6 / (layer.in_features + layer.out_features)) ** 0.5)
        assert layer.bias.count_nonzero() == 0


@pytest.mark.parametrize("name", ["mlp/relu", "mlp/leaky", "cgan/digits"])
def test_the_others_start_from_pytorchs_default_weights(name: str) -> None:
    gan = built(name)
    for layer in of_kind(gan, nn.Linear):
        assert_uniform(layer.weight, layer.in_features**-0.5)
        assert layer.bias.abs().max() <= layer.in_features**-0.5
        assert layer.bias.count_nonzero() == layer.out_features
    for layer in of_kind(gan, nn.Embedding):
        assert_normal(layer.weight, 0, 1)


@pytest.mark.parametrize("name", EVERY)
def test_weights_are_a_function_of_the_seed_and_leave_other_draws_alone(name: str) -> None:
    small = {"width": 8} if name.startswith("dcgan") else {}
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (
        torch.cat([p.detach().flatten() for p in built(name, seed=seed, changes=small).generator.parameters()])
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_keras_systems_noise_has_mean_minus_a_half_and_deviation_a_half() -> None:
    for name, mean, std in (("mlp/batchnorm", -0.5, 0.5), ("mlp/leaky", 0.0, 1.0)):
        gan = built(name)
        fed: list[Tensor] = []
        first = next(m for m in gan.generator.modules() if isinstance(m, nn.Linear))
        first.register_forward_hook(lambda _, inputs, output, fed=fed: fed.append(inputs[0]))
        z = torch.randn((500, gan.z_dim), generator=torch.Generator().manual_seed(0))
        gan.make(z, None)
        assert torch.allclose(fed[0], z * std + mean)
        assert_normal(fed[0], mean, std)


SHAPES = [
    ("mlp/relu", ImageSpec(height=32, width=32, channels=3)),
    ("mlp/batchnorm", ImageSpec(height=5, width=9, channels=4)),
    ("cgan/digits", ImageSpec(height=32, width=20, channels=3, classes=("cat", "dog"))),
    *(
        ("dcgan/64", ImageSpec(height=height, width=width, channels=channels))  # type: ignore[arg-type]
        for height, width, channels in ((28, 28, 1), (50, 70, 3), (16, 16, 3), (17, 33, 4), (64, 64, 3))
    ),
]


@pytest.mark.parametrize(("name", "spec"), SHAPES, ids=str)
def test_any_image_shape_is_made_in_full_and_within_range(name: str, spec: ImageSpec) -> None:
    gan = built(name, spec, changes={"width": 8} if name == "dcgan/64" else {})
    labels = torch.tensor([0, 1, 1]) if gan.conditional else None
    last = [p for p in gan.generator.parameters() if p.ndim > 1][-1]
    with torch.no_grad():
        images = gan.make(torch.randn(3, gan.z_dim), labels)
        assert images.shape == (3, spec.channels, spec.height, spec.width)
        assert images.std(0).min() > 0  # every pixel is the network's, no border of padding
        assert gan.judge(images, labels).shape == (3,)
        last.mul_(300)  # far into tanh's flat ends, where a mistake in the range would show
        images = gan.make(torch.randn(3, gan.z_dim), labels)
    assert -1 <= images.min() < -0.9
    assert 0.9 < images.max() <= 1


@pytest.mark.parametrize("name", ["dcgan/64", "dcgan/tiny"])
@pytest.mark.parametrize(("height", "width"), [(15, 64), (64, 15), (8, 8), (1, 1)])
def test_dcgan_refuses_sides_under_16_and_says_what_to_do(name: str, height: int, width: int) -> None:
    told = refusal(built, name, ImageSpec(height=height, width=width, channels=3))
    assert f"{height}x{width}" in told
    assert "16" in told


def test_a_conditional_gan_refuses_images_without_classes() -> None:
    told = refusal(built, "cgan/digits", ImageSpec(height=28, width=28, channels=1))
    assert "label" in told
    assert "mlp/leaky" in told


# The settings of training

ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
SOFT = {"betas": (0.5, 0.999), "eps": 1e-8}
D_FIRST = {"order": "d-first", "d_fakes": "training", "d_loss_scale": 1.0, "g_batch": None}
TRAINING: dict[str, dict[str, Any]] = {
    "mlp/relu": {
        **ADAM, **D_FIRST, "g_fakes": "same", "batch": 16, "length": "50 epochs", "lr": 1e-4, "log": "1 epochs",
        "sheet": "1 epochs", "sheet_rows": 4, "sheet_columns": 4,
    },
    "dcgan/64": {
        **SOFT, **D_FIRST, "g_fakes": "fresh", "batch": 64, "length": "500 epochs", "sheet": "50 steps",
        "weights": "10 epochs", "sheet_rows": 5, "sheet_columns": 5,
    },
    "cgan/digits": {
        **SOFT, "order": "g-first", "g_fakes": "same", "d_fakes": "training", "batch": 64, "length": "100 epochs",
        "lr": 2e-4, "sheet_columns": 10, "d_loss_scale": 1.0,
    },
    "mlp/leaky": {
        **ADAM, **D_FIRST, "g_fakes": "fresh", "batch": 100, "length": "200 epochs", "lr": 3e-4, "log": "300 steps",
        "sheet": "1 epochs", "sheet_name": "fake_images-{epoch}",
    },
    "mlp/batchnorm": {
        "betas": (0.5, 0.999), "eps": 1e-7, "order": "d-first", "g_fakes": "fresh", "d_fakes": "inference", "batch": 32,
        "g_batch": 64, "d_loss_scale": 0.5, "length": "5000 steps", "log": "1 steps", "sheet": "100 steps",
        "lr": Schedule(start=2e-4, shape="inverse", decay=8e-8), "sheet_rows": 4, "sheet_columns": 4,
    },
}  # fmt: skip
TRAINING["dcgan/repository"] = TRAINING["dcgan/64"]


@pytest.mark.parametrize("name", TRAINING)
def test_training_settings_are_the_listed_ones(name: str) -> None:
    train = gans.find(name)[2].train
    for field, expected in TRAINING[name].items():
        found = getattr(train, field)
        if field in ("length", "log", "sheet", "weights"):
            found, expected = Interval.parse(found), Interval.parse(expected)
        assert found == expected, field
    assert train.d_lr is None
    assert train.average is None
    assert (
        gans.find(name)[2].native
        == {
            "mlp": ImageSpec(height=28, width=28, channels=1),
            "cgan": ImageSpec(height=28, width=28, channels=1, classes=DIGITS),
            "dcgan": ImageSpec(height=64, width=64, channels=3),
        }[name.split("/")[0]]
    )


# Every GAN, the ones that come later too


def noise_images(spec: ImageSpec, number: int) -> Dataset:
    shape = (number, spec.channels, spec.height, spec.width)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(number) % len(spec.classes) if spec.classes else None
    return Dataset("noise", images, labels, spec.classes)


@pytest.mark.parametrize("gan_name", gans.names())
def test_every_gan_has_a_tiny_recipe_that_trains_both_networks(gan_name: str) -> None:
    file = gans.load(gan_name)
    recipe = file.recipes["tiny"]
    spec, config = recipe.native, recipe.train
    gan = file.build(recipe.model, spec, 1)
    labels = torch.zeros(5, dtype=torch.int64) if gan.conditional else None
    images = gan.make(torch.randn(5, gan.z_dim), labels)
    assert images.shape == (5, spec.channels, spec.height, spec.width)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert gan.judge(images, labels).shape == (5,)

    learner = Learner(gan, config, 50, torch.device("cpu"))
    batches = Batches(noise_images(spec, 50), learner, 3)
    plan = Plan(images=10 * config.batch, batch=config.batch, epoch=50, requested="10 steps")
    weights = [p for network in (gan.generator, gan.discriminator) for p in network.parameters() if p.ndim > 1]
    assert len(weights) >= 4
    for n in range(3):
        before = [p.detach().clone() for p in weights]
        assert learner.set_rates(plan, n * config.batch) > 0
        figures = take_step(learner, batches, n * config.batch)
        assert figures.shape == (5,)
        assert figures.isfinite().all()
        assert all(p.requires_grad and p.isfinite().all() for p in weights)
        assert not any(torch.equal(p, old) for p, old in zip(weights, before, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_settings_go_to_json_and_back_unchanged(name: str) -> None:
    _, file, recipe = gans.find(name)
    plain = json.loads(json.dumps(settings(recipe)))
    assert override(recipe, plain) == recipe
    assert override(recipe, {}) == recipe
    assert convert(plain["model"], file.config, "model") == recipe.model
    assert convert(plain["train"], TrainConfig, "train") == recipe.train
    assert recipe.summary
    assert "\n" not in recipe.summary


# Changing settings

RELU, DCGAN = gans.find("mlp/relu")[2], gans.find("dcgan/64")[2]


def test_a_setting_is_changed_by_its_path_or_its_last_name_and_nothing_else_changes() -> None:
    for changes in ({"train.batch": 32}, {"batch": 32}, {"train": {"batch": 32}}):
        assert override(RELU, changes) == dataclasses.replace(RELU, train=dataclasses.replace(RELU.train, batch=32))
    changed = override(RELU, {"z_dim": 7, "model.g_widths": [3, 4], "betas": [0.1, 0.2], "weights": "1 epoch"})
    assert (changed.model.z_dim, changed.model.g_widths) == (7, (3, 4))
    assert (changed.train.betas, changed.train.weights) == ((0.1, 0.2), "1 epoch")
    assert (changed.native, changed.summary) == (RELU.native, RELU.summary)
    assert RELU.model.z_dim == 100


def test_a_schedules_parts_are_settings_too() -> None:
    assert override(DCGAN, {"train.lr.start": 1e-3}).train.lr == dataclasses.replace(DCGAN.train.lr, start=1e-3)  # type: ignore[type-var]
    assert override(DCGAN, {"lr.end": 0}).train.lr == dataclasses.replace(DCGAN.train.lr, end=0)  # type: ignore[type-var]
    assert override(DCGAN, {"lr": {"end": 0}}).train.lr == dataclasses.replace(DCGAN.train.lr, end=0)  # type: ignore[type-var]
    assert override(DCGAN, {"lr": 2e-4}).train.lr == 2e-4
    linear = {"train.lr.end": 0, "train.lr.shape": "linear"}
    assert override(RELU, linear).train.lr == Schedule(start=1e-4, end=0, shape="linear")
    assert override(RELU, {"lr.shape": "linear", "lr.end": 0}) == override(RELU, linear)  # of a constant, by short name
    assert override(RELU, {"d_lr.start": 0.1}).train.d_lr == Schedule(start=0.1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bach": 3}, "unknown setting bach: did you mean batch?"),
        ({"train.bach": 3}, "unknown setting train.bach: did you mean train.batch?"),
        ({"trian.batch": 3}, "unknown setting trian.batch: did you mean train.batch?"),
        ({"train": {"bach": 3}}, "unknown setting train.bach: did you mean train.batch?"),
        ({"train.lr.strat": 1}, "unknown setting train.lr.strat: did you mean train.lr.start?"),
        ({"train.lr": {"start": 1, "shap": "linear"}}, "unknown setting train.lr.shap: did you mean train.lr.shape?"),
        ({"lr.strat": 1}, "unknown setting train.lr.strat: did you mean train.lr.start?"),
        ({"lrr.shape": "linear"}, "unknown setting lrr: did you mean lr?"),
        ({"train.lrr.shape": "linear"}, "unknown setting train.lrr: did you mean train.lr?"),
        ({"qqq": 3}, "unknown setting qqq: choose one of: z_dim, "),
        ({"batch": "x"}, "train.batch: expected `int`, got `str`"),
        ({"batch": True}, "train.batch: expected `int`, got `bool`"),
        ({"batch": 1.5}, "train.batch: expected `int`, got `float`"),
        ({"batch": None}, "train.batch: expected `int`, got `null`"),
        ({"batch": 0}, "train.batch: expected `int` >= 1"),
        ({"batch": -1}, "train.batch: expected `int` >= 1"),
        ({"z_dim": 0}, "model.z_dim: expected `int` >= 1"),
        ({"g_widths": [16, "a"]}, "model.g_widths[1]: expected `int`, got `str`"),
        ({"lr": -1e-3}, "train.lr: expected `float` >= 0.0"),
        ({"lr": math.nan}, "train.lr=nan: expected a finite number"),
        ({"lr": math.inf}, "train.lr=inf: expected a finite number"),
        ({"train.lr.start": math.nan}, "train.lr.start=nan: expected a finite number"),
        ({"eps": 0}, "train.eps: expected `float` >= 1e-30"),
        ({"eps": math.inf}, "train.eps=inf: expected a finite number"),
        ({"betas": [0.9, 1.0]}, "train.betas[1]: expected `float` < 1.0"),
        ({"betas": [math.nan, 0.9]}, "train.betas[0]: expected"),
        ({"betas": [0.9]}, "train.betas: "),
        ({"g_slope": -math.inf}, "model.g_slope=-inf: expected a finite number"),
        ({"order": "sideways"}, "train.order: invalid enum value 'sideways'"),
        ({"train.lr.shape": "cosin"}, "train.lr.shape: invalid enum value 'cosin'"),
        ({"train.lr": {}}, "train.lr: object missing required field `start`"),
        ({"train": 3}, "train: expected `object`, got `int`"),
        ({"train.lr": {"start": 1, "warmup": 0.5, "hold": 0.5}}, "warmup 0.5 + hold 0.5 is 1"),
        ({"length": "soon"}, "'soon' is not a length"),
        ({"log": "1 minute"}, "train.log='1 minute': give steps, epochs or images"),
        ({"weights": "2 parsecs"}, "'2 parsecs' is not a length"),
        ({"sheet_name": "{nope}"}, "train.sheet_name='{nope}'"),
        ({"sheet_name": "../x"}, "train.sheet_name='../x' holds a slash"),
        ({"g_batch": 8}, "train.g_batch=8 with train.g_fakes='same'"),
        ({"summary": "mine"}, "unknown setting summary"),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused_in_one_line_that_names_it(changes: dict[str, Any], told: str) -> None:
    assert told in refusal(override, RELU, changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """Settings of a user's GAN, one of which has the name of a training setting."""

    batch: int = 3
    own: float = 1.0


def test_a_name_that_two_settings_have_needs_its_whole_path() -> None:
    recipe = Recipe(model=Twin(), train=RELU.train, native=RELU.native)
    assert refusal(override, recipe, {"batch": 5}) == (
        "setting batch could be model.batch or train.batch: write the whole path"
    )
    assert refusal(override, recipe, {"batch.start": 5}) == (
        "setting batch.start could be model.batch.start or train.batch.start: write the whole path"
    )
    assert override(recipe, {"model.batch": 5}).model == Twin(batch=5)
    assert override(recipe, {"own": 2}).model == Twin(own=2.0)


def test_assignments_are_read_as_toml_and_else_as_words() -> None:
    given = [
        "train.batch=32",
        "lr=1e-3",
        "betas=[0.5, 0.9]",
        "batchnorm=true",
        "order=g-first",
        "log='2 steps'",
        "a=b=c",
    ]
    assert parse_assignments(given) == {
        "train.batch": 32, "lr": 1e-3, "betas": [0.5, 0.9], "batchnorm": True, "order": "g-first", "log": "2 steps",
        "a": "b=c",
    }  # fmt: skip
    for wrong in ("batch", "=3", " =3"):
        assert f"'{wrong}' is not a setting" in refusal(parse_assignments, [wrong])


def test_differences_are_told_by_path() -> None:
    changed = override(DCGAN, {"batch": 8, "lr": 1e-3})
    found = differences(settings(changed), settings(DCGAN))
    assert "train.batch=8, not 64" in found
    assert "train.lr=0.001, not None" in found
    assert "train.lr.start=None, not 0.002" in found
    assert not differences(settings(DCGAN), json.loads(json.dumps(settings(DCGAN))))


# Values over time


def test_schedules_follow_their_closed_forms() -> None:
    assert Schedule(start=3).at(0.7, 99) == 3
    linear = Schedule(start=4, end=2, shape="linear")
    assert [linear.at(p, 0) for p in (0, 0.25, 1, 1.5)] == [4, 3.5, 2, 2]
    cosine = Schedule(start=4, end=2, shape="cosine")
    assert [cosine.at(p, 0) for p in (0, 1 / 3, 0.5, 1, 1.5)] == pytest.approx([4, 3.5, 3, 2, 2])
    inverse = Schedule(start=4, shape="inverse", decay=0.5)
    assert [inverse.at(0.9, n) for n in (0, 2, 6)] == [4, 2, 1]


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_schedule_climbs_quadratically_before_it_goes_on(shape: Any) -> None:
    falls = {"end": 1, "hold": 0.3} if shape != "constant" else {}
    schedule = Schedule(start=5, shape=shape, warmup=0.2, warmup_from=1, **falls)
    assert [schedule.at(p, 0) for p in (0, 0.1, 0.2)] == pytest.approx([1, 2, 5])
    if shape != "constant":
        assert schedule.at(0.45, 0) == pytest.approx(3)  # half way from 0.2 to 0.7
        assert [schedule.at(p, 0) for p in (0.7, 0.85, 1)] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    "parts",
    [
        {"end": 0.0}, {"decay": 1e-3}, {"hold": 0.1}, {"warmup_from": 0.1}, {"shape": "linear", "decay": 1e-3},
        {"shape": "inverse", "warmup": 0.1}, {"shape": "inverse", "end": 1.0}, {"shape": "inverse", "hold": 0.1},
    ],
)  # fmt: skip
def test_a_part_that_does_nothing_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="does nothing in a schedule of shape"):
        Schedule(start=1, **parts)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"g_fakes": "same", "d_fakes": "inference"}, "made in training mode"),
        ({"g_fakes": "same", "g_batch": 9}, "leave g_batch out"),
        ({"sheet_name": ""}, "sheet_name is empty"),
        ({"sheet_name": "a/b"}, "holds a slash"),
        ({"sheet_name": "{nope}"}, "use {images} and {epoch}"),
        ({"log": "2 minutes"}, "train.log"),
        ({"average": "often"}, "train.average"),
    ],
)
def test_settings_that_cannot_go_together_are_refused_by_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        TrainConfig(**{"batch": 8, "length": "1 epoch", "lr": 1e-3} | fields)


def test_a_schedule_without_room_for_itself_is_refused() -> None:
    for warmup, hold in ((0.5, 0.5), (1.0, 0.0), (0.0, 1.0)):
        with pytest.raises(SettingError, match="stay below 1"):
            Schedule(start=1, warmup=warmup, hold=hold)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("50 steps", 50, "steps"), ("1 step", 1, "steps"), ("1 epoch", 1, "epochs"), ("0.5 epochs", 0.5, "epochs"),
        ("20k images", 20_000, "images"), ("1.5M images", 1_500_000, "images"), ("60_000 images", 60_000, "images"),
        ("1,000 steps", 1000, "steps"), ("5 minutes", 5, "minutes"), ("  7steps ", 7, "steps"),
    ],
)  # fmt: skip
def test_intervals_are_read(text: str, amount: float, unit: str) -> None:
    assert Interval.parse(text) == Interval(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "5", "steps", "0 steps", "0.0 epochs", "-1 steps", "nan steps", "inf steps", "5 parsecs", "5 5 steps", "0x5 steps",
     "9" * 400 + " steps", "5 stepss", "5 K steps", "٣ steps"],
)  # fmt: skip
def test_what_is_no_interval_is_refused(text: str) -> None:
    assert "is not a length" in refusal(Interval.parse, text)


@pytest.mark.parametrize("amount", [1, 2, 0.5, 12.25, 1 / 3, 1234567, 3_000_000, 123_456_789.5])
@pytest.mark.parametrize("unit", ["steps", "epochs", "images", "minutes"])
def test_an_interval_is_written_as_it_is_read(amount: float, unit: Any) -> None:
    interval = Interval(amount, unit)
    assert Interval.parse(str(interval)) == interval


def test_an_interval_in_images() -> None:
    assert Interval.parse("10 steps").images(16, 1000) == 160
    assert Interval.parse("1.5 epochs").images(16, 1000) == 1500
    assert Interval.parse("70 images").images(16, 1000) == 70


def test_an_image_spec_says_what_it_is_and_refuses_other_channels() -> None:
    assert str(ImageSpec(height=28, width=20, channels=1, classes=DIGITS)) == "28x20 grey, 10 classes"
    assert ImageSpec.of(noise_images(DCGAN.native, 2)) == DCGAN.native
    plain = {"height": 8, "width": 8, "channels": 2, "classes": ()}
    assert "channels" in refusal(convert, plain, ImageSpec, "image")
    assert "height" in refusal(convert, plain | {"height": 0, "channels": 1}, ImageSpec, "image")


# Draws


def test_the_order_shows_each_image_once_an_epoch_in_another_order_each() -> None:
    order = draws.Order(seed=1, size=50)
    epochs = order.indices(0, 200).view(4, 50)
    assert epochs.dtype == torch.int64
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(50))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    assert epochs[0].tolist() != list(range(50))
    assert draws.Order(seed=2, size=50).indices(0, 50).tolist() != epochs[0].tolist()


def test_the_order_is_the_same_from_any_place_and_in_any_batches() -> None:
    endless = draws.Order(seed=1, size=50).indices(0, 500)
    for batch in (1, 7, 50, 64, 130):
        order = draws.Order(seed=1, size=50)
        assert torch.equal(torch.cat([order.indices(k, batch) for k in range(0, 260, batch)])[:260], endless[:260])
    order = draws.Order(seed=1, size=50)
    for start in (480, 0, 49, 333):  # backwards too
        assert torch.equal(order.indices(start, 20), endless[start : start + 20])


def test_a_batch_larger_than_the_data_holds_whole_epochs() -> None:
    indices = draws.Order(seed=3, size=3).indices(2, 10)
    assert indices.shape == (10,)
    for start in (1, 4, 7):
        assert sorted(indices[start : start + 3].tolist()) == [0, 1, 2]
    assert draws.Order(seed=3, size=1).indices(5, 4).tolist() == [0, 0, 0, 0]


def test_a_generator_is_a_function_of_seed_purpose_and_position_alone() -> None:
    def drawn(seed: int, purpose: str, position: int) -> Tensor:
        return torch.randn(2000, generator=draws.generator(seed, purpose, position))

    state = torch.random.get_rng_state()
    base = drawn(1, "z", 0)
    assert torch.equal(base, drawn(1, "z", 0))
    assert torch.equal(torch.random.get_rng_state(), state)
    for other in (drawn(2, "z", 0), drawn(1, "order", 0), drawn(1, "z", 1), drawn(2**63 - 1, "z", 10**12)):
        assert abs(torch.corrcoef(torch.stack([base, other]))[0, 1].item()) < 5 / 2000**0.5


def masks(groups: int, rank: int, world: int, layers: int = 2) -> list[Tensor]:
    """What two Dropout layers in turn let through of ones, in a process's part of 8 images a group."""
    dropouts = [draws.Dropout(0.4) for _ in range(layers)]
    draws.aim(dropouts, draws.bits(1, "d-dropout", 64), rank, world)
    draws.join(dropouts, groups)
    return [layer(torch.ones(groups * 8 // world, 300)) for layer in dropouts]


@pytest.mark.parametrize("groups", [1, 2])
def test_dropout_of_two_processes_is_that_of_one(groups: int) -> None:
    whole, first, second = masks(groups, 0, 1), masks(groups, 0, 2), masks(groups, 1, 2)
    for one, a, b in zip(whole, first, second, strict=True):
        halves = [torch.cat(pair) for pair in zip(a.chunk(groups), b.chunk(groups), strict=True)]
        assert torch.equal(torch.cat(halves), one)
        assert not torch.equal(a, b)


def test_dropout_keeps_its_share_scales_it_and_draws_each_value_on_its_own() -> None:
    one, two = masks(2, 0, 1)
    assert one.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert one.count_nonzero() / one.numel() == pytest.approx(0.6, abs=5 * (0.24 / one.numel()) ** 0.5)
    assert not torch.equal(one, two)
    assert len({tuple(row.tolist()) for row in one}) == len(one)
    layer = draws.Dropout(0.4).eval()
    assert torch.equal(layer(one), one)
    assert torch.equal(draws.Dropout(0.0)(one), one)


# Objectives


def test_minimax_is_binary_cross_entropy_and_stays_finite_where_that_does_not() -> None:
    real, fake = torch.randn(2, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)

    def bce(logits: Tensor, label: Tensor) -> Tensor:
        return binary_cross_entropy(logits.sigmoid(), label, reduction="none")

    assert torch.allclose(objectives.minimax.d_loss(real, fake), bce(real, ones) + bce(fake, zeros))
    assert torch.allclose(objectives.minimax.g_loss(None, fake), bce(fake, ones))
    assert torch.allclose(objectives.minimax.score(fake), fake.sigmoid())
    sure = torch.tensor([-200.0], requires_grad=True)
    objectives.minimax.g_loss(None, sure).sum().backward()
    assert objectives.minimax.g_loss(None, sure).item() == pytest.approx(200)
    assert sure.grad is not None
    assert sure.grad.item() == pytest.approx(-1)  # G still learns from fakes that D is sure of


def test_least_squares_pulls_real_to_1_and_fakes_to_0_with_a_half_for_d_alone() -> None:
    real, fake = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 1.0, -1.0])
    assert objectives.least_squares.d_loss(real, fake).tolist() == [0, 1, 2.5]
    assert objectives.least_squares.g_loss(None, fake).tolist() == [1, 0, 4]
    assert objectives.least_squares.score(fake).tolist() == fake.tolist()
    for objective in (objectives.minimax, objectives.least_squares):
        assert objective.boundary == 0.5
        assert not objective.paired


def test_hinge_pushes_d_to_1_and_minus_1_and_no_further() -> None:
    real, fake = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([-2.0, -1.0, 0.0, 1.0])
    assert objectives.hinge.d_loss(real, fake).tolist() == [0, 0, 2, 4]
    assert objectives.hinge.g_loss(None, fake).tolist() == [2, 1, 0, -1]
    assert objectives.hinge.score(fake).tolist() == fake.tolist()
    assert objectives.hinge.boundary == 0
    assert not objectives.hinge.paired
