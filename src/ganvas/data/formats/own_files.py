"""Runs, sheets and figures that ganvas wrote into a folder of pictures: they are no data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ganvas.data.formats.limits import Files
from ganvas.errors import DataError
from ganvas.system.marks import HEADS, is_marked
from ganvas.system.text import first_few

RUN_CARD = "recipe.json"
RUN_BEGUN = ("state.pt", "log.jsonl")  # one of them lies beside the card of a run that has begun
# Pictures at the top of an archive that are opened for their mark, as each is unpacked for it.
MAX_UNPACKED = 50


def without_own_files(path: Path, files: Files) -> Files:
    """Leave out runs, and the pictures that ganvas marks as sheets or figures of its own.

    The images that `ganvas sample --out FOLDER` writes have no mark: they are data.

    path: the folder or archive that holds the files.

    Returns the other files, with a note on those left out, if any.
    """
    own = dict.fromkeys(_folders_of_runs(files))
    runs = tuple(own)
    for name in _with_mark(path, [name for name in files if not name.startswith(runs)], files):
        own[name] = None
    if not own:
        return files
    names = [name for name in files if not name.startswith(runs) and name not in own]
    if files and not names:
        raise DataError(f"{path} holds nothing but what ganvas made: {first_few(own)}")
    kept = Files((name, files[name]) for name in names)
    kept.notes = (*files.notes, f"left out, as ganvas made them: {first_few(own)}")
    return kept


def _folders_of_runs(files: Files) -> Iterator[str]:
    """The folders of runs, which end in a slash."""
    for name in files:
        folder, slash, last = name.rpartition("/")
        at = folder + slash
        if last == RUN_CARD and at and any(at + begun in files for begun in RUN_BEGUN):
            yield at


def _with_mark(path: Path, names: list[str], files: Files) -> Iterator[str]:
    """Those of some files that ganvas has marked."""
    names = [name for name in names if os.path.splitext(name)[1].lower() in HEADS]
    if not path.is_dir():
        names = [name for name in names if "/" not in name]
        names = names if len(names) <= MAX_UNPACKED else []
    for name in names:
        try:
            with files[name]() as stream:
                head = stream.read(HEADS[os.path.splitext(name)[1].lower()])
        except OSError:  # reported when the picture is read
            continue
        if is_marked(head):
            yield name
