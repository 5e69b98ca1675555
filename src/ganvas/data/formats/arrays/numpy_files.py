"""NumPy's .npy and .npz. Nothing is unpickled."""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np

from ganvas.data.decoding.ranges import Values
from ganvas.data.formats.archive import opened_zip
from ganvas.data.formats.arrays.entry import ArrayEntry
from ganvas.data.formats.limits import DAMAGED, size_of
from ganvas.errors import DataError

Opener = Callable[[], BinaryIO]

# raised, beside DAMAGED, for an array with a wrong header
_MALFORMED = (*DAMAGED, TypeError, SyntaxError, tokenize.TokenError, OSError, KeyError, MemoryError)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def npy_entries(where: str, stream: BinaryIO, stack: ExitStack) -> list[ArrayEntry]:
    """The array in a .npy, under the name of the file. Raises DataError if it is damaged."""
    size = size_of(stream)

    def opened() -> BinaryIO:
        stream.seek(0)
        return stream

    return [_entry(where, PurePosixPath(where).stem, size, opened)]


def npz_entries(where: str, stream: BinaryIO, stack: ExitStack) -> list[ArrayEntry]:
    """The arrays in a .npz, by name. Raises DataError if it is damaged."""
    archive = stack.enter_context(opened_zip(where, stream))
    return [
        _entry(
            where,
            info.filename.removesuffix(".npy"),
            info.file_size,
            partial(_member, archive, info),
        )
        for info in archive.infolist()
    ]


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    return cast(BinaryIO, archive.open(info))


def _entry(where: str, name: str, size: int, opened: Opener) -> ArrayEntry:
    """An array of `size` bytes, header included. Raises DataError for a damaged header."""
    try:
        stream = opened()
        shape, _, dtype = _header(stream)
        claimed, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
        if claimed != held and not dtype.hasobject:
            raise ValueError(f"{name} claims {claimed:,} bytes and holds {held:,}")
    except _MALFORMED as error:
        raise _damaged(where, error) from None
    return ArrayEntry(name, shape, dtype, partial(_read, where, name, opened))


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of headers that Python 2 wrote
        shape, fortran, dtype = _HEADERS[version](stream)
    if any(n < 0 for n in shape):
        raise ValueError(f"a negative length in {shape}")
    return shape, fortran, dtype


def _read(where: str, name: str, opened: Opener) -> Values:
    try:
        stream = opened()
        shape, fortran, dtype = _header(stream)
        if dtype.hasobject:
            raise DataError(
                f"{where}: {name} holds Python objects, and Object arrays cannot be loaded safely:"
                " save numbers or strings"
            )
        array = np.empty(shape[::-1] if fortran else shape, dtype)
        view = memoryview(array.reshape(-1).view(np.uint8).data)
        done = 0
        while done < len(view):
            got = stream.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                raise ValueError(f"{name} ends early")
            done += got
        stream.read(1)  # a zip compares checksums at the end
    except _MALFORMED as error:
        raise _damaged(where, error) from None
    return np.asarray((array.T if fortran else array).astype(dtype.newbyteorder("="), copy=False))


def _damaged(where: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{where} cannot be read ({reason}): save it again with NumPy")
