"""The files of a folder or of a zip archive, as names and streams. Nothing is ever extracted to
disk."""

from __future__ import annotations

import io
import lzma
import os
import re
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ganvas.errors import DataError
from ganvas.system.text import first_few, printable

MAX_MEMBERS = 2_000_000
MAX_ARCHIVE_BYTES = 64 * 2**30
MAX_FILE = 2**30  # no picture within the cap on pixels needs more
MAX_RATIO = 250  # honest pictures of flat shapes reach 120; deflate's bound is 1032
RATIO_FLOOR = 16 * 2**20  # bytes below which a member may expand as much as it likes


@dataclass(frozen=True)
class Member:
    """A file: its path below the root, parts joined by '/', and what opens it."""

    name: str
    open: Callable[[], BinaryIO]


@contextmanager
def members(path: Path) -> Iterator[list[Member]]:
    """The files below a folder or in a zip, sorted by name, hidden ones passed over. Valid inside
    the `with` block.

    Linked folders are followed, except into themselves. A zip is refused whole, with DataError,
    when it is damaged or encrypted, has absolute names or '..' in them, or exceeds the caps on
    members, size and compression ratio.
    """
    if path.is_dir():
        yield _visible([Member(name, partial(_binary, file)) for name, file in _walk(path, "", ())])
        return
    lock = threading.Lock()

    def inflate(info: zipfile.ZipInfo) -> BinaryIO:
        if info.file_size > MAX_FILE:
            raise OSError(f"larger than {MAX_FILE // 2**30} GiB")
        try:
            with lock:  # a ZipFile counts its readers without a lock of its own
                return io.BytesIO(archive.read(info))
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            ValueError,
            RuntimeError,
        ) as error:
            raise OSError(str(error)) from error

    with opened_zip(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        # some archives made on Windows have backslashes
        names = [info.filename.replace("\\", "/") for info in infos]
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise DataError(f"{path} holds {first_few(twice)} more than once: pack it again")
        yield _visible(
            [Member(name, partial(inflate, info)) for name, info in zip(names, infos, strict=True)]
        )


def _binary(file: str) -> BinaryIO:
    return open(file, "rb")


def _visible(found: list[Member]) -> list[Member]:
    visible = [member for member in found if not any(map(_is_hidden, member.name.split("/")))]
    return sorted(visible, key=lambda member: member.name)


def _is_hidden(name: str) -> bool:
    return (name.startswith(".") and name != ".") or name in (
        "__MACOSX",
        "Thumbs.db",
        "desktop.ini",
    )


def _walk(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(name, file) of everything below; `above` holds the real paths on the way down, so that links
    cannot go round."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(
            f"{printable(str(folder))} cannot be listed ({error.strerror}): mend its permissions"
        ) from None
    for entry in entries:
        # JSON holds no other bytes
        name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{name}/", (*above, real))
        # a broken link is named as unreadable later
        elif entry.is_file() or not os.path.exists(entry.path):
            yield name, entry.path


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose table of contents has been found harmless. Raises DataError."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a zip archive that can be read ({error})") from None
    with archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise DataError(
                f"{path} holds {len(infos):,} files, more than {MAX_MEMBERS:,}: unpack it, give the"
                " folder"
            )
        total = sum(info.file_size for info in infos)
        if total > MAX_ARCHIVE_BYTES:
            raise DataError(
                f"{path} unpacks to {total / 2**30:.0f} GiB, more than {MAX_ARCHIVE_BYTES // 2**30}: give"
                " parts of it"
            )
        for info in infos:
            _check(path, info)
        yield archive


def _check(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or ".." in PurePosixPath(name).parts or re.match("[A-Za-z]:", name):
        raise DataError(
            f"{path} holds {printable(name)!r}, a path outside the archive: pack it again with plain"
            " names"
        )
    if info.flag_bits & 0x1:
        raise DataError(f"{path} is encrypted ({printable(name)}): unpack it and give the folder")
    if info.file_size > RATIO_FLOOR and info.file_size > MAX_RATIO * max(1, info.compress_size):
        grows = (
            f"expands more than {MAX_RATIO}-fold, to {info.file_size / 2**20:.0f} MiB, as bombs do"
        )
        raise DataError(f"{path}: {printable(name)} {grows}: pack it again with less compression")
