"""Objectives: pairs of losses as pure functions of logits (N,), usable with any network.

Each returns one value a sample. D's loss is its real term plus its fake term.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu, softplus

from ganvas.gan import Objective


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


minimax = Objective(
    d_loss=_minimax_d, g_loss=_minimax_g, score=Tensor.sigmoid,
    d_slopes=lambda real, fake: (real.sigmoid().sub_(1), fake.sigmoid()), g_slope=lambda fake: fake.sigmoid().sub_(1),
)  # fmt: skip
"""Binary cross-entropy on logits, with G's loss in its non-saturating form -log D(G(z)) (Goodfellow et al. 2014, section 3).

softplus(-l) is BCE(sigmoid(l), 1) and softplus(l) is BCE(sigmoid(l), 0), without the logarithm of a rounded 0."""

least_squares = Objective(
    d_loss=_least_squares_d, g_loss=_least_squares_g, score=lambda logits: logits,
    d_slopes=lambda real, fake: (real - 1, fake), g_slope=lambda fake: 2 * (fake - 1),
)  # fmt: skip
"""Squared error to 1 for real and 0 for fake (Mao et al. 2017, equation 9: a = 0, b = c = 1). D's loss has the factor
1/2 of that equation, G's does not: so are the losses of the conditional source system."""

hinge = Objective(d_loss=_hinge_d, g_loss=_hinge_g, score=lambda logits: logits, boundary=0.0)
"""Hinge loss (Lim and Ye 2017, arXiv 1705.02894; Miyato et al. 2018): D is pushed no further than to 1 and -1."""
