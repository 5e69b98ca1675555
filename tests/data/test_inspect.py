"""Counts of a data set's images, sizes, classes and duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas.data import count_dataset, load_dataset
from ganvas.errors import DataError


def picture(path: Path, value: int, size: tuple[int, int] = (4, 4), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert(mode).save(path)


def test_the_embedded_digits_are_counted_in_both_parts() -> None:
    inspection = count_dataset("mnist-5k")
    assert (inspection.images, inspection.splits) == (5000, {"train": 4000, "test": 1000})
    assert inspection.classes == {str(i): 500 for i in range(10)}
    assert inspection.sizes == {"28x28": 5000}
    assert (inspection.channels, inspection.unreadable, inspection.duplicates) == (1, 0, 0)
    assert inspection.dataset.fingerprint == load_dataset("mnist-5k").fingerprint


def test_a_folder_with_classes(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.png", 1)
    picture(tmp_path / "cat" / "b.png", 2, (6, 3))
    picture(tmp_path / "dog" / "c.png", 3)
    inspection = count_dataset(tmp_path)
    assert (inspection.images, inspection.splits) == (3, {"train": 3})
    assert inspection.classes == {"cat": 2, "dog": 1}
    assert list(inspection.sizes.items()) == [("4x4", 2), ("3x6", 1)]
    assert inspection.dataset.images.shape == (3, 1, 64, 64)
    assert any("64x64" in note for note in inspection.notes)


def test_sizes_count_pictures_as_they_are_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert count_dataset(tmp_path).sizes == {"8x4": 1}


def test_it_goes_on_however_many_pictures_are_unreadable(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    for name in "bcd":
        (tmp_path / f"{name}.png").write_text("text")
    inspection = count_dataset(tmp_path)
    assert (inspection.images, inspection.unreadable) == (1, 3)
    assert [name for name, _ in inspection.unreadable_files] == ["b.png", "c.png", "d.png"]
    with pytest.raises(DataError, match="3 of 4 pictures cannot be read"):
        load_dataset(tmp_path)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(DataError, match="1 of 1 picture cannot be read"):
        count_dataset(tmp_path)


def test_duplicates_have_equal_pixels_whatever_their_format(tmp_path: Path) -> None:
    for name, value, mode in (
        ("a.png", 1, "L"),
        ("b.bmp", 1, "L"),
        ("c.png", 1, "RGB"),
        ("d.png", 2, "L"),
    ):
        picture(tmp_path / name, value, mode=mode)
    assert count_dataset(tmp_path).duplicates == 2


def test_another_size_is_no_duplicate_though_it_is_fitted_to_the_same(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1, (4, 4))
    picture(tmp_path / "b.png", 1, (8, 2))
    picture(tmp_path / "c.png", 1, (2, 8))
    assert count_dataset(tmp_path, size=(2, 2)).duplicates == 0


def test_held_out_pictures_that_were_trained_on_are_duplicates(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "cat" / "a.png", 1)
    picture(tmp_path / "train" / "dog" / "b.png", 2)
    picture(tmp_path / "test" / "dog" / "c.png", 2)
    inspection = count_dataset(tmp_path)
    assert (inspection.images, inspection.duplicates) == (3, 1)
    assert inspection.splits == {"train": 2, "test": 1}
    assert inspection.classes == {"cat": 1, "dog": 2}


def test_duplicates_in_arrays(tmp_path: Path) -> None:
    images = np.array([1, 2, 1, 1], np.uint8)[:, None, None] * np.ones((4, 3, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    assert count_dataset(tmp_path / "a.npz").duplicates == 2
    assert count_dataset(tmp_path / "a.npz", size=(6, 6), channels=3).duplicates == 2
