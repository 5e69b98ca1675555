"""WebDataset: pictures, and files of the same name that hold their labels.

    000000.jpg, 000000.cls                  a class number or name as text
    000000.jpg, 000000.json                 {"label": ...}

One tar, or several shards in a folder, which are read as one set. The lines of classnames.txt name
the class numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ganvas.data.assemble import Assembled, Picture, assemble
from ganvas.data.formats.archive import members
from ganvas.data.formats.arrays.labels import class_indices
from ganvas.data.formats.limits import Files
from ganvas.data.kinds import TAR_ENDINGS, has_ending
from ganvas.data.pictures import SUFFIXES, PictureOptions, open_picture
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError
from ganvas.system.text import count, first_few, printable

MAX_LABEL = 2**20  # bytes of one file of labels
_CLASS_NAMES = "classnames.txt"
_LABEL_FIELDS = ("label", "cls", "class", "class_id", "label_id", "class_name", "label_name")
_HELD_OUT = re.compile(r"(^|[^a-z])(test|val|valid|validation|dev)([^a-z]|$)", re.IGNORECASE)


@contextmanager
def with_shards(path: Path, files: Files, encoding: str | None) -> Iterator[Files]:
    """The files, with the content of tars in place of these, if a folder holds tars alone.

    Shards, whose names differ in numbers alone, add no folder to the names within.
    """
    tars = [name for name in files if has_ending(name, TAR_ENDINGS)]
    if not path.is_dir() or not tars or any(_is_picture(name) for name in files):
        yield files
        return
    with ExitStack() as stack:
        merged = Files((name, opener) for name, opener in files.items() if name not in tars)
        stems = {name: re.sub(r"(\.tar.*|\.t[a-z]{2,3})$", "", name) for name in tars}
        numbered = len({re.sub(r"\d+", "0", stem) for stem in stems.values()}) < len(tars)
        for name in tars:
            inner = stack.enter_context(members(path / name, encoding))
            labelled = is_webdataset(inner)
            prefix = "" if numbered and not labelled and len(tars) > 1 else f"{stems[name]}/"
            for each, opener in inner.items():
                place = f"{prefix}{each}"
                if place in merged:
                    place = f"{stems[name]}.{place}"
                merged[place] = opener
        merged.notes = (*files.notes, f"{count(len(tars), 'tar')} read as one set")
        yield merged


def is_webdataset(files: Mapping[str, Any]) -> bool:
    """Return True if most pictures have a file of labels of the same name."""
    pictures = [name for name in files if _is_picture(name)]
    first = pictures[:: max(1, len(pictures) // 50)]
    labelled = [name for name in first if _label_file(files, name)]
    if not labelled or 2 * len(labelled) < len(first):
        return False
    kind = _label_file(files, labelled[0])
    return kind is not None and _label(files, kind) is not None


def read_webdataset(path: Path, files: Files, split: Split, options: PictureOptions) -> Assembled:
    """Read pictures with the labels beside them. Raises DataError; NoHeldOutError."""
    names = [name for name in files if _is_picture(name)]
    held_out = {name for name in names if _HELD_OUT.search(_folder(name))}
    if len(held_out) == len(names):
        held_out = set()
    if split == "test" and not held_out:
        raise NoHeldOutError(f"{path} has no held-out part: name its shards test-000000.tar, ...")
    labels: dict[str, str | int] = {}
    without = []
    for name in names:
        file = _label_file(files, name)
        label = None if file is None else _label(files, file)
        if label is None:
            without.append(name)
        else:
            labels[name] = label
    if without:
        lacking = f"{count(len(without), 'picture')}: {first_few(without)}"
        raise DataError(f"{path} lacks labels beside {lacking}: add a .cls for each")
    parts = [[name for name in names if name not in held_out]]
    parts += [sorted(held_out)] if held_out else []
    arrays = [np.array([labels[name] for name in part]) for part in parts]
    if len({array.dtype.kind for array in arrays}) > 1:
        arrays = [array.astype(str) for array in arrays]
    indices, classes = class_indices(str(path), arrays, _class_names(files))
    chosen, of = parts[split == "test"], indices[split == "test"]
    pictures = [Picture(name, partial(open_picture, files[name])) for name in chosen]
    kinds = sorted({PurePosixPath(file).suffix for n in names if (file := _label_file(files, n))})
    notes = [*files.notes, f"classes are read from {', '.join(kinds)} beside the pictures"]
    if held_out:
        notes.append(f"{count(len(held_out), 'picture')} in shards of test or val held out")
    used = {file for file in files if file.rpartition("/")[2] == _CLASS_NAMES}
    used |= {file for name in names if (file := _label_file(files, name))} | set(names)
    if others := sorted({_extension(name) for name in files if name not in used}):
        notes.append(f"other files passed over ({first_few(others)})")
    return assemble(path.resolve().name, pictures, of, classes, options, tuple(notes))


def _class_names(files: Files) -> tuple[str, ...] | None:
    """The lines of classnames.txt, which name the classes 0, 1, ...; None without that file."""
    file = next((name for name in files if name.rpartition("/")[2] == _CLASS_NAMES), None)
    if file is None:
        return None
    with files.opened(file, file) as stream:
        text = stream.read(MAX_LABEL).decode("utf-8", "replace")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _is_picture(name: str) -> bool:
    return f".{_extension(name)}" in SUFFIXES


def _extension(name: str) -> str:
    """All after the first dot of the last part, which WebDataset takes for the kind."""
    return name.rpartition("/")[2].partition(".")[2].lower()


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _label_file(files: Mapping[str, Any], name: str) -> str | None:
    key = name[: -len(_extension(name))]
    return next((key + kind for kind in ("cls", "json") if key + kind in files), None)


def _label(files: Mapping[str, Any], file: str) -> str | int | None:
    """The label in a file; None if it has none. Raises DataError if it cannot be read."""
    try:
        with files[file]() as stream:
            text = stream.read(MAX_LABEL).decode("utf-8").strip()
        value: Any = text
        if file.endswith(".json"):
            content = json.loads(text)
            found = content if isinstance(content, dict) else {}
            value = next((found[name] for name in _LABEL_FIELDS if name in found), None)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{printable(file)} cannot be read ({error}): mend or remove it") from None
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    return value if isinstance(value, str | int) and value != "" else None
