"""The way in which a set is read, found from the headers of its pictures and some pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import psutil

from ganvas.data.decoding.changes import DecodingPlan, fits_8_bits, is_transparent
from ganvas.data.decoding.fits import Fitting, chosen_fit, cut_off
from ganvas.data.decoding.kinds import LOSSY
from ganvas.data.decoding.originals import Original, in_order
from ganvas.data.decoding.ranges import Extent, Range
from ganvas.data.pictures import Header, Picture, PictureOptions, UnreadableError
from ganvas.data.reading import MAX_PIXELS
from ganvas.data.sizes import Size, reduced_size
from ganvas.errors import DataError
from ganvas.system.text import count, first_few

MAX_NAMED = 100  # unreadable pictures named in one message

Failure = tuple[str, str]  # name of a picture, and why it is unreadable
Entries = Sequence[Original | UnreadableError]


def planned(
    name: str,
    pictures: Sequence[Picture],
    entries: Entries,
    options: PictureOptions,
) -> DecodingPlan:
    """DecodingPlan how a set is read.

    name: of the set, for errors.
    entries: of each picture, what opening it gave.

    Raises DataError as `assemble` does.
    """
    originals = [entry for entry in entries if isinstance(entry, Original)]
    if not originals:
        raise DataError(f"{name}: {unreadable_line(failures(pictures, entries), len(pictures))}")
    headers = [each for original in originals for each in original.headers]
    size = options.size or _common_size(name, originals, options)
    channels = options.channels or max(each.channels for each in headers)
    _raise_if_too_many(name, (len(headers), *size, channels))
    odd = options.fit is None and any(cut_off(each.size, size) for each in headers)
    wanted = [each for each in originals if _needs_probe(each, options.range is None, odd)]
    probes = [probe for probe in in_order(partial(Original.probe, size=size), wanted) if probe]
    ends = options.range or _range_of(headers, [p.extent for p in probes if p.extent])
    fitting = Fitting(options.fit)
    if odd:
        clear = [p.clear for p in probes] + [0.0] * (len(originals) - len(probes))
        photos = sum(each.kind in LOSSY for each in headers) * 2 > len(headers)
        fitting = chosen_fit([each.size for each in headers], size, is_transparent(clear), photos)
    # beside pictures of more bits, which the range is for, those of 8 bits stay as they are
    eight = options.range is not None and not any(each.deep for each in headers)
    eight = eight and ends is not None and fits_8_bits(ends)
    asked = frozenset(options.given())
    return DecodingPlan(size, channels, fitting, ends, eight, asked, options.digests)


def _needs_probe(original: Original, ranged: bool, odd: bool) -> bool:
    """True if the pixels must be looked at.

    ranged: the range of values is to be found.
    odd: the fit is to be chosen, for which transparency matters.
    """
    return any((each.deep and ranged) or (each.channels == 4 and odd) for each in original.headers)


def _range_of(headers: Sequence[Header], extents: Sequence[Extent]) -> Range | None:
    """The range of a set; None if all its pictures have 8 bits.

    Beside pictures of 8 bits, others that use no more are read alike.
    """
    if not extents:
        return None
    found = Extent.of_all(extents)
    ends = found.usual_range()
    mixed = not all(each.deep for each in headers)
    return (0.0, 255.0) if mixed and found.integers and fits_8_bits(ends) else ends


def _common_size(name: str, originals: Sequence[Original], options: PictureOptions) -> Size:
    """The size for all readable pictures: their own (see `reduced_size`), or `native` for several.

    Damaged pictures do not count, whatever size their headers claim.
    """
    sizes: list[Size] = []
    for original in originals:
        new = [each.size for each in original.headers if each.size not in sizes]
        if new and _is_readable(original, new[0]):
            sizes += dict.fromkeys(new)
        if len(sizes) > 1:
            break
    else:
        return reduced_size(sizes[0] if sizes else originals[0].headers[0].size, options.side)
    if options.native is None:
        known = sorted({each.size for original in originals for each in original.headers})
        listed = first_few((f"{h}x{w}" for h, w in known), 5)
        raise DataError(
            f"{name} holds pictures of {len(known):,} sizes ({listed}): give one, as --size"
        )
    return options.native


def _is_readable(original: Original, size: Size) -> bool:
    try:
        return any(True for _ in original.decoded(size))
    except UnreadableError:
        return False


def _raise_if_too_many(name: str, shape: tuple[int, ...]) -> None:
    if shape[1] * shape[2] > MAX_PIXELS:
        large = f"{shape[1]}x{shape[2]}, more than 64 megapixels"
        raise DataError(f"{name} holds pictures of {large}: give a smaller --size")
    if (needed := math.prod(shape)) > psutil.virtual_memory().total:
        pile = f"{count(shape[0], 'picture')} of {shape[1]}x{shape[2]}x{shape[3]}"
        raise DataError(
            f"{name}: {pile} need {needed / 1e9:.0f} GB, more than this machine's memory: give a"
            " smaller --size"
        )


def failures(pictures: Sequence[Picture], entries: Sequence[object]) -> tuple[Failure, ...]:
    """Name and reason of each picture whose entry is an UnreadableError."""
    pairs = zip(pictures, entries, strict=True)
    return tuple((p.name, str(entry)) for p, entry in pairs if isinstance(entry, UnreadableError))


def unreadable_line(unreadable: Sequence[Failure], total: int) -> str:
    """A line that counts unreadable pictures and names the first MAX_NAMED, with reasons."""
    named = first_few((f"{name} ({reason})" for name, reason in unreadable), MAX_NAMED)
    rest = " (ganvas data inspect names all)" if len(unreadable) > MAX_NAMED else ""
    return f"{len(unreadable):,} of {count(total, 'picture')} cannot be read: {named}{rest}"
