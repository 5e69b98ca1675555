"""Does a generator return its training images? Asked of distances: to the nearest training image,
and of other real ones.

**Space.** Pixels in [0, 1], large pictures first averaged down to at most 32 a side, and of nine
alignments (none, or one pixel to any side) the nearest, border left out; where training saw images
mirrored, of their mirror images, too. A classifier's features would not do: they are trained to be
alike within a class, so that a copy is hardly nearer than a neighbour. Without the alignments a
copy moved by one pixel is as far, on MNIST, as the next digit. Noise of 30 grey levels is seen
through.

**Ratio.** For each image x: r(x) = distance to training / distance to held-out. More training
images than held-out ones make r smaller by chance, for real images too; so held-out images are
asked the same (each with itself left out), and the ratio reported is median r(generated) / median
r(held-out): 1 for images that know no more of one set than of the other, 0 for copies. Thus sets of
any size are made equal without leaving images out, which might be the ones that are copied.

**Nothing held out.** Then the yardstick is how near training images are to one another: r(x) =
distance to the nearest training image t / distance from t to the nearest other one. Training images
are asked the same, each as if it were not among them. Of MNIST's held-out digits none counts as a
copy then, nor one that is blurred, faint or mixed with another; of copies with noise of 25 grey
levels 80% do.

**Verdict.** An image counts as a copy where r is below half of the median of real images. Of
MNIST's held-out digits 0.2% do, of copies with noise of 30 grey levels 60%, of copies moved by a
pixel all. The generator is a copier where a tenth
or more of its images count as copies beyond what share of the real ones do: fifty times chance on
MNIST, yet found before most images are copies.

**All images.** PROBES generated images, by chance, are asked for their ratio: a few copies among
thousands are hardly among them. So all are compared with all training images for equality, and once
more roughly, small and without alignments; those that seem nearest are then looked at closely, for
the closest pairs. A few copies that are moved by a pixel escape this.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganvas.evaluation.metrics import squared_distances
from ganvas.evaluation.result import Copies
from ganvas.system import seeding

MAX_COMPARED_SIDE = 32  # pixels a side at which distances are taken
COPIES_CHUNK = 2048  # images that are compared with at a time
COPIES_BYTES = 2**26  # of pixels as floats that are averaged down at a time
PROBES = 500  # images of each side that are asked
LIKELY = 64  # generated images that seem nearest by a rough look
ROUGH_SIDE = 16  # pixels a side at which that is taken
COPY = 0.5  # of the real images' median, below which an image counts as a copy
COPIER_SHARE = 0.1  # of images, beyond that of real ones, that makes a copier
RESAMPLES = 200
MIN_RELIABLE = 50  # real images to measure by, below which the check is rough
MIN_MEASURABLE = 4  # the same, below which they tell nothing
PAIRS = 16


class Nearest(NamedTuple):
    """distance: float64 (N,), Euclidean. which: int64 (N,), the index of the nearest. mirrored:
    bool (N,), whether it is the nearest as its mirror image."""

    distance: Tensor
    which: Tensor
    mirrored: Tensor


class Found(NamedTuple):
    """copies: the verdict. fakes, training: indices of the closest pairs, nearest first. mirrored:
    bool, whether the training image's mirror image is meant. notes: on what it rests."""

    copies: Copies
    fakes: Tensor
    training: Tensor
    mirrored: Tensor
    notes: tuple[str, ...]


class _Measured(NamedTuple):
    """r, float64 (N,), of generated images and of real ones; the former's median distance to
    held-out images, where known."""

    found: Tensor
    chance: Tensor
    nearest_held_out: float | None


def check_copies(
    fakes: Tensor, training: Tensor, held_out: Tensor | None, *, flip: bool = False
) -> Found:
    """Whether generated images are copies. All uint8 (N, C, H, W) of one shape; at most PROBES of
    the fakes are asked, and the closest pairs are looked for among all.

    Where nothing is held out, or next to nothing, it is measured by the training images themselves;
    where these are next to
    none, the closest pairs are all that is found. flip: mirror images count too, as of a training
    that saw them.
    """
    asked = torch.randperm(len(fakes), generator=seeding.generator(0, "asked", 0))[:PROBES]
    views = [fakes, fakes.flip(3)] if flip else [fakes]
    looked_at = torch.cat([asked, _likely(views, training, asked)])
    closest = nearest_training(fakes[looked_at], training, flip=flip)
    order = closest.distance.argsort(stable=True)[:PAIRS]
    near = Nearest(*(part[: len(asked)] for part in closest))
    yardstick: Literal["held-out", "training"]
    if held_out is not None and len(held_out) >= MIN_MEASURABLE:
        yardstick, measured = "held-out", _by_held_out(fakes[asked], near, training, held_out, flip)
    else:
        yardstick, measured = "training", _by_training(near, training, flip)
    found, chance, nearest_held_out = measured
    usual = float(chance.median())
    known = 0 < usual < math.inf
    ratio = _finite(float(found.median()) / usual) if known else None
    share, of_real = (
        (float((r < COPY * usual).double().mean()) if known else None) for r in (found, chance)
    )
    copies = Copies(
        verdict=(
            "cannot tell"
            if share is None or of_real is None
            else "copier"
            if share - of_real >= COPIER_SHARE
            else "not a copier"
        ),
        ratio=ratio,
        spread=_spread(found, chance) if known else None,
        share=share,
        share_held_out=of_real,
        nearest_training=float(near.distance.median()),
        nearest_held_out=nearest_held_out,
        n_fake=len(asked),
        n_training=len(training),
        n_held_out=0 if held_out is None else len(held_out),
        space=_space(fakes, flip),
        yardstick=yardstick,
        identical=_identical(views, training),
    )
    notes = _notes(copies, len(fakes), known)
    return Found(copies, looked_at[order], closest.which[order], closest.mirrored[order], notes)


def _likely(views: list[Tensor], training: Tensor, asked: Tensor) -> Tensor:
    """Indices, int64, of the images that seem nearest to training images, but for those that are
    asked anyway.

    views: the images and, where these count, the same mirrored.
    """
    others = _rough(training)
    rows = max(1, COPIES_CHUNK**2 // len(others))
    least = [
        torch.cat([squared_distances(part, others).amin(1) for part in _rough(view).split(rows)])
        for view in views
    ]
    found = torch.stack(least).amin(0)
    found[asked] = torch.inf
    return found.argsort(stable=True)[: min(LIKELY, len(found) - len(asked))]


def _rough(images: Tensor) -> Tensor:
    """Float32 (N, D): small and grey."""
    return reduced(images, ROUGH_SIDE).mean(1).flatten(1)


def _identical(views: list[Tensor], training: Tensor) -> int:
    """How many images, as in one of the views, are training images to the pixel."""
    known = {hash(image.tobytes()) for image in training.numpy()}
    found = torch.tensor(
        [[hash(image.tobytes()) in known for image in view.numpy()] for view in views]
    )
    return int(found.any(0).sum())


def _by_held_out(
    fakes: Tensor, near: Nearest, training: Tensor, held_out: Tensor, flip: bool
) -> _Measured:
    to_held_out = nearest_training(fakes, held_out, flip=flip).distance
    chosen = torch.randperm(len(held_out), generator=seeding.generator(0, "copies", 0))[:PROBES]
    to_training = nearest_training(held_out[chosen], training, flip=flip).distance
    to_others = nearest_training(
        held_out[chosen], held_out, without=chosen[:, None], flip=flip
    ).distance
    found, chance = _quotients(near.distance, to_held_out), _quotients(to_training, to_others)
    return _Measured(found, chance, float(to_held_out.median()))


def _by_training(near: Nearest, training: Tensor, flip: bool) -> _Measured:
    if len(training) < MIN_MEASURABLE:
        nothing = torch.full((1,), math.nan)
        return _Measured(nothing, nothing, None)
    chosen = torch.randperm(len(training), generator=seeding.generator(0, "copies", 0))[:PROBES]
    usual = nearest_training(training[chosen], training, without=chosen[:, None], flip=flip)
    itself, both = near.which[:, None], torch.stack([usual.which, chosen], 1)
    beside = nearest_training(training[near.which], training, without=itself, flip=flip).distance
    usually_beside = nearest_training(
        training[usual.which], training, without=both, flip=flip
    ).distance
    return _Measured(
        _quotients(near.distance, beside), _quotients(usual.distance, usually_beside), None
    )


def _notes(copies: Copies, total: int, known: bool) -> tuple[str, ...]:
    """What the verdict rests on, why there is none, and copies that it does not tell. total:
    generated images."""
    by_held_out, number, notes = copies.yardstick == "held-out", copies.n_held_out, []
    if not by_held_out:
        few = f"only {number}" if number else "nothing"
        notes.append(
            f"{few} held out, so the yardstick is how near training images are to one another"
        )
        number = copies.n_training
    if number < MIN_RELIABLE:
        notes.append(f"only {number} {copies.yardstick} images to measure by, so it is rough")
    if not known and by_held_out:
        notes.append("most held-out images are themselves among the training images")
    elif not known:
        why = (
            f"{number} training images are too few"
            if number < MIN_MEASURABLE
            else "most training images are there more than once"
        )
        notes.append(f"{why}, so nobody can say how near is too near; look at the closest pairs")
    elif copies.ratio is None:
        notes.append("no ratio, as most of the images judged are themselves held-out images")
    if copies.identical:
        notes.append(
            f"training images, to the pixel, among the {total:,} generated ones:"
            f" {copies.identical:,}"
        )
    return tuple(f"copy check: {note}" for note in notes)


def _space(images: Tensor, flip: bool) -> str:
    sides = "x".join(map(str, reduced(images[:1]).shape[2:]))
    return f"pixels at {sides}, nearest of {len(_views(reduced(images[:1]), flip))} alignments" + (
        ", mirrored ones too" if flip else ""
    )


def nearest_training(
    probes: Tensor, others: Tensor, *, without: Tensor | None = None, flip: bool = False
) -> Nearest:
    """For each of `probes` the nearest of `others`, uint8 (N, C, H, W) both. without: indices (N,
    K) of others that are left
    out for each probe, such as itself. flip: or whose mirror image is the nearest."""
    views = [view.flatten(1) for view in _views(reduced(probes), flip)]
    least = torch.full((len(probes),), torch.inf)
    index = torch.zeros(len(probes), dtype=torch.int64)
    for start in range(0, len(others), COPIES_CHUNK):
        chunk = _middle(reduced(others[start : start + COPIES_CHUNK])).flatten(1)
        for view in views:
            squares = squared_distances(view, chunk)
            if without is not None:
                rows, columns = ((without >= start) & (without < start + len(chunk))).nonzero(
                    as_tuple=True
                )
                squares[rows, without[rows, columns] - start] = torch.inf
            closest, place = squares.min(1)
            closer = closest < least
            least[closer], index[closer] = closest[closer], place[closer] + start
    # Once more for the pairs found, exactly: a sum of products in 32 bits puts a copy at 0.003.
    target = _middle(reduced(others[index])).flatten(1).double()
    exact, view = torch.stack([(view.double() - target).norm(dim=1) for view in views]).min(0)
    return Nearest(
        exact, index, view >= len(views) // 2 if flip else torch.zeros_like(index, dtype=torch.bool)
    )


def reduced(images: Tensor, longest: int = MAX_COMPARED_SIDE) -> Tensor:
    """uint8 (N, C, H, W) as float32 in [0, 1], averaged over squares so that no side is longer than
    `longest`."""
    square = -(-max(images.shape[2:]) // longest)
    if square == 1:
        return images.float() / 255
    # large pictures as floats are many times what comes of them
    rows = max(1, COPIES_BYTES // (4 * images[:1].numel()))
    return torch.cat(
        [avg_pool2d(part.float() / 255, square, ceil_mode=True) for part in images.split(rows)]
    )


def _views(images: Tensor, flip: bool) -> list[Tensor]:
    """Each image in all alignments, then its mirror image: that is as far from another as the image
    from the other's."""
    return [*_crops(images), *(_crops(images.flip(3)) if flip else [])]


def _crops(images: Tensor) -> list[Tensor]:
    """Each image without a border of one pixel, in the nine places; as it is where it has no
    middle."""
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
    rng = seeding.generator(0, "copies", 1)
    medians = [
        r[torch.randint(len(r), (RESAMPLES, len(r)), generator=rng)].median(1).values
        for r in (found, chance)
    ]
    return _finite(float((medians[0] / medians[1]).std()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
