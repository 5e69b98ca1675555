"""Single files packed with gzip, bzip2 or xz, read to memory under limits."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from ganvas.data.formats import limits
from ganvas.errors import DataError

_OPENERS: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


def unpacking(file: BinaryIO) -> BinaryIO | None:
    """A stream of what a packed file holds; None if it is not packed."""
    start = file.read(6)
    file.seek(0)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    return None if opener is None else cast(BinaryIO, opener(file))


def unpacked(path: Path) -> BinaryIO:
    """The content of a packed file. Raises DataError if it is damaged or a bomb."""
    try:
        with open(path, "rb") as file:
            size = limits.size_of(file)
            stream = unpacking(file)
            if stream is None:
                raise EOFError("it begins otherwise")
            content = stream.read(max(limits.RATIO_FLOOR, limits.MAX_RATIO * size) + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} is damaged or not packed ({error}): fetch it again") from None
    limits.check_ratio(str(path), len(content), size)
    return io.BytesIO(content)
