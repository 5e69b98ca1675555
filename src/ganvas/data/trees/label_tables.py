"""Classes from tables that lie in a tree of pictures, or beside it.

A table is a .csv, .tsv or .txt file of which one column names pictures: by path or by file name,
with or without its ending. It may lie with the pictures, above them or in a folder of its own.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ganvas.data.formats.archive import binary
from ganvas.data.formats.limits import Files
from ganvas.data.trees.delimited import (
    MAX_COLUMNS,
    MAX_TABLE_BYTES,
    decoded_table,
    is_wide,
    table_rows,
)
from ganvas.data.trees.label_columns import (
    NO_COLUMN,
    label_column,
    one_to_one,
    split_column,
    unmatched_notes,
)
from ganvas.data.trees.picture_index import SEVERAL, NamingColumn, PictureIndex
from ganvas.data.trees.splits import Part, split_of
from ganvas.errors import DataError
from ganvas.system.text import count, first_few, printable

MAX_TABLES = 50

_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
_CERTAIN = "labels.csv"  # a name that leaves no doubt
_TELLING = re.compile(r"label|class|annotation|target|truth|meta|train", re.IGNORECASE)


@dataclass(frozen=True)
class TableLabels:
    """The classes that a table gives to pictures of a part.

    of: the class of each picture that has one.
    complete: True if that is every picture of the part.
    """

    table: str
    of: dict[str, str]
    complete: bool
    notes: tuple[str, ...]


@dataclass
class LabelTables:
    """The tables of a tree.

    path: of the tree.
    pictures: names of all its pictures.
    names: of the files that may be tables (see `tables_in`).
    column: the column that holds the classes, if the user named it.
    held_out: True if the tree has a held-out part.
    read: names of the tables that `labels` read.
    refused: why each other table that looks like labels was not read.
    """

    path: Path
    files: Files
    pictures: list[str]
    names: list[str]
    column: str | None
    held_out: bool
    read: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    def labels(self, part: Part, folders: Mapping[str, str]) -> TableLabels | None:
        """The classes of a part's pictures, from the table that names them; None if none does.

        folders: the class of each picture by its folder. Only labels.csv, a complete table of
            other classes, or a column named by the user overrules them.
        Raises DataError if a table cannot be understood and nothing else gives classes, or if
        several disagree.
        """
        if self.column == NO_COLUMN:
            return None
        # tables inside a folder of some of the pictures are of these alone
        shares = _pictures_below(part.names if self.names else ())
        near = [name for name in self.names if 2 * shares[self._folder(name)] > len(part.names)]
        limit = f"no more than {MAX_TABLES} tables are read"
        self.refused |= dict.fromkeys(near[MAX_TABLES:], limit)
        found, errors = self._read_all(part, Files((n, self.files[n]) for n in near[:MAX_TABLES]))
        if not (found or folders or part.names.keys() != set(self.pictures)):
            before = dict(self.refused)
            found, more = self._read_all(part, _tables_beside(self.path))
            self.refused = before  # most are of other pictures, and so may faulty ones be
            if self.column is not None:
                errors |= more
            self.refused |= {table: self._reason(table, error) for table, error in more.items()}
        chosen = self._choose(found, folders)
        if chosen is not None:
            self.read.add(chosen.table)
        elif errors and (not folders if self.column is None else not part.held_out):
            raise next(iter(errors.values()))
        elif self.column is not None and not part.held_out:
            raise DataError(
                f"{self.path} holds no table that names its pictures, so --label-column"
                f" {self.column} does nothing: leave it out"
            )
        for table, error in errors.items():
            self.refused[table] = self._reason(table, error)
        return chosen

    def notes(self) -> Iterator[str]:
        """Sentences on the tables that look like labels and were not read."""
        reasons: dict[str, list[str]] = {}
        for table, reason in self.refused.items():
            if table not in self.read:
                reasons.setdefault(reason, []).append(table)
        for reason, tables in reasons.items():
            yield f"{first_few(tables, 3)} passed over: {reason}"

    def _reason(self, table: str, error: DataError) -> str:
        return str(error).removeprefix(f"{self._where(table)} ")

    def _where(self, table: str) -> str:
        return f"{self.path}: {printable(table)}"

    def _read_all(self, part: Part, files: Files) -> tuple[list[TableLabels], dict[str, DataError]]:
        """The tables that give classes to a part, and the errors of those that should."""
        found, errors = [], {}
        for name, opened in files.items():
            try:
                labels = self._read(name, opened, part)
            except DataError as error:
                if _is_certain(name) and not part.held_out:
                    raise
                errors[name] = error
                continue
            found += [labels] if labels is not None else []
        return found, errors

    def _choose(self, found: list[TableLabels], folders: Mapping[str, str]) -> TableLabels | None:
        """The table to read, of those that give classes. Raises DataError if several disagree."""
        if not found:
            return None
        first, *others = sorted(found, key=lambda labels: _rank(labels.table))
        sure = _is_certain(first.table) or self.column is not None
        if folders and not sure and (not first.complete or _same_groups(first.of, folders)):
            self.refused |= {each.table: "the folders give the classes" for each in found}
            return None
        for other in others:
            if _rank(other.table) == _rank(first.table) and other.of != first.of:
                both = first_few((first.table, other.table))
                raise DataError(
                    f"{self.path} holds tables that give different classes ({both}): keep one"
                )
            self.refused[other.table] = f"{printable(first.table)} gives the classes"
        return first

    @cached_property
    def _below(self) -> Counter[str]:
        return _pictures_below(self.pictures)

    @cached_property
    def _whole_index(self) -> PictureIndex:
        return PictureIndex(self.pictures)

    def _read(self, name: str, opened: Callable[[], BinaryIO], part: Part) -> TableLabels | None:
        """The classes that a table gives to a part; None if it is of others or holds none.

        Raises DataError if it names the pictures and cannot be understood.
        """
        folder = self._folder(name)
        split = split_of(PurePosixPath(name).stem)
        if split is not None and (split == "test") != part.held_out:
            if not self.held_out:
                self.refused[name] = "its name speaks of held-out pictures"
            return None
        # a name such as train.csv tells which of two pictures with one file name is meant
        index = PictureIndex(part.names) if split else self._whole_index
        rows, error = self._rows(name, opened, lambda cell: index.find(folder, cell) is not None)
        naming = NamingColumn(rows, index, folder, part.names.keys())
        if not self._names_enough(name, naming, part):
            return None
        if error is not None:
            raise error
        return self._labels(name, naming, part)

    def _rows(
        self, name: str, opened: Callable[[], BinaryIO], is_picture: Callable[[str], bool]
    ) -> tuple[list[list[str]], DataError | None]:
        """The rows of a table, and an error to raise if it turns out to name the pictures."""
        where, problem = self._where(name), None
        try:
            body = _content(opened, where)
            try:
                text = decoded_table(body, where)
            except DataError as error:
                text, problem = body.decode("latin-1"), error
            if is_wide(text) and not _is_certain(name) and self.column is None:
                raise DataError(f"{where} has more than {MAX_COLUMNS} columns")
            return table_rows(text, where, is_picture), problem
        except DataError as error:
            if _is_certain(name):
                raise
            self.refused[name] = self._reason(name, error)
            return [], None

    def _folder(self, table: str) -> str:
        """The folder of a table, or the next above it that holds pictures."""
        parts = table.removeprefix("../").split("/")[:-1]
        while parts:
            folder = "/".join(parts) + "/"
            if folder in self._below:
                return folder
            parts.pop()
        return ""

    def _names_enough(self, name: str, naming: NamingColumn, part: Part) -> bool:
        """Return True if a table names pictures of a part: half of them, unless it is sure.

        Raises DataError if it is sure and names none.
        """
        named = {found for found in naming.found if found in part.names}
        several = naming.found.count(SEVERAL)
        if naming.column is None:
            if _is_certain(name) and not part.held_out:
                raise self._lacking(name, list(part.names))
            if _TELLING.search(name) and any(len(row) > 1 for row in naming.rows):
                self.refused[name] = "it names none of the pictures"
            return False
        if _is_certain(name) or self.column is not None:
            return True
        if 2 * (len(named) + several) < len(part.names):
            if 2 * naming.found.count(None) >= len(naming.found) and not _TELLING.search(name):
                return False  # words that happen to be names
            share = f"{len(named):,} of {count(len(part.names), 'picture')}"
            advice = "" if len(naming.header) < 2 else "; --label-column reads it all the same"
            self.refused[name] = f"it names only {share}{advice}"
            return False
        return True

    def _labels(self, name: str, naming: NamingColumn, part: Part) -> TableLabels | None:
        """The classes of the named pictures. Raises DataError if rows or pictures do not fit."""
        where, header, column = self._where(name), naming.header, naming.column
        assert column is not None
        sure = _is_certain(name) or self.column is not None
        width = max(len(header), 2) if sure else len(header)
        for row in naming.rows:
            if len(row) != width or not row[column]:
                expected = "file,label" if width < 3 else f"{width} cells"
                raise DataError(f"{where} has the row {','.join(row)[:80]!r}, expected {expected}")
        chosen = label_column(where, header, naming.rows, column, self.column, sure)
        if chosen is None:
            self.refused[name] = "no column of it looks like classes"
            return None
        cells = [row[column] for row in naming.rows]
        of, missing = _by_picture(where, cells, naming.found, chosen.classes, _is_certain(name))
        of = {picture: label for picture, label in of.items() if picture in part.names}
        unnamed = [picture for picture in part.names if picture not in of]
        if self.column is None and 2 * len(unnamed) > len(part.names):
            raise self._lacking(name, unnamed)
        if self.column is None and 2 * len(missing) > len(cells):
            gone = f"{count(len(missing), 'file')}: {first_few(missing)}, not pictures here"
            raise DataError(
                f"{where} names {gone}: remove these rows, or name the column of the classes by"
                " --label-column to read the others"
            )
        notes = [f"classes read from {printable(name)}"]
        if chosen.name:
            notes[0] += f", column {printable(chosen.name)}"
        split = split_column(header, naming.rows)
        if split is not None and not self.held_out:
            notes.append(
                f"column {printable(split)} is not read, all rows are trained on: put the held-out"
                " pictures into test/"
            )
        notes += unmatched_notes(unnamed, missing, "row")
        return TableLabels(name, of, not unnamed, tuple(notes))

    def _lacking(self, table: str, names: list[str]) -> DataError:
        lacking = f"{count(len(names), 'picture')}: {first_few(names)}"
        return DataError(f"{self._where(table)} lacks {lacking}: add a row for each")


def tables_in(files: Files, pictures: Iterable[str]) -> list[str]:
    """The names of the files that may be tables of labels, annotations of one picture left out."""
    tables = list(filter(_is_table, files))
    if not any(name.lower().endswith(".txt") for name in tables):
        return tables
    stems = {PurePosixPath(name).stem for name in pictures}
    return [name for name in tables if not _of_one(name, stems)]


def _of_one(name: str, stems: set[str]) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() == ".txt" and path.stem in stems


def _is_table(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(_SUFFIXES) and "submission" not in lower.rsplit("/", 1)[-1]


def _is_certain(table: str) -> bool:
    return PurePosixPath(table).name.lower() == _CERTAIN


def _pictures_below(pictures: Iterable[str]) -> Counter[str]:
    """The number of pictures below each folder, '' for all."""
    counts: Counter[str] = Counter()
    for name in pictures:
        counts[""] += 1
        for match in re.finditer("/", name):
            counts[name[: match.end()]] += 1
    return counts


def _tables_beside(path: Path) -> Files:
    """The tables beside a folder or an archive whose names speak of labels or of it."""
    own = path.resolve()
    try:
        names = sorted(os.listdir(own.parent))
    except OSError:
        return Files()
    telling = [
        name
        for name in names
        if _is_table(name) and (_TELLING.search(name) or PurePosixPath(name).stem == own.stem)
    ]
    files = [own.parent / name for name in telling[:MAX_TABLES]]
    return Files((f"../{f.name}", partial(binary, str(f))) for f in files if f.is_file())


def _content(opened: Callable[[], BinaryIO], where: str) -> bytes:
    try:
        with opened() as stream:
            body = stream.read(MAX_TABLE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{where} cannot be read as a table in UTF-8 ({error})") from None
    if len(body) > MAX_TABLE_BYTES:
        raise DataError(f"{where} is larger than {MAX_TABLE_BYTES // 2**20} MiB: split it")
    return body


def _by_picture(
    where: str, cells: list[str], found: list[str | None], classes: list[str], certain: bool
) -> tuple[dict[str, str], list[str]]:
    """The class of each picture that has one, and the cells that name no picture.

    certain: True for a table that must give each picture a class.
    Raises DataError for doubts.
    """
    of: dict[str, str] = {}
    missing = []
    for cell, picture, label in zip(cells, found, classes, strict=True):
        if picture is None:
            missing.append(cell)
            continue
        if picture == SEVERAL:
            raise DataError(f"{where} names {cell!r}, as several pictures are called: write paths")
        if not label and not certain:
            continue
        if not label:
            raise DataError(f"{where} has the row {f'{cell},'!r}, expected file,label")
        if of.setdefault(picture, label) != label:
            raise DataError(f"{where} names {cell!r} twice: keep one row")
    return of, missing


def _rank(table: str) -> tuple[int, int]:
    """The order in which tables are preferred: labels.csv, train*, telling names, others."""
    path = PurePosixPath(table)
    telling = 2 if _TELLING.search(path.stem) else 3
    kind = 0 if _is_certain(table) else 1 if split_of(path.stem) else telling
    return kind, len(path.parts)


def _same_groups(of: Mapping[str, str], folders: Mapping[str, str]) -> bool:
    """True if a table and the folders group the pictures in the same way."""
    return one_to_one({(label, folders[name]) for name, label in of.items() if name in folders})
