"""Notes on what was done to pictures to bring them to one size and number of channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ganvas.data.pictures import Header, PictureOptions, is_deep, is_grey
from ganvas.system.text import count


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


def describe_changes(
    seen: Sequence[Seen], stored: tuple[int, ...], channels: int, options: PictureOptions
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes for the user, and phrases for the lossy changes (see `Dataset`).

    stored: (N, C, H, W) of the decoded pictures.
    channels: how many of C are kept.
    """
    size = (stored[2], stored[3])
    fitted = _fitted(seen, size, channels, options)
    altered = {
        fitted: bool(fitted),
        "composited on white": channels < 4 and any(s.transparent for s in seen),
        "turned to grey": channels == 1 and any(s.colour for s in seen),
    }
    notes = *_size_notes(seen, size, fitted, options), *_channel_notes(seen, stored[1], channels)
    return notes, tuple(change for change, applies in altered.items() if applies)


def _fitted(
    seen: Sequence[Seen], size: tuple[int, int], channels: int, options: PictureOptions
) -> str:
    """A phrase for how pictures are brought to `size`; "" if all have it."""
    sizes = {s.header.size for s in seen}
    if sizes == {size}:
        return ""
    height, width = size
    paper = "transparent pixels" if channels == 4 else "white"
    changes = {"crop": "cropped and resized", "pad": f"resized and padded with {paper}"}
    same_shape = all(h * width == w * height for h, w in sizes)
    change = "resized" if same_shape else changes.get(options.fit or "crop", "stretched")
    return f"{change} to {height}x{width}"


def _size_notes(
    seen: Sequence[Seen], size: tuple[int, int], fitted: str, options: PictureOptions
) -> Iterable[str]:
    if not fitted:
        return
    sizes, (height, width) = {s.header.size for s in seen}, size
    were = f"{len(sizes):,} sizes" if len(sizes) > 1 else "{}x{}".format(*next(iter(sizes)))
    why = "" if options.size else ", the recipe's own size, as none was given"
    if not options.size and len(sizes) == 1:
        why = f", which can be trained here in the time planned (--size {were} keeps all pixels)"
    yield f"{count(len(seen), 'picture')} of {were}, {fitted}{why}"
    grows = max if options.fit == "pad" else min
    enlarged = sum(grows(s.header.size[0] / height, s.header.size[1] / width) < 1 for s in seen)
    if enlarged:
        yield f"{count(enlarged, 'picture')} smaller than {height}x{width} enlarged"


def _channel_notes(seen: Sequence[Seen], stored: int, channels: int) -> Iterable[str]:
    wider = f"widened to {'RGB' if channels == 3 else 'RGBA'}"
    for kind, applies, change in (
        ("", [s.header.animated for s in seen], "of several frames, the first of each taken"),
        ("16-bit ", [is_deep(s.header.mode) for s in seen], "scaled to 8 bits"),
        ("CMYK ", [s.header.mode == "CMYK" for s in seen], "converted to RGB"),
        ("transparent ", [s.transparent and channels < 4 for s in seen], "composited on white"),
        (
            "opaque ",
            [not s.transparent and channels == 4 for s in seen],
            "given an opaque alpha channel",
        ),
        ("grey ", [is_grey(s.header.mode) and channels > 1 for s in seen], wider),
        ("colour ", [s.colour and channels == 1 for s in seen], "turned to grey"),
    ):
        if any(applies):
            yield f"{count(sum(applies), f'{kind}picture')} {change}"
    if channels < stored:
        yield narrowed_note(stored, channels)


def narrowed_note(stored: int, channels: int) -> str:
    """The note on channels that no picture needs."""
    dropped = ["an alpha channel that is opaque everywhere"] if stored == 4 else []
    dropped += ["colour channels that are equal everywhere"] if channels == 1 else []
    return f"{' and '.join(dropped)} left out: {count(channels, 'channel')}"
