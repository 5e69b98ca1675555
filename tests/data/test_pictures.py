"""Pictures of every format: pixels, orientation and channels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas.data import load_dataset
from ganvas.data.pictures import enable_heif
from ganvas.errors import DataError, MissingExtraError
from helpers.sets import fill

RED, CLEAR_RED, GREY = (200, 10, 20), (200, 10, 20, 0), 77


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    data = load_dataset(fill(tmp_path, Image.new("RGB", (6, 5), RED), suffix=suffix, **options))
    assert data.images.shape == (1, 3, 5, 6)
    assert np.allclose(data.images[0, :, 2, 3], RED, atol=4)  # JPEG is not exact
    assert data.labels is None


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("pgm", "L"), ("ppm", "RGB"), ("pbm", "1"), ("pnm", "RGB"), ("avif", "RGB"), ("heic", "RGB")],
)
def test_less_common_formats_are_read(tmp_path: Path, suffix: str, mode: str) -> None:
    if suffix == "heic":
        enable_heif()
    data = load_dataset(fill(tmp_path, Image.new(mode, (64, 48), "white"), suffix=suffix))
    assert data.images.shape == (1, 1, 48, 64)
    assert data.images.min() > 250


def test_without_its_extra_heic_is_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.HEIC").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"pip install 'ganvas\[heic\]'"):
        load_dataset(tmp_path)


def test_other_formats_under_an_allowed_name_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", format="TGA")
    with pytest.raises(DataError, match=r"a\.png \(not a PNG, JPEG, WEBP, BMP, GIF, TIFF, PPM or"):
        load_dataset(tmp_path)


def test_mode_1_palette_and_cmyk(tmp_path: Path) -> None:
    bits = Image.new("1", (4, 4), 1)
    palette = Image.new("RGB", (4, 4), RED).convert("P", palette=Image.Palette.ADAPTIVE)
    ink = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    folder = fill(tmp_path, bits, palette)
    ink.save(folder / "2.tiff")
    data = load_dataset(folder)
    assert data.images[:, :, 0, 0].tolist() == [[255, 255, 255], list(RED), [255, 0, 0]]
    assert data.notes == ("1 CMYK picture converted to RGB", "1 grey picture widened to RGB")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 0x8000, 0xFFFF]], np.uint16)
    data = load_dataset(fill(tmp_path, Image.fromarray(values), suffix=suffix))
    assert data.images.flatten().tolist() == [0, 1, 128, 255]
    assert "1 16-bit picture scaled to 8 bits" in data.notes


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_exif_orientation_is_honoured(tmp_path: Path, suffix: str) -> None:
    picture = Image.new("L", (8, 16), 0)
    picture.paste(255, (0, 0, 8, 8))  # white above black
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: white ends on the right
    data = load_dataset(
        fill(tmp_path, picture.convert("RGB"), suffix=suffix, exif=exif), channels=1
    )
    assert data.images.shape == (1, 1, 8, 16)
    assert data.images[0, 0, 4, 12] > 200
    assert data.images[0, 0, 4, 3] < 50


# Channels


def test_channels_follow_what_the_pictures_hold(tmp_path: Path) -> None:
    grey, colour = Image.new("L", (4, 4), GREY), Image.new("RGB", (4, 4), RED)
    clear = Image.new("RGBA", (4, 4), CLEAR_RED)
    assert load_dataset(fill(tmp_path / "grey", grey)).channels == 1
    assert load_dataset(fill(tmp_path / "both", grey, colour)).channels == 3
    assert load_dataset(fill(tmp_path / "clear", grey, colour, clear)).channels == 4


def test_grey_stored_as_colour_becomes_one_channel(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, Image.new("RGB", (4, 4), (GREY,) * 3)))
    assert data.channels == 1
    assert data.images.unique().tolist() == [GREY]
    assert "colour channels that are equal everywhere left out: 1 channel" in data.notes


def test_an_alpha_channel_that_hides_nothing_is_left_out(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, Image.new("RGBA", (4, 4), (*RED, 255))))
    assert data.images[0, :, 0, 0].tolist() == list(RED)
    assert "an alpha channel that is opaque everywhere left out: 3 channels" in data.notes


def test_transparency_of_la_and_palettes_is_seen(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([*RED, 0, 0, 0])
    fill(tmp_path / "la", Image.new("LA", (4, 4), (GREY, 100)))
    fill(tmp_path / "p", palette, transparency=0)
    assert load_dataset(tmp_path / "la").images[0, :, 0, 0].tolist() == [GREY, GREY, GREY, 100]
    assert load_dataset(tmp_path / "p").images[0, :, 0, 0].tolist() == [*RED, 0]


@pytest.mark.parametrize(
    ("channels", "values"), [(1, [255]), (3, [255, 255, 255]), (4, list(CLEAR_RED))]
)
def test_transparent_pictures_are_composited_on_white_where_alpha_must_go(
    tmp_path: Path, channels: int, values: list[int]
) -> None:
    data = load_dataset(fill(tmp_path, Image.new("RGBA", (4, 4), CLEAR_RED)), channels=channels)  # type: ignore[arg-type]
    assert data.images[0, :, 0, 0].tolist() == values
    assert ("1 transparent picture composited on white" in data.notes) == (channels < 4)


def test_half_transparent_pixels_blend_with_white(tmp_path: Path) -> None:
    # a fifth of the colour
    data = load_dataset(fill(tmp_path, Image.new("RGBA", (4, 4), (0, 100, 200, 51))), channels=3)
    assert data.images[0, :, 0, 0].tolist() == [204, 224, 244]


def test_widening_and_greying_are_noted(tmp_path: Path) -> None:
    folder = fill(tmp_path, Image.new("L", (4, 4), GREY), Image.new("RGB", (4, 4), RED))
    assert "1 grey picture widened to RGB" in load_dataset(folder).notes
    assert "1 colour picture turned to grey" in load_dataset(folder, channels=1).notes
    widened = load_dataset(folder, channels=4)
    assert "1 grey picture widened to RGBA" in widened.notes
    assert "2 opaque pictures given an opaque alpha channel" in widened.notes
    assert widened.images[:, 3].unique().tolist() == [255]


def test_resizing_does_not_let_hidden_colours_bleed(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (8, 8), (0, 255, 0, 0))  # green that cannot be seen
    picture.paste((255, 0, 0, 255), (0, 0, 4, 8))
    image = load_dataset(fill(tmp_path, picture), size=(3, 3)).images[0]
    assert image[1][image[3] > 128].max() == 0


@pytest.mark.parametrize(
    ("suffix", "options", "files"),
    [
        ("png", {}, "PNG"),
        ("jpg", {}, "JPEG"),
        ("webp", {"lossless": True}, "lossless WebP"),
        ("webp", {"lossless": False}, "lossy WebP"),
        ("webp", {"lossless": True, "icc_profile": b"x" * 999}, "lossless WebP"),
        ("tiff", {}, "TIFF"),
        ("tiff", {"compression": "jpeg"}, "JPEG in TIFF"),
    ],
)
def test_the_kind_of_files_is_known(
    tmp_path: Path, suffix: str, options: dict[str, object], files: str
) -> None:
    picture = Image.new("RGB", (16, 16), RED)
    assert load_dataset(fill(tmp_path, picture, suffix=suffix, **options)).files == files


def test_several_kinds_of_files_have_shares(tmp_path: Path) -> None:
    fill(tmp_path, *[Image.new("L", (4, 4))] * 3)
    Image.new("L", (4, 4)).save(tmp_path / "x.jpg")
    assert load_dataset(tmp_path).files == "PNG 75.0%, JPEG 25.0%"
    assert load_dataset("mnist-5k").files == "array"
