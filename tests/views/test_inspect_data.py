"""The report of `ganvas data inspect`: contents first, then what a training will come to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganvas
from ganvas.errors import SettingError
from ganvas.runs.request import Request
from ganvas.system import progress
from ganvas.system.machine import OtherLoad
from ganvas.system.progress import watched
from ganvas.training.cost import Cost, out_of_memory
from ganvas.training.preflight import prepare
from ganvas.views import inspect_data
from ganvas.views.inspect_outlook import Outlook, foresee

COST_KEYS = ("threads", "seconds_per_kimg", "peak_rss_mb", "images_planned", "times_seen")
KEYS = {
    *("images", "classes", "channels", "sizes", "unreadable", "unreadable_files", "duplicates"),
    *("splits", "notes", "recipe", "sheet", "name", "trained_as", "warnings", "duplicate_groups"),
    *("strangest", *COST_KEYS),
}


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """Noise of sizes 10x30 (three), 20x30 (one) and 40x50 (two), width x height."""
    folder = tmp_path / "sizes"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, (w, h) in enumerate([(10, 30)] * 3 + [(20, 30)] + [(40, 50)] * 2):
        Image.fromarray(rng.integers(0, 256, (h, w), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def line(text: str, name: str) -> str:
    """The line of a report with this name, without it."""
    (found,) = (each for each in text.splitlines() if each.startswith(f"{name} "))
    return found.removeprefix(name).strip()


def document(done: Any) -> dict[str, Any]:
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_sizes_are_summed_up_as_width_x_height(cli_run: Callable[..., Any], sizes: Path) -> None:
    text = cli_run("data", "inspect", sizes, "--no-cost").out
    assert line(text, "sizes") == (
        "3 different (width x height): smallest 10x30, median 10x30, largest 40x50;"
        " most frequent 10x30 3, 40x50 2, 20x30 1"
    )


def test_many_sizes_are_one_line(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for i in range(200):
        Image.new("L", (i + 1, 9)).save(tmp_path / "many" / f"{i}.png")
    text = cli_run("data", "inspect", tmp_path / "many", "--no-cost").out
    assert line(text, "sizes").startswith("200 different (width x height): smallest 1x9, median")
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([2, 2, 2], "3 classes of 2 each: a, b, c"),
        ([1, 5], "2 classes: a 1, b 5"),
        ([1, 2, 3, 4, 5, 6], "6 classes: largest f 6, smallest a 1; a 1, b 2, c 3, d 4, e 5, f 6"),
    ],
)
def test_classes(
    numbers: list[int], expected: str, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    labels = np.repeat(range(len(numbers)), numbers)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    np.savez(
        tmp_path / "a.npz", images=images, labels=labels, classes=list("abcdef")[: len(numbers)]
    )
    text = cli_run("data", "inspect", tmp_path / "a.npz", "--no-cost").out
    assert line(text, "classes") == expected


def test_contents_are_told_and_the_sheet_is_written_before_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []

    def say(text: str) -> None:
        assert Path("inspect.png").is_file()
        told.append(text)

    report = inspect_data.inspect_data("mnist-5k", recipe="mlp/tiny", say=say)
    contents, prospects = told
    assert "10 classes of 500 each" in contents
    assert "cost" not in contents
    assert prospects.startswith("cost        mlp/tiny on ")
    assert report.to_text() == f"{contents}\n{prospects}"


class TestJson:
    def test_it_has_all_that_the_text_has(
        self, cli_run: Callable[..., Any], pictures: Path
    ) -> None:
        found = document(cli_run("data", "inspect", pictures, "--json", "--recipe", "mlp/tiny"))
        assert set(found) >= KEYS
        assert found["trained_as"] == {"height": 8, "width": 8, "channels": 1}
        assert found["images_planned"] == 512
        assert found["times_seen"] == pytest.approx(512 / 12)
        assert found["warnings"][0].startswith("12 images to train on will be learned by heart")
        assert all(found[key] is not None for key in COST_KEYS)

    def test_without_the_cost_its_keys_are_null(self, cli_run: Callable[..., Any]) -> None:
        found = document(cli_run("data", "inspect", "mnist-5k", "--json", "--no-cost"))
        assert set(found) >= KEYS
        assert [found[key] for key in COST_KEYS] == [None] * len(COST_KEYS)

    def test_python_says_the_same(self, cli_run: Callable[..., Any]) -> None:
        words = ("data", "inspect", "mnist-5k", "--size", "8", "--out", "a.png", "--no-cost")
        found = document(cli_run(*words, "--json"))
        report = ganvas.inspect_data("mnist-5k", size=8, out="a.png", cost=False)
        assert report.to_json().keys() == found.keys()
        assert report.to_json()["trained_as"] == found["trained_as"]
        assert report.to_text() == cli_run(*words).out.rstrip("\n")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--size", "1500"], "GB of memory"),
        (["--recipe", "cgan/digits", "--size", "8"], "needs labels"),
        (["--recipe", "dcgan/64", "--size", "8"], "--size 16"),
    ],
)
def test_a_cost_that_cannot_be_had_is_told_and_no_error(
    words: list[str], reason: str, sizes: Path, cli_run: Callable[..., Any]
) -> None:
    done = cli_run("data", "inspect", sizes, *words)
    assert done.code == 0, done.err
    assert line(done.out, "sizes").startswith("3 different")
    assert line(done.out, "cost").startswith("not measured: ")
    assert reason in line(done.out, "cost")
    found = document(cli_run("data", "inspect", sizes, *words, "--json"))
    assert [found[key] for key in COST_KEYS] == [None] * len(COST_KEYS)


def test_memory_that_runs_out_has_one_line_and_bugs_keep_their_traceback() -> None:
    with pytest.raises(SettingError, match="memory ran out"), out_of_memory():
        torch.empty(2**50)
    with pytest.raises(SettingError, match="memory ran out"), out_of_memory():
        np.empty(2**55)
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_unknown_recipes_are_errors_still(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    assert "unknown recipe" in cli_run("data", "inspect", "mnist-5k", "--recipe", "nosuch/x").error
    assert list(tmp_path.iterdir()) == []


def test_duplicates_and_unusual_images_are_named(
    cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "p" / label).mkdir(parents=True)
        for i in range(10):
            noise = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "p" / label / f"{i}.png")
    first = tmp_path / "p" / "cat" / "0.png"
    (tmp_path / "p" / "dog" / "again.png").write_bytes(first.read_bytes())
    Image.new("L", (8, 8), 255).save(tmp_path / "p" / "dog" / "white.png")
    text = cli_run("data", "inspect", tmp_path / "p", "--no-cost").out
    assert line(text, "duplicates") == "1; 1 group of equal pictures"
    assert "exact, labels cat, dog: cat/0.png, dog/again.png" in text
    assert line(text, "unusual") == "1  dog/white.png: of one colour"


@pytest.mark.parametrize(("side", "recipe"), [(32, "r3gan/images"), (33, "projected/images")])
def test_the_recipe_follows_from_the_size_of_the_pictures(
    tmp_path: Path, cli_run: Callable[..., Any], side: int, recipe: str
) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        noise = rng.integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    found = document(cli_run("data", "inspect", tmp_path, "--no-cost", "--json"))
    assert found["recipe"] == recipe
    assert prepare(Request(data=str(tmp_path))).name == recipe
    # a setting that only one of the two has
    own = {32: {"blocks": 2}, 33: {"heads": 16}}[side]
    assert (
        vars(prepare(Request(data=str(tmp_path), settings=own)).recipe.model).items() >= own.items()
    )
    asked = prepare(Request(recipe="dcgan/64", data=str(tmp_path)))
    assert asked.name == "dcgan/64"


class TestOutlook:
    @staticmethod
    def outlook(images: int, rate: float, recipe: str = "r3gan/images", **options: Any) -> Outlook:
        """The outlook for `recipe` at `rate` images a second."""
        busy = options.pop("busy", 0.0)
        prepared = prepare(Request(recipe=recipe, **options))
        return foresee(prepared, Cost(2, 1 / rate, 500.0, busy), images)

    def test_enough(self) -> None:
        outlook = self.outlook(5000, rate=100)
        assert (outlook.images_planned, outlook.times_seen) == (360_000, 72)
        assert outlook.warnings == ()
        text = " ".join(line for _, line in outlook.text)
        assert "360,000 images to be seen, each about 72 times" in text
        assert "enough for simple pictures of 64x64, which took 300,000" in text
        assert "10.00 s per 1,000 images" in text
        assert "500 MB of memory" in text

    def test_too_few(self) -> None:
        (warning,) = self.outlook(5000, rate=50).warnings
        assert "180,000 images are fewer than the 300,000" in warning
        assert "--minutes 100," in warning

    def test_stages_on_the_way(self) -> None:
        def said(minutes: float) -> tuple[str, tuple[str, ...]]:
            outlook = self.outlook(5000, rate=50, recipe="projected/images", minutes=minutes)
            return outlook.text[-1][1], outlook.warnings

        assert "9,000 images are fewer than the 10,000" in said(3)[1][0]
        text, (warning,) = said(10)
        assert "enough for the shapes and colours" in text
        assert "30,000 images are fewer than the 35,000" in warning
        text, warnings = said(12)
        assert "enough for sprites of 64x64 that are recognised one by one" in text
        assert warnings == ()

    def test_minutes_of_the_user(self) -> None:
        assert self.outlook(5000, rate=100, minutes=120.0).images_planned == 720_000

    def test_learned_by_heart(self) -> None:
        (warning,) = self.outlook(200, rate=100).warnings
        assert "1,800 times and may be learned by heart" in warning
        assert "--images 300000" in warning
        assert self.outlook(300, rate=100).warnings == ()

    def test_a_length_in_epochs(self) -> None:
        outlook = self.outlook(1000, rate=10, recipe="mlp/leaky")
        assert outlook.times_seen == 200
        assert "200 epochs in about 5:33:20" in outlook.whole_training

    def test_busy_cores_are_named(self) -> None:
        (warning,) = self.outlook(5000, rate=100, busy=1.6).warnings
        assert "other processes use 1.6 of " in warning
        assert "too long" in warning


def test_the_load_of_other_processes_is_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        load = OtherLoad()
        time.sleep(0.5)
        used = load.cores()
        busy.kill()
    assert used > 0.1


def test_reading_shows_progress(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(watched("abc", 3, "read")) == list("abc")
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    assert list(watched("abc", 3, "read")) == list("abc")
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[1]) == ("", "read 2 of 3 pictures")
