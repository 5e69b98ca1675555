"""A GAN for pictures, whose discriminator sees them through a network trained on photographs.

`projected/images`  pictures of any size, with labels or without

D judges the features of a frozen network (EfficientNet-Lite0, `ganvas.layers.efficientnet`) at four
scales and, beside them, the pixels (Projected GAN: Sauer et al. 2021, arXiv 2111.01007). Such
features need no training, so pictures have the shapes and colours of their kind after some ten
thousand images. The losses are relativistic. The penalty keeps D's slope small with respect to the
features, not to the pixels, so that no second backward pass goes through the frozen network. G has
residual blocks whose BatchNorms are scaled and shifted by the latent. Its small maps get noise, as
in StyleGAN (Karras et al. 2019, arXiv 1812.04948): without it all textures lie on one lattice.
Noise is a part of the latent, so that a latent determines its image.

Transparent pixels have no colour: D sees RGBA pictures on a grey ground, and their alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    conv_transpose2d,
    interpolate,
    leaky_relu,
    pad,
)

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.layers.efficientnet import TAP_CHANNELS, efficientnet_input, frozen
from ganvas.recipe import MNIST, ImageSpec, Positive, Recipe, Schedule, TrainConfig

START_SIDE = 4  # images are halved while their shorter side is longer than this
SEEN_SIDE = 96  # smaller images are enlarged to this side for the frozen network
SLOPE = 0.2  # of LeakyReLU for negative inputs
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the size of signals through it
RESIDUAL_GAIN = 0.3 * GAIN  # of the last convolution in a residual block
# standard deviation of the frozen network's maps over pictures of eight kinds, by stride
TAP_SCALES = (9.0, 8.5, 7.0, 3.0)
# A class's embedding is used times this, and not in G's first layer. With 1 the classes make up the
# variance that BatchNorm normalises, and all images of a class become one (docs/log.md).
CLASS_WEIGHT = 0.3
NOISE_SIZE = 0.3  # standard deviation of a channel's factor of the noise, initially
NOISE_PLACES = 32 * 32  # places of the largest maps with noise
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

PIXEL_WEIGHT = 4.0  # pixels are seen times this, for a penalty of a sixteenth of the features'


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks.

    z_dim: values of a latent that the whole image depends on. Noise adds its own.
    width: channels of a layer of the image's own size. They double with each halving of the image,
        up to `widest`.
    embedding: values of a class's embedding in G.
    heads: channels of D's layers on each of the frozen network's maps.
    labels: False to train without labels where the images have some.
    """

    z_dim: Positive = 64
    width: Positive = 16
    widest: Positive = 256
    embedding: Positive = 32
    heads: Positive = 64
    labels: bool = True

    def channels(self, level: int) -> int:
        """Channels of a layer after `level` halvings."""
        return min(self.width << level, self.widest)


def levels(spec: ImageSpec) -> int:
    """The number of times that images are halved."""
    return max(1, math.ceil(math.log2(min(spec.height, spec.width) / START_SIDE)))


class Modulation(nn.Module):
    """BatchNorm, then a scale and a shift of each channel that depend on the latent (de Vries et
    al. 2017, arXiv 1707.00683)."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Linear(latent, 2 * channels)
        nn.init.normal_(self.affine.weight, 0, 0.3 / math.sqrt(latent))
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        scale, shift = self.affine(latent)[:, :, None, None].chunk(2, 1)
        x = self.norm(x)
        return leaky_relu(x * (1 + scale) + shift, SLOPE)


class Upsample(nn.Module):
    """Each pixel becomes 2x2, then a convolution of kernel 3: computed as one transposed
    convolution, whose kernel of 4 sums the weights that meet the same pixel. It takes less than
    half of the products, and unlike a free kernel of 4 it leaves no checkerboard by itself."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(before, after, 3, 3))
        nn.init.normal_(self.weight, 0, GAIN / math.sqrt(9 * before))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        wide = pad(w, (0, 1, 0, 1)) + pad(w, (1, 0, 0, 1)) + pad(w, (0, 1, 1, 0))
        return conv_transpose2d(x, wide + pad(w, (1, 0, 1, 0)), None, 2, 1)


class Block(nn.Module):
    """x + f(x), f being two convolutions, each after a modulation or BatchNorm."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.modulation = Modulation(channels, latent)
        self.first = _initialised(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), GAIN)
        self.norm = nn.BatchNorm2d(channels)
        second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.second = _initialised(second, RESIDUAL_GAIN)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        inner = self.first(self.modulation(x, latent))
        inner = self.second(leaky_relu(self.norm(inner), SLOPE))
        summed: Tensor = x + inner
        return summed


class Generator(nn.Module):
    """A pyramid: each level's picture is added to the enlarged one of the level below (Karras et
    al. 2020, arXiv 1912.04958, figure 7).

    latent: values of a latent: z_dim, and one for each place of each map with noise.
    """

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.sides, top = (spec.height, spec.width), levels(spec)
        self.start = tuple(-(-side // 2**top) for side in self.sides)
        maps = [tuple(side << level for side in self.start) for level in range(top + 1)]
        self.noise_maps = [sides for sides in maps if math.prod(sides) <= NOISE_PLACES]
        self.parts = [config.z_dim, *map(math.prod, self.noise_maps)]
        self.latent = sum(self.parts)
        latent = config.z_dim
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), config.embedding)
            latent += config.embedding
        widths = [config.channels(level) for level in range(top, -1, -1)]
        inputs = math.prod(self.start) * widths[0]
        self.first = _initialised(nn.Linear(config.z_dim, inputs, bias=False), 1.0)
        self.ups = nn.ModuleList(map(Upsample, widths[:-1], widths[1:]))
        self.noises = nn.ParameterList(
            NOISE_SIZE * torch.randn(width, 1, 1)
            for width, _ in zip(widths, self.noise_maps, strict=False)
        )
        # Blocks at the two largest sizes would take most of the time.
        self.blocks = nn.ModuleList(Block(width, latent) for width in widths[:-2])
        self.modulations = nn.ModuleList(Modulation(width, latent) for width in widths)
        pictures = [nn.Conv2d(width, spec.channels, 1) for width in widths[:-1]]
        pictures.append(nn.Conv2d(widths[-1], spec.channels, 3, 1, 1))
        self.pictures = nn.ModuleList(_initialised(conv, 0.1) for conv in pictures)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (N, latent), labels int64 (N,) if conditional -> images (N, C, H, W) in [-1, 1]."""
        z, *noise = z.split(self.parts, 1)
        # Channels last in memory.
        x = self.first(z).view(z.shape[0], *self.start, -1).permute(0, 3, 1, 2)
        if labels is not None:
            z = torch.cat([z, self.embedding(labels) * CLASS_WEIGHT], 1)
        picture: Tensor | None = None
        for level, modulation in enumerate(self.modulations):
            if level > 0:
                x = self.ups[level - 1](x)
            if level < len(noise):
                added = noise[level].reshape(-1, 1, *self.noise_maps[level]) * self.noises[level]
                x = x + added.to(x.dtype)
            if level < len(self.blocks):
                x = self.blocks[level](x, z)
            x = modulation(x, z)
            added = self.pictures[level](x)
            if picture is not None:
                added = added + interpolate(picture, scale_factor=2, mode="bilinear")
            picture = added
        assert picture is not None
        height, width = self.sides
        return picture[:, :, :height, :width].tanh()


class Head(nn.Module):
    """One of the frozen network's maps -> features (N, width)."""

    def __init__(self, channels: int, stride: int, sides: tuple[int, int], width: int) -> None:
        super().__init__()
        small = min(sides) // stride <= START_SIDE
        convs = [
            nn.Conv2d(channels, width, 1),
            nn.Conv2d(width, width, 3, 1 if small else 2, 1),
            nn.Conv2d(width, width, 3, 1 if small else 2, 1),
            nn.Conv2d(width, width, 1),
        ]
        self.convs = nn.ModuleList(_initialised(conv, GAIN) for conv in convs)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = leaky_relu(conv(x), SLOPE)
        return x.mean((2, 3))


class PixelHead(nn.Module):
    """Images -> features (N, width), by convolutions of kernel 4 that halve them, to each of which
    the images at its size are added."""

    def __init__(self, config: Config, spec: ImageSpec, width: int) -> None:
        super().__init__()
        top = levels(spec)
        sides = [-(-side // 2**top) for side in (spec.height, spec.width)]
        self.padding = (0, sides[1] * 2**top - spec.width, 0, sides[0] * 2**top - spec.height)
        widths = [config.channels(level) // 2 for level in range(1, top + 1)]
        before = [spec.channels, *widths[:-1]]
        halves = (nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(before, widths, strict=True))
        self.halves = nn.ModuleList(_initialised(conv, GAIN) for conv in halves)
        again = (nn.Conv2d(spec.channels, b, 3, 1, 1) for b in widths[:-1])
        self.again = nn.ModuleList(_initialised(conv, 1.0) for conv in again)
        last = nn.Linear(widths[-1] * math.prod(sides), width)
        self.last = _initialised(last, GAIN)

    def forward(self, images: Tensor) -> Tensor:
        if any(self.padding):
            images = pad(images, self.padding)
        x = self.halves[0](images)
        for halve, again in zip(self.halves[1:], self.again, strict=True):
            images = avg_pool2d(images, 2)
            x = halve(leaky_relu(x + again(images), SLOPE))
        x = leaky_relu(x, SLOPE).permute(0, 2, 3, 1).flatten(1)
        return leaky_relu(self.last(x), SLOPE)


class Discriminator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        zoom = max(1.0, SEEN_SIDE / min(spec.height, spec.width))
        self.sides = (round(spec.height * zoom), round(spec.width * zoom))
        strides = (4, 8, 16, 32)
        self.heads = nn.ModuleList(
            Head(channels, stride, self.sides, config.heads)
            for channels, stride in zip(TAP_CHANNELS, strides, strict=True)
        )
        self.pixels = PixelHead(config, spec, config.heads)
        features = config.heads * (len(strides) + 1)
        # Without a bias, which the difference of two logits does not depend on.
        self.logit = nn.Linear(features, 1, bias=False)
        nn.init.normal_(self.logit.weight, 0, config.heads**-0.5)
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), features)
            nn.init.normal_(self.embedding.weight, 0, features**-0.5)

    def see(self, images: Tensor) -> list[Tensor]:
        """Images (N, C, H, W) -> the frozen network's maps of them, and their pixels."""
        shown = images
        if images.shape[1] == 4:
            # 0 is the grey ground
            colours = images[:, :3] * (images[:, 3:] + 1) / 2
            images = torch.cat([colours, images[:, 3:]], 1)
            shown = colours
        elif images.shape[1] == 1:
            shown = images.expand(-1, 3, -1, -1)
        if shown.shape[2:] != self.sides:
            shown = interpolate(shown, self.sides, mode="bilinear", align_corners=False)
        maps = frozen("lite0", images.device)(efficientnet_input((shown + 1) * 127.5))
        scaled = [each / scale for each, scale in zip(maps, TAP_SCALES, strict=True)]
        return [*scaled, images * PIXEL_WEIGHT]

    def judge(self, seen: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Logits (N,) of what `see` returns; labels int64 (N,) if conditional."""
        *maps, pixels = seen
        features = [head(each) for head, each in zip(self.heads, maps, strict=True)]
        x = torch.cat([*features, self.pixels(pixels / PIXEL_WEIGHT)], 1)
        logits: Tensor = self.logit(x).squeeze(1)
        if labels is not None:
            logits = logits + (self.embedding(labels) * x).sum(1)
        return logits

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images (N, C, H, W), labels int64 (N,) if conditional -> logits (N,)."""
        return self.judge(self.see(images), labels)


def _initialised(layer: Layer, gain: float) -> Layer:
    """The layer with weights from N(0, gain^2 / fan_in) (He et al. 2015, arXiv 1502.01852)."""
    nn.init.normal_(layer.weight, 0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks. Raises SettingError for sides under 8 pixels."""
    if min(spec.height, spec.width) < 8:
        raise SettingError(
            f"projected needs sides of 8 pixels and these are {spec.height}x{spec.width}: use"
            " --size 8 or more, or another GAN, such as r3gan/images"
        )
    spec = spec if config.labels else replace(spec, classes=())
    g, d = Generator(config, spec), Discriminator(config, spec)
    return Gan(g, d, objectives.relativistic, g.latent, conditional=bool(spec.classes))


_TRAINING = TrainConfig(
    batch=8,
    length="60 minutes",
    lr=Schedule(start=1e-3, shape="cosine", end=1e-4, warmup=0.05, warmup_from=1e-4),
    d_lr=Schedule(start=5e-4, shape="cosine", end=5e-5, warmup=0.05, warmup_from=5e-5),
    betas=(0.0, 0.99),
    order="together",
    g_fakes="same",
    d_labels="real",
    penalty="r1+r2",
    penalty_every=8,
    gamma=30.0,
    augment=0.5,
    precision="fastest",
    average="20k images",
    log="200 steps",
    sheet="10k images",
    first_sheet="160 images",
    sheet_rows=6,
    sheet_columns=6,
)

RECIPES = {
    "images": Recipe(
        summary="pictures of any size, grey or colour, with labels or without",
        model=Config(),
        train=_TRAINING,
        native=ImageSpec(height=64, width=64, channels=3),
        # A GPU has time to spare within a step: four times the batch, twice the channels.
        gpu={"train.batch": 32, "model.width": 32, "model.widest": 512},
    ),
    "tiny": Recipe(
        summary="a few channels, to try things out in seconds",
        model=Config(z_dim=8, width=4, widest=16, embedding=4, heads=8),
        train=replace(
            _TRAINING,
            precision="32",
            length="128 images",
            penalty_every=2,
            log="2 steps",
            sheet="48 images",
            first_sheet=None,
            sheet_rows=2,
        ),
        native=replace(MNIST, height=16, width=16),
    ),
}
