"""Labels in every form that arrays have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganvas.data import load_dataset

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 5, 4), np.uint8)
LABELS = np.array([0, 2, 1, 2, 0, 1], np.uint8)


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path / "a.npz", **arrays)  # type: ignore[arg-type]
    return path / "a.npz"


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (LABELS[:, None], "0 1 2", [0, 2, 1, 2, 0, 1]),
        (LABELS[None], "0 1 2", [0, 2, 1, 2, 0, 1]),
        (np.eye(3)[LABELS], "0 1 2", [0, 2, 1, 2, 0, 1]),
        (np.eye(3, dtype=bool)[LABELS], "0 1 2", [0, 2, 1, 2, 0, 1]),
        (LABELS.astype(float), "0 1 2", [0, 2, 1, 2, 0, 1]),
        (LABELS > 0, "0 1", [0, 1, 1, 1, 0, 1]),
        (LABELS + 1, "1 2 3", [0, 2, 1, 2, 0, 1]),
        (LABELS * 10 + 1, "1 11 21", [0, 2, 1, 2, 0, 1]),
        (np.array([-1, 1, 1, -1, 1, 1]), "-1 1", [0, 1, 1, 0, 1, 1]),
        (np.array(["b", "a", "b", "10", "9", "9"]), "9 10 a b", [3, 2, 3, 1, 0, 0]),
        (np.array([b"b", b"a", b"b", b"a", b"a", b"a"]), "a b", [1, 0, 1, 0, 0, 0]),
    ],
)
def test_labels_of_every_form(
    tmp_path: Path, labels: object, classes: str, indices: list[int]
) -> None:
    data = load_dataset(npz(tmp_path, images=IMAGES, labels=labels))
    assert data.labels is not None
    assert (data.labels.tolist(), data.classes) == (indices, tuple(classes.split()))


def test_several_values_per_image_are_no_classes(tmp_path: Path) -> None:
    data = load_dataset(npz(tmp_path, images=IMAGES, labels=np.ones((6, 3), np.uint8)))
    assert data.labels is None
    note = "labels (6, 3) are several values per image, no classes: read without them"
    assert data.notes == (note, "arrays not used: labels")


def test_labels_counted_from_one_fit_their_names(tmp_path: Path) -> None:
    data = load_dataset(npz(tmp_path, images=IMAGES, labels=LABELS + 1, classes=["a", "b", "c"]))
    assert data.labels is not None
    assert (data.labels.tolist(), data.classes) == (LABELS.tolist(), ("a", "b", "c"))
