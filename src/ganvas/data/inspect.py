"""Contents of a data set, for a look before training."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from ganvas.data.assemble import Assembled
from ganvas.data.concerns import concerns
from ganvas.data.dataset import Dataset
from ganvas.data.duplicates import DuplicateGroup, equal_groups, join_near
from ganvas.data.load import read_source
from ganvas.data.oddities import Oddity, find_oddities
from ganvas.data.pictures import PictureOptions, Watch, unwatched
from ganvas.data.reading import NoHeldOutError, ReadArguments, Split


@dataclass(frozen=True)
class Inspection:
    """Counts over all parts of a data set.

    images: number of readable images.
    splits: number of images in 'train' and, if a part is held out, 'test'.
    unreadable: number of unreadable pictures.
    unreadable_files: (name, reason) of each.
    duplicates: number of pictures with the pixels of an earlier one of any part, before fitting.
    duplicate_groups: of equal and of nearly equal pictures, of any part; those that harm come
        first: in both parts, then with different labels.
    channels: 1, 3 or 4, as in training.
    sizes: number of originals of each size 'HxW', most frequent first.
    classes: number of images of each class; empty for a set without labels.
    strangest: images of the train part that are unlike the others.
    warnings: what will harm a training, each with what helps.
    notes: changes made to the pictures.
    dataset: the train part, as in training.
    """

    name: str
    images: int
    splits: dict[str, int]
    unreadable: int
    unreadable_files: tuple[tuple[str, str], ...]
    duplicates: int
    duplicate_groups: tuple[DuplicateGroup, ...]
    channels: int
    sizes: dict[str, int]
    classes: dict[str, int]
    strangest: tuple[Oddity, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    dataset: Dataset

    @property
    def trained_as(self) -> dict[str, int]:
        """The height, width and channels of the images in training."""
        data = self.dataset
        return {"height": data.height, "width": data.width, "channels": data.channels}


def count_dataset(
    what: str | os.PathLike[str],
    *,
    native: tuple[int, int] = (64, 64),
    side: int | None = None,
    data_dir: Path | None = None,
    watch: Watch = unwatched,
    **options: Unpack[ReadArguments],
) -> Inspection:
    """Read all parts of a data set and count what is in them.

    Arguments as for `load_dataset`. Unlike there, a single readable picture is enough.

    watch: shows the progress of reading.

    Raises DataError.
    """
    chosen = PictureOptions(
        native=native,
        side=side,
        digests=True,
        watch=watch,
        **options,  # type: ignore[arg-type] # size
    )
    parts: dict[Split, Assembled] = {"train": read_source(what, "train", chosen, data_dir)}
    data = parts["train"].dataset
    alike = dataclasses.replace(chosen, **data.read_as.given())
    with suppress(NoHeldOutError):
        parts["test"] = read_source(what, "test", alike, data_dir)
    datasets = [part.dataset for part in parts.values()]
    classes = Counter(dict.fromkeys(data.classes, 0))
    for part in datasets:
        if part.labels is not None:
            classes.update(part.classes[k] for k in part.labels.tolist())
    unreadable = tuple(pair for part in parts.values() for pair in part.unreadable)
    digests = [digest for part in parts.values() for digest in part.digests]
    sizes = sum((part.sizes for part in parts.values()), Counter[str]())
    groups = duplicate_groups(parts, digests)
    return Inspection(
        name=data.name,
        images=sum(map(len, datasets)),
        splits={split: len(part.dataset) for split, part in parts.items()},
        unreadable=len(unreadable),
        unreadable_files=unreadable,
        duplicates=len(digests) - len(set(digests)),
        duplicate_groups=groups,
        channels=data.channels,
        sizes=dict(sizes.most_common()),
        classes=dict(classes),
        strangest=find_oddities(data, file_names(parts["train"]), parts["train"].originals, groups),
        warnings=concerns(data, groups),
        notes=data.notes,
        dataset=data,
    )


def file_names(part: Assembled) -> tuple[str, ...]:
    """The names of a part's images, in order; in an array, their index."""
    return part.names or tuple(map(str, range(len(part.dataset))))


def duplicate_groups(
    parts: dict[Split, Assembled], digests: list[bytes]
) -> tuple[DuplicateGroup, ...]:
    """Find the groups of equal and nearly equal images (see `Inspection`)."""
    names: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for split, part in parts.items():
        data = part.dataset
        names += file_names(part)
        splits += [split] * len(data)
        rows = [] if data.labels is None else data.labels.tolist()
        labels += [data.classes[k] for k in rows] or [""] * len(data)
    joined = join_near(equal_groups(digests), [part.dataset.images for part in parts.values()])
    groups = []
    for rows in joined:
        if len(rows) > 1:
            exact = len({digests[i] for i in rows}) == 1
            named = tuple(labels[i] for i in rows)
            groups.append(
                DuplicateGroup(
                    kind="exact" if exact else "near",
                    files=tuple(names[i] for i in rows),
                    labels=named if any(named) else (),
                    splits=tuple(splits[i] for i in rows),
                )
            )
    return tuple(sorted(groups, key=lambda g: (not g.in_both_parts, not g.labels_differ)))
