"""Arrays of labels in any usual form -> indices into names of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ganvas.data.assemble import Labels
from ganvas.data.decoding.ranges import Values
from ganvas.data.labels import sorted_classes
from ganvas.errors import DataError

MAX_UNNAMED_CLASSES = 1000  # of a small set whose labels have no names


def class_indices(
    where: str, parts: Sequence[Values], names: tuple[str, ...] | None = None
) -> tuple[list[Labels], tuple[str, ...]]:
    """Labels int64 (N,) of each part of a data set, and the names of the classes of all.

    parts: integers, whole floats, booleans or strings, each (N,).
    names: of the classes 0, 1, ...; by default the labels are the names.

    Without names, labels from 0 on make the classes '0' to the largest. If no label is 0, the
    classes are the labels that occur. Raises DataError for labels that are no classes.
    """
    values = [_plain(where, part) for part in parts]
    every = np.concatenate(values)
    if every.dtype.kind == "U":
        if names is None:
            names = sorted_classes(every.tolist())
        place = {name: k for k, name in enumerate(names)}
        if unknown := set(every.tolist()) - set(names):
            raise DataError(f"{where}: label {min(unknown)!r} is not among the classes' names")
        indices = [np.array([place[each] for each in part.tolist()], np.int64) for part in values]
        return indices, names
    if names is not None:
        from_one = every.min(initial=1) == 1 and every.max(initial=0) == len(names)
        return [part.astype(np.int64) - from_one for part in values], names
    largest = int(every.max(initial=0))
    if every.min(initial=0) == 0 and (every == 0).any():
        if largest >= max(len(every), MAX_UNNAMED_CLASSES):
            raise DataError(f"{where}: labels run up to {largest:,}, expected 0 to K-1")
        return [part.astype(np.int64) for part in values], tuple(map(str, range(largest + 1)))
    found = np.unique(every)
    if found[0] < 0 and found.tolist() != [-1, 1]:
        lowest = f"labels run from {found[0]} to {largest}"
        raise DataError(f"{where}: {lowest}, expected 0 to K-1; leave out images without a label")
    if len(found) > max(MAX_UNNAMED_CLASSES, len(every) // 2):
        raise DataError(f"{where}: {len(found):,} different labels for {len(every):,} images")
    indices = [np.searchsorted(found, part).astype(np.int64) for part in values]
    return indices, tuple(str(value) for value in found.tolist())


def flat_labels(array: Values, images: int) -> tuple[Values | None, str]:
    """Labels (N,) from (N,), (N, 1), (1, N) or one-hot rows (N, K), and a phrase for the last.

    None if they are not one per image.
    """
    array = array.reshape([n for n in array.shape if n > 1] or [array.size])
    if array.shape == (images,):
        return array, ""
    if array.ndim == 2 and array.shape[1] == images != array.shape[0]:
        array = array.T
    if array.ndim != 2 or len(array) != images or array.dtype.kind not in "buif":
        return None, ""
    one_hot = ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()
    return (array.argmax(axis=1), "one-hot rows") if one_hot else (None, "")


def _plain(where: str, labels: Values) -> Values:
    """Labels as integers or strings. Raises DataError for other kinds."""
    kind = labels.dtype.kind
    if kind == "S":
        return np.char.decode(labels, "utf-8", "replace")
    if kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        return labels.astype(np.int64)
    if kind not in "buiU":
        said = f"labels are {labels.dtype} {labels.shape}"
        raise DataError(f"{where}: {said}, expected {len(labels):,} integers, one per image")
    if kind == "u" and labels.max(initial=0) > np.iinfo(np.int64).max:
        raise DataError(f"{where}: labels run up to {labels.max():,}, expected 0 to K-1")
    return labels if kind == "U" else labels.astype(np.int64)
