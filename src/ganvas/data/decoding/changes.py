"""Notes on what was done to pictures to bring them to one size, range and number of channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ganvas.data.decoding.fits import Fitting, cut_off
from ganvas.data.decoding.ranges import Extent, Range, RangeUsed
from ganvas.data.pictures import Header, is_grey
from ganvas.system.text import count, first_few, option_value

# A set is transparent if this share of its pictures have this share of transparent pixels
MIN_CLEAR_PICTURES, MIN_CLEAR_PIXELS = 0.01, 0.001
_LISTED = 3  # pictures named in a note


class Seen(NamedTuple):
    """A picture's header, and properties of its pixels; of several frames, one for each.

    colour: R, G and B differ somewhere in the part that is kept.
    clear: the share of pixels with alpha below 255.
    digest: a hash of the original's pixels; b"" if not requested.
    incomplete: the file lacks its last bytes.
    extent: of the values that were scaled to 8 bits; None if none were.
    outside, values: how many of these were clipped, and how many there are.
    """

    name: str
    header: Header
    colour: bool = False
    clear: float = 0.0
    digest: bytes = b""
    incomplete: bool = False
    extent: Extent | None = None
    outside: int = 0
    values: int = 0


@dataclass(frozen=True)
class DecodingPlan:
    """The way in which all pictures of a set are read.

    size: (H, W).
    channels: that are decoded.
    fitting: how they get to the size.
    ends: the range of values that becomes 0 to 255; None for 8 bits.
    scales_8_bits: True if pictures of 8 bits are scaled, too.
    asked: which of these the user chose.
    digests: hash the pixels of each original.
    """

    size: tuple[int, int]
    channels: int
    fitting: Fitting
    ends: Range | None
    scales_8_bits: bool
    asked: frozenset[str]
    digests: bool


def fits_8_bits(ends: Range) -> bool:
    """True if a range means something for values from 0 to 255."""
    return ends[0] >= 0 and ends[1] <= 255


def is_transparent(clear: Iterable[float]) -> bool:
    """True if enough pictures have enough transparent pixels, given the share of each."""
    shares = np.fromiter(clear, float)
    enough = (shares >= MIN_CLEAR_PIXELS).mean() if shares.size else 0.0
    return bool(enough >= MIN_CLEAR_PICTURES)


def describe_changes(
    seen: Sequence[Seen], plan: DecodingPlan, channels: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes for the user, and phrases for the lossy changes (see `Dataset`).

    channels: how many of those decoded are kept.
    """
    fitted = _fitted(seen, plan, channels)
    altered = {
        fitted: bool(fitted),
        "composited on white": channels < 4 and any(s.clear for s in seen),
        "turned to grey": channels == 1 and any(s.colour for s in seen),
    }
    notes = [
        *_size_notes(seen, plan, fitted),
        *_kind_notes(seen),
        *_range_notes(seen, plan),
        *_channel_notes(seen, plan, channels),
    ]
    return tuple(notes), tuple(change for change, applies in altered.items() if applies)


def _fitted(seen: Sequence[Seen], plan: DecodingPlan, channels: int) -> str:
    """A phrase for how pictures are brought to the size; "" if all have it."""
    sizes, size = {s.header.size for s in seen}, plan.size
    if sizes == {size}:
        return ""
    paper = "transparent pixels" if channels == 4 else "white"
    changes = {"crop": "cropped and resized", "pad": f"resized and padded with {paper}"}
    same_shape = not any(cut_off(each, size) for each in sizes)
    change = "resized" if same_shape else changes.get(plan.fitting.fit or "crop", "stretched")
    return f"{change} to {{}}x{{}}".format(*size)


def _size_notes(seen: Sequence[Seen], plan: DecodingPlan, fitted: str) -> Iterable[str]:
    if not fitted:
        return
    sizes, (height, width) = {s.header.size for s in seen}, plan.size
    were = f"{len(sizes):,} sizes" if len(sizes) > 1 else "{}x{}".format(*next(iter(sizes)))
    why = "" if "size" in plan.asked else ", the recipe's own size, as none was given"
    if "size" not in plan.asked and len(sizes) == 1:
        why = f", which can be trained here in the time planned (--size {were} keeps all pixels)"
    yield f"{count(len(seen), 'picture')} of {were}, {fitted}{why}"
    if plan.fitting.note:
        yield plan.fitting.note
    grows = max if plan.fitting.fit == "pad" else min
    enlarged = sum(grows(s.header.size[0] / height, s.header.size[1] / width) < 1 for s in seen)
    if enlarged:
        yield f"{count(enlarged, 'picture')} smaller than {height}x{width} enlarged"


def _kind_notes(seen: Sequence[Seen]) -> Iterable[str]:
    """Notes on frames, on incomplete pictures and on files with several kinds of pixels."""
    animated = [s for s in seen if s.header.animated]
    files = Counter(s.name for s in animated)
    several = sum(number for number in files.values() if number > 1)
    if several:
        kept = sum(number > 1 for number in files.values())
        yield f"{count(kept, 'picture')} of several frames, each an image: {several:,} in all"
    if first := sum(number == 1 for number in files.values()):
        taken = f"{count(first, 'picture')} of several frames, the first of each taken"
        yield f"{taken}; --frames all or --pages all takes each"
    if incomplete := [s.name for s in seen if s.incomplete]:
        named = f"{count(len(incomplete), 'picture')} without the last bytes"
        yield f"{named}, decoded as far as they go: {first_few(incomplete)}"


def _range_notes(seen: Sequence[Seen], plan: DecodingPlan) -> Iterable[str]:
    for kind, floats in (("16-bit", False), ("floating-point", True)):
        if number := sum(s.header.deep and (s.header.mode == "F") is floats for s in seen):
            yield f"{count(number, f'{kind} picture')} scaled to 8 bits"
    scaled = [s for s in seen if s.extent]
    if plan.ends and scaled:
        found = Extent.of_all(s.extent for s in scaled if s.extent)
        total, outside = sum(s.values for s in scaled), sum(s.outside for s in scaled)
        yield from RangeUsed(found, plan.ends, "range" in plan.asked, total, outside).notes()
    if plan.ends and len(scaled) < len(seen) and "range" in plan.asked:
        left = count(len(seen) - len(scaled), "picture")
        yield f"--range {option_value(plan.ends)} leaves {left} of 8 bits as stored"


def _channel_notes(seen: Sequence[Seen], plan: DecodingPlan, channels: int) -> Iterable[str]:
    wider = f"widened to {'RGB' if channels == 3 else 'RGBA'}"
    for kind, applies, change in (
        ("CMYK ", [s.header.mode == "CMYK" for s in seen], "converted to RGB"),
        (
            "opaque ",
            [not s.clear and channels == 4 for s in seen],
            "given an opaque alpha channel",
        ),
        ("grey ", [is_grey(s.header.mode) and channels > 1 for s in seen], wider),
        ("colour ", [s.colour and channels == 1 for s in seen], "turned to grey"),
    ):
        if any(applies):
            yield f"{count(sum(applies), f'{kind}picture')} {change}"
    yield from _transparency_notes(seen, plan, channels)
    opaque = not any(s.clear for s in seen)
    if channels < plan.channels and (opaque or plan.channels < 4 or channels == 1):
        yield narrowed_note(plan.channels if opaque else 3, channels)


def _transparency_notes(seen: Sequence[Seen], plan: DecodingPlan, channels: int) -> Iterable[str]:
    clear = [s.name for s in seen if s.clear]
    if not clear:
        return
    transparent = count(len(clear), "transparent picture")
    named = f"({first_few(clear, _LISTED)})"
    if channels < 4:
        if "channels" in plan.asked:
            yield f"{transparent} composited on white"
        else:
            few = "composited on white, too few pixels to count; --channels 4 keeps alpha"
            yield f"{transparent} {named} {few}"
    elif "channels" not in plan.asked:
        dropped = "--channels 3 composites them on white"
        yield f"{transparent} {named}: all are read with alpha; {dropped}"


def narrowed_note(stored: int, channels: int) -> str:
    """The note on channels that no picture needs."""
    dropped = ["an alpha channel that is opaque everywhere"] if stored == 4 else []
    dropped += ["colour channels that are equal everywhere"] if channels == 1 else []
    return f"{' and '.join(dropped)} left out: {count(channels, 'channel')}"
