"""IDX files, the format of MNIST, plain or gzipped: one file of images, or a tree of the four.

train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, ...
train-images.idx3-ubyte, ...                          other separators, .gz
train-images-idx3-ubyte/train-images-idx3-ubyte, ...  in folders of the same names
MNIST/raw/train-images-idx3-ubyte, ...                in other folders
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ganvas.data.assemble import Assembled, Labels, assemble_array
from ganvas.data.formats.archive import binary
from ganvas.data.formats.limits import MAX_RATIO, RATIO_FLOOR, Files
from ganvas.data.labels import UPRIGHT, KnownSet, known_set, numbered_classes
from ganvas.data.pictures import PictureOptions
from ganvas.data.pixels import Pixels
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError, SettingError
from ganvas.recipe import DIGIT_CLASSES
from ganvas.system.text import count, printable

MAX_IDX_BYTES = 16 * 2**30

_IMAGES = re.compile(r"images[-.]idx3-ubyte(\.gz)?$")
_NAMED_IDX = re.compile(r"[-.]idx[0-9]?(-ubyte)?(\.gz)?$")  # any IDX file, given by itself
_HELD_OUT = re.compile("t10k|test")


def is_idx(path: Path) -> bool:
    """True if a path is a file of IDX images, by name or first bytes."""
    if not path.is_file():
        return False
    if _NAMED_IDX.search(path.name):
        return True
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            return stream.read(4) == bytes((0, 0, 8, 3))
    except (OSError, EOFError, zlib.error):
        return False


def holds_idx(files: Files, pictures: Iterable[str]) -> bool:
    """True if a tree holds files of IDX images, and no picture that lies less deep."""
    found = [name.count("/") for name in files if "idx3" in name and _IMAGES.search(name)]
    return bool(found) and min(found) <= min((p.count("/") for p in pictures), default=min(found))


def read_idx(path: Path, split: Split, options: PictureOptions) -> Assembled:
    """Read a file of IDX images and the labels beside it.

    Classes are those of the set where its files are known, else numbers.
    Raises DataError; NoHeldOutError for the split "test".
    """
    if split == "test":
        raise NoHeldOutError(f"{path} has no held-out part: give the folder of both parts")
    source = _neighbours(path)
    images = next(iter(source.files))
    return _assembled(source, path.resolve().name, {"train": images}, split, options, ())


def read_idx_files(
    path: Path, files: Files, split: Split, options: PictureOptions, notes: tuple[str, ...] = ()
) -> Assembled:
    """Read the `split` of a folder or an archive of IDX files.

    Classes are those of the set where its files are known, else numbers.
    Raises DataError; NoHeldOutError if the held-out part is missing.
    """
    source = _Source(path, files)
    parts, copies = source.parts()
    if split not in parts:
        if split == "test":
            raise NoHeldOutError(f"{path} has no held-out part: add t10k-images-idx3-ubyte")
        raise DataError(f"{path} has no train-images-idx3-ubyte, only {parts['test']}: add it")
    if len(parts) == 1 and path.is_dir() and _plain(path.name) == _plain(parts[split]):
        return read_idx(path / parts[split], split, options)  # the labels lie in the next folder
    return _assembled(source, path.resolve().name, parts, split, options, notes + copies)


def images_and_labels(file: Path) -> tuple[Pixels, Labels | None]:
    """Read images uint8 (N, H, W) and, if a labels file lies beside them, labels int64 (N,).

    Raises DataError.
    """
    source = _neighbours(file)
    return source.images_and_labels(next(iter(source.files)))


def labels_beside(images: Path) -> Path | None:
    """The labels file of a file of images, plain or gzipped; None if it does not exist."""
    source = _neighbours(images)
    labels = source.labels_of(next(iter(source.files)))
    return source.path / labels if labels else None


def labels_within(path: Path, files: Files, images: str) -> list[str]:
    """The labels files of a file of images in a folder or an archive; [] for another file."""
    return _Source(path, files).labels_files(images) if _IMAGES.search(images) else []


def _plain(name: str) -> str:
    """The name of a file without folders and .gz, with one separator before idx."""
    return name.rsplit("/", 1)[-1].removesuffix(".gz").replace(".idx", "-idx")


def _home(name: str) -> str:
    """The folder of a file; of a file in a folder of its own name, the next above."""
    folder = name.rpartition("/")[0]
    return folder.rpartition("/")[0] if folder and _plain(folder) == _plain(name) else folder


def _order(name: str) -> tuple[int, bool, str]:
    """Sort key of equal files: the one less deep comes first, then the one not gzipped."""
    return name.count("/"), name.endswith(".gz"), name


@dataclass(frozen=True)
class _Source:
    """The files of a folder or an archive at `path`."""

    path: Path
    files: Files

    def parts(self) -> tuple[dict[Split, str], tuple[str, ...]]:
        """The file of images of each split, and notes. Raises DataError if there are several."""
        parts: dict[Split, str] = {}
        notes = []
        for name in sorted(filter(_IMAGES.search, self.files), key=_order):
            split: Split = "test" if _HELD_OUT.search(_plain(name)) else "train"
            first = parts.setdefault(split, name)
            if first.removesuffix(".gz") == name.removesuffix(".gz"):
                continue
            same_name = _plain(first) == _plain(name)
            if not same_name or not np.array_equal(self.array(first, 3), self.array(name, 3)):
                both = f"{printable(first)}, {printable(name)}"
                raise DataError(
                    f"{self.path} holds several sets ({both}): give one of these files, or a folder"
                    " of one set"
                )
            notes.append(f"{printable(name)} holds the same images as {printable(first)}")
        return parts, tuple(notes)

    def labels_of(self, images: str) -> str | None:
        """The labels file of a file of images; None if there is none."""
        return next(iter(self.labels_files(images)), None)

    def labels_files(self, images: str) -> list[str]:
        """All of them, the one to read first."""
        wanted = _plain(images).replace("images", "labels").replace("idx3", "idx1")
        if wanted == _plain(images):
            return []  # the name does not tell images from labels
        same = [n for n in self.files if _plain(n) == wanted and _home(n) == _home(images)]
        return sorted(same, key=_order)

    def images_and_labels(self, name: str) -> tuple[Pixels, Labels | None]:
        images, beside = self.array(name, 3), self.labels_of(name)
        if beside is None:
            return images, None
        labels = self.array(beside, 1).astype(np.int64)
        if len(labels) != len(images):
            both = f"{count(len(labels), 'label')} for the {count(len(images), 'image')}"
            file = _plain_path(name)
            raise DataError(f"{self.where(beside)} holds {both} of {file}: expected one each")
        return images, labels

    def digest(self, images: str) -> str:
        """MD5 (hex) of the gzipped labels, if they are there and equal the labels read."""
        files = self.labels_files(images)
        zipped = next((name for name in files if name.endswith(".gz")), None)
        if zipped is None or not np.array_equal(self.array(zipped, 1), self.array(files[0], 1)):
            return ""
        with self.files[zipped]() as stream:
            return hashlib.md5(stream.read(), usedforsecurity=False).hexdigest()

    def where(self, name: str) -> str:
        """The name of a file in messages."""
        inside = f"{self.path}: {printable(name)}"
        return inside if self.path.is_file() else os.path.join(self.path, printable(name))

    def array(self, name: str, dims: int) -> Pixels:
        return idx_array(self.files[name], self.where(name), dims)


def _plain_path(name: str) -> str:
    return printable(name.rsplit("/", 1)[-1])


def _neighbours(file: Path) -> _Source:
    """A file of images, first, and the files beside it that may hold its labels."""
    root, own = file.parent, file.name
    if _plain(root.name) == _plain(own):
        root, own = root.parent, f"{root.name}/{own}"
    files = Files({own: partial(binary, str(file))})
    wanted = _plain(own).replace("images", "labels").replace("idx3", "idx1")
    for entry in sorted(os.listdir(root)) if root.is_dir() else []:
        if _plain(entry) != wanted or wanted == _plain(own):
            continue
        inner = [entry]
        if (root / entry).is_dir():
            inner = [f"{entry}/{name}" for name in os.listdir(root / entry)]
        for name in filter(lambda name: (root / name).is_file(), inner):
            files[name] = partial(binary, str(root / name))
    return _Source(root, files)


def _assembled(
    source: _Source,
    name: str,
    parts: dict[Split, str],
    split: Split,
    options: PictureOptions,
    notes: tuple[str, ...],
) -> Assembled:
    if options.label_column is not None:
        column = options.label_column
        raise SettingError(f"--label-column {column} does nothing for IDX files: leave it out")
    images, labels = source.images_and_labels(parts[split])
    digests = [source.digest(parts[split])]
    if labels is not None:
        own = labels.astype(np.uint8).tobytes()
        digests.append(hashlib.md5(own, usedforsecurity=False).hexdigest())
    known = known_set(_plain(parts[split]), *digests)
    if known and known.transposed:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
        notes += (UPRIGHT,)
    if labels is None:
        file = _plain_path(parts[split])
        notes += (f"no labels file lies beside {file}: read without classes",)
        return assemble_array(name, images, None, (), options, notes)
    # the classes in both parts, so that they agree
    beside = [file for file in map(source.labels_of, parts.values()) if file]
    present = np.concatenate([source.array(file, 1) for file in beside]).astype(np.int64)
    if known and _fit(present, known):
        if known.classes != DIGIT_CLASSES:
            notes += (f"the files are those of {known.name}: its classes are named",)
        return assemble_array(
            name, images, labels - known.first_label, known.classes, options, notes
        )
    numbered = numbered_classes(present)
    notes += numbered.notes
    return assemble_array(name, images, labels - numbered.first, numbered.names, options, notes)


def _fit(labels: Labels, known: KnownSet) -> bool:
    first, last = known.first_label, known.first_label + len(known.classes) - 1
    return bool(first <= labels.min(initial=first) and labels.max(initial=first) <= last)


def idx_array(opened: Callable[[], BinaryIO], where: str, dims: int) -> Pixels:
    """The uint8 array in an IDX file of `dims` dimensions.

    opened: opens the file, plain or gzipped.
    where: its name in messages, which ends in .gz if it is gzipped.
    Raises DataError if the file is damaged, of other dimensions, or claims a size that only a
    decompression bomb has.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(opened())
            stored = file.seek(0, os.SEEK_END)
            file.seek(0)
            gzipped = where.endswith(".gz")
            stream = stack.enter_context(gzip.open(file)) if gzipped else file
            shape = _shape(stream.read(4 + 4 * dims), where, dims, stored if gzipped else None)
            size = math.prod(shape)
            body = stream.read(size + 1)
    except (OSError, EOFError, zlib.error, struct.error, MemoryError) as error:
        raise DataError(f"{where} is damaged or cannot be read ({error}): fetch it again") from None
    if len(body) != size:
        held = "more" if len(body) > size else f"{len(body):,}"
        raise DataError(
            f"{where} should hold {size:,} bytes of data and holds {held}: fetch it again"
        )
    return np.frombuffer(bytearray(body), np.uint8).reshape(shape)


def _shape(head: bytes, where: str, dims: int, stored: int | None) -> tuple[int, ...]:
    """The shape that a header claims.

    stored: bytes of a gzipped file; None for a plain one.
    Raises DataError; struct.error if the header is cut off.
    """
    if head[:4] != bytes((0, 0, 8, dims)):
        start = head[:4].hex(" ") or "nothing"
        kind = "images" if dims == 3 else "labels"
        raise DataError(
            f"{where} begins with {start}, expected 00 00 08 {dims:02x}: it is damaged, or"
            f" not an IDX file of {kind}"
        )
    shape = struct.unpack(f">{dims}I", head[4:])
    size = math.prod(shape)
    claim = f"{where} claims {size / 2**20:,.0f} MiB of pixels"
    if size > MAX_IDX_BYTES:
        raise DataError(f"{claim}, more than {MAX_IDX_BYTES // 2**20:,}: split it")
    if stored is not None and size > max(RATIO_FLOOR, MAX_RATIO * stored):
        raise DataError(
            f"{claim}, more than {MAX_RATIO} times its own size, as bombs do: unpack it"
            " yourself if you trust it"
        )
    return shape
