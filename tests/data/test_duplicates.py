"""Groups of equal and nearly equal pictures, images unlike the others, and warnings."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas.data import Inspection, count_dataset


def photo(seed: int, width: int = 96, height: int = 96) -> Image.Image:
    """A smooth colour picture, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty different photographs."""
    for i in range(30):
        save(photo(i), tmp_path / "photos" / f"{i:02}.png")
    return tmp_path / "photos"


def groups(found: Inspection) -> list[tuple[str, tuple[str, ...]]]:
    return [(group.kind, group.files) for group in found.duplicate_groups]


def test_different_pictures_are_in_no_group(photos: Path) -> None:
    assert groups(count_dataset(photos)) == []


def test_different_digits_are_in_no_group() -> None:
    assert groups(count_dataset("mnist-5k")) == []


def test_a_recompressed_and_a_smaller_copy_are_near(photos: Path) -> None:
    save(photo(3), photos / "copy.jpg", quality=60)
    save(photo(4, 48, 48), photos / "small.png")
    found = count_dataset(photos)
    assert found.duplicates == 0
    assert groups(found) == [("near", ("03.png", "copy.jpg")), ("near", ("04.png", "small.png"))]


def test_equal_and_near_copies_are_one_group(photos: Path) -> None:
    save(photo(3), photos / "equal.png")
    save(photo(3), photos / "near.jpg", quality=60)
    save(photo(5), photos / "other.png")
    found = count_dataset(photos)
    assert found.duplicates == 2
    assert groups(found) == [
        ("near", ("03.png", "equal.png", "near.jpg")),
        ("exact", ("05.png", "other.png")),
    ]


def test_faint_pictures_are_told_apart_as_strong_ones_are(tmp_path: Path) -> None:
    for i in range(20):
        faint = photo(i).convert("L").point(lambda value: 120 + value // 16)
        save(faint, tmp_path / f"{i:02}.png")
    assert groups(count_dataset(tmp_path)) == []


def test_groups_in_both_parts_come_first_then_those_with_different_labels(tmp_path: Path) -> None:
    for i, (split, label) in enumerate(itertools.product(("train", "test"), ("cat", "dog"))):
        for k in range(10):
            save(photo(100 * i + k), tmp_path / split / label / f"{k}.png")
    save(photo(0), tmp_path / "train" / "cat" / "again.png")
    save(photo(1), tmp_path / "train" / "dog" / "called-dog.png")
    save(photo(2), tmp_path / "test" / "cat" / "held-out.jpg", quality=60)
    found = count_dataset(tmp_path)
    both, labels, plain = found.duplicate_groups
    assert (both.splits, both.in_both_parts) == (("train", "test"), True)
    assert (labels.labels, labels.labels_differ) == (("cat", "dog"), True)
    assert (plain.in_both_parts, plain.labels_differ) == (False, False)
    told = [warning for warning in found.warnings if "duplicates" in warning]
    assert len(told) == 2
    assert "in both parts" in told[0]
    assert "held-out.jpg" in told[0]
    assert "with different labels" in told[1]
    assert "called-dog.png" in told[1]


def test_images_of_an_array_go_by_their_index(tmp_path: Path) -> None:
    images = np.stack([np.asarray(photo(i)) for i in (*range(20), 7)])
    np.savez(tmp_path / "a.npz", images=images)
    assert groups(count_dataset(tmp_path / "a.npz")) == [("exact", ("7", "20"))]


def test_many_equal_images_are_one_group(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3000, 8, 8), np.uint8))
    found = count_dataset(tmp_path / "a.npz")
    assert found.duplicates == 2999
    assert [len(files) for _, files in groups(found)] == [3000]


class TestUnusual:
    def test_ordinary_pictures_are_not(self, photos: Path) -> None:
        for i in range(30, 40):  # on its side is ordinary
            save(photo(i, 96, 72), photos / f"{i}.png")
            save(photo(i + 50, 72, 96), photos / f"{i}b.png")
        assert count_dataset(photos).strangest == ()

    def test_sizes_colours_and_near_duplicates_are(self, photos: Path) -> None:
        save(photo(70, 400, 40), photos / "wide.png")
        save(photo(71, 8, 8), photos / "tiny.png")
        save(photo(72).convert("L"), photos / "grey.png")
        save(Image.new("RGB", (96, 96), "blue"), photos / "blue.png")
        save(photo(3), photos / "copy.jpg", quality=60)
        reasons = {odd.file: odd.reason for odd in count_dataset(photos).strangest}
        assert reasons == {
            "wide.png": "400x40, where 96x96 is usual",
            "tiny.png": "8x8, where 96x96 is usual",
            "grey.png": "grey among colour",
            "blue.png": "of one colour",
            "03.png": "nearly the same as copy.jpg",
            "copy.jpg": "nearly the same as 03.png",
        }


class TestWarnings:
    def test_few_images(self, photos: Path) -> None:
        (warning,) = count_dataset(photos).warnings
        assert warning.startswith("30 images to train on will be learned by heart: ")
        assert "--from" in warning
        assert "--flip" in warning

    def test_enough_images_of_equal_classes(self) -> None:
        assert count_dataset("mnist-5k").warnings == ()

    def test_tiny_and_unequal_classes(self, tmp_path: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (306, 8, 8), dtype=np.uint8)
        labels = np.repeat([0, 1, 2], [300, 5, 1])
        np.savez(tmp_path / "a.npz", images=images, labels=labels, classes=["cat", "dog", "elk"])
        tiny, unequal = count_dataset(tmp_path / "a.npz").warnings
        assert tiny.startswith("2 classes with fewer than 20 images to train on (elk 1, dog 5)")
        assert unequal.startswith("classes are unequal: cat has 300 images, 300 times as many as")
