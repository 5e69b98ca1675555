"""JPEGs that lack their last bytes, decoded as far as they go."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFile

MAX_MISSING = 0.05  # share of the pixels that may be missing

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_OTHER_PIXELS = bytes(range(1, 250)) * 8  # what they decode to does not matter


def is_truncated(image: Image.Image, error: Exception) -> bool:
    """True if an error says that a JPEG ends early."""
    return image.format in ("JPEG", "MPO") and "truncated" in str(error)


def decode_truncated(image: ImageFile.ImageFile, draft: tuple[int, int]) -> Image.Image:
    """Decode a JPEG that ends early; what is missing has the colour of the last pixels.

    draft: see `Image.draft`.
    Raises OSError if more than MAX_MISSING of the pixels, or a pass over all of them, are missing.
    """
    stream = image.fp
    assert stream is not None
    stream.seek(0)
    data = stream.read()
    decoded = _decoded(data + _END, draft)
    # The pixels that depend on bytes after the last one are those that are missing
    other = _decoded(data + _OTHER_PIXELS + _END, draft)
    missing = (np.asarray(decoded) != np.asarray(other)).mean()
    if missing > MAX_MISSING or not _in_last_pass(data):
        raise OSError(f"truncated: more than {MAX_MISSING:.0%} of it is missing")
    return decoded


def _decoded(data: bytes, draft: tuple[int, int]) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    image.draft(None, draft)
    image.load()
    return image


def _in_last_pass(data: bytes) -> bool:
    """True if the last scan that begins holds full precision up to the highest frequency.

    A progressive JPEG has several scans, each of which refines all rows.
    """
    start = data.rfind(_SCAN) + 2
    header = data[start : start + int.from_bytes(data[start : start + 2])]
    last, precision = header[-2:]
    return last == 63 and precision & 0xF == 0
