"""The columns of tables of labels: which names pictures, and which their classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError
from helpers.sets import classes, put_pictures, put_table

ABC = ("a.png", "b.png", "c.png")


# Columns, separators and headers


@pytest.mark.parametrize("name", ["labels.csv", "train.csv", "breeds.tsv", "list.txt"])
@pytest.mark.parametrize(
    "text",
    [
        "id,breed\na,x\nb,y\nc,x\n",
        "image_id,dx\na,x\nb,y\nc,x\n",
        "filename,label\na.png,x\nb.png,y\nc.png,x\n",
        "file;label\r\na.png;x\r\nb.png;y\r\nc.png;x\r\n",
        "file\tlabel\na.png\tx\nb.png\ty\nc.png\tx\n",
        "a.png x\nb.png y\nc.png x\n",
        "# file label\na.png   x\nb.png   y\nc.png   x\n",
        "a.png|x\nb.png|y\nc.png|x\n",
        "a.png,x\nb.png,y\nc.png,x\n",
        "a,x\nb,y\nc,x\n",
        "label,file\nx,a.png\ny,b.png\nx,c.png\n",
        "\ufeffpicture,what\na.jpg,x\nb.jpg,y\nc.jpg,x\n",
        '"a.png","x"\n"b.png","y"\n\n"c.png","x"\n',
        "/data/all/a.png,x\n/data/all/b.png,y\n/data/all/c.png,x\n",
        "C:\\data\\a.png,x\nC:\\data\\b.png,y\nC:\\data\\c.png,x\n",
        ",file,label\n0,a.png,x\n1,b.png,y\n2,c.png,x\n",
        "file,width,height,label\na.png,2,2,x\nb.png,2,2,y\nc.png,2,2,x\n",
        "file,class_id,class_name\na.png,7,x\nb.png,3,y\nc.png,7,x\n",
        "lesion_id,image_id,dx,dx_type,age\n1,a,x,hi,80\n1,b,y,hi,75\n2,c,x,co,80\n",
        "image,x,y\na,1.0,0.0\nb,0.0,1.0\nc,1.0,0.0\n",
        "a.png\t1\t2\tx\nb.png\t1\t1\ty\nc.png\t2\t1\tx\n",
        "image,y,x,split,age\na,0,1,train,3\nb,1,0,train,4\nc,0,1,test,5\n",
    ],
)
def test_one_column_names_pictures_and_one_their_classes(
    tmp_path: Path, packed: Callable[[Path], Path], name: str, text: str
) -> None:
    source = packed(put_table(put_pictures(tmp_path / "set", *ABC), name, text))
    assert classes(source) == ["x", "y", "x"]
    assert load_dataset(source).classes == ("x", "y")
    assert load_dataset(source).notes[0].startswith(f"classes read from {name}")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a.png,x\nb.png,y\nc.png,x\n", ""),
        ("id,n,dx\na,1,x\nb,1,y\nc,2,x\n", ", column dx"),
        ("id,x,y\na,1,0\nb,0,1\nc,1,0\n", ", column the one of 2 that is 1"),
    ],
)
def test_what_was_read_is_noted(tmp_path: Path, text: str, note: str) -> None:
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", text)
    assert load_dataset(source).notes == (f"classes read from t.csv{note}",)


def test_class_names_may_hold_blanks(tmp_path: Path) -> None:
    text = "a.png golden retriever\nb.png poodle\nc.png golden retriever\n"
    source = put_table(put_pictures(tmp_path, *ABC), "t.txt", text)
    assert classes(source) == ["golden retriever", "poodle", "golden retriever"]


def test_a_table_in_utf_16_is_read(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, *ABC)
    (source / "t.txt").write_bytes("file\tlabel\na.png\tä\nb.png\ty\nc.png\tä\n".encode("utf-16"))
    assert classes(source) == ["ä", "y", "ä"]


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    source = put_table(put_pictures(tmp_path, *ABC), "labels.csv", "a,10\nb,9.5\nc,-1\n")
    assert load_dataset(source).classes == ("-1", "9.5", "10")


def test_picture_names_may_be_numbers(tmp_path: Path) -> None:
    """A class that is the name of another picture does not matter."""
    source = put_pictures(tmp_path, "train/1.png", "train/2.png", "train/3.png")
    put_table(source, "trainLabels.csv", "id,label\n1,2\n2,1\n3,2\n")
    assert classes(source) == ["2", "1", "2"]


# Columns named by the user


def test_a_column_may_be_named(tmp_path: Path) -> None:
    text = "id,colour,shape,label\na,x,p,1\nb,y,p,1\nc,x,q,1\n"
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", text)
    assert classes(source) == ["1", "1", "1"]
    assert classes(source, label_column="shape") == ["p", "p", "q"]
    assert classes(source, label_column="Colour") == ["x", "y", "x"]
    data = load_dataset(source, label_column="shape")
    assert data.notes == ("classes read from t.csv, column shape",)
    with pytest.raises(DataError, match=r"t\.csv has no column 'shpe': did you mean shape\?"):
        load_dataset(source, label_column="shpe")


def test_columns_without_header_are_numbered(tmp_path: Path) -> None:
    source = put_table(put_pictures(tmp_path, *ABC), "t.csv", "a,x,p\nb,y,p\nc,x,q\n")
    with pytest.raises(DataError, match="several columns that could be classes: 2, 3"):
        load_dataset(source)
    assert classes(source, label_column="3") == ["p", "p", "q"]


def test_a_named_column_may_lack_in_the_held_out_part(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "train/1.png", "train/2.png", "test/3.png")
    put_table(source, "train.csv", "id,a,b\n1,x,p\n2,y,q\n")
    put_table(source, "test.csv", "id,a\n3,x\n")
    assert classes(source, label_column="b") == ["p", "q"]
    assert classes(source, "test", label_column="b") == []
    assert classes(source, "test", label_column="a") == ["x"]


def test_a_named_column_wins_over_folders(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "cat/a.png", "dog/b.png", "dog/c.png")
    put_table(source, "t.csv", "id,colour,n\na,x,1\nb,y,1\nc,x,2\n")
    assert classes(source) == ["cat", "dog", "dog"]
    assert classes(source, label_column="colour") == ["x", "y", "x"]


def test_a_named_column_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table that names its pictures, so --label-column x"):
        load_dataset(put_pictures(tmp_path, *ABC), label_column="x")
