"""Letters and characters drawn from fonts: which fonts count, and where a letter lies."""

from __future__ import annotations

import io
from string import ascii_uppercase

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont

from ganvas.errors import DataError
from helpers.packed_pictures import encoded, noise
from sets import lettering
from sets.lettering import alphabet
from sets.set_makers import opened

FOLDER = "usr/share/fonts/truetype/own/"


def bars(seed: int, weight: int) -> list[tuple[int, int, int, int]]:
    """Four bars (left, bottom, right, top) of a thickness, at random places."""
    rng = np.random.default_rng(seed)
    across = [(0, y, 700, y + weight) for y in rng.integers(0, 600, 2).tolist()]
    return across + [(x, 0, x + weight, 700) for x in rng.integers(0, 600, 2).tolist()]


def built(shapes: dict[str, list[tuple[int, int, int, int]]], family: str = "Own") -> TTFont:
    """A font with a glyph of rectangles for each character, and a square for missing ones."""
    glyphs = {".notdef": [(50, 0, 450, 400)]} | {f"u{ord(c):x}": s for c, s in shapes.items()}
    drawn = {}
    for name, rectangles in glyphs.items():
        pen = TTGlyphPen(None)
        for left, bottom, right, top in rectangles:
            pen.moveTo((left, bottom))
            for point in ((left, top), (right, top), (right, bottom)):
                pen.lineTo(point)
            pen.closePath()
        drawn[name] = pen.glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(c): f"u{ord(c):x}" for c in shapes})
    builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    return builder.font


def saved(font: TTFont | TTCollection) -> bytes:
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def latin(weight: int, first_seed: int = 0, characters: str = ascii_uppercase) -> bytes:
    """Capital letters of a weight; with another seed, other shapes in their places."""
    return saved(built({c: bars(first_seed + ord(c), weight) for c in characters}))


def test_letters_are_drawn_whole_at_the_centre_dark_on_white() -> None:
    wide = {c: bars(ord(c), 60) for c in ascii_uppercase} | {"W": [(-400, -300, 1400, 200)]}
    images = alphabet(f"{FOLDER}wide.ttf", saved(built(wide))).images
    assert (images.shape, images.dtype) == ((26, 32, 32), np.uint8)
    for image in images:
        rows, columns = (np.flatnonzero(image.min(axis) < 128) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 26
        assert abs(rows.min() + rows.max() - 31) <= 1
        assert abs(columns.min() + columns.max() - 31) <= 1
    w = images[ascii_uppercase.index("W")]
    assert (w < 128).sum() == pytest.approx(26 * 26 * 5 / 18, rel=0.1)


def test_a_letter_of_each_font_goes_into_its_class_and_a_font_is_a_family() -> None:
    made = lettering.letters((f"{FOLDER}w{w}.ttf", latin(w)) for w in (40, 90, 150))
    assert [item.name for item in made.items[:4]] == [
        "A/truetype-own-w150.ttf.png",
        "A/truetype-own-w40.ttf.png",
        "A/truetype-own-w90.ttf.png",
        "B/truetype-own-w150.ttf.png",
    ]
    assert len(made.items) == 3 * 26
    assert len({item.family for item in made.items}) == 3
    image = opened("x", made.items[0].content)
    assert (image.mode, image.size) == ("L", (32, 32))


def test_fonts_without_their_own_letters_are_left_out_and_counted() -> None:
    fonts = {f"w{weight}.ttf": latin(weight) for weight in (40, 80, 120, 160)}
    fonts |= {
        "pictures.ttf": latin(100, first_seed=1000),
        "OwnDingbats.ttf": latin(100),
        "without-q.ttf": latin(100, characters=ascii_uppercase.replace("Q", "")),
        "copy.otf": latin(80),
        "broken.ttf": b"no font",
    }
    made = lettering.letters((FOLDER + name, content) for name, content in fonts.items())
    assert {item.family for item in made.items} == {
        "truetype-own-copy.otf",  # the first of two by name
        *(f"truetype-own-w{weight}.ttf" for weight in (40, 120, 160)),
    }
    assert made.notes == [
        "4 fonts; others are left out: symbols by their names 1, without all letters 1,"
        " unreadable 1, not legible 1, like another 1"
    ]


def test_a_folder_gives_no_more_fonts_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "MAX_FONTS", 2)
    many = [(f"{FOLDER}w{weight}.ttf", latin(weight)) for weight in (40, 80, 120, 160)]
    other = ("usr/share/fonts/truetype/other/w200.ttf", latin(200))
    families = {item.family for item in lettering.letters([*many, other]).items}
    assert len(families) == 3
    assert "truetype-other-w200.ttf" in families
    monkeypatch.setattr(lettering, "MAX_LETTERS", 60)
    made = lettering.letters([other, *reversed(many)])
    assert len(made.items) == 52
    assert {item.family for item in made.items} < families


def test_common_characters_are_those_of_the_first_level() -> None:
    characters = lettering.common_characters()
    assert len(set(characters)) == len(characters) == 3755
    assert (characters[0], characters[-1]) == ("啊", "座")
    assert {"的", "一", "是", "中", "国"} <= set(characters)


def test_hanzi_are_drawn_from_the_font_of_simplified_chinese() -> None:
    characters = lettering.common_characters()
    full = {character: [(100, -50, 900, 750)] for character in characters}
    collection = TTCollection()
    collection.fonts = [
        built({"的": [(0, 0, 300, 300)]}, "Own Sans CJK JP"),
        built(full, "Own Sans CJK SC"),
    ]
    made = lettering.hanzi([("usr/share/fonts/opentype/NotoSansCJK-Bold.ttc", saved(collection))])
    assert len(made.items) == 3755
    first = made.items[0]
    assert (first.name, first.family) == ("NotoSans-Bold/554a.png", "啊")
    image = np.asarray(opened("x", first.content))
    assert image.shape == (64, 64)
    assert (image < 128).sum() == pytest.approx(48 * 48, rel=0.05)
    collection.fonts[1] = built({c: s for c, s in full.items() if c != "啊"}, "Own Sans CJK SC")
    with pytest.raises(DataError, match=r"NotoSansCJK-Bold\.ttc lacks 啊"):
        lettering.hanzi([("NotoSansCJK-Bold.ttc", saved(collection))])


def test_a_file_without_simplified_chinese_is_named() -> None:
    for content in (latin(80), encoded(noise(1, 4, 4))):
        with pytest.raises(DataError, match=r"^a/x\.ttc holds no font of simplified Chinese"):
            lettering.hanzi([("a/x.ttc", content)])
