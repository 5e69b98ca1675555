"""Random draws of a training, from generators seeded by (seed, purpose, position).

No random state needs saving: a resumed training draws what it would have drawn. Draws are made for
the whole batch on the CPU and each process takes its part, so they depend neither on the device nor
on the number of processes.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, purpose: str, position: int) -> torch.Generator:
    """A CPU generator for a purpose ("order", "z", ...) and position (images seen or epoch)."""
    # CPU generators use 32 bits of a seed: two draws in billions share a stream, at unrelated
    # positions
    return torch.Generator().manual_seed(_key(seed, purpose, position) % 2**32)


def _key(seed: int, purpose: str, position: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{purpose}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def bits(seed: int, purpose: str, position: int) -> np.random.SFC64:
    """Like `generator`, in raw bits for masks: three times as fast."""
    return np.random.SFC64(_key(seed, purpose, position))


def kept(source: np.random.SFC64, shape: tuple[int, ...], p: float) -> Tensor:
    """Draw a bool mask of the given shape: False with probability p, to one part in 2**32."""
    count = math.prod(shape)
    raw = source.random_raw((count + 1) // 2).view(np.uint32)[:count]
    return torch.from_numpy(raw >= np.uint32(p * 2**32)).view(shape)


class EpochOrder:
    """The endless order of images: shuffled epochs, each with every image once.

    A batch may span two epochs, or more if the data set is smaller, so that no batch is short.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def indices(self, start: int, count: int) -> Tensor:
        """Indices int64 (count,) of the images at positions start to start + count - 1."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, self.size)
            if epoch != self._epoch:
                rng = generator(self.seed, "order", epoch)
                self._epoch, self._permutation = epoch, torch.randperm(self.size, generator=rng)
            parts.append(self._permutation[offset : offset + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)
