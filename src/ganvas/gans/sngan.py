"""A small convolutional conditional GAN, steady and cheap: spectral normalisation, hinge loss,
projection.

`sngan/digits`  legible digits within minutes on two cores

Spectral normalisation bounds D's slope without a gradient penalty, so without a second backward
pass (Miyato et al. 2018, arXiv 1802.05957). D compares its features with the class's embedding
(projection: Miyato and Koyama 2018, arXiv 1802.05637, equation 3). D learns faster than G (two time
scales: Heusel et al. 2017, arXiv 1706.08500). Samples come from the moving average of G's weights.
Images may have any size from 4 pixels up; labels are used if they have some.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.recipe import MNIST, ImageSpec, NonNegative, Positive, Recipe, Schedule, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks.

    objective: the losses.
    z_dim: values of a latent.
    width: channels next to the image; four times as many after two halvings.
    embedding: values of a class's embedding in G.
    slope: of LeakyReLU for negative inputs.
    """

    objective: objectives.Name = "hinge"
    z_dim: Positive = 64
    width: Positive = 16
    embedding: Positive = 32
    slope: NonNegative = 0.2


class Generator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        # (H, W) halved twice, once and not at all, rounded up: the size after each layer.
        self.sizes = [(-(-spec.height // 2**k), -(-spec.width // 2**k)) for k in (2, 1, 0)]
        fan_in = config.z_dim
        if spec.classes:
            self.embedding = nn.Embedding(len(spec.classes), config.embedding)
            fan_in += config.embedding
        w, (height, width) = config.width, self.sizes[0]
        self.first = nn.Linear(fan_in, 4 * w * height * width, bias=False)
        self.norms = nn.ModuleList([_norm(4 * w), _norm(2 * w), _norm(w)])
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * after, after, 4, 2, 1, bias=False) for after in (2 * w, w)
        )
        self.last = nn.Conv2d(w, spec.channels, 3, 1, 1)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (N, z_dim), labels int64 (N,) if conditional -> images (N, C, H, W) in [-1, 1]."""
        if labels is not None:
            z = torch.cat([z, self.embedding(labels)], 1)
        x = self.norms[0](self.first(z).view(z.shape[0], -1, *self.sizes[0]))
        for up, norm, (height, width) in zip(self.ups, self.norms[1:], self.sizes[1:], strict=True):
            x = norm(up(x)[:, :, :height, :width])
        images: Tensor = self.last(x).tanh()
        return images


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


class Discriminator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        w = config.width
        features = 4 * w * -(-spec.height // 4) * -(-spec.width // 4)
        self.features = nn.Sequential(
            spectral_norm(nn.Conv2d(spec.channels, w, 3, 1, 1)),
            nn.LeakyReLU(config.slope),
            spectral_norm(nn.Conv2d(w, 2 * w, 3, 2, 1)),
            nn.LeakyReLU(config.slope),
            spectral_norm(nn.Conv2d(2 * w, 4 * w, 3, 2, 1)),
            nn.LeakyReLU(config.slope),
            nn.Flatten(),
            spectral_norm(nn.Linear(features, 8 * w)),
            nn.LeakyReLU(config.slope),
        )
        self.logit = spectral_norm(nn.Linear(8 * w, 1))
        if spec.classes:
            self.embedding = spectral_norm(nn.Embedding(len(spec.classes), 8 * w))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images (N, C, H, W), labels int64 (N,) if conditional -> logits (N,)."""
        features = self.features(images)
        logits: Tensor = self.logit(features).squeeze(1)
        if labels is not None:
            logits = logits + (self.embedding(labels) * features).sum(1)
        return logits


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks. Raises SettingError for sides under 4 pixels."""
    if min(spec.height, spec.width) < 4:
        raise SettingError(
            f"sngan halves images twice and these are {spec.height}x{spec.width}: use --size 4 or"
            " more"
        )
    g, d = Generator(config, spec), Discriminator(config, spec)
    objective = objectives.named(config.objective)
    return Gan(g, d, objective, config.z_dim, conditional=bool(spec.classes))


RECIPES = {
    "digits": Recipe(
        summary="small convolutional conditional GAN: legible digits within minutes",
        model=Config(),
        train=TrainConfig(
            batch=64,
            length="100 epochs",
            lr=Schedule(start=5e-4, end=5e-5, shape="linear"),
            d_lr=Schedule(start=1e-3, end=1e-4, shape="linear"),
            betas=(0.0, 0.99),
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
            d_lr=2e-3,
            betas=(0.0, 0.99),
            average="64 images",
            log="2 steps",
            sheet="48 images",
            sheet_rows=2,
            sheet_columns=10,
        ),
        native=replace(MNIST, height=8, width=8),
    ),
}
