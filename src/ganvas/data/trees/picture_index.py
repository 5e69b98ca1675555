"""Pictures that a table names: by whole paths or their ends, with or without the file's ending."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from ganvas.data.pictures import SUFFIXES
from ganvas.data.trees.label_columns import is_label_name

MAX_DROPPED = 8  # folders at the begin of a table's paths that are not those of the tree

SEVERAL = ""  # in place of a picture's name: several pictures have this name
_Place = tuple[int, int]
_SAMPLE = 1000  # rows in which pictures are looked for first


class PictureIndex:
    """Pictures found by the names that tables give them."""

    def __init__(self, pictures: Iterable[str]) -> None:
        self._whole: dict[str, str] = {}
        self._ends: dict[str, str] = {}
        for name in pictures:
            for path in (name, name.rpartition(".")[0]):
                if self._whole.setdefault(path, name) != name:
                    self._whole[path] = name if path == name else SEVERAL
                parts = path.split("/")
                for start in range(len(parts)):
                    end = "/".join(parts[start:])
                    if self._ends.setdefault(end, name) != name:
                        self._ends[end] = SEVERAL

    def find(self, folder: str, cell: str, dropped: int = 0) -> str | None:
        """The picture that a cell names; None if there is none, SEVERAL if there are several.

        folder: of the table, to which its paths are relative.
        dropped: number of folders to leave out at the begin of the cell's path.
        """
        if not dropped and (found := self._whole.get(folder + cell)):
            return found
        path = cell.replace("\\", "/") if "\\" in cell else cell
        last = path.rsplit("/", 1)[-1]
        if last not in self._ends and _bare(last) not in self._ends:
            return None  # at once, since tables hold many other cells
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        if len(parts) <= dropped:
            return None
        name = "/".join(parts[dropped:])
        for key in (name, _bare(name)):
            found = self._whole.get(folder + key) or self._ends.get(key)
            if found is not None:
                return found
        return None


def _bare(name: str) -> str:
    """A name without its ending, which may be that of the originals: .dcm, .tif."""
    stem, _, ending = name.rpartition(".")
    return stem if ending.isalpha() else name


class NamingColumn:
    """The column of a table that names pictures, and what it names.

    header: names of the columns; numbers from 1 if the table has no header.
    rows: the others, of any length.
    column: index of the column; None if none names a picture.
    found: for each row the picture, SEVERAL or None.
    """

    def __init__(
        self, rows: list[list[str]], index: PictureIndex, folder: str, wanted: Collection[str]
    ) -> None:
        """Find the column.

        rows: all rows of the table, with a header or without.
        folder: of the table.
        wanted: the pictures that should be named.
        """
        self._index, self._folder, self._wanted = index, folder, wanted
        sample = rows[:: max(1, len(rows) // _SAMPLE)]
        # all rows if none of the sample names a picture
        place = self._place(sample, rows[0]) or self._place(rows, rows[0]) if rows else None
        self.header, self.rows = [], rows
        self.column, self.found = None, []
        if place is None:
            return
        self.column, dropped = place
        cells = [row[self.column] if len(row) > self.column else "" for row in rows]
        self.found = [index.find(folder, cell, dropped) for cell in cells]
        if self.found[0] is None and _heads(rows, cells[0]):
            self.header, self.rows, self.found = rows[0], rows[1:], self.found[1:]
        else:
            self.header = [str(i + 1) for i in range(max(map(len, rows)))]

    def _place(self, rows: Sequence[Sequence[str]], header: Sequence[str]) -> _Place | None:
        """The column that names most pictures, and how many folders to drop from its paths."""
        columns: list[set[str]] = []
        for row in rows:
            columns += [set() for _ in row[len(columns) :]]
            for cells, cell in zip(columns, row, strict=False):
                cells.add(cell)
        deepest = max((c.count("/") + c.count("\\") for cells in columns for c in cells), default=0)
        most, place = (0, 0), None
        for dropped in range(min(deepest, MAX_DROPPED) + 1):
            for i, cells in enumerate(columns):
                found = [self._index.find(self._folder, cell, dropped) for cell in cells]
                number = len(set(found).intersection(self._wanted)), found.count(SEVERAL)
                if number > most and not any(map(is_label_name, header[i : i + 1])):
                    most, place = number, (i, dropped)
        return place


def _heads(rows: Sequence[Sequence[str]], cell: str) -> bool:
    """Return True if the first row is a header.

    cell: of this row, in the column of names. It names no picture that is here.
    """
    if PurePosixPath(cell).suffix.lower() in SUFFIXES:
        return False
    first, others = rows[0], rows[1:]
    # a picture that is missing, whose label other pictures have
    recurs = any(
        value and any(len(row) > i and row[i] == value for row in others)
        for i, value in enumerate(first)
    )
    return not (recurs and any(map(str.isdigit, cell)))
