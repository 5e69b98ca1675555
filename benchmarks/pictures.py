"""Coloured pictures of 64x64, drawn from random numbers: gradients, discs, stripes, simple scenes.

Colours, places, angles and sizes vary continuously, so that a generator can learn what no single
picture shows, and a copy differs from a picture of the same kind.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float64]

SIDE, SEED = 64, 2026
TRAINING, HELD_OUT = 200, 1000
# (H, W, 1) each, in (0, 1)
Y, X = (axis[..., None] for axis in (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE)


def folder(path: Path) -> Path:
    """Return `path`, drawing the pictures first if it does not exist.

    train/ holds the pictures to train on, test/ more of the kind, held out.
    """
    if not path.exists():
        half = path.with_name(f".{path.name}.half")  # moved into place once it is complete
        shutil.rmtree(half, ignore_errors=True)
        for part, numbers in (
            ("train", range(TRAINING)),
            ("test", range(TRAINING, TRAINING + HELD_OUT)),
        ):
            (half / part).mkdir(parents=True)
            for number in numbers:
                Image.fromarray(draw(number)).save(half / part / f"{number:04}.png")
        half.rename(path)
    return path


def draw(number: int) -> NDArray[np.uint8]:
    """Picture `number`, always the same: uint8 (64, 64, 3)."""
    rng = np.random.Generator(np.random.Philox(key=[SEED, number]))
    kind = (_gradient, _disc, _stripes, _scene)[number % 4]
    return np.round(255 * np.clip(kind(rng), 0, 1)).astype(np.uint8)


def diversity(images: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Mean distance between two images, in pixels, relative to that of the reference's.

    0 if all images are equal, 1 if they are as varied as the reference. Both uint8 (N, H, W, C).
    """
    return _mean_distance(images) / _mean_distance(reference)


def held_out(path: Path, count: int) -> NDArray[np.uint8]:
    """The first held-out pictures of a folder made by `folder`: uint8 (count, 64, 64, 3)."""
    return np.stack(
        [np.asarray(Image.open(file)) for file in sorted((path / "test").iterdir())[:count]]
    )


def _mean_distance(images: NDArray[np.uint8]) -> float:
    rows = images.reshape(len(images), -1).astype(np.float64) / 255
    squares = (rows**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))
    np.fill_diagonal(distances, 0)
    return float(distances.sum() / (len(images) * (len(images) - 1)))


def _colour(rng: np.random.Generator) -> Pixels:
    return rng.uniform(0.05, 0.95, 3)


def _blend(one: Pixels, other: Pixels, share: Pixels) -> Pixels:
    """`one` where the share is 0, `other` where it is 1."""
    mixed: Pixels = one + (other - one) * np.clip(share, 0, 1)
    return mixed


def _inside(depth: Pixels) -> Pixels:
    """1 inside, where `depth` (in picture widths) is positive, else 0; the edge is two pixels."""
    return np.clip(0.5 + depth * SIDE / 2, 0, 1)


def _along(rng: np.random.Generator) -> Pixels:
    """Values from -0.7 to 0.7 that grow in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    along: Pixels = np.cos(angle) * (X - 0.5) + np.sin(angle) * (Y - 0.5)
    return along


def _gradient(rng: np.random.Generator) -> Pixels:
    return _blend(_colour(rng), _colour(rng), 0.5 + rng.uniform(0.6, 1.2) * _along(rng))


def _disc(rng: np.random.Generator) -> Pixels:
    x, y, radius = rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75), rng.uniform(0.1, 0.3)
    return _blend(_gradient(rng), _colour(rng), _inside(radius - np.hypot(X - x, Y - y)))


def _stripes(rng: np.random.Generator) -> Pixels:
    waves = np.sin(2 * np.pi * (rng.uniform(1.5, 5) * _along(rng) + rng.uniform()))
    return _blend(_colour(rng), _colour(rng), 0.5 + 0.5 * waves)


def _scene(rng: np.random.Generator) -> Pixels:
    """Hills below a sky with a sun."""
    sky = _blend(_colour(rng), _colour(rng), Y / 0.7)
    x, y, radius = rng.uniform(0.15, 0.85), rng.uniform(0.12, 0.4), rng.uniform(0.06, 0.14)
    sunny = _blend(sky, np.array([1.0, 0.9, 0.5]), _inside(radius - np.hypot(X - x, Y - y)))
    top = rng.uniform(0.5, 0.75) + rng.uniform(0.02, 0.12) * np.sin(
        2 * np.pi * (rng.uniform(0.5, 2) * X + rng.uniform())
    )
    return _blend(sunny, _blend(_colour(rng), _colour(rng), (Y - top) / 0.4), _inside(Y - top))
