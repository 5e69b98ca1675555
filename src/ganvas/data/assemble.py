"""Decode pictures or arrays into one `Dataset`, with a note on every change made to them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import psutil
import torch
from PIL import Image

from ganvas.data.dataset import Dataset
from ganvas.data.pictures import (
    Header,
    UnreadableError,
    Wish,
    decode,
    fitted,
    flattened,
    header,
    is_deep,
    is_grey,
    strict_pillow,
)
from ganvas.data.pixels import Pixels
from ganvas.errors import DataError
from ganvas.system.text import count, first_few

Labels = npt.NDArray[np.int64]
Split = Literal["train", "test"]
T = TypeVar("T")

MAX_NAMED = 100  # unreadable pictures named in one message


class NoHeldOutError(DataError):
    """The data set has no held-out part."""


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
    """

    dataset: Dataset
    sizes: Counter[str]
    unreadable: tuple[tuple[str, str], ...] = ()
    digests: tuple[bytes, ...] = ()


class Seen(NamedTuple):
    """A picture's header, and properties of its pixels.

    colour: R, G and B differ somewhere in the part that is kept.
    transparent: alpha is below 255 somewhere.
    digest: a hash of the original's pixels; b"" if not requested.
    """

    header: Header
    colour: bool
    transparent: bool
    digest: bytes


def assemble_array(
    name: str,
    images: Pixels,
    labels: Labels | None,
    classes: tuple[str, ...],
    wish: Wish,
    notes: tuple[str, ...] = (),
    *,
    digests: bool = False,
) -> Assembled:
    """Store uint8 images (N, H, W) or (N, H, W, C), C one of 1, 3, 4, as `assemble` does.

    Raises DataError if the array is empty.
    """
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.size == 0:
        raise DataError(f"{name} holds no images: its array has shape {images.shape}")
    stored = images.shape[3] if images.ndim == 4 else 1
    if wish.size not in (None, images.shape[1:3]) or wish.channels not in (None, stored):
        pictures = [
            Picture(str(i), partial(Image.fromarray, image)) for i, image in enumerate(images)
        ]
        return assemble(name, pictures, labels, classes, wish, notes, digests=digests)
    pixels = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    channels = wish.channels or _needed_channels(
        transparent=stored == 4 and pixels[:, 3].min() < 255,
        colour=stored > 1 and _coloured(pixels[:, 0], pixels[:, 1], pixels[:, 2]),
    )
    if channels < stored:
        notes += (_narrowed_note(stored, channels),)
    return Assembled(
        _dataset(name, pixels[:, :channels], labels, classes, notes),
        Counter({f"{images.shape[1]}x{images.shape[2]}": len(images)}),
        digests=tuple(_digest(image.tobytes()) for image in images) if digests else (),
    )


def assemble(
    name: str,
    pictures: Sequence[Picture],
    labels: Labels | None,
    classes: tuple[str, ...],
    wish: Wish,
    notes: tuple[str, ...] = (),
    *,
    digests: bool = False,
) -> Assembled:
    """Decode, fit and store pictures in the order given.

    name: of the data set. labels: int64 (N,), indices into `classes`, or None.
    wish: size, fit and channels.
    notes: precede those made here. digests: see `Assembled`.

    A first pass over the headers finds the size and the channels, so that the second decodes each
    picture into its place. Unreadable pictures are left out and named.
    Raises DataError if no picture can be read, if sizes differ and `wish` gives none, or if the
    result exceeds the machine's memory.
    """
    # First pass: the size and the channels that the headers ask for
    with strict_pillow():
        headers = [_glance(picture) for picture in pictures]
        good = [entry for entry in headers if isinstance(entry, Header)]
        if not good:
            raise DataError(
                f"{name}: {unreadable_line(_failures(pictures, headers), len(pictures))}"
            )
        size = wish.size or _common_size(name, pictures, headers, wish.native)
        channels = wish.channels or max(entry.channels for entry in good)
        pixels = _allocate(name, (len(pictures), channels, *size))
        # Second pass
        workers = min(8, os.cpu_count() or 1) if _are_large(good) else 1
        seen = _in_threads(
            workers, partial(_place, wish=wish, digests=digests), pictures, headers, pixels
        )

    # Close the gaps that unreadable pictures leave
    keep = [i for i, entry in enumerate(seen) if isinstance(entry, Seen)]
    readable = [entry for entry in seen if isinstance(entry, Seen)]
    unreadable = _failures(pictures, seen)
    if not readable:
        raise DataError(f"{name}: {unreadable_line(unreadable, len(pictures))}")
    if unreadable:
        for row, i in enumerate(keep):
            pixels[row] = pixels[i]
        pixels = pixels[: len(keep)]
        labels = None if labels is None else labels[keep]
        notes += (unreadable_line(unreadable, len(pictures)),)
    # Drop channels that no picture needs
    if wish.channels is None:
        channels = _needed_channels(
            transparent=any(s.transparent for s in readable),
            colour=any(s.colour for s in readable),
        )
    fitted = _fitted(readable, size, channels, wish)
    notes += (
        *_size_notes(readable, size, fitted, wish),
        *_channel_notes(readable, pixels.shape[1], channels),
    )
    return Assembled(
        _dataset(
            name, pixels[:, :channels], labels, classes, notes, _altered(readable, fitted, channels)
        ),
        Counter("{}x{}".format(*s.header.size) for s in readable),
        unreadable,
        tuple(s.digest for s in readable) if digests else (),
    )


def unreadable_line(unreadable: Sequence[tuple[str, str]], total: int) -> str:
    """A line that counts unreadable pictures and names the first MAX_NAMED, with reasons."""
    named = first_few((f"{name} ({reason})" for name, reason in unreadable), MAX_NAMED)
    rest = " (ganvas data inspect names all)" if len(unreadable) > MAX_NAMED else ""
    return f"{len(unreadable):,} of {count(total, 'picture')} cannot be read: {named}{rest}"


def _needed_channels(*, transparent: bool, colour: bool) -> int:
    return 4 if transparent else 3 if colour else 1


def _glance(picture: Picture) -> Header | UnreadableError:
    try:
        with picture.open() as image:
            return header(image)
    except UnreadableError as error:
        return error


def _place(
    picture: Picture, entry: Header | UnreadableError, row: Pixels, *, wish: Wish, digests: bool
) -> Seen | UnreadableError:
    """Decode one picture into `row`, uint8 (C, H, W)."""
    if isinstance(entry, UnreadableError):
        return entry
    channels, height, width = row.shape
    try:
        with picture.open() as opened:
            image = decode(opened, (height, width))
    except UnreadableError as error:
        return error
    transparent = image.mode == "RGBA" and np.asarray(image.getchannel(3)).min() < 255
    digest = _digest(repr(image.size).encode(), image.convert("RGBA").tobytes()) if digests else b""
    if channels == 4:
        # gives every picture transparent padding, or none
        image = flattened(image, 4)
    image = fitted(image, (height, width), wish.fit)
    colour = image.mode != "L" and _coloured(*(np.asarray(image.getchannel(i)) for i in range(3)))
    values = np.asarray(flattened(image, channels))
    row[...] = values[None] if channels == 1 else np.moveaxis(values, 2, 0)
    return Seen(entry, colour, bool(transparent), digest)


def _are_large(headers: Sequence[Header]) -> bool:
    """True if threads pay: Pillow releases the GIL while it decodes, too briefly if small."""
    return sum(entry.size[0] * entry.size[1] for entry in headers) > 256 * 256 * len(headers)


def _in_threads(workers: int, work: Callable[..., T], *columns: Iterable[object]) -> list[T]:
    """`list(map(work, *columns))` in several threads."""
    if workers == 1:
        return list(map(work, *columns))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, *columns))


def _common_size(
    name: str,
    pictures: Sequence[Picture],
    headers: Sequence[Header | UnreadableError],
    native: tuple[int, int] | None,
) -> tuple[int, int]:
    """The size of all readable pictures, or `native` if they have several.

    Damaged pictures do not count, whatever size their headers claim.
    """
    readable = [
        (picture, entry.size)
        for picture, entry in zip(pictures, headers, strict=True)
        if isinstance(entry, Header)
    ]
    sizes: list[tuple[int, int]] = []
    for picture, size in readable:
        if size not in sizes and _decodes(picture, size):
            sizes.append(size)
            if len(sizes) > 1:
                break
    if len(sizes) < 2:
        return (sizes or [readable[0][1]])[0]
    if native is None:
        known = sorted({size for _, size in readable})
        listed = first_few((f"{h}x{w}" for h, w in known), 5)
        raise DataError(
            f"{name} holds pictures of {len(known):,} sizes ({listed}): give one, as --size"
            " HEIGHTxWIDTH"
        )
    return native


def _decodes(picture: Picture, size: tuple[int, int]) -> bool:
    try:
        with picture.open() as image:
            decode(image, size)
    except UnreadableError:
        return False
    return True


def _allocate(name: str, shape: tuple[int, int, int, int]) -> Pixels:
    """An uninitialised uint8 array. Raises DataError if it exceeds this machine's memory."""
    n, channels, height, width = shape
    needed = n * channels * height * width
    if needed > psutil.virtual_memory().total:
        raise DataError(
            f"{name}: {count(n, 'picture')} of {height}x{width} with {channels} channels need"
            f" {needed / 1e9:.0f} GB, more than this machine's memory: give a smaller --size"
        )
    return np.empty(shape, np.uint8)


def _failures(
    pictures: Sequence[Picture], entries: Sequence[object]
) -> tuple[tuple[str, str], ...]:
    pairs = zip(pictures, entries, strict=True)
    return tuple(
        (picture.name, str(entry)) for picture, entry in pairs if isinstance(entry, UnreadableError)
    )


def _altered(seen: Sequence[Seen], fitted: str, channels: int) -> tuple[str, ...]:
    """The changes that lose something (see `Dataset.altered`)."""
    changes = {
        fitted: bool(fitted),
        "composited on white": channels < 4 and any(s.transparent for s in seen),
        "turned to grey": channels == 1 and any(s.colour for s in seen),
    }
    return tuple(change for change, applies in changes.items() if applies)


def _fitted(seen: Sequence[Seen], size: tuple[int, int], channels: int, wish: Wish) -> str:
    """A phrase for how pictures are brought to `size`; "" if all have it."""
    sizes = {s.header.size for s in seen}
    if sizes == {size}:
        return ""
    height, width = size
    paper = "transparent pixels" if channels == 4 else "white"
    change = {
        "crop": "cropped and resized",
        "pad": f"resized and padded with {paper}",
        "stretch": "stretched",
    }[wish.fit]
    if all(h * width == w * height for h, w in sizes):
        change = "resized"
    return f"{change} to {height}x{width}"


def _size_notes(
    seen: Sequence[Seen], size: tuple[int, int], fitted: str, wish: Wish
) -> Iterable[str]:
    if not fitted:
        return
    sizes, (height, width) = {s.header.size for s in seen}, size
    were = f"{len(sizes):,} sizes" if len(sizes) > 1 else "{}x{}".format(*next(iter(sizes)))
    why = "" if wish.size else ", the recipe's own size, as none was given"
    yield f"{count(len(seen), 'picture')} of {were}, {fitted}{why}"
    grows = max if wish.fit == "pad" else min
    enlarged = sum(grows(s.header.size[0] / height, s.header.size[1] / width) < 1 for s in seen)
    if enlarged:
        yield f"{count(enlarged, 'picture')} smaller than {height}x{width} enlarged"


def _channel_notes(seen: Sequence[Seen], stored: int, channels: int) -> Iterable[str]:
    transparent, colour = sum(s.transparent for s in seen), sum(s.colour for s in seen)
    grey, deep = (sum(test(s.header.mode) for s in seen) for test in (is_grey, is_deep))
    if frames := sum(s.header.animated for s in seen):
        yield f"{count(frames, 'picture')} of several frames, the first of each taken"
    if deep:
        yield f"{count(deep, '16-bit picture')} scaled to 8 bits"
    if ink := sum(s.header.mode == "CMYK" for s in seen):
        yield f"{count(ink, 'CMYK picture')} converted to RGB"
    if transparent and channels < 4:
        yield f"{count(transparent, 'transparent picture')} composited on white"
    if channels == 4 and transparent < len(seen):
        yield f"{count(len(seen) - transparent, 'opaque picture')} given an opaque alpha channel"
    if grey and channels > 1:
        yield f"{count(grey, 'grey picture')} widened to {'RGB' if channels == 3 else 'RGBA'}"
    if channels == 1 and colour:
        yield f"{count(colour, 'colour picture')} turned to grey"
    if channels < stored:
        yield _narrowed_note(stored, channels)


def _narrowed_note(stored: int, channels: int) -> str:
    dropped = ["an alpha channel that is opaque everywhere"] if stored == 4 else []
    dropped += ["colour channels that are equal everywhere"] if channels == 1 else []
    return f"{' and '.join(dropped)} left out: {count(channels, 'channel')}"


def _coloured(red: Pixels, green: Pixels, blue: Pixels) -> bool:
    return bool((red != green).any() or (green != blue).any())


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _dataset(
    name: str,
    pixels: Pixels,
    labels: Labels | None,
    classes: tuple[str, ...],
    notes: tuple[str, ...],
    altered: tuple[str, ...] = (),
) -> Dataset:
    images = torch.from_numpy(np.ascontiguousarray(pixels))
    return Dataset(
        name, images, None if labels is None else torch.from_numpy(labels), classes, notes, altered
    )
