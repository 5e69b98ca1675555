"""Conditional GAN of fully connected layers, with label embeddings and squared error (Mirza and
Osindero 2014; Mao et al. 2017).

`cgan/digits`  writes the digits it is asked for

G takes the class's embedding beside the latent, D beside the image. The tutorial's
`BatchNorm1d(n, 0.8)` passes 0.8 as eps, where momentum was meant; it is kept, since
it is what ran.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.layers.dense import Dense
from ganvas.layers.dropout import Dropout
from ganvas.recipe import (
    MNIST,
    Beta,
    ImageSpec,
    NonNegative,
    Positive,
    PositiveFloat,
    Recipe,
    TrainConfig,
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks. An embedding has as many values as the data set has classes.

    z_dim: values of a latent.
    g_widths, d_widths: of the hidden layers. G's first has no BatchNorm, D's first no Dropout.
    slope: of LeakyReLU for negative inputs.
    batchnorm_eps: of G's BatchNorm.
    dropout: probability with which D drops a value.
    """

    z_dim: Positive = 100
    g_widths: tuple[Positive, ...] = (128, 256, 512, 1024)
    d_widths: tuple[Positive, ...] = (512, 512, 512)
    slope: NonNegative = 0.2
    batchnorm_eps: PositiveFloat = 0.8
    dropout: Beta = 0.4


def generator(config: Config, spec: ImageSpec) -> Dense:
    """Build G: z (N, z_dim), labels int64 (N,) -> images (N, C, H, W) in [-1, 1]."""
    classes, shape = len(spec.classes), (spec.channels, spec.height, spec.width)
    widths = (config.z_dim + classes, *config.g_widths)
    layers = _hidden(widths, config.slope, lambda n: nn.BatchNorm1d(n, config.batchnorm_eps))
    return Dense([*layers, nn.Linear(widths[-1], math.prod(shape)), nn.Tanh()], shape, classes)


def discriminator(config: Config, spec: ImageSpec) -> Dense:
    """Build D: images (N, C, H, W), labels int64 (N,) -> logits (N,)."""
    classes = len(spec.classes)
    widths = (spec.channels * spec.height * spec.width + classes, *config.d_widths)
    layers = _hidden(widths, config.slope, lambda _: Dropout(config.dropout))
    return Dense([*layers, nn.Linear(widths[-1], 1)], (), classes)


def _hidden(
    widths: tuple[int, ...], slope: float, between: Callable[[int], nn.Module]
) -> list[nn.Module]:
    """Build the hidden layers.

    widths: of the input and of each layer.
    slope: of LeakyReLU for negative inputs.
    between: makes what stands between linear layer and LeakyReLU, from the width, in all layers but
        the first.
    """
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        extra = [between(fan_out)] if i > 0 else []
        layers += [nn.Linear(fan_in, fan_out), *extra, nn.LeakyReLU(slope)]
    return layers


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks. Raises SettingError for images without classes."""
    if not spec.classes:
        raise SettingError(
            "a conditional GAN needs labels and these images have none: give a folder per class or"
            " a labels.csv, or use an unconditional recipe such as projected/images or mlp/leaky"
        )
    g, d = generator(config, spec), discriminator(config, spec)
    return Gan(g, d, objectives.least_squares, config.z_dim, conditional=True)


_TRAIN = TrainConfig(
    batch=64,
    length="100 epochs",
    lr=2e-4,
    betas=(0.5, 0.999),
    order="g-first",
    g_fakes="same",
    log="100 steps",
    sheet="1000 steps",
    sheet_rows=10,
    sheet_columns=10,
)
_TINY = replace(
    _TRAIN, batch=16, length="512 images", lr=1e-3, log="2 steps", sheet="160 images", sheet_rows=2
)

RECIPES = {
    "digits": Recipe(
        summary="conditional GAN with label embeddings: writes the digits asked for",
        model=Config(),
        train=_TRAIN,
        native=MNIST,
    ),
    "tiny": Recipe(
        summary="a few neurons, to try things out in a second",
        model=Config(z_dim=8, g_widths=(16, 16), d_widths=(16, 16)),
        train=_TINY,
        native=replace(MNIST, height=8, width=8),
    ),
}
