"""Pictures as they are stored: headers first, the pixels of small ones along with them.

So most files are opened once, although the size, the range of values and the channels of a set are
known only when all headers are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil
from PIL import Image

from ganvas.data.decoding.deep import Deep
from ganvas.data.decoding.ranges import Extent
from ganvas.data.pictures import (
    MAX_MEGAPIXELS,
    Decoded,
    Header,
    Picture,
    PictureOptions,
    UnreadableError,
    Watch,
    decode,
    frames,
    header,
    raise_if_large,
    reduce_jpeg,
    unwatched,
)

T = TypeVar("T")

SMALL = 256 * 256  # pixels of pictures that are decoded along with their header
MAX_KEPT = 2**30  # bytes of such pixels
_BYTES = 4  # that Pillow uses for a pixel


class Probe(NamedTuple):
    """Facts about pixels that decide how a set is read.

    extent: of values of more than 8 bits; None for 8 bits.
    clear: the largest share of transparent pixels in a frame.
    """

    extent: Extent | None
    clear: float


@dataclass
class Original:
    """A picture that can be opened.

    headers: of each frame that is taken.
    every: True if that is every frame, False if it is the first.
    kept: its pixels, if they were decoded already.
    """

    picture: Picture
    headers: tuple[Header, ...]
    every: bool
    kept: Decoded | None = None

    def decoded(self, size: tuple[int, int], *, drop: bool = False) -> Iterator[Decoded]:
        """Decode the frames, to no less than twice `size`. Raises UnreadableError.

        drop: forget the pixels that are kept.
        """
        if self.kept:
            yield self.kept
            self.kept = None if drop else self.kept
            return
        with self.picture.open() as image:
            for _ in frames(image, self.every):
                reduce_jpeg(image, size)
                yield decode(image, keep=self.every)

    def probe(self, size: tuple[int, int]) -> Probe | None:
        """Decode the picture for the facts alone; None if that fails."""
        found: Extent | None = None
        clear = 0.0
        try:
            for pixels, _ in self.decoded(size):
                if isinstance(pixels, Deep):
                    found = pixels.extent.joined(found) if found else pixels.extent
                clear = max(clear, clear_share(pixels))
        except UnreadableError:
            return None
        return Probe(found, clear)


def clear_share(pixels: Image.Image | Deep) -> float:
    """The share of a picture's pixels that are transparent, at least in part."""
    if isinstance(pixels, Deep):
        return pixels.clear
    if pixels.mode != "RGBA":
        return 0.0
    return float((np.asarray(pixels.getchannel(3)) < 255).mean())


class Scanner:
    """Reads headers, and keeps the pixels of small pictures up to a limit of memory."""

    def __init__(self, options: PictureOptions) -> None:
        self.options = options
        self.aim = options.size or options.native
        self.headers: dict[Header, Header] = {}  # each once, as most pictures have equal ones
        self.left = min(MAX_KEPT, psutil.virtual_memory().total // 8)

    def scan(self, picture: Picture) -> Original | UnreadableError:
        """Open a picture, or return the reason why it cannot be used."""
        try:
            with picture.open() as image:
                return self._scanned(picture, image)
        except UnreadableError as error:
            return error

    def _scanned(self, picture: Picture, image: Image.Image) -> Original:
        raise_if_large(image, self.options.max_megapixels or MAX_MEGAPIXELS)
        first = header(image)
        if first.animated:  # and the image may stand at another frame now
            every = self._takes_all(image)
            return Original(picture, _all_headers(picture) if every else (first,), every)
        original = Original(picture, (self.headers.setdefault(first, first),), False)
        pixels = image.width * image.height
        if pixels <= SMALL and pixels * _BYTES <= self.left and self._is_size_known(image):
            original.kept = decode(image, keep=True)  # without what was read around the pixels
            self.left -= pixels * _BYTES
        return original

    def _takes_all(self, image: Image.Image) -> bool:
        return (self.options.pages if image.format == "TIFF" else self.options.frames) == "all"

    def _is_size_known(self, image: Image.Image) -> bool:
        """True if pixels decoded now are those that would be decoded later."""
        if image.format != "JPEG" or self.aim is None:
            return True
        return not reduce_jpeg(image, self.aim) or self.options.size is not None


def _all_headers(picture: Picture) -> tuple[Header, ...]:
    with picture.open() as image:
        return tuple(header(image) for _ in frames(image, True))


def in_order(
    work: Callable[..., T],
    originals: Sequence[Original | UnreadableError],
    *more: Iterable[Any],
    watch: Watch = unwatched,
) -> list[T]:
    """Apply a function to each picture, in threads if that pays. Returns the results in order."""
    good = [each for each in originals if isinstance(each, Original)]
    pixels = sum(math.prod(each.headers[0].size) for each in good)
    # Pillow releases the GIL while it decodes: too briefly for threads to pay if images are small
    if pixels <= SMALL * len(good):
        return list(watch(map(work, originals, *more), len(originals), "read"))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(watch(pool.map(work, originals, *more), len(originals), "read"))
