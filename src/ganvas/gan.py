"""The runtime contract between a GAN's file and everything else.

A GAN's file holds `Config` (a frozen dataclass), `build(config, spec) -> Gan` and `RECIPES`, a dict of `Recipe`s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Objective:
    """What the two networks minimise: elementwise functions of logits, of any shape.

    d_loss: (real, fake) -> one value a sample, the real and the fake term added.
    g_loss: (real, fake) -> one value a sample; real is None unless `paired`.
    score: what to show of a logit: D's probability of "real" where there is one, else the logit itself.
    boundary: the score above which D calls an image real.
    paired: G's loss also needs the logits of real images (relativistic objectives).
    exchange: (real, fake) -> g_loss's derivative by fake over d_loss's, where it is finite everywhere: by it one pass
    backward through D serves both networks.
    d_slopes, g_slope: the derivatives, by (real, fake) and by fake, where they are written out; else autograd finds them.
    """

    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor | None, Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    boundary: float = 0.5
    paired: bool = False
    exchange: Callable[[Tensor, Tensor], Tensor] | None = None
    d_slopes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    g_slope: Callable[[Tensor], Tensor] | None = None

    @property
    def chance(self) -> float:
        """D's loss where it cannot tell, both logits at the boundary; 0 for losses without such a scale (Wasserstein)."""
        logit = torch.zeros(())
        if float(self.score(logit)) != self.boundary:
            logit = torch.tensor(self.boundary)
        return float(self.d_loss(logit, logit))

    def d_gradient(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the sum of d_loss by real and fake logits."""
        if self.d_slopes is not None:
            return self.d_slopes(real, fake)
        with torch.enable_grad():
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
            by_real, by_fake = torch.autograd.grad(self.d_loss(real, fake).sum(), (real, fake))
        return by_real, by_fake

    def g_gradient(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Gradient of the sum of g_loss by the fakes' logits."""
        if self.g_slope is not None:
            return self.g_slope(fake)
        with torch.enable_grad():
            fake = fake.detach().requires_grad_()
            return torch.autograd.grad(self.g_loss(real, fake).sum(), fake)[0]


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
