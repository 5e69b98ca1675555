"""Decode pictures or arrays into one `Dataset`, with a note on every change made to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.decoding.changes import (
    DecodingPlan,
    Seen,
    describe_changes,
    is_transparent,
    narrowed_note,
)
from ganvas.data.decoding.deep import Deep, deepened
from ganvas.data.decoding.fits import fitted, flattened
from ganvas.data.decoding.kinds import describe_files
from ganvas.data.decoding.originals import Original, Scanner, clear_share, in_order
from ganvas.data.decoding.planning import Failure, failures, planned, unreadable_line
from ganvas.data.decoding.ranges import Values, array_to_8_bits, count_outside, dim_notes
from ganvas.data.kinds import has_ending
from ganvas.data.pictures import (
    HEIF_SUFFIXES,
    Decoded,
    Picture,
    PictureOptions,
    UnreadableError,
    Watch,
    enable_heif,
    strict_pillow,
)
from ganvas.data.pixels import Pixels
from ganvas.data.reading import ReadOptions
from ganvas.data.sizes import Size, reduced_size
from ganvas.errors import DataError
from ganvas.recipe import Channels

__all__ = ["Assembled", "Failure", "Labels", "Picture", "assemble", "assemble_array"]
__all__ += ["unreadable_line"]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assembled:
    """A data set and statistics of its originals.

    sizes: number of originals of each size "HxW".
    unreadable: (name, reason) of each picture left out.
    digests: a hash of each original's pixels, in the order of the data set; () if not requested.
    names: of the pictures, in the same order; () for an array.
    originals: (H, W) of each, in the same order; () for an array.
    """

    dataset: Dataset
    sizes: Counter[str]
    unreadable: tuple[Failure, ...] = ()
    digests: tuple[bytes, ...] = ()
    names: tuple[str, ...] = ()
    originals: tuple[Size, ...] = ()


def assemble_array(
    name: str,
    images: Values,
    labels: Labels | None,
    classes: tuple[str, ...],
    options: PictureOptions,
    notes: tuple[str, ...] = (),
) -> Assembled:
    """Store images (N, H, W) or (N, H, W, C), C one of 1, 3, 4, as `assemble` does.

    images: of any bool, integer or float dtype; others than uint8 are scaled by one range of
        values, the one given or found over the set (see `Extent.usual_range`).

    Raises DataError if the array is empty or holds values that are no finite numbers.
    """
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.size == 0:
        raise DataError(f"{name} holds no images: its array has shape {images.shape}")
    digests = tuple(_digest(image.tobytes()) for image in images) if options.digests else ()
    images, used = array_to_8_bits(name, images, options.range)
    if used:
        notes += tuple(used.notes())
        options = replace(options, range=used.ends)
    stored = images.shape[3] if images.ndim == 4 else 1
    clear = (images[..., 3] < 255).mean((1, 2)) if stored == 4 else np.zeros(1)
    few_clear = clear.any() and not is_transparent(clear)
    size = options.size or reduced_size(images.shape[1:3], options.side)
    if size != images.shape[1:3] or options.channels not in (None, stored) or few_clear:
        opened = [
            Picture(str(i), partial(Image.fromarray, image)) for i, image in enumerate(images)
        ]
        in_8_bits = replace(options, range=None, digests=False)
        result = assemble(name, opened, labels, classes, in_8_bits, notes)
    else:
        result = _stored(name, images, labels, classes, options.channels, notes)
    read_as = replace(result.dataset.read_as, range=options.range)
    return replace(result, dataset=replace(result.dataset, read_as=read_as), digests=digests)


def _stored(
    name: str,
    images: Pixels,
    labels: Labels | None,
    classes: tuple[str, ...],
    channels: Channels | None,
    notes: tuple[str, ...],
) -> Assembled:
    """Store an array as it is, without channels that no image needs unless `channels` are given."""
    pixels = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    _, stored, height, width = pixels.shape
    needed: Channels = 3 if stored > 1 and _coloured(*np.moveaxis(pixels[:, :3], 1, 0)) else 1
    needed = channels or (4 if stored == 4 and pixels[:, 3].min() < 255 else needed)
    if needed < stored:
        notes += (narrowed_note(stored, needed),)
    notes += dim_notes(images)
    read_as = ReadOptions(size=(height, width), channels=needed)
    tensors = _tensors(pixels[:, :needed], labels)
    dataset = Dataset(name, *tensors, classes, notes, read_as=read_as)
    return Assembled(dataset, Counter({f"{height}x{width}": len(images)}))


def assemble(
    name: str,
    pictures: Sequence[Picture],
    labels: Labels | None,
    classes: tuple[str, ...],
    options: PictureOptions,
    notes: tuple[str, ...] = (),
) -> Assembled:
    """Decode, fit and store pictures in the order given, without unreadable ones, which are named.

    name: of the data set.
    labels: int64 (N,), indices into `classes`, or None. The frames of a picture share its label.
    notes: come before those made here.
    Raises DataError if no picture can be read, if sizes differ and `options` give none, or if the
    result exceeds the machine's memory; MissingExtraError for a format whose extra is missing.
    """
    if any(has_ending(picture.name, HEIF_SUFFIXES) for picture in pictures):
        enable_heif()
    with strict_pillow():
        scanned = map(Scanner(options).scan, pictures)
        originals = list(options.watch(scanned, len(pictures), "opened"))
        plan = planned(name, pictures, originals, options)
        pixels, seen = _decode_all(originals, plan, options.watch)
    unreadable = failures(pictures, seen)
    good = [each for entry in seen if isinstance(entry, list) for each in entry]
    if not good:
        raise DataError(f"{name}: {unreadable_line(unreadable, len(pictures))}")
    pixels, labels = _without_gaps(pixels, labels, originals, seen)
    if unreadable:
        notes += (unreadable_line(unreadable, len(pictures)),)
    # Drop channels that no picture needs
    channels = options.channels or _needed_channels(pixels, good)
    changes, altered = describe_changes(good, plan, channels)
    read_as = ReadOptions(size=plan.size, fit=plan.fitting.fit, channels=channels, range=plan.ends)
    dataset = Dataset(
        name,
        *_tensors(pixels[:, :channels], labels),
        classes,
        notes + changes + dim_notes(pixels),
        altered,
        read_as,
        describe_files(s.header.kind for s in good),
    )
    sizes = Counter("{}x{}".format(*s.header.size) for s in good)
    digests = tuple(s.digest for s in good) if options.digests else ()
    names, shapes = tuple(s.name for s in good), tuple(s.header.size for s in good)
    return Assembled(dataset, sizes, unreadable, digests, names, shapes)


def _without_gaps(
    pixels: Pixels,
    labels: Labels | None,
    originals: Sequence[Original | UnreadableError],
    seen: Sequence[list[Seen] | UnreadableError],
) -> tuple[Pixels, Labels | None]:
    """Close the gaps that unreadable pictures leave, in place; one label for each image."""
    numbers = [_rows(original) for original in originals]
    of = np.repeat(np.arange(len(originals)), numbers)  # the picture of each row
    keep = np.flatnonzero(np.repeat([isinstance(entry, list) for entry in seen], numbers))
    if len(keep) < len(pixels):
        for row, i in enumerate(keep):
            pixels[row] = pixels[i]
    return pixels[: len(keep)], None if labels is None else labels[of[keep]]


def _needed_channels(pixels: Pixels, seen: Sequence[Seen]) -> Channels:
    """The channels that decoded pictures (N, C, H, W) need.

    Too few transparent pixels to count are composited on white in place.
    """
    if is_transparent(s.clear for s in seen):
        return 4
    if not any(s.clear for s in seen):
        return 3 if any(s.colour for s in seen) else 1
    for row, each in zip(pixels, seen, strict=True):
        if each.clear:
            image = flattened(Image.fromarray(np.moveaxis(row, 0, 2)), 3)
            row[:3] = np.moveaxis(np.asarray(image), 2, 0)
    return 3 if any(_coloured(*row[:3]) for row in pixels) else 1


def _decode_all(
    originals: Sequence[Original | UnreadableError], plan: DecodingPlan, watch: Watch
) -> tuple[Pixels, list[list[Seen] | UnreadableError]]:
    """Decode pictures into one array (N, C, H, W), where unreadable ones leave gaps.

    A first pass over the headers finds the size and the most channels that can be needed, so that
    the second decodes each picture into its place.
    """
    ends = list(accumulate(map(_rows, originals), initial=0))
    pixels = np.empty((ends[-1], plan.channels, *plan.size), np.uint8)
    places = [pixels[first:last] for first, last in pairwise(ends)]
    return pixels, in_order(partial(_place, plan=plan), originals, places, watch=watch)


def _rows(original: Original | UnreadableError) -> int:
    return len(original.headers) if isinstance(original, Original) else 0


def _place(
    original: Original | UnreadableError, rows: Pixels, *, plan: DecodingPlan
) -> list[Seen] | UnreadableError:
    """Decode the frames of one picture into `rows`, uint8 (frames, C, H, W)."""
    if isinstance(original, UnreadableError):
        return original
    try:
        decoded = original.decoded(plan.size, drop=True)
        return [
            _fill(original, frame, row, each, plan)
            for frame, (row, each) in enumerate(zip(rows, decoded, strict=True))
        ]
    except UnreadableError as error:
        return error


def _fill(
    original: Original, frame: int, row: Pixels, decoded: Decoded, plan: DecodingPlan
) -> Seen:
    """Fit one frame into `row`, uint8 (C, H, W)."""
    image, extent, outside, values = decoded.pixels, None, 0, 0
    if not isinstance(image, Deep) and plan.scales_8_bits:
        image = deepened(image)
    clear = clear_share(image)
    if isinstance(image, Deep):
        # none was found if another frame is damaged, with which this one is left out
        ends = plan.ends or image.extent.usual_range()
        outside = count_outside(image.colours, ends)
        extent, values = image.extent, image.colours.size
        image = image.to_8_bits(ends)
    digest = b""
    if plan.digests:
        digest = _digest(repr(image.size).encode() + image.convert("RGBA").tobytes())
    channels, height, width = row.shape
    if channels == 4:
        # gives every picture transparent padding, or none
        image = flattened(image, 4)
    image = fitted(image, (height, width), plan.fitting.fit or "crop")
    pixels = np.asarray(image)
    colour = pixels.ndim == 3 and _coloured(*(pixels[..., i] for i in range(3)))
    flat = flattened(image, channels)
    pixels = pixels if flat is image else np.asarray(flat)
    row[...] = pixels[None] if channels == 1 else np.moveaxis(pixels, 2, 0)
    name, header = original.picture.name, original.headers[frame]
    return Seen(name, header, colour, clear, digest, decoded.incomplete, extent, outside, values)


def _coloured(red: Pixels, green: Pixels, blue: Pixels) -> bool:
    return bool((red != green).any() or (green != blue).any())


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _tensors(pixels: Pixels, labels: Labels | None) -> tuple[Tensor, Tensor | None]:
    images = torch.from_numpy(np.ascontiguousarray(pixels))
    return images, None if labels is None else torch.from_numpy(labels)
