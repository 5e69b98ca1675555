"""The sheet of `ganvas data inspect`: a row of each class, and the images unlike the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from ganvas.data import Dataset
from ganvas.data.oddities import Oddity
from ganvas.sampling.sheets import marked_png, picture, viewing_scale
from ganvas.system import files
from ganvas.system.text import printable

MAX_CLASSES, CLASS_COLUMNS = 20, 12
PLAIN_ROWS, PLAIN_COLUMNS = 8, 16  # without classes
MAX_CELL = 96  # pixels per side of an image that is shown
GAP, BORDER = 4, 12
FONT_SIZE, MAX_NAME = 15, 180  # pixels
_INK, _PALE, _PAPER = (0, 0, 0), (120, 120, 120), (255, 255, 255)


@dataclass(frozen=True)
class _Row:
    """A row of the sheet: name and count at its left, images with a number below each or none."""

    name: str
    count: str
    images: list[Image.Image]
    numbered: bool = False


def save_inspection(path: Path, data: Dataset, strangest: Sequence[Oddity]) -> None:
    """Write the sheet as a PNG. Raises RunError if the disk refuses.

    strangest: shown in a last row, numbered from 1.
    """
    rows = _class_rows(data) if data.classes else _plain_rows(data)
    if strangest:
        shown = [_cell(data, odd.index) for odd in strangest]
        rows.append(_Row("unusual", "", shown, numbered=True))
    files.write(path, marked_png(_draw(rows)))


def _class_rows(data: Dataset) -> list[_Row]:
    assert data.labels is not None
    present = data.present.tolist()
    rows = []
    for place in _spread(len(present), MAX_CLASSES):
        k = present[place]
        of = torch.nonzero(data.labels == k).flatten().tolist()
        images = [_cell(data, of[i]) for i in _spread(len(of), CLASS_COLUMNS)]
        name = printable(data.classes[k])
        if _font(name) is None:  # better than empty boxes
            name = f"class {k + 1} of {len(data.classes)}"
        rows.append(_Row(name, f"{len(of):,}", images))
    return rows


def _plain_rows(data: Dataset) -> list[_Row]:
    cells = [_cell(data, i) for i in _spread(len(data), PLAIN_ROWS * PLAIN_COLUMNS)]
    return [_Row("", "", cells[i : i + PLAIN_COLUMNS]) for i in range(0, len(cells), PLAIN_COLUMNS)]


def _spread(n: int, most: int) -> list[int]:
    """At most `most` of n places, evenly spaced."""
    shown = min(n, most)
    return [i * n // shown for i in range(shown)]


def _cell(data: Dataset, index: int) -> Image.Image:
    """An image in the size in which it is shown, transparent parts white."""
    image = picture(data.images[index].permute(1, 2, 0).contiguous().numpy())
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    scale = viewing_scale(data.height, data.width)
    if scale > 1:
        size = data.width * scale, data.height * scale
        return image.convert("RGB").resize(size, Image.Resampling.NEAREST)
    image = image.convert("RGB")
    image.thumbnail((MAX_CELL, MAX_CELL), Image.Resampling.LANCZOS)
    return image


def _draw(rows: Sequence[_Row]) -> Image.Image:
    """Lay rows out below each other."""
    width, height = rows[0].images[0].size
    names = max((_text_width(row.name) for row in rows), default=0)
    left = BORDER + (min(names, MAX_NAME) + BORDER if names else 0)
    line = FONT_SIZE + 4
    columns = max(len(row.images) for row in rows)
    below = [GAP + (line if row.numbered else 0) for row in rows]
    apart = [BORDER if row.numbered and len(rows) > 1 else 0 for row in rows]
    size = (
        left + columns * (width + GAP) + BORDER,
        sum(below + apart) + len(rows) * height + 2 * BORDER,
    )
    paper = Image.new("RGB", size, _PAPER)
    draw, y = ImageDraw.Draw(paper), BORDER
    small = _font("0")
    for row, space, above in zip(rows, below, apart, strict=True):
        y += above
        middle = y + height // 2
        if row.name:
            lines = 2 if row.count else 1
            name, font = _shortened(row.name), _font(row.name)
            draw.text((BORDER, middle), name, _INK, font, anchor="lm" if lines == 1 else "ld")
        if row.count:
            draw.text((BORDER, middle + 2), row.count, _PALE, small, anchor="la")
        for i, image in enumerate(row.images):
            x = left + i * (width + GAP)
            paper.paste(image, (x, y))
            if row.numbered:
                draw.text((x + width // 2, y + height + 2), str(i + 1), _PALE, small, anchor="ma")
        y += height + space
    return paper


def _shortened(name: str) -> str:
    """A name that fits into the column of names."""
    if _text_width(name) <= MAX_NAME:
        return name
    while name and _text_width(name + "…") > MAX_NAME:
        name = name[:-1]
    return name + "…"


def _text_width(text: str) -> int:
    font = _font(text)
    return 0 if font is None else round(font.getlength(text))


@cache
def _font(text: str) -> ImageFont.FreeTypeFont | None:
    """A font that has all characters of a text; None if this machine has none.

    matplotlib's own has those of Latin, Greek and Cyrillic; for others the system's are searched.
    """
    package = find_spec("matplotlib")  # found without the time to import it
    assert package is not None
    own = str(Path(str(package.origin)).with_name("mpl-data") / "fonts" / "ttf" / "DejaVuSans.ttf")
    if text.isascii() or font_with(text, [own]):
        return ImageFont.truetype(own, FONT_SIZE)
    from matplotlib.font_manager import findSystemFonts

    path = font_with(text, sorted(findSystemFonts()))
    return None if path is None else ImageFont.truetype(path, FONT_SIZE)


def font_with(text: str, paths: Iterable[str]) -> str | None:
    """The first of some font files that has all characters of a text; None if none has."""
    from fontTools.ttLib import TTFont, TTLibError

    wanted = {ord(character) for character in text if not character.isspace()}
    for path in paths:
        try:
            with open(path, "rb") as stream, TTFont(stream, fontNumber=0, lazy=True) as font:
                known = font.getBestCmap() or {}
        except (OSError, TTLibError, AssertionError, KeyError):  # not a font that Pillow can use
            continue
        if wanted <= known.keys():
            return path
    return None
