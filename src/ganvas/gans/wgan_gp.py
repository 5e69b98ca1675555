"""WGAN-GP: D, here a critic, estimates a distance between real and generated images, which G makes
smaller.

`wgan-gp/digits`  conditional, for grey digits and other small images

The difference of the critic's means is that distance as long as its slope stays near 1, which a
penalty between real and fake images sees to (Gulrajani et al. 2017, arXiv 1704.00028, with weight
10 and Adam's betas). The critic's loss is negative, and its absolute value, the distance, falls as
images get better. Where the paper takes five steps of the critic for one of G, here the critic's
learning rate is three times G's: Heusel et al. (2017, arXiv 1706.08500, section 4) found that to
serve WGAN-GP better. Labels go to G beside the latents and are compared with the critic's features
(projection: Miyato and Koyama 2018, arXiv 1802.05637, equation 3). The critic's fakes have the
labels of the real images beside them, so that a point between two is judged as of one class. The
penalty needs a second backward pass in every step: this is the slowest of the small recipes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.recipe import MNIST, ImageSpec, NonNegative, Positive, Recipe, Schedule, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks.

    z_dim: values of a latent.
    width: channels at half the image's size; twice as many at a quarter.
    embedding: values of a class's embedding in G.
    slope: of LeakyReLU for negative inputs.
    """

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
        """z (N, z_dim), labels int64 (N,) if conditional -> images (N, C, H, W) in [-1, 1]."""
        if labels is not None:
            z = torch.cat([z, self.embedding(labels)], 1)
        # Channels last in memory.
        x = self.first(z).view(z.shape[0], *self.start, -1).permute(0, 3, 1, 2)
        images: Tensor = self.layers(x)[:, :, : self.sides[0], : self.sides[1]]
        return images


class Critic(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        w, (height, width) = config.width, (-(-spec.height // 4), -(-spec.width // 4))
        self.padding = (0, 4 * width - spec.width, 0, 4 * height - spec.height)
        # No BatchNorm: the penalty is on the slope at each image by itself.
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
        """images (N, C, H, W), labels int64 (N,) if conditional -> logits (N,)."""
        features = self.features(pad(images, self.padding) if any(self.padding) else images)
        logits: Tensor = self.logit(features).squeeze(1)
        if labels is not None:
            logits = logits + (self.embedding(labels) * features).sum(1)
        return logits


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks. Raises SettingError for sides under 4 pixels."""
    if min(spec.height, spec.width) < 4:
        raise SettingError(
            f"wgan-gp halves images twice and these are {spec.height}x{spec.width}: use --size 4 or"
            " more"
        )
    g, critic, conditional = Generator(config, spec), Critic(config, spec), bool(spec.classes)
    return Gan(g, critic, objectives.wasserstein, config.z_dim, conditional)


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
        native=MNIST,
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
        native=replace(MNIST, height=8, width=8),
    ),
}
