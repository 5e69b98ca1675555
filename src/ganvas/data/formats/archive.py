"""Files of a folder or an archive, as names and streams. Nothing is extracted to disk."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ganvas.data.formats import limits
from ganvas.data.formats.limits import DAMAGED, Files
from ganvas.data.formats.sevenzip import seven_zip_members
from ganvas.data.formats.tar import tar_members
from ganvas.data.formats.zip_names import decoded_names
from ganvas.data.kinds import TAR_ENDINGS, has_ending
from ganvas.errors import DataError
from ganvas.system.text import printable


@contextmanager
def members(path: Path, encoding: str | None = None) -> Iterator[Files]:
    """The files below a folder or in an archive, sorted by name, without hidden ones.

    Yields each path below the root, joined by '/', and the function that opens the file inside the
    `with` block. Linked folders are followed, except into themselves; links in archives are not.
    encoding: of names in an archive that are not marked as UTF-8; by default found from them.

    Raises DataError for a folder that cannot be listed, and for an archive that is damaged or
    encrypted, has absolute names, '..' or duplicates among them, or exceeds the limits of `limits`.
    """
    if path.is_dir():
        yield limits.visible(Files((name, partial(binary, file)) for name, file in _walk(path)))
    elif path.suffix.lower() == ".7z":
        yield limits.visible(seven_zip_members(path))
    elif has_ending(path, TAR_ENDINGS):
        yield limits.visible(tar_members(path, encoding))
    else:
        with opened_zip(path) as archive:
            yield limits.visible(_zip_members(path, archive, encoding))


def _zip_members(path: Path, archive: zipfile.ZipFile, encoding: str | None) -> Files:
    lock = threading.Lock()

    def inflate(info: zipfile.ZipInfo) -> BinaryIO:
        if info.file_size > limits.MAX_FILE:
            raise OSError(f"larger than {limits.MAX_FILE // 2**30} GiB")
        try:
            with lock:  # ZipFile's count of readers is not thread-safe
                return io.BytesIO(archive.read(info))
        except DAMAGED as error:
            raise OSError(str(error)) from error

    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    decoded, note = decoded_names(path, [_raw_name(info) for info in infos], encoding)
    # some archives made on Windows have backslashes
    names = [name.replace("\\", "/") for name in decoded]
    limits.check_members(path, names)
    files = Files(zip(names, (partial(inflate, info) for info in infos), strict=True))
    files.notes = note
    return files


def _raw_name(info: zipfile.ZipInfo) -> str | bytes:
    """A member's name, or its bytes if no flag or field gives their encoding."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437")  # as zipfile decoded it
    except UnicodeEncodeError:
        return info.filename


def binary(file: str) -> BinaryIO:
    """Open a file on disk to read its bytes."""
    return open(file, "rb")


def _walk(folder: Path, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
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
        if limits.is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{name}/", (*above, real))
        # a broken link is reported as unreadable later
        elif entry.is_file() or not os.path.exists(entry.path):
            yield name, entry.path


@contextmanager
def opened_zip(path: Path | str, stream: BinaryIO | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a zip, from a stream if given, and check its table of contents (see `members`).

    Raises DataError.
    """
    try:
        archive = zipfile.ZipFile(stream or path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a readable zip ({error}): pack it again") from None
    with archive:
        infos = archive.infolist()
        limits.check_number(path, len(infos))
        limits.check_total(path, sum(info.file_size for info in infos))
        for info in infos:
            name = printable(info.filename)
            if info.flag_bits & 0x1:
                raise DataError(f"{path} is encrypted ({name}): unpack it and give the folder")
            limits.check_ratio(f"{path}: {name}", info.file_size, max(1, info.compress_size))
        yield archive
