"""Names in archives that give no encoding: found from the names, or given by --zip-encoding."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from ganvas.data import load_dataset
from ganvas.errors import DataError, SettingError
from helpers.raw_zip import raw_zip

CHINESE = ["猫", "狗", "飞机", "汽车", "图片", "训练集", "女", "山", "向日葵", "新建文件夹"]
JAPANESE = ["犬", "カエル", "飛行機", "表", "能", "桜", "ひまわり", "新しいフォルダー", "画像"]
KOREAN = ["고양이", "강아지", "비행기", "자동차", "새", "말", "해바라기", "새폴더", "정상"]
WESTERN = ["café", "Müller", "Möbel", "école", "señor", "Größe", "Öl", "für", "Äpfel", "Köln"]
DANISH = ["bjørn", "rødgrød", "Ørn", "ærø"]
RUSSIAN = ["кошка", "собака", "Новая папка"]


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), 7).save(file, "PNG")
    return file.getvalue()


def packed(path: Path, folders: Sequence[str], encoding: str) -> Path:
    """A zip of one picture in each folder. Its names have no flag for UTF-8."""
    names = [f"{folder}/a.png".encode(encoding) for folder in folders]
    return raw_zip(path / "set.zip", dict.fromkeys(names, picture()))


@pytest.mark.parametrize(
    ("folders", "encoding", "named"),
    [
        (CHINESE, "gbk", "gbk"),
        (JAPANESE, "cp932", "cp932"),
        (KOREAN, "cp949", "cp949"),
        (RUSSIAN, "cp866", "cp866"),
        (CHINESE, "utf-8", "utf-8"),
        (KOREAN, "utf-8", "utf-8"),
        (WESTERN, "utf-8", "utf-8"),
        (WESTERN, "cp1252", "cp1252"),
        (DANISH, "cp850", "cp850"),
    ],
)
def test_all_names_of_an_archive_come_out_right(
    tmp_path: Path, folders: list[str], encoding: str, named: str
) -> None:
    data = load_dataset(packed(tmp_path, folders, encoding))
    assert set(data.classes) == set(folders)
    (note,) = [note for note in data.notes if "--zip-encoding" in note]
    assert note.startswith(f"names in set.zip are read as {named}: ")


def test_names_of_western_windows_stay_and_need_no_note(tmp_path: Path) -> None:
    data = load_dataset(packed(tmp_path, WESTERN, "cp437"))
    assert set(data.classes) == set(WESTERN)
    assert not [note for note in data.notes if "encoding" in note]


@pytest.mark.parametrize(
    ("word", "encoding"),
    [(word, "gbk") for word in CHINESE]
    + [(word, "cp932") for word in JAPANESE]
    + [(word, "cp949") for word in KOREAN]
    + [(word, "cp437") for word in WESTERN],
)
def test_one_word_is_enough(tmp_path: Path, word: str, encoding: str) -> None:
    source = packed(tmp_path, [word, "plain"], encoding)
    assert set(load_dataset(source).classes) == {word, "plain"}


def test_the_flag_for_utf_8_is_believed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for folder in ("猫", "Ů"):
            archive.writestr(f"{folder}/a.png", picture())
    data = load_dataset(tmp_path / "set.zip")
    assert (set(data.classes), data.notes) == ({"猫", "Ů"}, ())


def test_a_given_encoding_wins(tmp_path: Path) -> None:
    source = packed(tmp_path, ["貓", "鳥"], "big5")
    data = load_dataset(source, zip_encoding="big5")
    assert set(data.classes) == {"貓", "鳥"}
    assert not [note for note in data.notes if "encoding" in note]


def test_encodings_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    source = packed(tmp_path, CHINESE, "gbk")
    with pytest.raises(SettingError, match=r"--zip-encoding klingon: unknown, expected gbk"):
        load_dataset(source, zip_encoding="klingon")
    for no_text in ("base64", "rot13"):
        with pytest.raises(SettingError, match=f"--zip-encoding {no_text}: unknown"):
            load_dataset(source, zip_encoding=no_text)
    with pytest.raises(DataError, match=r"set\.zip holds names that are not utf-8 \("):
        load_dataset(source, zip_encoding="utf-8")


def test_backslashes_within_japanese_characters_are_no_separators(tmp_path: Path) -> None:
    assert b"\\" in "表".encode("cp932")
    names = {"表\\a.png".encode("cp932"): picture(), "犬\\a.png".encode("cp932"): picture()}
    assert set(load_dataset(raw_zip(tmp_path / "a.zip", names)).classes) == {"表", "犬"}


def test_names_in_tars_are_found_the_same_way(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w", encoding="gbk", format=tarfile.GNU_FORMAT) as tar:
        for folder in CHINESE:
            info = tarfile.TarInfo(f"{folder}/a.png")
            info.size = len(picture())
            tar.addfile(info, io.BytesIO(picture()))
    assert set(load_dataset(tmp_path / "set.tar").classes) == set(CHINESE)
