"""Damaged pictures and decompression bombs: named, left out or refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from ganvas.data import count_dataset, load_dataset
from ganvas.errors import DataError
from helpers.sets import fill, stripes


def png_of_zeros(side: int, rows: int = 0) -> bytes:
    """An 8-bit grey PNG with that many rows of data. Pillow would take long to write it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(side + 1)) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def spoil(folder: Path) -> dict[str, str]:
    """Put four unreadable files into a folder. Returns their names, with words of the reasons."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(
        buffer, "PNG"
    )
    (folder / "x0.png").write_text("not a picture")
    (folder / "x1.png").write_bytes(buffer.getvalue()[:-900])
    (folder / "x2.png").write_bytes(png_of_zeros(16_000))
    (folder / "x3.png").write_bytes(b"")
    return {
        "x0.png": "not a PNG",
        "x1.png": "truncated",
        "x2.png": "250 megapixels",
        "x3.png": "not a PNG",
    }


def test_unreadable_files_within_one_percent_are_named_and_left_out(tmp_path: Path) -> None:
    folder = fill(tmp_path, *[stripes(40, 2)] * 396)
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
    (fill(tmp_path, stripes(2, 2)) / "bomb.png").write_bytes(png_of_zeros(16_000))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        inspection = count_dataset(tmp_path)
    assert heard == []
    reason = "more than 250 megapixels; --max-megapixels raises the limit"
    assert inspection.unreadable_files == (("bomb.png", reason),)


def test_the_limit_of_megapixels_is_adjustable(tmp_path: Path) -> None:
    (fill(tmp_path, stripes(20, 20)) / "big.png").write_bytes(png_of_zeros(1001, 1001))
    assert count_dataset(tmp_path).unreadable_files == ()
    refused = count_dataset(tmp_path, max_megapixels=1).unreadable_files
    assert refused == (("big.png", "more than 1 megapixels; --max-megapixels raises the limit"),)


def test_sets_of_huge_pictures_ask_for_a_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of_zeros(8001, 8001))
    with pytest.raises(DataError, match="pictures of 8001x8001, more than 64 megapixels: give"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, size=8).images.shape == (1, 1, 8, 8)


def test_what_does_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        total = 10**9

    monkeypatch.setattr("psutil.virtual_memory", Small)
    (fill(tmp_path, stripes(2, 2)) / "big.png").write_bytes(png_of_zeros(10_000))
    assert count_dataset(tmp_path).unreadable_files == (("big.png", "needs 1 GB of memory"),)


def test_large_and_small_pictures_decode_to_the_same_in_threads(tmp_path: Path) -> None:
    pictures = [Image.new("L", (600, 600), value) for value in range(20)]
    data = load_dataset(fill(tmp_path, *pictures), size=(4, 4))
    names = sorted(f"{i}.png" for i in range(20))
    assert [f"{value}.png" for value in data.images[:, 0, 0, 0].tolist()] == names
