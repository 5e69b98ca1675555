"""StyleGAN's packed sets: numbered folders of pictures and their labels in dataset.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError
from helpers.sets import put_pictures, put_table, read_classes

NAMES = [f"0000{i // 2}/img0000000{i}.png" for i in range(5)]


def put_packed(root: Path, content: Any = None, names: list[str] = NAMES) -> Path:
    put_pictures(root, *names)
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (root / "dataset.json").write_text(text)
    return root


def pairs(labels: list[Any]) -> list[list[Any]]:
    return [[name, label] for name, label in zip(NAMES, labels, strict=True)]


@pytest.mark.parametrize(
    "labels",
    [
        pairs([3, 0, 1, 2, 0]),
        pairs([3, 0, 1, 2, 0])[::-1],
        dict(pairs([3, 0, 1, 2, 0])),
        [3, 0, 1, 2, 0],
        pairs([[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1.0, 0, 0, 0]]),
    ],
)
def test_labels_come_from_dataset_json(
    tmp_path: Path, packed: Callable[[Path], Path], labels: Any
) -> None:
    source = packed(put_packed(tmp_path / "set", {"labels": labels}))
    assert read_classes(source) == ([0, 1, 2, 3, 4], ["3", "0", "1", "2", "0"])
    assert load_dataset(source).classes == ("0", "1", "2", "3")
    assert load_dataset(source).notes == ("classes read from dataset.json",)


@pytest.mark.parametrize("content", [{"labels": None}, {"labels": []}])
def test_without_labels_there_are_no_classes(
    tmp_path: Path, packed: Callable[[Path], Path], content: Any
) -> None:
    source = packed(put_packed(tmp_path / "set", content))
    assert read_classes(source) == ([0, 1, 2, 3, 4], None)
    assert load_dataset(source).notes == ("dataset.json holds no labels: read without classes",)


def test_classes_without_pictures_are_kept_and_named(tmp_path: Path) -> None:
    data = load_dataset(put_packed(tmp_path, {"labels": pairs([4, 0, 4, 0, 0])}))
    assert data.classes == ("0", "1", "2", "3", "4")
    assert "3 classes without images: 1, 2, 3" in data.notes
    data = load_dataset(put_packed(tmp_path, {"labels": pairs([1, 2, 1, 2, 1])}))
    assert data.classes == ("1", "2")


def test_a_few_that_do_not_fit_are_named(tmp_path: Path) -> None:
    labels = [*pairs([1, 0, 1, 0, 0])[1:], ["00009/img.png", 0]]
    source = put_packed(tmp_path, {"labels": labels})
    assert read_classes(source) == ([1, 2, 3, 4], ["0", "1", "0", "0"])
    assert load_dataset(source).notes[1:] == (
        f"1 picture without a label in it left out: {NAMES[0]}",
        "1 label of it for files that are not here: 00009/img.png",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ([], 'has no entry "labels"'),
        ({"names": []}, 'has no entry "labels"'),
        ({"labels": 3}, 'holds 3, expected "labels" with a pair of file and label'),
        ({"labels": [["a.png"]]}, r'holds \["a.png"\], expected'),
        ({"labels": [1, 2]}, "holds 2 labels for 5 pictures"),
        (
            {"labels": pairs([0, 1, 0, 1, -1])},
            r"img00000004\.png the label -1, expected",
        ),
        ('{"labels": [1' + "0" * 5000 + "]}", "cannot be read as JSON"),
        ({"labels": pairs([0, 1, 0, 1, True])}, "the label true, expected the number"),
        ({"labels": pairs([0, 1, 0, 1, 0.5])}, r"the label 0\.5, expected the number"),
        ({"labels": pairs([0, 1, 0, 1, 10**9])}, "the label 1000000000, expected the number"),
        ({"labels": pairs([0, 1, 0, 1, [1, 1]])}, r"the label \[1, 1\], expected the number"),
        ({"labels": [[NAMES[0], 1], [NAMES[0], 2]]}, "gives two labels to 00000/img00000000.png"),
        ({"labels": pairs([0, 1, 0, 1, 0])[:2]}, "lacks labels of 3 pictures: 00001/img0"),
        ({"labels": {"a": 1, "b": 2, NAMES[0]: 1}}, "gives labels to 2 files that are not here"),
    ],
)
def test_a_dataset_json_that_does_not_fit_is_refused(
    tmp_path: Path, content: Any, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(put_packed(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert "dataset.json" in str(caught.value)


def test_a_column_overrules_dataset_json(tmp_path: Path) -> None:
    source = put_packed(tmp_path, {"labels": pairs([[0.1, 0.5]] * 5)})
    with pytest.raises(DataError, match="read no labels with --label-column none"):
        load_dataset(source)
    assert load_dataset(source, label_column="none").labels is None
    put_table(source, "a.csv", "file,kind\n" + "".join(f"{n},{n[-5]}\n" for n in NAMES))
    assert load_dataset(source, label_column="kind").classes == ("0", "1", "2", "3", "4")


def test_each_part_may_be_packed(tmp_path: Path) -> None:
    for part in ("train", "test"):
        put_packed(tmp_path / part, {"labels": pairs([1, 0, 1, 0, 1])})
    assert read_classes(tmp_path, "test") == ([0, 1, 2, 3, 4], ["1", "0", "1", "0", "1"])


# Without dataset.json


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ["01/0001.png", "01/0002.png", "02/0003.png", "02/0004.png"],
        ["00000/00000.png", "00000/00001.png", "01000/01000.png"],
    ],
)
def test_portions_of_one_series_are_no_classes(
    tmp_path: Path, packed: Callable[[Path], Path], names: list[str]
) -> None:
    source = packed(put_packed(tmp_path / "set", names=names))
    first, last = names[0].split("/")[0], names[-1].split("/")[0]
    assert read_classes(source) == (list(range(len(names))), None)
    assert load_dataset(source).notes == (
        f"the folders {first} to {last} are portions of one series, no classes",
    )


@pytest.mark.parametrize(
    "names",
    [
        ["0/1.png", "0/2.png", "1/3.png", "1/4.png"],  # digits
        ["00/1.png", "00/2.png", "01/1.png", "01/2.png"],  # each counts anew
        ["00/1.png", "01/2.png", "01/3.png"],  # unequal sizes
        ["00/1.png", "01/2.png", "02/3.png"],  # one each
        ["00/1.png", "00/2.png", "01/3.png", "01/4.png", "05/5.png"],  # gaps
        ["00/a.png", "00/b.png", "01/c.png", "01/d.png"],  # no numbers
        ["00/1.png", "00/3.png", "01/2.png", "01/4.png"],  # in no order
        ["00/1.png", "00/2.png", "001/3.png", "001/4.png"],  # not padded
        [f"{d}/{i}.png" for d in ("0" * 99, "0" * 98 + "1") for i in (1, 2)],  # names of 99 digits
    ],
)
def test_other_numbered_folders_are_classes(tmp_path: Path, names: list[str]) -> None:
    classes = {name.split("/")[0] for name in names}
    assert set(load_dataset(put_packed(tmp_path, names=names)).classes) == classes
