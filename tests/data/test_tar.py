"""Tar and 7z archives: read as zips are, without extracting, under the same limits."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import py7zr
import pytest

from ganvas.data import count_dataset, load_dataset
from ganvas.data.formats import limits
from ganvas.errors import DataError
from helpers.sets import put_pictures, read_classes

ENDINGS = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]


def tarred(folder: Path, ending: str = ".tar") -> Path:
    """Pack a folder beside it, with the `./` that `tar -C` writes."""
    mode = {"gz": "w:gz", "gz2": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(ending[5:], "w")
    mode = "w:gz" if ending == ".tgz" else mode
    with tarfile.open(folder.with_suffix(ending), mode) as tar:
        tar.add(folder, ".")
    return folder.with_suffix(ending)


def seven_zipped(folder: Path, **options: object) -> Path:
    with py7zr.SevenZipFile(folder.with_suffix(".7z"), "w", **options) as archive:
        archive.writeall(folder, ".")
    return folder.with_suffix(".7z")


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"x") -> Path:
    with tarfile.open(path, "w") as tar:
        for info in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_tar_is_read_as_the_folder_is(tmp_path: Path, ending: str) -> None:
    folder = put_pictures(tmp_path / "set", "cat/a.png", "dog/b.png", "dog/._b.png", "dog/._c.txt")
    tar = tarred(folder, ending)
    assert read_classes(tar) == ([0, 1], ["cat", "dog"])
    assert load_dataset(tar).fingerprint == load_dataset(folder).fingerprint
    assert load_dataset(tar).notes == load_dataset(folder).notes
    before = sorted(tmp_path.rglob("*"))
    load_dataset(tar)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_7z_is_read_as_the_folder_is(tmp_path: Path) -> None:
    folder = put_pictures(tmp_path / "set", "train/a.png", "train/b.png", "test/c.png")
    packed = seven_zipped(folder)
    assert read_classes(packed)[0] == [0, 1]
    assert read_classes(packed, "test")[0] == [2]
    assert load_dataset(packed).fingerprint == load_dataset(folder).fingerprint


@pytest.mark.parametrize("name", ["../a.png", "sub/../../a.png", "/etc/a.png", "C:\\a.png"])
def test_names_that_leave_a_tar_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="a path outside the archive"):
        load_dataset(tar_of(tmp_path / "a.tar", member(name)))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    source = tar_of(tmp_path / "a.tar", member("a.png", kind, "/etc/passwd"))
    with pytest.raises(DataError, match=r"holds a link or device, a\.png: repack it without"):
        load_dataset(source)


def test_sparse_files_which_expand_without_bound_are_refused(tmp_path: Path) -> None:
    info = member("a.png", tarfile.GNUTYPE_SPARSE)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = b"%011o\0" % 0
    block[398:410] = b"%011o\0" % 0
    block[483:495] = b"%011o\0" % 2**32
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a.tar").write_bytes(block + bytes(1024))
    with pytest.raises(DataError, match=r"holds a sparse file, a\.png"):
        load_dataset(tmp_path / "a.tar")


def test_a_name_that_occurs_twice_in_a_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds a\.png more than once"):
        load_dataset(tar_of(tmp_path / "a.tar", member("a.png"), member("a.png")))


@pytest.mark.parametrize("ending", ENDINGS)
def test_tar_bombs_are_refused(tmp_path: Path, ending: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bmp").write_bytes(bytes(20 * 2**20))
    source = tarred(tmp_path / "set", ending)
    words = "250-fold" if ending != ".tar" else "cannot be read"
    with pytest.raises(DataError, match=words):
        load_dataset(source)


def test_7z_bombs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bmp").write_bytes(bytes(20 * 2**20))
    with pytest.raises(DataError, match=r"set\.7z expands more than 250-fold, to 20 MiB"):
        load_dataset(seven_zipped(tmp_path / "set"))


@pytest.mark.parametrize(("cap", "value"), [("MAX_MEMBERS", 1), ("MAX_ARCHIVE_BYTES", 100)])
@pytest.mark.parametrize("pack", [tarred, lambda f: tarred(f, ".tar.gz"), seven_zipped])
def test_tars_and_7z_over_the_caps_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pack: Callable[[Path], Path],
    cap: str,
    value: int,
) -> None:
    source = pack(put_pictures(tmp_path / "set", "a.png", "b.png", "c.png"))
    monkeypatch.setattr(limits, cap, value)
    with pytest.raises(DataError, match=r"more than \d"):
        load_dataset(source)


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**40
    for ending, pack in ((".tar", bytes), (".tar.gz", gzip.compress)):
        path = tmp_path / f"a{ending}"
        path.write_bytes(pack(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
        with pytest.raises(DataError, match=r"is damaged or no tar|expands more than"):
            load_dataset(path)


def test_endless_headers_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    block = info.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(block * 5000)
    with pytest.raises(DataError, match="is damaged"):
        load_dataset(tmp_path / "a.tar")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_tar_that_ends_early_is_one_line(tmp_path: Path, ending: str) -> None:
    source = tarred(put_pictures(tmp_path / "set", *[f"{i}.png" for i in range(20)]), ending)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match=r"is damaged or no tar") as caught:
        load_dataset(source)
    assert "\n" not in str(caught.value)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    source = tarred(put_pictures(tmp_path / "set", "a.png", "b.png", "c.png"))
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"./b.png") + 150] ^= 0xFF
    source.write_bytes(raw)
    with pytest.raises(DataError, match="is damaged or no tar"):
        load_dataset(source)


def test_a_member_too_large_for_a_picture_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put_pictures(tmp_path / "set", "a.png")
    (folder / "b.png").write_bytes(bytes(3000))
    source = tarred(folder)
    monkeypatch.setattr(limits, "MAX_FILE", 2000)
    ((name, reason),) = count_dataset(source).unreadable_files
    assert (name, "larger than" in reason) == ("b.png", True)


@pytest.mark.parametrize("body", [b"", b"text", b"7z\xbc\xaf\x27\x1c" + bytes(40)])
def test_a_damaged_7z_is_one_line(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.7z").write_bytes(body)
    with pytest.raises(DataError, match=r"a\.7z is damaged or no 7z \(.+\): fetch it again"):
        load_dataset(tmp_path / "a.7z")


def test_an_encrypted_7z_is_refused(tmp_path: Path) -> None:
    folder = put_pictures(tmp_path / "set", "a.png")
    for hidden in (False, True):
        source = seven_zipped(folder, password="secret", header_encryption=hidden)
        with pytest.raises(DataError, match="is encrypted: unpack it and give the folder"):
            load_dataset(source)


def test_a_7z_with_a_link_is_refused(tmp_path: Path) -> None:
    folder = put_pictures(tmp_path / "set", "a.png")
    (folder / "b.png").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"holds a link or device, b\.png"):
        load_dataset(seven_zipped(folder))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.rar", "unpack it and give the folder"),
        ("a.png.gz", "one packed file: unpack it and give what is in it"),
        ("a.pt", "Python objects, which could run code: save arrays with np.savez"),
        ("a.tfrecord", "convert it to a folder of PNG files"),
        ("a.mp4", "a video: write its frames"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"Rar!")
    with pytest.raises(DataError, match=f"{name} is a single file: .*{words}"):
        load_dataset(tmp_path / name)


def test_a_folder_of_archives_names_them(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    put_pictures(tmp_path / "photos", "a.png")
    tarred(tmp_path / "photos", ".7z").rename(tmp_path / "set" / "photos.zip")
    with pytest.raises(
        DataError, match=r"but archives \(photos\.zip\): give one, as .*photos\.zip"
    ):
        load_dataset(tmp_path / "set")


def test_a_folder_within_an_archive_is_named(tmp_path: Path) -> None:
    source = tarred(put_pictures(tmp_path / "set", "x/cat/a.png", "x/dog/b.png", "y/c.png"))
    assert read_classes(Path(f"{source}:x")) == ([0, 1], ["cat", "dog"])
    with pytest.raises(DataError, match=r"set\.tar holds no z"):
        load_dataset(f"{source}:z")
