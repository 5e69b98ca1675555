"""Tables of pixels: Kaggle's train.csv, FER-2013's cells of values, and their variants."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ganvas.data import load_dataset
from ganvas.data.formats.arrays import pixel_table
from ganvas.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8), np.uint8)
IMAGES[0, 0, 0] = 255
LABELS = [3, 0, 1, 3, 0, 1]
HEADER = ["label", *[f"pixel{i}" for i in range(64)]]


def write(path: Path, rows: Iterable[Iterable[object]], separator: str = ",") -> Path:
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows))
    return path


def rows(labels: Iterable[object] = LABELS) -> list[list[object]]:
    pairs = zip(labels, IMAGES, strict=True)
    return [[label, *image.ravel().tolist()] for label, image in pairs]


def smooth_colour(n: int = 4, side: int = 8) -> npt.NDArray[np.uint8]:
    """Images (N, S, S, 3) whose neighbours are alike, as those of photographs are."""
    y, x = np.mgrid[:side, :side]
    base = 8 * x + 6 * y
    planes = [base, 255 - 9 * y, 90 + 3 * x]
    return np.stack([np.stack(planes, 2) + i for i in range(n)]).astype(np.uint8)


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("last", [False, True])
def test_labels_stand_first_or_last(
    tmp_path: Path, separator: str, header: bool, last: bool
) -> None:
    table = [HEADER, *rows()] if header else rows()
    if last:
        table = [[*row[1:], row[0]] for row in table]
    data = load_dataset(write(tmp_path / "train.csv", table, separator))
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert data.labels is not None
    assert data.labels.tolist() == LABELS
    assert data.classes == ("0", "1", "2", "3")
    assert "rows of 64 values are read as grey images of 8x8" in data.notes
    place = "last" if last else "first"
    column = "column label" if header else f"the {place} column, as there is no header"
    assert f"classes are read from {column}" in data.notes


def test_a_table_without_labels(tmp_path: Path) -> None:
    for table in ([HEADER[1:], *[row[1:] for row in rows()]], [row[1:] for row in rows()]):
        data = load_dataset(write(tmp_path / "test.csv", table))
        assert (len(data), data.labels) == (6, None)
        assert "no column of labels: read without classes" in data.notes


def test_labels_that_are_words(tmp_path: Path) -> None:
    words = ["cat", "dog", "cat", "emu", "emu", "dog"]
    data = load_dataset(write(tmp_path / "train.csv", [HEADER, *rows(words)]))
    assert data.labels is not None
    assert [data.classes[i] for i in data.labels] == words


def test_headers_of_other_tools(tmp_path: Path) -> None:
    grid = ["label", *[f"{y}x{x}" for y in range(1, 9) for x in range(1, 9)]]
    assert len(load_dataset(write(tmp_path / "mnist_train.csv", [grid, *rows()]))) == 6
    mangled = ["3", *[f"0.{i}" for i in range(64)]]  # pandas, of repeated values in a first row
    assert len(load_dataset(write(tmp_path / "letters.csv", [mangled, *rows()]))) == 6
    quoted = [f'"{name}"' for name in HEADER]
    text = [[f'"{row[0]}"', *row[1:]] for row in rows()]
    assert load_dataset(write(tmp_path / "r.csv", [quoted, *text])).classes == ("0", "1", "2", "3")


def test_a_label_column_among_others(tmp_path: Path) -> None:
    header = ["id", "sex", "age", *HEADER[1:]]
    pairs = enumerate(zip("mfmfmf", rows(), strict=True))
    table = [[f"x{i}", sex, 20 + row[0], *row[1:]] for i, (sex, row) in pairs]
    source = write(tmp_path / "people.csv", [header, *table])
    assert load_dataset(source).labels is None
    assert load_dataset(source, label_column="sex").classes == ("f", "m")
    assert load_dataset(source, label_column="Age").classes == ("20", "21", "23")
    with pytest.raises(DataError, match=r"people\.csv has no column eyes: it has id, sex, age"):
        load_dataset(source, label_column="eyes")


def test_one_cell_of_pixels_and_a_column_of_parts(tmp_path: Path) -> None:
    """FER-2013's fer2013.csv, and icml_face_data.csv with blanks in its header."""
    usage = ["Training", "Training", "Training", "Training", "PublicTest", "PrivateTest"]
    cells = [" ".join(map(str, image.ravel())) for image in IMAGES]
    for header in (["emotion", "pixels", "Usage"], ["emotion", " pixels", " Usage"]):
        table = [header, *zip(LABELS, cells, usage, strict=True)]
        source = write(tmp_path / "fer2013.csv", table)
        train, test = load_dataset(source), load_dataset(source, split="test")
        assert np.array_equal(train.images[:, 0].numpy(), IMAGES[:4])
        assert np.array_equal(test.images[:, 0].numpy(), IMAGES[4:])
        assert test.labels is not None
        assert (test.labels.tolist(), test.classes) == ([0, 1], train.classes)
        parts = "rows with Usage Training are the part to train on, those with"
        assert f"{parts} PrivateTest, PublicTest are held out" in train.notes


def test_colour_where_the_order_is_beyond_doubt(tmp_path: Path) -> None:
    images = smooth_colour()
    header = [*[f"pixel{i:04}" for i in range(192)], "label"]
    for array, order in (
        (images, "pixel by pixel"),
        (images.transpose(0, 3, 1, 2), "plane by plane"),
    ):
        table = [[*row, k % 2] for k, row in enumerate(array.reshape(4, -1).tolist())]
        data = load_dataset(write(tmp_path / "hmnist_8_8_RGB.csv", [header, *table]))
        assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), images)
        assert f"rows of 192 values are read as RGB images of 8x8, {order}" in data.notes
    noise = RNG.integers(0, 256, (4, 192), np.uint8)
    table = [[*row, k % 2] for k, row in enumerate(noise.tolist())]
    with pytest.raises(DataError, match="may be RGB pixel by pixel or plane by plane"):
        load_dataset(write(tmp_path / "noise.csv", [header, *table]))


def test_train_and_test_tables_of_a_folder_or_a_zip(tmp_path: Path) -> None:
    """Kaggle's digit recognizer: the held-out part has no labels, a third table no pixels."""
    folder = tmp_path / "digits"
    folder.mkdir()
    write(folder / "train.csv", [HEADER, *rows()])
    write(folder / "test.csv", [HEADER[1:], *[row[1:] for row in rows()[:2]]])
    write(folder / "sample_submission.csv", [["ImageId", "Label"], [1, 0], [2, 0]])
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for source in (folder, tmp_path / "digits.zip"):
        train, test = load_dataset(source), load_dataset(source, split="test")
        assert (len(train), train.classes) == (6, ("0", "1", "2", "3"))
        assert (len(test), test.labels) == (2, None)
        assert "train.csv is the part to train on, test.csv the one held out" in train.notes
    assert len(load_dataset(f"{tmp_path / 'digits.zip'}:test.csv")) == 2


def test_other_files_beside_tables_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [HEADER, *rows()])
    write(tmp_path / "sample_submission.csv", [["ImageId", "Label"], [1, 0], [2, 0]])
    (tmp_path / "README.md").write_text("about")
    assert load_dataset(tmp_path).notes[0] == "2 files passed over (.csv 1, .md 1)"


def test_a_label_column_that_only_the_part_to_train_on_has(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [HEADER, *rows()])
    write(tmp_path / "test.csv", [HEADER[1:], *[row[1:] for row in rows()]])
    write(tmp_path / "val.csv", [HEADER, *rows()])
    assert load_dataset(tmp_path, label_column="label").classes == ("0", "1", "2", "3")
    assert load_dataset(tmp_path, label_column="label", split="test").labels is None
    assert "val.csv is not used" in load_dataset(tmp_path).notes
    with pytest.raises(DataError, match="has no column pixel3"):
        load_dataset(tmp_path, label_column="pixel3")


def test_emnist_stores_its_pictures_column_by_column(tmp_path: Path) -> None:
    turned = [[row[0], *image.T.ravel()] for row, image in zip(rows(), IMAGES, strict=True)]
    data = load_dataset(write(tmp_path / "emnist-balanced-train.csv", turned))
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert any("column by column as EMNIST stores them" in note for note in data.notes)


@pytest.mark.parametrize("most", [1, 16])
def test_few_levels_of_grey_are_stretched(tmp_path: Path, most: int) -> None:
    """As of scikit-learn's digits, whose values run from 0 to 16."""
    shallow = IMAGES.astype(int) * most // 255
    table = [[label, *image.ravel()] for label, image in zip(LABELS, shallow, strict=True)]
    data = load_dataset(write(tmp_path / "digits.csv", [HEADER, *table]))
    assert int(data.images.max()) == 255
    assert any(f"0:{most} becomes black to white" in note for note in data.notes)


def test_classes_of_both_tables_agree(tmp_path: Path) -> None:
    write(tmp_path / "x_train.csv", [HEADER, *rows([1, 1, 2, 2, 1, 2])])
    write(tmp_path / "x_test.csv", [HEADER, *rows([2, 2, 3, 3, 2, 2])])
    assert load_dataset(tmp_path).classes == load_dataset(tmp_path, split="test").classes
    assert load_dataset(tmp_path).classes == ("1", "2", "3")
    write(tmp_path / "more_train.csv", [HEADER, *rows()])
    with pytest.raises(DataError, match="holds several tables of pixels"):
        load_dataset(tmp_path)


def test_fractions_and_wide_integers_find_their_range(tmp_path: Path) -> None:
    scaled = [[0, *(image.ravel() / 255).round(4)] for image in IMAGES]
    data = load_dataset(write(tmp_path / "unit.csv", [HEADER, *scaled]))
    assert np.abs(data.images[:, 0].numpy().astype(int) - IMAGES).max() <= 1
    deep = [[0, *(image.ravel().astype(int) * 257)] for image in IMAGES]
    data = load_dataset(write(tmp_path / "deep.csv", [HEADER, *deep]))
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)


REFUSED = {
    "no square": ([HEADER[:61], *[row[:61] for row in rows()]], "is no table of pixels"),
    "measurements": ([["a", "b", "kind"], [1.5, 2, "x"], [1.5, 2, "y"]], "is no table of pixels"),
    "words": ([HEADER, *rows()[:3], [0, *["x"] * 64]], "pixels from row 2 on are no numbers"),
    "short row": ([HEADER, *rows(), [0, 1, 2]], r"row 8 has too few cells|is no table|no numbers"),
    "empty": ([], "is no table of pixels"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_tables_are_one_line(tmp_path: Path, kind: str) -> None:
    table, words = REFUSED[kind]
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(write(tmp_path / "a.csv", table))
    assert "\n" not in str(caught.value)


def test_a_row_without_end_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_table, "MAX_LINE", 2**20)
    (tmp_path / "a.csv").write_bytes(b"0," * 2**20)
    with pytest.raises(DataError, match="a line of more than 1 MiB: no table of pixels"):
        load_dataset(tmp_path / "a.csv")


def test_binary_content_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DataError, match="is no table of pixels"):
        load_dataset(tmp_path / "a.csv")
