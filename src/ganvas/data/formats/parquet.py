"""Parquet files and saved data sets of Hugging Face, read with pyarrow alone.

    data/train-00000-of-00001.parquet       a column of pictures, and one of labels
    train/, test/                           of `save_to_disk`: dataset_info.json, state.json,
                                            data-00000-of-00001.arrow

Names of classes come from the metadata `huggingface` or from dataset_info.json.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.data.assemble import Assembled, Picture, assemble
from ganvas.data.formats import limits
from ganvas.data.formats.arrays.labels import class_indices
from ganvas.data.formats.limits import Files
from ganvas.data.kinds import PARQUET_ENDINGS, has_ending
from ganvas.data.pictures import PictureOptions, open_picture
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError, MissingExtraError, nearest
from ganvas.system.text import first_few

_LABELS = ("label", "labels", "fine_label", "class", "target", "y")
_PARTS: dict[str, tuple[str, ...]] = {
    "test": ("test",),
    "val": ("val", "valid", "validation", "dev"),
}


@dataclass
class _Part:
    """The rows of one part: pictures as bytes, labels as they are stored."""

    pictures: list[bytes | None] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)


def is_parquet(files: Files) -> bool:
    """Return True if any file is parquet or the saved data set of Hugging Face."""
    return any(has_ending(name, PARQUET_ENDINGS) for name in files)


def read_parquet(path: Path, files: Files, split: Split, options: PictureOptions) -> Assembled:
    """Read the tables of a split. Raises DataError, NoHeldOutError, MissingExtraError."""
    parts = _files_by_part(path, files)
    held_out = "test" if "test" in parts else "val"
    if split == "test" and held_out not in parts:
        raise NoHeldOutError(f"{path} has no held-out part: add test-00000-of-00001.parquet")
    names = [parts["train"], *([parts[held_out]] if held_out in parts else [])]
    notes = list(files.notes)
    if held_out in parts:
        notes.append(f"{first_few(names[1], 1)} is held out")
    if held_out == "test" and "val" in parts:
        notes.append(f"{first_few(parts['val'], 1)} is not used")
    columns = None
    rows = []
    for place, part in enumerate(names):
        wanted = place == (split == "test")
        found, columns = _read_part(path, files, part, columns, options, pictures=wanted)
        rows.append(found)
    assert columns is not None
    notes += columns.notes
    indices, classes = _labels(str(path), rows, columns)
    chosen = rows[split == "test"]
    of = indices[split == "test"]
    streams = (partial(_stream, each) for each in chosen.pictures)
    pictures = [Picture(str(i), partial(open_picture, each)) for i, each in enumerate(streams)]
    title = path.resolve().name
    return assemble(title, pictures, of, classes if of is not None else (), options, tuple(notes))


def _stream(content: bytes | None) -> io.BytesIO:
    if content is None:
        raise OSError("it names a file and holds no picture")
    return io.BytesIO(content)


def _files_by_part(path: Path, files: Files) -> dict[str, list[str]]:
    """The files of each part: those that state.json names, or all parquet files."""
    saved = [name for name in files if name.rpartition("/")[2] == "state.json"]
    names = [name for name in files if name.lower().endswith(".parquet")]
    for state in saved:
        folder = state.rpartition("/")[0]
        content = _json(path, files, state)
        if content.get("_indices_data_files"):
            raise DataError(f"{path}/{folder} has indices: save it again after flatten_indices()")
        data = content.get("_data_files")
        listed = [each.get("filename") for each in data] if isinstance(data, list) else []
        for name in listed:
            place = f"{folder}/{name}" if folder else str(name)
            if place not in files:
                raise DataError(f"{path} lacks {place}, which {state} names: copy it again")
            names.append(place)
    if not saved and not names:
        names = [name for name in files if name.lower().endswith(".arrow")]
    parts: dict[str, list[str]] = {}
    for table in names:
        words = re.findall(r"[a-z]+", table.lower())
        part = next((p for p, known in _PARTS.items() if set(known) & set(words)), "train")
        parts.setdefault(part, []).append(table)
    if not parts:
        raise DataError(f"{path} is empty: {first_few(saved)} names no files")
    if "train" not in parts:
        if len(parts) > 1:
            raise DataError(f"{path} has no part to train on, only {', '.join(parts)}")
        parts = {"train": next(iter(parts.values()))}
    for tables in parts.values():
        if len(folders := {table.rpartition("/")[0] for table in tables}) > 1:
            several = first_few(sorted(folders))
            raise DataError(f"{path} holds several sets ({several}): give the folder of one")
    return parts


def _json(path: Path, files: Files, name: str) -> dict[str, Any]:
    try:
        with files[name]() as stream:
            content = json.loads(stream.read(limits.RATIO_FLOOR))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}/{name} cannot be read ({error}): save it again") from None
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class _Columns:
    """The columns that hold pictures and labels, and the names of the classes."""

    picture: str
    label: str | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]


def _read_part(
    path: Path,
    files: Files,
    names: Sequence[str],
    columns: _Columns | None,
    options: PictureOptions,
    *,
    pictures: bool,
) -> tuple[_Part, _Columns]:
    part = _Part()
    for name in names:
        where = f"{path}/{name}" if path.name != name else str(path)
        features = _features_beside(path, files, name)
        with ExitStack() as stack:
            stream = stack.enter_context(files.opened(name, where))
            size = limits.size_of(stream)
            schema, batches = _table(where, stream, size)
            try:
                found = _columns(where, schema, features, options)
            except UnicodeDecodeError as error:  # a damaged name
                raise _damaged(where, error) from None
            if columns is not None and found[:2] != (columns.picture, columns.label):
                raise DataError(f"{where} has other columns than the first file: give one set")
            columns = columns or _Columns(*found)
            wanted = [columns.picture] * pictures + [columns.label] * (columns.label is not None)
            _add(where, part, batches(wanted), columns, size, pictures=pictures)
    assert columns is not None
    return part, columns


def _table(where: str, stream: Any, size: int) -> tuple[Any, Any]:
    """Schema of a table, and a function from columns to its batches. Raises DataError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError(f"{where} needs pyarrow: pip install 'ganvas[hub]'") from None
    try:
        if where.lower().endswith(".parquet"):
            file = pq.ParquetFile(stream)
            meta = file.metadata
            claimed = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            limits.check_ratio(where, claimed, size)
            limits.check_memory(where, claimed)
            return file.schema_arrow, lambda names: file.iter_batches(1000, columns=names)
        magic = stream.read(6)
        stream.seek(0)
        if magic == b"ARROW1":
            table = pa.ipc.open_file(stream)
            return table.schema, lambda names: (
                table.get_batch(i).select(names) for i in range(table.num_record_batches)
            )
        reader = pa.ipc.open_stream(stream)
        return reader.schema, lambda names: (batch.select(names) for batch in reader)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _damaged(where, error) from None


def _add(
    where: str, part: _Part, batches: Iterator[Any], columns: _Columns, size: int, *, pictures: bool
) -> None:
    """Add the rows of a file of `size` bytes to a part. Raises DataError."""
    import pyarrow as pa

    total = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # before any value is touched: offsets may lead outside
            total += batch.nbytes
            limits.check_ratio(where, total, size)
            limits.check_memory(where, total)
            if columns.label is not None:
                part.labels += batch.column(columns.label).to_pylist()
            if pictures:
                column = batch.column(columns.picture)
                of_struct = pa.types.is_struct(column.type)
                part.pictures += (column.field("bytes") if of_struct else column).to_pylist()
    except (pa.ArrowException, OSError, ValueError, IndexError, MemoryError) as error:
        raise _damaged(where, error) from None


def _damaged(where: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:150]
    return DataError(f"{where} is damaged or no parquet ({reason}): fetch it again")


def _features_beside(path: Path, files: Files, name: str) -> Mapping[str, Any]:
    """The features in dataset_info.json beside a file of `save_to_disk`."""
    folder = name.rpartition("/")[0]
    beside = f"{folder}/dataset_info.json" if folder else "dataset_info.json"
    if beside not in files:
        return {}
    features = _json(path, files, beside).get("features")
    return features if isinstance(features, dict) else {}


def _features(schema: Any) -> Mapping[str, Any]:
    """The features in the metadata that Hugging Face writes into a schema."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _columns(
    where: str, schema: Any, features: Mapping[str, Any], options: PictureOptions
) -> tuple[str, str | None, tuple[str, ...] | None, tuple[str, ...]]:
    """Columns of pictures and labels, names of classes, and notes. Raises DataError."""
    features = {**features, **_features(schema)}
    names = schema.names
    pictures = [name for name in names if _holds_pictures(schema.field(name).type)]
    if len(pictures) > 1:
        pictures = [n for n in pictures if n in ("image", "img", "picture")] or pictures
    if len(pictures) != 1:
        kinds = first_few(f"{each.name} {str(each.type)[:60]}" for each in schema)
        raise DataError(f"{where} has no one column of pictures: it has {kinds}")
    label = options.label_column
    if label is None:
        classes = [name for name in names if _kind(features, name) == "ClassLabel"]
        usual = [name for name in _LABELS if name in names and name != pictures[0]]
        label = classes[0] if len(classes) == 1 else next(iter(usual), None)
    elif label not in names:
        raise DataError(f"{where}: --label-column {label}: {nearest(label, names)}")
    notes = []
    if label is not None and label != "label":
        notes.append(f"classes are read from column {label}")
    if others := [name for name in names if name not in (pictures[0], label)]:
        notes.append(f"columns not used: {first_few(others)}")
    listed = features[label].get("names") if label and _kind(features, label) else None
    known = tuple(map(str, listed)) if isinstance(listed, list) and listed else None
    return pictures[0], label, known, tuple(notes)


def _kind(features: Mapping[str, Any], name: str) -> str:
    feature = features.get(name)
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _holds_pictures(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _labels(
    where: str, rows: Sequence[_Part], columns: _Columns
) -> tuple[list[Any], tuple[str, ...]]:
    """Indices of each part, and the classes; None for a part without labels, or with all -1."""
    if columns.label is None:
        return [None] * len(rows), ()
    parts = {}
    for place, part in enumerate(rows):
        if not part.labels or all(each in (None, -1) for each in part.labels):
            continue
        if any(each is None or isinstance(each, list | dict) for each in part.labels):
            raise DataError(f"{where}: column {columns.label} is no label in every row")
        parts[place] = np.array(part.labels)
    if 0 not in parts:
        return [None] * len(rows), ()
    indices, classes = class_indices(where, list(parts.values()), columns.classes)
    found = dict(zip(parts, indices, strict=True))
    return [found.get(place) for place in range(len(rows))], classes
