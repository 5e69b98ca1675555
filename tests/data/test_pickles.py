"""Pickles of plain arrays, and single files that are packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
IMAGES[0, 0, :2] = [0, 255]
LABELS = np.array([0, 2, 1, 2, 0, 1], np.int64)


def test_a_dictionary_of_arrays(tmp_path: Path) -> None:
    """As the German traffic signs are distributed: features, labels, sizes and coords."""
    boxes = np.zeros((6, 4))
    content = {"coords": boxes, "labels": LABELS, "features": IMAGES, "sizes": boxes[:, :2]}
    (tmp_path / "train.p").write_bytes(pickle.dumps(content))
    data = load_dataset(tmp_path / "train.p")
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()
    assert "arrays not used: coords, sizes" in data.notes


def test_pairs_of_three_parts(tmp_path: Path) -> None:
    """mnist.pkl.gz of the deep learning tutorials: rows of fractions, train, valid and test."""
    rows = (IMAGES.reshape(6, 784) / 255).astype(np.float32)
    parts = tuple((rows[:n], LABELS[:n]) for n in (6, 3, 2))
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(parts, 2)))
    train = load_dataset(tmp_path / "mnist.pkl.gz")
    assert np.array_equal(train.images[:, 0].numpy(), IMAGES)
    assert train.classes == ("0", "1", "2")
    assert len(load_dataset(tmp_path / "mnist.pkl.gz", split="test")) == 2


def test_objects_in_a_pickle_are_never_made(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"images": IMAGES, "path": tmp_path}))
    words = r"holds more than plain arrays \(it asks for pathlib PosixPath, which is never run\)"
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path / "a.pkl")


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, IMAGES)
    return file.getvalue()


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_arrays_and_tables_may_be_packed(tmp_path: Path, ending: str, pack: Any) -> None:
    (tmp_path / f"a.npy.{ending}").write_bytes(pack(npy()))
    assert np.array_equal(load_dataset(tmp_path / f"a.npy.{ending}").images[:, 0].numpy(), IMAGES)
    table = "".join(",".join(map(str, row)) + "\n" for row in IMAGES.reshape(6, 784).tolist())
    (tmp_path / f"a.csv.{ending}").write_bytes(pack(table.encode()))
    assert np.array_equal(load_dataset(tmp_path / f"a.csv.{ending}").images[:, 0].numpy(), IMAGES)


def test_packed_bombs_and_damage_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    for content, words in (
        (gzip.compress(bytes(20 * 2**20)), "expands more than 250-fold"),
        (gzip.compress(npy())[:90], "is damaged or not packed"),
        (b"label,pixel0", "is damaged or not packed"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            load_dataset(path)
