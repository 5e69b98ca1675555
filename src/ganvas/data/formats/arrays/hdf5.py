"""HDF5, read with h5py: plain data sets of the file itself, never what links lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ganvas.data.formats import limits
from ganvas.data.formats.arrays.entry import ArrayEntry
from ganvas.errors import DataError, MissingExtraError

MAX_OBJECTS = 10_000
MAX_HDF5_GROUPS = 8  # within each other


def hdf5_entries(
    where: str, stream: BinaryIO, stack: ExitStack, *, matlab: bool = False
) -> list[ArrayEntry]:
    """The data sets in an HDF5 file, by path. References and links are passed over.

    Raises DataError for a damaged file, MissingExtraError without h5py.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(f"{where} needs h5py: pip install 'ganvas[hdf5]'") from None
    stream.seek(0)
    try:
        file = stack.enter_context(h5py.File(stream, "r"))
        found = list(_data_sets(h5py, file, "", {_place(h5py, file)}))
        return [_entry(where, name, data, matlab) for name, data in found]
    # h5py raises nearly anything on damaged files
    except Exception as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(where, error) from None


def _data_sets(
    h5py: Any, group: Any, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, Any]]:
    """Yield path and data set of all hard links; MATLAB's #refs# hold parts of objects.

    seen: places of groups, which links must not lead back into.
    """
    for number, name in enumerate(group):
        if number == MAX_OBJECTS:
            raise ValueError(f"more than {MAX_OBJECTS:,} objects in a group")
        if name.startswith("#") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        each = group[name]
        if isinstance(each, h5py.Dataset):
            yield prefix + name, each
        elif isinstance(each, h5py.Group) and _place(h5py, each) not in seen:
            if prefix.count("/") == MAX_HDF5_GROUPS:
                raise ValueError(f"more than {MAX_HDF5_GROUPS} groups within each other")
            seen.add(_place(h5py, each))
            yield from _data_sets(h5py, each, f"{prefix}{name}/", seen)


def _place(h5py: Any, group: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(group.id)
    return info.fileno, info.addr


def _entry(where: str, name: str, data: Any, matlab: bool) -> ArrayEntry:
    shape, dtype = data.shape or (), data.dtype
    if matlab:
        shape = shape[::-1]
    text = _is_text(dtype)
    usable = text or dtype.kind in "buifSU"
    known = (np.dtype("U1") if text else dtype) if usable else None
    return ArrayEntry(name, shape, known, partial(_read, where, name, data, matlab), matlab)


def _is_text(dtype: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(dtype) is not None and dtype.kind == "O"


def _read(where: str, name: str, data: Any, matlab: bool) -> npt.NDArray[Any]:
    if data.is_virtual or data.external:
        raise DataError(f"{where}: {name} lies in other files: copy its values into this one")
    text = _is_text(data.dtype)
    if not text and data.dtype.kind not in "buifSU":
        raise DataError(f"{where}: {name} holds {data.dtype} values, expected numbers or strings")
    # storage is 0 for values that were never written, which the file's fill value stands for
    limits.check_ratio(f"{where}: {name}", data.size * data.dtype.itemsize, _stored(data))
    try:
        array = np.asarray(data.asstr()[()], str) if text else np.asarray(data[()])
    except Exception as error:
        raise _damaged(where, error) from None
    return array.T if matlab else array


def _stored(data: Any) -> int:
    return int(data.id.get_storage_size())


def _damaged(where: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:100]
    return DataError(f"{where} is damaged or no HDF5 file ({reason}): save it again")
