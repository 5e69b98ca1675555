"""Tables that give pictures their classes, as competitions and hospitals hand them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError
from helpers.sets import classes, put_pictures, put_table, read_classes

ABC = ("a.png", "b.png", "c.png")


# Where tables lie


@pytest.mark.parametrize(
    ("pictures", "table", "rows"),
    [
        ("train/", "train.csv", ("a", "b", "c")),
        ("images/", "labels.csv", ("a.png", "b.png", "c.png")),
        ("images/", "labels.csv", ("images/a.png", "images/b.png", "images/c.png")),
        ("images/", "labels.csv", ("old/a.png", "old/b.png", "old/c.png")),
        ("images/all/", "data.csv", ("a.png", "b.png", "c.png")),
        ("images/", "annotations/list.txt", ("a.png", "b.png", "c.png")),
        ("images/", "images/labels.csv", ("a.png", "b.png", "c.png")),
    ],
)
def test_a_table_may_lie_beside_or_above_the_pictures(
    tmp_path: Path,
    packed: Callable[[Path], Path],
    pictures: str,
    table: str,
    rows: tuple[str, ...],
) -> None:
    source = put_pictures(tmp_path / "set", *(pictures + name for name in ABC))
    put_table(
        source, table, "".join(f"{row},{label}\n" for row, label in zip(rows, "xyx", strict=True))
    )
    assert classes(packed(source)) == ["x", "y", "x"]
    assert load_dataset(packed(source)).notes == (f"classes read from {table}",)


@pytest.mark.parametrize("table", ["labels.csv", "train.csv", "pics.csv"])
@pytest.mark.parametrize("folder", ["", "pics/"])
def test_a_table_beside_the_given_folder_is_read(
    tmp_path: Path, packed: Callable[[Path], Path], table: str, folder: str
) -> None:
    source = packed(put_pictures(tmp_path / "pics", *ABC))
    put_table(tmp_path, table, f"file,label\n{folder}a.png,x\n{folder}b.png,y\n{folder}c.png,x\n")
    assert classes(source) == ["x", "y", "x"]
    assert load_dataset(source).notes == (f"classes read from ../{table}",)


def test_a_faulty_table_beside_the_given_folder_is_of_others(tmp_path: Path) -> None:
    source = put_pictures(tmp_path / "pics", *ABC)
    twice = "".join(f"{name},{label}\n" for name in ABC for label in "xy")
    put_table(tmp_path, "train.csv", twice)
    data = load_dataset(source)
    assert data.labels is None
    (note,) = data.notes
    assert note.startswith("../train.csv passed over: ")
    with pytest.raises(DataError, match="twice"):
        load_dataset(source, label_column="2")


def test_a_table_beside_a_folder_of_classes_is_not(tmp_path: Path) -> None:
    source = put_pictures(tmp_path / "pics", "cat/a.png", "dog/b.png")
    put_table(tmp_path, "labels.csv", "a.png,x\nb.png,x\n")
    assert classes(source) == ["cat", "dog"]


def test_competitions_have_one_table_for_each_part(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "train/1.png", "train/2.png", "test/1.png", "test/2.png")
    put_table(source, "train.csv", "id,label\n1,x\n2,y\n")
    put_table(source, "test.csv", "id\n1\n2\n")
    put_table(source, "sample_submission.csv", "id,label\n1,x\n2,x\n")
    assert read_classes(source) == ([0, 1], ["x", "y"])
    assert read_classes(source, "test") == ([2, 3], None)
    assert load_dataset(source).notes[1:] == (
        "classes read from train.csv",
        "2 files passed over, not pictures (.csv 2)",
    )
    put_table(source, "test.csv", "id,label\n1,y\n2,x\n")
    assert read_classes(source, "test") == ([2, 3], ["y", "x"])


def test_a_held_out_part_with_a_table_is_preferred(tmp_path: Path) -> None:
    """As in Tiny ImageNet, whose tables in each class hold boxes."""
    names = ["cat/images/a.png", "dog/images/b.png"]
    source = put_pictures(
        tmp_path, *("train/" + n for n in names), "val/images/c.png", "test/d.png"
    )
    put_table(source, "val/val_annotations.txt", "c.png\tdog\t0\t0\t9\t9\n")
    put_table(source, "train/cat/cat_boxes.txt", "a.png\t0\t0\t9\t9\n")
    assert classes(source) == ["cat", "dog"]
    assert classes(source, "test") == ["dog"]
    assert load_dataset(source).notes[1:] == ("2 files passed over, not pictures (.txt 2)",)


def test_paths_of_other_parts_do_not_name_these_pictures(tmp_path: Path) -> None:
    names = [f"{part}/{c}/1.png" for part in ("train", "test") for c in ("cat", "dog")]
    source = put_pictures(tmp_path, *names)
    put_table(source, "all.csv", "path,label\n" + "".join(f"{n},{n[5:8]}\n" for n in names))
    assert classes(source, label_column="label") == ["/ca", "/do"]
    assert classes(source, "test", label_column="none") == ["cat", "dog"]


def test_the_table_of_the_held_out_pictures_is_not_that_of_the_others(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    put_table(source, "test.csv", "id,label\na,x\nb,y\nc,x\n")
    put_table(source, "sample_submission.csv", "id,label\na,x\nb,y\nc,x\n")
    assert classes(source) == []
    assert (
        "test.csv passed over: its name speaks of held-out pictures" in load_dataset(source).notes
    )


# Rows and pictures that do not fit


def test_pictures_without_rows_are_left_out_and_rows_without_pictures_named(tmp_path: Path) -> None:
    source = put_table(put_pictures(tmp_path, *ABC, "d.png"), "t.csv", "a,x\nb,y\nc,x\nz,y\n")
    assert read_classes(source) == ([0, 1, 2], ["x", "y", "x"])
    assert load_dataset(source).notes == (
        "classes read from t.csv",
        "1 picture without a label in it left out: d.png",
        "1 row of it for files that are not here: z",
    )


@pytest.mark.parametrize("header", ["id,label", "id,age,label"])
def test_pictures_with_an_empty_label_are_left_out(tmp_path: Path, header: str) -> None:
    between = "," * header.count(",")
    rows = "".join(f"{name}{between}{label}\n" for name, label in zip("abcd", "xy x", strict=True))
    source = put_table(put_pictures(tmp_path, *ABC, "d.png"), "t.csv", f"{header}\n{rows}")
    assert read_classes(source) == ([0, 1, 3], ["x", "y", "x"])
    assert load_dataset(source).notes[-1] == "1 picture without a label in it left out: c.png"


def test_a_table_of_mostly_missing_pictures_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"{name},x\n" for name in "abcdefg")
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", f"id,label\n{rows}")
    with pytest.raises(DataError, match=r"t\.csv names 4 files: d, e, f, g, not pictures here"):
        load_dataset(source)
    assert classes(source, label_column="label") == ["x", "x", "x"]


def test_a_table_of_a_few_pictures_is_passed_over(tmp_path: Path) -> None:
    source = put_table(put_pictures(tmp_path, *ABC), "best.csv", "file,label\na.png,x\n")
    assert classes(source) == []
    assert load_dataset(source).notes == (
        "best.csv passed over: it names only 1 of 3 pictures; --label-column reads it all the same",
    )
    assert classes(source, label_column="label") == ["x"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("captions.csv", "".join(f"{i},text {i}\n" for i in range(30)), "no column of it looks"),
        ("index.csv", "".join(f"{i},{i + 7}\n" for i in range(30)), "no column of it looks"),
        ("scores.csv", "".join(f"{i},0.{i}\n" for i in range(30)), "no column of it looks"),
        ("train.csv", "id,label\nx,1\ny,2\n", "it names none of the pictures"),
    ],
)
def test_what_is_passed_over_is_named(tmp_path: Path, name: str, text: str, reason: str) -> None:
    source = put_table(put_pictures(tmp_path, *(f"{i}.png" for i in range(30))), name, text)
    (note,) = load_dataset(source).notes
    assert note.startswith(f"{name} passed over: {reason}")


def test_a_table_of_pixels_gives_no_classes(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    rows = "".join(f"{name},{name}{',0' * 300}\n" for name in "abc")
    put_table(source, "train.csv", rows)
    assert classes(source) == []
    assert load_dataset(source).notes == ("train.csv passed over: has more than 256 columns",)


def test_other_texts_are_no_tables(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    put_table(source, "README.txt", "Pictures of cats, dogs and\nother animals.\n\na b c\n")
    put_table(source, "a.txt", "0 0.5 0.5 1 1\n")
    put_table(source, "classes.txt", "x\ny\n")
    (source / "notes.txt").write_bytes(b"a \xe4\nother w\xf6rds\n")
    assert classes(source) == []
    assert load_dataset(source).notes == ("4 files passed over, not pictures (.txt 4)",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "id,colour,shape\na,x,p\nb,y,p\nc,x,q\n",
            "several columns .*: colour, shape: name one",
        ),
        ("id,genus,family\na,x,p\nb,y,p\nc,x,q\n", "several columns .*: genus, family: name one"),
        ("id,p,q,r\na,1,0,0\nb,1,1,0\nc,0,0,1\n", r"gives 2 classes \(p, q\) in the row 'b,1"),
        ("id,p,q\na,1,0\nb,0,0\nc,0,1\n", "gives no class in the row 'b,0,0'"),
        ("id,finding\na,x|y\nb,y\nc,x\n", r"gives several classes at once, such as 'x\|y'"),
        ("id,label\na,x\nb\nc,x\n", "has the row 'b', expected file,label"),
        ("id,n,label\na,1,x\nb,1\nc,1,x\n", "has the row 'b,1', expected 3 cells"),
        ("id,label\na,x\nb,y\nc,x\na,y\n", "names 'a' twice: keep one row"),
    ],
)
def test_a_table_that_leaves_doubts_is_refused(tmp_path: Path, text: str, words: str) -> None:
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", text)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(source)
    assert "\n" not in str(caught.value)
    assert classes(source, label_column="none") == []


def test_names_of_several_pictures_are_refused(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "a.png", "p/a.png", "p/b.png", "q/b.png")
    put_table(source, "t.csv", "b,x\na.png,y\nq/b.png,x\np/a.png,x\n")
    with pytest.raises(DataError, match="names 'b', as several pictures are called"):
        load_dataset(source)
    put_table(source, "t.csv", "p/b,x\na.png,y\nq/b.png,x\np/a.png,x\n")
    assert classes(source) == ["y", "x", "x", "x"]


def test_a_column_of_parts_is_named(tmp_path: Path) -> None:
    text = "id,label,data set\na,x,train\nb,y,train\nc,x,valid\n"
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", text)
    assert load_dataset(source).notes[1] == (
        "column data set is not read, all rows are trained on: put the held-out pictures into test/"
    )


# Several sources of classes


def test_a_complete_table_of_other_classes_wins_over_folders(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "part_1/a.png", "part_1/b.png", "part_2/c.png")
    put_table(source, "metadata.csv", "id,dx\na,x\nb,y\nc,x\n")
    assert classes(source) == ["x", "y", "x"]


@pytest.mark.parametrize("text", ["id,label\na,0\nb,1\nc,1\n", "id,label\na,x\nb,y\n"])
def test_folders_win_over_a_table_that_agrees_or_lacks_pictures(tmp_path: Path, text: str) -> None:
    source = put_pictures(tmp_path, "cat/a.png", "dog/b.png", "dog/c.png")
    put_table(source, "t.csv", text)
    assert classes(source) == ["cat", "dog", "dog"]
    assert load_dataset(source).notes == ("t.csv passed over: the folders give the classes",)


def test_the_more_telling_name_wins(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    put_table(source, "x.csv", "id,label\na,1\nb,1\nc,2\n")
    put_table(source, "train_labels.csv", "id,label\na,x\nb,y\nc,x\n")
    assert classes(source) == ["x", "y", "x"]
    assert "x.csv passed over: train_labels.csv gives the classes" in load_dataset(source).notes


def test_tables_that_disagree_are_refused(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    put_table(source, "x.csv", "id,label\na,1\nb,1\nc,2\n")
    put_table(source, "y.csv", "id,label\na,1\nb,1\nc,1\n")
    with pytest.raises(DataError, match=r"give different classes \(x\.csv, y\.csv\): keep one"):
        load_dataset(source)
    put_table(source, "y.csv", "id,label\na,1\nb,1\nc,2\n")
    assert classes(source) == ["1", "1", "2"]


def test_a_table_in_another_encoding_is_refused_if_it_names_the_pictures(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    (source / "t.csv").write_bytes("a,Größe\nb,y\nc,y\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t\.csv cannot be read as a table in UTF-8"):
        load_dataset(source)


# Hostile tables


def test_a_table_that_is_too_large_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganvas.data.trees.label_tables.MAX_TABLE_BYTES", 10)
    source = put_table(put_pictures(tmp_path, *ABC), "labels.csv", "a,x\nb,y\nc,x\n")
    with pytest.raises(DataError, match=r"labels\.csv is larger than 0 MiB: split it"):
        load_dataset(source)


@pytest.mark.parametrize("body", [b'a,"x\nb,y\n' + b"z" * 200_000, b"\x00" * 100, b"\xff\xfe\x00"])
def test_damaged_tables_are_one_line(tmp_path: Path, body: bytes) -> None:
    (put_pictures(tmp_path, *ABC) / "labels.csv").write_bytes(body)
    with pytest.raises(DataError, match=r"labels\.csv (cannot|lacks|has the row)") as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_many_tables_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganvas.data.trees.label_tables.MAX_TABLES", 1)
    source = put_table(put_pictures(tmp_path, *ABC), "a1.csv", "a,x\nb,y\nc,x\n")
    put_table(source, "b1.csv", "a,x\nb,x\nc,x\n")
    assert classes(source) == ["x", "y", "x"]
    assert "b1.csv passed over: no more than 1 tables are read" in load_dataset(source).notes


def test_numbers_of_any_length_are_names(tmp_path: Path) -> None:
    long = "1" * 5000
    rows = "".join(f"{name},{long}{i}\n" for i, name in enumerate("abc"))
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", rows)
    assert classes(source) == [f"{long}{i}" for i in range(3)]


@pytest.mark.parametrize("header", ["Male Young", "image_id Male Young"])
def test_a_list_may_begin_with_its_length(tmp_path: Path, header: str) -> None:
    source = put_pictures(tmp_path / "set", *(f"images/{name}" for name in ABC))
    rows = "a.png -1  1\nb.png  1 -1\nc.png -1 -1\n"
    put_table(source, "list_attr.txt", f"3\n{header} \n{rows}")
    assert classes(source, label_column="Male") == ["-1", "1", "-1"]
    with pytest.raises(DataError, match="name a column by --label-column"):
        load_dataset(source)
