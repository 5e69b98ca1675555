"""Metrics: pure functions of two feature matrices (N, D), first real then generated images.

Sums are in float64 and distances are computed in blocks, so memory stays bounded for any number of
samples. Values compare only for one extractor and equal numbers of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ganvas.errors import MetricError

DRAWS = 32  # simulations of a perfect sampler
SUBSET = 1000  # samples of each set in each of KID's subsets
DISTANCE_BLOCK = 2**23  # distances in memory at once: 64 MB in float64


def frechet(real: Tensor, fake: Tensor) -> float:
    """Squared Frechet distance of two Gaussians with the samples' means and covariances.

    Heusel et al. 2017 (arXiv 1706.08500, equation 6): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).
    Raises MetricError if features are not finite or a covariance is singular (N <= D).
    """
    real, fake = _checked(real, fake)
    for name, features in (("real", real), ("generated", fake)):
        n, width = features.shape
        if n <= width:
            raise MetricError(
                f"{n} {name} images for {width} features: the covariance is singular, so the"
                f" Frechet distance is undefined; give more than {width} images"
            )
    c1, c2 = (torch.atleast_2d(torch.cov(features.T)) for features in (real, fake))
    # tr (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of the symmetric matrix
    # C1^(1/2) C2 C1^(1/2)
    values, vectors = torch.linalg.eigh(c1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    distance = (real.mean(0) - fake.mean(0)).square().sum() + c1.trace() + c2.trace() - 2 * overlap
    return max(0.0, float(distance))


class Spread(NamedTuple):
    """Mean and standard deviation."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: list[Tensor]) -> Spread:
        """Mean and standard deviation of scalars."""
        spread = torch.stack(values)
        return cls(float(spread.mean()), float(spread.std(correction=0)))


def kid(
    real: Tensor, fake: Tensor, *, subsets: int = 100, size: int = SUBSET, seed: int = 0
) -> Spread:
    """Kernel inception distance: unbiased squared MMD under (x.y / D + 1)^3 (arXiv 1801.01401).

    Binkowski et al. 2018. Mean and spread over random subsets of both sets. The closer `size` comes
    to a whole set, the more alike the subsets are and the less the spread says.

    subsets: number of subsets.
    size: samples of each set in a subset; at most those of the smaller set.
    seed: of the choice of subsets.
    """
    real, fake = (each / each.shape[1] ** 0.5 for each in _checked(real, fake))
    size = min(size, len(real), len(fake))
    rng = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x = real[torch.randperm(len(real), generator=rng)[:size]]
        y = fake[torch.randperm(len(fake), generator=rng)[:size]]
        diagonal = sum(((each.square().sum(1) + 1) ** 3).sum() for each in (x, y))
        within = (_kernel_sum(x, x) + _kernel_sum(y, y) - diagonal) / (size * (size - 1))
        values.append(within - 2 * _kernel_sum(x, y) / size**2)
    return Spread.of(values)


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of (x.y + 1)^3 over all pairs of rows."""
    total = a.new_zeros(())
    for rows in a.split(_block_rows(b)):
        kernel = torch.addmm(a.new_ones(()), rows, b.T).view(-1)
        total += torch.dot(kernel * kernel, kernel)  # a third faster than a power
    return total


class Coverage(NamedTuple):
    """Fidelity and diversity by k-nearest-neighbour balls, one around each sample.

    precision: share of the generated samples within a real ball.
    recall: share of the real samples within a generated ball.
        Both: Kynkaanniemi et al. 2019 (arXiv 1904.06991).
    density: mean number of real balls around a generated sample, over k.
    coverage: share of the real balls with a generated sample inside.
        Both: Naeem et al. 2020 (arXiv 2002.09797).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> Coverage:
    """Compute precision, recall, density and coverage.

    Raises MetricError if a set has no more than k samples.
    """
    real, fake = _checked(real, fake)
    for name, features in (("real", real), ("generated", fake)):
        if len(features) <= k:
            need = f"precision and recall with k = {k} need at least {k + 1}"
            raise MetricError(f"{len(features)} {name} images: {need}")
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    caught = torch.zeros(len(fake), dtype=torch.int64)  # real balls around each generated sample
    nearest, covered = [], []
    parts = real_radii.split(_block_rows(fake))
    for rows, radii in zip(_distances(real, fake), parts, strict=True):
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
    """Inception score (Salimans et al. 2016, arXiv 1606.03498).

    exp of the mean KL divergence of each image's class probabilities from their mean; mean and
    spread over `splits` parts of the samples.

    probabilities: (N, classes), rows sum to 1.
    """
    p = probabilities.double()
    scores = [
        (torch.xlogy(part, part) - torch.xlogy(part, part.mean(0))).sum(1).mean().exp()
        for part in p.tensor_split(min(splits, len(p)))
    ]
    return Spread.of(scores)


def histogram_kl(labels: Tensor, expected: Tensor) -> float:
    """KL divergence, in nats, of the labels' histogram from the expected proportions.

    0 if each class has its share; infinite if a class occurs whose share is 0.

    labels: int64 (N,).
    expected: (classes,), of any sum.
    """
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(expected):
        raise MetricError(f"expected at least one label, all from 0 to {len(expected) - 1}")
    shares = torch.bincount(labels, minlength=len(expected)).double() / len(labels)
    expected = expected.double() / expected.double().sum()
    return float((torch.xlogy(shares, shares) - torch.xlogy(shares, expected)).sum())


class Modes(NamedTuple):
    """Modes that occur (`hit`), and KL divergence, in nats, of their histogram from a uniform
    one (`reverse_kl`)."""

    hit: int
    reverse_kl: float


def modes(labels: Tensor, count: int) -> Modes:
    """Count which of `count` equally frequent modes occur (Lin et al. 2018, arXiv 1712.04086).

    Values depend on N: compare with `perfect_modes`.

    labels: int64 (N,), the mode of each sample.
    """
    return Modes(len(labels.unique()), histogram_kl(labels, torch.ones(count)))


def perfect_modes(samples: int, count: int) -> tuple[float, float]:
    """Simulate `modes` for uniformly drawn samples: the mean of DRAWS draws.

    For 1,000 modes the divergence is 0.019 at 26,000 samples and 0.051 at 10,000, about
    (count - 1) / (2 samples).
    """
    rng = torch.Generator().manual_seed(0)
    draws = [modes(torch.randint(count, (samples,), generator=rng), count) for _ in range(DRAWS)]
    return sum(each.hit for each in draws) / DRAWS, sum(each.reverse_kl for each in draws) / DRAWS


def _checked(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    for name, features in (("real", real), ("generated", fake)):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] == 0:
            shape = tuple(features.shape)
            raise MetricError(f"{name} features have the shape {shape}: expected (N >= 2, D >= 1)")
        if not features.isfinite().all():
            raise MetricError(f"features of the {name} images are not finite: check the extractor")
    if (d := real.shape[1]) != (other := fake.shape[1]):
        raise MetricError(f"{d} real and {other} generated features: use one extractor for both")
    # one memory layout for cached and fresh features: the last bits of sums depend on it
    return real.double().contiguous(), fake.double().contiguous()


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Euclidean distances from the rows of a to all rows of b, in blocks of rows of a.

    Centred values in float64 keep them exact enough for features.
    """
    centre = b.mean(0)
    a, b = a - centre, b - centre
    for rows in a.split(_block_rows(b)):
        yield squared_distances(rows, b).clamp_(min=0).sqrt_()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances (N, M) between the rows of a (N, D) and of b (M, D).

    Computed as |a|^2 + |b|^2 - 2 a.b, ten times as fast as pair by pair; rounding may make them
    slightly negative.
    """
    return torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1)[:, None])


class Nearest(NamedTuple):
    """Nearest neighbours of N images.

    distance: float64 (N,), Euclidean.
    which: int64 (N,), index of the neighbour.
    mirrored: bool (N,), true where the neighbour's mirror image is meant.
    """

    distance: Tensor
    which: Tensor
    mirrored: Tensor


def nearest_rows(
    views: Sequence[Tensor], blocks: Iterable[Tensor], without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find each sample's nearest row among all blocks: squared distances (N,) and indices (N,).

    views: matrices (N, D) of the same N samples; a sample's nearest view counts.
    blocks: matrices (M, D), consecutive rows of one large matrix.
    without: int64 (N, K), rows that are left out for each sample, such as itself.
    """
    least = views[0].new_full((len(views[0]),), torch.inf)
    index = torch.zeros(len(views[0]), dtype=torch.int64)
    start = 0
    for block in blocks:
        for view in views:
            squares = squared_distances(view, block)
            if without is not None:
                inside = (without >= start) & (without < start + len(block))
                rows, columns = inside.nonzero(as_tuple=True)
                squares[rows, without[rows, columns] - start] = torch.inf
            distance, row = squares.min(1)
            closer = distance < least
            least[closer], index[closer] = distance[closer], row[closer] + start
        start += len(block)
    return least, index


def _block_rows(others: Tensor) -> int:
    return max(1, DISTANCE_BLOCK // len(others))


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance (N,) of each sample to its k-th nearest other sample."""
    # the nearest of k + 1 is the sample itself, at distance 0
    return torch.cat([rows.kthvalue(k + 1, 1).values for rows in _distances(features, features)])
