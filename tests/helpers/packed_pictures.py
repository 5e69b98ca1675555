"""Self-made pictures as the files of packages."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def disc(width: int, height: int) -> Image.Image:
    """A filled ellipse with a rim, which touches the edges of its transparent ground."""
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    draw.ellipse((0, 0, width - 1, height - 1), (200, 60, 20, 255), outline=(20, 60, 200, 255))
    return image


def noise(seed: int, width: int, height: int, channels: int = 3) -> Image.Image:
    """Random pixels: grey, RGB or RGBA."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, channels), np.uint8).squeeze())
