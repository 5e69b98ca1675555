"""Pictures of letters and Chinese characters, drawn from the fonts of packages."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from pathlib import PurePosixPath
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ganvas.errors import DataError
from ganvas.system.text import count
from sets.set_makers import Item, Made, Members, png

SIDE, INK = 32, 26  # pixels: of a letter's picture, and of the longer side of the letter
EM = 96  # pixels an em, from which letters are reduced
MAX_GLYPH = 1500  # pixels, at this size; larger ones are broken
MAX_LETTERS = 30_000
MAX_FONTS = 40  # of one folder of a package
MIN_LEGIBLE = 13  # letters of 26 that look most like the mean of their own class
MIN_DIFFERENCE = 0.02  # mean over cells of 4x4 pixels, as a part of black

HANZI_SIDE, HANZI_EM = 64, 60
MISSING = "\uffff"  # no character: fonts draw their sign for missing ones

# names of fonts that have other things in the letters' places
SYMBOLS = re.compile(
    "symbol|dingbat|barcode|emoji|icon|ornament|braille|music|awesome|chess|flag|segment|dseg"
    r"|math|astro|ext\d?\.|aegyptus|blank|pictogr|punct",
    re.IGNORECASE,
)

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating[Any]]


class Alphabet(NamedTuple):
    """The capital letters of a font.

    name: of the font, with the folders that it lies in.
    folder: the last of these.
    images: uint8 (26, 32, 32), dark on white.
    """

    name: str
    folder: str
    images: Pixels


def letters(members: Members) -> Made:
    """Capital letters of many fonts, grey, 32x32; a class for each letter.

    Fonts that lack letters are left out, and those with symbols in the letters' places, and those
    that look like another one.
    """
    found: list[Alphabet] = []
    left_out: Counter[str] = Counter()
    for name, content in members:
        try:
            found.append(alphabet(name, content))
        except DataError as error:
            left_out[str(error)] += 1
    found.sort(key=lambda font: font.name)
    legible_ones = legible(found)
    distinct_ones = distinct(legible_ones)
    kept = _limited(distinct_ones)
    left_out["not legible"] = len(found) - len(legible_ones)
    left_out["like another"] = len(legible_ones) - len(distinct_ones)
    left_out["too many"] = len(distinct_ones) - len(kept)
    reasons = ", ".join(f"{why} {number:,}" for why, number in left_out.items() if number)
    made = Made(notes=[f"{count(len(kept), 'font')}; others are left out: {reasons or 'none'}"])
    for letter, character in enumerate(ascii_uppercase):
        for font in kept:
            image = png(Image.fromarray(font.images[letter]))
            made.items.append(Item(f"{character}/{font.name}.png", image, font.name))
    return made


def hanzi(members: Members) -> Made:
    """Common Chinese characters in several styles, grey, 64x64; a class for each style."""
    made = Made()
    for name, content in members:
        style = PurePosixPath(name).stem.replace("CJK", "")
        font = chinese_font(name, content)
        missing = _character(font, MISSING)
        for character in common_characters():
            image = _character(font, character)
            if image == missing or image.getextrema() == (255, 255):
                raise DataError(f"{name} lacks {character}: its package has changed")
            made.items.append(Item(f"{style}/{ord(character):x}.png", png(image), character))
    return made


def common_characters() -> str:
    """The 3,755 common characters of simplified Chinese: the first level of GB 2312."""
    rows = range(0xB0, 0xD8)
    last = 0xD7F9
    codes = (row << 8 | cell for row in rows for cell in range(0xA1, 0xFF))
    return b"".join(code.to_bytes(2) for code in codes if code <= last).decode("gb2312")


def alphabet(name: str, content: bytes) -> Alphabet:
    """The letters of a font file. Raises DataError, with few words, if it does not have them."""
    path = PurePosixPath(name)
    if SYMBOLS.search(path.name):
        raise DataError("symbols by their names")
    try:
        font = _font(content, EM)
        images = [_letter(font, character) for character in ascii_uppercase]
        missing = _letter(font, MISSING)
    except (OSError, ValueError):
        raise DataError("unreadable") from None
    if any(image is None or image == missing for image in images):
        raise DataError("without all letters")
    parts = path.parts
    below = parts[parts.index("fonts") + 1 :] if "fonts" in parts else parts
    pixels = np.stack([np.asarray(image) for image in images])
    return Alphabet(re.sub(r"[^\w.+-]", "_", "-".join(below)), path.parent.name, pixels)


def legible(fonts: list[Alphabet]) -> list[Alphabet]:
    """The fonts of which at least half the letters look most like the mean of their own class."""
    kept = fonts
    for _ in range(3):  # the means become clearer as symbols drop out
        if not kept:
            return []
        means = _contrasts(np.mean([_dark(font) for font in kept], axis=0))
        kept = [font for font in fonts if _recognised(font, means) >= MIN_LEGIBLE]
    return kept


def distinct(fonts: list[Alphabet]) -> list[Alphabet]:
    """The fonts that differ from all before them."""
    cells = SIDE // 4
    kept: list[Alphabet] = []
    coarse = np.empty((len(fonts), len(ascii_uppercase) * cells * cells), np.float32)
    for font in fonts:
        row = _dark(font).reshape(-1, cells, 4, cells, 4).mean((2, 4)).ravel()
        distances = np.abs(coarse[: len(kept)] - row).mean(1)
        if distances.min(initial=1) >= MIN_DIFFERENCE:
            coarse[len(kept)] = row
            kept.append(font)
    return kept


def chinese_font(name: str, content: bytes) -> ImageFont.FreeTypeFont:
    """The font of a collection that has the forms of simplified Chinese."""
    try:
        for index in range(64):
            font = _font(content, HANZI_EM, index)
            if (font.getname()[0] or "").endswith(" SC"):
                return font
    except (OSError, ValueError):  # the collection has no more fonts, or is damaged
        pass
    raise DataError(f"{name} holds no font of simplified Chinese: its package has changed")


def _limited(fonts: list[Alphabet]) -> list[Alphabet]:
    """At most MAX_FONTS of a folder and MAX_LETTERS in all, chosen by a hash of the name."""
    shares: Counter[str] = Counter()
    kept: list[Alphabet] = []
    for font in sorted(fonts, key=lambda font: hashlib.sha256(font.name.encode()).digest()):
        shares[font.folder] += 1
        if shares[font.folder] <= MAX_FONTS:
            kept.append(font)
    return sorted(kept[: MAX_LETTERS // len(ascii_uppercase)], key=lambda font: font.name)


def _font(content: bytes, em: int, index: int = 0) -> ImageFont.FreeTypeFont:
    # the basic layout is the one that every installation of Pillow has
    basic = ImageFont.Layout.BASIC
    return ImageFont.truetype(io.BytesIO(content), em, index, layout_engine=basic)


def _letter(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """The character at the centre of its picture, as large as fits; None if nothing is drawn."""
    left, top, right, bottom = (round(edge) for edge in font.getbbox(character))
    if not (0 < right - left < MAX_GLYPH and 0 < bottom - top < MAX_GLYPH):
        return None
    drawn = Image.new("L", (right - left + 4, bottom - top + 4))
    ImageDraw.Draw(drawn).text((2 - left, 2 - top), character, font=font, fill=255)
    box = drawn.getbbox()
    if box is None:
        return None
    scale = INK / max(box[2] - box[0], box[3] - box[1])
    size = (max(1, round(scale * (box[2] - box[0]))), max(1, round(scale * (box[3] - box[1]))))
    ink = drawn.crop(box).resize(size, Image.Resampling.LANCZOS)
    image = Image.new("L", (SIDE, SIDE), 255)
    image.paste(0, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2), ink)
    return image


def _character(font: ImageFont.FreeTypeFont, character: str) -> Image.Image:
    """The character in its place within the square that all characters share."""
    image = Image.new("L", (HANZI_SIDE, HANZI_SIDE), 255)
    middle = (HANZI_SIDE / 2, HANZI_SIDE / 2)
    ImageDraw.Draw(image).text(middle, character, font=font, fill=0, anchor="mm")
    return image


def _dark(font: Alphabet) -> Values:
    """The letters' darkness, in [0, 1]: (26, 32, 32)."""
    return 1 - font.images.astype(np.float32) / 255


def _contrasts(dark: Values) -> Values:
    """Each letter without what all have in common, of length 1: (26, 1024)."""
    rows = dark.reshape(len(dark), -1)
    rows = rows - rows.mean(0)
    contrasts: Values = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return contrasts


def _recognised(font: Alphabet, means: Values) -> int:
    """Number of letters that are closest to the mean of their own class."""
    closest = (_contrasts(_dark(font)) @ means.T).argmax(1)
    return int((closest == np.arange(len(closest))).sum())
