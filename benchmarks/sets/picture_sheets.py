"""Sheets of samples for docs/pictures.md: small PNGs, marked as sheets, so never read as data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganvas.system import files
from ganvas.system.marks import SHEET_MARK

COLUMNS = ROWS = 8
SIDE = 64  # pixels; smaller samples are enlarged to about this
MAX_BYTES = 250_000
COLOURS = (256, 128, 64, 32, 16)  # 16 take half a byte a pixel, less than MAX_BYTES in all


def save_samples(images: NDArray[np.uint8], path: Path) -> None:
    """Write a sheet of the first ROWS x COLUMNS samples, with fewer colours if it gets too large.

    images: uint8 (N, H, W, C), transparent ones are laid on white.
    Raises RunError if the disk refuses.
    """
    sheet = laid_out(images)
    encoded = _encoded(sheet)
    for colours in COLOURS:
        if len(encoded) <= MAX_BYTES:
            break
        encoded = _encoded(sheet.quantize(colours))
    files.write(path, encoded)


def laid_out(images: NDArray[np.uint8]) -> Image.Image:
    """The sheet as an image, grey or RGB."""
    count, height, width, channels = images.shape
    assert count >= ROWS * COLUMNS, f"{count} samples, expected {ROWS * COLUMNS}"
    grid = images[: ROWS * COLUMNS].reshape(ROWS, COLUMNS, height, width, channels)
    pixels = grid.swapaxes(1, 2).reshape(ROWS * height, COLUMNS * width, channels)
    scale = max(1, round(SIDE / max(height, width)))
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    sheet = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    if channels < 4:
        return sheet
    white = Image.new("RGBA", sheet.size, "white")
    return Image.alpha_composite(white, sheet).convert("RGB")


def _encoded(sheet: Image.Image) -> bytes:
    mark = PngInfo()
    for key, value in SHEET_MARK.items():
        mark.add_text(key, value)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True, pnginfo=mark)
    return buffer.getvalue()
