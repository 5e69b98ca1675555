"""Objectives: pairs of losses as elementwise functions of logits; and penalties on D's slope.

They work with any networks. Losses are one value a sample; D's is its real term plus its fake term.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Objective:
    """The losses of both networks: elementwise functions of logits, of any shape.

    d_loss: (real, fake) -> D's loss, the real and the fake term added.
    g_loss: (real, fake) -> G's loss; real is None unless `paired`.
    score: maps logits to what is shown: D's probability of "real" if it has one, else the logit.
    boundary: the score above which D takes an image for real.
    paired: True if G's loss needs the logits of real images, too (relativistic objectives).
    g_over_d_grad: (real, fake) -> the derivative of g_loss with respect to fake, divided by that of
        d_loss; None unless it is finite everywhere. With it, one backward pass through D serves
        both networks.
    d_slopes: (real, fake) -> derivatives of d_loss with respect to both; None to leave them to
        autograd.
    g_slope: fake -> derivative of g_loss with respect to fake; None to leave it to autograd.
    """

    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor | None, Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    boundary: float = 0.5
    paired: bool = False
    g_over_d_grad: Callable[[Tensor, Tensor], Tensor] | None = None
    d_slopes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    g_slope: Callable[[Tensor], Tensor] | None = None

    @property
    def chance(self) -> float:
        """D's loss at the boundary, where it cannot tell real from fake; 0 for losses without a
        scale (Wasserstein)."""
        logit = torch.zeros(())
        if float(self.score(logit)) != self.boundary:
            logit = torch.tensor(self.boundary)
        return float(self.d_loss(logit, logit))

    def d_gradient(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of d_loss, summed over samples, with respect to real and fake logits."""
        if self.d_slopes is not None:
            return self.d_slopes(real, fake)
        with torch.enable_grad():
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
            by_real, by_fake = torch.autograd.grad(self.d_loss(real, fake).sum(), (real, fake))
        return by_real, by_fake

    def g_gradient(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """The gradient of g_loss, summed over samples, with respect to the fakes' logits."""
        if self.g_slope is not None:
            return self.g_slope(fake)
        with torch.enable_grad():
            fake = fake.detach().requires_grad_()
            return torch.autograd.grad(self.g_loss(real, fake).sum(), fake)[0]


Name = Literal["minimax", "least_squares", "hinge", "wasserstein", "relativistic"]


# The logarithm of the largest g_over_d_grad: its product with D's gradient neither overflows nor
# vanishes.
MAX_LOG_RATIO = 80.0

minimax = Objective(
    d_loss=lambda real, fake: softplus(-real) + softplus(fake),
    g_loss=lambda real, fake: softplus(-fake),
    score=Tensor.sigmoid,
    g_over_d_grad=lambda real, fake: (-fake).clamp(max=MAX_LOG_RATIO).exp().neg(),
    d_slopes=lambda real, fake: (real.sigmoid().sub_(1), fake.sigmoid()),
    g_slope=lambda fake: fake.sigmoid().sub_(1),
)
"""Binary cross-entropy on logits; G's loss is non-saturating, -log D(G(z)) (Goodfellow et al. 2014,
section 3).

softplus(-l) is BCE(sigmoid(l), 1) and softplus(l) is BCE(sigmoid(l), 0), without the logarithm of a
rounded 0."""

least_squares = Objective(
    d_loss=lambda real, fake: 0.5 * (fake.square() + (1 - real).square()),
    g_loss=lambda real, fake: (1 - fake).square(),
    score=lambda logits: logits,
    d_slopes=lambda real, fake: (real - 1, fake),
    g_slope=lambda fake: 2 * (fake - 1),
)
"""Squared error to 1 for real and 0 for fake (Mao et al. 2017, equation 9: a = 0, b = c = 1). D's
loss has the factor 1/2 of that equation, G's does not, as in the tutorial of `cgan/digits`."""

hinge = Objective(
    d_loss=lambda real, fake: relu(1 - real) + relu(1 + fake),
    g_loss=lambda real, fake: -fake,
    score=lambda logits: logits,
    boundary=0.0,
)
"""Hinge loss (Lim and Ye 2017, arXiv 1705.02894; Miyato et al. 2018): D is pushed no further than
to 1 and -1."""

wasserstein = Objective(
    d_loss=lambda real, fake: fake - real,
    g_loss=lambda real, fake: -fake,
    score=lambda logits: logits,
    boundary=0.0,
    g_over_d_grad=lambda real, fake: -torch.ones_like(fake),
)
"""The difference of D's means (Arjovsky et al. 2017, arXiv 1701.07875): a distance only while D's
slope is bounded, by `gradient_penalty` or otherwise."""


def _relativistic_g(real: Tensor | None, fake: Tensor) -> Tensor:
    assert real is not None
    return softplus(real - fake)


relativistic = Objective(
    d_loss=lambda real, fake: softplus(fake - real),
    g_loss=_relativistic_g,
    score=lambda logits: logits,
    boundary=0.0,
    paired=True,
    g_over_d_grad=lambda real, fake: (real - fake).clamp(max=MAX_LOG_RATIO).exp().neg(),
)
"""Each fake is set against a real image (RpGAN: Jolicoeur-Martineau 2018, arXiv 1807.00734; with R1
and R2 the objective of R3GAN: Huang et al. 2024, arXiv 2501.05441, equation 2). D's loss is
-log sigmoid(D(x) - D(G(z))), G's the same with x and G(z) exchanged."""


def named(name: Name) -> Objective:
    """The objective of that name."""
    objective: Objective = globals()[name]
    return objective


def squared_gradient_norm(judge: Callable[..., Tensor], *points: Tensor) -> Tensor:
    """The squared norm of D's gradient with respect to what it judges, (N,), differentiable in D's
    weights.

    R1 at real images and R2 at fakes are its batch mean, weighted by gamma / 2 (Mescheder et al.
    2018, arXiv 1801.04406, equation 9).

    judge: points -> logits (N,), each from its own rows alone (no BatchNorm in D).
    points: images (N, C, H, W), or several tensors of N rows each.
    """
    points = tuple(point.detach().requires_grad_() for point in points)
    slopes = torch.autograd.grad(judge(*points).sum(), points, create_graph=True)
    return torch.stack([slope.square().flatten(1).sum(1) for slope in slopes]).sum(0)


def gradient_penalty(
    judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
) -> Tensor:
    """(norm of D's gradient - 1)^2 at points between real and fake images, (N,), differentiable in
    D's weights (Gulrajani et al. 2017, arXiv 1704.00028, equation 3, where its weight is 10).

    judge: images (N, C, H, W) -> logits (N,), each from its image alone (no BatchNorm in D).
    real, fake: images (N, C, H, W).
    mix: (N,), drawn uniformly from [0, 1]: the share of the real image.
    """
    between = torch.lerp(fake, real, mix.view(-1, *[1] * (real.ndim - 1)))
    # 1e-12: the square root's own slope at 0 is infinite.
    return (squared_gradient_norm(judge, between).add(1e-12).sqrt() - 1).square()
