"""Latents: the numbers that image k of seed s is made from, the same in every language.

They are normal numbers made from the counters of Philox4x64-10 (Salmon et al. 2011, Parallel Random
Numbers: As Easy as 1, 2, 3), whose 64-bit integers are the same everywhere, by the transform of Box
and Muller 1958. Its logarithm, sine and cosine may differ in the last bit of a 64-bit float from
one machine to another. Rounded to 32 bits, such a bit is next to never seen.

Image k of seed s has the key (s, k). Its block b, counter (b, 0, 0, 0), gives values 4b to 4b + 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import SettingError

Words = NDArray[np.uint64]
Normals = NDArray[np.float32]

LATENT_DRAW = 2  # the version of the draw that new generators have; 1 is NumPy's `standard_normal`
ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # added to the key in each round
HALF = np.uint64(32)  # bits of a word
LOW = np.uint64(2**32 - 1)


def latents(
    indices: Sequence[int] | NDArray[np.int64], seed: int, z_dim: int, draw: int = LATENT_DRAW
) -> Normals:
    """Draw latents float32 (N, z_dim) from N(0, 1), one for each index of a seed.

    So image k of a seed has the same latent in any batch, on any device or runtime.

    indices: from 0 to 2**64 - 1.
    seed: from 0 to 2**64 - 1.
    draw: version of the draw, which a generator's card names.
    Raises SettingError for a seed out of range.
    """
    if not 0 <= seed < 2**64:
        raise SettingError(f"seed {seed}: expected a whole number from 0 to 2**64 - 1")
    return _DRAWS[draw](np.asarray(indices, np.uint64), seed, z_dim)


def philox(blocks: Words, keys: tuple[Words, Words]) -> tuple[Words, Words, Words, Words]:
    """Return the four words of Philox4x64-10 for each counter (block, 0, 0, 0) and key.

    blocks, keys: arrays of shapes that broadcast together.
    """
    shape = np.broadcast_shapes(blocks.shape, keys[0].shape)
    zero = np.zeros(shape, np.uint64)
    words = (np.broadcast_to(blocks, shape), zero, zero, zero)
    first, second = (np.uint64(each) for each in MULTIPLIERS)
    for _ in range(ROUNDS):
        high0, low0 = _product(first, words[0])
        high1, low1 = _product(second, words[2])
        words = (high1 ^ words[1] ^ keys[0], low1, high0 ^ words[3] ^ keys[1], low0)
        keys = keys[0] + np.uint64(KEY_STEPS[0]), keys[1] + np.uint64(KEY_STEPS[1])
    return words


def _product(a: np.uint64, b: Words) -> tuple[Words, Words]:
    """Return the high and the low 64 bits of a product of 128 bits."""
    a_high, a_low, b_high, b_low = a >> HALF, a & LOW, b >> HALF, b & LOW
    low, cross = a_low * b_low, a_high * b_low
    middle = a_low * b_high + (low >> HALF) + (cross & LOW)
    return a_high * b_high + (cross >> HALF) + (middle >> HALF), a * b


def _normals(word0: Words, word1: Words) -> tuple[Normals, Normals]:
    """Return two independent standard normal numbers for each two words (Box-Muller).

    The upper 53 bits of a word, plus a half, are a number between 0 and 1, neither included.
    """
    u, v = ((word >> np.uint64(11)).astype(np.float64) + 0.5 for word in (word0, word1))
    radius, angle = np.sqrt(-2 * np.log(u * 2.0**-53)), 2 * np.pi * (v * 2.0**-53)
    return (radius * np.cos(angle)).astype(np.float32), (radius * np.sin(angle)).astype(np.float32)


def _counted(indices: Words, seed: int, z_dim: int) -> Normals:
    """Draw by Philox and Box-Muller: version 2."""
    blocks = np.arange(-(-z_dim // 4), dtype=np.uint64)
    with np.errstate(over="ignore"):  # words are whole numbers modulo 2**64
        words = philox(blocks, (np.uint64(seed).reshape(1, 1), indices.reshape(-1, 1)))
    values = np.stack([*_normals(*words[:2]), *_normals(*words[2:])], 2)
    return values.reshape(len(indices), -1)[:, :z_dim].copy()


def _numpys(indices: Words, seed: int, z_dim: int) -> Normals:
    """Draw by NumPy's `standard_normal`, whose stream NumPy does not promise to keep: version 1."""
    z = np.empty((len(indices), z_dim), np.float32)
    for row, index in zip(z, indices, strict=True):
        key = np.array([seed, index], np.uint64)
        np.random.Generator(np.random.Philox(key=key)).standard_normal(out=row, dtype=np.float32)
    return z


_DRAWS: dict[int, Callable[[Words, int, int], Normals]] = {1: _numpys, 2: _counted}
