"""CIFAR's folders of batches: cifar-10-batches-py, cifar-100-python and their binary versions.

A batch is a dictionary of `data`, uint8 (N, 3072), plane by plane, and `labels`, `fine_labels` or
`coarse_labels`; another holds the names of the classes. A binary batch has the labels of an image,
one byte each, before its 3072 values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.data.assemble import Assembled, assemble_array
from ganvas.data.formats import limits
from ganvas.data.formats.arrays.labels import class_indices
from ganvas.data.formats.limits import Files
from ganvas.data.formats.pickled import plain_pickle
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError, nearest

_TRAIN = re.compile(r"(.*/)?((train_)?data_batch(_\d+)?|train)(\.bin)?")
_TEST = re.compile(r"(.*/)?(test_batch|val_data|test)(\.bin)?")
_META = re.compile(
    r"(.*/)?(batches\.meta(\.txt)?|meta|fine_label_names\.txt|coarse_label_names\.txt)"
)


def is_cifar(files: Files) -> bool:
    """Return True for files named as CIFAR's batches are."""
    names = {name.rpartition("/")[2].removesuffix(".bin") for name in files}
    first = {"data_batch_1", "train_data_batch_1"} & names
    return bool(first) or {"train", "meta"} <= names or {"train", "fine_label_names.txt"} <= names


def read_cifar(path: Path, files: Files, split: Split, options: PictureOptions) -> Assembled:
    """Read CIFAR's batches without unpickling. Raises DataError; NoHeldOutError."""
    names = sorted(files, key=lambda name: [int(n) for n in re.findall(r"\d+", name)[-1:]])
    train = [_batch(path, files, name) for name in names if _TRAIN.fullmatch(name)]
    test = [_batch(path, files, name) for name in names if _TEST.fullmatch(name)]
    meta = [_batch(path, files, name) for name in names if _META.fullmatch(name)]
    if not train:
        raise DataError(f"{path} has no batches to train on: expected data_batch_1 or train")
    if split == "test" and not test:
        raise NoHeldOutError(f"{path} has no held-out part: add test_batch")
    key = _label_key(str(path), train[0], options.label_column)
    parts = [batches for batches in (train, test) if batches]
    labels = [np.concatenate([_labels(path, batch, key) for batch in part]) for part in parts]
    indices, classes = class_indices(str(path), labels, _class_names(meta, key))
    chosen = parts[split == "test"]
    values = {batch["data"].shape[1:] for batch in chosen}
    side = math.isqrt(math.prod(min(values)) // 3)
    if values != {(3 * side * side,)}:
        raise DataError(f"{path} has batches of rows {values}, expected (N, 3072)")
    rows = np.concatenate([batch["data"] for batch in chosen])
    images = np.moveaxis(rows.reshape(-1, 3, side, side), 1, 3)
    notes = files.notes + ((f"classes are read from {key}",) if key != "labels" else ())
    title = path.resolve().name
    return assemble_array(title, images, indices[split == "test"], classes, options, notes)


def _batch(path: Path, files: Files, name: str) -> Mapping[str, Any]:
    where = f"{path}/{name}"
    try:
        with files[name]() as stream:
            if limits.size_of(stream) > limits.MAX_FILE:
                raise ValueError("it is larger than 1 GiB")
            read = stream.read()
            content = _binary(name, read) if name.endswith((".bin", ".txt")) else plain_pickle(read)
    except (OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where} is no plain batch of CIFAR ({reason}): fetch it again") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{where} is no plain batch of CIFAR: expected a dictionary")
    batch = _META.fullmatch(name) is None
    if batch and not isinstance(content.get("data"), np.ndarray):
        raise DataError(f"{where} is no plain batch of CIFAR: it has no array data")
    return content


def _binary(name: str, content: bytes) -> dict[str, Any]:
    """A binary batch, or a file of one name a line, as the dictionary that a pickle holds."""
    if name.endswith(".txt"):
        names = content.decode("latin1").split()
        stem = name.rpartition("/")[2].removesuffix(".txt")
        return {stem if stem.endswith("_names") else "label_names": names}
    for keys in (("labels",), ("coarse_labels", "fine_labels")):
        row = 3072 + len(keys)
        if content and len(content) % row == 0:
            rows = np.frombuffer(content, np.uint8).reshape(-1, row)
            labels = {key: rows[:, i].astype(np.int64) for i, key in enumerate(keys)}
            return {"data": rows[:, len(keys) :], **labels}
    raise ValueError(f"{len(content):,} bytes, expected 3,073 an image")


def _label_key(where: str, batch: Mapping[str, Any], column: str | None) -> str:
    known = [key for key in ("labels", "fine_labels", "coarse_labels") if key in batch]
    if column is not None and column not in known:
        raise DataError(f"{where}: --label-column {column}: {nearest(column, known)}")
    if not known:
        raise DataError(f"{where} has batches without labels")
    return column or known[0]


def _labels(path: Path, batch: Mapping[str, Any], key: str) -> Any:
    labels = np.asarray(batch.get(key, []))
    if labels.dtype.kind not in "iu" or labels.shape != (len(batch["data"]),):
        raise DataError(f"{path} has a batch of {len(batch['data']):,} images with other labels")
    return labels


def _class_names(meta: list[Mapping[str, Any]], key: str) -> tuple[str, ...] | None:
    known = {name: names for each in meta for name, names in each.items()}
    names = known.get(key.replace("labels", "label_names"))
    if not isinstance(names, list):
        return None
    return tuple(n.decode("latin1") if isinstance(n, bytes) else str(n) for n in names)
