"""A single picture: opened, its header read, and converted to grey, RGB or RGBA.

Files are untrusted: damaged ones and decompression bombs raise UnreadableError.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, cast

import psutil
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from ganvas.data.decoding.deep import Deep, decode_deep, is_deep, is_deep_grey
from ganvas.data.decoding.truncated import decode_truncated, is_truncated
from ganvas.data.reading import ReadOptions, check_size
from ganvas.errors import MissingExtraError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
HEIF_SUFFIXES = frozenset({".heic", ".heif"})
SUFFIXES = HEIF_SUFFIXES | {
    *(".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pbm", ".pnm", ".avif"),
}

MAX_MEGAPIXELS = 250.0  # of a picture, unless --max-megapixels says otherwise
MAX_FRAMES_READ = 100_000  # of a picture
MAX_TEXT = 64 * 2**20  # bytes of text in a PNG

_ORIENTATION = 0x0112  # the EXIF tag
# where a picture may have an orientation
_METADATA = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_LARGE = 64_000_000  # pixels of pictures that are decoded one at a time
_LARGE_BYTES = 12  # of memory for each pixel of these
_WEBP_HEAD = 2**16  # bytes in which a WebP says that it is lossless

_one_large = threading.Lock()
_formats = list(FORMATS)


class UnreadableError(Exception):
    """The picture cannot be used. The message is the reason, a few words on one line."""


@dataclass(frozen=True, kw_only=True)
class PictureOptions(ReadOptions):
    """The size and channels that pictures are brought to, and whether to hash them.

    native: (H, W) if the pictures have several sizes and `size` is None.
    digests: hash the pixels of each original, to find duplicates.

    Raises SettingError for impossible values.
    """

    native: tuple[int, int] | None = None
    digests: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("native", self.native)


@dataclass(frozen=True)
class Picture:
    """A picture not yet decoded, and the function that opens it or raises UnreadableError."""

    name: str
    open: Callable[[], AbstractContextManager[Image.Image]]


class Header(NamedTuple):
    """The header of a picture, or of one of its frames.

    size: (H, W), turned as EXIF says.
    mode: Pillow's mode of the stored pixels.
    channels: 1, 3 or 4, the most that the picture can need.
    animated: True if it has several frames or pages.
    deep: True if its channels have more than 8 bits.
    kind: of file, such as "PNG" or one of `kinds.LOSSY`.
    """

    size: tuple[int, int]
    mode: str
    channels: int
    animated: bool
    deep: bool
    kind: str


class Decoded(NamedTuple):
    """A decoded picture.

    pixels: mode L, RGB or RGBA, or more than 8 bits.
    incomplete: True if the file lacks its last bytes.
    """

    pixels: Image.Image | Deep
    incomplete: bool = False


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow refuse truncated files and not warn of metadata, in the whole process.

    Pillow's own limits give way to MAX_TEXT and that of `raise_if_large`. Enter it once, outside
    the threads that decode.
    """
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
        Image.MAX_IMAGE_PIXELS = limits[0]
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits[1:]


def enable_heif() -> None:
    """Let pictures in HEIC be opened. Raises MissingExtraError if pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise MissingExtraError(
            "HEIC pictures need pillow-heif: pip install 'ganvas[heic]', or save them as JPEG"
        ) from None
    if "HEIF" not in _formats:
        pillow_heif.register_heif_opener()
        _formats.append("HEIF")


class _Unreadable:
    """Turns any error of Pillow into UnreadableError. Only calls of Pillow belong inside."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, UnidentifiedImageError):
            known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise UnreadableError(f"not a {known} picture") from None
        # Pillow's parsers raise nearly anything on damaged files
        if isinstance(error, Exception):
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            reason = " ".join(text.split())[:100] or type(error).__name__
            raise UnreadableError(reason) from error


_unreadable = _Unreadable()


@contextmanager
def open_picture(stream: Callable[[], BinaryIO]) -> Iterator[Image.Image]:
    """Open a picture without decoding its pixels. Raises UnreadableError."""
    with _unreadable:
        file = stream()
    with file:
        with _unreadable:
            image = Image.open(file, formats=_formats)
        yield image


def raise_if_large(image: Image.Image, most: float) -> None:
    """Raise UnreadableError for a picture that bombs this machine's memory.

    most: megapixels.
    """
    pixels = image.width * image.height
    if pixels > most * 1e6:
        raise UnreadableError(f"more than {most:g} megapixels; --max-megapixels raises the limit")
    if pixels > _LARGE and image.format != "JPEG":
        needed = pixels * _LARGE_BYTES
        if needed > psutil.virtual_memory().total:
            raise UnreadableError(f"needs {needed / 1e9:.0f} GB of memory")


def header(image: Image.Image) -> Header:
    """The header of an image that is not decoded yet. Raises UnreadableError."""
    with _unreadable:
        turned = False
        # Pillow has turned a TIFF's size already; getexif() would decode a PNG without this entry
        if image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info):
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        size = (image.width, image.height) if turned else (image.height, image.width)
        channels = 4 if image.has_transparency_data else 1 if is_grey(image.mode) else 3
        mode, deep, kind = image.mode, is_deep(image), _kind(image)
        # last, because it seeks the next frame
        animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return Header(size, mode, channels, animated, deep, kind)


def _kind(image: Image.Image) -> str:
    """The kind of file, told apart as far as it matters to the pixels."""
    form = image.format or "array"
    if form == "TIFF" and image.info.get("compression") == "jpeg":
        return "JPEG in TIFF"
    if form != "WEBP":
        return {"MPO": "JPEG", "HEIF": "HEIC"}.get(form, form)
    stream = cast(ImageFile.ImageFile, image).fp
    assert stream is not None
    place = stream.tell()
    stream.seek(0)
    lossless = b"VP8L" in stream.read(_WEBP_HEAD)
    stream.seek(place)
    return "lossless WebP" if lossless else "lossy WebP"


def frames(image: Image.Image, every: bool) -> Iterator[int]:
    """Seek the frames of a picture one after another, or only the first. Yields their numbers.

    Raises UnreadableError for damaged ones and for more than MAX_FRAMES_READ.
    """
    number = 1
    if every:
        with _unreadable:
            number = getattr(image, "n_frames", 1)
    if number > MAX_FRAMES_READ:
        raise UnreadableError(f"more than {MAX_FRAMES_READ:,} frames")
    for frame in range(number):
        if frame:
            with _unreadable:
                image.seek(frame)
        yield frame


def is_grey(mode: str) -> bool:
    """True if a mode has no colour. It may have alpha."""
    return mode in ("1", "L", "LA") or is_deep_grey(mode)


def reduce_jpeg(image: Image.Image, size: tuple[int, int]) -> bool:
    """Let a large JPEG be decoded to no less than twice `size` (H, W), which is much faster.

    Returns True if it will be smaller than it is stored.
    """
    stored = image.size
    image.draft(None, (2 * max(size), 2 * max(size)))
    return image.size != stored


def decode(image: Image.Image, *, keep: bool = False) -> Decoded:
    """Decode to mode L, RGB or RGBA, or more than 8 bits, turned as EXIF says.

    CMYK and palettes become RGB, or RGBA if they are transparent.
    keep: leave `image` as it is, so that its other frames can be decoded.
    Raises UnreadableError.
    """
    one_at_a_time = _one_large if image.width * image.height > _LARGE else nullcontext()
    with _unreadable, one_at_a_time:
        if is_deep(image):
            return Decoded(decode_deep(image, _upright))
        image, incomplete = _loaded(image)
        if keep:
            image = image.copy()
        image = _upright(image)
        mode = "RGBA" if image.has_transparency_data else "L" if is_grey(image.mode) else "RGB"
        return Decoded(image if image.mode == mode else image.convert(mode), incomplete)


def _loaded(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image with its pixels, and whether it lacks its last bytes."""
    try:
        image.load()
    except OSError as error:
        if is_truncated(image, error):
            return decode_truncated(cast(ImageFile.ImageFile, image), image.size), True
        raise
    return image, False


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its metadata say, in place. Pillow has turned a TIFF already."""
    image.load()
    if not image.info.keys().isdisjoint(_METADATA):
        ImageOps.exif_transpose(image, in_place=True)
    return image
