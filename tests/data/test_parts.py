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
    assert load_dataset(source).notes == (
        "train/ is the part to train on, test/ the one held out; left out: val/ (1 picture), 1"
        " picture beside them",
    )


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("training", "testing"),
        ("Train", "Test"),
        ("TRAIN", "DEV"),
        ("trn", "eval"),
        ("train", "holdout"),
        ("train", "held_out"),
        ("Training Set", "Validation set"),
        ("train_images", "test_images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train2017", "val2017"),
        ("train_val", "test"),
        ("MNIST - JPG - training", "MNIST - JPG - testing"),
        ("训练集", "测试集"),
    ],
)
@pytest.mark.parametrize("above", ["", "data/"])
@pytest.mark.parametrize("classes", [("cat/", "dog/"), ("", "")])
def test_parts_have_many_names(
    tmp_path: Path, above: str, train: str, held_out: str, classes: tuple[str, str]
) -> None:
    one, two = classes
    names = [f"{part}/{c}{i}.png" for part in (train, held_out) for i, c in enumerate((one, two))]
    source = put_pictures(tmp_path, *(above + name for name in names))
    labels = ["cat", "dog"] if one else None
    assert read_classes(source) == ([0, 1], labels)
    assert read_classes(source, "test") == ([2, 3], labels)
    (note,) = (note for note in load_dataset(source).notes if "is the part to train on" in note)
    assert note == (
        f"{above}{train.split('/')[0]}/ is the part to train on,"
        f" {above}{held_out.split('/')[0]}/ the one held out"
    )


def test_classes_may_hold_the_parts(tmp_path: Path, packed: Callable[[Path], Path]) -> None:
    names = ["cat/train/a.png", "cat/test/b.png", "dog/Train/c.png", "dog/val/d.png", "emu/e.png"]
    source = packed(put_pictures(tmp_path / "set", *names))
    assert read_classes(source) == ([0, 2, 4], ["cat", "dog", "emu"])
    assert read_classes(source, "test") == ([1], ["cat"])
    assert load_dataset(source).notes == (
        "cat/train/, dog/Train/, emu/ are the part to train on, cat/test/ the one held out; left"
        " out: dog/val/ (1 picture)",
    )


def test_names_of_parts_may_hold_classes(tmp_path: Path) -> None:
    names = ["trainA/a.png", "trainB/b.png", "testA/c.png", "testB/d.png"]
    source = put_pictures(tmp_path, *names)
    assert read_classes(source) == ([0, 1], ["a", "b"])
    assert read_classes(source, "test") == ([2, 3], ["a", "b"])


@pytest.mark.parametrize(
    "classes", [("test tubes", "training shoes"), ("train", "bus"), ("invalid", "valid")]
)
def test_classes_with_such_names_stay_classes(tmp_path: Path, classes: tuple[str, str]) -> None:
    source = put_pictures(tmp_path, *(f"{name}/{i}.png" for i, name in enumerate(classes)))
    assert sorted(load_dataset(source).classes) == sorted(classes)


@pytest.mark.parametrize("name", ["test", "val", "train"])
def test_a_part_alone_is_the_whole_set(tmp_path: Path, name: str) -> None:
    source = put_pictures(tmp_path, f"{name}/cat/a.png", f"{name}/dog/b.png")
    assert read_classes(source) == ([0, 1], ["cat", "dog"])
    assert load_dataset(source).notes == (f"{name}/ holds all the pictures, so it is not a class",)


def test_held_out_parts_alone_are_refused(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "test/cat/a.png", "val/cat/b.png")
    with pytest.raises(DataError, match="holds test/, val/ and no folder to train on: rename one"):
        load_dataset(source)


def test_a_held_out_part_with_classes_is_preferred(tmp_path: Path) -> None:
    names = ["train/cat/a.png", "train/dog/b.png", "val/dog/c.png", "test/d.png"]
    source = put_pictures(tmp_path, *names)
    assert read_classes(source, "test") == ([2], ["dog"])
    assert (
        load_dataset(source).notes[0].endswith("val/ the one held out; left out: test/ (1 picture)")
    )


def test_classes_of_the_parts_may_differ_in_case(tmp_path: Path) -> None:
    names = ["train/Cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png"]
    source = put_pictures(tmp_path, *names)
    assert read_classes(source, "test") == ([2, 3], ["Cat", "dog"])
    notes = load_dataset(source, split="test").notes
    assert "classes of test/ that differ in case: cat read as Cat" in notes
    only = put_pictures(tmp_path / "one", "train/Cat/a.png", "train/dog/b.png", "test/cat/c.png")
    assert read_classes(only, "test") == ([2], ["Cat"])


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
