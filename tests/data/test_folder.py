"""Folders and zips of pictures: their order and their classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ganvas.data import count_dataset, load_dataset
from ganvas.errors import DataError
from helpers.sets import put_pictures, read_classes


def test_flat_pictures_are_sorted_by_name_without_classes(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(put_pictures(tmp_path / "set", "b.png", "a.png", "10.png", "9.PNG"))
    assert read_classes(source) == ([2, 3, 1, 0], None)
    assert load_dataset(source).notes == ()


def test_a_folder_is_a_class_with_all_that_lies_below(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(put_pictures(tmp_path / "set", "dog/x.png", "cat/deep/er/y.png", "cat/z.png"))
    data = load_dataset(source)
    assert data.classes == ("cat", "dog")
    assert read_classes(source) == ([1, 2, 0], ["cat", "cat", "dog"])
    assert data.notes == ()


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    assert load_dataset(put_pictures(tmp_path, "10/a.png", "9/a.png", "x/a.png")).classes == (
        "9",
        "10",
        "x",
    )


def test_a_single_folder_is_no_class(tmp_path: Path, packed: Callable[[Path], Path]) -> None:
    source = packed(put_pictures(tmp_path / "set", "cats/a.png", "cats/b.png"))
    assert read_classes(source) == ([0, 1], None)
    assert load_dataset(source).notes == ("cats/ holds all the pictures, so it is not a class",)


def test_a_wrapping_folder_is_looked_through(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(put_pictures(tmp_path / "set", "faces/cat/a.png", "faces/dog/b.png"))
    assert load_dataset(source).classes == ("cat", "dog")
    assert load_dataset(source).notes == ("faces/ holds all the pictures, so it is not a class",)


def test_pictures_beside_folders_have_no_classes(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "a.png", "cat/b.png", "dog/c.png")
    assert read_classes(source) == ([0, 1, 2], None)
    assert load_dataset(source).notes == (
        "pictures lie beside 2 folders of pictures: read without classes",
    )


def test_masks_beside_pictures_are_questioned(tmp_path: Path) -> None:
    source = put_pictures(tmp_path, "JPEGImages/1.png", "masks/1.png")
    assert load_dataset(source).notes == (
        "JPEGImages/ and masks/ are read as classes: if these are pictures and their masks, give"
        " JPEGImages/ alone",
    )
    faces = put_pictures(tmp_path / "faces", "mask/1.png", "no mask/1.png")
    assert load_dataset(faces).notes == ()


def test_hidden_files_are_passed_over_and_others_counted(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    hidden = [".DS_Store", "Thumbs.db", "__MACOSX/a.png", ".git/b.png", "._a.png", "desktop.ini"]
    hidden += ["@eaDir/a.png/preview.jpg", "#recycle/c.png", "$RECYCLE.BIN/d.png"]
    source = packed(
        put_pictures(tmp_path / "set", "a.png", *hidden, "read me.txt", "more.txt", "LICENSE")
    )
    assert read_classes(source) == ([0], None)
    assert load_dataset(source).notes == (
        "3 files passed over, not pictures (.txt 2, no suffix 1)",
    )


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_linked_folders_are_followed_but_not_into_themselves(tmp_path: Path) -> None:
    elsewhere = put_pictures(tmp_path / "elsewhere", "a.png")
    source = put_pictures(tmp_path / "set", "cat/b.png")
    (source / "dog").symlink_to(elsewhere)
    (source / "cat" / "round").symlink_to(source)
    assert load_dataset(source).classes == ("cat", "dog")
    assert len(load_dataset(source)) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_broken_link_is_named_as_unreadable(tmp_path: Path) -> None:
    (put_pictures(tmp_path, "a.png") / "b.png").symlink_to(tmp_path / "gone.png")
    assert count_dataset(tmp_path).unreadable_files == (("b.png", "No such file or directory"),)


def test_names_that_would_break_a_line_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\nb.png").write_text("text")
    with pytest.raises(DataError, match=r"'a\\nb\.png") as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes there")
def test_names_in_other_encodings_are_escaped(tmp_path: Path) -> None:
    put_pictures(tmp_path, "\udcff/a.png", "b/\udcfe.png", "b/\udcfd.txt")
    (tmp_path / "b" / "\udcff.png").write_text("text")
    inspection = count_dataset(tmp_path)
    assert inspection.classes == {"\\xff": 1, "b": 1}
    assert [name for name, _ in inspection.unreadable_files] == ["b/\\xff.png"]
    with pytest.raises(DataError, match=r"udcff.*no UTF-8.*rename it"):
        load_dataset(tmp_path / "\udcff")


# labels.csv


@pytest.mark.parametrize(
    "header", ["", "\ufeff", "file,label\n", "\ufefffile,label\n", "name,class\r\n"]
)
def test_labels_come_from_a_table_with_a_header_or_without(
    tmp_path: Path, packed: Callable[[Path], Path], header: str
) -> None:
    table = f'{header}b.png,"dog, small"\nsub/c.png, cat\n\n./a.png,cat\n'
    source = packed(put_pictures(tmp_path / "set", "a.png", "b.png", "sub/c.png", table=table))
    assert read_classes(source) == ([0, 1, 2], ["cat", "dog, small", "cat"])
    assert load_dataset(source).notes == ("classes read from labels.csv",)


@pytest.mark.parametrize(
    "table",
    ["label,file\ncat,a.png\ndog,b.png\n", "id,File,n,Label\n1,a.png,3,cat\n2,b.png,4,dog\n"],
)
def test_a_header_names_the_columns(tmp_path: Path, table: str) -> None:
    assert read_classes(put_pictures(tmp_path, "a.png", "b.png", table=table)) == (
        [0, 1],
        ["cat", "dog"],
    )


def test_a_table_made_on_windows_is_read(tmp_path: Path, packed: Callable[[Path], Path]) -> None:
    source = put_pictures(tmp_path / "set", "a.png", "sub/deep/b.png")
    (source / "labels.csv").write_bytes(
        b'\xef\xbb\xbffile,label\r\n.\\a.png,"cat"\r\nsub\\deep\\b.png,dog\r\n'
    )
    assert read_classes(packed(source)) == ([0, 1], ["cat", "dog"])


def test_a_table_wins_over_folders_and_stands_in_a_wrapping_folder_too(tmp_path: Path) -> None:
    table = "cat/a.png,x\ndog/b.png,y\n"
    source = put_pictures(tmp_path, "pets/cat/a.png", "pets/dog/b.png", table=table, at="pets")
    assert load_dataset(source).classes == ("x", "y")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("a.png,x\n", r"labels\.csv lacks 2 pictures: b\.png, c\.png"),
        ("a.png,x\nb.png,x\n" + "".join(f"{i}.png,x\n" for i in range(3)), "names 3 files: 0"),
        ("a.png,x\nb.png,x\nc.png,x\na.png,y\n", r"names 'a\.png' twice"),
        ("a.png,x\nb.png\nc.png,x\n", r"has the row 'b\.png', expected file,label"),
        ("a.png,x\nb.png,\nc.png,x\n", r"has the row 'b\.png,', expected file,label"),
        ("a.png:x\nb.png:x\nc.png:x\n", r"lacks 3 pictures"),
        ("", r"lacks 3 pictures"),
    ],
)
def test_a_table_that_does_not_match_the_pictures_is_refused(
    tmp_path: Path, table: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(put_pictures(tmp_path, "a.png", "b.png", "c.png", table=table))


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (put_pictures(tmp_path, "a.png") / "labels.csv").write_bytes("a.png,Größe".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as a table in UTF-8"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "holds no pictures: expected"), (["a.txt", ".b.png"], "holds no pictures, only 1 other")],
)
def test_no_pictures(
    tmp_path: Path, packed: Callable[[Path], Path], names: list[str], words: str
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=words):
        load_dataset(packed(put_pictures(tmp_path / "set", *names)))
