"""The trees that docs/data.md shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ganvas.data import load_dataset
from helpers.common import put_idx
from helpers.sets import put_pictures, read_classes

Packed = Callable[[Path], Path]


def test_a_folder_for_each_class(tmp_path: Path, packed: Packed) -> None:
    names = ["photos/cat/1.png", "photos/cat/2.png", "photos/cat/old/3.png", "photos/dog/4.png"]
    source = packed(put_pictures(tmp_path / "set", *names))
    assert read_classes(source) == ([0, 1, 2, 3], ["cat", "cat", "cat", "dog"])


def test_a_part_held_out(tmp_path: Path, packed: Packed) -> None:
    names = ["Training/cat/1.png", "Training/dog/2.png", "Testing/cat/3.png", "Testing/dog/4.png"]
    source = packed(put_pictures(tmp_path / "set", *names))
    assert read_classes(source) == ([0, 1], ["cat", "dog"])
    assert read_classes(source, "test") == ([2, 3], ["cat", "dog"])


def test_a_table_of_labels(tmp_path: Path, packed: Packed) -> None:
    source = put_pictures(tmp_path / "set", "train/3f0c.png", "train/5d.png", "test/9ab1.png")
    (source / "train.csv").write_text("id,breed\n3f0c,poodle\n5d,beagle\n")
    assert read_classes(packed(source)) == ([0, 1], ["poodle", "beagle"])
    assert read_classes(packed(source), "test") == ([2], None)


def test_packed_sets(tmp_path: Path, packed: Packed) -> None:
    names = [f"{i // 2:05d}/img{i:08d}.png" for i in range(4)]
    source = put_pictures(tmp_path / "faces", *names)
    labels = [[name, 3 * (i % 2)] for i, name in enumerate(names)]
    (source / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert read_classes(packed(source)) == ([0, 1, 2, 3], ["0", "3", "0", "3"])


def test_the_format_of_mnist(tmp_path: Path, packed: Packed) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    put_idx(tmp_path / "digits", "train", images, [0, 1, 2])
    put_idx(tmp_path / "digits", "t10k", images[:2], [0, 1])
    data = load_dataset(packed(tmp_path / "digits"))
    assert np.array_equal(data.images[:, 0].numpy(), images)
    assert data.classes == ("0", "1", "2")
    assert len(load_dataset(packed(tmp_path / "digits"), split="test")) == 2
