"""Limits on what archives and files of arrays may hold. Nothing read is executed or extracted."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import psutil

from ganvas.errors import DataError
from ganvas.system.text import count, first_few, printable

MAX_MEMBERS = 2_000_000
MAX_ARCHIVE_BYTES = 64 * 2**30
MAX_FILE = 2**30  # enough for any picture within MAX_PIXELS
MAX_RATIO = 250  # pictures of flat shapes reach 120; deflate's bound is 1032
RATIO_FLOOR = 16 * 2**20  # smaller members may expand by any ratio

# raised for a member that is damaged
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)

# @eaDir: previews that Synology's disk stations make of all pictures
_HIDDEN = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "#recycle", "$RECYCLE.BIN"})
_MIB = 2**20


class Files(dict[str, Callable[[], BinaryIO]]):
    """Functions that open files, by name below a root, joined by '/'.

    notes: sentences for the user on how the names were read.
    """

    notes: tuple[str, ...] = ()

    def opened(self, name: str, where: str) -> BinaryIO:
        """Open a file, called `where` in errors. Raises DataError."""
        try:
            return self[name]()
        except OSError as error:
            raise DataError(f"cannot read {where}: {error.strerror or error}") from None


def visible(files: Files) -> Files:
    """The files sorted by name, without hidden ones."""
    shown = Files((name, files[name]) for name in sorted(files) if not is_hidden(name))
    shown.notes = files.notes
    return shown


def is_hidden(name: str) -> bool:
    """Return True if any part of a name is hidden, or written by an operating system."""
    parts = name.split("/")
    if "/." not in f"/{name}":
        return not _HIDDEN.isdisjoint(parts)
    return any(
        part in _HIDDEN or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def passed_over(files: Files, endings: Iterable[str]) -> tuple[str, ...]:
    """A note on the files that do not end so, by their endings; () if there are none."""
    ends = tuple(endings)
    others = [name for name in files if not name.lower().endswith(ends)]
    if not others:
        return ()
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
    listed = first_few(f"{kind} {n:,}" for kind, n in sorted(kinds.items()))
    return (f"{count(len(others), 'file')} passed over ({listed})",)


def check_members(path: Path | str, names: Iterable[str]) -> None:
    """Raises DataError for absolute names, '..', duplicates and more than MAX_MEMBERS."""
    counts = Counter(names)
    check_number(path, counts.total())
    if twice := [name for name, n in counts.items() if n > 1]:
        raise DataError(f"{path} holds {first_few(twice)} more than once: pack it again")
    if "" in counts:
        raise DataError(f"{path} holds a file without a name: pack it again")
    for name in counts:
        slashed = name.replace("\\", "/")
        parts = PurePosixPath(slashed).parts
        if slashed.startswith("/") or ".." in parts or re.match("[A-Za-z]:", slashed):
            outside = f"{printable(slashed)!r}, a path outside the archive"
            raise DataError(f"{path} holds {outside}: repack it")


def check_number(path: Path | str, number: int) -> None:
    """Raises DataError if an archive holds more than MAX_MEMBERS files."""
    if number > MAX_MEMBERS:
        raise DataError(f"{path} holds more than {MAX_MEMBERS:,} files: unpack it yourself")


def check_total(path: Path | str, size: int) -> None:
    """Raises DataError if an archive's files exceed MAX_ARCHIVE_BYTES."""
    if size > MAX_ARCHIVE_BYTES:
        limit = MAX_ARCHIVE_BYTES // 2**30
        raise DataError(f"{path} unpacks to more than {limit} GiB: unpack it yourself")


def check_ratio(where: str, size: int, packed: int) -> None:
    """Raises DataError if `packed` bytes claim to expand to a `size` that only bombs have."""
    if size > max(RATIO_FLOOR, MAX_RATIO * packed):
        raise DataError(
            f"{where} expands more than {MAX_RATIO}-fold, to {size / _MIB:,.0f} MiB, as bombs do:"
            " pack it with less compression"
        )


def check_memory(where: str, size: int) -> None:
    """Raises DataError if `size` bytes exceed this machine's memory."""
    if size > (total := psutil.virtual_memory().total):
        raise DataError(
            f"{where} needs {size / 1e9:,.0f} GB, more than this machine's memory of"
            f" {total / 1e9:,.0f} GB: give a part of it"
        )


def size_of(stream: BinaryIO) -> int:
    """The length in bytes of a seekable stream, which is then at its start."""
    size = stream.seek(0, 2)
    stream.seek(0)
    return size
