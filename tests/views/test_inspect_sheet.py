"""The sheet of `ganvas data inspect`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from ganvas.data import Dataset
from ganvas.data.oddities import Oddity
from ganvas.views.inspect_sheet import CLASS_COLUMNS, font_with, save_inspection


def made(numbers: dict[str, int], size: tuple[int, int] = (64, 64), channels: int = 3) -> Dataset:
    """Images of classes in order; all of an image's pixels have its number as their value."""
    labels = torch.tensor([k for k, n in enumerate(numbers.values()) for _ in range(n)])
    values = torch.arange(len(labels), dtype=torch.uint8)
    images = values[:, None, None, None].expand(-1, channels, *size).contiguous()
    return Dataset("made", images, labels, tuple(numbers))


def rows(path: Path, gap: int = 4, side: int = 64) -> list[list[int]]:
    """The value of each image on a sheet, row by row; white at the end of a row is left out."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    found = []
    for y in range(12 + side // 2, len(sheet), side + gap):
        centre = sheet[y]
        grey = (centre == centre[:, :1]).all(1) & (centre[:, 0] < 255)
        runs, start = [], 0
        for end in (*(np.flatnonzero(np.diff(centre[:, 0])) + 1), len(centre)):
            if end - start == side and grey[start]:
                runs.append(int(centre[start, 0]))
            start = end
        found.append(runs)
    return found


def test_each_class_has_a_row_of_evenly_spaced_images(tmp_path: Path) -> None:
    save_inspection(tmp_path / "a.png", made({"cat": 24, "dog": 3}), ())
    cats, dogs = rows(tmp_path / "a.png")
    assert cats == list(range(0, 24, 2))
    assert dogs == [24, 25, 26]
    assert len(cats) == CLASS_COLUMNS


def test_names_stand_at_the_left(tmp_path: Path) -> None:
    data = made({"cat": 3, "dog": 3})
    save_inspection(tmp_path / "a.png", data, ())
    save_inspection(tmp_path / "b.png", Dataset("made", data.images), ())
    with Image.open(tmp_path / "a.png") as named, Image.open(tmp_path / "b.png") as unnamed:
        margin = np.asarray(named.convert("L"))[:, :40]
        assert (margin[12:76] < 100).any()
        assert (margin[80:144] < 100).any()
        assert named.width - unnamed.width < 100


def test_images_without_classes_are_spread_over_the_set(tmp_path: Path) -> None:
    data = made({"all": 250})
    save_inspection(tmp_path / "a.png", Dataset("made", data.images), ())
    found = rows(tmp_path / "a.png")
    assert [len(row) for row in found] == [16] * 8
    assert found[0][:4] == [0, 1, 3, 5]


def test_the_unusual_ones_have_the_last_row(tmp_path: Path) -> None:
    odd = [Oddity(7, "7", "odd"), Oddity(2, "2", "odd")]
    save_inspection(tmp_path / "a.png", made({"cat": 5, "dog": 5}), odd)
    with Image.open(tmp_path / "a.png") as sheet:
        sheet.crop((0, 12, sheet.width, sheet.height)).save(tmp_path / "below.png")
    assert rows(tmp_path / "below.png")[2] == [7, 2]


def test_there_are_at_most_twenty_rows_of_classes(tmp_path: Path) -> None:
    save_inspection(tmp_path / "a.png", made({f"class {k}": 1 for k in range(200)}), ())
    found = rows(tmp_path / "a.png")
    assert [row[0] for row in found if row] == list(range(0, 200, 10))


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (40, 64), (300, 20), (300, 400)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_size_fit(size: tuple[int, int], channels: int, tmp_path: Path) -> None:
    save_inspection(tmp_path / "a.png", made({"a": 3, "b": 40}, size, channels), ())
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width < 1400
        assert 40 < sheet.height < 400


def test_names_of_any_script_and_length(tmp_path: Path) -> None:
    names = ["猫", "кот", "γάτα", "قطة", "a" * 300, "two\nlines", "\\xff"]
    save_inspection(tmp_path / "a.png", made(dict.fromkeys(names, 2)), ())
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width < 500


def test_a_font_is_taken_that_has_all_characters(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts = [str(tmp_path / "broken.ttf")]
    for name, characters in (("latin", "abc"), ("chinese", "猫狗")):
        glyphs = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
        builder = FontBuilder(1000)
        builder.setupGlyphOrder(glyphs)
        builder.setupCharacterMap(dict(zip(map(ord, characters), glyphs[1:], strict=True)))
        builder.setupGlyf({glyph: TTGlyphPen(None).glyph() for glyph in glyphs})
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (500, 0)))
        builder.setupHorizontalHeader()
        builder.setupPost()
        builder.save(tmp_path / f"{name}.ttf")
        fonts.append(str(tmp_path / f"{name}.ttf"))
    assert font_with("狗 猫", fonts) == fonts[2]
    assert font_with("cab", fonts) == fonts[1]
    assert font_with("c猫", fonts) is None


class TestPath:
    def test_an_existing_sheet_stays(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "inspect.png").write_text("mine")
        for n in (2, 3):
            done = cli_run("data", "inspect", "mnist-5k", "--no-cost")
            assert f"sheet       inspect-{n}.png" in done.out
            assert (tmp_path / f"inspect-{n}.png").is_file()
        assert (tmp_path / "inspect.png").read_text() == "mine"

    def test_out_replaces_what_it_names(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "mine.png").write_text("mine")
        assert cli_run("data", "inspect", "mnist-5k", "--no-cost", "--out", "mine.png").code == 0
        with Image.open(tmp_path / "mine.png") as sheet:
            assert sheet.width > 100
        assert {path.name for path in tmp_path.iterdir()} == {"mine.png"}
