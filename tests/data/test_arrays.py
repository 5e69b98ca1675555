"""IDX files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (6, 5, 4), np.uint8)
LABELS = np.array([0, 2, 1, 2, 0, 1], np.uint8)


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + array.tobytes()
    )


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> Path:
    path.write_bytes(gzip.compress(idx_bytes(array)) if path.suffix == ".gz" else idx_bytes(array))
    return path


@pytest.fixture(params=["", ".gz"])
def usual_four(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The usual four files, plain or gzipped. The first two pictures are held out."""
    for part, n in (("train", 6), ("t10k", 2)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{request.param}", IMAGES[:n])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{request.param}", LABELS[:n])
    return tmp_path


def test_a_folder_of_four_has_two_parts_with_the_same_classes(usual_four: Path) -> None:
    train, test = load_dataset(usual_four), load_dataset(usual_four, split="test")
    assert np.array_equal(train.images[:, 0].numpy(), IMAGES)
    assert np.array_equal(test.images[:, 0].numpy(), IMAGES[:2])
    assert train.labels is not None
    assert test.labels is not None
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 2, 1, 2, 0, 1], [0, 2])
    assert train.classes == test.classes == ("0", "1", "2")


def test_classes_of_both_parts_agree_where_one_lacks_the_last(tmp_path: Path) -> None:
    for part, labels in (("train", [0, 1]), ("t10k", [0, 0])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", IMAGES[:2])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.array(labels, np.uint8))
    assert load_dataset(tmp_path, split="test").classes == ("0", "1")


def test_one_file_of_images_finds_its_labels(usual_four: Path) -> None:
    (images,) = usual_four.glob("t10k-images*")
    data = load_dataset(images)
    assert len(data) == 2
    assert data.labels is not None
    with pytest.raises(DataError, match="has no held-out part"):
        load_dataset(images, split="test")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("digits.idx3-ubyte", "digits.idx1-ubyte"),
        ("my-images.idx", "my-labels.idx"),
        ("digits", ""),
        ("images.bin", ""),
    ],
)
def test_one_file_may_have_any_name(tmp_path: Path, name: str, labels: str, suffix: str) -> None:
    if labels:
        write_idx(tmp_path / f"{labels}{suffix}", LABELS)
    data = load_dataset(write_idx(tmp_path / f"{name}{suffix}", IMAGES))
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert data.classes == (("0", "1", "2") if labels else ())


def test_a_damaged_file_named_idx_is_reported_as_idx(tmp_path: Path) -> None:
    (tmp_path / "digits.idx3").write_bytes(bytes((0, 0, 9, 3)) + bytes(32))
    with pytest.raises(DataError, match=r"digits\.idx3 begins with 00 00 09 03"):
        load_dataset(tmp_path / "digits.idx3")


def test_images_without_labels_say_so(tmp_path: Path) -> None:
    data = load_dataset(write_idx(tmp_path / "my-images-idx3-ubyte", IMAGES))
    assert (data.labels, data.classes) == (None, ())
    assert data.notes == ("no labels file lies beside my-images-idx3-ubyte: read without classes",)


def test_a_folder_with_one_part_only(tmp_path: Path) -> None:
    write_idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    with pytest.raises(
        DataError, match="has no train-images-idx3-ubyte, only t10k-images-idx3-ubyte"
    ):
        load_dataset(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").rename(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="has no held-out part"):
        load_dataset(tmp_path, split="test")


def test_a_folder_of_several_sets_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "a-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "b-images-idx3-ubyte", IMAGES)
    with pytest.raises(DataError, match="holds several sets"):
        load_dataset(tmp_path)


def test_size_fit_and_channels_hold_for_arrays_too(usual_four: Path) -> None:
    data = load_dataset(usual_four, size=(10, 8), channels=3)
    assert data.images.shape == (6, 3, 10, 8)
    assert "6 pictures of 5x4, resized to 10x8" in data.notes
    assert "6 grey pictures widened to RGB" in data.notes


GOOD = idx_bytes(IMAGES)
DAMAGE = {
    "magic": (b"\x89PNG" + GOOD[4:], "begins with 89 50 4e 47, expected 00 00 08 03"),
    "labels": (idx_bytes(LABELS), "begins with 00 00 08 01, expected 00 00 08 03"),
    "empty": (b"", "begins with nothing"),
    "header": (GOOD[:9], "is damaged"),
    "short": (GOOD[:-1], "should hold 120 bytes of data and holds 119"),
    "long": (GOOD + b"x", "should hold 120 bytes of data and holds more"),
    "huge": (GOOD[:4] + b"\xff" * 12, "more than 16,384: split it"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_idx_file_is_named(tmp_path: Path, kind: str, suffix: str) -> None:
    body, words = DAMAGE[kind]
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(body) if suffix else body)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("cut", [slice(0, 40), slice(0, -9), slice(5, None)])
def test_a_damaged_gz_is_named(tmp_path: Path, cut: slice) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(GOOD)[cut])
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte\.gz is damaged or cannot be read"
    ):
        load_dataset(path)


def test_another_number_of_labels_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:4])
    with pytest.raises(DataError, match="train-labels-idx1-ubyte holds 4 labels for the 6 images"):
        load_dataset(tmp_path)


def test_an_idx_file_of_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        load_dataset(write_idx(tmp_path / "a-images-idx3-ubyte", IMAGES[:0]))
