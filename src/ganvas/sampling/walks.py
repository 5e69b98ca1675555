"""Walk: where a set of images lies among the latents: at a seed, on the way to others, around one.

Latents of a length other than usual make poor images, so ways go along the sphere (White 2016,
arXiv 1609.04468).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import SettingError
from ganvas.sampling.latents import latents

Latents = NDArray[np.float32]

MAX_TRUNCATION = 4.0  # beyond it images are noise
MAX_WAY = 10_000
FIRST_VARIATION = 2**63  # index of the first latent that variations go to; no image has it


class Latent(Protocol):
    """Members of a generator that its latents follow from."""

    @property
    def z_dim(self) -> int: ...

    @property
    def draw(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The latents of a set of images; those of a seed unless more is given.

    truncation: factor of all latents. Below 1, images are more usual and less varied (Brock et al.
        2019, arXiv 1809.11096, section 3.1).
    steps: images from one seed to the next, both included; 0 for one seed alone.
    to: the seeds to go to, in turn. Default: the next one.
    vary: index of an image that the others are variations of.
    amount: of variation, 0 to 1: the share of a latent's variance that is drawn anew.
    Raises SettingError for values out of range, or that contradict each other.
    """

    truncation: float = 1.0
    steps: int = 0
    to: tuple[int, ...] = ()
    vary: int | None = None
    amount: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.truncation <= MAX_TRUNCATION:
            expected = f"expected a number from 0 to {MAX_TRUNCATION:g}; 1 changes nothing"
            raise SettingError(f"--truncation {self.truncation}: {expected}")
        if self.steps and not 2 <= self.steps <= MAX_WAY:
            raise SettingError(f"--interpolate {self.steps}: expected 2 to {MAX_WAY:,} steps")
        if self.to and not self.steps:
            raise SettingError("--to is where --interpolate goes: add --interpolate 8")
        if self.vary is not None and self.steps:
            raise SettingError("--vary stays around an image, --interpolate leaves it: give one")
        if self.vary is not None and not 0 <= self.vary < FIRST_VARIATION:
            raise SettingError(f"--vary {self.vary}: expected the index of an image, from 0")
        if not 0 <= self.amount <= 1:
            raise SettingError(f"--amount {self.amount}: expected a number from 0 to 1")

    def seeds(self, seed: int) -> list[int]:
        """Return the seeds on the way, from `seed` on."""
        if not self.steps:
            return [seed]
        return [seed, *(self.to or ((seed + 1) % 2**64,))]

    @property
    def frames(self) -> int:
        """Return the number of sets of images: 1, or the steps of all ways, where the ends of two
        are one."""
        return 1 + max(1, len(self.to)) * (self.steps - 1) if self.steps else 1

    def latents(self, of: Latent, count: int, seed: int) -> Iterator[Latents]:
        """Yield the latents (count, z_dim) of each frame.

        of: the generator.
        count: images of a frame.
        """
        if self.vary is not None:
            yield self._scaled(self._around(of, self.vary, range(count), seed))
            return
        seeds = self.seeds(seed)
        here = latents(range(count), seeds[0], of.z_dim, of.draw)
        yield self._scaled(here)
        for following in seeds[1:]:
            there = latents(range(count), following, of.z_dim, of.draw)
            for step in range(1, self.steps):
                yield self._scaled(slerp(here, there, step / (self.steps - 1)))
            here = there

    def _around(self, of: Latent, image: int, indices: Sequence[int], seed: int) -> Latents:
        """Return the image's own latent as the first, and others that differ by `amount`."""
        own = latents([image], seed, of.z_dim, of.draw)
        others = [FIRST_VARIATION + index for index in indices]
        drawn = latents(others, seed, of.z_dim, of.draw)
        amount = np.array([[0.0 if index == 0 else self.amount] for index in indices])
        mixed: Latents = (np.sqrt(1 - amount) * own + np.sqrt(amount) * drawn).astype(np.float32)
        return mixed

    def _scaled(self, z: Latents) -> Latents:
        return z if self.truncation == 1 else (z * np.float32(self.truncation))


PLAIN_WALK = Walk()


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse --to, seeds separated by commas. Raises SettingError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) < 2**64 for part in parts):
        raise SettingError(f"--to {text}: expected seeds, such as 7 or 7,9,3")
    return tuple(map(int, parts))


def slerp(start: Latents, end: Latents, part: float) -> Latents:
    """Interpolate latents (N, z_dim) along the sphere (Shoemake 1985, Animating Rotation).

    part: 0 for `start`, 1 for `end`.
    """
    if part in (0, 1):
        return end if part else start
    a, b = start.astype(np.float64), end.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = ((a * b).sum(1) / np.maximum(norms, 1e-12)).clip(-1, 1)
    angle = np.arccos(cosine)[:, None]
    # Latents that point the same way, or the opposite one, have no angle to divide by.
    flat = np.sin(angle) < 1e-6
    safe = np.where(flat, math.pi / 2, angle)
    weights = [
        np.where(flat, share, np.sin(share * safe) / np.sin(safe)) for share in (1 - part, part)
    ]
    mixed: Latents = (weights[0] * a + weights[1] * b).astype(np.float32)
    return mixed
