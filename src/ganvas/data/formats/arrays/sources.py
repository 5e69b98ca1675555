"""Sources of arrays: one file, or all files of arrays in a folder or an archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from ganvas.data.assemble import Assembled, assemble_array
from ganvas.data.formats import limits
from ganvas.data.formats.arrays.choose import read_entries
from ganvas.data.formats.arrays.entry import ArrayEntry, words_of
from ganvas.data.formats.arrays.hdf5 import hdf5_entries
from ganvas.data.formats.arrays.matlab import mat_entries
from ganvas.data.formats.arrays.numpy_files import npy_entries, npz_entries
from ganvas.data.formats.arrays.pickles import pickle_entries
from ganvas.data.formats.arrays.shapes import image_array
from ganvas.data.formats.limits import Files
from ganvas.data.kinds import ARRAY_ENDINGS, has_ending
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError
from ganvas.system.text import count, first_few, readable

_READERS: dict[str, Callable[[str, BinaryIO, ExitStack], list[ArrayEntry]]] = {
    ".npy": npy_entries,
    ".npz": npz_entries,
    ".mat": mat_entries,
    ".h5": hdf5_entries,
    ".hdf5": hdf5_entries,
    ".hdf": hdf5_entries,
    ".pkl": pickle_entries,
    ".pickle": pickle_entries,
    ".p": pickle_entries,
}
_QUICKDRAW = "full_numpy_bitmap_"  # before each class, in the names of QuickDraw's files


def read_array_file(
    path: Path, split: Split, options: PictureOptions, chosen: str = ""
) -> Assembled:
    """Read a file of arrays, with labels from a file beside it if it holds none.

    chosen: the name of the array of images.
    Raises DataError, NoHeldOutError, MissingExtraError.
    """
    with ExitStack() as stack:
        entries = _entries(str(path), _opened(path, stack), stack)
        if path.suffix.lower() == ".npy":
            chosen = path.stem
        notes = []
        if not any(entry.role == "labels" for entry in entries):
            for other in _labels_beside(path):
                entries += _entries(str(other), _opened(other, stack), stack)
                notes.append(f"{other.name} beside it holds the labels")
        name = path.resolve().name
        return read_entries(str(path), name, entries, split, options, chosen, notes)


def _opened(path: Path, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(open(path, "rb"))
    except OSError as error:
        raise DataError(f"cannot read {readable(path)}: {error.strerror}") from None


def _entries(where: str, stream: BinaryIO, stack: ExitStack) -> list[ArrayEntry]:
    return _READERS[PurePosixPath(where).suffix.lower()](where, stream, stack)


def _labels_beside(path: Path) -> list[Path]:
    """The file of labels for a file of images: x_train.npy has y_train.npy."""
    own = words_of(path.stem)
    try:
        beside = sorted(os.listdir(path.parent))
    except OSError:
        return []
    files = [Path(path.parent, name) for name in beside if name != path.name]
    named = [(file, words_of(file.stem)) for file in files if file.suffix == path.suffix]
    return [
        file
        for file, each in named
        if each.role == "labels" and (each.part, each.rest) == (own.part, own.rest)
    ][:1]


def read_array_files(path: Path, files: Files, split: Split, options: PictureOptions) -> Assembled:
    """Read the files of arrays in a folder or an archive as one data set.

    Without names that tell images from labels, each .npy is a class, as QuickDraw's are.
    Raises DataError, NoHeldOutError, MissingExtraError.
    """
    names = [name for name in files if has_ending(name, ARRAY_ENDINGS)]
    with ExitStack() as stack:
        entries: list[ArrayEntry] = []
        for name in names:
            where = f"{path}/{name}"
            stream = stack.enter_context(files.opened(name, where))
            for entry in _entries(where, stream, stack):
                entries.append(_renamed(entry, name, alone=len(names) == 1))
        title = path.resolve().name
        if len(entries) > 1 and _is_class_each(entries, names):
            return _read_class_each(str(path), title, entries, split, options, files.notes)
        return read_entries(str(path), title, entries, split, options, notes=files.notes)


def _renamed(entry: ArrayEntry, file: str, *, alone: bool) -> ArrayEntry:
    """The entry under the path of its file, unless there is one file alone."""
    stem = str(PurePosixPath(file).with_suffix(""))
    own = stem if file.endswith(".npy") else f"{stem}/{entry.name}"
    name = entry.name if alone else own
    return ArrayEntry(name, entry.shape, entry.dtype, entry.read, entry.matlab)


def _is_class_each(entries: Sequence[ArrayEntry], files: Sequence[str]) -> bool:
    shapes = {entry.shape[1:] for entry in entries}
    return (
        all(name.endswith(".npy") for name in files)
        and len(shapes) == 1
        and all(entry.may_be_images and entry.role == "" for entry in entries)
    )


def _read_class_each(
    where: str,
    title: str,
    entries: Sequence[ArrayEntry],
    split: Split,
    options: PictureOptions,
    remarks: tuple[str, ...],
) -> Assembled:
    if split == "test":
        raise NoHeldOutError(f"{where} has no held-out part: it holds one file for each class")
    limits.check_memory(where, sum(entry.size for entry in entries))
    classes = tuple(entry.name.split("/")[-1].removeprefix(_QUICKDRAW) for entry in entries)
    arrays, notes = zip(*(image_array(where, e, e.read(), None) for e in entries), strict=True)
    numbers = ", ".join(f"{c} {len(a):,}" for c, a in zip(classes, arrays, strict=True))
    note = f"each of {count(len(entries), 'file')} is a class: {first_few([numbers])}"
    labels = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    form = notes[0][:1]
    return assemble_array(
        title, np.concatenate(arrays), labels, classes, options, (*remarks, note, *form)
    )
