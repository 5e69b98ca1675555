"""StackedMNIST: what its pictures are made of, and that 1,000 classes are looked at, trained and
sampled like ten."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import gans
from ganvas.data import count_dataset, load_dataset
from ganvas.data.catalogue import NAMES
from ganvas.data.dataset import Dataset
from ganvas.data.stacked import NUMBERS, STACKS, stacked
from ganvas.errors import DataError, SettingError
from ganvas.launch import launch
from ganvas.runs.request import Request
from ganvas.sampling.samples import parse_labels
from ganvas.sampling.sheets import sheet_classes
from ganvas.tuning import search
from ganvas.tuning.budget import SearchOptions
from helpers.common import put_idx, train

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def training_part() -> Dataset:
    return load_dataset("stacked-mnist-5k")


@pytest.fixture(scope="module")
def held_out_part() -> Dataset:
    return load_dataset("stacked-mnist-5k", split="test")


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def put_mnist(root: Path, parts: tuple[str, ...] = ("train", "t10k")) -> None:
    """30 grey pictures in place of MNIST: of digit d in part p, every pixel is 10 p + d."""
    for part in parts:
        labels = [k % 10 for k in range(30)]
        values = np.array([10 * (part == "t10k") + d for d in labels], np.uint8)
        images = np.broadcast_to(values[:, None, None], (30, 28, 28)).copy()
        put_idx(root / "MNIST" / "raw", part, images, labels)


def test_each_channel_is_a_digit_of_its_place_in_the_number(
    training_part: Dataset, held_out_part: Dataset
) -> None:
    for split, part in (("train", training_part), ("test", held_out_part)):
        digits = load_dataset("mnist-5k", split=split)  # type: ignore[arg-type]
        assert digits.labels is not None
        assert part.labels is not None
        of_digit = [rows(digits.images[digits.labels == d, 0]) for d in range(10)]
        for i, channel in itertools.product(range(0, len(part), 97), range(3)):
            number = part.classes[part.labels[i]]
            assert part.images[i, channel].numpy().tobytes() in of_digit[int(number[channel])]


def test_every_number_is_equally_often_in_any_beginning(
    training_part: Dataset, held_out_part: Dataset
) -> None:
    assert training_part.images.shape == (60_000, 3, 28, 28)
    assert held_out_part.images.shape == (10_000, 3, 28, 28)
    assert training_part.classes == held_out_part.classes == tuple(f"{k:03}" for k in range(1000))
    assert training_part.labels is not None
    for part in (training_part.labels, training_part.labels[:3000], held_out_part.labels):
        assert part is not None
        assert set(torch.bincount(part, minlength=1000).tolist()) == {len(part) // 1000}


def test_the_digits_pictures_are_used_alike_and_no_stack_twice(training_part: Dataset) -> None:
    assert len(rows(training_part.images)) == 60_000
    for channel in range(3):
        assert len(rows(training_part.images[:, channel])) == 4000


def test_the_held_out_stacks_share_no_digit_with_training(
    training_part: Dataset, held_out_part: Dataset
) -> None:
    used = set().union(*(rows(training_part.images[:, c]) for c in range(3)))
    held_out = set().union(*(rows(held_out_part.images[:, c]) for c in range(3)))
    assert not used & held_out


def test_the_stacks_never_change(training_part: Dataset, held_out_part: Dataset) -> None:
    assert (
        training_part.fingerprint
        == "d05d7706062e40b26dc35b6dfd576f73673ae08a038220b2d89820da4daf4ff8"
    )
    assert (
        held_out_part.fingerprint
        == "17c74e1965c64d6fe6b772f1cef618101eed4927efa7e763ebdb252bafc82d3f"
    )


def test_a_digit_is_drawn_from_all_of_its_kind_and_no_other() -> None:
    labels = np.repeat(np.arange(10), np.arange(1, 11))  # one 0, two 1s, ...
    digits = np.arange(55, dtype=np.uint8)[:, None, None]
    images, numbers = stacked(digits, labels, 3000)
    assert images.shape == (3000, 1, 1, 3)
    for channel, digit in itertools.product(range(3), range(10)):
        of_digit = [int(NUMBERS[n][channel]) == digit for n in numbers]
        assert set(images[of_digit, 0, 0, channel].tolist()) == set(
            np.flatnonzero(labels == digit).tolist()
        )


class TestSource:
    def test_mnist_where_it_is_there(self, tmp_path: Path) -> None:
        put_mnist(tmp_path)
        for split, first in (("train", 0), ("test", 10)):
            data = load_dataset("stacked-mnist", split=split, data_dir=tmp_path)  # type: ignore[arg-type]
            assert data.labels is not None
            assert data.classes[data.labels[123]] == "123"
            assert data.images[123, :, 0, 0].tolist() == [first + 1, first + 2, first + 3]
            assert any("30" in note and " of mnist," in note for note in data.notes)

    @pytest.mark.parametrize("parts", [(), ("train",), ("t10k",)])
    def test_mnist_5k_where_a_part_of_mnist_is_missing(
        self, tmp_path: Path, training_part: Dataset, held_out_part: Dataset, parts: tuple[str, ...]
    ) -> None:
        put_mnist(tmp_path, parts)
        before = sorted(tmp_path.rglob("*"))
        data = load_dataset("stacked-mnist", data_dir=tmp_path)
        assert data.fingerprint == training_part.fingerprint
        assert any(f"mnist is not in {tmp_path}" in note for note in data.notes)
        assert (
            load_dataset("stacked-mnist", split="test", data_dir=tmp_path).fingerprint
            == held_out_part.fingerprint
        )
        assert sorted(tmp_path.rglob("*")) == before

    def test_mnist_5k_by_its_name_whatever_is_there(
        self, tmp_path: Path, training_part: Dataset
    ) -> None:
        put_mnist(tmp_path)
        data = load_dataset("stacked-mnist-5k", data_dir=tmp_path)
        assert data.fingerprint == training_part.fingerprint
        assert len(data.notes) == 1

    def test_a_damaged_mnist_is_named(self, tmp_path: Path) -> None:
        put_mnist(tmp_path)
        file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(DataError, match="train-images-idx3-ubyte should hold"):
            load_dataset("stacked-mnist", data_dir=tmp_path)

    def test_a_digit_that_is_missing_is_named(self, tmp_path: Path) -> None:
        for part in ("train", "t10k"):
            put_idx(
                tmp_path / "MNIST" / "raw", part, np.zeros((9, 28, 28), np.uint8), list(range(9))
            )
        with pytest.raises(DataError, match="holds no 9 to stack"):
            load_dataset("stacked-mnist", data_dir=tmp_path)

    def test_the_real_mnist_is_used_if_it_is_there(self, real_mnist: Path) -> None:
        data = load_dataset("stacked-mnist", split="test", data_dir=real_mnist)
        held_out = load_dataset("mnist", split="test", data_dir=real_mnist)
        assert rows(data.images[:2000, 0]) <= rows(held_out.images)


class TestThousandClasses:
    def test_inspecting_shows_them_in_one_line(self, cli_run: Callable[..., Any]) -> None:
        done = cli_run("data", "inspect", "stacked-mnist-5k", "--recipe", "mlp/tiny")
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        assert max(map(len, lines)) < 250
        classes = next(line for line in lines if line.startswith("classes "))
        assert classes.split(maxsplit=1)[1].startswith("1,000 classes of 70 each: 000, 001, ")
        inspection = count_dataset("stacked-mnist-5k")
        assert (inspection.images, inspection.channels, inspection.duplicates) == (70_000, 3, 0)
        assert inspection.classes == dict.fromkeys(NUMBERS, 70)

    @pytest.fixture
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """2,000 stacks for training, which are made faster."""
        monkeypatch.setitem(STACKS, "train", 2000)

    @pytest.mark.usefixtures("few")
    def test_a_conditional_gan_trains_on_them_and_writes_the_number_asked_for(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        run = train("cgan/tiny", tmp_path / "run", data="stacked-mnist-5k", images=64.0)
        assert len(run.card.image.classes) == 1000
        for words, labels in (("123", [123]), ("7", [7]), ("042,999", [42, 999]), ("12", [12])):
            done = cli_run("sample", run.path, "--labels", words, "--out", f"{words}.npz")
            assert done.code == 0, done.err
            assert np.load(f"{words}.npz")["labels"].tolist() == labels
        assert "no class '20231223'" in cli_run("sample", run.path, "--labels", "20231223").error
        assert cli_run("sample", run.path).code == 0

    @pytest.mark.usefixtures("few")
    def test_an_unconditional_gan_trains_on_them(self, tmp_path: Path) -> None:
        run = train("mlp/tiny", tmp_path / "run", data="stacked-mnist-5k", images=32.0)
        assert run.sample(n=2).images.shape == (2, 28, 28, 3)

    @pytest.mark.usefixtures("few")
    def test_sheets_show_classes_from_the_first_to_the_last(self, tmp_path: Path) -> None:
        assert sheet_classes(4, 1000) == [0, 333, 666, 999]
        assert sheet_classes(5, 2) == [0, 1, 0, 1, 0]
        assert sheet_classes(1, 3) == [0]
        settings = {"sheet_rows": 2, "sheet_columns": 2, "sheet": "32 images"}
        run = train(
            "cgan/tiny", tmp_path / "run", data="stacked-mnist-5k", images=32.0, settings=settings
        )
        with Image.open(next((run.path / "samples").iterdir())) as sheet:
            last = np.asarray(sheet)[-56:, -56:][::2, ::2]
        expected = run.sampler()(range(4), seed=run.card.seed, labels=[0, 333, 666, 999])
        assert np.array_equal(last, expected[3].numpy())
        with Image.open(run.path / "real_images.png") as sheet:
            pixels = np.asarray(sheet)[-56:, -56:][::2, ::2]
        assert np.array_equal(
            pixels.transpose(2, 0, 1), load_dataset("stacked-mnist-5k").images[999].numpy()
        )

    @pytest.mark.parametrize("text", ["20231223", "1234", "1x", "-1", "0000"])
    def test_an_unknown_number_is_refused_in_few_words(self, text: str) -> None:
        with pytest.raises(SettingError, match=f"no class '{text}'") as error:
            parse_labels(text, NUMBERS)
        assert "commas" in str(error.value)
        assert len(str(error.value)) < 700


def test_their_recipe_is_trained_and_tuned_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
    monkeypatch.setattr(
        search, "prepare_search", lambda request, *_: pytest.fail(f"searched on {request.data}")
    )
    small = {"width": 2, "batch": 8, "precision": "32"}
    run = train(
        "r3gan/stacked-mnist", tmp_path / "run", images=8.0, settings=small, data_dir=tmp_path
    )
    assert (run.card.data.what, run.card.image.channels) == ("stacked-mnist", 3)
    with pytest.raises(pytest.fail.Exception, match="searched on stacked-mnist"):
        request = Request(recipe="r3gan/stacked-mnist")
        search.tune(request, SearchOptions(), out=tmp_path / "t.toml", started=0.0)
    assert gans.default_data("r3gan/digits") == gans.default_data(None) == "mnist-5k"


def test_both_names_are_known() -> None:
    assert {"stacked-mnist", "stacked-mnist-5k"} <= set(NAMES)
