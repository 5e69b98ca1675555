"""7z archives, read to memory under limits with py7zr."""

from __future__ import annotations

import io
import lzma
from functools import partial
from pathlib import Path
from typing import Any

from ganvas.data.formats import limits
from ganvas.data.formats.limits import Files
from ganvas.errors import DataError, MissingExtraError


def seven_zip_members(path: Path) -> Files:
    """The files in a .7z, held in memory.

    Raises DataError for one that is damaged, encrypted, holds links or names that leave it, or
    exceeds the limits; MissingExtraError without py7zr.
    """
    try:
        import py7zr
        from py7zr.io import BytesIOFactory
    except ImportError:
        raise MissingExtraError(f"{path} needs py7zr: pip install 'ganvas[archives]'") from None
    try:
        with py7zr.SevenZipFile(path) as archive:
            infos = [info for info in archive.list() if not info.is_directory]
            total = _checked_size(path, infos)
            encrypted = archive.needs_password()
            names = [info.filename for info in infos if not limits.is_hidden(info.filename)]
            factory = BytesIOFactory(total + 1)
            if names and not encrypted:
                archive.extract(targets=names, factory=factory)
    except py7zr.PasswordRequired:
        encrypted = True
    # py7zr raises nearly anything on damaged files
    except (py7zr.exceptions.ArchiveError, lzma.LZMAError, Exception) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or no 7z ({reason}): fetch it again") from None
    if encrypted:
        raise DataError(f"{path} is encrypted: unpack it and give the folder")
    return Files((name, partial(_content, factory.products.get(name))) for name in names)


def _checked_size(path: Path, infos: list[Any]) -> int:
    """The bytes that an archive unpacks to. Raises DataError for a bomb and for links."""
    for info in infos:
        if not info.is_file:
            name = info.filename
            raise DataError(f"{path} holds a link or device, {name}: repack it without")
    limits.check_members(path, [info.filename for info in infos])
    total = sum(int(info.uncompressed) for info in infos)
    limits.check_total(path, total)
    limits.check_ratio(str(path), total, path.stat().st_size)
    limits.check_memory(str(path), total)
    return total


def _content(product: Any) -> io.BytesIO:
    if product is None:
        raise OSError("it cannot be unpacked")
    product.seek(0)
    return io.BytesIO(product.read())
