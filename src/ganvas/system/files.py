"""Writing files so that nobody ever meets half of one."""

from __future__ import annotations

import errno
import os
import re
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
    errno.EISDIR: "a folder stands there: choose another name with --out",
    errno.EEXIST: "a file stands there: choose another name with --out",
    errno.ENAMETOOLONG: "the name is too long: choose another with --out",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while `path` is written into a RunError of one line."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror or str(error))
        raise RunError(f"cannot write {path}: {reason}") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while `path` is read into a RunError of one line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None


def refuse_ending(out: Path, what: str, *endings: str) -> None:
    """Raises SettingError where --out does not end in one of these, in small or capital letters.
    what: what is written."""
    if out.suffix.lower() not in endings:
        raise SettingError(f"--out {out}: {what}; give a name that ends in {endings[0]}")


def refuse_unwritable(path: Path) -> None:
    """Raises RunError where the disk would refuse `path`. Folders above it are made."""
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def sweep(folder: Path) -> None:
    """Take away what `write` left below a folder where it was killed: files of processes that are
    no more.

    To be called while nobody else writes there, nor this process. Raises RunError when the disk
    refuses.
    """
    for path in folder.rglob(".*.tmp"):
        pid = re.fullmatch(r"\..+\.(\d+)\.tmp", path.name)
        if (
            pid
            and path.is_file()
            and (int(pid[1]) == os.getpid() or not psutil.pid_exists(int(pid[1])))
        ):
            with writing(path):
                path.unlink(missing_ok=True)


def write(path: Path, content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write a whole file or leave what was there: into a temporary file beside it, then moved into
    place.

    content: bytes, text (UTF-8), or a function that writes to the open file. Folders above it are
    made.
    Raises RunError when the disk refuses.
    """
    path = Path(os.path.abspath(path))
    if not path.name:
        raise RunError(f"cannot write {path}: {REASONS[errno.EISDIR]}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
