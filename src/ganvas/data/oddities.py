"""The images of a data set that are least like the others, for a person to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.duplicates import CHUNK_BYTES, DuplicateGroup
from ganvas.data.sizes import Size

MAX_ODDITIES = 12
ENOUGH_SIDE = 32  # pixels per side, evenly spaced, that tell colours
MAX_EACH = 4  # images shown for one reason
MIN_IMAGES = 8  # with fewer, nothing is unlike the others
OTHER_SHAPE = 1.5  # factor by which the aspect ratio is off
OTHER_AREA = 8.0  # factor by which the number of pixels is off
BEYOND_USUAL = 1.2  # factor by which a size is further off than what is still usual
MAX_SHARE = 0.05  # of the images, for something to be strange
OUTLYING = 6.0  # median deviations from the median colour
BLANK = 2.0  # standard deviation of the pixels of an image of one colour
GREY, COLOURED = 0.04, 4.0  # mean difference of the channels of a grey and of a coloured image


@dataclass(frozen=True)
class Oddity:
    """An image unlike the others.

    index: in the train part.
    file: its name.
    reason: in a few words.
    """

    index: int
    file: str
    reason: str


def find_oddities(
    data: Dataset, names: Sequence[str], originals: Sequence[Size], groups: Sequence[DuplicateGroup]
) -> tuple[Oddity, ...]:
    """Find images of odd size or colour, and near duplicates: MAX_ODDITIES, MAX_EACH for a reason.

    names: of all images.
    originals: (H, W) of the pictures; () if all have one size.
    groups: see `duplicate_groups`.
    """
    found: dict[int, str] = {}
    if len(data) >= MIN_IMAGES:
        for i, reason in (*_of_size(originals), *_of_colour(data.images)):
            found.setdefault(i, reason)
    place = {name: i for i, name in enumerate(names)}
    near = [group for group in groups if group.kind == "near"]
    for group in near[:MAX_EACH]:
        parts = zip(group.files, group.splits, strict=True)
        here = [name for name, split in parts if split == "train"]
        for name in here[:2]:
            other = next(each for each in group.files if each != name)
            found.setdefault(place[name], f"nearly the same as {other}")
    return tuple(Oddity(i, names[i], reason) for i, reason in found.items())[:MAX_ODDITIES]


def _of_size(originals: Sequence[Size]) -> Iterator[tuple[int, str]]:
    if not originals:
        return
    sizes = torch.tensor(originals, dtype=torch.float64)
    # a picture on its side is not strange
    shape, area = (sizes[:, 1] / sizes[:, 0]).log2().abs(), sizes.prod(1).log2()
    off_shape = (shape - shape.median()).abs() / torch.tensor(OTHER_SHAPE).log2()
    off_area = (area - area.median()).abs() / torch.tensor(OTHER_AREA).log2()
    (h, w), _ = Counter(originals).most_common(1)[0]
    off = torch.maximum(off_shape, off_area)
    usual = float(off.sort().values[-1 - _few(len(off))])
    for i in _rare(off, max(1.0001, BEYOND_USUAL * usual)):
        yield i, f"{originals[i][1]}x{originals[i][0]}, where {w}x{h} is usual"


def _of_colour(images: Tensor) -> Iterator[tuple[int, str]]:
    step = max(1, max(images.shape[2:]) // ENOUGH_SIDE)
    images = images[:, :, ::step, ::step]
    size = max(1, CHUNK_BYTES // 4 // images[0].numel())
    parts = [_statistics(images[i : i + size]) for i in range(0, len(images), size)]
    mean, contrast, colour = map(torch.cat, zip(*parts, strict=True))
    for i in _rare(-contrast, -BLANK):
        yield i, "of one colour"
    if images.shape[1] >= 3:
        for i in _rare(-colour, -GREY):
            yield i, "grey among colour"
        for i in _rare(colour, COLOURED):
            yield i, "colour among grey"
    off = mean - mean.median(0).values
    scale = off.abs().median(0).values.clamp(min=1)
    for i in _rare((off.abs() / scale).amax(1), OUTLYING):
        yield i, "of an unusual colour" if images.shape[1] >= 3 else "unusually dark or light"


def _statistics(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of each image's channels, the deviation of its pixels, and its colourfulness."""
    values = images[:, :3].float()
    mean, contrast = values.mean((2, 3)), values.flatten(2).std(2, correction=0).amax(1)
    colour = (values.amax(1) - values.amin(1)).mean((1, 2))
    return mean, contrast, colour


def _few(number: int) -> int:
    """The most of `number` images that can be unusual."""
    return max(MAX_EACH, int(MAX_SHARE * number))


def _rare(score: Tensor, limit: float) -> list[int]:
    """The images that score highest, above `limit`; none if they are many."""
    above = int((score > limit).sum())
    if above > _few(len(score)):
        return []
    order: list[int] = score.argsort(descending=True, stable=True)[: min(above, MAX_EACH)].tolist()
    return order
