"""Ranges of values: found over a whole set, and scaled to 8 bits alike for all of its images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ganvas.data.pixels import Pixels
from ganvas.errors import DataError
from ganvas.system.text import option_value

Values = npt.NDArray[Any]
Range = tuple[float, float]

# the largest values of usual depths: masks, 4 bits (0 to 16 in scikit-learn's digits), 8 to 16 bits
_DEPTHS = (1, 15, 16, *(2**bits - 1 for bits in (8, 9, 10, 12, 14, 16)))
_DARK = 127.5  # floats from 0 to 255 whose largest is below have another scale
_DIM = 32  # images whose values are all below look black
_BLOCK = 2**22  # values scaled at once, to bound memory


class Extent(NamedTuple):
    """The lowest and highest of some values, and whether they are integers."""

    low: float
    high: float
    integers: bool

    def joined(self, other: Extent) -> Extent:
        """The extent of both."""
        integers = self.integers and other.integers
        return Extent(min(self.low, other.low), max(self.high, other.high), integers)

    @staticmethod
    def of_all(extents: Iterable[Extent]) -> Extent:
        """The extent of all, of which there is at least one."""
        return reduce(Extent.joined, extents)

    def usual_range(self) -> Range:
        """The smallest usual range that holds all values; else from the lowest to the highest.

        Integers: 0 to 2^bits - 1. Floats: 0:1, -1:1 or 0:255.
        """
        low, high = self.low, self.high
        if self.integers and low >= 0:
            high = next((most for most in _DEPTHS if high <= most), high)
            return (0.0, float(high)) if high <= _DEPTHS[-1] else _apart(low, high)
        if not self.integers and low >= -1 and high <= 1:
            return (-1.0, 1.0) if low < 0 else (0.0, 1.0)
        if not self.integers and low >= 0 and _DARK < high <= 255:
            return 0.0, 255.0
        return _apart(low, high)


def _apart(low: float, high: float) -> Range:
    """Two different ends, for values that are all equal, too."""
    return (low, high) if low < high else (low, low + max(1.0, abs(low)))


def extent(values: Values) -> Extent:
    """The extent of an array. Raises ValueError for no numbers, NaN or infinite ones."""
    if values.dtype.kind not in "buif":
        raise ValueError(f"values are {values.dtype}, expected numbers")
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        raise ValueError("values that are NaN or infinite")
    return Extent(low, high, values.dtype.kind != "f")


def scaled(values: Values, ends: Range) -> Pixels:
    """Scale values to 8 bits, rounded to the nearest; those outside `ends` are clipped.

    ends: the values that become 0 and 255.
    """
    low, high = ends
    result = np.empty(values.shape, np.uint8)
    for rows in _blocks(values):
        exact = (values[rows].astype(np.float64) - low) * 255 / (high - low)
        result[rows] = np.floor(np.clip(exact, 0, 255) + 0.5)
    return result


def dim_notes(pixels: Pixels) -> tuple[str, ...]:
    """A note on images (N, ...) that are nearly black, such as masks of 0 and 1; () for others."""
    high = int(pixels.max())
    if not 0 < high < _DIM or not any(image.min() < image.max() for image in pixels):
        return ()
    if high == 1:
        return ("all values are 0 or 1, which is black; --range 0:1 makes 1 white",)
    return (f"no pixel is brighter than {high} of 255: nearly black; --range LOW:HIGH changes it",)


def count_outside(values: Values, ends: Range) -> int:
    """The number of values that `scaled` clips."""
    low, high = ends
    parts = (values[rows] for rows in _blocks(values))
    return sum(int(((part < low) | (part > high)).sum()) for part in parts)


def _blocks(values: Values) -> Iterator[slice]:
    """Slices of the first axis with about _BLOCK values each."""
    step = max(1, _BLOCK // max(1, values[0].size))
    return (slice(first, first + step) for first in range(0, len(values), step))


@dataclass
class RangeUsed:
    """The range that a set was scaled by, and what it did to the set's values."""

    found: Extent
    ends: Range
    given: bool
    total: int
    outside: int

    def notes(self) -> list[str]:
        """Lines for the user."""
        low, high = (option_value(round(end, 6)) for end in (self.found.low, self.found.high))
        ends = option_value(self.ends)
        why = ", as asked" if self.given else "; --range LOW:HIGH sets another range"
        lines = [f"values from {low} to {high}: {ends} becomes black to white{why}"]
        if self.outside:
            share = max(self.outside / self.total, 0.0001)
            lines.append(f"{share:.2%} of the values lie outside {ends}: clipped")
        return lines


def array_to_8_bits(
    name: str, images: Values, given: Range | None
) -> tuple[Pixels, RangeUsed | None]:
    """Scale images (N, ...) of any numeric or bool dtype to 8 bits by one range.

    name: of the set, for errors.
    given: the range; found from the values if None. 8-bit images are then left as they are.

    Raises DataError, naming the first image, for NaN or infinite values.
    """
    if images.dtype == np.uint8 and given is None:
        return images, None
    try:
        found = extent(images)
    except ValueError as error:
        where = ""
        if images.dtype.kind == "f":
            bad = next((i for i, image in enumerate(images) if not np.isfinite(image).all()), 0)
            where = f"image {bad} has "
        raise DataError(f"{name}: {where}{error}: remove or replace them") from None
    ends = given or found.usual_range()
    outside = 0
    if found.low < ends[0] or found.high > ends[1]:
        outside = count_outside(images, ends)
    used = RangeUsed(found, ends, given is not None, images.size, outside)
    return scaled(images, ends), used
