"""From what a user names, a built-in data set or a path, to a `Dataset`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from ganvas.data.assemble import Assembled, unreadable_line
from ganvas.data.catalogue import NAMES, read_named
from ganvas.data.dataset import Dataset
from ganvas.data.formats.idx import is_idx, read_idx
from ganvas.data.formats.own_files import RUN_CARD
from ganvas.data.formats.sources import read_file, read_tree
from ganvas.data.kinds import ARCHIVE_ENDINGS, has_ending, split_member
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import ReadArguments, Split
from ganvas.errors import DataError, SettingError, nearest
from ganvas.system.paths import expanded
from ganvas.system.text import command, is_utf8, not_utf8, printable

MAX_UNREADABLE = 0.01  # share of the images that may be unreadable


def load_dataset(
    what: str | os.PathLike[str],
    *,
    split: Split = "train",
    native: tuple[int, int] | None = None,
    side: int | None = None,
    data_dir: Path | None = None,
    fetch: bool = True,
    **options: Unpack[ReadArguments],
) -> Dataset:
    """Read a data set into memory.

    what: one of `NAMES`, or a path: a folder of images, an archive of one, a file of arrays, a
        table of pixels, a parquet file, IDX files (see docs/data.md). "file.npz:NAME" names an
        array or a file within. A data set's name wins over a path: write './mnist' for a folder
        called mnist.
    split: the part to read, "train" or "test". Size and channels are inferred from that part
        alone: pass those of the training part when you read the held-out part.
    native: (H, W) of the recipe, for images of mixed sizes.
    side: of the longer side, for images that all have one large size; None to keep it.
    data_dir: the folder of the named sets; by default $GANVAS_DATA, else the cache.
    fetch: download a named set that is missing.
    options:
        size: (H, W) or one number for both. By default images that all have one size keep it, and
            mixed sizes become `native`.
        fit: where shapes differ, "crop" to the centre, "pad" with white (transparent if there are
            4 channels), or "stretch". By default crop, or pad where crop would cut off much or the
            images are transparent.
        channels: 1, 3 or 4. By default 4 if a hundredth of the images have a thousandth of their
            pixels transparent, else 3 if any has colour, else 1.
        range: (low, high), the values of more than 8 bits, or floats, that become black and white.
            By default the smallest usual range that holds all.
        pages, frames: "all" takes each page of a TIFF, or frame of an animated picture.
        max_megapixels: refuse larger pictures; 250 by default.

    The notes of the result say what was done to the images. Raises DataError for what cannot be
    read, and if more than 1% of the images are unreadable; SettingError for an impossible size,
    fit, split or number of channels.
    """
    picture_options = PictureOptions(native=native, side=side, **options)  # type: ignore[arg-type] # size
    result = read_source(what, split, picture_options, data_dir, fetch=fetch)
    total = len(result.dataset) + len(result.unreadable)
    if len(result.unreadable) > MAX_UNREADABLE * total:
        raise DataError(f"{what}: {unreadable_line(result.unreadable, total)}; remove them")
    return result.dataset


def read_source(
    what: str | os.PathLike[str],
    split: Split,
    options: PictureOptions,
    data_dir: Path | None = None,
    *,
    fetch: bool = True,
) -> Assembled:
    """Read as `load_dataset` does, with details, however many images are unreadable."""
    if split not in ("train", "test"):
        raise SettingError(f"no split is called {split!r}: expected 'train' or 'test'")
    if isinstance(what, str) and what in NAMES:
        if options.label_column is not None:
            column = options.label_column
            raise SettingError(f"--label-column {column} does nothing for {what}: leave it out")
        return _with_namesake(what, read_named(what, split, options, data_dir, fetch=fetch))
    where, member = split_member(what)
    path = _existing_path(where)
    if not member and is_idx(path):
        return read_idx(path, split, options)
    if path.is_dir() or has_ending(path, ARCHIVE_ENDINGS):
        return read_tree(path, split, options, member)
    return read_file(path, split, options, member)


def _with_namesake(name: str, result: Assembled) -> Assembled:
    """Add a note to a named data set if the working directory holds something of its name."""
    if not os.path.exists(name):
        return result
    note = f"{name} is the data set of this name: write ./{name} for what is called so here"
    return replace(result, dataset=replace(result.dataset, notes=(*result.dataset.notes, note)))


def _existing_path(what: str | os.PathLike[str]) -> Path:
    """Return the path of data that exists and is not a run. Raises DataError."""
    if not os.fspath(what).strip():
        raise DataError("no data is named: give a data set's name or a path")
    if not is_utf8(os.path.abspath(what)):
        raise DataError(not_utf8(os.fspath(what)))
    path = Path(expanded(os.fspath(what)))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        name = str(what)
        if "/" in name or os.sep in name or path.suffix:
            raise DataError(f"no file or folder {name}: check the path") from None
        hint = nearest(name, NAMES)
        raise DataError(f"{name!r} is neither a data set nor a path: {hint}") from None
    except OSError as error:
        raise DataError(f"cannot read {printable(str(what))}: {error.strerror}") from None
    # os.path, since pathlib raises for a folder without permission, which its reader reports
    if os.path.isfile(path / RUN_CARD):
        sample = command("sample", path, n=10_000, out="x.npz")
        raise DataError(f"{path} is a run: name its data, or let it make images with {sample}")
    return path
