"""Names and paths: the right reader, or one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganvas.data import catalogue, count_dataset, load_dataset
from ganvas.errors import DataError, SettingError
from helpers.common import put_idx
from helpers.sets import put_pictures


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
        load_dataset(put_pictures(tmp_path, "a.png") / "a.png")


def test_a_name_wins_over_a_folder_that_a_dot_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(tmp_path / "mnist-5k", "a.png")
    monkeypatch.chdir(tmp_path)
    named = load_dataset("mnist-5k")
    assert len(named) == 4000
    assert named.notes[-1] == (
        "mnist-5k is the data set of this name: write ./mnist-5k for what is called so here"
    )
    assert len(load_dataset("./mnist-5k")) == 1
    assert len(load_dataset(Path("mnist-5k"))) == 1


@pytest.mark.parametrize("what", ["./fashion-mnist", "fashion-mnist/"])
def test_a_path_is_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    put_pictures(tmp_path / "fashion-mnist", "a.png")
    monkeypatch.chdir(tmp_path)
    assert load_dataset(what).notes == ()
    assert count_dataset(what).images == 1


@pytest.mark.usefixtures("no_network")
def test_a_folder_called_as_a_data_set_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pictures(tmp_path / "fashion-mnist", "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(catalogue.PACKAGED, "fashion-mnist", tmp_path / "none")
    with pytest.raises(
        DataError,
        match=r"a data set that is not in .*: write \./fashion-mnist for what is",
    ) as caught:
        load_dataset("fashion-mnist", data_dir=tmp_path / "data")
    assert "network" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_what_has_no_tables_takes_no_column(tmp_path: Path) -> None:
    put_idx(tmp_path, "train", np.zeros((2, 3, 3), np.uint8), [0, 1])
    for what in ("mnist-5k", tmp_path, tmp_path / "train-images-idx3-ubyte"):
        with pytest.raises(SettingError, match="--label-column x does nothing for"):
            load_dataset(what, label_column="x")
