"""An array in a file, and the part that its name gives it: images, labels or names of classes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

MIN_SIDE = 7  # of a picture in a row of values

# by rank: the first name wins
_ROLES = {
    "images": "images image imgs img pictures photos x data pixels inputs features fea samples",
    "labels": "labels label y targets target classes class gnd digits fine coarse",
    "classes": "classnames names classes",
}
_PARTS = {
    "train": ("train", "training", "tr"),
    "test": ("test", "testing", "te"),
    "val": ("val", "valid", "validation", "dev"),
}
_UNNAMED = {"arr_0": "images", "arr_1": "labels"}
_JOINED = re.compile(r"(x|y|images|labels|data)_?(train|test|val|tr|te)")
_SWAPPED = re.compile(r"(train|test|val)_?(x|y|images|labels|data)")


@dataclass(frozen=True)
class ArrayEntry:
    """An array in a file, not read yet.

    name: its path in the file, such as "train/images".
    dtype: None for content that is neither numbers nor strings.
    read: returns the array, or raises DataError.
    matlab: True if the file stores columns first, as MATLAB does.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    read: Callable[[], npt.NDArray[np.generic]]
    matlab: bool = False

    @property
    def size(self) -> int:
        """Bytes that the array claims."""
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype else 0)

    @property
    def kind(self) -> str:
        """NumPy's letter for the kind of values; "" if they are none."""
        return self.dtype.kind if self.dtype else ""

    def __str__(self) -> str:
        kind = "objects" if self.dtype is None or self.kind in "OV" else str(self.dtype)
        return f"{self.name} {self.shape} {kind}"

    @property
    def is_numeric(self) -> bool:
        return self.kind in tuple("buif")

    @property
    def may_be_images(self) -> bool:
        """True if shape and values are those of images, however they are laid out."""
        if not self.is_numeric or not all(self.shape):
            return False
        rows = len(self.shape) == 2 and any(side_of(n) >= MIN_SIDE for n in self.shape[-2:])
        return rows or (len(self.shape) in (3, 4) and max(self.shape[1:]) > 1)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the name in lower case: "XTrain" gives x, train."""
        text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", self.name)
        words: list[str] = []
        for word in re.findall(r"[a-z]+|\d+", text.lower()):
            match = _JOINED.fullmatch(word) or _SWAPPED.fullmatch(word)
            words += match.groups() if match else (word,)
        return tuple(words)

    @property
    def part(self) -> str:
        """ "train", "test", "val", or "" where the name tells none."""
        return next((p for word in self.words for p, known in _PARTS.items() if word in known), "")

    @property
    def role(self) -> str:
        """ "images", "labels", "classes" (their names), or "" where the name tells none."""
        if self.name in _UNNAMED:
            return _UNNAMED[self.name]
        if self.kind in tuple("US") and {"names", "classes", "classnames"} & set(self.words):
            return "classes"
        for word in reversed(self.words):  # of "train_images_y", y
            for role in ("labels", "images"):
                if word in _ROLES[role].split():
                    return role
        return ""

    @property
    def rank(self) -> int:
        """The place of the name among those of its role; the lowest is the usual one."""
        known = _ROLES.get(self.role, "").split()
        ranks = [known.index(word) for word in self.words if word in known]
        return min(ranks, default=0)

    @property
    def rest(self) -> tuple[str, ...]:
        """The words that tell neither part nor role."""
        told = {word for words in _PARTS.values() for word in words}
        told |= {word for words in _ROLES.values() for word in words.split()}
        return tuple(word for word in self.words if word not in told)


def words_of(name: str) -> ArrayEntry:
    """An entry without content, for what its name tells."""
    return ArrayEntry(name, (), None, lambda: np.empty(0))


def side_of(values: int) -> int:
    """The side of a square picture with this number of values, grey or RGB; 0 if there is none."""
    for channels in (1, 3):
        side = math.isqrt(values // channels)
        if channels * side * side == values:
            return side
    return 0
