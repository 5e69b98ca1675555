"""StyleGAN's packed sets: pictures in numbered folders, and their labels in dataset.json.

00000/img00000000.png, ...  00001/img00001000.png, ...
dataset.json                {"labels": [["00000/img00000000.png", 3], ...]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ganvas.data.formats.limits import Files
from ganvas.data.labels import numbered_classes
from ganvas.data.trees.label_columns import NO_COLUMN, unmatched_notes
from ganvas.errors import DataError
from ganvas.system.text import count, first_few, printable

MAX_JSON_BYTES = 512 * 2**20

_NAME = "dataset.json"
_LARGEST = 1_000_000  # label


@dataclass(frozen=True)
class PackedLabels:
    """The content of a dataset.json.

    file: its name in the tree.
    of: the class of each picture that has one; empty if the file holds no labels.
    classes: of the whole file, without pictures too.
    """

    file: str
    of: dict[str, str]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def packed_labels(
    path: object, base: str, files: Files, pictures: list[str], part: list[str]
) -> PackedLabels | None:
    """Read dataset.json, in the folder `base` or the next above it; None if there is none.

    path: of the tree, for messages.
    pictures: all of them.
    part: those that need labels.
    Raises DataError if it cannot be understood, or if its labels do not fit the pictures.
    """
    folders = [base[: i + 1] for i, letter in enumerate(base) if letter == "/"]
    folder = next((f for f in (*reversed(folders), "") if f + _NAME in files), None)
    if folder is None:
        return None
    file = folder + _NAME
    where = f"{path}: {printable(file)}"
    content = _content(files, file, where)
    if not isinstance(content, dict) or "labels" not in content:
        raise DataError(f'{where} has no entry "labels", as StyleGAN\'s has: rename or mend it')
    if not content["labels"]:
        return PackedLabels(
            file, {}, (), (f"{printable(file)} holds no labels: read without classes",)
        )
    labels = _by_name(where, content["labels"], folder, pictures)
    return _fitted(where, file, labels, pictures, part)


def _content(files: Files, file: str, where: str) -> Any:
    try:
        with files[file]() as stream:
            body = stream.read(MAX_JSON_BYTES + 1)
        if len(body) > MAX_JSON_BYTES:
            raise ValueError(f"larger than {MAX_JSON_BYTES // 2**20} MiB")
        return json.loads(body)
    # ValueError: no JSON or no UTF-8. RecursionError: lists nested without end
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where} cannot be read as JSON ({error}): mend or remove it") from None


def _by_name(where: str, labels: Any, folder: str, pictures: list[str]) -> dict[str, Any]:
    """The label of each file: from pairs, a dict, or one label for each picture in order."""
    expected = 'expected "labels" with a pair of file and label for each picture'
    if isinstance(labels, dict):
        return {folder + name: label for name, label in labels.items()}
    if not isinstance(labels, list):
        raise DataError(f"{where} holds {_shown(labels)}, {expected}")
    if all(isinstance(each, int | str) for each in labels):
        inside = [name for name in pictures if name.startswith(folder)]
        if len(labels) != len(inside):
            both = f"{count(len(labels), 'label')} for {count(len(inside), 'picture')}"
            raise DataError(f"{where} holds {both}: {expected}")
        return dict(zip(inside, labels, strict=True))
    named: dict[str, Any] = {}
    for pair in labels:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise DataError(f"{where} holds {_shown(pair)}, {expected}")
        name = folder + pair[0].replace("\\", "/")
        if named.setdefault(name, pair[1]) != pair[1]:
            raise DataError(f"{where} gives two labels to {printable(pair[0])}: keep one")
    return named


def _fitted(
    where: str, file: str, labels: Mapping[str, Any], pictures: list[str], part: list[str]
) -> PackedLabels:
    """The classes of a part. Raises DataError if most pictures or most labels stand alone."""
    numbers = {name: _number(where, name, label) for name, label in labels.items()}
    missing = sorted(numbers.keys() - set(pictures))
    unnamed = [name for name in part if name not in numbers]
    if 2 * len(missing) > len(numbers):
        gone = f"{count(len(missing), 'file')} that are not here ({first_few(missing, 3)})"
        raise DataError(f"{where} gives labels to {gone}: it belongs to other pictures, remove it")
    if 2 * len(unnamed) > len(part):
        lacking = f"{count(len(unnamed), 'picture')}: {first_few(unnamed, 3)}"
        raise DataError(f"{where} lacks labels of {lacking}: add them, or remove it")
    known = numbered_classes(np.array(sorted(set(numbers.values())), np.int64))
    of = {name: known.names[numbers[name] - known.first] for name in part if name in numbers}
    unmatched = unmatched_notes(unnamed, missing, "label")
    notes = f"classes read from {printable(file)}", *known.notes, *unmatched
    return PackedLabels(file, of, known.names, notes)


def _number(where: str, name: str, label: Any) -> int:
    """The class of a label: a whole number, or a list with a single 1 among zeros."""
    if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
        return label.index(1)
    if type(label) is not int or not 0 <= label < _LARGEST:
        raise DataError(
            f"{where} gives {printable(name)} the label {_shown(label)}, expected the number of a"
            f" class, from 0: read no labels with --label-column {NO_COLUMN}"
        )
    return label


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]


def are_buckets(groups: Mapping[str, Sequence[str]]) -> bool:
    """Return True if folders are portions of one numbered series and no classes.

    groups: the names of the pictures in each folder.

    Their names are zero-padded numbers in equal steps, all hold equally many pictures but the
    last, which may hold fewer, and the numbers of the pictures go on from folder to folder.
    """
    folders = sorted(groups)
    widths = set(map(len, folders))
    if len(folders) < 2 or len(widths) > 1 or min(widths) < 2:
        return False
    if not all(re.fullmatch("[0-9]{2,18}", folder) for folder in folders):
        return False
    steps = set(np.diff([int(folder) for folder in folders]).tolist())
    sizes = [len(groups[folder]) for folder in folders]
    if len(steps) > 1 or len(set(sizes[:-1])) > 1 or not 1 < sizes[0] >= sizes[-1]:
        return False
    numbers: list[int] = []
    for folder in folders:
        stems = [PurePosixPath(name).stem for name in groups[folder]]
        found = [re.findall("[0-9]{1,18}", stem) for stem in stems]
        if not all(found):
            return False
        numbers += sorted(int(each[-1]) for each in found)
    return all(a < b for a, b in pairwise(numbers))
