"""What becomes of strangers' pictures: formats, modes, orientation, fitting, channels, damage and
bombs."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from ganvas.data import count_dataset, load_dataset
from ganvas.data.pictures import Wish, fitted
from ganvas.errors import DataError, SettingError

RED, CLEAR_RED, GREY = (200, 10, 20), (200, 10, 20, 0), 77


def fill(folder: Path, *pictures: Image.Image, suffix: str = "png", **options: object) -> Path:
    """A folder of pictures named 0, 1, ..."""
    folder.mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.{suffix}", **options)
    return folder


def stripes(width: int, height: int) -> Image.Image:
    """Grey columns, each pixel's value its column."""
    return Image.fromarray(np.tile(np.arange(width, dtype=np.uint8), (height, 1)))


def png_of_zeros(side: int) -> bytes:
    """A valid 8-bit grey PNG, written by hand because Pillow would take its time."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    data = load_dataset(fill(tmp_path, Image.new("RGB", (6, 5), RED), suffix=suffix, **options))
    assert data.images.shape == (1, 3, 5, 6)
    assert np.allclose(data.images[0, :, 2, 3], RED, atol=4)  # JPEG is not exact
    assert data.labels is None


def test_other_formats_under_an_allowed_name_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", format="PPM")
    with pytest.raises(
        DataError, match=r"a\.png \(not a PNG, JPEG, WEBP, BMP, GIF or TIFF picture\)"
    ):
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


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path, Image.fromarray(np.ones((3, 3), np.float32)), suffix="tiff")
    with pytest.raises(DataError, match=r"0\.tiff \(pixels are floating-point numbers"):
        load_dataset(folder)


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


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.tiff", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "c.png")
    data = load_dataset(tmp_path)
    assert data.images[:, :, 0, 0].tolist() == [[255, 0, 0]] * 3
    assert data.notes == ("2 pictures of several frames, the first of each taken",)


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


# Sizes


def test_one_size_is_kept_and_says_nothing(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, stripes(7, 5)), native=(64, 64))
    assert data.images.shape == (1, 1, 5, 7)
    assert data.notes == ()


def test_mixed_sizes_take_the_native_size_and_say_so(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, stripes(40, 30), stripes(50, 20)), native=(16, 16))
    assert data.images.shape == (2, 1, 16, 16)
    expected = (
        "2 pictures of 2 sizes, cropped and resized to 16x16, the recipe's own size, as none was"
        " given"
    )
    assert data.notes == (expected,)


def test_mixed_sizes_with_no_size_ask_for_one(tmp_path: Path) -> None:
    folder = fill(tmp_path, stripes(40, 30), stripes(50, 20))
    with pytest.raises(
        DataError, match=r"pictures of 2 sizes \(20x50, 30x40\): give one, as --size"
    ):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("fit", "note"),
    [
        ("crop", "cropped and resized"),
        ("pad", "resized and padded with white"),
        ("stretch", "stretched"),
    ],
)
def test_a_given_size_wins_and_is_noted(tmp_path: Path, fit: str, note: str) -> None:
    folder = fill(tmp_path, stripes(40, 30), stripes(50, 20))
    data = load_dataset(folder, size=(8, 16), native=(64, 64), fit=fit)  # type: ignore[arg-type]
    assert data.images.shape == (2, 1, 8, 16)
    assert data.notes == (f"2 pictures of 2 sizes, {note} to 8x16",)


def test_same_shape_is_said_to_be_resized_only(tmp_path: Path) -> None:
    assert load_dataset(fill(tmp_path, stripes(40, 20)), size=(10, 20)).notes == (
        "1 picture of 20x40, resized to 10x20",
    )


def test_enlarging_is_noted(tmp_path: Path) -> None:
    folder = fill(tmp_path, stripes(4, 4), stripes(40, 10), stripes(40, 40))
    assert "2 pictures smaller than 16x16 enlarged" in load_dataset(folder, size=(16, 16)).notes
    assert (
        "1 picture smaller than 16x16 enlarged"
        in load_dataset(folder, size=(16, 16), fit="pad").notes
    )


def test_crop_takes_the_middle_and_leaves_pixels_sharp(tmp_path: Path) -> None:
    columns = load_dataset(fill(tmp_path, stripes(20, 10)), size=(10, 10)).images[0, 0, 0]
    assert columns.tolist() == list(range(5, 15))


def test_crop_of_an_odd_rest_leaves_pixels_sharp(tmp_path: Path) -> None:
    assert load_dataset(fill(tmp_path, stripes(13, 10)), size=(10, 10)).images[
        0, 0, 0
    ].tolist() == list(range(1, 11))


def test_pad_keeps_all_of_the_picture_on_white(tmp_path: Path) -> None:
    image = load_dataset(fill(tmp_path, stripes(20, 10)), size=(20, 20), fit="pad").images[0, 0]
    assert image[:5].unique().tolist() == [255]
    assert image[15:].unique().tolist() == [255]
    assert torch.equal(image[5:15], torch.arange(20, dtype=torch.uint8).expand(10, 20))


def test_padding_is_transparent_for_every_picture_of_a_transparent_set(tmp_path: Path) -> None:
    folder = fill(tmp_path, Image.new("RGB", (8, 4), RED), Image.new("RGBA", (8, 4), (*RED, 100)))
    data = load_dataset(folder, size=(8, 8), fit="pad")
    assert data.images[:, :, 0, 0].tolist() == [[255, 255, 255, 0]] * 2
    assert data.images[:, 3, 4, 4].tolist() == [255, 100]
    assert "2 pictures of 4x8, resized and padded with transparent pixels to 8x8" in data.notes


def test_padding_alone_does_not_make_a_set_transparent(tmp_path: Path) -> None:
    data = load_dataset(
        fill(tmp_path, Image.new("RGBA", (8, 4), (*RED, 255))), size=(8, 8), fit="pad"
    )
    assert data.images[0, :, 0, 0].tolist() == [255, 255, 255]


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    checks = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    image = load_dataset(fill(tmp_path, checks), size=(8, 8)).images.float()
    assert (image - 127.5).abs().max() < 16


def test_a_large_jpeg_shrinks_to_what_its_full_pixels_would(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    folder = fill(
        tmp_path, Image.fromarray(noise).resize((960, 720), Image.Resampling.BICUBIC), suffix="jpg"
    )
    with Image.open(folder / "0.jpg") as picture:
        full = np.asarray(fitted(picture.convert("RGB"), (100, 100), "crop")).astype(float)
    data = load_dataset(folder, size=(100, 100))
    assert np.abs(data.images[0].permute(1, 2, 0).numpy() - full).mean() < 1.5
    assert data.notes == ("1 picture of 720x960, cropped and resized to 100x100",)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    original=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
    mode=st.sampled_from(["L", "RGB", "RGBA"]),
)
def test_any_shape_fits_any_size_and_white_stays_white(
    size: tuple[int, int], original: tuple[int, int], fit: str, mode: str
) -> None:
    image = fitted(Image.new(mode, original, "white"), size, fit)  # type: ignore[arg-type]
    assert (image.height, image.width, image.mode) == (*size, mode)
    assert np.asarray(image.convert("RGB")).min() == 255


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"size": (0, 8)}, r"size is \(0, 8\)"),
        ({"native": (8, -1)}, r"native is \(8, -1\)"),
        ({"size": (100_000, 100_000)}, "within 64 megapixels"),
        ({"fit": "croop"}, "did you mean crop"),
        ({"channels": 2}, "channels is 2"),
    ],
)
def test_impossible_wishes_name_the_setting(
    tmp_path: Path, wish: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        load_dataset(tmp_path, **wish)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=words):
        Wish(**wish)  # type: ignore[arg-type]


def test_more_than_this_machine_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        total = 1000

    monkeypatch.setattr("psutil.virtual_memory", Small)
    with pytest.raises(DataError, match="more than this machine's memory: give a smaller --size"):
        load_dataset(fill(tmp_path, stripes(40, 40)))


# Damage


def spoil(folder: Path) -> dict[str, str]:
    """Put four unreadable files into a folder; their names and a word of the reasons."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(
        buffer, "PNG"
    )
    (folder / "x0.png").write_text("not a picture")
    (folder / "x1.png").write_bytes(buffer.getvalue()[:-900])
    (folder / "x2.png").write_bytes(png_of_zeros(12_000))
    (folder / "x3.png").write_bytes(b"")
    return {
        "x0.png": "not a PNG",
        "x1.png": "truncated",
        "x2.png": "64 megapixels",
        "x3.png": "not a PNG",
    }


def test_unreadable_files_within_one_percent_are_named_and_left_out(tmp_path: Path) -> None:
    folder = fill(tmp_path, *[stripes(2, 2)] * 396)
    reasons = spoil(folder)
    data = load_dataset(folder)
    assert len(data) == 396
    (note,) = data.notes
    assert note.startswith("4 of 400 pictures cannot be read: ")
    assert all(name in note and reason in note for name, reason in reasons.items())


def test_a_damaged_picture_has_no_say_in_the_size(tmp_path: Path) -> None:
    folder = fill(tmp_path, *[stripes(2, 2)] * 400)
    spoil(folder)  # one of these claims to be 50x50
    assert load_dataset(folder, native=(8, 8)).images.shape[2:] == (2, 2)


def test_more_than_one_percent_unreadable_stops_with_one_line(tmp_path: Path) -> None:
    folder = fill(tmp_path, *[stripes(2, 2)] * 395)
    spoil(folder)
    with pytest.raises(
        DataError, match=r"4 of 399 pictures cannot be read: x0\.png \(not a PNG"
    ) as caught:
        load_dataset(folder)
    assert "\n" not in str(caught.value)


def test_every_unreadable_file_is_named_up_to_a_hundred(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i:03}.png").write_text("")
    with pytest.raises(
        DataError, match=r"100 of 100 pictures cannot be read: .*099\.png \([^)]*\)$"
    ) as caught:
        load_dataset(tmp_path)
    assert all(f"{i:03}.png" in str(caught.value) for i in range(100))
    (tmp_path / "100.png").write_text("")
    with pytest.raises(
        DataError, match=r"099\.png \([^)]*\), and 1 more \(ganvas data inspect names all\)"
    ):
        load_dataset(tmp_path)


def test_the_right_pictures_and_labels_remain(tmp_path: Path) -> None:
    for value in range(200):
        (tmp_path / f"{value % 2}").mkdir(exist_ok=True)
        Image.new("L", (2, 2), value).save(tmp_path / f"{value % 2}" / f"{value:03}.png")
    (tmp_path / "0" / "100.png").write_text("spoilt")
    data = load_dataset(tmp_path)
    assert data.labels is not None
    values = data.images[:, 0, 0, 0]
    assert values.tolist() == [v for v in range(0, 200, 2) if v != 100] + list(range(1, 200, 2))
    assert torch.equal(values % 2, data.labels)


def test_leniency_set_elsewhere_does_not_let_truncated_files_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    spoil(fill(tmp_path, stripes(2, 2)))
    assert "x1.png" in dict(count_dataset(tmp_path).unreadable_files)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_bombs_are_refused_whatever_the_warning_filters_say(tmp_path: Path) -> None:
    (fill(tmp_path, stripes(2, 2)) / "bomb.png").write_bytes(png_of_zeros(12_000))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = count_dataset(tmp_path)
    assert heard == []
    assert found.unreadable_files == (("bomb.png", "more than 64 megapixels"),)


def test_a_picture_just_over_the_cap_is_refused_without_pillow_minding(tmp_path: Path) -> None:
    (fill(tmp_path, stripes(2, 2)) / "big.png").write_bytes(png_of_zeros(8_001))
    assert count_dataset(tmp_path).unreadable_files == (("big.png", "more than 64 megapixels"),)


def test_large_and_small_pictures_decode_to_the_same_in_threads(tmp_path: Path) -> None:
    pictures = [Image.new("L", (600, 600), value) for value in range(20)]
    data = load_dataset(fill(tmp_path, *pictures), size=(4, 4))
    names = sorted(f"{i}.png" for i in range(20))
    assert [f"{value}.png" for value in data.images[:, 0, 0, 0].tolist()] == names
