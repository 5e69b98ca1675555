"""Does a generator return its training images? Asked of distances: to the nearest training image, to the nearest held-out.

**Space.** Pixels in [0, 1], large pictures first averaged down to at most 32 a side, and of nine alignments (none, or one
pixel to any side) the nearest, border left out. A classifier's features would not do: they are trained to be alike within
a class, so that a copy is hardly nearer than a neighbour. Without the alignments a copy moved by one pixel is as far, on
MNIST, as the next digit. Noise of 30 grey levels is seen through.

**Ratio.** For each image x: r(x) = distance to training / distance to held-out. More training images than held-out ones
make r smaller by chance, for real images too; so held-out images are asked the same (each with itself left out), and the
ratio reported is median r(generated) / median r(held-out): 1 for images that know no more of one set than of the other, 0
for copies. Thus sets of any size are made equal without leaving images out, which might be the ones that are copied.

**Verdict.** An image counts as a copy where r is below half of the median r(held-out). Of MNIST's held-out digits 0.2%
do, of copies with noise of 30 grey levels 60%, of copies moved by a pixel all. The generator is a copier where a tenth
or more of its images count as copies beyond what share of the held-out ones do: fifty times chance on MNIST, yet found before
most images are copies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganvas import draws
from ganvas.verdict import Copies

LONGEST = 32  # pixels a side at which distances are taken
CHUNK = 2048  # images that are compared with at a time
PROBES = 500  # images of each side that are asked
COPY = 0.5  # of the held-out images' median, below which an image counts as a copy
SHARE = 0.1  # of images, beyond that of held-out ones, that makes a copier
RESAMPLES = 200
FEW = 50  # held-out images, below which the check is rough
PAIRS = 16


class Nearest(NamedTuple):
    """distance: float64 (N,), Euclidean. which: int64 (N,), the index of the nearest."""

    distance: Tensor
    which: Tensor


class Found(NamedTuple):
    """copies: the verdict. fakes, training: indices of the closest pairs, nearest first. notes: on what it rests."""

    copies: Copies
    fakes: Tensor
    training: Tensor
    notes: tuple[str, ...]


def check(fakes: Tensor, training: Tensor, held_out: Tensor | None) -> Found:
    """Whether generated images are copies. All uint8 (N, C, H, W) of one shape; at most PROBES of the fakes are asked.

    Without held-out images, three at the least, nothing can be told, but the closest pairs are found.
    """
    asked = torch.randperm(len(fakes), generator=draws.generator(0, "asked", 0))[:PROBES]
    fakes = fakes[asked]
    to_training = nearest(fakes, training)
    order = to_training.distance.argsort(stable=True)[:PAIRS]
    space = (
        f"pixels at {'x'.join(map(str, reduced(fakes[:1]).shape[2:]))}, nearest of {len(_crops(fakes[:1]))} alignments"
    )
    median = float(to_training.distance.median())
    pairs = asked[order], to_training.which[order]
    if held_out is None or len(held_out) < 3:
        copies = Copies(
            verdict="cannot tell", ratio=None, spread=None, share=None, share_held_out=None, nearest_training=median,
            nearest_held_out=None, n_fake=len(fakes), n_training=len(training),
            n_held_out=0 if held_out is None else len(held_out), space=space,
        )  # fmt: skip
        few = "nothing is" if held_out is None else f"only {len(held_out)} are"
        note = f"copy check: {few} held out, so nobody can say how near is too near; look at the closest pairs"
        return Found(copies, *pairs, (note,))
    chosen = torch.randperm(len(held_out), generator=draws.generator(0, "copies", 0))[:PROBES]
    probes = held_out[chosen]
    to_held_out = nearest(fakes, held_out)
    found = _quotients(to_training.distance, to_held_out.distance)
    chance = _quotients(nearest(probes, training).distance, nearest(probes, held_out, own=chosen).distance)
    notes = []
    if len(held_out) < FEW:
        notes.append(f"copy check: only {len(held_out)} held-out images, so it is rough")
    usual = float(chance.median())
    share, share_held_out = (float((r < COPY * usual).double().mean()) for r in (found, chance))
    known = 0 < usual < math.inf
    if not known:
        notes.append("copy check: most held-out images are themselves among the training images")
    ratio = _finite(float(found.median()) / usual) if known else None
    if known and ratio is None:
        notes.append("copy check: no ratio, as most of the images judged are themselves held-out images")
    copies = Copies(
        verdict="cannot tell" if not known else "copier" if share - share_held_out >= SHARE else "not a copier",
        ratio=ratio,
        spread=_spread(found, chance) if known else None,
        share=share, share_held_out=share_held_out, nearest_training=median,
        nearest_held_out=float(to_held_out.distance.median()), n_fake=len(fakes), n_training=len(training),
        n_held_out=len(held_out), space=space,
    )  # fmt: skip
    return Found(copies, *pairs, tuple(notes))


def nearest(probes: Tensor, others: Tensor, *, own: Tensor | None = None) -> Nearest:
    """For each of `probes` the nearest of `others`, uint8 (N, C, H, W) both. own: indices (N,) of the probes themselves
    among the others, which are left out."""
    small = reduced(probes)
    views = [view.flatten(1) for view in _crops(small)]
    squares = [view.square().sum(1)[:, None] for view in views]
    least = torch.full((len(probes),), torch.inf)
    index = torch.zeros(len(probes), dtype=torch.int64)
    for start in range(0, len(others), CHUNK):
        chunk = _middle(reduced(others[start : start + CHUNK])).flatten(1)
        for view, square in zip(views, squares, strict=True):
            distances = torch.addmm(chunk.square().sum(1), view, chunk.T, alpha=-2).add_(square)
            if own is not None:
                rows = ((own >= start) & (own < start + len(chunk))).nonzero().flatten()
                distances[rows, own[rows] - start] = torch.inf
            closest, place = distances.min(1)
            closer = closest < least
            least[closer], index[closer] = closest[closer], place[closer] + start
    # Once more for the pairs found, exactly: a sum of products in 32 bits puts a copy at 0.003.
    target = _middle(reduced(others[index])).flatten(1).double()
    exact = torch.stack([(view.double() - target).norm(dim=1) for view in views]).min(0).values
    return Nearest(exact, index)


def reduced(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) as float32 in [0, 1], averaged over squares so that no side is longer than LONGEST."""
    square = -(-max(images.shape[2:]) // LONGEST)
    values = images.float() / 255
    return avg_pool2d(values, square, ceil_mode=True) if square > 1 else values


def _crops(images: Tensor) -> list[Tensor]:
    """Each image without a border of one pixel, in the nine places; as it is where it has no middle."""
    height, width = (side - 2 for side in images.shape[2:])
    if min(height, width) < 1:
        return [images]
    return [images[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]


def _middle(images: Tensor) -> Tensor:
    crops = _crops(images)
    return crops[len(crops) // 2]


def _quotients(to_training: Tensor, to_held_out: Tensor) -> Tensor:
    """r of each image: 1 where it is in both sets, infinite where only among the held-out."""
    return torch.where((to_training == 0) & (to_held_out == 0), 1.0, to_training / to_held_out)


def _spread(found: Tensor, chance: Tensor) -> float | None:
    """Standard deviation of the ratio over bootstrap samples of both sides."""
    rng = draws.generator(0, "copies", 1)
    medians = [r[torch.randint(len(r), (RESAMPLES, len(r)), generator=rng)].median(1).values for r in (found, chance)]
    return _finite(float((medians[0] / medians[1]).std()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
