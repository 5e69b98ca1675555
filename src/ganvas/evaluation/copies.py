"""The copy check: does a generator return its training images?

**Distance.** Pixels in [0, 1], large pictures first averaged down to at most 32 a side, at the best
of nine alignments (none, or one pixel in any direction), without the border; mirrored ones too, if
training saw images mirrored. Classifier features would not do: within a class they are trained to
be alike, so a copy is hardly nearer than a neighbour. Without the alignments, a copy shifted by one
pixel is as far away, on MNIST, as the next digit. Noise of 30 grey levels hides no copy.

**Ratio.** For each image x: r(x) = distance to training / distance to held-out. The more training
images, the smaller r, for real images too; so r is also taken of held-out images (each left out of
its own search), and the reported ratio is median r(generated) / median r(held-out): 1 for images
that know no more of one set than of the other, 0 for copies. This corrects for sets of different
sizes without dropping images, which might be the copied ones.

**Nothing held out.** The yardstick is then how near training images are to one another: r(x) =
distance to the nearest training image t / distance from t to its nearest neighbour. It is also
taken of training images, each left out of its own search. On MNIST it counts no held-out digit as
a copy, also none that is blurred, faint or mixed with another, and 80% of the copies with noise of
25 grey levels.

**Verdict.** An image counts as a copy if r is below half of the median of real images: on MNIST
0.2% of the held-out digits, 60% of the copies with noise of 30 grey levels, all copies shifted by a
pixel. A generator is a copier if the share of its images that count as copies exceeds that of real
images by a tenth or more: fifty times what chance gives on MNIST, yet before most images are
copies.

**All images.** Only PROBES random generated images get a ratio, and would mostly miss a few copies
among thousands. So all are compared with all training images for equality, and once more at low
resolution without alignments; those that seem nearest are then measured, for the closest pairs.
A few copies shifted by a pixel can escape this.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganvas.evaluation.metrics import nearest_rows, squared_distances
from ganvas.evaluation.result import Copies
from ganvas.sampling import sheets
from ganvas.system import seeding
from ganvas.system.text import count

MAX_COMPARED_SIDE = 32  # pixels a side at which distances are taken
COPIES_CHUNK = 2048  # images compared with at a time
COPIES_BYTES = 2**26  # of float pixels averaged down at a time
PROBES = 500  # images of each set that get a ratio
MAX_LIKELY = 64  # generated images that seem nearest at low resolution
ROUGH_SIDE = 16  # pixels a side at low resolution
COPY = 0.5  # an image counts as a copy below this share of the real images' median ratio
COPIER_SHARE = 0.1  # excess share of copies that makes a copier
RESAMPLES = 200
MIN_RELIABLE = 50  # real images below which the check is rough
MIN_MEASURABLE = 4  # real images below which it tells nothing
PAIRS = 16


class Nearest(NamedTuple):
    """Nearest neighbours of N images.

    distance: float64 (N,), Euclidean.
    which: int64 (N,), index of the neighbour.
    mirrored: bool (N,), true where the neighbour's mirror image is meant.
    """

    distance: Tensor
    which: Tensor
    mirrored: Tensor


class CopyCheck(NamedTuple):
    """Result of a copy check.

    copies: the verdict and its numbers.
    fakes, training: indices of the closest pairs, nearest first.
    mirrored: bool, true where the training image's mirror image is meant.
    notes: caveats.
    """

    copies: Copies
    fakes: Tensor
    training: Tensor
    mirrored: Tensor
    notes: tuple[str, ...]


class _Ratios(NamedTuple):
    """r, float64 (N,), of generated and of real images; median distance of the former to held-out
    images, if there are any."""

    fake: Tensor
    real: Tensor
    nearest_held_out: float | None


def check_copies(
    fakes: Tensor, training: Tensor, held_out: Tensor | None, *, flip: bool = False
) -> CopyCheck:
    """Check generated images for copies of training images.

    fakes: uint8 (N, C, H, W), all of them are searched for the closest pairs.
    training: uint8 (M, C, H, W).
    held_out: uint8 (K, C, H, W) or None; below MIN_MEASURABLE, training images are the yardstick.
    flip: mirror images count too, as of a training that saw them.
    """
    # Ratios of some images, the closest pairs among all
    probes = torch.randperm(len(fakes), generator=seeding.generator(0, "asked", 0))[:PROBES]
    views = [fakes, fakes.flip(3)] if flip else [fakes]
    candidates = torch.cat([probes, _likely(views, training, probes)])
    closest = nearest_training(fakes[candidates], training, flip=flip)
    order = closest.distance.argsort(stable=True)[:PAIRS]
    near = Nearest(*(part[: len(probes)] for part in closest))
    yardstick: Literal["held-out", "training"]
    if held_out is not None and len(held_out) >= MIN_MEASURABLE:
        yardstick, ratios = "held-out", _by_held_out(fakes[probes], near, training, held_out, flip)
    else:
        yardstick, ratios = "training", _by_training(near, training, flip)

    # Verdict, by the median of real images
    usual = float(ratios.real.median())
    known = 0 < usual < math.inf
    share, real_share = (
        (float((r < COPY * usual).double().mean()) if known else None)
        for r in (ratios.fake, ratios.real)
    )
    copies = Copies(
        verdict=_verdict(share, real_share),
        ratio=_finite(float(ratios.fake.median()) / usual) if known else None,
        spread=_spread(ratios.fake, ratios.real) if known else None,
        share=share,
        share_held_out=real_share,
        nearest_training=float(near.distance.median()),
        nearest_held_out=ratios.nearest_held_out,
        n_fake=len(probes),
        n_training=len(training),
        n_held_out=0 if held_out is None else len(held_out),
        space=_space(fakes, flip),
        yardstick=yardstick,
        identical=_identical(views, training),
    )
    notes = _notes(copies, len(fakes), known)
    return CopyCheck(
        copies, candidates[order], closest.which[order], closest.mirrored[order], notes
    )


def save_closest(path: Path, check: CopyCheck, fakes: Tensor, training: Tensor) -> None:
    """Write the closest pairs as a sheet of pictures. Raises RunError when the disk refuses."""
    originals = training[check.training]
    originals = torch.where(check.mirrored[:, None, None, None], originals.flip(3), originals)
    sheets.save_pairs(
        path,
        fakes[check.fakes].permute(0, 2, 3, 1).numpy(),
        originals.permute(0, 2, 3, 1).numpy(),
        f"closest pairs among {count(len(fakes), 'image')}: left generated, right the nearest"
        " training image",
    )


def _verdict(
    share: float | None, real_share: float | None
) -> Literal["copier", "not a copier", "cannot tell"]:
    if share is None or real_share is None:
        return "cannot tell"
    return "copier" if share - real_share >= COPIER_SHARE else "not a copier"


def _likely(views: list[Tensor], training: Tensor, probes: Tensor) -> Tensor:
    """Indices of the images that seem nearest to training images, without the probes.

    views: the images and, if these count, their mirror images.
    """
    others = _rough(training)
    rows = max(1, COPIES_CHUNK**2 // len(others))
    least = [
        torch.cat([squared_distances(part, others).amin(1) for part in _rough(view).split(rows)])
        for view in views
    ]
    distance = torch.stack(least).amin(0)
    distance[probes] = torch.inf
    return distance.argsort(stable=True)[: min(MAX_LIKELY, len(distance) - len(probes))]


def _rough(images: Tensor) -> Tensor:
    """Low resolution and grey: float32 (N, D)."""
    return reduced(images, ROUGH_SIDE).mean(1).flatten(1)


def _identical(views: list[Tensor], training: Tensor) -> int:
    """Number of images that equal a training image in one of the views."""
    known = {hash(image.tobytes()) for image in training.numpy()}
    equal = torch.tensor(
        [[hash(image.tobytes()) in known for image in view.numpy()] for view in views]
    )
    return int(equal.any(0).sum())


def _by_held_out(
    fakes: Tensor, near: Nearest, training: Tensor, held_out: Tensor, flip: bool
) -> _Ratios:
    to_held_out = nearest_training(fakes, held_out, flip=flip).distance
    chosen = torch.randperm(len(held_out), generator=seeding.generator(0, "copies", 0))[:PROBES]
    to_training = nearest_training(held_out[chosen], training, flip=flip).distance
    to_others = nearest_training(
        held_out[chosen], held_out, without=chosen[:, None], flip=flip
    ).distance
    return _Ratios(
        _quotients(near.distance, to_held_out),
        _quotients(to_training, to_others),
        float(to_held_out.median()),
    )


def _by_training(near: Nearest, training: Tensor, flip: bool) -> _Ratios:
    if len(training) < MIN_MEASURABLE:
        nothing = torch.full((1,), math.nan)
        return _Ratios(nothing, nothing, None)
    chosen = torch.randperm(len(training), generator=seeding.generator(0, "copies", 0))[:PROBES]
    usual = nearest_training(training[chosen], training, without=chosen[:, None], flip=flip)
    itself, both = near.which[:, None], torch.stack([usual.which, chosen], 1)
    beside = nearest_training(training[near.which], training, without=itself, flip=flip).distance
    usually_beside = nearest_training(
        training[usual.which], training, without=both, flip=flip
    ).distance
    return _Ratios(
        _quotients(near.distance, beside), _quotients(usual.distance, usually_beside), None
    )


def _notes(copies: Copies, total: int, known: bool) -> tuple[str, ...]:
    """Caveats of a check. total: generated images. known: real images have a usable median."""
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
            else "most training images occur more than once"
        )
        notes.append(f"{why}, so no distance counts as too near; look at the closest pairs")
    elif copies.ratio is None:
        notes.append("no ratio: most of the generated images are themselves held-out images")
    if copies.identical:
        notes.append(
            f"{copies.identical:,} of the {total:,} generated images are training images, to the"
            " pixel"
        )
    return tuple(f"copy check: {note}" for note in notes)


def _space(images: Tensor, flip: bool) -> str:
    small = reduced(images[:1])
    size = "x".join(map(str, small.shape[2:]))
    mirrored = ", mirrored ones too" if flip else ""
    return f"pixels at {size}, nearest of {len(_views(small, flip))} alignments{mirrored}"


def nearest_training(
    probes: Tensor, others: Tensor, *, without: Tensor | None = None, flip: bool = False
) -> Nearest:
    """Find the nearest of `others` for each of `probes`, over all alignments.

    probes, others: uint8 (N, C, H, W) and (M, C, H, W).
    without: int64 (N, K), indices of others left out for each probe, such as itself.
    flip: mirror images count too.
    """
    views = [view.flatten(1) for view in _views(reduced(probes), flip)]
    blocks = (_middle(reduced(part)).flatten(1) for part in others.split(COPIES_CHUNK))
    _, index = nearest_rows(views, blocks, without)
    # exactly, for the pairs found: a sum of products in 32 bits puts a copy at 0.003
    target = _middle(reduced(others[index])).flatten(1).double()
    exact, view = torch.stack([(view.double() - target).norm(dim=1) for view in views]).min(0)
    mirrored = view >= len(views) // 2 if flip else torch.zeros_like(index, dtype=torch.bool)
    return Nearest(exact, index, mirrored)


def reduced(images: Tensor, longest: int = MAX_COMPARED_SIDE) -> Tensor:
    """Average uint8 (N, C, H, W) over squares: float32 in [0, 1], sides of at most `longest`."""
    square = -(-max(images.shape[2:]) // longest)
    if square == 1:
        return images.float() / 255
    # in parts, since large pictures as floats take many times the memory of the result
    rows = max(1, COPIES_BYTES // (4 * images[:1].numel()))
    return torch.cat(
        [avg_pool2d(part.float() / 255, square, ceil_mode=True) for part in images.split(rows)]
    )


def _views(images: Tensor, flip: bool) -> list[Tensor]:
    """Each image in all alignments, then its mirror image in all of them.

    A mirrored probe is as far from an image as the probe is from the mirrored image.
    """
    return [*_crops(images), *(_crops(images.flip(3)) if flip else [])]


def _crops(images: Tensor) -> list[Tensor]:
    """Nine crops of each image, two pixels smaller each way; an image too small for that itself."""
    height, width = (side - 2 for side in images.shape[2:])
    if min(height, width) < 1:
        return [images]
    return [images[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]


def _middle(images: Tensor) -> Tensor:
    crops = _crops(images)
    return crops[len(crops) // 2]


def _quotients(to_training: Tensor, to_held_out: Tensor) -> Tensor:
    """r of each image: 1 if it is in both sets, infinite if only among the held-out images."""
    return torch.where((to_training == 0) & (to_held_out == 0), 1.0, to_training / to_held_out)


def _spread(fake: Tensor, real: Tensor) -> float | None:
    """Standard deviation of the ratio over bootstrap samples of both."""
    rng = seeding.generator(0, "copies", 1)
    medians = [
        r[torch.randint(len(r), (RESAMPLES, len(r)), generator=rng)].median(1).values
        for r in (fake, real)
    ]
    return _finite(float((medians[0] / medians[1]).std()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
