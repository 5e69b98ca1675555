"""Warnings of what in a data set will harm a training, each with what helps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ganvas.data.dataset import Dataset
from ganvas.data.duplicates import DuplicateGroup
from ganvas.system.text import count, first_few

MIN_TO_LEARN = 100  # the fewest that a recipe is known to generalise from are 200
MIN_IN_CLASS = 20
UNEQUAL = 10  # images of the largest class to one of the smallest
MAX_EXAMPLES = 3


def concerns(data: Dataset, groups: Sequence[DuplicateGroup]) -> tuple[str, ...]:
    """List what will harm a training, one sentence each.

    data: the train part.
    groups: see `duplicate_groups`.
    """
    return (*_few(data), *_classes(data), *_duplicates(groups))


def _few(data: Dataset) -> Iterator[str]:
    if len(data) < MIN_TO_LEARN:
        yield (
            f"{count(len(data), 'image')} to train on will be learned by heart: give some hundreds"
            " or more, start from a trained run with --from, and use --flip if mirrored ones look"
            " right"
        )


def _classes(data: Dataset) -> Iterator[str]:
    if data.labels is None:
        return
    numbers = torch.bincount(data.labels, minlength=len(data.classes)).tolist()
    sizes = sorted((n, name) for n, name in zip(numbers, data.classes, strict=True) if n)
    tiny = [(n, name) for n, name in sizes if n < MIN_IN_CLASS]
    if tiny:
        named = first_few((f"{name} {n}" for n, name in tiny), MAX_EXAMPLES)
        yield (
            f"{count(len(tiny), 'class')} with fewer than {MIN_IN_CLASS} images to train on"
            f" ({named}): add images, join classes, or leave them out"
        )
    (least, small), (most, large) = sizes[0], sizes[-1]
    if most >= UNEQUAL * least:
        yield (
            f"classes are unequal: {large} has {most:,} images, {most // least:,} times as many as"
            f" {small}: rare ones are seldom seen and learned last; add to them, or leave some of"
            " the others out"
        )


def _duplicates(groups: Sequence[DuplicateGroup]) -> Iterator[str]:
    for applies, what, cure in (
        (
            [group for group in groups if group.in_both_parts],
            "in both parts, so that the held-out part measures what was trained on",
            "remove them from one",
        ),
        (
            [group for group in groups if group.labels_differ],
            "with different labels",
            "keep one of each",
        ),
    ):
        if applies:
            named = first_few((" = ".join(group.files[:3]) for group in applies), MAX_EXAMPLES)
            yield f"{count(len(applies), 'group')} of duplicates {what} ({named}): {cure}"
