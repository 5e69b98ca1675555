"""StackedMNIST: three digits as the red, green and blue channel of one picture, whose class is the
number they make.

1,000 classes that a classifier of single digits can tell: how many of them a GAN makes is how many
modes it has kept (Metz et al. 2017, arXiv 1611.02163; Lin et al. 2018, arXiv 1712.04086). Unlike
there, each number is equally often,
picture i shows number i modulo 1,000: the classes of a perfect sampler are uniform, and so are
those of any beginning.
"""

from __future__ import annotations

import numpy as np

from ganvas.data.assemble import Labels, Pixels

STACK_SEED = 1000
NUMBERS = tuple(f"{number:03d}" for number in range(1000))
STACKS = {"train": 60_000, "test": 10_000}


def stacked(digits: Pixels, labels: Labels, count: int) -> tuple[Pixels, Labels]:
    """`count` pictures uint8 (N, H, W, 3) and their numbers int64 (N,), from grey digits (M, H, W)
    with labels (M,).

    Each channel takes its digit's picture at random from all of that digit, with replacement, by
    NumPy's Philox of STACK_SEED. Every digit from 0 to 9 must occur.
    """
    numbers = np.arange(count) % len(NUMBERS)
    wanted = np.stack([numbers // 100, numbers // 10 % 10, numbers % 10], 1)  # (N, 3)
    there = np.bincount(labels, minlength=10)
    sorted_by_digit, first = np.argsort(labels, kind="stable"), np.cumsum(there) - there
    drawn = np.random.Philox(STACK_SEED).random_raw(wanted.shape) % there[wanted].astype(np.uint64)
    return (
        np.moveaxis(digits[sorted_by_digit[first[wanted] + drawn.astype(np.int64)]], 1, 3),
        numbers,
    )
