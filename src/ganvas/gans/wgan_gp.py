"""WGAN-GP: D, here a critic, estimates a distance between real and generated images, and G makes it
smaller.

`wgan-gp/digits`  conditional, for grey digits and other small images

The difference of the critic's means is that distance as long as the critic's slope stays near 1,
which a penalty between real and fake images sees to (Gulrajani et al. 2017, arXiv 1704.00028, with
weight 10 and Adam's betas). That paper takes five steps of the critic for one of G; here the
critic's learning rate is three times G's instead, as Heusel et al. (2017, arXiv 1706.08500, section
4) found to serve WGAN-GP better. Labels, where there are any, go to G beside the latents and are
compared with the critic's features (projection: Miyato and Koyama 2018, arXiv 1802.05637, equation
3). The critic's loss falls below zero and its absolute value, the distance, falls as images get
better. The critic's fakes are of the classes of the real images beside them, so that a point
between two is judged as of one class. The penalty needs a second backward pass in every step, so
this is the slowest of the small recipes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ganvas import objectives
from ganvas.data.catalogue import DIGIT_NAMES
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, NonNegative, Positive, Recipe, Schedule, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """width: channels at half the image's size; at a quarter there are twice as many. embedding: a
    class's size in G."""

    z_dim: Positive = 64
    width: Positive = 32
    embedding: Positive = 32
    slope: NonNegative = 0.2


class Generator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.sides, w = (spec.height, spec.width), config.width
        self.start = (-(-spec.height // 4), -(-spec.width // 4))
        fan_in = config.z_dim
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), config.embedding)
            fan_in += config.embedding
        self.first = nn.Linear(fan_in, 2 * w * self.start[0] * self.start[1], bias=False)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.Conv2d(w, 4 * spec.channels, 3, 1, 1),
            nn.PixelShuffle(2),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (N, z_dim), labels int64 (N,) where there are classes -> images (N, C, H, W) in [-1,
        1]."""
        if labels is not None:
            z = torch.cat([z, self.embedding(labels)], 1)
        # channels last in memory
        x = self.first(z).view(len(z), *self.start, -1).permute(0, 3, 1, 2)
        images: Tensor = self.layers(x)[:, :, : self.sides[0], : self.sides[1]]
        return images


class Critic(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        w, (height, width) = config.width, (-(-spec.height // 4), -(-spec.width // 4))
        self.padding = (0, 4 * width - spec.width, 0, 4 * height - spec.height)
        # no BatchNorm: the penalty is on the slope at each image by itself
        self.features = nn.Sequential(
            nn.Conv2d(spec.channels, w, 4, 2, 1),
            nn.LeakyReLU(config.slope),
            nn.Conv2d(w, 2 * w, 4, 2, 1),
            nn.LeakyReLU(config.slope),
            nn.Flatten(),
            nn.Linear(2 * w * height * width, 4 * w),
            nn.LeakyReLU(config.slope),
        )
        self.logit = nn.Linear(4 * w, 1)
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), 4 * w)
            nn.init.normal_(self.embedding.weight, 0, (4 * w) ** -0.5)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images (N, C, H, W), labels int64 (N,) where there are classes -> logits (N,)."""
        features = self.features(pad(images, self.padding) if any(self.padding) else images)
        logits: Tensor = self.logit(features).squeeze(1)
        if labels is not None:
            logits = logits + (self.embedding(labels) * features).sum(1)
        return logits


def build(config: Config, spec: ImageSpec) -> Gan:
    """Both networks for images of `spec`. Raises SettingError for sides under 4 pixels."""
    if min(spec.height, spec.width) < 4:
        raise SettingError(
            f"wgan-gp halves images twice and these are {spec.height}x{spec.width}: use --size 4 or"
            " more"
        )
    generator, critic = Generator(config, spec), Critic(config, spec)
    return Gan(
        generator, critic, objectives.wasserstein, config.z_dim, conditional=bool(spec.classes)
    )


RECIPES = {
    "digits": Recipe(
        summary="WGAN with gradient penalty: slow and steady, its loss tells the distance",
        model=Config(),
        train=TrainConfig(
            batch=64,
            length="50 epochs",
            lr=Schedule(start=5e-4, end=5e-5, shape="linear"),
            d_lr=Schedule(start=1.5e-3, end=1.5e-4, shape="linear"),
            betas=(0.0, 0.9),
            penalty="gradient",
            average="10k images",
            log="50 steps",
            sheet="20k images",
            sheet_rows=10,
            sheet_columns=10,
        ),
        native=ImageSpec(height=28, width=28, channels=1, classes=DIGIT_NAMES),
    ),
    "tiny": Recipe(
        summary="a few channels, to try things out in a second",
        model=Config(z_dim=8, width=4, embedding=4),
        train=TrainConfig(
            batch=8,
            length="128 images",
            lr=1e-3,
            d_lr=3e-3,
            betas=(0.0, 0.9),
            penalty="gradient",
            average="64 images",
            log="2 steps",
            sheet="48 images",
            sheet_rows=2,
            sheet_columns=10,
        ),
        native=ImageSpec(height=8, width=8, channels=1, classes=DIGIT_NAMES),
    ),
}
