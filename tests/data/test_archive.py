"""Zip archives: refused if they are damaged or dangerous, never extracted."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ganvas.data import count_dataset, load_dataset
from ganvas.data.formats import limits
from ganvas.errors import DataError
from helpers.sets import put_pictures, read_classes, zipped


@pytest.mark.parametrize(
    "name", ["../a.png", "sub/../../a.png", "/etc/a.png", "C:\\a.png", "..\\a.png"]
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match="a path outside the archive"):
        load_dataset(tmp_path / "a.zip")


def test_names_with_backslashes_are_paths(tmp_path: Path) -> None:
    put_pictures(tmp_path / "set", "cat/a.png", "dog/b.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("cat/a.png", "dog/b.png"):
            archive.write(tmp_path / "set" / name, name.replace("/", "\\"))
    assert read_classes(tmp_path / "set.zip") == ([0, 1], ["cat", "dog"])


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    source = zipped(put_pictures(tmp_path / "set", "a.png"))
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
    source = zipped(put_pictures(tmp_path / "set", "a.png", "b.png"))
    monkeypatch.setattr(limits, cap, value)
    with pytest.raises(DataError, match=r"more than \d"):
        load_dataset(source)


def test_a_member_too_large_for_a_picture_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put_pictures(tmp_path / "set", "a.png")
    (folder / "b.png").write_bytes(bytes(3000))
    monkeypatch.setattr(limits, "MAX_FILE", 2000)
    ((name, reason),) = count_dataset(zipped(folder)).unreadable_files
    assert (name, "larger than" in reason) == ("b.png", True)


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    source = zipped(put_pictures(tmp_path / "set", "a.png"))
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"set\.zip is not a readable zip"):
        load_dataset(source)


def test_a_damaged_member_is_unreadable(tmp_path: Path) -> None:
    source = zipped(put_pictures(tmp_path / "set", *[f"{i}.png" for i in range(3)]))
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"PK\x03\x04", 10) + 45] ^= 0xFF
    source.write_bytes(raw)
    inspection = count_dataset(source)
    assert (inspection.images, inspection.unreadable) == (2, 1)


def test_nothing_is_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = zipped(put_pictures(tmp_path / "set", "cat/a.png", "dog/b.png"))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    assert len(load_dataset(source)) == 2
    assert sorted(tmp_path.rglob("*")) == before
