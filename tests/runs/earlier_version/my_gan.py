from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ganvas import objectives
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, Recipe, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    z_dim: int = 4


class Generator(nn.Module):
    def __init__(self, z_dim, spec):
        super().__init__()
        self.shape = (spec.channels, spec.height, spec.width)
        self.layer = nn.Linear(z_dim, spec.channels * spec.height * spec.width)
        self.drop = nn.Dropout(0.5)

    def forward(self, z):
        return torch.tanh(self.layer(self.drop(z))).view(-1, *self.shape)


class Discriminator(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.channels * spec.height * spec.width, 1)
        )

    def forward(self, x):
        return self.layers(x).squeeze(1)


def build(config: Config, spec: ImageSpec) -> Gan:
    return Gan(Generator(config.z_dim, spec), Discriminator(spec), objectives.minimax, config.z_dim)


RECIPES = {
    "one": Recipe(
        model=Config(),
        train=TrainConfig(batch=8, length="64 images", lr=1e-3, log="1 steps", sheet="32 images"),
        native=ImageSpec(height=8, width=8, channels=1),
        summary="mine",
    ),
    "two": Recipe(
        model=Config(z_dim=2),
        train=TrainConfig(batch=8, length="64 images", lr=1e-3),
        native=ImageSpec(height=8, width=8, channels=1),
    ),
}
