"""Tables of pixels: a row per image, its values in columns of their own or in one cell.

    label,pixel0,...,pixel783       Kaggle's digits; the header and the labels may be missing
    emotion,pixels,Usage            FER-2013: one cell of values, and the part of each row

Labels may stand first or last. The picture is square, grey or RGB.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NamedTuple

import numpy as np

from ganvas.data.decoding.ranges import Values
from ganvas.data.formats import limits
from ganvas.data.formats.arrays.entry import MIN_SIDE, side_of
from ganvas.errors import DataError
from ganvas.system.text import first_few, printable

MAX_LINE = 64 * 2**20  # bytes
MAX_SHALLOW = 16  # the largest value of 4 bits, as scikit-learn's digits have
MAX_LABEL_SEEN = 99  # a larger number is a pixel where the other column holds none
_PARSED = 2000  # parsed at once
_DELIMITERS = ",;\t "
_LABELS = ("label", "labels", "class", "target", "emotion", "y", "category", "digit")
_NAMED_PIXEL = re.compile(r"(pixel|pix|px|p|x|v)?[ _.-]*\d+([ x_.-]\d+)*|\d+x\d+")


class TableLayout(NamedTuple):
    """The columns of a table.

    delimiter: between cells.
    header: the names of the columns; () if the table has none.
    first, last: the range of columns that hold pixels.
    label: the column of labels, or None.
    usage: the column that tells the part of each row, or None.
    """

    delimiter: str
    header: tuple[str, ...]
    columns: int
    first: int
    last: int
    label: int | None
    usage: int | None

    @property
    def one_cell(self) -> bool:
        """True if one cell holds all pixels of a row."""
        return self.last - self.first == 1

    def with_label(self, where: str, column: str, *, needed: bool) -> TableLayout:
        """The layout with another column of labels. Raises DataError if a needed one is missing."""
        names = [name.lower() for name in self.header]
        place = names.index(column.lower()) if column.lower() in names else None
        if place is not None and not self.first <= place < self.last:
            return self._replace(label=place)
        if not needed:
            return self._replace(label=None)
        listed = first_few(self.header) or "no header"
        raise DataError(f"{where} has no column {column}: it has {listed}")


@dataclass(frozen=True)
class PixelTable:
    """The content of a table: pixels (N, P), labels (N,) or None, usage (N,) or None."""

    pixels: Values
    labels: Values | None
    usage: Values | None
    layout: TableLayout


def table_layout(stream: BinaryIO, where: str) -> TableLayout | None:
    """The layout of a table of pixels, from its first rows; None for any other text.

    Raises DataError for a line of more than MAX_LINE.
    """
    stream.seek(0)
    try:
        lines = list(islice(_lines(stream, where), 50))
    except UnicodeDecodeError:
        return None
    if not lines:
        return None
    counts = {mark: len(_cells(lines[0], mark)) for mark in _DELIMITERS}
    delimiter = max(_DELIMITERS[:3], key=lambda mark: counts[mark])
    if counts[delimiter] == 1:
        delimiter = " "
    rows = [_cells(line, delimiter) for line in lines]
    header = _header(rows)
    body = rows[1:] if header else rows
    widths = {len(row) for row in body[:-1] or body} | ({len(header)} if header else set())
    if not body or len(widths) > 1:
        return None
    return _columns(delimiter, header, body)


def read_table(stream: BinaryIO, where: str, layout: TableLayout) -> PixelTable:
    """Read a table of pixels: uint8 where all values are integers from 0 to 255.

    Raises DataError for rows of another length, and for values that are no numbers.
    """
    stream.seek(0)
    lines = _lines(stream, where)
    if layout.header:
        next(lines)
    parts: list[Values] = []
    cells: dict[int, list[str]] = {c: [] for c in (layout.label, layout.usage) if c is not None}
    done = 0
    while chunk := _rows(lines, where):
        parts.append(_parse(where, chunk, layout, cells, done + 1 + bool(layout.header)))
        done += len(chunk)
        limits.check_memory(where, sum(part.nbytes for part in parts))
        if parts[-1].shape[1] != parts[0].shape[1]:
            sizes = f"{parts[0].shape[1]:,} and of {parts[-1].shape[1]:,} values"
            raise DataError(f"{where} has rows of {sizes}: they need one size")
    if not parts:
        raise DataError(f"{where} holds no rows")
    kept = {column: np.array(values) for column, values in cells.items()}
    labels = None if layout.label is None else _numbers(kept[layout.label])
    usage = None if layout.usage is None else kept[layout.usage]
    pixels = np.concatenate(parts)
    if pixels.dtype == np.uint8 and pixels.max(initial=0) <= MAX_SHALLOW:
        pixels = pixels.astype(np.int16)  # text has no depth: let it be found from the values
    return PixelTable(pixels, labels, usage, layout)


def _rows(lines: Iterator[str], where: str) -> list[str]:
    try:
        return list(islice(lines, _PARSED))
    except UnicodeDecodeError:
        raise DataError(f"{where} is not in UTF-8: save it so") from None


def _lines(stream: BinaryIO, where: str) -> Iterator[str]:
    """Yield the lines that are not empty, decoded. Raises DataError for a line above MAX_LINE."""
    first = True
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            limit = MAX_LINE // 2**20
            raise DataError(f"{where} has a line of more than {limit} MiB: no table of pixels")
        text = line.decode("utf-8-sig" if first else "utf-8").strip("\r\n ")
        first = False
        if text:
            yield text


def _cells(line: str, delimiter: str) -> list[str]:
    if '"' in line:
        limit = csv.field_size_limit(MAX_LINE)
        try:
            (row,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
            return [cell.strip() for cell in row]
        except (csv.Error, ValueError):  # quotes that mean nothing
            pass
        finally:
            csv.field_size_limit(limit)
    return [cell.strip() for cell in line.split(None if delimiter == " " else delimiter)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _header(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The first row if it names the columns; () if it holds values as the others do."""
    first = rows[0]
    texts = [not _is_number(cell) for cell in first]
    if len(rows) > 1 and len(first) == len(rows[1]):
        other = [not _is_number(cell) for cell in rows[1]]
        if sum(texts) > sum(other):
            return tuple(first)
        # pandas turns a repeated value of a first row into 0.1, 0.2, ...
        fractions = sum("." in cell for cell in first) > len(first) // 2
        if fractions and not any("." in cell for row in rows[1:] for cell in row):
            return tuple(first)
        return ()
    return tuple(first) if sum(texts) > len(first) // 2 else ()


def _columns(
    delimiter: str, header: tuple[str, ...], body: Sequence[Sequence[str]]
) -> TableLayout | None:
    """The columns of pixels, labels and parts; None if no columns can be pixels."""
    width, names = len(body[0]), [name.lower() for name in header]
    usage = next((i for i, name in enumerate(names) if name in ("usage", "split", "part")), None)
    known = next((names.index(name) for name in _LABELS if name in names), None)
    label = known
    in_cell = next((i for i, cell in enumerate(body[0]) if len(cell.split()) >= MIN_SIDE**2), None)
    if delimiter != " " and in_cell is not None:
        if side_of(len(body[0][in_cell].strip("[]").replace(",", " ").split())) < MIN_SIDE:
            return None
        return TableLayout(delimiter, header, width, in_cell, in_cell + 1, label, usage)
    if header and sum(map(bool, map(_NAMED_PIXEL.fullmatch, names))) >= MIN_SIDE**2:
        first, last = 0, width
        while (first < last and not _NAMED_PIXEL.fullmatch(names[first])) or first == known:
            first += 1
        while (last > first and not _NAMED_PIXEL.fullmatch(names[last - 1])) or last - 1 == known:
            last -= 1
        if side_of(last - first) >= MIN_SIDE:
            others = [i for i in range(width) if not first <= i < last and i != usage]
            label = others[0] if label is None and len(others) == 1 else label
            return TableLayout(delimiter, header, width, first, last, label, usage)
    if side_of(width) >= MIN_SIDE and known is None and _all_numbers(body, 0, width):
        return TableLayout(delimiter, header, width, 0, width, None, None)
    if side_of(width - 1) < MIN_SIDE:
        return None
    label = known if known in (0, width - 1) else _label_place(body)
    first = int(label == 0)
    if not _all_numbers(body, first, first + width - 1):
        return None
    return TableLayout(delimiter, header, width, first, first + width - 1, label, None)


def _all_numbers(body: Sequence[Sequence[str]], first: int, last: int) -> bool:
    return all(_is_number(cell) for row in body[:3] for cell in row[first:last])


def _label_place(body: Sequence[Sequence[str]]) -> int:
    """The column of labels: the first, unless it looks more like a pixel than the last does."""
    first, last = ({row[i] for row in body if row} for i in (0, -1))
    end = len(body[0]) - 1
    if not all(map(_is_number, first)) or not all(map(_is_number, last)):
        return 0 if all(map(_is_number, last)) else end
    bright = max(map(float, first)) > MAX_LABEL_SEEN >= max(map(float, last))
    return end if len(last) > 1 and (len(first) == 1 or bright) else 0


def _parse(
    where: str, lines: list[str], layout: TableLayout, cells: dict[int, list[str]], number: int
) -> Values:
    """The pixels of some lines, (n, P); the other cells are added to `cells`."""
    texts, mark = [], layout.delimiter
    before, after = layout.first, layout.columns - layout.last
    for i, line in enumerate(lines):
        if '"' in line or mark == " ":
            row = _cells(line, mark)
            middle = mark.join(row[before : len(row) - after])
            head, tail = row[:before], row[len(row) - after :]
        else:
            *head, middle = line.split(mark, before)
            middle, *tail = middle.rsplit(mark, after)
        if len(head) != before or len(tail) != after:
            raise DataError(f"{where}: row {number + i} has too few cells")
        for column, values in cells.items():
            place = column if column < before else column - layout.last
            values.append((head if column < before else tail)[place].strip())
        texts.append(middle.strip('[]"').replace(",", " ") if layout.one_cell else middle)
    pixels = _pixels(where, texts, " " if layout.one_cell else mark, number)
    if not layout.one_cell and pixels.shape[1] != layout.last - layout.first:
        wanted = f"{pixels.shape[1]:,} values, expected {layout.last - layout.first:,}"
        raise DataError(f"{where}: row {number} has {wanted}")
    return pixels


def _pixels(where: str, texts: list[str], mark: str, number: int) -> Values:
    separator = None if mark == " " else mark
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy warns of fractions
            integers = np.loadtxt(texts, np.int32, delimiter=separator, comments=None, ndmin=2)
    except (ValueError, Warning, OverflowError):
        pass
    else:
        small = integers.min(initial=0) >= 0 and integers.max(initial=0) <= 255
        return integers.astype(np.uint8) if small else integers
    try:
        return np.loadtxt(texts, np.float32, delimiter=separator, comments=None, ndmin=2)
    except ValueError as error:
        reason = printable(str(error))
        raise DataError(f"{where}: pixels from row {number} on are no numbers ({reason})") from None


def _numbers(labels: Values) -> Values:
    """Labels as integers where all are, else as strings."""
    try:
        numbers = labels.astype(np.float64)
    except ValueError:
        return labels
    return numbers.astype(np.int64) if (numbers == np.floor(numbers)).all() else numbers
