"""A single picture: opened, converted to 8-bit grey, RGB or RGBA, and fitted to a size.

Files are untrusted: damaged ones and decompression bombs raise UnreadableError.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ganvas.data.reading import MAX_PIXELS, ReadOptions, check_size
from ganvas.recipe import Fit

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

_ORIENTATION = 0x0112  # the EXIF tag
_T = TypeVar("_T")
_MODES: dict[int, str] = {1: "L", 3: "RGB", 4: "RGBA"}


class UnreadableError(Exception):
    """The picture cannot be used. The message is the reason, a few words on one line."""


class Watch(Protocol):
    """Iterates over pictures and shows how many are done."""

    def __call__(self, items: Iterable[_T], total: int, done: str, /) -> Iterable[_T]:
        """Yield all `items`. total: how many there are. done: such as "read", for the display."""


def unwatched(items: Iterable[_T], total: int, done: str, /) -> Iterable[_T]:
    """Return the items, without a display."""
    return items


@dataclass(frozen=True, kw_only=True)
class PictureOptions(ReadOptions):
    """The size and channels that pictures are brought to, and whether to hash them.

    native: (H, W) if the pictures have several sizes and `size` is None.
    side: of the longer side, for large pictures of one size if `size` is None (see `reduced_size`).
    digests: hash the pixels of each original, to find duplicates.
    watch: shows the progress of reading; see `unwatched`.

    Raises SettingError for impossible values.
    """

    native: tuple[int, int] | None = None
    side: int | None = None
    digests: bool = False
    watch: Watch = unwatched

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("native", self.native)


class Header(NamedTuple):
    """The header of a picture.

    size: (H, W), turned as EXIF says.
    mode: Pillow's mode of the stored pixels.
    channels: 1, 3 or 4, the most that the picture can need.
    animated: True if it has several frames or pages.
    """

    size: tuple[int, int]
    mode: str
    channels: int
    animated: bool


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow refuse bombs and truncated files and not warn of metadata, in the whole process.

    Enter it once, outside the threads that decode.
    """
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


@contextmanager
def _unreadable() -> Iterator[None]:
    """Turn any error of Pillow into UnreadableError. Only calls of Pillow belong inside."""
    try:
        yield
    except UnidentifiedImageError:
        raise UnreadableError("not a PNG, JPEG, WEBP, BMP, GIF or TIFF picture") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableError("more than 64 megapixels") from None
    # Pillow's parsers raise nearly anything on damaged files
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableError(" ".join(text.split())[:100] or type(error).__name__) from error


@contextmanager
def open_picture(stream: Callable[[], BinaryIO]) -> Iterator[Image.Image]:
    """Open a picture without decoding its pixels. Raises UnreadableError."""
    with ExitStack() as stack:
        with _unreadable():
            image = Image.open(stack.enter_context(stream()), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableError("more than 64 megapixels")
        yield image


def header(image: Image.Image) -> Header:
    """The header of an image that is not decoded yet. Raises UnreadableError."""
    with _unreadable():
        turned = False
        # Pillow has turned a TIFF's size already; getexif() would decode a PNG without this entry
        if image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info):
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        size = (image.width, image.height) if turned else (image.height, image.width)
        channels = 4 if image.has_transparency_data else 1 if is_grey(image.mode) else 3
        # last, because it seeks the next frame
        animated = bool(getattr(image, "is_animated", False))
    return Header(size, image.mode, channels, animated)


def is_grey(mode: str) -> bool:
    """True if a mode has no colour. It may have alpha."""
    return mode in ("1", "L", "LA") or is_deep(mode)


def is_deep(mode: str) -> bool:
    """True if a mode stores grey with more than 8 bits."""
    return mode == "I" or mode.startswith("I;16")


def decode(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Decode to mode L, RGB or RGBA, turned as EXIF says; of an animation, the first frame.

    16-bit grey is scaled to 8 bits (65535 to 255). CMYK and palettes become RGB, or RGBA if they
    are transparent. A large JPEG is decoded to no less than twice `size` (H, W), which is several
    times faster.
    Raises UnreadableError.
    """
    with _unreadable():
        image.draft(None, (2 * max(size), 2 * max(size)))
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F":
            raise ValueError("pixels are floating-point numbers, expected 8 or 16 bits")
        if is_deep(image.mode):
            return _from_16_bits(image)
        mode = "RGBA" if image.has_transparency_data else "L" if is_grey(image.mode) else "RGB"
        return image if image.mode == mode else image.convert(mode)


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("pixels are 32-bit integers, expected 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    """Bring a picture to `size` (H, W) with an antialiasing Lanczos filter and premultiplied alpha.

    crop: the largest centred part of the right aspect ratio.
    pad: the whole picture, centred on white, which is transparent if the picture has alpha.
    stretch: the whole picture, its aspect ratio changed.
    """
    (height, width), (w, h) = size, image.size
    if (h, w) == size:
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    if fit == "crop":
        scale = min(w / width, h / height)
        across, down = min(width * scale, w), min(height * scale, h)
        # whole pixels keep a crop without resizing sharp
        left, top = (w - across) // 2, (h - down) // 2
        box = (left, top, left + across, top + down)
        return image.resize((width, height), Image.Resampling.LANCZOS, box)
    scale = max(w / width, h / height)
    across, down = (max(1, min(width, round(w / scale))), max(1, min(height, round(h / scale))))
    inner = image.resize((across, down), Image.Resampling.LANCZOS)
    white = (255, 255, 255, 0) if image.mode == "RGBA" else "white"
    canvas = Image.new(image.mode, (width, height), white)
    canvas.paste(inner, ((width - across) // 2, (height - down) // 2))
    return canvas


def flattened(image: Image.Image, channels: int) -> Image.Image:
    """Convert L, RGB or RGBA to L (1), RGB (3) or RGBA (4), compositing lost alpha on white."""
    if image.mode == "RGBA" and channels < 4:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
