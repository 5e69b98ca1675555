"""A small convolutional GAN for CPUs, after R3GAN: relativistic losses, and penalties on D's slope
at real images and at fakes.

`r3gan/digits`         the default: legible digits within a minute on two cores
`r3gan/images`         pictures of any size, grey or colour, with labels or without
`r3gan/stacked-mnist`  three digits in one image, without labels, to count the 1,000 modes found

Each fake is set against a real image, and R1 and R2 keep D's slope at both small, which makes
training steady without tricks (Huang et al. 2024, arXiv 2501.05441). All else serves speed on a
CPU. Both networks work on blocks of 2x2 pixels, as channels of an image of half the size: layers
with one channel in or out are slow. The penalties are computed in one step of several. Both
networks are trained from one pass of each (Shen et al. 2021, arXiv 2103.00430). G has BatchNorm,
unlike R3GAN's; samples come from the moving average of its weights. D compares its features with
the class's embedding (Miyato and Koyama 2018, arXiv 1802.05637, equation 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear, pad, pixel_shuffle

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.recipe import MNIST, ImageSpec, NonNegative, Positive, Recipe, Schedule, TrainConfig

MIN_SIDE = 8  # images are halved while their shorter side is longer than this


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks.

    objective: the losses.
    z_dim: values of a latent.
    width, g_width: channels of a layer of the image's own size, and G's own if it differs. They
        double with each halving of the image, up to `widest`.
    blocks: residual blocks of each size, in both networks. With them a learning rate of 2e-3
        diverges, and 1e-3 is too high for a long training (docs/log.md).
    embedding: values of a class's embedding in G.
    slope: of LeakyReLU for negative inputs.
    labels: False to train without labels where the images have some.
    """

    objective: objectives.Name = "relativistic"
    z_dim: Positive = 32
    width: Positive = 16
    g_width: Positive | None = None
    widest: Positive = 512
    blocks: Annotated[int, Meta(ge=0, le=64)] = 0
    embedding: Positive = 32
    slope: NonNegative = 0.2
    labels: bool = True

    def channels(self, level: int, width: int) -> int:
        """Channels of a layer after `level` halvings."""
        return min(width << level, self.widest)


def halvings(spec: ImageSpec) -> int:
    """The number of times that images are halved, at least 1."""
    return max(1, math.ceil(math.log2(min(spec.height, spec.width) / MIN_SIDE)))


class Block(nn.Module):
    """x + f(x), where f is two convolutions, the second with zero weights at first (R3GAN, section
    3; Zhang et al. 2019, arXiv 1901.09321)."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.first, self.second = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(leaky_relu(self.first(leaky_relu(x, self.slope)), self.slope))
        return x + inner


class Stem(nn.Conv2d):
    """A convolution of kernel 4 and stride 2: for grey images on a CPU, a matrix product.

    With one channel, patches can be gathered at once: forward and back that takes half the time of
    the convolution, whose gradient for a single channel is slow. (`layers.convolutions.Halve`
    takes any number of channels, but a fifth longer, and rounds differently.)
    """

    places: Tensor

    def __init__(self, before: int, after: int, height: int, width: int) -> None:
        super().__init__(before, after, 4, 2, 1)
        self.sides = height // 2, width // 2
        rows, columns = (
            2 * torch.arange(side).unsqueeze(1) + torch.arange(4) for side in self.sides
        )
        # (H / 2, W / 2, 4, 4): the pixels of each patch, as places in the padded image.
        places = rows[:, None, :, None] * (width + 2) + columns[None, :, None, :]
        self.register_buffer("places", places.flatten(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.in_channels > 1 or images.is_cuda:
            return super().forward(images)
        padded = pad(images, (1, 1, 1, 1)).reshape(len(images), -1)
        patches = padded.index_select(1, self.places).view(-1, 16)
        out = linear(patches, self.weight.reshape(-1, 16), self.bias)
        return out.view(len(images), *self.sides, -1).permute(0, 3, 1, 2)


class Generator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        levels, width, slope = halvings(spec), config.g_width or config.width, config.slope
        self.sides = (spec.height, spec.width)
        self.start = tuple(-(-side // 2**levels) for side in self.sides)
        fan_in = config.z_dim
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), config.embedding)
            fan_in += config.embedding
        channels = config.channels(levels, width)
        self.first = nn.Linear(fan_in, math.prod(self.start) * channels, bias=False)
        layers: list[nn.Module] = [Block(channels, slope) for _ in range(config.blocks)]
        layers += [nn.BatchNorm2d(channels), nn.LeakyReLU(slope)]
        for level in range(levels - 1, 0, -1):
            before, channels = channels, config.channels(level, width)
            layers.append(nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False))
            layers += [Block(channels, slope) for _ in range(config.blocks)]
            layers += [nn.BatchNorm2d(channels), nn.LeakyReLU(slope)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, 4 * spec.channels, 3, 1, 1)
        _initialise(self, slope)
        nn.init.normal_(self.last.weight, 0, 0.02)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (N, z_dim), labels int64 (N,) if conditional -> images (N, C, H, W) in [-1, 1]."""
        if labels is not None:
            z = torch.cat([z, self.embedding(labels)], 1)
        # Channels last in memory.
        x = self.first(z).view(z.shape[0], *self.start, -1).permute(0, 3, 1, 2)
        height, width = self.sides
        images: Tensor = pixel_shuffle(self.last(self.layers(x)), 2)[:, :, :height, :width].tanh()
        return images


class Discriminator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        levels, slope = halvings(spec), config.slope
        sides = [-(-side // 2**levels) for side in (spec.height, spec.width)]
        self.padding = (0, sides[1] * 2**levels - spec.width, 0, sides[0] * 2**levels - spec.height)
        layers: list[nn.Module] = []
        channels: int = spec.channels
        for level in range(1, levels + 1):
            before, channels = channels, config.channels(level, config.width)
            if level == 1:
                layers.append(Stem(before, channels, *(side * 2**levels for side in sides)))
            else:
                layers.append(nn.Conv2d(before, channels, 4, 2, 1))
            layers += [Block(channels, slope) for _ in range(config.blocks)]
            layers += [nn.LeakyReLU(slope)]
        self.layers = nn.Sequential(*layers)
        features = config.channels(3, config.width)
        self.features = nn.Linear(channels * math.prod(sides), features)
        self.slope = slope
        self.logit = nn.Linear(features, 1)
        _initialise(self, slope)
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), features)
            nn.init.normal_(self.embedding.weight, 0, features**-0.5)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images (N, C, H, W), labels int64 (N,) if conditional -> logits (N,)."""
        if any(self.padding):
            images = pad(images, self.padding)
        x = self.layers(images).permute(0, 2, 3, 1).flatten(1)
        x = leaky_relu(self.features(x), self.slope)
        logits: Tensor = self.logit(x).squeeze(1)
        if labels is not None:
            logits = logits + (self.embedding(labels) * x).sum(1)
        return logits


def _initialise(network: nn.Module, slope: float) -> None:
    """Draw weights from N(0, gain^2 / fan_in), which keeps the size of signals (He et al. 2015,
    arXiv 1502.01852, equation 15)."""
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            # A transposed one has kernel 4 and stride 2: 2 x 2 weights of a channel reach a pixel.
            transposed = isinstance(layer, nn.ConvTranspose2d)
            fan_in = len(layer.weight) * 4 if transposed else layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0, math.sqrt(2 / (1 + slope**2) / fan_in))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for block in network.modules():
        if isinstance(block, Block):
            nn.init.zeros_(block.second.weight)


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks. Raises SettingError for sides under 4 pixels."""
    if min(spec.height, spec.width) < 4:
        raise SettingError(
            f"r3gan needs sides of 4 pixels and these are {spec.height}x{spec.width}: use --size 4"
            " or more"
        )
    spec = spec if config.labels else replace(spec, classes=())
    g, d = Generator(config, spec), Discriminator(config, spec)
    objective = objectives.named(config.objective)
    return Gan(g, d, objective, config.z_dim, conditional=bool(spec.classes))


_TRAINING = TrainConfig(
    batch=32,
    length="5 minutes",
    lr=Schedule(start=2e-3, shape="cosine", end=1e-4, warmup=0.05, warmup_from=2e-4),
    betas=(0.0, 0.99),
    order="together",
    g_fakes="same",
    penalty="r1+r2",
    penalty_every=8,
    augment="adaptive",
    precision="fastest",
    average="1M images",
    log="200 steps",
    sheet="20k images",
    first_sheet="2k images",
    sheet_rows=10,
    sheet_columns=10,
)

RECIPES = {
    "digits": Recipe(
        summary="the default: a conditional GAN made for speed, legible digits within a minute",
        model=Config(),
        train=_TRAINING,
        native=MNIST,
        # A minute or two is too short for small steps at the end, and for the recall of a larger
        # gamma. Blocks are slower and pay in an hour (docs/log.md).
        presets={
            1: {"train.lr.end": 5e-4, "train.gamma_factor": 0.25},
            4: {},
            25: {},
            60: {
                "model.blocks": 1,
                "train.lr.start": 4e-4,
                "train.lr.end": 4e-5,
                "train.lr.warmup_from": 4e-5,
            },
        },
    ),
    "images": Recipe(
        summary="pictures of any size, grey or colour, with labels or without",
        model=Config(z_dim=64, blocks=1),
        train=replace(
            _TRAINING,
            length="60 minutes",
            first_sheet="250 images",
            sheet_rows=6,
            sheet_columns=6,
            lr=Schedule(start=5e-4, shape="cosine", end=5e-5, warmup=0.05, warmup_from=5e-5),
        ),
        native=ImageSpec(height=64, width=64, channels=3),
    ),
    "stacked-mnist": Recipe(
        summary="three digits as red, green and blue, without labels: to count the 1,000 modes",
        model=Config(z_dim=64, width=32, labels=False),
        train=replace(_TRAINING, length="60 minutes"),
        native=ImageSpec(height=28, width=28, channels=3),
    ),
    "tiny": Recipe(
        summary="a few channels, to try things out in a second",
        model=Config(z_dim=8, width=4, embedding=4),
        train=replace(
            _TRAINING,
            precision="32",
            batch=8,
            gamma=2.4,
            length="128 images",
            penalty_every=2,
            log="2 steps",
            sheet="48 images",
            first_sheet=None,
            sheet_rows=2,
        ),
        native=replace(MNIST, height=8, width=8),
    ),
}
