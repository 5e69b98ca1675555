"""Pictures of more than 8 bits: one range for the set, and all bits of 16-bit colour."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ganvas.data import load_dataset
from ganvas.data.reading import Reading
from ganvas.errors import DataError
from helpers.sets import fill

Values = npt.NDArray[Any]


def grey(*values: float, dtype: str = "uint16") -> Image.Image:
    return Image.fromarray(np.array([values], dtype))


def png_of_16_bits(values: Values) -> bytes:
    """A PNG of (H, W, 2 to 4), which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff_of_16_bits(values: Values, order: str, packed: bool = False) -> bytes:
    """A TIFF of (H, W, 3 or 4), which Pillow cannot write.

    order: "<" or ">".
    packed: compress it.
    """
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if packed else pixels
    end = 8 + len(pixels)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, end + 2 + 12 * (10 + channels // 4) + 4),
        (259, 3, 1, 8 if packed else 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
        (284, 3, 1, 1),
    ]
    tags += [(338, 3, 1, 2)] * (channels == 4)
    out = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, end) + pixels
    out += struct.pack(f"{order}H", len(tags))
    for tag, kind, number, value in tags:
        short = kind == 3 and number == 1
        out += struct.pack(f"{order}HHI", tag, kind, number)
        out += struct.pack(
            f"{order}HH" if short else f"{order}I", *((value, 0) if short else (value,))
        )
    return out + struct.pack(f"{order}I{channels}H", 0, *[16] * channels)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_one_range_is_found_for_all_pictures(tmp_path: Path, suffix: str) -> None:
    data = load_dataset(fill(tmp_path, grey(0, 100), grey(2000, 4095), suffix=suffix))
    assert data.images.flatten().tolist() == [0, 6, 125, 255]
    assert data.read_as.range == (0, 4095)
    assert data.notes == (
        "2 16-bit pictures scaled to 8 bits",
        "values from 0 to 4095: 0:4095 becomes black to white; --range LOW:HIGH sets another range",
    )


def test_8_bits_stored_in_16_are_not_black(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, grey(0, 200)))
    assert data.images.flatten().tolist() == [0, 200]
    assert "0:255 becomes black to white" in data.notes[1]


def test_signed_and_floating_point_pictures(tmp_path: Path) -> None:
    signed = load_dataset(fill(tmp_path / "ct", grey(-1024, 0, 3071, dtype="int32"), suffix="tiff"))
    assert signed.images.flatten().tolist() == [0, 64, 255]
    assert "values from -1024 to 3071: -1024:3071 becomes black to white" in signed.notes[1]
    floats = load_dataset(fill(tmp_path / "f", grey(-1, 0, 0.5, dtype="float32"), suffix="tiff"))
    assert floats.images.flatten().tolist() == [0, 128, 191]
    assert floats.notes[0] == "1 floating-point picture scaled to 8 bits"


def test_a_picture_with_nan_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path, grey(0, np.nan, dtype="float32"), suffix="tiff")
    for options in ({}, {"range": (0, 1)}):
        with pytest.raises(DataError, match=r"0\.tiff \(values that are NaN or infinite\)"):
            load_dataset(folder, **options)  # type: ignore[arg-type]


def test_a_given_range_clips_and_is_told(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, grey(0, 1000), grey(500, 4000)), range=(0, 1000))
    assert data.images.flatten().tolist() == [0, 255, 128, 255]
    assert data.notes[1:] == (
        "values from 0 to 4000: 0:1000 becomes black to white, as asked",
        "25.00% of the values lie outside 0:1000: clipped",
    )


def test_a_given_range_holds_for_8_bits_too(tmp_path: Path) -> None:
    masks = fill(tmp_path, Image.fromarray(np.array([[0, 1]], np.uint8)))
    assert load_dataset(masks, range=(0, 1)).images.flatten().tolist() == [0, 255]
    beyond = load_dataset(masks, range=(0, 4095))
    assert beyond.images.flatten().tolist() == [0, 1]
    assert "--range 0:4095 leaves 1 picture of 8 bits as stored" in beyond.notes


def test_beside_8_bits_16_bits_keep_their_own_range(tmp_path: Path) -> None:
    eight = Image.fromarray(np.array([[0, 77]], np.uint8))
    data = load_dataset(fill(tmp_path / "a", eight, grey(0, 4095)))
    assert data.images.flatten().tolist() == [0, 77, 0, 255]
    assert "1 16-bit picture scaled to 8 bits" in data.notes
    # not 0:15, by which masks and digits alone are read
    assert load_dataset(fill(tmp_path / "b", eight, grey(0, 15))).images.max() == 77


def test_the_held_out_part_is_read_by_the_range_of_the_training_part(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    fill(tmp_path / "train", grey(0, 4095))
    fill(tmp_path / "test", grey(0, 500))
    training = load_dataset(tmp_path)
    held_out = Reading().held_out(tmp_path, training)
    assert held_out is not None
    assert held_out.images.flatten().tolist() == [0, 31]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["png", "<", ">", "<packed", ">packed"])
def test_16_bit_colour_keeps_its_bits(tmp_path: Path, kind: str, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (5, 7, channels)).astype(np.uint16)
    values[0, 0, :3] = 0, 4095, 100
    values[..., 3:] = np.linspace(0, 65535, 35).reshape(5, 7, 1)
    content = png_of_16_bits(values)
    if kind != "png":
        content = tiff_of_16_bits(values, kind[0], packed=len(kind) > 1)
    (tmp_path / f"a.{'png' if kind == 'png' else 'tif'}").write_bytes(content)
    data = load_dataset(tmp_path)
    expected = np.round(values[..., :3] * (255 / 4095))
    pixels = data.images[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels[..., :3], expected)
    np.testing.assert_array_equal(pixels[..., 3:], np.round(values[..., 3:] / 257))
    assert data.notes[0] == "1 16-bit picture scaled to 8 bits"


def test_16_bit_grey_with_alpha_keeps_its_bits(tmp_path: Path) -> None:
    values = np.array([[[0, 0], [300, 65535], [4095, 0x8000]]], np.uint16)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(values))
    pixels = load_dataset(tmp_path).images[0, :, 0].T.tolist()
    assert pixels == [[0, 0, 0, 0], [19, 19, 19, 255], [255, 255, 255, 128]]


def test_masks_of_ones_get_a_hint(tmp_path: Path) -> None:
    mask = np.array([[0, 1]], np.uint8)
    note = "all values are 0 or 1, which is black; --range 0:1 makes 1 white"
    folder = fill(tmp_path / "p", Image.fromarray(mask))
    assert load_dataset(folder).notes == (note,)
    np.savez(tmp_path / "x.npz", images=mask[None])
    assert load_dataset(tmp_path / "x.npz").notes == (note,)
    assert note not in load_dataset(folder, range=(0, 1)).notes


def test_nearly_black_images_get_a_hint(tmp_path: Path) -> None:
    values = np.array([[0, 15]], np.uint8)
    note = "no pixel is brighter than 15 of 255: nearly black; --range LOW:HIGH changes it"
    folder = fill(tmp_path / "p", Image.fromarray(values))
    assert load_dataset(folder).notes == (note,)
    np.savez(tmp_path / "x.npz", images=values[None])
    assert load_dataset(tmp_path / "x.npz").notes == (note,)
    for source in (folder, tmp_path / "x.npz"):
        assert load_dataset(source, range=(0, 15)).images.flatten().tolist() == [0, 255]


def test_full_16_bits_are_scaled_to_the_nearest(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    data = load_dataset(fill(tmp_path, Image.fromarray(values)))
    np.testing.assert_array_equal(data.images.flatten().numpy(), (np.arange(65536) + 128) // 257)
