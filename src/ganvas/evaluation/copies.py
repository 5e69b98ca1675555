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

**Features.** Of pictures that `imagenet` judges, distances are also taken of its features, which
change little if a picture is mirrored, recoloured or framed anew. In each space r is divided by the
median of real images, and an image's smaller r counts, of real images too.

**All images.** Only PROBES random generated images get a ratio, and would mostly miss a few copies
among thousands. So all are compared with all training images for equality, and once more at low
resolution without alignments; those that seem nearest are then measured, for the closest pairs.
A few copies shifted by a pixel can escape this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganvas.evaluation.metrics import Nearest, nearest_rows, squared_distances
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


# finds neighbours in one space, by names of sets: (of, rows, among, without=None) -> Nearest
_Find = Callable[..., Nearest]


@dataclass(frozen=True)
class CopyFeatures:
    """Features in which copies are looked for; those of each image and of its mirror image count.

    name: of the extractor.
    take: uint8 (N, C, H, W) -> features (N, D).
    sets: features of the images "fakes", "training" and, if there are any, "held-out".
    """

    name: str
    take: Callable[[Tensor], Tensor]
    sets: dict[str, Tensor]

    def likely(self, known: Tensor, most: int) -> Tensor:
        """Indices of at most `most` images that seem nearest to training ones, without `known`."""
        fakes, training = self.sets["fakes"], self.sets["training"]
        centre = training.mean(0)
        blocks = (block - centre for block in training.split(COPIES_CHUNK))
        distance, _ = nearest_rows([fakes - centre], blocks)
        distance[known] = torch.inf
        return distance.argsort(stable=True)[: min(most, len(distance) - len(known))]

    def finder(self, pictures: dict[str, Tensor]) -> _Find:
        """Return a function that finds neighbours. pictures: the sets, uint8 (N, C, H, W)."""

        def find(of: str, rows: Tensor, among: str, without: Tensor | None = None) -> Nearest:
            others = self.sets[among].double()
            mirrored = self.take(pictures[of][rows].flip(3))
            views = [each.double() for each in (self.sets[of][rows], mirrored)]
            _, index = nearest_rows(views, others.split(COPIES_CHUNK), without)
            exact, view = torch.stack([(v - others[index]).norm(dim=1) for v in views]).min(0)
            return Nearest(exact, index, view == 1)

        return find


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
    """r, float64 (N,), of generated and of real images; median distance to the nearest training
    image of the latter; that of the former to held-out images, if there are any."""

    fake: Tensor
    real: Tensor
    usual: float
    nearest_held_out: float | None


def check_copies(
    fakes: Tensor,
    training: Tensor,
    held_out: Tensor | None,
    *,
    flip: bool = False,
    features: CopyFeatures | None = None,
) -> CopyCheck:
    """Check generated images for copies of training images.

    fakes: uint8 (N, C, H, W), all of them are searched for the closest pairs.
    training: uint8 (M, C, H, W).
    held_out: uint8 (K, C, H, W) or None; below MIN_MEASURABLE, training images are the yardstick.
    flip: mirror images count too, as of a training that saw them.
    features: of the same images, in which copies are looked for as well.
    """
    # The images to measure: some get a ratio, the others may be closest pairs
    probes = _chosen(len(fakes), "asked")
    views = [fakes, fakes.flip(3)] if flip else [fakes]
    candidates = torch.cat([probes, _likely(views, training, probes)])
    pictures = {"fakes": fakes, "training": training}
    if has_held_out := held_out is not None and len(held_out) >= MIN_MEASURABLE:
        pictures["held-out"] = held_out

    # Ratios and closest pairs in each space
    def in_pixels(of: str, rows: Tensor, among: str, without: Tensor | None = None) -> Nearest:
        return nearest_training(pictures[of][rows], pictures[among], without=without, flip=flip)

    spaces: list[_Find] = [in_pixels]
    if features is not None:
        candidates = torch.cat([candidates, features.likely(candidates, MAX_LIKELY)])
        spaces.append(features.finder(pictures))
    each = []
    for find in spaces:
        closest = find("fakes", candidates, "training")
        near = Nearest(*(part[: len(probes)] for part in closest))
        by = _by_held_out if has_held_out else _by_training
        each.append((closest, near, by(find, pictures, probes, near)))

    ratios = _joined([ratios for *_, ratios in each])
    copies = Copies(
        **_verdict(ratios),
        nearest_training=float(each[0][1].distance.median()),
        nearest_held_out=ratios.nearest_held_out,
        n_fake=len(probes),
        n_training=len(training),
        n_held_out=0 if held_out is None else len(held_out),
        space=_space(fakes, flip, features),
        yardstick="training" if ratios.nearest_held_out is None else "held-out",
        identical=_identical(views, training),
    )
    closest = _nearer([(closest, ratios.usual) for closest, _, ratios in each])
    order = closest.distance.argsort(stable=True)[:PAIRS]
    pairs = candidates[order], closest.which[order], closest.mirrored[order]
    return CopyCheck(copies, *pairs, _notes(copies, len(fakes)))


def _joined(spaces: list[_Ratios]) -> _Ratios:
    """Join ratios over spaces: the smallest of each image, in units of the real images' median.

    A space in which most real images are copies does not count.
    """
    known = [each for each in spaces if 0 < float(each.real.median()) < math.inf]
    if len(known) < 2:
        return (known or spaces)[0]._replace(nearest_held_out=spaces[0].nearest_held_out)
    usual = [each.real.median() for each in known]
    fake = torch.stack([each.fake / r for each, r in zip(known, usual, strict=True)]).amin(0)
    real = torch.stack([each.real / r for each, r in zip(known, usual, strict=True)]).amin(0)
    return spaces[0]._replace(fake=fake, real=real)


def _nearer(spaces: list[tuple[Nearest, float]]) -> Nearest:
    """Join neighbours over spaces: the nearest of each image, in units of the usual distance."""
    if len(spaces) == 1:
        return spaces[0][0]
    distances = torch.stack([near.distance / max(usual, 1e-9) for near, usual in spaces])
    least, space = distances.min(0)
    rows = space, torch.arange(len(space))
    which, mirrored = (torch.stack([near[k] for near, _ in spaces])[rows] for k in (1, 2))
    return Nearest(least, which, mirrored)


def save_closest(path: Path, check: CopyCheck, fakes: Tensor, training: Tensor) -> None:
    """Write the closest pairs as a sheet of pictures. Raises RunError when the disk refuses."""
    real = training[check.training]
    real = torch.where(check.mirrored[:, None, None, None], real.flip(3), real)
    left, right = (images.permute(0, 2, 3, 1).numpy() for images in (fakes[check.fakes], real))
    title = f"closest pairs among {count(len(fakes), 'image')}"
    title = f"{title}: left generated, right the nearest training image"
    sheets.save_pairs(path, left, right, title)


def _chosen(n: int, purpose: str) -> Tensor:
    """Indices of PROBES random ones among n images, or of all."""
    return torch.randperm(n, generator=seeding.generator(0, purpose, 0))[:PROBES]


def _verdict(ratios: _Ratios) -> dict[str, Any]:
    """Verdict, ratio, spread and shares of `Copies`, by the median of real images."""
    usual = float(ratios.real.median())
    if not 0 < usual < math.inf:
        unknown = dict.fromkeys(("ratio", "spread", "share", "share_held_out"))
        return {"verdict": "cannot tell", **unknown}
    share, real = (float((r < COPY * usual).double().mean()) for r in ratios[:2])
    rng = seeding.generator(0, "copies", 1)
    # medians of bootstrap samples
    fakes, reals = (
        r[torch.randint(len(r), (RESAMPLES, len(r)), generator=rng)].median(1).values
        for r in ratios[:2]
    )
    ratio, spread = float(ratios.fake.median()) / usual, float((fakes / reals).std())
    return {
        "verdict": "copier" if share - real >= COPIER_SHARE else "not a copier",
        "ratio": ratio if math.isfinite(ratio) else None,
        "spread": spread if math.isfinite(spread) else None,
        "share": share,
        "share_held_out": real,
    }


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
    return sum(
        any(hash(image.tobytes()) in known for image in each)
        for each in zip(*(view.numpy() for view in views), strict=True)
    )


def _by_held_out(
    find: _Find, pictures: dict[str, Tensor], probes: Tensor, near: Nearest
) -> _Ratios:
    chosen = _chosen(len(pictures["held-out"]), "copies")
    to_held_out = find("fakes", probes, "held-out").distance
    to_training = find("held-out", chosen, "training").distance
    to_others = find("held-out", chosen, "held-out", chosen[:, None]).distance
    r, real = _quotients(near.distance, to_held_out), _quotients(to_training, to_others)
    return _Ratios(r, real, float(to_training.median()), float(to_held_out.median()))


def _by_training(
    find: _Find, pictures: dict[str, Tensor], probes: Tensor, near: Nearest
) -> _Ratios:
    if (n := len(pictures["training"])) < MIN_MEASURABLE:
        return _Ratios(torch.tensor([math.nan]), torch.tensor([math.nan]), 1.0, None)
    chosen = _chosen(n, "copies")
    usual = find("training", chosen, "training", chosen[:, None])
    both = torch.stack([usual.which, chosen], 1)
    beside = find("training", near.which, "training", near.which[:, None]).distance
    usually_beside = find("training", usual.which, "training", both).distance
    r, real = _quotients(near.distance, beside), _quotients(usual.distance, usually_beside)
    return _Ratios(r, real, float(usual.distance.median()), None)


def _notes(copies: Copies, total: int) -> tuple[str, ...]:
    """Caveats of a check. total: number of generated images."""
    number, notes = copies.n_held_out, []
    if copies.yardstick == "training":
        few = f"only {number}" if number else "nothing"
        near = "how near training images are to one another"
        notes.append(f"{few} held out, so the yardstick is {near}")
        number = copies.n_training
    if number < MIN_RELIABLE:
        notes.append(f"only {number} {copies.yardstick} images to measure by, so it is rough")
    if copies.share is None and copies.yardstick == "held-out":
        notes.append("most held-out images are themselves among the training images")
    elif copies.share is None:
        why = "most training images occur more than once"
        why = why if number >= MIN_MEASURABLE else f"{number} training images are too few"
        notes.append(f"{why}, so no distance counts as too near; look at the closest pairs")
    elif copies.ratio is None:
        notes.append("no ratio: most of the generated images are themselves held-out images")
    if equal := copies.identical:
        notes.append(
            f"{equal:,} of the {total:,} generated images are training images, to the pixel"
        )
    return tuple(f"copy check: {note}" for note in notes)


def _space(images: Tensor, flip: bool, features: CopyFeatures | None) -> str:
    small = reduced(images[:1])
    size = "x".join(map(str, small.shape[2:]))
    mirrored = ", mirrored ones too" if flip else ""
    pixels = f"pixels at {size}, nearest of {len(_views(small, flip))} alignments{mirrored}"
    return f"{pixels}; features of {features.name}, mirrored ones too" if features else pixels


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
