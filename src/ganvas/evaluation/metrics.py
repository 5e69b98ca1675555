"""What tells generated images from real ones: pure functions of two feature matrices, real first,
(N, D) each.

All sums are in float64, all distances in blocks, so that memory stays bounded for any number of
samples. What features
were taken from, and of how many images, decides what a figure means: none compares across
extractors or numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ganvas.errors import MetricError

SUBSET = 1000  # samples of a side in each of KID's subsets
DISTANCE_BLOCK = 2**23  # distances that are in memory at once: 64 MB in float64


def frechet(real: Tensor, fake: Tensor) -> float:
    """Squared Frechet distance of two Gaussians with the samples' means and covariances (Heusel et
    al. 2017, arXiv 1706.08500, equation 6): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    Raises MetricError where it means nothing: not finite, or no more samples than features, so that
    a covariance is singular.
    """
    real, fake = _checked(real, fake)
    for name, features in (("real", real), ("generated", fake)):
        if len(features) <= features.shape[1]:
            raise MetricError(
                f"{len(features)} {name} images for {features.shape[1]} features: their covariance"
                " is singular and the Frechet distance means nothing; give more than"
                f" {features.shape[1]}"
            )
    c1, c2 = (torch.atleast_2d(torch.cov(features.T)) for features in (real, fake))
    # tr (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is
    # symmetric.
    values, vectors = torch.linalg.eigh(c1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    distance = (real.mean(0) - fake.mean(0)).square().sum() + c1.trace() + c2.trace() - 2 * overlap
    return max(0.0, float(distance))


class Spread(NamedTuple):
    """A mean with the standard deviation of what it is the mean of."""

    mean: float
    std: float


def kid(
    real: Tensor, fake: Tensor, *, subsets: int = 100, size: int = SUBSET, seed: int = 0
) -> Spread:
    """Kernel distance (Binkowski et al. 2018, arXiv 1801.01401): the unbiased squared MMD under
    (x.y / D + 1)^3, as mean and spread over random subsets of `size` samples, or as many as there
    are on the smaller side. The closer they come to a whole side, the more alike are subsets, and
    the less does the spread say."""
    real, fake = (side / side.shape[1] ** 0.5 for side in _checked(real, fake))
    size = min(size, len(real), len(fake))
    rng = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x = real[torch.randperm(len(real), generator=rng)[:size]]
        y = fake[torch.randperm(len(fake), generator=rng)[:size]]
        # each sample with itself
        alone = sum(((side.square().sum(1) + 1) ** 3).sum() for side in (x, y))
        within = (_kernel_sum(x, x) + _kernel_sum(y, y) - alone) / (size * (size - 1))
        values.append(float(within - 2 * _kernel_sum(x, y) / size**2))
    spread = torch.tensor(values, dtype=torch.float64)
    return Spread(float(spread.mean()), float(spread.std(correction=0)))


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """The sum of (x.y + 1)^3 over all pairs of rows."""
    total = a.new_zeros(())
    for rows in a.split(_block_rows(b)):
        kernel = torch.addmm(a.new_ones(()), rows, b.T).view(-1)
        total += torch.dot(kernel * kernel, kernel)  # a third faster than a power
    return total


class Coverage(NamedTuple):
    """precision, recall: the part of the generated (real) samples within the real (generated) ones'
    k-nearest-neighbour balls (Kynkaanniemi et al. 2019, arXiv 1904.06991). density, coverage: how
    many real balls hold a generated sample, over k; the part of the real balls that hold any (Naeem
    et al. 2020, arXiv 2002.09797)."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> Coverage:
    """Fidelity and diversity apart. Raises MetricError where a side has no more than k samples."""
    real, fake = _checked(real, fake)
    for name, features in (("real", real), ("generated", fake)):
        if len(features) <= k:
            raise MetricError(
                f"{len(features)} {name} images: precision and recall with k = {k} need {k + 1} or"
                " more"
            )
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    caught = torch.zeros(len(fake), dtype=torch.int64)  # real balls around each generated sample
    nearest, covered = [], []
    for rows, radii in zip(
        _distances(real, fake), real_radii.split(_block_rows(fake)), strict=True
    ):
        caught += (rows < radii[:, None]).sum(0)
        nearest.append(rows.min(1).values)
        covered.append((rows < fake_radii).any(1))
    return Coverage(
        precision=float((caught > 0).double().mean()),
        recall=float(torch.cat(covered).double().mean()),
        density=float(caught.double().mean() / k),
        coverage=float((torch.cat(nearest) < real_radii).double().mean()),
    )


def inception_score(probabilities: Tensor, splits: int = 10) -> Spread:
    """exp of the mean divergence of each image's class probabilities from their mean (Salimans et
    al. 2016, arXiv 1606.03498), over `splits` parts of the samples. probabilities: (N, classes),
    rows that sum to 1."""
    p = probabilities.double()
    scores = []
    for part in p.tensor_split(min(splits, len(p))):
        divergence = (torch.xlogy(part, part) - torch.xlogy(part, part.mean(0))).sum(1)
        scores.append(divergence.mean().exp())
    spread = torch.stack(scores)
    return Spread(float(spread.mean()), float(spread.std(correction=0)))


def histogram_kl(labels: Tensor, expected: Tensor) -> float:
    """KL divergence of the labels' histogram from the expected probabilities (classes,), in nats: 0
    when each class has its share, infinite where a class appears that should not."""
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(expected):
        raise MetricError(f"labels must be some, from 0 to {len(expected) - 1}")
    found = torch.bincount(labels, minlength=len(expected)).double() / len(labels)
    expected = expected.double() / expected.double().sum()
    return float((torch.xlogy(found, found) - torch.xlogy(found, expected)).sum())


class Modes(NamedTuple):
    """hit: how many modes occur at all. reverse_kl: KL divergence of the samples' histogram from an
    even one, in nats."""

    hit: int
    reverse_kl: float


def modes(labels: Tensor, count: int) -> Modes:
    """Of `count` equally frequent modes, how many the samples show, and how evenly (Lin et al.
    2018, arXiv 1712.04086).

    labels: int64 (N,), the mode of each sample. A figure for one N: see `perfect_modes`. Raises
    MetricError.
    """
    reverse_kl = histogram_kl(labels, torch.ones(count))
    return Modes(len(labels.unique()), reverse_kl)


def perfect_modes(
    samples: int, count: int, *, times: int = 32, seed: int = 0
) -> tuple[float, float]:
    """What `modes` gives on average for so many samples that are truly even: the mean of a
    simulation.

    For 1,000 modes the divergence is 0.019 at 26,000 samples and 0.051 at 10,000 (about (count - 1)
    / (2 samples)).
    """
    rng = torch.Generator().manual_seed(seed)
    found = [modes(torch.randint(count, (samples,), generator=rng), count) for _ in range(times)]
    return sum(each.hit for each in found) / times, sum(each.reverse_kl for each in found) / times


def _checked(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    for name, features in (("real", real), ("generated", fake)):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] == 0:
            shape = tuple(features.shape)
            raise MetricError(
                f"{name} features have the shape {shape}: expected (N, D), N 2 or more, D 1 or more"
            )
        if not bool(features.isfinite().all()):
            raise MetricError(
                f"features of the {name} images are not finite: look at the images they were taken"
                " from"
            )
    if real.shape[1] != fake.shape[1]:
        raise MetricError(
            f"{real.shape[1]} real and {fake.shape[1]} generated features: both sides need one"
            " extractor"
        )
    # In one memory layout, since sums may differ in their last bits by it: of features that were
    # kept, and of fresh ones.
    return real.double().contiguous(), fake.double().contiguous()


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Euclidean distances of rows of a to all of b, in blocks. Of centred values in float64, which
    is exact enough for features."""
    centre = b.mean(0)
    a, b = a - centre, b - centre
    for rows in a.split(_block_rows(b)):
        yield squared_distances(rows, b).clamp_(min=0).sqrt_()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances of rows of a (N, D) to rows of b (M, D): (N, M), but for what
    rounding does to |a|^2 + |b|^2
    - 2 a.b, below zero, too. Through one product of matrices, ten times as fast as one pair after
    another."""
    return torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1)[:, None])


def _block_rows(others: Tensor) -> int:
    return max(1, DISTANCE_BLOCK // len(others))


def _radii(features: Tensor, k: int) -> Tensor:
    """Each sample's distance to its k-th nearest other one, (N,)."""
    # Of k + 1 nearest, one is the sample itself, at a distance of 0.
    return torch.cat([rows.kthvalue(k + 1, 1).values for rows in _distances(features, features)])
