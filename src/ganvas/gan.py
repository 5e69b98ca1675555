"""The runtime contract between a GAN's file and everything else.

A GAN's file holds `Config` (a frozen dataclass), `build(config, spec) -> Gan` and `RECIPES`, a dict of `Recipe`s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Objective:
    """What the two networks minimise, of logits (N,), one value a sample.

    d_loss: (real, fake) -> (N,), the real and the fake term added.
    g_loss: (real, fake) -> (N,); real is None unless `paired`.
    score: what to show of a logit: D's probability of "real" where there is one, else the logit itself.
    boundary: the score above which D calls an image real.
    paired: G's loss also needs the logits of real images (relativistic objectives).
    """

    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor | None, Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    boundary: float = 0.5
    paired: bool = False


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
