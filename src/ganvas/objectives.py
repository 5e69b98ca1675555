"""Objectives: pairs of losses as elementwise functions of logits, and penalties on D's slope;
usable with any network.

Each returns one value a sample. D's loss is its real term plus its fake term.
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
    """What the two networks minimise: elementwise functions of logits, of any shape.

    d_loss: (real, fake) -> one value a sample, the real and the fake term added.
    g_loss: (real, fake) -> one value a sample; real is None unless `paired`.
    score: what to show of a logit: D's probability of "real" where there is one, else the logit
    itself.
    boundary: the score above which D calls an image real.
    paired: G's loss also needs the logits of real images (relativistic objectives).
    g_over_d_grad: (real, fake) -> g_loss's derivative by fake over d_loss's, where it is finite
    everywhere: by it one pass backward through D serves both networks.
    d_slopes, g_slope: the derivatives, by (real, fake) and by fake, where they are written out;
    else autograd finds them.
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
        """D's loss where it cannot tell, both logits at the boundary; 0 for losses without such a
        scale (Wasserstein)."""
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


Name = Literal["minimax", "least_squares", "hinge", "wasserstein", "relativistic"]


def _minimax_d(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(-real) + softplus(fake)


def _minimax_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return softplus(-fake)


def _least_squares_d(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (fake.square() + (1 - real).square())


def _least_squares_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return (1 - fake).square()


def _hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    return relu(1 - real) + relu(1 + fake)


def _hinge_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return -fake


def _wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    return fake - real


def _wasserstein_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return -fake


def _relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    return softplus(fake - real)


def _relativistic_g(real: Tensor | None, fake: Tensor) -> Tensor:
    assert real is not None
    return softplus(real - fake)


# the logarithm of the largest g_over_d_grad: its product with D's gradient neither overflows nor
# vanishes
MAX_LOG_RATIO = 80.0

minimax = Objective(
    d_loss=_minimax_d,
    g_loss=_minimax_g,
    score=Tensor.sigmoid,
    g_over_d_grad=lambda real, fake: (-fake).clamp(max=MAX_LOG_RATIO).exp().neg(),
    d_slopes=lambda real, fake: (real.sigmoid().sub_(1), fake.sigmoid()),
    g_slope=lambda fake: fake.sigmoid().sub_(1),
)
"""Binary cross-entropy on logits, with G's loss in its non-saturating form -log D(G(z)) (Goodfellow et al. 2014, section 3).

softplus(-l) is BCE(sigmoid(l), 1) and softplus(l) is BCE(sigmoid(l), 0), without the logarithm of a rounded 0."""

least_squares = Objective(
    d_loss=_least_squares_d,
    g_loss=_least_squares_g,
    score=lambda logits: logits,
    d_slopes=lambda real, fake: (real - 1, fake),
    g_slope=lambda fake: 2 * (fake - 1),
)
"""Squared error to 1 for real and 0 for fake (Mao et al. 2017, equation 9: a = 0, b = c = 1). D's loss has the factor
1/2 of that equation, G's does not: so are the losses of the conditional source system."""

hinge = Objective(d_loss=_hinge_d, g_loss=_hinge_g, score=lambda logits: logits, boundary=0.0)
"""Hinge loss (Lim and Ye 2017, arXiv 1705.02894; Miyato et al. 2018): D is pushed no further than to 1 and -1."""

wasserstein = Objective(
    d_loss=_wasserstein_d,
    g_loss=_wasserstein_g,
    score=lambda logits: logits,
    boundary=0.0,
    g_over_d_grad=lambda real, fake: -torch.ones_like(fake),
)
"""The difference of D's means (Arjovsky et al. 2017, arXiv 1701.07875): a distance only while D's slope is bounded, by
`gradient_penalty` or otherwise."""

relativistic = Objective(
    d_loss=_relativistic_d,
    g_loss=_relativistic_g,
    score=lambda logits: logits,
    boundary=0.0,
    paired=True,
    g_over_d_grad=lambda real, fake: (real - fake).clamp(max=MAX_LOG_RATIO).exp().neg(),
)
"""Each fake is set against a real image (Jolicoeur-Martineau 2018, arXiv 1807.00734, RpGAN; with R1 and R2 the objective of
R3GAN, Huang et al. 2024, arXiv 2501.05441, equation 2). D's loss is -log sigmoid(D(x) - D(G(z))), G's the mirror image."""


def named(name: Name) -> Objective:
    """The objective of that name."""
    return {
        "minimax": minimax,
        "least_squares": least_squares,
        "hinge": hinge,
        "wasserstein": wasserstein,
        "relativistic": relativistic,
    }[name]


def squared_gradient_norm(judge: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """|gradient of D by the image|^2, summed over C, H and W: (N,), differentiable by D's weights.

    R1 at real images, R2 at fakes (Mescheder et al. 2018, arXiv 1801.04406, equation 9), where the
    penalty is gamma / 2 times the batch's mean. judge: images (N, C, H, W) -> logits (N,), each of
    its own image alone: D without BatchNorm.
    """
    images = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(judge(images).sum(), images, create_graph=True)
    return slope.square().flatten(1).sum(1)


def gradient_penalty(
    judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
) -> Tensor:
    """(|gradient of D| - 1)^2 at images between real and fake ones: (N,), differentiable by D's
    weights (Gulrajani et al. 2017, arXiv 1704.00028, equation 3, where the weight is 10).

    mix: (N,) in [0, 1], uniformly drawn: the part of the real image.
    """
    between = torch.lerp(fake, real, mix.view(-1, *[1] * (real.ndim - 1)))
    return (
        squared_gradient_norm(judge, between).add(1e-12).sqrt() - 1
    ).square()  # 1e-12: the root's own slope at 0 is infinite
