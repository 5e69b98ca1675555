"""Data sets in a folder or a zip of pictures.

    a.png, b.png                        no classes
    a.png, b.png, labels.csv            classes from rows file,label, with or without a header
    cats/.../a.png, dogs/.../b.png      a class for each folder
    train/..., test/...                 one of these in each; test/ may be named val/, valid/ or
                                        validation/

A folder that holds nothing but one folder is skipped. Pictures beside folders of pictures have no
classes.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ganvas.data.assemble import Assembled, Picture, assemble
from ganvas.data.formats.archive import Files, members
from ganvas.data.formats.own_files import without_own_files
from ganvas.data.pictures import SUFFIXES, PictureOptions, open_picture
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError
from ganvas.system.text import count, first_few, printable

_HELD_OUT = ("test", "val", "valid", "validation")
_TABLE = "labels.csv"


def read_folder(path: Path, split: Split, options: PictureOptions) -> Assembled:
    """Read a folder or a zip of pictures.

    Raises DataError; NoHeldOutError if the held-out part is missing.
    """
    with members(path) as everything:
        files, notes = without_own_files(path, everything)
        tree = _Tree(path, files, notes)
        names, of, classes = tree.plan(split)
        pictures = [Picture(name, partial(open_picture, files[name])) for name in names]
        index = {name: i for i, name in enumerate(classes)}
        labels = np.array([index[of[name]] for name in names], np.int64) if classes else None
        return assemble(path.resolve().name, pictures, labels, classes, options, tuple(tree.notes))


@dataclass
class _Tree:
    """The visible files, by name.

    notes: what `plan` decided, for the user.
    tables: files that `plan` read labels from.
    """

    path: Path
    files: Files
    notes: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def plan(self, split: Split) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
        """The names of a split's pictures in order, the class of each, and all classes.

        The held-out part has the classes of the train part.
        """
        pictures = list(filter(_is_picture, self.files))
        if not pictures:
            others = f", only {count(len(self.files), 'other file')}" if self.files else ""
            known = ", ".join(sorted(SUFFIXES))
            raise DataError(f"{self.path} holds no pictures{others}: expected files in {known}")
        base = self._entered("", pictures)
        parts = self._parts(base, pictures)
        if split not in parts:
            raise NoHeldOutError(f"{self.path} has no held-out part: put it into test/")
        train_base, train = parts["train"]
        chosen_base, chosen = parts[split]
        if base + _TABLE in self.files:
            of = self._rows(base, pictures)
            classes = _sorted(of[name] for name in train)
        else:
            of = self._labels(train_base, train)
            classes = _sorted(of.values())
            if split == "test" and classes:
                of = self._labels(chosen_base, chosen, known=classes)
                classes = classes if of else ()
        if unknown := sorted({of[name] for name in chosen if of} - set(classes)):
            raise DataError(
                f"{self.path}: {chosen_base} has classes that {train_base} lacks:"
                f" {first_few(unknown)}: remove them, or add pictures there"
            )
        self._note_others(pictures)
        return chosen, of, classes

    def _parts(self, base: str, pictures: list[str]) -> dict[Split, tuple[str, list[str]]]:
        """The folder and the names of the pictures of each split."""
        folders, _ = _below(base, pictures)
        held_out = [name for name in _HELD_OUT if name in folders]
        if "train" not in folders or not held_out:
            return {"train": (base, pictures)}
        train, test = f"{base}train/", f"{base}{held_out[0]}/"
        in_train = [name for name in pictures if name.startswith(train)]
        in_test = [name for name in pictures if name.startswith(test)]
        unused = len(pictures) - len(in_train) - len(in_test)
        outside = f"; {count(unused, 'picture')} outside them left out" if unused else ""
        self.notes.append(f"{train} is the part to train on, {test} the one held out{outside}")
        return {"train": (train, in_train), "test": (test, in_test)}

    def _entered(self, base: str, names: list[str], known: Collection[str] = ()) -> str:
        """`base`, or the one folder in it that holds all and is not a `known` class; and so on."""
        folders, direct = _below(base, names)
        if base + _TABLE in self.files or direct or len(folders) > 1 or folders[0] in known:
            return base
        inner = f"{base}{folders[0]}/"
        self.notes.append(f"{printable(inner)} holds all the pictures, so it is not a class")
        return self._entered(inner, names, known)

    def _labels(self, base: str, names: list[str], known: Collection[str] = ()) -> dict[str, str]:
        """The class of each picture, from a table or from folders; {} without classes."""
        base = self._entered(base, names, known)
        if base + _TABLE in self.files:
            return self._rows(base, names)
        folders, direct = _below(base, names)
        if not direct:
            return {name: name[len(base) :].split("/", 1)[0] for name in names}
        if folders:
            beside = f"{count(len(folders), 'folder')} of pictures"
            self.notes.append(f"pictures lie beside {beside}: read without classes")
        return {}

    def _rows(self, base: str, names: list[str]) -> dict[str, str]:
        """The class of each picture in `base`, from its table.

        Raises DataError unless the table names each picture once and nothing else.
        """
        table = base + _TABLE
        where = f"{self.path}: {printable(table)}"
        self.tables.append(table)
        self.notes.append(f"classes read from {printable(table)}")
        of: dict[str, str] = {}
        for row in self._cells(table, where):
            if len(row) != 2 or not all(row):
                raise DataError(f"{where} has the row {','.join(row)[:80]!r}, expected file,label")
            name = self._named(base, row[0])
            if name in of:
                raise DataError(f"{where} names {row[0]!r} twice: keep one row")
            of[name] = row[1]
        without_row, without_picture = sorted(set(names) - set(of)), sorted(set(of) - set(names))
        if without_row:
            lacking = f"{count(len(without_row), 'picture')}: {first_few(without_row)}"
            raise DataError(f"{where} lacks {lacking}: add a row for each")
        if without_picture:
            named = f"{count(len(without_picture), 'file')}: {first_few(without_picture)}"
            raise DataError(f"{where} names {named}, not pictures here: remove these rows")
        return of

    def _named(self, base: str, cell: str) -> str:
        """The picture named by a table's cell, which may have Windows' backslashes."""
        name = base + PurePosixPath(cell).as_posix()
        slashed = base + PurePosixPath(cell.replace("\\", "/")).as_posix()
        return name if name in self.files else slashed

    def _cells(self, table: str, where: str) -> list[list[str]]:
        """The rows of a table, without a header: [file, label] unless a row is malformed."""
        try:
            with self.files[table]() as stream:
                text = stream.read().decode("utf-8-sig")
            table_rows = csv.reader(io.StringIO(text, newline=""))
            rows = [[cell.strip() for cell in row] for row in table_rows if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{where} cannot be read as a table in UTF-8 ({error})") from None
        if not rows or _is_picture(rows[0][0]):
            return rows
        header = [cell.lower() for cell in rows[0]]
        if not {"file", "label"} <= set(header):
            return rows[1:]
        # the two columns may come in any order, among others
        places = header.index("file"), header.index("label")
        return [[row[i] for i in places] if len(row) == len(header) else row for row in rows[1:]]

    def _note_others(self, pictures: list[str]) -> None:
        if others := set(self.files).difference(pictures, self.tables):
            kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
            listed = first_few(f"{kind} {n:,}" for kind, n in sorted(kinds.items()))
            self.notes.append(f"{count(len(others), 'file')} passed over, not pictures ({listed})")


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _below(base: str, names: Iterable[str]) -> tuple[list[str], bool]:
    """The folders in `base` that hold any of `names`, and True if some lie in `base` itself."""
    pieces = [name[len(base) :].split("/", 1) for name in names]
    folders = sorted({piece[0] for piece in pieces if len(piece) > 1})
    return folders, any(len(piece) == 1 for piece in pieces)


def _sorted(classes: Iterable[str]) -> tuple[str, ...]:
    """Each class once: numbers in numerical order, then names."""

    def order(name: str) -> tuple[bool, int, str]:
        return not name.isdecimal(), int(name) if name.isdecimal() else 0, name

    return tuple(sorted(set(classes), key=order))
