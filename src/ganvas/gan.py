"""The runtime contract between a GAN's file and everything else.

A GAN's file holds `Config` (a frozen dataclass), `build(config, spec) -> Gan` and `RECIPES`, a dict of `Recipe`s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from ganvas.objectives import Objective


class Logits(NamedTuple):
    """What D said in one step: of real images and fakes in its own step, and of fakes (and real images, where the
    objective is paired) in G's. Float, (N,) each."""

    real: Tensor
    fake: Tensor
    g_fake: Tensor
    g_real: Tensor | None


@dataclass
class Gan:
    """Two networks and their objective.

    generator: z float32 (N, z_dim), N(0, 1) [, labels int64 (N,)] -> images (N, C, H, W) in [-1, 1].
    discriminator: images [, labels] -> logits (N,), no sigmoid.
    conditional: both networks take labels.
    joint: D may judge real and fake images in one pass; False where its BatchNorm would mix the two.
    """

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    z_dim: int
    conditional: bool = False
    joint: bool = True

    def make(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, z_dim) and, for a conditional GAN, labels (N,)."""
        images: Tensor = self.generator(z, labels) if self.conditional else self.generator(z)
        return images

    def judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N,) of images (N, C, H, W)."""
        logits: Tensor = self.discriminator(images, labels) if self.conditional else self.discriminator(images)
        return logits
