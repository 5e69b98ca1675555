"""Rows of a text table, whatever separates its columns: commas, semicolons, tabs, bars, blanks."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable

from ganvas.errors import DataError

MAX_TABLE_BYTES = 128 * 2**20
MAX_COLUMNS = 256  # more are those of a table of pixels or features

_SEPARATORS = (",", ";", "\t", "|", " ")
_SAMPLE = 1000  # lines on which separators are tried
_SHORT = 16 * 2**20  # characters of a table that is read though no line of the sample fits


def decoded_table(body: bytes, where: str) -> str:
    """The text of a table in UTF-8, or in UTF-16 with its mark. Raises DataError."""
    marked = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return body.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} cannot be read as a table in UTF-8 ({error}): save it so"
        ) from None


def table_rows(text: str, where: str, is_picture: Callable[[str], bool]) -> list[list[str]]:
    """The cells of each row that is not empty, without blanks around them.

    is_picture: True for a cell that names a picture. The separator is the one that leaves such
        cells in most rows. A long table without them in any row of a sample counts as empty.
    Raises DataError for quotes that do not end.
    """
    lines = _uncounted([line for line in text.splitlines() if line.strip()])
    sample = lines[:: max(1, len(lines) // _SAMPLE)]

    def score(separator: str) -> tuple[int, int]:
        rows = [row for row in _split(sample, separator) if len(row) > 1]
        widths = Counter(map(len, rows)).most_common(1)
        return sum(any(map(is_picture, row)) for row in rows), widths[0][1] if widths else 0

    try:
        best = max(_SEPARATORS, key=score)
        if len(text) > _SHORT and score(best)[0] == 0:
            return []
        # in quotes, a cell may go on over several lines
        rows = _split(lines if best == " " else io.StringIO(text, newline=""), best)
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as a table ({error})") from None
    return [row for row in rows if not row[0].startswith("#") or is_picture(row[0])]


def _uncounted(lines: list[str]) -> list[str]:
    """The lines of a list as CelebA has it, which begins with its length, as those of a table.

    Its header names only the columns after the first.
    """
    if len(lines) < 3 or lines[0].strip() != str(len(lines) - 2):
        return lines
    widths = [len(line.split()) for line in lines[1:]]
    short = set(widths[1:]) == {widths[0] + 1}
    return [f"file {lines[1]}" if short else lines[1], *lines[2:]]


def is_wide(text: str) -> bool:
    """Return True if the first line of a table has more than MAX_COLUMNS cells."""
    first = text.lstrip().split("\n", 1)[0]
    return max(map(first.count, _SEPARATORS)) >= MAX_COLUMNS


def _split(lines: list[str] | io.StringIO, separator: str) -> list[list[str]]:
    if separator == " ":
        rows = [line.split() for line in lines]
        if len(set(map(len, rows))) > 1:  # the second column holds words
            rows = [line.split(None, 1) for line in lines]
        return [[cell.strip() for cell in row] for row in rows]
    parsed = csv.reader(lines, delimiter=separator)
    return [row for row in ([cell.strip() for cell in cells] for cells in parsed) if any(row)]
