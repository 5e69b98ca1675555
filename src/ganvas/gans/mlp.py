"""GANs of fully connected layers, three of them as they are taught, for images of any shape.

`mlp/relu`       the plain GAN: ReLU in G, batches of 16 (Goodfellow et al. 2014, with Adam and the
                 non-saturating loss)
`mlp/leaky`      the "quick to understand" one: LeakyReLU, batches of 100
`mlp/batchnorm`  the Keras one: BatchNorm in G, latents N(-1, 1) / 2

Two slips of the Keras tutorial are mended. It draws its sample pictures from N(0, 1); here samples
come from the latents that G was trained on. Under Keras 3 it leaves D untrained (compiled, then
`trainable = False`); here D is trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ganvas import objectives
from ganvas.gan import Gan, Pass
from ganvas.layers.dense import Dense
from ganvas.recipe import Beta, ImageSpec, NonNegative, Positive, Recipe, Schedule, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks.

    z_dim: values of a latent.
    g_widths, d_widths: of the hidden layers, in order.
    g_slope, d_slope: of LeakyReLU for negative inputs; 0 for ReLU.
    batchnorm: True for BatchNorm after each hidden activation of G.
    batchnorm_momentum, batchnorm_eps: as PyTorch defines them (its momentum is 1 - Keras's).
    noise: "normal", G takes N(0, 1); "shifted", it takes (z - 1) / 2, which is N(-0.5, 0.5^2).
    init: "default", PyTorch's; "glorot", uniform weights (Glorot and Bengio 2010) and zero biases.
    """

    z_dim: Positive
    g_widths: tuple[Positive, ...]
    d_widths: tuple[Positive, ...]
    g_slope: NonNegative
    d_slope: NonNegative
    batchnorm: bool = False
    batchnorm_momentum: Beta = 0.2
    batchnorm_eps: NonNegative = 1e-3
    noise: Literal["normal", "shifted"] = "normal"
    init: Literal["default", "glorot"] = "default"


def _activation(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


class Generator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.shifted = config.noise == "shifted"
        layers: list[nn.Module] = []
        widths = (config.z_dim, *config.g_widths)
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), _activation(config.g_slope)]
            if config.batchnorm:
                eps, momentum = config.batchnorm_eps, config.batchnorm_momentum
                layers.append(nn.BatchNorm1d(fan_out, eps, momentum))
        shape = (spec.channels, spec.height, spec.width)
        self.layers = Dense([*layers, nn.Linear(widths[-1], math.prod(shape)), nn.Tanh()], shape)

    def forward(self, z: Tensor) -> Tensor:
        """z (N, z_dim) -> images (N, C, H, W) in [-1, 1]."""
        images: Tensor = self.layers(self._noise(z))
        return images

    # Passes with hand-written gradients: see ganvas.gan.FastPasses.

    @property
    def divisible(self) -> bool:
        return self.layers.divisible

    def tracer(self) -> Callable[..., Pass]:
        layers = self.layers.tracer()
        return lambda z, *more: layers(self._noise(z), *more)

    def _noise(self, z: Tensor) -> Tensor:
        return (z - 1) / 2 if self.shifted else z


def discriminator(config: Config, spec: ImageSpec) -> Dense:
    """Build D: images (N, C, H, W) -> logits (N,)."""
    widths = (spec.channels * spec.height * spec.width, *config.d_widths)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), _activation(config.d_slope)]
    return Dense([*layers, nn.Linear(widths[-1], 1)], ())


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks."""
    g, d = Generator(config, spec), discriminator(config, spec)
    if config.init == "glorot":
        for module in itertools.chain(g.modules(), d.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
    return Gan(g, d, objectives.minimax, config.z_dim)


_MNIST = ImageSpec(height=28, width=28, channels=1)

RECIPES = {
    "relu": Recipe(
        summary="the plain GAN: ReLU layers, batches of 16, both networks on the same fakes",
        model=Config(
            z_dim=100, g_widths=(256, 512), d_widths=(512, 256), g_slope=0.0, d_slope=0.01
        ),
        train=TrainConfig(
            batch=16, length="50 epochs", lr=1e-4, g_fakes="same", log="1 epoch", sheet="1 epoch"
        ),
        native=_MNIST,
    ),
    "leaky": Recipe(
        summary="the quick-to-understand GAN: LeakyReLU layers, batches of 100",
        model=Config(z_dim=64, g_widths=(256, 256), d_widths=(256, 256), g_slope=0.2, d_slope=0.2),
        train=TrainConfig(
            batch=100,
            length="200 epochs",
            lr=3e-4,
            log="300 steps",
            sheet="1 epoch",
            sheet_rows=10,
            sheet_columns=10,
            sheet_name="fake_images-{epoch}",
        ),
        native=_MNIST,
    ),
    "batchnorm": Recipe(
        summary="the Keras GAN: BatchNorm in G, noise of mean -0.5, 5,000 steps",
        model=Config(
            z_dim=100,
            g_widths=(256, 512, 1024),
            d_widths=(1024, 256),
            g_slope=0.2,
            d_slope=0.2,
            batchnorm=True,
            noise="shifted",
            init="glorot",
        ),
        train=TrainConfig(
            batch=32,
            g_batch=64,
            length="5000 steps",
            lr=Schedule(start=2e-4, shape="inverse", decay=8e-8),
            betas=(0.5, 0.999),
            eps=1e-7,
            d_fakes="inference",
            d_loss_scale=0.5,
            log="1 steps",
            sheet="100 steps",
        ),
        native=_MNIST,
    ),
    "tiny": Recipe(
        summary="a few neurons, to try things out in a second",
        model=Config(
            z_dim=8, g_widths=(16,), d_widths=(16,), g_slope=0.2, d_slope=0.2, batchnorm=True
        ),
        train=TrainConfig(
            batch=16, length="512 images", lr=1e-3, log="2 steps", sheet="160 images"
        ),
        native=ImageSpec(height=8, width=8, channels=1),
    ),
}
