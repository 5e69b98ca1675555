"""Decode pictures or arrays into one `Dataset`, with a note on every change made to them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import psutil
import torch
from PIL import Image
from torch import Tensor

from ganvas.data.changes import Seen, describe_changes, narrowed_note
from ganvas.data.dataset import Dataset
from ganvas.data.pictures import (
    Header,
    PictureOptions,
    UnreadableError,
    decode,
    fitted,
    flattened,
    header,
    strict_pillow,
)
from ganvas.data.pixels import Pixels
from ganvas.data.sizes import Size, reduced_size
from ganvas.errors import DataError
from ganvas.system.text import count, first_few

Labels = npt.NDArray[np.int64]
Failure = tuple[str, str]  # name of a picture, and why it is unreadable
T = TypeVar("T")

MAX_NAMED = 100  # unreadable pictures named in one message


@dataclass(frozen=True)
class Picture:
    """A picture not yet decoded, and the function that opens it or raises UnreadableError."""

    name: str
    open: Callable[[], AbstractContextManager[Image.Image]]


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
    images: Pixels,
    labels: Labels | None,
    classes: tuple[str, ...],
    options: PictureOptions,
    notes: tuple[str, ...] = (),
) -> Assembled:
    """Store uint8 images (N, H, W) or (N, H, W, C), C one of 1, 3, 4, as `assemble` does.

    Raises DataError if the array is empty.
    """
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.size == 0:
        raise DataError(f"{name} holds no images: its array has shape {images.shape}")
    stored = images.shape[3] if images.ndim == 4 else 1
    size = options.size or reduced_size(images.shape[1:3], options.side)
    if size != images.shape[1:3] or options.channels not in (None, stored):
        opened = [
            Picture(str(i), partial(Image.fromarray, image)) for i, image in enumerate(images)
        ]
        return assemble(name, opened, labels, classes, options, notes)
    height, width = images.shape[1:3]
    pixels = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    channels = options.channels or _needed_channels(
        transparent=stored == 4 and pixels[:, 3].min() < 255,
        colour=stored > 1 and _coloured(pixels[:, 0], pixels[:, 1], pixels[:, 2]),
    )
    if channels < stored:
        notes += (narrowed_note(stored, channels),)
    digests = tuple(_digest(image.tobytes()) for image in images) if options.digests else ()
    dataset = Dataset(name, *_tensors(pixels[:, :channels], labels), classes, notes)
    return Assembled(dataset, Counter({f"{height}x{width}": len(images)}), digests=digests)


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
    labels: int64 (N,), indices into `classes`, or None.
    notes: come before those made here.
    Raises DataError if no picture can be read, if sizes differ and `options` give none, or if the
    result exceeds the machine's memory.
    """
    with strict_pillow():
        pixels, seen = _decode_all(name, pictures, options)
    # Close the gaps that unreadable pictures leave
    unreadable = _failures(pictures, seen)
    readable = [entry for entry in seen if isinstance(entry, Seen)]
    if not readable:
        raise DataError(f"{name}: {unreadable_line(unreadable, len(pictures))}")
    if unreadable:
        keep = [i for i, entry in enumerate(seen) if isinstance(entry, Seen)]
        for row, i in enumerate(keep):
            pixels[row] = pixels[i]
        pixels = pixels[: len(keep)]
        labels = None if labels is None else labels[keep]
        notes += (unreadable_line(unreadable, len(pictures)),)
    # Drop channels that no picture needs
    channels = options.channels or _needed_channels(
        transparent=any(s.transparent for s in readable), colour=any(s.colour for s in readable)
    )
    changes, altered = describe_changes(readable, pixels.shape, channels, options)
    tensors = _tensors(pixels[:, :channels], labels)
    sizes = Counter("{}x{}".format(*s.header.size) for s in readable)
    digests = tuple(s.digest for s in readable) if options.digests else ()
    dataset = Dataset(name, *tensors, classes, notes + changes, altered)
    pairs = zip(pictures, seen, strict=True)
    names = tuple(picture.name for picture, entry in pairs if isinstance(entry, Seen))
    originals = tuple(s.header.size for s in readable)
    return Assembled(dataset, sizes, unreadable, digests, names, originals)


def _decode_all(
    name: str, pictures: Sequence[Picture], options: PictureOptions
) -> tuple[Pixels, list[Seen | UnreadableError]]:
    """Decode pictures into one array (N, C, H, W), where unreadable ones leave gaps.

    A first pass over the headers finds the size and the most channels that can be needed, so that
    the second decodes each picture into its place.
    """
    watch, total = options.watch, len(pictures)
    headers = list(watch((_try(picture, header) for picture in pictures), total, "opened"))
    good = [entry for entry in headers if isinstance(entry, Header)]
    if not good:
        raise DataError(f"{name}: {unreadable_line(_failures(pictures, headers), len(pictures))}")
    height, width = options.size or _common_size(name, pictures, headers, options)
    channels = options.channels or max(entry.channels for entry in good)
    shape = (len(pictures), channels, height, width)
    if (needed := math.prod(shape)) > psutil.virtual_memory().total:
        pile = f"{count(len(pictures), 'picture')} of {height}x{width}x{channels}"
        raise DataError(
            f"{name}: {pile} need {needed / 1e9:.0f} GB, more than this machine's memory: give a"
            " smaller --size"
        )
    pixels, place = np.empty(shape, np.uint8), partial(_place, options=options)
    # Pillow releases the GIL while it decodes: too briefly for threads to pay if images are small
    if sum(math.prod(entry.size) for entry in good) <= 256 * 256 * len(good):
        return pixels, list(watch(map(place, pictures, headers, pixels), total, "read"))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return pixels, list(watch(pool.map(place, pictures, headers, pixels), total, "read"))


def unreadable_line(unreadable: Sequence[Failure], total: int) -> str:
    """A line that counts unreadable pictures and names the first MAX_NAMED, with reasons."""
    named = first_few((f"{name} ({reason})" for name, reason in unreadable), MAX_NAMED)
    rest = " (ganvas data inspect names all)" if len(unreadable) > MAX_NAMED else ""
    return f"{len(unreadable):,} of {count(total, 'picture')} cannot be read: {named}{rest}"


def _needed_channels(*, transparent: bool, colour: bool) -> int:
    return 4 if transparent else 3 if colour else 1


def _try(picture: Picture, work: Callable[[Image.Image], T]) -> T | UnreadableError:
    """Return what `work` makes of the open picture, or the error that it raises."""
    try:
        with picture.open() as image:
            return work(image)
    except UnreadableError as error:
        return error


def _place(
    picture: Picture, entry: Header | UnreadableError, row: Pixels, *, options: PictureOptions
) -> Seen | UnreadableError:
    """Decode one picture into `row`, uint8 (C, H, W)."""
    if isinstance(entry, UnreadableError):
        return entry
    channels, height, width = row.shape
    image = _try(picture, partial(decode, size=(height, width)))
    if isinstance(image, UnreadableError):
        return image
    transparent = image.mode == "RGBA" and np.asarray(image.getchannel(3)).min() < 255
    digest = b""
    if options.digests:
        digest = _digest(repr(image.size).encode() + image.convert("RGBA").tobytes())
    if channels == 4:
        # gives every picture transparent padding, or none
        image = flattened(image, 4)
    image = fitted(image, (height, width), options.fit or "crop")
    colour = image.mode != "L" and _coloured(*(np.asarray(image.getchannel(i)) for i in range(3)))
    values = np.asarray(flattened(image, channels))
    row[...] = values[None] if channels == 1 else np.moveaxis(values, 2, 0)
    return Seen(entry, colour, bool(transparent), digest)


def _common_size(
    name: str,
    pictures: Sequence[Picture],
    headers: Sequence[Header | UnreadableError],
    options: PictureOptions,
) -> tuple[int, int]:
    """The size for all readable pictures: their own (see `reduced_size`), or `native` for several.

    Damaged pictures do not count, whatever size their headers claim.
    """
    pairs = zip(pictures, headers, strict=True)
    readable = [(picture, entry.size) for picture, entry in pairs if isinstance(entry, Header)]
    sizes: list[tuple[int, int]] = []
    for picture, size in readable:
        if size not in sizes and isinstance(_try(picture, partial(decode, size=size)), Image.Image):
            sizes.append(size)
        if len(sizes) == 2:
            break
    else:
        return reduced_size(sizes[0] if sizes else readable[0][1], options.side)
    if options.native is None:
        known = sorted({size for _, size in readable})
        listed = first_few((f"{h}x{w}" for h, w in known), 5)
        raise DataError(
            f"{name} holds pictures of {len(known):,} sizes ({listed}): give one, as --size"
        )
    return options.native


def _failures(pictures: Sequence[Picture], entries: Sequence[object]) -> tuple[Failure, ...]:
    pairs = zip(pictures, entries, strict=True)
    return tuple((p.name, str(entry)) for p, entry in pairs if isinstance(entry, UnreadableError))


def _coloured(red: Pixels, green: Pixels, blue: Pixels) -> bool:
    return bool((red != green).any() or (green != blue).any())


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _tensors(pixels: Pixels, labels: Labels | None) -> tuple[Tensor, Tensor | None]:
    images = torch.from_numpy(np.ascontiguousarray(pixels))
    return images, None if labels is None else torch.from_numpy(labels)
