"""Tables of pixels as a data set: one with both parts, or one for each part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ganvas.data.assemble import Assembled, assemble_array
from ganvas.data.decoding.ranges import Values
from ganvas.data.formats.arrays.entry import words_of
from ganvas.data.formats.arrays.labels import class_indices
from ganvas.data.formats.arrays.pixel_table import (
    PixelTable,
    TableLayout,
    read_table,
    table_layout,
)
from ganvas.data.formats.arrays.shapes import square_images
from ganvas.data.formats.limits import Files
from ganvas.data.kinds import TABLE_ENDINGS, has_ending
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError
from ganvas.system.text import first_few

_EMNIST = re.compile(r"(^|/)emnist-[a-z]+-(train|test)\.csv")  # whose rows are columns


def pixel_tables(path: Path, files: Files) -> list[str]:
    """The names of the tables of pixels among some files."""
    found = []
    for name in files:
        if has_ending(name, TABLE_ENDINGS):
            with files.opened(name, f"{path}/{name}") as stream:
                if table_layout(stream, f"{path}/{name}"):
                    found.append(name)
    return found


def read_tables(
    path: Path, files: Files, names: Sequence[str], split: Split, options: PictureOptions
) -> Assembled:
    """Read tables of pixels: one, or one for each part. Raises DataError, NoHeldOutError."""
    chosen, notes = _parts(path, names)
    tables = [_table(path, files, name, options.label_column, name == chosen[0]) for name in chosen]
    tables, usage = _by_usage(tables)
    if split == "test" and len(tables) == 1:
        raise NoHeldOutError(f"{path} has no held-out part: put one beside it, as test.csv")
    images, form = _images(str(path), tables[split == "test"], chosen[0])
    labelled = [table.labels for table in tables if table.labels is not None]
    of, column = None, "no column of labels: read without classes"
    classes: tuple[str, ...] = ()
    if tables[0].labels is not None:
        indices, names_of_classes = class_indices(str(path), labelled)
        column = f"classes are read from {_label_name(tables[0].layout)}"
        if len(indices) > (split == "test"):
            of, classes = indices[split == "test"], names_of_classes
    notes = [*files.notes, *notes, *usage, form, column]
    return assemble_array(path.resolve().name, images, of, classes, options, tuple(notes))


def _parts(path: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The table to train on, the one held out if there is one, and notes."""
    if len(names) == 1:
        return [*names], []
    parts: dict[str, str] = {}
    for name in names:
        part = words_of(name.rpartition(".")[0]).part or "train"
        if part in parts:
            both = f"{parts[part]}, {name}"
            raise DataError(f"{path} holds several tables of pixels ({both}): give one of them")
        parts[part] = name
    if "train" not in parts:
        raise DataError(f"{path} has no table to train on, only {first_few(names)}: give one")
    held_out = parts.get("test") or parts["val"]
    notes = [f"{parts['train']} is the part to train on, {held_out} the one held out"]
    if len(parts) == 3:
        notes.append(f"{parts['val']} is not used")
    return [parts["train"], held_out], notes


def _table(path: Path, files: Files, name: str, column: str | None, train: bool) -> PixelTable:
    where = str(path) if path.name == name else f"{path}/{name}"
    with files.opened(name, where) as stream:
        layout = table_layout(stream, where)
        if layout is None:
            raise DataError(
                f"{where} is no table of pixels: expected a row per image, of square pictures,"
                " such as label,pixel0,...,pixel783"
            )
        if column is not None:
            layout = layout.with_label(where, column, needed=train)
        return read_table(stream, where, layout)


def _images(where: str, table: PixelTable, file: str) -> tuple[Values, str]:
    """The images of a table, and a note on their form."""
    images, form = square_images(where, table.pixels)
    note = f"rows of {table.pixels.shape[1]:,} values are read as {form}"
    if _EMNIST.search(file) and images.ndim == 3:
        images = images.transpose(0, 2, 1)
        note += ", column by column as EMNIST stores them"
    return images, note


def _label_name(layout: TableLayout) -> str:
    assert layout.label is not None
    if layout.header:
        return f"column {layout.header[layout.label]}"
    return f"the {'last' if layout.label else 'first'} column, as there is no header"


def _by_usage(tables: list[PixelTable]) -> tuple[list[PixelTable], list[str]]:
    """One table split by its column of parts; others as they are; and a note."""
    usage = tables[0].usage
    if len(tables) > 1 or usage is None:
        return tables, []
    training = np.char.startswith(np.char.lower(usage), "train")
    if training.all() or not training.any():
        return tables, []
    table = tables[0]
    split = [
        PixelTable(
            table.pixels[rows],
            None if table.labels is None else table.labels[rows],
            usage[rows],
            table.layout,
        )
        for rows in (training, ~training)
    ]
    column = table.layout.header[table.layout.usage or 0]
    rest = first_few(sorted(set(usage[~training].tolist())))
    note = f"rows with {column} Training are the part to train on, those with {rest} are held out"
    return split, [note]
