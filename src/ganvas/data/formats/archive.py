"""Files of a folder or a zip archive, as names and streams. Nothing is extracted to disk."""

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
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ganvas.errors import DataError
from ganvas.system.text import first_few, printable

MAX_MEMBERS = 2_000_000
MAX_ARCHIVE_BYTES = 64 * 2**30
MAX_FILE = 2**30  # enough for any picture within MAX_PIXELS
MAX_RATIO = 250  # pictures of flat shapes reach 120; deflate's bound is 1032
RATIO_FLOOR = 16 * 2**20  # smaller members may expand by any ratio

# raised for a member that is damaged
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)
HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")

Files = dict[str, Callable[[], BinaryIO]]


@contextmanager
def members(path: Path) -> Iterator[Files]:
    """The files below a folder or in a zip, sorted by name, without hidden ones.

    Yields each path below the root, joined by '/', and the function that opens the file inside the
    `with` block. Linked folders are followed, except into themselves.
    Raises DataError for a folder that cannot be listed, and for a zip that is damaged or encrypted,
    has absolute names, '..' or duplicates among them, or exceeds MAX_MEMBERS, MAX_ARCHIVE_BYTES or
    MAX_RATIO.
    """
    if path.is_dir():
        yield _visible({name: partial(binary, file) for name, file in _walk(path, "", ())})
        return
    lock = threading.Lock()

    def inflate(info: zipfile.ZipInfo) -> BinaryIO:
        if info.file_size > MAX_FILE:
            raise OSError(f"larger than {MAX_FILE // 2**30} GiB")
        try:
            with lock:  # ZipFile's count of readers is not thread-safe
                return io.BytesIO(archive.read(info))
        except DAMAGED as error:
            raise OSError(str(error)) from error

    with opened_zip(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        # some archives made on Windows have backslashes
        names = [info.filename.replace("\\", "/") for info in infos]
        if twice := [name for name, n in Counter(names).items() if n > 1]:
            raise DataError(f"{path} holds {first_few(twice)} more than once: pack it again")
        openers = [partial(inflate, info) for info in infos]
        yield _visible(dict(zip(names, openers, strict=True)))


def binary(file: str) -> BinaryIO:
    """Open a file on disk to read its bytes."""
    return open(file, "rb")


def _visible(files: Files) -> Files:
    return {
        name: files[name] for name in sorted(files) if not any(map(_is_hidden, name.split("/")))
    }


def _is_hidden(name: str) -> bool:
    return name in HIDDEN or (name.startswith(".") and name != ".")


def _walk(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (name, file) of everything below a folder.

    above: real paths of the folders above, which links must not lead back into.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"cannot list {printable(str(folder))}: {error.strerror}") from None
    for entry in entries:
        # JSON cannot hold other bytes
        name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{name}/", (*above, real))
        # a broken link is reported as unreadable later
        elif entry.is_file() or not os.path.exists(entry.path):
            yield name, entry.path


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip and check its table of contents (see `members`). Raises DataError."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a readable zip ({error}): pack it again") from None
    with archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise DataError(f"{path} holds more than {MAX_MEMBERS:,} files: unpack it yourself")
        if sum(info.file_size for info in infos) > MAX_ARCHIVE_BYTES:
            limit = MAX_ARCHIVE_BYTES // 2**30
            raise DataError(f"{path} unpacks to more than {limit} GiB: unpack it yourself")
        for info in infos:
            _check(path, info)
        yield archive


def _check(path: Path, info: zipfile.ZipInfo) -> None:
    """Raises DataError for a member that is encrypted, leaves the archive or expands too much."""
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or ".." in PurePosixPath(name).parts or re.match("[A-Za-z]:", name):
        raise DataError(f"{path} holds {printable(name)!r}, a path outside the archive: repack it")
    if info.flag_bits & 0x1:
        raise DataError(f"{path} is encrypted ({printable(name)}): unpack it and give the folder")
    if info.file_size > RATIO_FLOOR and info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise DataError(
            f"{path}: {printable(name)} expands more than {MAX_RATIO}-fold, to"
            f" {info.file_size / 2**20:.0f} MiB, as bombs do: pack it with less compression"
        )
