"""The training part and the held-out part of a folder or a zip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError
from helpers.sets import put_pictures, read_classes


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation"])
def test_train_and_held_out_folders_are_the_parts(
    tmp_path: Path, packed: Callable[[Path], Path], held_out: str
) -> None:
    names = ["train/cat/a.png", "train/dog/b.png", f"{held_out}/cat/c.png", f"{held_out}/dog/d.png"]
    source = packed(put_pictures(tmp_path / "set", *names))
    assert read_classes(source) == ([0, 1], ["cat", "dog"])
    assert read_classes(source, "test") == ([2, 3], ["cat", "dog"])
    assert load_dataset(source).notes == (
        f"train/ is the part to train on, {held_out}/ the one held out",
    )


def test_test_wins_over_val_and_the_rest_is_counted(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "train/a.png", "val/b.png", "test/c.png", "d.png")
    assert read_classes(source, "test") == ([2], None)
    assert "; 2 pictures outside them left out" in load_dataset(source).notes[0]


def test_the_held_out_part_has_the_classes_of_the_train_part(tmp_path: Path) -> None:
    source = put_pictures(
        tmp_path, "train/cat/a.png", "train/dog/b.png", "train/emu/c.png", "test/dog/d.png"
    )
    data = load_dataset(source, split="test")
    assert data.classes == ("cat", "dog", "emu")
    assert data.labels is not None
    assert data.labels.tolist() == [1]


def test_a_class_that_the_train_part_lacks_is_refused(tmp_path: Path) -> None:
    source = put_pictures(
        tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/emu/d.png"
    )
    with pytest.raises(DataError, match="test/ has classes that train/ lacks: emu"):
        load_dataset(source, split="test")
    assert len(load_dataset(source)) == 2


def test_one_table_may_name_both_parts(tmp_path: Path) -> None:
    table = "train/a.png,x\ntrain/b.png,y\ntest/c.png,y\n"
    source = put_pictures(tmp_path, "train/a.png", "train/b.png", "test/c.png", table=table)
    assert read_classes(source) == ([0, 1], ["x", "y"])
    assert read_classes(source, "test") == ([2], ["y"])


def test_a_class_that_only_the_held_out_rows_have_is_refused(tmp_path: Path) -> None:
    source = put_pictures(
        tmp_path, "train/a.png", "test/b.png", table="train/a.png,x\ntest/b.png,y\n"
    )
    assert load_dataset(source).classes == ("x",)
    with pytest.raises(DataError, match="test/ has classes that train/ lacks: y"):
        load_dataset(source, split="test")


def test_a_held_out_part_without_classes_has_none(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/c.png")
    assert read_classes(source, "test") == ([2], None)


def test_a_train_part_without_classes_gives_the_held_out_part_none(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "train/a.png", "test/cat/b.png", "test/dog/c.png")
    assert read_classes(source, "test") == ([1, 2], None)


def test_each_part_may_have_its_table(tmp_path: Path) -> None:
    source = put_pictures(
        tmp_path, "train/a.png", "train/b.png", "test/c.png", table="a.png,x\nb.png,y\n", at="train"
    )
    (source / "test" / "labels.csv").write_text("c.png,y\n")
    assert read_classes(source, "test") == ([2], ["y"])


@pytest.mark.parametrize(
    "names", [["a.png"], ["train/a.png", "train/b.png"], ["cat/a.png", "dog/b.png"]]
)
def test_without_a_held_out_part_it_cannot_be_read(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="has no held-out part: put it into test/"):
        load_dataset(put_pictures(tmp_path, *names), split="test")
