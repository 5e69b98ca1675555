"""The networks of the source systems: layers, parameter counts, first weights, image shapes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvas import gans, objectives
from ganvas.gan import Gan
from ganvas.layers import dropout
from ganvas.overrides import override
from ganvas.recipe import ImageSpec
from ganvas.views.recipe_summary import parameter_count
from helpers.common import refusal

pytestmark = pytest.mark.usefixtures("steady")

EVERY = [f"{gan}/{key}" for gan in gans.gan_names() for key in gans.load_gan(gan).recipes]


def built(
    name: str, spec: ImageSpec | None = None, seed: int = 0, changes: dict[str, Any] | None = None
) -> Gan:
    _, file, recipe = gans.find_recipe(name)
    return file.build(override(recipe, changes or {}).model, spec or recipe.native, seed)


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
    for network, (trainable, total) in (
        (gan.generator, generator),
        (gan.discriminator, discriminator),
    ):
        assert parameter_count(network) == {"trainable": trainable, "total": total}


def used_layers(gan: Gan, network: nn.Module, spec: ImageSpec) -> list[str]:
    """The layers of a network in the order in which a batch goes through them, described."""
    names: list[str] = []

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        names.append(describe(layer))

    hooks = [m.register_forward_hook(note) for m in network.modules() if not list(m.children())]
    labels = torch.arange(4) if gan.conditional else None
    if network is gan.generator:
        gan.make(torch.randn(4, gan.z_dim), labels)
    else:
        gan.judge(torch.zeros(4, spec.channels, spec.height, spec.width), labels)
    for hook in hooks:
        hook.remove()
    return [layer for layer in names if not layer.startswith("Flatten")]


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
    return f"{name} {a.p:g}" if isinstance(a, dropout.Dropout) else name


def dense(*sizes: int, after: tuple[str, ...]) -> list[str]:
    """Linear layers of these sizes, each but the last followed by `after` ({n} is its width)."""
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [f"Linear {fan_in}->{fan_out}", *(text.format(n=fan_out) for text in after)]
    return layers[: -len(after)]


KERAS_NORM, TORCH_NORM = (
    "BatchNorm1d {n} eps 0.001 momentum 0.2",
    "BatchNorm2d {} eps 1e-05 momentum 0.1",
)
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
        [
            "Embedding 10->10",
            "Linear 110->128",
            LEAKY,
            *dense(128, 256, 512, 1024, 784, after=(CGAN_NORM, LEAKY)),
            "Tanh",
        ],
        [
            "Embedding 10->10",
            "Linear 794->512",
            LEAKY,
            *dense(512, 512, 512, 1, after=("Dropout 0.4", LEAKY)),
        ],
    ),
    "dcgan/64": (
        [
            "Linear 100->16384",
            TORCH_NORM.format(1024),
            "ReLU",
            "Double 1024->512",
            TORCH_NORM.format(512),
            "ReLU",
            "Double 512->256",
            TORCH_NORM.format(256),
            "ReLU",
            "Double 256->128",
            TORCH_NORM.format(128),
            "ReLU",
            "Double 128->3",
            "Tanh",
        ],
        [
            "Halve 3->128",
            LEAKY,
            "Halve 128->256",
            TORCH_NORM.format(256),
            LEAKY,
            "Halve 256->512",
            TORCH_NORM.format(512),
            LEAKY,
            "Halve 512->1024",
            TORCH_NORM.format(1024),
            LEAKY,
            "Linear 16384->1",
        ],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_the_order_of_use(name: str) -> None:
    gan, spec = built(name), gans.find_recipe(name)[2].native
    generator, discriminator = LAYERS[name]
    assert used_layers(gan, gan.generator, spec) == generator
    assert used_layers(gan, gan.discriminator, spec) == discriminator
    assert gan.conditional == (name == "cgan/digits")
    assert gan.joint == (name != "dcgan/64")
    assert gan.objective is (
        objectives.least_squares if name == "cgan/digits" else objectives.minimax
    )


def of_kind(gan: Gan, *kinds: type[nn.Module]) -> list[Any]:
    return [
        m
        for network in (gan.generator, gan.discriminator)
        for m in network.modules()
        if isinstance(m, kinds)
    ]


def assert_normal(values: Tensor, mean: float, std: float) -> None:
    n = values.numel()
    assert values.mean().item() == pytest.approx(mean, abs=5 * std / n**0.5)
    assert values.std().item() == pytest.approx(std, rel=5 / n**0.5)
    # tails, which a uniform density of this spread has not
    assert values.abs().sub(mean).max() > 2 * std


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
        torch.cat(
            [
                p.detach().flatten()
                for p in built(name, seed=seed, changes=small).generator.parameters()
            ]
        )
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
        for height, width, channels in (
            (28, 28, 1),
            (50, 70, 3),
            (16, 16, 3),
            (17, 33, 4),
            (64, 64, 3),
        )
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
        last.mul_(300)  # far into tanh's flat ends, where a wrong range would show
        images = gan.make(torch.randn(3, gan.z_dim), labels)
    assert -1 <= images.min() < -0.9
    assert 0.9 < images.max() <= 1


@pytest.mark.parametrize("name", ["dcgan/64", "dcgan/tiny"])
@pytest.mark.parametrize(("height", "width"), [(15, 64), (64, 15), (8, 8), (1, 1)])
def test_dcgan_refuses_sides_under_16_and_says_what_to_do(
    name: str, height: int, width: int
) -> None:
    message = refusal(built, name, ImageSpec(height=height, width=width, channels=3))
    assert f"{height}x{width}" in message
    assert "16" in message


def test_a_conditional_gan_refuses_images_without_classes() -> None:
    message = refusal(built, "cgan/digits", ImageSpec(height=28, width=28, channels=1))
    assert "label" in message
    assert "mlp/leaky" in message
