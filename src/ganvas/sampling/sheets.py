"""Sheets: many images in one PNG, side by side or in a table with captions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ganvas.system import files
from ganvas.system.marks import SHEET_MARK

if TYPE_CHECKING:
    from ganvas.data.pixels import Pixels  # whose module imports torch

_PAPER, _INK = 255, 0


def grid(images: Pixels, columns: int, gap: int = 0, scale: int = 1) -> Pixels:
    """Lay out images (N, H, W, C) row by row in one (H', W', C).

    gap: pixels of white between images.
    scale: width and height of each image's pixels.
    """
    n, height, width, channels = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    height, width = height * scale + gap, width * scale + gap
    cells = np.full((rows * columns, height, width, channels), _PAPER, np.uint8)
    cells[:n, : height - gap, : width - gap] = images.repeat(scale, 1).repeat(scale, 2)
    sheet = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, channels)
    return sheet[: rows * height - gap, : columns * width - gap]


def picture(pixels: Pixels) -> Image.Image:
    """Turn (H, W, C), C one of 1, 3, 4, into a Pillow image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def png(pixels: Pixels) -> bytes:
    """Encode an image (H, W, C) as PNG, without a mark: it may become data."""
    buffer = io.BytesIO()
    picture(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def marked_png(image: Image.Image, *, optimize: bool = False) -> bytes:
    """Encode a sheet or figure as PNG, with the mark that keeps it from being read as data.

    optimize: make the file as small as possible, which takes longer.
    """
    text = PngInfo()
    for key, value in SHEET_MARK.items():
        text.add_text(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=optimize, pnginfo=text)
    return buffer.getvalue()


def save_png(path: Path, pixels: Pixels) -> None:
    """Write a sheet (H, W, C) as a marked PNG, whole or not at all. Raises RunError if the disk
    refuses."""
    files.write(path, marked_png(picture(pixels)))


def viewing_scale(height: int, width: int) -> int:
    """Factor that enlarges a small image to about 64 pixels."""
    return max(1, round(64 / max(height, width)))


def save_sheet(path: Path, images: Pixels, columns: int) -> None:
    """Write a PNG of images (N, H, W, C), enlarged for viewing. Raises RunError as `save_png`."""
    scale = viewing_scale(*images.shape[1:3])
    save_png(path, grid(images, columns, gap=2, scale=scale))


def captioned(panels: Sequence[tuple[str, Image.Image]], columns: int, title: str = "") -> bytes:
    """Lay out (caption, image) pairs in a table on white, each image under its caption, as PNG."""
    font, margin, line = ImageFont.load_default(16), 12, 24
    caption_height = line if any(text for text, _ in panels) else 0
    width = max(max(image.width, round(font.getlength(text))) for text, image in panels) + margin
    height = max(image.height for _, image in panels) + caption_height + margin
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    top = line + margin if title else margin // 2
    across = max(columns * width, round(font.getlength(title))) + margin
    paper = Image.new("RGB", (across, rows * height + top), (_PAPER,) * 3)
    draw = ImageDraw.Draw(paper)
    draw.text((margin, margin // 2), title, (_INK,) * 3, font)
    for i, (text, image) in enumerate(panels):
        x, y = margin + i % columns * width, top + i // columns * height
        draw.text((x, y), text, (_INK,) * 3, font)
        mask = image.getchannel("A") if image.mode == "RGBA" else None
        paper.paste(image.convert("RGB"), (x, y + caption_height), mask)
    return marked_png(paper)


def save_pairs(path: Path, left: Pixels, right: Pixels, title: str) -> None:
    """Write a PNG of pairs of images, both (N, H, W, C), four pairs in a row."""
    scale = viewing_scale(*left.shape[1:3])
    table = picture(grid(np.concatenate([left, right], 2), 4, gap=10, scale=scale))
    files.write(path, captioned([("", table)], 1, title))


def sheet_classes(count: int, classes: int) -> list[int]:
    """Class of each image of a sheet: 0, 1, ... in turn, or a spread if they exceed `count`."""
    if classes > count:
        return [k * (classes - 1) // max(1, count - 1) for k in range(count)]
    return [k % classes for k in range(count)]
