"""WebDataset's tars: pictures with their labels beside, in one tar or several shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from ganvas.data import load_dataset
from ganvas.errors import DataError
from helpers.sets import read_classes


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, content: Mapping[str, bytes | int | str]) -> Path:
    """A tar of these files: an integer stands for a picture of this value."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, value in content.items():
            data = png(value) if isinstance(value, int) else value
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pairs(values: range, labels: list[str], kind: str = "cls") -> dict[str, int | str]:
    content: dict[str, int | str] = {}
    for value, label in zip(values, labels, strict=True):
        content |= {f"{value:06}.png": value, f"{value:06}.{kind}": label}
    return content


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz"])
def test_class_numbers_beside_pictures(tmp_path: Path, ending: str) -> None:
    source = shard(tmp_path / f"a{ending}", pairs(range(4), ["1", "0", "1\n", "2"]))
    assert read_classes(source) == ([0, 1, 2, 3], ["1", "0", "1", "2"])
    assert "classes are read from .cls beside the pictures" in load_dataset(source).notes


@pytest.mark.parametrize("field", ["label", "cls", "class_name"])
def test_labels_in_json(tmp_path: Path, field: str) -> None:
    labels = [json.dumps({"id": i, field: name}) for i, name in enumerate(("cat", "dog", "cat"))]
    source = shard(tmp_path / "a.tar", pairs(range(3), labels, "json"))
    assert read_classes(source) == ([0, 1, 2], ["cat", "dog", "cat"])


def test_shards_of_a_folder_are_one_set(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for place in range(3):
        values = range(2 * place, 2 * place + 2)
        shard(folder / f"shard-{place:06}.tar", pairs(values, ["0", str(place)]))
    data = load_dataset(folder)
    assert read_classes(folder) == ([0, 1, 2, 3, 4, 5], ["0", "0", "0", "1", "0", "2"])
    assert "3 tars read as one set" in data.notes


def test_shards_may_use_the_same_names(tmp_path: Path) -> None:
    for place in range(2):
        shard(tmp_path / "set" / f"{place}.tar", pairs(range(2), [str(place)] * 2))
    assert read_classes(tmp_path / "set") == ([0, 1, 0, 1], ["0", "0", "1", "1"])


def test_shards_of_two_parts(tmp_path: Path) -> None:
    shard(tmp_path / "set" / "x-train-000000.tar", pairs(range(2), ["0", "1"]))
    shard(tmp_path / "set" / "x-train-000001.tar", pairs(range(2, 4), ["0", "2"]))
    shard(tmp_path / "set" / "x-val-000000.tar", pairs(range(4, 6), ["2", "1"]))
    assert read_classes(tmp_path / "set") == ([0, 1, 2, 3], ["0", "1", "0", "2"])
    assert read_classes(tmp_path / "set", "test") == ([4, 5], ["2", "1"])
    test = load_dataset(tmp_path / "set", split="test")
    assert test.classes == load_dataset(tmp_path / "set").classes


def test_names_of_class_numbers(tmp_path: Path) -> None:
    for part, values in (("train", range(3)), ("test", range(3, 5))):
        (tmp_path / part).mkdir()
        shard(tmp_path / part / "0.tar", pairs(values, ["0", "1", "1"][: len(values)]))
    (tmp_path / "classnames.txt").write_text("tabby cat\nhot dog\n")
    assert read_classes(tmp_path)[1] == ["tabby cat", "hot dog", "hot dog"]
    assert read_classes(tmp_path, "test") == ([3, 4], ["tabby cat", "hot dog"])


def test_shards_without_labels_are_one_class(tmp_path: Path) -> None:
    for place in range(2):
        content = {f"{place}{i}.png": 2 * place + i for i in range(2)}
        shard(tmp_path / "set" / f"part-{place}.tar", content | {"x.txt": "a caption"})
    assert read_classes(tmp_path / "set") == ([0, 1, 2, 3], None)


def test_a_tar_for_each_class(tmp_path: Path) -> None:
    """As ImageNet is distributed: n01440764.tar and so on hold pictures alone."""
    shard(tmp_path / "set" / "cat.tar", {"a.png": 0, "b.png": 1})
    shard(tmp_path / "set" / "dog.tar", {"a.png": 2})
    assert read_classes(tmp_path / "set") == ([0, 1, 2], ["cat", "cat", "dog"])


def test_a_picture_without_a_label_is_named(tmp_path: Path) -> None:
    content = pairs(range(3), ["0", "1", "2"])
    del content["000001.cls"]
    with pytest.raises(DataError, match=r"lacks labels beside 1 picture: 000001\.png"):
        load_dataset(shard(tmp_path / "a.tar", content))


def test_other_files_beside_are_told(tmp_path: Path) -> None:
    content = pairs(range(2), ["0", "1"]) | {"000000.txt": "a cat", "000000.seg.png": 9}
    notes = load_dataset(shard(tmp_path / "a.tar", content)).notes
    assert "other files passed over (seg.png, txt)" in notes


@pytest.mark.parametrize("label", [b"\xff\xfe", b"[" * 100_000])
def test_damaged_labels_are_one_line(tmp_path: Path, label: bytes) -> None:
    content = {"0.png": 0, "0.json": b'{"label": 1}', "1.png": 1, "1.json": label}
    with pytest.raises(DataError, match=r"1\.json cannot be read") as caught:
        load_dataset(shard(tmp_path / "a.tar", content))
    assert "\n" not in str(caught.value)


def test_json_without_labels_leaves_the_folders_to_be_classes(tmp_path: Path) -> None:
    content = {"cat/0.png": 0, "cat/0.json": "{}", "dog/1.png": 1, "dog/1.json": "{}"}
    assert read_classes(shard(tmp_path / "a.tar", content)) == ([0, 1], ["cat", "dog"])
