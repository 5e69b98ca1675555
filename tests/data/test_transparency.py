"""Transparency: what counts as such, and its notes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas.data import load_dataset
from ganvas.data.assemble import assemble_array
from ganvas.data.pictures import PictureOptions
from helpers.sets import fill

SIDE = 40  # 1,600 pixels, of which two are more than 0.1%


def picture(clear: int) -> Image.Image:
    """A red picture with that many transparent green pixels."""
    pixels = np.full((SIDE * SIDE, 4), (200, 10, 20, 255), np.uint8)
    pixels[:clear] = 0, 255, 0, 100
    return Image.fromarray(pixels.reshape(SIDE, SIDE, 4))


@pytest.mark.parametrize(
    ("clear", "opaque", "channels"),
    [(2, 0, 4), (1, 0, 3), (2, 99, 4), (2, 100, 3), (SIDE * SIDE, 100, 3)],
)
def test_transparency_counts_from_a_thousandth_of_a_hundredth_on(
    tmp_path: Path, clear: int, opaque: int, channels: int
) -> None:
    folder = fill(tmp_path / "p", picture(clear), *[picture(0)] * opaque)
    data = load_dataset(folder)
    assert data.channels == channels
    assert data.read_as.channels == channels
    same = np.stack([np.asarray(picture(clear)), *[np.asarray(picture(0))] * opaque])
    array = assemble_array("x", same, None, (), PictureOptions()).dataset
    assert array.channels == channels
    assert torch.equal(array.images[0], data.images[0])


def test_what_does_not_count_is_composited_on_white_and_named(tmp_path: Path) -> None:
    folder = fill(tmp_path, *[picture(0)] * 3, picture(1))
    data = load_dataset(folder)
    assert torch.equal(data.images, load_dataset(folder, channels=3).images)
    note = (
        "1 transparent picture (3.png) composited on white, too few pixels to count;"
        " --channels 4 keeps alpha"
    )
    assert data.notes == (note,)
    assert data.altered == ("composited on white",)


def test_what_counts_is_named_with_the_way_to_drop_it(tmp_path: Path) -> None:
    folder = fill(tmp_path, *[picture(0)] * 3, *[picture(9)] * 5)
    notes = load_dataset(folder).notes
    assert notes[-1] == (
        "5 transparent pictures (3.png, 4.png, 5.png, and 2 more): all are read with alpha;"
        " --channels 3 composites them on white"
    )
    assert not any("(3.png" in note for note in load_dataset(folder, channels=4).notes)


def test_hidden_colours_do_not_colour_a_grey_set(tmp_path: Path) -> None:
    pixels = np.full((SIDE, SIDE, 4), (90, 90, 90, 255), np.uint8)
    pixels[0, 0] = 0, 255, 0, 0
    data = load_dataset(fill(tmp_path, Image.fromarray(pixels)))
    assert data.images.shape == (1, 1, SIDE, SIDE)
    assert data.images.unique().tolist() == [90, 255]
