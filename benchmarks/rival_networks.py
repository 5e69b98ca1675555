"""Networks of FastGAN and Projected GAN for 64x64 pictures in colour, and DiffAugment.

Written from the papers in plain PyTorch: FastGAN is Liu et al. 2021 (arXiv 2101.04775), Projected
GAN is Sauer et al. 2021 (arXiv 2111.01007), DiffAugment is Zhao et al. 2020 (arXiv 2006.10738).
rivals.py lists what differs from the papers.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.nn.utils.parametrizations import spectral_norm

from ganvas.layers.efficientnet import TAP_CHANNELS, efficientnet_input, load_efficientnet

SIDE = 64  # height and width of an image, in pixels
FAST_Z_DIM = 256
MAX_CRITIC_WIDTH = 512


def conv(before: int, after: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Module:
    """A convolution without bias whose weight has a spectral norm of 1."""
    layer: nn.Module = spectral_norm(nn.Conv2d(before, after, kernel, stride, padding, bias=False))
    return layer


def up(before: int, after: int) -> nn.Sequential:
    """(N, before, H, W) -> (N, after, 2 H, 2 W)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        conv(before, 2 * after, 3, 1, 1),
        nn.BatchNorm2d(2 * after),
        nn.GLU(1),
    )


class Excitation(nn.Module):
    """Skip-layer excitation: a small map's features scale the channels of a large map."""

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.gates = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            conv(small, large, 4),
            nn.LeakyReLU(0.1),
            conv(large, large, 1),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        gated: Tensor = large * self.gates(small)
        return gated


class FastGenerator(nn.Module):
    """FastGAN's generator: 4 -> 8 -> 16 -> 32 -> 64 pixels, with skip-layer excitation 4 -> 64.

    width: channels at 64 pixels; each smaller map has twice as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * factor for factor in (16, 8, 4, 2, 1)]
        self.first = nn.Sequential(
            spectral_norm(nn.ConvTranspose2d(FAST_Z_DIM, 2 * widths[0], 4, bias=False)),
            nn.BatchNorm2d(2 * widths[0]),
            nn.GLU(1),
        )
        self.ups = nn.Sequential(*itertools.starmap(up, itertools.pairwise(widths)))
        self.excitation = Excitation(widths[0], widths[-1])
        self.last = nn.Sequential(conv(width, 3, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """z (N, FAST_Z_DIM) -> images (N, 3, 64, 64) in [-1, 1]."""
        small = self.first(z.view(len(z), -1, 1, 1))
        images: Tensor = self.last(self.excitation(small, self.ups(small)))
        return images


class Down(nn.Module):
    """(N, before, H, W) -> (N, after, H / 2, W / 2): the mean of a deep and a shallow branch."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            conv(before, after, 4, 2, 1),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
            conv(after, after, 3, 1, 1),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        )
        self.shallow = nn.Sequential(
            nn.AvgPool2d(2),
            conv(before, after, 1),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = (self.deep(x) + self.shallow(x)) / 2
        return mean


class Encoded(NamedTuple):
    """Maps of FastGAN's discriminator that its decoders read.

    middle: (N, 4 w, 16, 16); deep: (N, 8 w, 8, 8); reduced: (N, 4 w, 8, 8), of the reduced image.
    """

    middle: Tensor
    deep: Tensor
    reduced: Tensor


class FastDiscriminator(nn.Module):
    """FastGAN's discriminator: judges an image and its reduction to 32x32, and rebuilds real ones.

    width: a quarter of the channels at 16 pixels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv(3, 2 * w, 4, 2, 1), nn.LeakyReLU(0.2))
        self.middle, self.deep = Down(2 * w, 4 * w), Down(4 * w, 8 * w)
        self.excitation = Excitation(2 * w, 8 * w)
        self.head = logit_map(8 * w)
        self.reduced = nn.Sequential(conv(3, 2 * w, 4, 2, 1), nn.LeakyReLU(0.2), Down(2 * w, 4 * w))
        self.reduced_head = logit_map(4 * w)
        self.decoders = nn.ModuleList(map(decoder, (8 * w, 4 * w, 4 * w)))

    def forward(self, images: Tensor) -> tuple[Tensor, Encoded]:
        """images (N, 3, 64, 64) -> logits (N, 50), 5x5 of each resolution, and maps."""
        large = self.stem(images)
        middle = self.middle(large)
        deep = self.excitation(large, self.deep(middle))
        reduced = self.reduced(half(images))
        logits = torch.cat([self.head(deep).flatten(1), self.reduced_head(reduced).flatten(1)], 1)
        return logits, Encoded(middle, deep, reduced)

    def rebuilding_loss(self, images: Tensor, encoded: Encoded) -> Tensor:
        """Distance between images and what the decoders rebuild of them at 32x32.

        Two decoders rebuild the whole images, the third a random quarter of their area.
        """
        row, column = torch.randint(9, (2,)).tolist()
        window = encoded.middle[:, :, row : row + 8, column : column + 8]
        row, column = 4 * row, 4 * column
        part = images[:, :, row : row + SIDE // 2, column : column + SIDE // 2]
        whole, by_part = self.decoders[0](encoded.deep), self.decoders[1](window)
        targets = half(images), part, half(images)
        rebuilt = whole, by_part, self.decoders[2](encoded.reduced)
        return torch.stack([distance(*pair) for pair in zip(rebuilt, targets, strict=True)]).sum()


def logit_map(channels: int) -> nn.Sequential:
    """(N, channels, 8, 8) -> logits (N, 1, 5, 5)."""
    return nn.Sequential(
        conv(channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2),
        conv(channels, 1, 4),
    )


def decoder(channels: int) -> nn.Sequential:
    """(N, channels, 8, 8) -> images (N, 3, 32, 32) in [-1, 1]."""
    return nn.Sequential(
        up(channels, channels // 2),
        up(channels // 2, channels // 4),
        conv(channels // 4, 3, 3, 1, 1),
        nn.Tanh(),
    )


def half(images: Tensor) -> Tensor:
    return avg_pool2d(images, 2)


def distance(rebuilt: Tensor, images: Tensor) -> Tensor:
    """Mean absolute plus mean squared difference.

    images: augmented, so that they may leave the range of what is rebuilt.
    """
    difference = rebuilt - images.clamp(-1, 1)
    return difference.abs().mean() + difference.square().mean()


class Pyramid(nn.Module):
    """Projected GAN's frozen features: EfficientNet-Lite0's four maps, mixed by random weights.

    Channels are mixed within each map (CCM), then from the deepest up: add, enlarge, mix (CSM).

    pixels: side of the network's input, to which images are enlarged; a multiple of 32.
    """

    widths = (64, 64, 128, 256)  # channels of the four results, fine to coarse

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels
        self.network = load_efficientnet("lite0")
        mixed = (64, 128, 256, 512)
        self.channel_mixers = nn.ModuleList(map(mixer, TAP_CHANNELS, mixed))
        self.scale_mixers = nn.ModuleList(map(mixer, mixed, self.widths))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images (N, 3, H, W) in [-1, 1] -> maps of 1/2, 1/4, 1/8 and 1/16 of `pixels`."""
        if images.shape[-1] != self.pixels:
            images = interpolate(images, size=self.pixels, mode="bilinear", align_corners=False)
        taps = self.network(efficientnet_input(127.5 * images + 127.5))
        maps: list[Tensor] = []
        for tap, in_channels, across in zip(
            reversed(taps), reversed(self.channel_mixers), reversed(self.scale_mixers), strict=True
        ):
            x = in_channels(tap)
            if maps:
                x = x + maps[0]
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            maps.insert(0, across(x))
        return maps


def mixer(before: int, after: int) -> nn.Conv2d:
    """A random 1x1 convolution."""
    layer = nn.Conv2d(before, after, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return layer


class Critics(nn.Module):
    """Projected GAN's four discriminators, each of a map of the Pyramid.

    pixels: the Pyramid's.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(
            critic(channels, pixels // 2 ** (level + 1))
            for level, channels in enumerate(Pyramid.widths)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The Pyramid's maps -> logits (N, 64), 4x4 of each discriminator."""
        return torch.cat(
            [critic(x).flatten(1) for critic, x in zip(self.each, maps, strict=True)], 1
        )


def critic(channels: int, side: int) -> nn.Sequential:
    """(N, channels, side, side) -> logits (N, 1, 4, 4), by at least two convolutions."""
    layers: list[nn.Module] = []
    for stride in [2] * int(math.log2(side // 4)) or [1]:
        after = min(2 * channels, MAX_CRITIC_WIDTH)
        layers += [conv(channels, after, 2 + stride, stride, 1), nn.BatchNorm2d(after)]
        layers.append(nn.LeakyReLU(0.2))
        channels = after
    return nn.Sequential(*layers, conv(channels, 1, 3, 1, 1))


def diffaugment(images: Tensor) -> Tensor:
    """Change colours, translate by up to an eighth, cut out half of each side, image by image.

    images: (N, 3, H, W) in [-1, 1]; the result may leave this range. Differentiable.
    """
    count, _, height, width = images.shape
    brightness, saturation, contrast = torch.rand(3, count, 1, 1, 1)
    x = images + (brightness - 0.5)
    x = x.lerp(x.mean(1, keepdim=True).expand_as(x), 1 - 2 * saturation)
    x = x.lerp(x.mean((1, 2, 3), keepdim=True).expand_as(x), 0.5 - contrast)
    down, right = torch.randint(-(height // 8), height // 8 + 1, (2, count, 1))
    rows, columns = torch.arange(height) - down, torch.arange(width) - right
    inside = ((rows >= 0) & (rows < height)).unsqueeze(2)
    inside = inside & ((columns >= 0) & (columns < width)).unsqueeze(1)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    number, columns = torch.arange(count).view(-1, 1, 1), columns.unsqueeze(1)
    x = x.permute(0, 2, 3, 1)[number, rows.unsqueeze(2), columns].permute(0, 3, 1, 2)
    top, left = torch.randint(height + 1, (count, 1)), torch.randint(width + 1, (count, 1))
    covered = within(torch.arange(height) - top, height).unsqueeze(2)
    covered = covered & within(torch.arange(width) - left, width).unsqueeze(1)
    augmented: Tensor = x * (inside & ~covered).unsqueeze(1)
    return augmented


def within(offset: Tensor, side: int) -> Tensor:
    """True where an offset from a box's middle lies within the box of half a side."""
    inside: Tensor = (offset >= -(side // 4)) & (offset < side // 4)
    return inside
