"""IDX files, the format of MNIST, plain or gzipped: one file of images, or a folder of four."""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ganvas.data.assemble import Assembled, Labels, assemble_array
from ganvas.data.formats.archive import MAX_RATIO, RATIO_FLOOR
from ganvas.data.pictures import PictureOptions
from ganvas.data.pixels import Pixels
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError
from ganvas.system.text import count

MAX_IDX_BYTES = 16 * 2**30

_IMAGES = re.compile(r"images[-.]idx3-ubyte(\.gz)?$")
_NAMED_IDX = re.compile(r"[-.]idx[0-9]?(-ubyte)?(\.gz)?$")  # any IDX file, given by itself
_HELD_OUT = re.compile("t10k|test")


def is_idx(path: Path) -> bool:
    """True if a path is a file of IDX images, by name or first bytes, or a folder with one."""
    if path.is_dir():
        return bool(_image_files(path))
    if _NAMED_IDX.search(path.name):
        return True
    if not path.is_file():
        return False
    try:
        with _opened(path) as stream:
            return stream.read(4) == bytes((0, 0, 8, 3))
    except (OSError, EOFError, zlib.error):
        return False


def _opened(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if file.suffix == ".gz" else open(file, "rb")


def read_idx(path: Path, split: Split, options: PictureOptions) -> Assembled:
    """Read a file of IDX images and the labels beside it, or the `split` of a folder of them.

    Classes are named '0', '1', ...
    Raises DataError; NoHeldOutError if the held-out part is missing.
    """
    parts = _parts(path)
    if split not in parts:
        if split == "test":
            raise NoHeldOutError(f"{path} has no held-out part: add t10k-images-idx3-ubyte")
        held_out = parts["test"].name
        raise DataError(f"{path} has no train-images-idx3-ubyte, only {held_out}: add it")
    images, labels = images_and_labels(parts[split])
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if labels is None:
        notes = (f"no labels file lies beside {parts[split].name}: read without classes",)
    else:  # count the classes in both parts, so that they agree
        beside = [file for file in map(labels_beside, parts.values()) if file]
        largest = max(int(idx_array(file, 1).max(initial=0)) for file in beside)
        classes = tuple(map(str, range(largest + 1)))
    return assemble_array(path.resolve().name, images, labels, classes, options, notes)


def _image_files(folder: Path) -> list[Path]:
    """The files of IDX images in a folder; of two with the same name, the one not gzipped."""
    try:
        names = sorted(filter(_IMAGES.search, os.listdir(folder)), reverse=True)
    except OSError:
        return []  # `read_folder` reports the error
    return [folder / name for name in {name.removesuffix(".gz"): name for name in names}.values()]


def _parts(path: Path) -> dict[Split, Path]:
    """The file of images of each split. Raises DataError if a folder has two for one."""
    if not path.is_dir():
        return {"train": path}
    parts: dict[Split, Path] = {}
    for file in _image_files(path):
        split: Split = "test" if _HELD_OUT.search(file.name) else "train"
        if split in parts:
            both = f"{parts[split].name}, {file.name}"
            raise DataError(f"{path} holds several sets ({both}): give one of these files")
        parts[split] = file
    return parts


def images_and_labels(file: Path) -> tuple[Pixels, Labels | None]:
    """Read images uint8 (N, H, W) and, if a labels file lies beside them, labels int64 (N,).

    Raises DataError.
    """
    images, beside = idx_array(file, 3), labels_beside(file)
    if beside is None:
        return images, None
    labels = idx_array(beside, 1).astype(np.int64)
    if len(labels) != len(images):
        both = f"{count(len(labels), 'label')} for the {count(len(images), 'image')}"
        raise DataError(f"{beside} holds {both} of {file.name}: expected one each")
    return images, labels


def labels_beside(images: Path) -> Path | None:
    """The labels file of a file of images, plain or gzipped; None if it does not exist."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if name == images.name.removesuffix(".gz"):
        return None  # the name does not tell images from labels
    files = images.with_name(name), images.with_name(f"{name}.gz")
    return next((file for file in files if file.is_file()), None)


def idx_array(file: Path, dims: int) -> Pixels:
    """The uint8 array in an IDX file of `dims` dimensions.

    Raises DataError if the file is damaged, of other dimensions, or claims a size that only a
    decompression bomb has.
    """
    try:
        with _opened(file) as stream:
            head = stream.read(4 + 4 * dims)
            if head[:4] != bytes((0, 0, 8, dims)):
                start = head[:4].hex(" ") or "nothing"
                kind = "images" if dims == 3 else "labels"
                raise DataError(
                    f"{file} begins with {start}, expected 00 00 08 {dims:02x}: it is damaged, or"
                    f" not an IDX file of {kind}"
                )
            shape = struct.unpack(f">{dims}I", head[4:])
            size = math.prod(shape)
            claim = f"{file} claims {size / 2**20:,.0f} MiB of pixels"
            if size > MAX_IDX_BYTES:
                raise DataError(f"{claim}, more than {MAX_IDX_BYTES // 2**20:,}: split it")
            most = max(RATIO_FLOOR, MAX_RATIO * file.stat().st_size)
            if file.suffix == ".gz" and size > most:
                raise DataError(
                    f"{claim}, more than {MAX_RATIO} times its own size, as bombs do: unpack it"
                    " yourself if you trust it"
                )
            body = stream.read(size + 1)
    except (OSError, EOFError, zlib.error, struct.error, MemoryError) as error:
        raise DataError(f"{file} is damaged or cannot be read ({error}): fetch it again") from None
    if len(body) != size:
        held = "more" if len(body) > size else f"{len(body):,}"
        raise DataError(
            f"{file} should hold {size:,} bytes of data and holds {held}: fetch it again"
        )
    return np.frombuffer(bytearray(body), np.uint8).reshape(shape)
