"""NumPy archives with the arrays `images`, `labels` (optional) and `classes` (optional).

images: uint8 (N, H, W) or (N, H, W, C). labels: integers (N,). classes: strings (K,).
Without `images`, `arr_0` and `arr_1` are read as images and labels: `np.savez(FILE, images,
labels)` and many samplers write these names.
"""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganvas.data.assemble import Assembled, Labels, assemble_array
from ganvas.data.formats.archive import DAMAGED, opened_zip
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError
from ganvas.system.text import first_few

_KEYS = ("images", "labels", "classes")
_UNNAMED = {"arr_0": "images", "arr_1": "labels"}
# raised, beside DAMAGED, for an array with a wrong header
_MALFORMED = (TypeError, SyntaxError, tokenize.TokenError, OSError, KeyError, MemoryError)


def read_npz(path: Path, split: Split, options: PictureOptions) -> Assembled:
    """Read a .npz. Classes are named '0' to 'K-1' unless it holds `classes`. Nothing is unpickled.

    Raises DataError; NoHeldOutError for the split "test".
    """
    if split == "test":
        raise NoHeldOutError(f"{path} has no held-out part: a .npz holds training images only")
    arrays, others, notes = _arrays(path)
    if "images" not in arrays:
        raise DataError(
            f"{path} holds no array named images, only: {first_few(others) or 'nothing'}: use"
            " np.savez(FILE, images=..., labels=...)"
        )
    images = arrays["images"]
    if images.dtype != np.uint8:
        raise DataError(f"{path}: images are {images.dtype}, expected uint8 from 0 to 255")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        raise DataError(
            f"{path}: images are {images.shape}, expected (N, H, W) or (N, H, W, C), C 1, 3 or 4"
        )
    labels, classes = _labels(path, arrays, len(images))
    if others:
        notes.append(f"arrays not used: {first_few(others)}")
    return assemble_array(path.resolve().name, images, labels, classes, options, tuple(notes))


def _arrays(path: Path) -> tuple[dict[str, npt.NDArray[Any]], list[str], list[str]]:
    """The known arrays by name, the names of the others, and notes on those read as another."""
    try:
        with opened_zip(path), np.load(path, allow_pickle=False) as archive:
            names = {key: key for key in _KEYS if key in archive}
            if "images" not in archive and "arr_0" in archive:
                names = {key: name for key, name in _UNNAMED.items() if key in archive}
            arrays = {name: archive[key] for key, name in names.items()}
            if "arr_1" in names and not _are_labels(arrays["labels"]):
                del names["arr_1"], arrays["labels"]  # latents, for example
            others = sorted(set(archive.files) - set(names))
        for key, name in names.items():
            if not isinstance(arrays[name], np.ndarray):
                raise ValueError(f"{key} is no array")
        taken = [f"{key} is read as {name}" for key, name in names.items() if key != name]
        return arrays, others, [", ".join(taken)] if taken else []
    except (*DAMAGED, *_MALFORMED) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read ({reason}): save it again with np.savez") from None


def _are_labels(array: npt.NDArray[Any]) -> bool:
    return array.ndim == 1 and array.dtype.kind in "iu"


def _labels(
    path: Path, arrays: dict[str, npt.NDArray[Any]], n: int
) -> tuple[Labels | None, tuple[str, ...]]:
    labels, names = arrays.get("labels"), arrays.get("classes")
    if labels is None:
        if names is not None:
            raise DataError(f"{path} holds classes and no labels: add one integer per image")
        return None, ()
    if not _are_labels(labels) or len(labels) != n:
        kind = f"{labels.dtype} {labels.shape}"
        raise DataError(f"{path}: labels are {kind}, expected {n:,} integers, one per image")
    if names is None:
        largest = int(labels.max(initial=0))
        if largest >= max(n, 1000):
            raise DataError(f"{path}: labels run up to {largest:,}, expected 0 to K-1")
        names = np.arange(largest + 1).astype(str)
    if names.dtype.kind != "U" or names.ndim != 1:
        kind = f"{names.dtype} {names.shape}"
        raise DataError(f"{path}: classes are {kind}, expected one string per class")
    return labels.astype(np.int64), tuple(map(str, names))
