"""StackedMNIST's 1,000 numbers, told by a classifier of single digits: its channels are looked at
one by one."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ganvas.data import stacked
from ganvas.data.dataset import Dataset
from ganvas.evaluation.extractors import Extractor, Features

STACK_CLASSES = stacked.NUMBERS
MODES_N = 26_000  # images whose modes are counted, as in Lin et al. 2018 (arXiv 1712.04086)


def are_stacks(dataset: Dataset) -> bool:
    """Whether a data set is of stacks: three channels, and the numbers 000 to 999 as classes."""
    return dataset.channels == 3 and dataset.classes == STACK_CLASSES


def first_channels(dataset: Dataset) -> Dataset:
    """Of each stack the first digit: images like those that a classifier of digits takes, without
    labels."""
    return Dataset(f"the digits of {dataset.name}", dataset.images[:, :1].contiguous())


def extractor_of(digits: Extractor) -> Extractor:
    """A classifier of ten digits as one of stacks: features of three channels in a row, and a
    number's probability is the product of its digits'."""
    return Extractor(
        name=f"{digits.name} x 3",
        sha256=digits.sha256,
        classes=STACK_CLASSES,
        spec=None,
        resize=digits.resize,
        notes=digits.notes,
        take=partial(_take, digits),
        learned=digits.learned,
    )


def _take(digits: Extractor, images: Tensor) -> Features:
    parts = [digits(images[:, c : c + 1].contiguous()) for c in range(3)]
    features = torch.cat([part.features for part in parts], 1)
    a, b, c = (part.probabilities for part in parts if part.probabilities is not None)
    return Features(features, torch.einsum("ni,nj,nk->nijk", a, b, c).flatten(1))
