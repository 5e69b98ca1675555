"""StackedMNIST: three digits as the channels of one RGB image, whose class is their number.

A classifier of single digits tells its 1,000 classes apart. The number of classes that a GAN
generates is the number of modes it covers (Metz et al. 2017, arXiv 1611.02163; Lin et al. 2018,
arXiv 1712.04086). Unlike available, all numbers are equally frequent: image i shows number i modulo
1,000, so the first N images are balanced too.
"""

from __future__ import annotations

import numpy as np

from ganvas.data.assemble import Labels
from ganvas.data.pixels import Pixels

STACK_SEED = 1000
NUMBERS = tuple(f"{number:03d}" for number in range(1000))
STACKS = {"train": 60_000, "test": 10_000}


def stacked(digits: Pixels, labels: Labels, count: int) -> tuple[Pixels, Labels]:
    """Compose images uint8 (count, H, W, 3) and their numbers int64 (count,).

    digits, labels: uint8 (M, H, W) and int64 (M,); each digit from 0 to 9 must occur.
    Each channel is an image of its digit, drawn with replacement by NumPy's Philox of STACK_SEED.
    """
    numbers = np.arange(count) % len(NUMBERS)
    shown = np.stack([numbers // 100, numbers // 10 % 10, numbers % 10], 1)  # (N, 3)
    available = np.bincount(labels, minlength=10)
    by_digit, first = np.argsort(labels, kind="stable"), np.cumsum(available) - available
    raw = np.random.Philox(STACK_SEED).random_raw(shown.shape)
    drawn = (raw % available[shown].astype(np.uint64)).astype(np.int64)
    return np.moveaxis(digits[by_digit[first[shown] + drawn]], 1, 3), numbers
