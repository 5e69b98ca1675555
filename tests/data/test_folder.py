"""Which pictures of a folder or a zip are read, in which order, part and class; and which archives
are refused."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ganvas.data import archive as members_module
from ganvas.data import count_dataset, load_dataset
from ganvas.errors import DataError


def tree(root: Path, *names: str, table: str | None = None, at: str = "") -> Path:
    """Grey 2x2 pictures at these names, the i-th of value i; other suffixes become text. A
    labels.csv in `at`."""
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".PNG"):
            Image.new("L", (2, 2), value).save(path, "PNG")
        else:
            path.write_text("text")
    if table is not None:
        (root / at / "labels.csv").write_text(table)
    return root


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(folder))
    return target


@pytest.fixture(params=[lambda folder: folder, zipped], ids=["folder", "zip"])
def packed(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """The same tree as a folder and as a zip: everything below holds for both."""
    return request.param  # type: ignore[no-any-return]


def read(path: Path, split: str = "train") -> tuple[list[int], list[str] | None]:
    """The values of the pictures in order, and their classes."""
    data = load_dataset(path, split=split)  # type: ignore[arg-type]
    values = data.images[:, 0, 0, 0].tolist()
    return values, None if data.labels is None else [data.classes[i] for i in data.labels]


def test_flat_pictures_are_sorted_by_name_without_classes(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(tree(tmp_path / "set", "b.png", "a.png", "10.png", "9.PNG"))
    assert read(source) == ([2, 3, 1, 0], None)
    assert load_dataset(source).notes == ()


def test_a_folder_is_a_class_with_all_that_lies_below(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(tree(tmp_path / "set", "dog/x.png", "cat/deep/er/y.png", "cat/z.png"))
    data = load_dataset(source)
    assert data.classes == ("cat", "dog")
    assert read(source) == ([1, 2, 0], ["cat", "cat", "dog"])
    assert data.notes == ()


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    assert load_dataset(tree(tmp_path, "10/a.png", "9/a.png", "x/a.png")).classes == (
        "9",
        "10",
        "x",
    )


def test_one_folder_is_no_class_and_is_said_to_be_looked_through(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(tree(tmp_path / "set", "cats/a.png", "cats/b.png"))
    assert read(source) == ([0, 1], None)
    assert load_dataset(source).notes == (
        "cats/ holds all the pictures, so it is not taken for a class",
    )


def test_a_wrapping_folder_is_looked_through(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    source = packed(tree(tmp_path / "set", "faces/cat/a.png", "faces/dog/b.png"))
    assert load_dataset(source).classes == ("cat", "dog")
    assert load_dataset(source).notes == (
        "faces/ holds all the pictures, so it is not taken for a class",
    )


def test_pictures_beside_folders_have_no_classes_and_say_so(tmp_path: Path) -> None:
    source = tree(tmp_path, "a.png", "cat/b.png", "dog/c.png")
    assert read(source) == ([0, 1, 2], None)
    assert load_dataset(source).notes == (
        "pictures lie beside 2 folders of pictures: read without classes",
    )


def test_hidden_files_are_passed_over_and_others_counted(
    tmp_path: Path, packed: Callable[[Path], Path]
) -> None:
    hidden = [".DS_Store", "Thumbs.db", "__MACOSX/a.png", ".git/b.png", "._a.png", "desktop.ini"]
    source = packed(tree(tmp_path / "set", "a.png", *hidden, "read me.txt", "more.txt", "LICENSE"))
    assert read(source) == ([0], None)
    assert load_dataset(source).notes == (
        "3 files passed over, not pictures by their names (.txt 2, no suffix 1)",
    )


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_linked_folders_are_followed_but_not_into_themselves(tmp_path: Path) -> None:
    elsewhere = tree(tmp_path / "elsewhere", "a.png")
    source = tree(tmp_path / "set", "cat/b.png")
    (source / "dog").symlink_to(elsewhere)
    (source / "cat" / "round").symlink_to(source)
    assert load_dataset(source).classes == ("cat", "dog")
    assert len(load_dataset(source)) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_broken_link_is_named_as_unreadable(tmp_path: Path) -> None:
    (tree(tmp_path, "a.png") / "b.png").symlink_to(tmp_path / "gone.png")
    assert count_dataset(tmp_path).unreadable_files == (("b.png", "No such file or directory"),)


def test_names_that_would_break_a_line_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\nb.png").write_text("text")
    with pytest.raises(DataError, match=r"'a\\nb\.png") as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes there")
def test_names_in_other_encodings_are_escaped(tmp_path: Path) -> None:
    tree(tmp_path, "\udcff/a.png", "b/\udcfe.png", "b/\udcfd.txt")
    (tmp_path / "b" / "\udcff.png").write_text("text")
    found = count_dataset(tmp_path)
    assert found.classes == {"\\xff": 1, "b": 1}
    assert [name for name, _ in found.unreadable_files] == ["b/\\xff.png"]
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
    source = packed(tree(tmp_path / "set", "a.png", "b.png", "sub/c.png", table=table))
    assert read(source) == ([0, 1, 2], ["cat", "dog, small", "cat"])
    assert load_dataset(source).notes == ("classes read from labels.csv",)


@pytest.mark.parametrize(
    "table",
    ["label,file\ncat,a.png\ndog,b.png\n", "id,File,n,Label\n1,a.png,3,cat\n2,b.png,4,dog\n"],
)
def test_a_header_names_the_columns(tmp_path: Path, table: str) -> None:
    assert read(tree(tmp_path, "a.png", "b.png", table=table)) == ([0, 1], ["cat", "dog"])


def test_a_table_made_on_windows_is_read(tmp_path: Path, packed: Callable[[Path], Path]) -> None:
    source = tree(tmp_path / "set", "a.png", "sub/deep/b.png")
    (source / "labels.csv").write_bytes(
        b'\xef\xbb\xbffile,label\r\n.\\a.png,"cat"\r\nsub\\deep\\b.png,dog\r\n'
    )
    assert read(packed(source)) == ([0, 1], ["cat", "dog"])


def test_a_table_wins_over_folders_and_stands_in_a_wrapping_folder_too(tmp_path: Path) -> None:
    table = "cat/a.png,x\ndog/b.png,y\n"
    source = tree(tmp_path, "pets/cat/a.png", "pets/dog/b.png", table=table, at="pets")
    assert load_dataset(source).classes == ("x", "y")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("a.png,x\n", r"labels\.csv lacks 2 pictures: b\.png, c\.png"),
        ("a.png,x\nb.png,x\nc.png,x\nd.png,x\n", r"names 1 file that are no pictures here: d\.png"),
        ("a.png,x\nb.png,x\nc.png,x\na.png,y\n", r"names 'a\.png' twice"),
        ("a.png,x\nb.png\nc.png,x\n", r"has the row 'b\.png', expected file,label"),
        ("a.png,x\nb.png,\nc.png,x\n", r"has the row 'b\.png,', expected file,label"),
        ("a.png;x\nb.png;x\nc.png;x\n", r"has the row 'b\.png;x', expected file,label"),
        ("", r"lacks 3 pictures"),
    ],
)
def test_a_table_that_does_not_match_the_pictures_is_refused(
    tmp_path: Path, table: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(tree(tmp_path, "a.png", "b.png", "c.png", table=table))


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tree(tmp_path, "a.png") / "labels.csv").write_bytes("a.png,Größe".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as a table in UTF-8"):
        load_dataset(tmp_path)


# Parts


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation"])
def test_train_and_held_out_folders_are_the_parts(
    tmp_path: Path, packed: Callable[[Path], Path], held_out: str
) -> None:
    names = ["train/cat/a.png", "train/dog/b.png", f"{held_out}/cat/c.png", f"{held_out}/dog/d.png"]
    source = packed(tree(tmp_path / "set", *names))
    assert read(source) == ([0, 1], ["cat", "dog"])
    assert read(source, "test") == ([2, 3], ["cat", "dog"])
    assert load_dataset(source).notes == (
        f"train/ is the part to train on, {held_out}/ the one held out",
    )


def test_test_wins_over_val_and_the_rest_is_counted(tmp_path: Path) -> None:
    source = tree(tmp_path, "train/a.png", "val/b.png", "test/c.png", "d.png")
    assert read(source, "test") == ([2], None)
    assert "; 2 pictures outside them left out" in load_dataset(source).notes[0]


def test_the_held_out_part_has_the_classes_of_the_train_part(tmp_path: Path) -> None:
    source = tree(
        tmp_path, "train/cat/a.png", "train/dog/b.png", "train/emu/c.png", "test/dog/d.png"
    )
    data = load_dataset(source, split="test")
    assert data.classes == ("cat", "dog", "emu")
    assert data.labels is not None
    assert data.labels.tolist() == [1]


def test_a_class_that_the_train_part_lacks_is_refused(tmp_path: Path) -> None:
    source = tree(
        tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/emu/d.png"
    )
    with pytest.raises(DataError, match="test/ has classes that train/ lacks: emu"):
        load_dataset(source, split="test")
    assert len(load_dataset(source)) == 2


def test_one_table_may_name_both_parts(tmp_path: Path) -> None:
    table = "train/a.png,x\ntrain/b.png,y\ntest/c.png,y\n"
    source = tree(tmp_path, "train/a.png", "train/b.png", "test/c.png", table=table)
    assert read(source) == ([0, 1], ["x", "y"])
    assert read(source, "test") == ([2], ["y"])


def test_a_class_that_only_the_held_out_rows_have_is_refused(tmp_path: Path) -> None:
    source = tree(tmp_path, "train/a.png", "test/b.png", table="train/a.png,x\ntest/b.png,y\n")
    assert load_dataset(source).classes == ("x",)
    with pytest.raises(DataError, match="test/ has classes that train/ lacks: y"):
        load_dataset(source, split="test")


def test_a_held_out_part_without_classes_has_none(tmp_path: Path) -> None:
    source = tree(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/c.png")
    assert read(source, "test") == ([2], None)


def test_a_train_part_without_classes_gives_the_held_out_part_none(tmp_path: Path) -> None:
    source = tree(tmp_path, "train/a.png", "test/cat/b.png", "test/dog/c.png")
    assert read(source, "test") == ([1, 2], None)


def test_each_part_may_have_its_table(tmp_path: Path) -> None:
    source = tree(
        tmp_path, "train/a.png", "train/b.png", "test/c.png", table="a.png,x\nb.png,y\n", at="train"
    )
    (source / "test" / "labels.csv").write_text("c.png,y\n")
    assert read(source, "test") == ([2], ["y"])


@pytest.mark.parametrize(
    "names", [["a.png"], ["train/a.png", "train/b.png"], ["cat/a.png", "dog/b.png"]]
)
def test_without_a_held_out_part_it_cannot_be_read(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="has no held-out part: put it into test/"):
        load_dataset(tree(tmp_path, *names), split="test")


# What is no data set


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "holds no pictures: expected"), (["a.txt", ".b.png"], "holds no pictures, only 1 other")],
)
def test_no_pictures(
    tmp_path: Path, packed: Callable[[Path], Path], names: list[str], words: str
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=words):
        load_dataset(packed(tree(tmp_path / "set", *names)))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("mnst-5k", r"'mnst-5k' is neither a data set nor a path: did you mean mnist-5k\?"),
        ("MNIST", r"did you mean mnist\?"),
        ("fashoin-mnist", r"did you mean fashion-mnist\?"),
        ("zzz", "choose one of: mnist-5k, mnist, "),
        ("no/such/folder", "no file or folder no/such/folder"),
        ("pictures.zip", r"no file or folder pictures\.zip"),
    ],
)
def test_neither_a_name_nor_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        load_dataset(what)


def test_a_single_picture_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png is a single file: expected a folder"):
        load_dataset(tree(tmp_path, "a.png") / "a.png")


def test_a_name_wins_over_a_folder_that_a_dot_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "mnist-5k", "a.png")
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("mnist-5k")) == 4000
    assert len(load_dataset("./mnist-5k")) == 1
    assert len(load_dataset(Path("mnist-5k"))) == 1


# Archives


@pytest.mark.parametrize(
    "name", ["../a.png", "sub/../../a.png", "/etc/a.png", "C:\\a.png", "..\\a.png"]
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match="a path outside the archive"):
        load_dataset(tmp_path / "a.zip")


def test_names_with_backslashes_are_paths(tmp_path: Path) -> None:
    tree(tmp_path / "set", "cat/a.png", "dog/b.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("cat/a.png", "dog/b.png"):
            archive.write(tmp_path / "set" / name, name.replace("/", "\\"))
    assert read(tmp_path / "set.zip") == ([0, 1], ["cat", "dog"])


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    source = zipped(tree(tmp_path / "set", "a.png"))
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"PK\x03\x04") + 6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(raw)
    with pytest.raises(DataError, match=r"is encrypted \(a\.png\)"):
        load_dataset(source)


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"y")
    with pytest.raises(DataError, match=r"holds a\.png more than once"):
        load_dataset(tmp_path / "a.zip")


def test_members_that_expand_like_bombs_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bmp", bytes(20 * 2**20))
    with pytest.raises(DataError, match=r"a\.bmp expands more than 250-fold, to 20 MiB"):
        load_dataset(tmp_path / "a.zip")


@pytest.mark.parametrize(("cap", "value"), [("MAX_MEMBERS", 1), ("MAX_ARCHIVE_BYTES", 100)])
def test_archives_over_the_caps_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: str, value: int
) -> None:
    source = zipped(tree(tmp_path / "set", "a.png", "b.png"))
    monkeypatch.setattr(members_module, cap, value)
    with pytest.raises(DataError, match=r"more than \d"):
        load_dataset(source)


def test_a_member_too_large_for_a_picture_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree(tmp_path / "set", "a.png")
    (folder / "b.png").write_bytes(bytes(3000))
    monkeypatch.setattr(members_module, "MAX_FILE", 2000)
    ((name, reason),) = count_dataset(zipped(folder)).unreadable_files
    assert (name, "larger than" in reason) == ("b.png", True)


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    source = zipped(tree(tmp_path / "set", "a.png"))
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"set\.zip is not a zip archive that can be read"):
        load_dataset(source)


def test_a_damaged_member_is_unreadable(tmp_path: Path) -> None:
    source = zipped(tree(tmp_path / "set", *[f"{i}.png" for i in range(3)]))
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"PK\x03\x04", 10) + 45] ^= 0xFF
    source.write_bytes(raw)
    found = count_dataset(source)
    assert (found.images, found.unreadable) == (2, 1)


def test_nothing_is_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = zipped(tree(tmp_path / "set", "cat/a.png", "dog/b.png"))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    assert len(load_dataset(source)) == 2
    assert sorted(tmp_path.rglob("*")) == before
