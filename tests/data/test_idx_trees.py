"""IDX files in folders and archives as they are handed around, and those of known sets."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ganvas.data import labels as labels_module
from ganvas.data import load_dataset
from ganvas.errors import DataError
from helpers.common import put_idx
from helpers.sets import put_pictures, zipped

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 5, 4), np.uint8)
LABELS = [0, 2, 1, 2, 0, 1]


def put_four(folder: Path, suffix: str = "", labels: list[int] = LABELS) -> Path:
    put_idx(folder, "train", IMAGES, labels, suffix)
    put_idx(folder, "t10k", IMAGES[:2], labels[:2], suffix)
    return folder


def wrap(folder: Path) -> Path:
    """Put each file of a folder into a folder of its own name."""
    for file in list(folder.iterdir()):
        moved = file.rename(folder / "moved")
        file.mkdir()
        moved.rename(file / file.name)
    return folder


def dotted(folder: Path) -> Path:
    for file in [path for path in folder.iterdir() if path.is_file()]:
        file.rename(folder / file.name.replace("-idx", ".idx"))
    return folder


def both(folder: Path) -> Path:
    """The files as Kaggle hands them out: under a second name in folders."""
    dotted(put_four(folder))
    for file in wrap(put_four(folder / "again")).iterdir():
        file.rename(folder / file.name)
    (folder / "again").rmdir()
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "plain": put_four,
    "gzipped": lambda folder: put_four(folder, ".gz"),
    "dots": lambda folder: dotted(put_four(folder)),
    "folders of the same name": lambda folder: wrap(put_four(folder)),
    "both": both,
    "torchvision's folder": lambda folder: put_four(folder / "raw").parent,
    "torchvision's root": lambda folder: put_four(folder / "MNIST" / "raw").parents[1],
    "plain and gzipped": lambda folder: put_four(put_four(folder), ".gz"),
    "a copy below": lambda folder: put_four(put_four(folder) / "copy" / "raw").parents[1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_four_in_any_folders(
    tmp_path: Path, packed: Callable[[Path], Path], layout: str
) -> None:
    source = packed(LAYOUTS[layout](tmp_path / "set"))
    train, test = load_dataset(source), load_dataset(source, split="test")
    assert np.array_equal(train.images[:, 0].numpy(), IMAGES)
    assert np.array_equal(test.images[:, 0].numpy(), IMAGES[:2])
    assert train.labels is not None
    assert test.labels is not None
    assert (train.labels.tolist(), test.labels.tolist()) == (LABELS, LABELS[:2])
    assert train.classes == test.classes == ("0", "1", "2")


def test_what_lies_there_twice_is_named(tmp_path: Path) -> None:
    assert load_dataset(both(tmp_path)).notes[0] == (
        "t10k-images-idx3-ubyte/t10k-images-idx3-ubyte holds the same images as"
        " t10k-images.idx3-ubyte"
    )


def test_sets_of_other_images_are_refused(tmp_path: Path) -> None:
    put_four(tmp_path / "MNIST" / "raw")
    put_idx(tmp_path / "KMNIST" / "raw", "train", IMAGES[::-1], LABELS)
    with pytest.raises(DataError, match=r"several sets .*KMNIST/raw/train-.*MNIST/raw/train-"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("what", ["", "train-images-idx3-ubyte"])
def test_a_file_in_a_folder_of_its_name_finds_its_labels(tmp_path: Path, what: str) -> None:
    source = wrap(put_four(tmp_path)) / "train-images-idx3-ubyte" / what
    labels = load_dataset(source).labels
    assert labels is not None
    assert labels.tolist() == LABELS


def test_a_file_named_within_a_tree_finds_its_labels(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(put_four(tmp_path / "set" / "gzip", ".gz").parent)
    dataset = load_dataset(f"{source}:gzip/train-images-idx3-ubyte.gz")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == LABELS
    assert not dataset.notes


def test_idx_files_below_pictures_are_passed_over(tmp_path: Path) -> None:
    put_four(put_pictures(tmp_path, "a.png") / "old" / "raw")
    data = load_dataset(tmp_path)
    assert len(data) == 1
    assert data.notes == ("4 files passed over, not pictures (no suffix 4)",)


def test_pictures_beside_or_below_idx_files_are_passed_over(tmp_path: Path) -> None:
    put_pictures(put_four(tmp_path), "a.png", "png/b.png")
    data = load_dataset(tmp_path)
    assert len(data) == 6
    assert data.notes == ("2 pictures passed over: the IDX files are read",)


def test_damaged_files_in_an_archive_are_named(tmp_path: Path) -> None:
    file = put_four(tmp_path / "set") / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"set\.zip: train-images-idx3-ubyte should hold 120 bytes"):
        load_dataset(zipped(tmp_path / "set"))


def test_a_gzipped_bomb_in_an_archive_is_refused(tmp_path: Path) -> None:
    head = bytes((0, 0, 8, 3)) + b"".join(n.to_bytes(4, "big") for n in (32_000, 32, 32))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(head + bytes(32_000 * 32 * 32))
    )
    with pytest.raises(DataError, match="more than 250 times its own size, as bombs do"):
        load_dataset(zipped(tmp_path / "set"))


# Class names


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("part", "labels", "expected"),
    [
        ("digits", [0, 9], ["0", "9"]),
        ("letters", [1, 26], ["a", "z"]),
        ("balanced", [10, 46], ["A", "t"]),
        ("bymerge", [10, 46], ["A", "t"]),
        ("byclass", [35, 61], ["Z", "z"]),
        ("mnist", [3, 0], ["3", "0"]),
    ],
)
def test_emnist_is_known_by_its_files_names(
    tmp_path: Path, part: str, labels: list[int], expected: list[str], suffix: str
) -> None:
    put_idx(tmp_path, f"emnist-{part}-train", IMAGES[:2], labels, suffix)
    put_idx(tmp_path, f"emnist-{part}-test", IMAGES[2:3], labels[:1], suffix)
    file = tmp_path / f"emnist-{part}-train-images-idx3-ubyte{suffix}"
    for data in (load_dataset(file), load_dataset(tmp_path)):
        assert np.array_equal(data.images[:, 0].numpy(), IMAGES[:2].transpose(0, 2, 1))
        assert data.labels is not None
        assert [data.classes[i] for i in data.labels] == expected
        assert data.notes[0] == "EMNIST's files hold the pictures transposed: turned upright"
    assert len(load_dataset(tmp_path, split="test")) == 1


def test_emnist_by_path_equals_emnist_by_name(tmp_path: Path) -> None:
    raw = tmp_path / "EMNIST" / "raw"
    put_idx(raw, "emnist-letters-train", IMAGES, [1, 2, 3, 4, 5, 26])
    named = load_dataset("emnist-letters", data_dir=tmp_path)
    assert load_dataset(raw).fingerprint == named.fingerprint


def test_sets_are_known_by_their_published_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_four(tmp_path, ".gz", [9, 0, 1, 2, 3, 4])
    assert load_dataset(tmp_path).classes == tuple("0123456789")
    body = (tmp_path / "train-labels-idx1-ubyte.gz").read_bytes()
    digest = hashlib.md5(body).hexdigest()
    monkeypatch.setitem(labels_module._PUBLISHED, digest, "fashion-mnist")
    data = load_dataset(tmp_path)
    assert data.labels is not None
    assert data.classes[data.labels[0]] == "Ankle boot"
    assert data.notes == ("the files are those of fashion-mnist: its classes are named",)


def test_sets_are_known_by_their_labels_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_four(tmp_path, "", [9, 0, 1, 2, 3, 4])
    digest = hashlib.md5(bytes([9, 0, 1, 2, 3, 4])).hexdigest()
    monkeypatch.setitem(labels_module._CONTENTS, digest, "fashion-mnist")
    data = load_dataset(tmp_path)
    assert data.labels is not None
    assert data.classes[data.labels[0]] == "Ankle boot"


def test_published_checksums_are_those_of_torchvision() -> None:
    from torchvision import datasets

    known = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}
    for name, source in (known | {"kmnist": datasets.KMNIST}).items():
        sums = {md5 for file, md5 in source.resources if "labels" in file}
        assert {md5 for md5, of in labels_module._PUBLISHED.items() if of == name} == sums


@pytest.mark.parametrize(
    ("labels", "classes", "note"),
    [
        ([1, 2, 3, 1, 2, 3], ("1", "2", "3"), "labels are numbered from 1 to 3, so there is no"),
        ([0, 2, 0, 2, 0, 2], ("0", "1", "2"), "1 class without images: 1"),
        ([1, 3, 1, 3, 1, 3], ("0", "1", "2", "3"), "2 classes without images: 0, 2"),
    ],
)
def test_labels_from_1_have_no_class_0(
    tmp_path: Path, labels: list[int], classes: tuple[str, ...], note: str
) -> None:
    data = load_dataset(put_four(tmp_path, labels=labels))
    assert data.classes == classes
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == [str(label) for label in labels]
    assert data.notes[0].startswith(note)
    assert load_dataset(tmp_path, split="test").classes == classes
