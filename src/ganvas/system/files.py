"""Whole files or none: every write goes to a temporary file that is then moved into place."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import psutil

from ganvas.errors import RunError, SettingError

REASONS = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "the file may not grow so large here: raise the limit or choose another disk",
    errno.EROFS: "the disk is read-only: choose another place with --out",
    errno.EACCES: "permission denied: choose another place with --out",
    errno.EPERM: "permission denied: choose another place with --out",
    errno.ENOTDIR: "a part of this path is a file: choose another place with --out",
    errno.EISDIR: "a folder has this name: choose another name with --out",
    errno.EEXIST: "a file has this name: choose another name with --out",
    errno.ENAMETOOLONG: "the name is too long: choose another with --out",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while `path` is written into a RunError of one line."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror or str(error))
        raise RunError(f"cannot write {path}: {reason}") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError while `path` is read into a RunError of one line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None


def refuse_ending(out: Path, what: str, *endings: str) -> None:
    """Raises SettingError unless --out ends in one of `endings`, in small or capital letters.

    what: the start of the message, such as "the report is HTML".
    """
    if out.suffix.lower() not in endings:
        raise SettingError(f"--out {out}: {what}; give a name that ends in {endings[0]}")


def refuse_unwritable(path: Path) -> None:
    """Raises RunError if `path` cannot be written. Makes the folders above it."""
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def _temporary(path: Path) -> Path:
    """A hidden name beside `path`, of this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sweep(folder: Path) -> None:
    """Delete temporary files that killed processes left below a folder.

    Call it while nobody else writes there, nor this process. Raises RunError if the disk refuses.
    """
    for path in folder.rglob(".*.tmp"):
        match = re.fullmatch(r"\..+\.(\d+)\.tmp", path.name)
        if not match or not path.is_file():
            continue
        if (pid := int(match[1])) == os.getpid() or not psutil.pid_exists(pid):
            with writing(path):
                path.unlink(missing_ok=True)


def write(path: Path, content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write a whole file or leave what was there. Makes the folders above it.

    content: bytes, text (stored as UTF-8), or a function that writes to the open file.
    Raises RunError if the disk refuses.
    """
    path = Path(os.path.abspath(path))
    if not path.name:
        raise RunError(f"cannot write {path}: {REASONS[errno.EISDIR]}")
    temporary = _temporary(path)
    content = content.encode() if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, to be filled and then moved. Deleted at the end if it remains."""
    temporary = _temporary(Path(os.path.abspath(path)))
    try:
        temporary.mkdir(parents=True)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
