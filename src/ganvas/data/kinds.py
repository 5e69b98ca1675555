"""Kinds of data by the endings of names, and what to do with those that cannot be read.

No torch here, since the choice of a recipe asks for them too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePath

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVE_ENDINGS = (".zip", *TAR_ENDINGS, ".7z")
ARRAY_ENDINGS = (".npz", ".npy", ".mat", ".h5", ".hdf5", ".hdf", ".pkl", ".pickle", ".p")
PACKED_ENDINGS = (".gz", ".bz2", ".xz")
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".data")
PARQUET_ENDINGS = (".parquet", ".arrow")

_PACKED = "unpack it and give the folder"
_CODE = "it holds Python objects, which could run code: save arrays with np.savez"
_CONVERT = "convert it to a folder of PNG files"
_ADVICE: dict[tuple[str, ...], str] = {
    (".rar", ".zst", ".lz4", ".lzma", ".iso", ".cab", ".ace", ".z"): _PACKED,
    PACKED_ENDINGS: "one packed file: unpack it and give what is in it",
    (".pt", ".pth", ".joblib"): _CODE,
    (".tfrecord", ".tfrecords", ".rec", ".mdb", ".lmdb", ".beton", ".ffcv"): _CONVERT,
    (".dcm", ".nii", ".nii.gz", ".fits", ".svs", ".czi", ".psd", ".svg", ".pdf"): _CONVERT,
    (".mp4", ".avi", ".mov", ".mkv", ".webm"): "a video: write its frames to a folder of pictures",
}


def has_ending(name: str | os.PathLike[str], endings: Iterable[str]) -> bool:
    """Return True if a name ends in one of `endings`, in any case."""
    # os.path, since pathlib is slow for thousands of names
    return os.path.basename(os.fspath(name).rstrip("/")).lower().endswith(tuple(endings))


def advice(name: str | os.PathLike[str]) -> str:
    """A phrase on what to do with a file that cannot be read, by its ending; "" if unknown."""
    endings = {ending: text for known, text in _ADVICE.items() for ending in known}
    fitting = [ending for ending in endings if has_ending(name, (ending,))]
    return endings[max(fitting, key=len)] if fitting else ""


def split_member(what: str | os.PathLike[str]) -> tuple[str, str]:
    """Split "file.npz:images" into the path that exists and the name within, else "".

    A path that exists stands for itself, whatever colons it has.
    """
    whole = os.fspath(what)
    path, colon, member = whole.rpartition(":")
    try:
        inner = bool(path and member) and not os.path.exists(whole) and os.path.exists(path)
    except ValueError:  # a null byte
        inner = False
    return (path, member) if colon and inner else (whole, "")


def is_packed(name: str | os.PathLike[str]) -> bool:
    """Return True for a file of arrays or a table that is packed by itself: train.csv.gz."""
    endings = (*ARRAY_ENDINGS, *TABLE_ENDINGS)
    return has_ending(name, PACKED_ENDINGS) and has_ending(PurePath(name).stem, endings)


def is_picture_source(what: str | os.PathLike[str]) -> bool:
    """Return True for a folder, and for a file that holds pictures of any size."""
    path, _ = split_member(what)
    endings = (*ARCHIVE_ENDINGS, *ARRAY_ENDINGS, *TABLE_ENDINGS, *PARQUET_ENDINGS)
    return os.path.isdir(path) or is_packed(path) or has_ending(path, endings)
