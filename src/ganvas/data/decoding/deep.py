"""Pictures of more than 8 bits in each channel, which Pillow keeps only if they are grey."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageFile

from ganvas.data.decoding.ranges import Extent, Range, Values, extent, scaled

# 16-bit colour, of which Pillow keeps the byte that it takes for the upper one
_COLOUR = ("RGB;16B", "RGB;16L", "RGB;16N", "RGBA;16B", "RGBA;16L", "RGBA;16N")
_GREY_AND_ALPHA = "LA;16B"
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}

Upright = Callable[[Image.Image], Image.Image]


class Deep(NamedTuple):
    """Pixels that are to be scaled to 8 bits.

    values: (H, W), or (H, W, 3 or 4) for colour.
    extent: of all values but alpha.
    opaque: alpha of opaque pixels.
    """

    values: Values
    extent: Extent
    opaque: float = 65535.0

    def to_8_bits(self, ends: Range) -> Image.Image:
        """Scale grey or colour from `ends` to 8 bits."""
        pixels = scaled(self.colours, ends)
        if self.values.shape[2:] == (4,):
            alpha = scaled(self.values[..., 3:], (0.0, self.opaque))
            pixels = np.concatenate([pixels, alpha], axis=2)
        return Image.fromarray(pixels)

    @property
    def colours(self) -> Values:
        """The values without alpha."""
        return self.values[..., :3] if self.values.ndim == 3 else self.values

    @property
    def clear(self) -> float:
        """The share of pixels that are transparent."""
        four = self.values.shape[2:] == (4,)
        return float((self.values[..., 3] < self.opaque).mean()) if four else 0.0


def is_deep_grey(mode: str) -> bool:
    """True if a mode stores grey with more than 8 bits, or as floats."""
    return mode in ("I", "F") or mode.startswith("I;16")


def is_deep(image: Image.Image) -> bool:
    """True if a picture that is not decoded yet has more than 8 bits in each channel."""
    raw = _raw_mode(image)
    return is_deep_grey(image.mode) or raw in _COLOUR or _has_alpha(image.mode, raw)


def _has_alpha(mode: str, raw: str) -> bool:
    """True for 16-bit grey with alpha, which Pillow widens to RGBA."""
    return (mode, raw) == ("RGBA", _GREY_AND_ALPHA)


def decode_deep(image: Image.Image, upright: Upright) -> Deep:
    """Decode a picture that `is_deep`.

    upright: turns a decoded picture as its metadata say.
    Raises ValueError for NaN and infinite values, and what Pillow raises.
    """
    if is_deep_grey(image.mode):
        values = np.asarray(upright(image))
        return Deep(values, extent(values))
    raw = _raw_mode(image)
    if _has_alpha(image.mode, raw):
        # the four bytes of a pixel as if they were red, green, blue and alpha
        _read_as(image, "RGBA")
        pairs = np.asarray(upright(image)).astype(np.uint16)
        grey, alpha = (pairs[..., i] << 8 | pairs[..., i + 1] for i in (0, 2))
        return Deep(np.stack([grey, grey, grey, alpha], 2), extent(grey))
    # Decode twice, with the bytes of each value in either order: each time another one is kept.
    other = _reopened(image)
    _read_as(other, raw[:-1] + _OTHER_BYTE[raw[-1]])
    high, low = (np.asarray(upright(each)).astype(np.uint16) for each in (image, other))
    values = high << 8 | low
    return Deep(values, extent(values[..., :3]))


def deepened(image: Image.Image) -> Deep:
    """The pixels of mode L, RGB or RGBA, to be scaled from another range than 0 to 255."""
    values = np.asarray(image)
    return Deep(values, extent(values[..., :3] if values.ndim == 3 else values), 255.0)


def _reopened(image: Image.Image) -> ImageFile.ImageFile:
    """The same picture opened once more, at the same page."""
    stream = cast(ImageFile.ImageFile, image).fp
    assert stream is not None
    stream.seek(0)
    assert image.format is not None
    other = Image.open(io.BytesIO(stream.read()), formats=[image.format])
    if page := image.tell():
        other.seek(page)
    return other


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of how the first tile stores its pixels; "" if it has none."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _read_as(image: Image.Image, raw: str) -> None:
    """Replace the raw mode of all tiles."""
    opened = cast(ImageFile.ImageFile, image)
    opened.tile = [tile._replace(args=_replaced(tile.args, raw)) for tile in opened.tile]


def _replaced(arguments: object, raw: str) -> tuple[object, ...] | str:
    """A tile's arguments with another raw mode, which comes first or alone."""
    return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw
