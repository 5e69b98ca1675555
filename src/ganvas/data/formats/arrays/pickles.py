"""Pickles of plain arrays, read without unpickling: a dictionary, or pairs of images and labels.

{"features": (N, H, W, C), "labels": (N,)}
((x, y), (x, y), (x, y))                the parts train, val and test, as in mnist.pkl
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from ganvas.data.formats import limits
from ganvas.data.formats.arrays.entry import ArrayEntry
from ganvas.data.formats.pickled import plain_pickle
from ganvas.errors import DataError

MAX_PICKLE_BYTES = 8 * 2**30

_PARTS: dict[int, tuple[str, ...]] = {2: ("train", "test"), 3: ("train", "val", "test")}


def pickle_entries(where: str, stream: BinaryIO, stack: ExitStack) -> list[ArrayEntry]:
    """The arrays in a pickle. Raises DataError for one that holds anything but plain values."""
    try:
        if limits.size_of(stream) > MAX_PICKLE_BYTES:
            raise ValueError(f"more than {MAX_PICKLE_BYTES // 2**30} GiB")
        content = plain_pickle(stream.read())
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where} holds more than plain arrays ({reason}), which could run code: save them"
            " with np.savez"
        ) from None
    return list(_named(content))


def _named(content: Any, prefix: str = "") -> Iterator[ArrayEntry]:
    if isinstance(content, dict):
        for name, value in content.items():
            if (array := _array(value)) is not None:
                yield _entry(f"{prefix}{name}", array)
    elif isinstance(content, tuple | list):
        arrays = [_array(each) for each in content]
        if len(arrays) == 2 and arrays[0] is not None and arrays[1] is not None:
            yield _entry(f"{prefix}x", arrays[0])
            yield _entry(f"{prefix}y", arrays[1])
        elif not prefix:
            for part, pair in zip(_PARTS.get(len(content), ()), content, strict=False):
                yield from _named(pair, f"{part}/")
    elif (array := _array(content)) is not None:
        yield _entry(f"{prefix}x", array)


def _entry(name: str, array: Any) -> ArrayEntry:
    return ArrayEntry(name, array.shape, array.dtype, partial(np.array, array))


def _array(value: Any) -> Any:
    """An array, or a list of numbers or of strings as one; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    kinds = {type(each) for each in value} if isinstance(value, list) else set()
    return np.array(value) if kinds in ({int}, {float}, {str}, {bytes}) else None
