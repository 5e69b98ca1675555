"""IDX files, the format of MNIST, plain or gzipped: one file of images, or a folder of four."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from ganvas.data.archive import MAX_RATIO, RATIO_FLOOR
from ganvas.data.assemble import Assembled, Labels, NoHeldOutError, Split, assemble_array
from ganvas.data.pictures import PictureOptions
from ganvas.data.pixels import Pixels
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
    return _NAMED_IDX.search(path.name) is not None or _begins_as_idx(path)


def _begins_as_idx(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            return stream.read(4) == bytes((0, 0, 8, 3))
    except (OSError, EOFError, zlib.error):
        return False


def read_idx(path: Path, split: Split, options: PictureOptions) -> Assembled:
    """Read a file of IDX images and the labels beside it, or the `split` of a folder of them.

    Classes are named '0', '1', ...
    Raises DataError; NoHeldOutError if the held-out part is missing.
    """
    parts = _parts(path)
    if split not in parts:
        if split == "test":
            raise NoHeldOutError(
                f"{path} has no held-out part: give a folder with t10k-images-idx3-ubyte in it"
            )
        raise DataError(
            f"{path} has no train-images-idx3-ubyte, only {parts['test'].name}: add it, or give"
            " that file"
        )
    images, labels = images_and_labels(parts[split])
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if labels is None:
        notes = (f"no labels file lies beside {parts[split].name}: read without classes",)
    else:  # count the classes in both parts, so that they agree
        beside = [file for file in map(labels_beside, parts.values()) if file]
        classes = tuple(
            map(str, range(1 + max(int(idx_array(file, 1).max(initial=0)) for file in beside)))
        )
    return assemble_array(path.resolve().name, images, labels, classes, options, notes)


def _image_files(folder: Path) -> list[Path]:
    """The files of IDX images in a folder; of two with the same name, the one not gzipped."""
    try:
        names = sorted(
            (file.name for file in folder.iterdir() if _IMAGES.search(file.name)), reverse=True
        )
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
            raise DataError(
                f"{path} holds several sets ({parts[split].name}, {file.name}): give one of these"
                " files"
            )
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
        raise DataError(
            f"{beside} holds {count(len(labels), 'label')} for the {count(len(images), 'image')} of"
            f" {file.name}: give the labels of these images"
        )
    return images, labels


def labels_beside(images: Path) -> Path | None:
    """The labels file of a file of images, plain or gzipped; None if it does not exist."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if name == images.name.removesuffix(".gz"):
        return None  # the name does not tell images from labels
    return next(
        (
            file
            for file in (images.with_name(name), images.with_name(f"{name}.gz"))
            if file.is_file()
        ),
        None,
    )


def idx_array(file: Path, dims: int) -> Pixels:
    """The uint8 array in an IDX file of `dims` dimensions.

    Raises DataError if the file is damaged, of other dimensions, or claims a size that only a
    decompression bomb has.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as stream:
            head = stream.read(4 + 4 * dims)
            if head[:4] != bytes((0, 0, 8, dims)):
                raise DataError(
                    f"{file} begins with {head[:4].hex(' ') or 'nothing'}, expected 00 00 08"
                    f" {dims:02x}: it is damaged, or not an IDX file of"
                    f" {'images' if dims == 3 else 'labels'}"
                )
            shape = struct.unpack(f">{dims}I", head[4:])
            size = math.prod(shape)
            if size > MAX_IDX_BYTES:
                raise DataError(
                    f"{file} claims {size / 2**30:.0f} GiB of pixels, more than"
                    f" {MAX_IDX_BYTES // 2**30}: refused; split it into smaller files"
                )
            if (
                file.suffix == ".gz"
                and size > RATIO_FLOOR
                and size > MAX_RATIO * file.stat().st_size
            ):
                raise DataError(
                    f"{file} claims {size / 2**20:,.0f} MiB of pixels, more than {MAX_RATIO} times"
                    " its own size, as bombs do: refused; unpack it yourself if you trust it"
                )
            body = stream.read(size + 1)
    except (OSError, EOFError, zlib.error, struct.error, MemoryError) as error:
        raise DataError(
            f"{file} is damaged or cannot be read ({error}); remove it and fetch it again"
        ) from None
    if len(body) != size:
        held = "more" if len(body) > size else f"{len(body):,}"
        raise DataError(
            f"{file} should hold {size:,} bytes of data and holds {held}; remove it and fetch it"
            " again"
        )
    return np.frombuffer(bytearray(body), np.uint8).reshape(shape)
