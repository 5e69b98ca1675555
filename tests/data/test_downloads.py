"""Named data sets that are missing or damaged: fetched whole, or refused in one line."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas.data import NAMES, load_dataset
from ganvas.errors import DataError
from helpers.common import put_idx
from helpers.sets import put_cifar

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 28, 28), np.uint8)

pytestmark = pytest.mark.usefixtures("no_network")


def test_a_damaged_idx_set_is_named(tmp_path: Path) -> None:
    put_idx(tmp_path / "MNIST" / "raw", "train", IMAGES[:2], [3, 0])
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-images-idx3-ubyte should hold 1,568 bytes"):
        load_dataset("mnist", data_dir=tmp_path)


def test_an_idx_set_without_labels_is_named(tmp_path: Path) -> None:
    put_idx(tmp_path / "MNIST" / "raw", "train", IMAGES[:2], [3, 0])
    (tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="train-images-idx3-ubyte has no labels file beside it"):
        load_dataset("mnist", data_dir=tmp_path)


def test_a_damaged_cifar_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_cifar(tmp_path, monkeypatch)
    (folder / "data_batch_1").write_bytes(b"damaged")
    with pytest.raises(
        DataError,
        match=r"data_batch_1 is damaged and cannot be fetched .*: remove it and try again",
    ):
        load_dataset("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.endswith("-5k") and name != "stacked-mnist"]
)
def test_what_cannot_be_fetched_is_one_line_that_names_what_needs_no_network(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(
        DataError, match=f"{name} is not in .* Network is unreachable.* mnist-5k, which needs none"
    ) as e:
        load_dataset(name, data_dir=tmp_path / "new")
    assert "\n" not in str(e.value)
    assert e.value.__cause__ is None
    assert e.value.__suppress_context__
    assert capfd.readouterr().out == ""
    assert socket.getdefaulttimeout() is None


def put_both_parts(fetched: Any) -> None:
    """A download in place of torchvision's."""
    print("Downloading")
    for part in ("train", "t10k"):
        put_idx(Path(fetched.raw_folder), part, IMAGES[:2], [3, 0])


def test_what_is_fetched_is_read_and_printed_about_on_stderr_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST.download", put_both_parts)
    assert len(load_dataset("mnist", data_dir=tmp_path)) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Downloading" in captured.err


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        DataError, match=r"mnist is not in .* and cannot be fetched \(.*Not a directory"
    ):
        load_dataset("mnist", data_dir=tmp_path / "file" / "data")


def test_a_process_waits_while_another_fetches(tmp_path: Path) -> None:
    from filelock import FileLock

    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / ".ganvas.lock"):
            put_idx(tmp_path / "MNIST" / "raw", "train", IMAGES[:1], [3])  # half of it has come
            reading = pool.submit(load_dataset, "mnist", data_dir=tmp_path)
            assert not wait([reading], timeout=0.3).done
            put_idx(tmp_path / "MNIST" / "raw", "train", IMAGES[:2], [3, 0])
        assert len(reading.result()) == 2


def test_a_refused_download_leaves_nothing_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache" / "data"
    with pytest.raises(DataError, match=r"mnist is not in .* cannot be fetched"):
        load_dataset("mnist", data_dir=root)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("torchvision.datasets.MNIST.download", put_both_parts)
    assert len(load_dataset("mnist", data_dir=root)) == 2
    assert {path.name for path in root.iterdir()} == {"MNIST", ".ganvas.lock"}


@pytest.mark.parametrize("error", [OSError("the line went dead"), KeyboardInterrupt()])
def test_a_download_that_breaks_off_leaves_nothing_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(self: Any) -> None:
        put_idx(Path(self.raw_folder), "train", IMAGES[:1], [3])
        raise error

    put_idx(tmp_path / "KMNIST" / "raw", "train", IMAGES[:1], [3])  # another set stays
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("torchvision.datasets.MNIST.download", broken)
    with pytest.raises((DataError, KeyboardInterrupt)) as caught:
        load_dataset("mnist", data_dir=tmp_path)
    assert isinstance(caught.value, KeyboardInterrupt) or "the line went dead" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr("torchvision.datasets.MNIST.download", put_both_parts)
    assert len(load_dataset("mnist", data_dir=tmp_path)) == 2


def test_an_empty_folder_of_an_earlier_download_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    monkeypatch.setattr("torchvision.datasets.MNIST.download", put_both_parts)
    assert len(load_dataset("mnist", data_dir=tmp_path)) == 2


def test_a_damaged_cifar_file_is_fetched_again_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put_cifar(tmp_path, monkeypatch)
    whole = (folder / "data_batch_1").read_bytes()
    (folder / "data_batch_1").write_bytes(b"damaged")

    def download(self: Any) -> None:
        shutil.copytree(folder, Path(self.root) / folder.name)
        (Path(self.root) / folder.name / "data_batch_1").write_bytes(whole)

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", download)
    assert len(load_dataset("cifar10", data_dir=tmp_path)) == 2
    assert (folder / "data_batch_1").read_bytes() == whole
