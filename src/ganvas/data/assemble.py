"""Many pictures, or arrays of them, into one `Dataset`, with a note on everything that was done to
them."""

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
from ganvas.errors import DataError
from ganvas.system.text import count, first_few

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Split = Literal["train", "test"]
T = TypeVar("T")

MAX_NAMED = 100  # unreadable pictures that one line names


class NoHeldOutError(DataError):
    """A held-out part was asked of a data set that has none."""


@dataclass(frozen=True)
class Picture:
    """A picture not yet decoded: its name, and what opens it (raising UnreadableError)."""

    name: str
    open: Callable[[], AbstractContextManager[Image.Image]]


@dataclass(frozen=True)
class Assembled:
    """A data set, and what was seen on the way.

    sizes: "HxW" of the originals -> how many. unreadable: (name, reason) of each picture that was
    left out.
    digests: a hash of each original's pixels, in the order of the data set; empty unless asked for.
    """

    dataset: Dataset
    sizes: Counter[str]
    unreadable: tuple[tuple[str, str], ...] = ()
    digests: tuple[bytes, ...] = ()


class Seen(NamedTuple):
    """What one picture turned out to be.

    colour: R, G and B differ somewhere in the part that is kept. transparent: alpha is below 255
    somewhere.
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
    """Read uint8 images (N, H, W) or (N, H, W, C), C one of 1, 3, 4, as `assemble` does. Raises
    DataError."""
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.size == 0:
        raise DataError(f"{name} holds no images (its shape is {images.shape})")
    own = images.shape[3] if images.ndim == 4 else 1
    if wish.size not in (None, images.shape[1:3]) or wish.channels not in (None, own):
        pictures = [
            Picture(str(i), partial(Image.fromarray, image)) for i, image in enumerate(images)
        ]
        return assemble(name, pictures, labels, classes, wish, notes, digests=digests)
    pixels = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    transparent = own == 4 and wish.channels is None and pixels[:, 3].min() < 255
    colour = (
        own > 1 and wish.channels is None and _coloured(pixels[:, 0], pixels[:, 1], pixels[:, 2])
    )
    channels = wish.channels or (4 if transparent else 3 if colour else 1)
    if channels < own:
        notes += (_narrowed_note(own, channels),)
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
    """Decode, fit and store pictures in the order given, those that cannot be read left out and
    named.

    Two passes: the headers tell the size and the most channels that are needed, so that the second
    can decode each picture straight into its place. Raises DataError when no picture can be read,
    when the sizes differ and `wish` gives none, and when the result would not fit into memory.
    """
    with strict_pillow():
        headers = [_glance(picture) for picture in pictures]
        good = [entry for entry in headers if isinstance(entry, Header)]
        if not good:
            raise DataError(
                f"{name}: {unreadable_line(_failures(pictures, headers), len(pictures))}"
            )
        size = wish.size or _common_size(name, pictures, headers, wish.native)
        channels = wish.channels or max(entry.channels for entry in good)
        pixels = _room(name, (len(pictures), channels, *size))
        workers = min(8, os.cpu_count() or 1) if _are_large(good) else 1
        seen = _in_threads(
            workers, partial(_place, wish=wish, digests=digests), pictures, headers, pixels
        )

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
    if wish.channels is None:
        transparent, colour = any(s.transparent for s in readable), any(s.colour for s in readable)
        channels = 4 if transparent else 3 if colour else 1
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
    """How many of `total` pictures cannot be read, with names and reasons: of all, or of the first
    MOST_NAMED."""
    named = first_few((f"{name} ({reason})" for name, reason in unreadable), MAX_NAMED)
    rest = " (ganvas data inspect names all)" if len(unreadable) > MAX_NAMED else ""
    return f"{len(unreadable):,} of {count(total, 'picture')} cannot be read: {named}{rest}"


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
        image = flattened(image, 4)  # so that padding is transparent in every picture or in none
    image = fitted(image, (height, width), wish.fit)
    colour = image.mode != "L" and _coloured(*(np.asarray(image.getchannel(i)) for i in range(3)))
    values = np.asarray(flattened(image, channels))
    row[...] = values[None] if channels == 1 else np.moveaxis(values, 2, 0)
    return Seen(entry, colour, bool(transparent), digest)


def _are_large(headers: Sequence[Header]) -> bool:
    """Whether threads pay: Pillow decodes without Python's lock, but small pictures only make them
    wait for it."""
    return sum(entry.size[0] * entry.size[1] for entry in headers) > 256 * 256 * len(headers)


def _in_threads(workers: int, work: Callable[..., T], *columns: Iterable[object]) -> list[T]:
    """What `map` gives, in the same order, worked out in so many threads."""
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
    """The one size of all pictures that can be read, or `native` where there are two: a damaged one
    has no say."""
    heads = [
        (picture, entry.size)
        for picture, entry in zip(pictures, headers, strict=True)
        if isinstance(entry, Header)
    ]
    sizes: list[tuple[int, int]] = []
    for picture, size in heads:
        if size not in sizes and _decodes(picture, size):
            sizes.append(size)
            if len(sizes) > 1:
                break
    if len(sizes) < 2:
        return (sizes or [heads[0][1]])[0]
    if native is None:
        every = sorted({size for _, size in heads})
        listed = first_few((f"{h}x{w}" for h, w in every), 5)
        raise DataError(
            f"{name} holds pictures of {len(every):,} sizes ({listed}): give one, as --size"
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


def _room(name: str, shape: tuple[int, int, int, int]) -> Pixels:
    """An empty uint8 array, refused in words where it exceeds this machine's memory."""
    import psutil

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
    done = {
        fitted: bool(fitted),
        "composited on white": channels < 4 and any(s.transparent for s in seen),
        "turned to grey": channels == 1 and any(s.colour for s in seen),
    }
    return tuple(what for what, holds in done.items() if holds)


def _fitted(seen: Sequence[Seen], size: tuple[int, int], channels: int, wish: Wish) -> str:
    """What brings pictures to one size; "" where they have it."""
    sizes = {s.header.size for s in seen}
    if sizes == {size}:
        return ""
    height, width = size
    paper = "transparent pixels" if channels == 4 else "white"
    done = {
        "crop": "cropped and resized",
        "pad": f"resized and padded with {paper}",
        "stretch": "stretched",
    }[wish.fit]
    if all(h * width == w * height for h, w in sizes):
        done = "resized"
    return f"{done} to {height}x{width}"


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
