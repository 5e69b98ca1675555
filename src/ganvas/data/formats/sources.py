"""The reader for a source: by the ending of a file, by the content of a folder or an archive."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ganvas.data.assemble import Assembled
from ganvas.data.formats.archive import binary, members
from ganvas.data.formats.arrays.sources import read_array_file, read_array_files
from ganvas.data.formats.arrays.tables import pixel_tables, read_tables
from ganvas.data.formats.cifar import is_cifar, read_cifar
from ganvas.data.formats.folder import read_folder
from ganvas.data.formats.idx import holds_idx, labels_within, read_idx_files
from ganvas.data.formats.limits import Files, passed_over
from ganvas.data.formats.own_files import without_own_files
from ganvas.data.formats.packed import unpacked
from ganvas.data.formats.parquet import is_parquet, read_parquet
from ganvas.data.formats.webdataset import is_webdataset, read_webdataset, with_shards
from ganvas.data.kinds import (
    ARCHIVE_ENDINGS,
    ARRAY_ENDINGS,
    PARQUET_ENDINGS,
    TABLE_ENDINGS,
    advice,
    has_ending,
    is_packed,
)
from ganvas.data.pictures import SUFFIXES, PictureOptions
from ganvas.data.reading import Split
from ganvas.errors import DataError, nearest
from ganvas.system.text import count, first_few


def read_file(path: Path, split: Split, options: PictureOptions, member: str = "") -> Assembled:
    """Read a single file that is no archive. Raises DataError for one of another kind.

    member: the name of the array of images in it.
    """
    if has_ending(path, ARRAY_ENDINGS):
        return read_array_file(path, split, options, member)
    if member:
        raise DataError(f"{path} holds no arrays, so it has no {member}")
    if is_packed(path):
        return _read(path, Files({path.stem: partial(unpacked, path)}), split, options)
    files = Files({path.name: partial(binary, str(path))})
    if has_ending(path, TABLE_ENDINGS):
        return read_tables(path, files, [path.name], split, options)
    if has_ending(path, PARQUET_ENDINGS):
        return read_parquet(path, files, split, options)
    reason = advice(path) or "expected a folder of images, an archive, .npz or IDX file"
    raise DataError(f"{path} is a single file: {reason}")


def read_tree(path: Path, split: Split, options: PictureOptions, member: str = "") -> Assembled:
    """Read a folder or an archive.

    member: the name of a file or folder within, to read it alone.
    Raises DataError; NoHeldOutError if the held-out part is missing.
    """
    with members(path, options.zip_encoding) as files:
        chosen = without_own_files(path, _below(path, files, member) if member else files)
        with with_shards(path, chosen, options.zip_encoding) as found:
            return _read(path, found, split, options)


def _below(path: Path, files: Files, member: str) -> Files:
    folder = member.rstrip("/") + "/"
    chosen = Files((n, f) for n, f in files.items() if n == member or n.startswith(folder))
    if not chosen:
        raise DataError(f"{path} holds no {member}: {nearest(member, files)}")
    if member in chosen:
        chosen |= {name: files[name] for name in labels_within(path, files, member)}
    chosen.notes = files.notes
    return chosen


def _read(path: Path, files: Files, split: Split, options: PictureOptions) -> Assembled:
    pictures = [name for name in files if has_ending(name, SUFFIXES)]
    if holds_idx(files, pictures):
        line = f"{count(len(pictures), 'picture')} passed over: the IDX files are read"
        return read_idx_files(path, files, split, options, (line,) if pictures else ())
    if pictures:
        reader = read_webdataset if is_webdataset(files) else read_folder
        return reader(path, files, split, options)
    for applies, reader, endings in (
        (is_cifar, read_cifar, ("",)),
        (is_parquet, read_parquet, (*PARQUET_ENDINGS, ".json")),
        (_holds_arrays, read_array_files, ARRAY_ENDINGS),
    ):
        if applies(files):
            files.notes += passed_over(files, endings)
            return reader(path, files, split, options)
    if tables := pixel_tables(path, files):
        files.notes += passed_over(files, tables)
        return read_tables(path, files, tables, split, options)
    if not any("idx" in name for name in files):
        _raise_if_known(path, files)
    return read_folder(path, files, split, options)


def _holds_arrays(files: Files) -> bool:
    return any(has_ending(name, ARRAY_ENDINGS) for name in files)


def _raise_if_known(path: Path, files: Files) -> None:
    """Raise DataError for files of which ganvas knows what to do with them."""
    packed = [name for name in files if has_ending(name, ARCHIVE_ENDINGS)]
    if packed and path.is_dir():
        one = f"give one, as {path / packed[0]}"
        raise DataError(f"{path} holds no pictures, but archives ({first_few(packed)}): {one}")
    if packed:
        raise DataError(f"{path} holds archives ({first_few(packed)}): unpack it and give one")
    if reasons := sorted({each for name in files if (each := advice(name))}):
        raise DataError(f"{path} holds no pictures, but {first_few(files, 3)}: {reasons[0]}")
