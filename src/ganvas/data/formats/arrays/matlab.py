"""MATLAB's .mat of versions 4 to 7, read with SciPy. Version 7.3 is HDF5."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ganvas.data.formats import limits
from ganvas.data.formats.arrays.entry import ArrayEntry
from ganvas.data.formats.arrays.hdf5 import hdf5_entries
from ganvas.errors import DataError, MissingExtraError

MAX_STRUCTS = 4  # of structs within structs
_COMPRESSED = 15  # type of an element in version 5
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CHUNK = 2**20


def mat_entries(where: str, stream: BinaryIO, stack: ExitStack) -> list[ArrayEntry]:
    """The numeric arrays in a .mat, those within structs as "struct/field".

    Objects and functions are listed and never made. Raises DataError for a damaged file or a
    bomb, MissingExtraError without SciPy.
    """
    head = stream.read(1024)
    if head.startswith(_HDF5) or head[512:].startswith(_HDF5):
        return hdf5_entries(where, stream, stack, matlab=True)
    try:
        from scipy.io import loadmat, whosmat
    except ImportError:
        raise MissingExtraError(f"{where} needs SciPy: pip install 'ganvas[matlab]'") from None
    entries: list[ArrayEntry] = []
    try:
        _check_compressed(where, stream)
        stream.seek(0)
        for name, shape, kind in whosmat(stream):
            read = partial(_variable, where, stream, name)
            if kind == "struct":
                fields = loadmat(stream, variable_names=[name], struct_as_record=False)[name]
                entries += _struct_entries(name, fields, MAX_STRUCTS)
            else:
                entries.append(ArrayEntry(name, tuple(shape), _DTYPES.get(kind), read, True))
    # SciPy raises nearly anything on damaged files
    except Exception as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{where} is damaged or no .mat ({reason}): save it again") from None
    return entries


_DTYPES = {
    **{kind: np.dtype(kind) for kind in ("int8", "int16", "int32", "int64")},
    **{f"u{kind}": np.dtype(f"u{kind}") for kind in ("int8", "int16", "int32", "int64")},
    "single": np.dtype("f4"),
    "double": np.dtype("f8"),
    "logical": np.dtype("?"),
    "char": np.dtype("U1"),
}


def _variable(where: str, stream: BinaryIO, name: str) -> npt.NDArray[Any]:
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.asarray(loadmat(stream, variable_names=[name])[name])
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{where}: {name} is damaged ({reason}): save it again") from None
    if array.dtype.kind not in "buifU":
        raise DataError(f"{where}: {name} holds objects, expected an array of numbers")
    return np.char.rstrip(array) if array.dtype.kind == "U" else array


def _struct_entries(name: str, fields: Any, depth: int) -> Iterator[ArrayEntry]:
    if isinstance(fields, np.ndarray) and fields.dtype.kind in "buif":
        yield ArrayEntry(name, fields.shape, fields.dtype, partial(np.asarray, fields), True)
    elif isinstance(fields, np.ndarray) and fields.dtype == object and fields.size == 1 and depth:
        for field in getattr(fields.flat[0], "_fieldnames", ()):
            inner = getattr(fields.flat[0], field)
            yield from _struct_entries(f"{name}/{field}", inner, depth - 1)


def _check_compressed(where: str, stream: BinaryIO) -> None:
    """Raises DataError if the elements of a version 5 file expand as only bombs do."""
    size = limits.size_of(stream)
    head = stream.read(128)
    if head[126:128] not in (b"IM", b"MI"):
        return
    order = "little" if head[126:128] == b"IM" else "big"
    expanded = 0
    while len(tag := stream.read(8)) == 8:
        kind, length = (int.from_bytes(tag[i : i + 4], order) for i in (0, 4))  # type: ignore[arg-type]
        if kind != _COMPRESSED:
            stream.seek(length, 1)
            continue
        inflater = zlib.decompressobj()
        while length > 0 and (piece := stream.read(min(length, _CHUNK))):
            length -= len(piece)
            while piece:
                expanded += len(inflater.decompress(piece, _CHUNK))
                limits.check_ratio(where, expanded, size)
                piece = inflater.unconsumed_tail
