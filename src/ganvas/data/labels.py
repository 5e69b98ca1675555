"""Classes: their order, their names where labels are numbers, and MNIST's relatives by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from ganvas.recipe import DIGIT_CLASSES
from ganvas.system.text import count, first_few

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: numbers in numerical order, then the others."""

    def order(name: str) -> tuple[bool, Decimal, str]:
        is_number = bool(_NUMBER.fullmatch(name))
        return not is_number, Decimal(name) if is_number else Decimal(0), name

    return tuple(sorted(set(names), key=order))


@dataclass(frozen=True)
class NumberedClasses:
    """The classes of labels that are numbers.

    first: the label of the first class.
    notes: sentences for the user on what the numbers leave open.
    """

    names: tuple[str, ...]
    first: int
    notes: tuple[str, ...] = ()


def numbered_classes(present: npt.NDArray[np.int64]) -> NumberedClasses:
    """Name the classes of a set by their numbers, from 0 to the largest label.

    present: the labels of all parts of the set, at least 0, in any order. If they are exactly 1 to
        K, for a K above 1, they were counted from 1 and there is no class 0.
    """
    used = np.unique(present)
    last = int(used.max(initial=0))
    if last > 1 and np.array_equal(used, np.arange(1, last + 1)):
        note = f"labels are numbered from 1 to {last}, so there is no class 0"
        return NumberedClasses(tuple(map(str, range(1, last + 1))), 1, (note,))
    unused = sorted(set(range(last + 1)) - set(used.tolist()))
    notes = [f"{count(len(unused), 'class')} without images: {first_few(map(str, unused))}"]
    return NumberedClasses(tuple(map(str, range(last + 1))), 0, tuple(notes if unused else ()))


@dataclass(frozen=True)
class KnownSet:
    """The classes of a published set in IDX files.

    first_label: the label of the first class.
    transposed: True if the files hold rows as columns, as EMNIST's do.
    """

    name: str
    classes: tuple[str, ...]
    first_label: int = 0
    transposed: bool = False


_LOWER = tuple("abcdefghijklmnopqrstuvwxyz")
_UPPER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MERGED = (*DIGIT_CLASSES, *_UPPER, *"abdefghnqrt")
_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"

KNOWN_SETS = {
    known.name: known
    for known in (
        KnownSet("mnist", DIGIT_CLASSES),
        KnownSet("fashion-mnist", tuple(_CLOTHES.split(","))),
        KnownSet("kmnist", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
        KnownSet("emnist-digits", DIGIT_CLASSES, transposed=True),
        KnownSet("emnist-letters", _LOWER, first_label=1, transposed=True),
        KnownSet("emnist-balanced", _MERGED, transposed=True),
        KnownSet("emnist-bymerge", _MERGED, transposed=True),
        KnownSet("emnist-byclass", (*DIGIT_CLASSES, *_UPPER, *_LOWER), transposed=True),
        KnownSet("emnist-mnist", DIGIT_CLASSES, transposed=True),
    )
}
UPRIGHT = "EMNIST's files hold the pictures transposed: turned upright"

# MD5 of the gzipped files of labels, as torchvision checks them
_PUBLISHED = {
    "d53e105ee54ea40749a09fcbcd1e9432": "mnist",
    "ec29112dd5afa0611ce80d1b7f02629c": "mnist",
    "25c81989df183df01b3e8a0aad5dffbe": "fashion-mnist",
    "bb300cfdad3c16e7a12a480ee83cd310": "fashion-mnist",
    "e144d726b3acfaa3e44228e80efcd344": "kmnist",
    "7320c461ea6c1c855c0b718fb2a4b134": "kmnist",
}
# MD5 of the labels themselves, a byte each, in files packed by others or not at all
_CONTENTS = {
    "e86ee40d66677c011a9abda399ec8c4d": "mnist",
    "073c3904dfbd3e141ff8aa01cfde6b15": "mnist",
    "3236f6424fc25388b2834cb19942cf7e": "fashion-mnist",
    "8dea97a4e78c1bd1b5a6e8efbb870b6e": "fashion-mnist",
}
_EMNIST_FILE = re.compile(r"(emnist-[a-z]+)-(train|test)-(images|labels)-")


def known_set(name: str, *digests: str) -> KnownSet | None:
    """The published set that a file of images belongs to; None if that is not beyond doubt.

    name: of the file of images. Only EMNIST's names tell sets apart.
    digests: MD5 (hex) of the gzipped file of labels, and of the labels themselves, a byte each.
    """
    if match := _EMNIST_FILE.match(name):
        return KNOWN_SETS.get(match[1])
    published = _PUBLISHED | _CONTENTS
    return next((KNOWN_SETS[published[each]] for each in digests if each in published), None)
