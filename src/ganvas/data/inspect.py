"""Counts of what a data set holds, for a look before training."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from ganvas.data.assemble import Assembled
from ganvas.data.dataset import Dataset
from ganvas.data.load import read_source
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import NoHeldOutError, ReadArguments, Split


@dataclass(frozen=True)
class Inspection:
    """Counts over all parts of a data set.

    images: number of readable images.
    splits: number of images in 'train' and, if a part is held out, 'test'.
    unreadable: number of unreadable pictures.
    unreadable_files: (name, reason) of each.
    duplicates: number of pictures with the pixels of an earlier one of any part, before fitting.
    channels: 1, 3 or 4, as in training.
    sizes: number of originals of each size 'HxW', most frequent first.
    classes: number of images of each class; empty for a set without labels.
    notes: changes made to the pictures.
    dataset: the train part, as in training.
    """

    name: str
    images: int
    splits: dict[str, int]
    unreadable: int
    unreadable_files: tuple[tuple[str, str], ...]
    duplicates: int
    channels: int
    sizes: dict[str, int]
    classes: dict[str, int]
    notes: tuple[str, ...]
    dataset: Dataset


def count_dataset(
    what: str | os.PathLike[str],
    *,
    native: tuple[int, int] = (64, 64),
    data_dir: Path | None = None,
    **options: Unpack[ReadArguments],
) -> Inspection:
    """Read all parts of a data set and count what is in them.

    Arguments as for `load_dataset`. Unlike there, a single readable picture is enough.
    Raises DataError.
    """
    chosen = PictureOptions(native=native, digests=True, **options)  # type: ignore[arg-type] # size
    parts: dict[Split, Assembled] = {"train": read_source(what, "train", chosen, data_dir)}
    with suppress(NoHeldOutError):
        parts["test"] = read_source(what, "test", chosen, data_dir)
    datasets = [part.dataset for part in parts.values()]
    data, classes = datasets[0], Counter(dict.fromkeys(datasets[0].classes, 0))
    for part in datasets:
        if part.labels is not None:
            classes.update(part.classes[k] for k in part.labels.tolist())
    unreadable = tuple(pair for part in parts.values() for pair in part.unreadable)
    digests = [digest for part in parts.values() for digest in part.digests]
    sizes = sum((part.sizes for part in parts.values()), Counter[str]())
    return Inspection(
        name=data.name,
        images=sum(map(len, datasets)),
        splits={split: len(part.dataset) for split, part in parts.items()},
        unreadable=len(unreadable),
        unreadable_files=unreadable,
        duplicates=len(digests) - len(set(digests)),
        channels=data.channels,
        sizes=dict(sizes.most_common()),
        classes=dict(classes),
        notes=data.notes,
        dataset=data,
    )
