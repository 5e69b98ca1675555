"""Sheets of samples for docs/pictures.md: small PNGs, marked as sheets, so never read as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.sampling import sheets
from ganvas.system import files

COLUMNS = ROWS = 8
MAX_BYTES = 250_000
COLOURS = (256, 128, 64, 32, 16)  # 16 take half a byte a pixel, less than MAX_BYTES in all


def save_samples(images: NDArray[np.uint8], path: Path) -> None:
    """Write a sheet of the first ROWS x COLUMNS samples, with fewer colours if it gets too large.

    images: uint8 (N, H, W, C), transparent ones are laid on white.
    Raises RunError if the disk refuses.
    """
    sheet = laid_out(images)
    encoded = sheets.marked_png(sheet, optimize=True)
    for colours in COLOURS:
        if len(encoded) <= MAX_BYTES:
            break
        encoded = sheets.marked_png(sheet.quantize(colours), optimize=True)
    files.write(path, encoded)


def laid_out(images: NDArray[np.uint8]) -> Image.Image:
    """The sheet as an image, grey or RGB."""
    count = len(images)
    assert count >= ROWS * COLUMNS, f"{count} samples, expected {ROWS * COLUMNS}"
    scale = sheets.viewing_scale(*images.shape[1:3])
    sheet = sheets.picture(sheets.grid(images[: ROWS * COLUMNS], COLUMNS, scale=scale))
    if sheet.mode != "RGBA":
        return sheet
    white = Image.new("RGBA", sheet.size, "white")
    return Image.alpha_composite(white, sheet).convert("RGB")
