"""MATLAB's .mat files: SVHN's, EMNIST's, and hostile ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from ganvas.data import load_dataset
from ganvas.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
COLOUR[0, 0, 0] = [255, 0, 1]
GREY = RNG.integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([10, 1, 2, 10, 1], np.uint8)


def mat(path: Path, **arrays: Any) -> Path:
    savemat(path / "a.mat", arrays, do_compression=True)
    return path / "a.mat"


def mat_73(path: Path, **arrays: Any) -> Path:
    """As MATLAB writes it: HDF5 with a header before it and axes in reverse."""
    with h5py.File(path / "a.mat", "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = np.asarray(array).T
        file.create_group("#refs#")
    with open(path / "a.mat", "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path / "a.mat"


@pytest.mark.parametrize("write", [mat, mat_73])
def test_svhn_has_its_images_last_and_labels_from_one(tmp_path: Path, write: Any) -> None:
    data = load_dataset(write(tmp_path, X=np.moveaxis(COLOUR, 0, 3), y=LABELS[:, None]))
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), COLOUR)
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == ["10", "1", "2", "10", "1"]
    assert data.classes == ("1", "2", "10")
    assert "X (8, 8, 3, 5) is read as (H, W, C, N)" in data.notes


@pytest.mark.parametrize("write", [mat, mat_73])
def test_grey_images_last(tmp_path: Path, write: Any) -> None:
    data = load_dataset(write(tmp_path, images=np.moveaxis(GREY, 0, 2), labels=LABELS[None]))
    assert np.array_equal(data.images[:, 0].numpy(), GREY)
    first = load_dataset(write(tmp_path, images=GREY, labels=LABELS[None]))
    assert np.array_equal(first.images[:, 0].numpy(), GREY)


def test_rows_are_read_column_by_column(tmp_path: Path) -> None:
    rows = GREY.transpose(0, 2, 1).reshape(5, 784)
    data = load_dataset(mat(tmp_path, fea=rows.astype(float), gnd=LABELS[:, None]))
    assert np.array_equal(data.images[:, 0].numpy(), GREY)
    assert data.classes == ("1", "2", "10")
    assert any("column by column as MATLAB stores them" in note for note in data.notes)


def test_emnist_keeps_its_parts_in_structs(tmp_path: Path) -> None:
    def part(n: int) -> dict[str, Any]:
        rows = GREY[:n].transpose(0, 2, 1).reshape(n, 784)
        return {"images": rows, "labels": LABELS[:n, None], "writers": np.zeros((n, 1))}

    source = mat(tmp_path, dataset={"train": part(5), "test": part(2), "mapping": np.eye(3)})
    train, test = load_dataset(source), load_dataset(source, split="test")
    assert np.array_equal(train.images[:, 0].numpy(), GREY)
    assert np.array_equal(test.images[:, 0].numpy(), GREY[:2])
    assert train.classes == test.classes == ("1", "2", "10")


def test_an_array_of_a_mat_is_chosen_by_name(tmp_path: Path) -> None:
    source = mat(tmp_path, left=GREY, right=GREY[::-1], y=LABELS[:, None])
    with pytest.raises(DataError, match=r"left \(5, 28, 28\) uint8, right .* name it, as .*:left"):
        load_dataset(source)
    assert np.array_equal(load_dataset(f"{source}:right").images[:, 0].numpy(), GREY[::-1])


def test_objects_are_listed_and_never_made(tmp_path: Path) -> None:
    source = mat(tmp_path, images=np.array([GREY, "x"], object))
    with pytest.raises(DataError, match=r"images .* objects|images holds objects"):
        load_dataset(source)


def test_mat_bombs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expands more than 250-fold"):
        load_dataset(mat(tmp_path, images=np.zeros((30, 1024, 1024), np.uint8)))


def test_an_element_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    packed = zlib.compress(struct.pack("<II", 14, 2**31) + bytes(30 * 2**20))
    body = struct.pack("<II", 15, len(packed)) + packed
    (tmp_path / "a.mat").write_bytes(header + body)
    with pytest.raises(DataError, match="expands more than 250-fold"):
        load_dataset(tmp_path / "a.mat")


@pytest.mark.parametrize("keep", [0, 60, 130, 200, 0.5, 0.9])
def test_a_damaged_mat_is_one_line(tmp_path: Path, keep: float) -> None:
    source = mat(tmp_path, images=GREY)
    whole = source.read_bytes()
    source.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"a\.mat") as caught:
        load_dataset(source)
    assert "\n" not in str(caught.value)
