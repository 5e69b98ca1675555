"""The column of a table that holds classes: named by the user, by its header, or the only one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ganvas.data.trees.splits import split_of
from ganvas.errors import DataError, nearest
from ganvas.system.text import count, first_few, printable

# of --label-column: read no classes from tables
NO_COLUMN = "none"

_NAMED = re.compile(
    "((finding|class|category|image)_)?(label|class|category|target)(e?s)?(_?(name|id|label|idx))?"
    "|categories|breed|dx|diagnosis|species|genus|family|digit|letter"
    "|character|emotion"
)
_OTHER = re.compile(
    "[wh]|width|height|size|[xy][12_]*(min|max)?|bbox|.*(path|file|url|link|id|name)|split|sub_?set"
    "|partition|data_?set|source|license|date|time|age"
)
_INTEGER = re.compile(r"-?\d+(\.0*)?")
_DECIMAL = re.compile(r"-?\d*\.\d+([eE][-+]?\d+)?|-?\d+[eE][-+]?\d+")
_OFF, _ON = ("0", "0.0", "-1", "-1.0"), ("1", "1.0")
_FEW_ROWS = 20  # of which any column may hold classes


@dataclass(frozen=True)
class Column:
    """The class of each row, '' where the table gives none.

    name: of the column; '' if the table leaves no choice.
    """

    name: str
    classes: list[str]


def label_column(
    where: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    pictures: int,
    wanted: str | None,
    certain: bool,
) -> Column | None:
    """Find the classes of a table; None if no column looks like them.

    where: the table, for messages.
    rows: without the header, each as long as it.
    pictures: index of the column that names pictures.
    wanted: name of the column, as given by the user.
    certain: True if the table is known to hold labels.
    Raises DataError if several columns would do, or if rows have several classes at once.
    """
    others = [i for i in range(len(header)) if i != pictures]
    if wanted is not None:
        return _wanted(where, header, rows, others, wanted)
    if not others:
        return None
    if len(others) == 1:
        (only,) = others
        values = [row[only] for row in rows]
        known = certain or is_label_name(header[only])
        return Column("", _single(where, values)) if known or _plausible(values) else None
    named = _distinct([i for i in others if is_label_name(header[i])], rows)
    if len(named) == 1:
        return _column(where, header, rows, named[0])
    nameless = list(header) == [str(i + 1) for i in range(len(header))]
    flags = [i for i in others if {row[i] for row in rows} <= {*_OFF, *_ON}]
    if len(flags) > 1 and not (named or nameless):
        return _one_hot(where, header, rows, flags)
    fitting = named or _distinct([i for i in others if _fits(header[i], rows, i)], rows)
    if len(fitting) > 1 and nameless:
        # without names, words beside numbers are the classes: FILE x1 y1 x2 y2 CLASS
        words = [i for i in fitting if not any(_INTEGER.fullmatch(row[i]) for row in rows)]
        fitting = words if len(words) == 1 else fitting
    if len(fitting) > 1:
        raise DataError(
            f"{where} has several columns that could be classes:"
            f" {first_few(header[i] for i in fitting)}: name one by --label-column, or read none"
            f" of them with --label-column {NO_COLUMN}"
        )
    return _column(where, header, rows, fitting[0]) if fitting else None


def split_column(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """The name of the column that tells training rows from held-out ones; None without one."""
    for i, name in enumerate(header):
        parts = {split_of(value) for value in {row[i] for row in rows}}
        if parts == {"train", "test"}:
            return name
    return None


def unmatched_notes(unnamed: Sequence[str], missing: Sequence[str], entry: str) -> list[str]:
    """Sentences on pictures without a label, and on labels without a picture.

    entry: what a label stands in, such as "row".
    """
    notes = []
    if unnamed:
        left_out = f"{count(len(unnamed), 'picture')} without a label in it left out"
        notes.append(f"{left_out}: {first_few(unnamed, 3)}")
    if missing:
        gone = f"{count(len(missing), entry)} of it for files that are not here"
        notes.append(f"{gone}: {first_few(missing, 3)}")
    return notes


def is_label_name(header: str) -> bool:
    """Return True if the name of a column speaks of classes."""
    return bool(_NAMED.fullmatch(_plain(header)))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _wanted(
    where: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    others: list[int],
    wanted: str,
) -> Column:
    exact = [i for i in others if header[i] == wanted]
    same = exact or [i for i in others if _plain(header[i]) == _plain(wanted)]
    if len(same) == 1:
        return _column(where, header, rows, same[0])
    names = [printable(header[i]) for i in others]
    raise DataError(f"{where} has no column {wanted!r}: {nearest(wanted, names)}")


def _column(where: str, header: Sequence[str], rows: Sequence[Sequence[str]], index: int) -> Column:
    return Column(header[index], _single(where, [row[index] for row in rows]))


def _single(where: str, values: list[str]) -> list[str]:
    """The values. Raises DataError if some of them list several classes."""
    if several := next((value for value in values if "|" in value.strip("|")), ""):
        raise DataError(
            f"{where} gives several classes at once, such as {several[:80]!r}: one for each"
            f" picture is expected: name another column by --label-column, or read none with"
            f" --label-column {NO_COLUMN}"
        )
    return values


def _one_hot(
    where: str, header: Sequence[str], rows: Sequence[Sequence[str]], flags: list[int]
) -> Column:
    """The classes of columns of 0 and 1, named by the header."""
    classes = []
    for row in rows:
        on = [header[i] for i in flags if row[i] in _ON]
        if len(on) != 1:
            found = f"{len(on)} classes ({first_few(on, 5)})" if on else "no class"
            raise DataError(
                f"{where} gives {found} in the row {','.join(row)[:80]!r}, expected one for each"
                " picture: name a column by --label-column, or read none with --label-column"
                f" {NO_COLUMN}"
            )
        classes += on
    return Column(f"the one of {len(flags)} that is 1", classes)


def _fits(name: str, rows: Sequence[Sequence[str]], index: int) -> bool:
    return not _OTHER.fullmatch(_plain(name)) and _plausible([row[index] for row in rows])


def _plausible(values: Sequence[str]) -> bool:
    """True if values repeat as classes do, and are neither measurements nor paths."""
    if any("/" in value and "." in value for value in values):
        return False
    if _counts_rows(values):
        return False
    measured = any(map(_DECIMAL.fullmatch, values)) and not all(map(_INTEGER.fullmatch, values))
    few = len(values) < _FEW_ROWS and not measured
    return few or 2 * len(set(values)) <= len(values)


def _counts_rows(values: Sequence[str]) -> bool:
    """True if values number the rows, from any number on."""
    if len(values) < 3 or not all(value.isdecimal() and len(value) < 19 for value in values):
        return False
    numbers = list(map(int, values))
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _distinct(columns: list[int], rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns without those that number the classes of another: names are kept."""
    kept: list[int] = []
    for i in sorted(columns, key=lambda i: all(_INTEGER.fullmatch(row[i]) for row in rows)):
        if not any(one_to_one({(row[i], row[k]) for row in rows}) for k in kept):
            kept.append(i)
    return sorted(kept)


def one_to_one(pairs: set[tuple[str, str]]) -> bool:
    """Return True if no value on either side has two partners."""
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
