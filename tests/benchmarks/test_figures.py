"""The command that makes the tables: it trains, judges, stores, and continues after a stop."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

import cells
import figures
import measure
import pictures
from cells import Cell, Length
from ganvas import data
from ganvas.cli import app
from helpers.staged import Stage, result_of, row
from result import Plain, file_of


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`few("a", "b")`: the only table is the flagship's, and has just these two cells."""

    def call(*names: str) -> None:
        made = [
            Cell(
                table="flagship",
                name=name,
                recipe="r3gan/digits",
                data="mnist",
                length=Length(1, "minutes"),
                minutes=1,
            )
            for name in names
        ]
        monkeypatch.setattr(figures, "TABLES", {"flagship": lambda: iter(made)})

    return call


# Trained, judged and stored


def test_a_cell_is_trained_judged_and_stored(stage: Stage, few: Callable[..., None]) -> None:
    few("one")
    assert stage("flagship") == 0
    (train,) = stage.calls("train")
    assert train[1:4] == ["r3gan/digits", "--data", "mnist"]
    assert train[4:8] == ["--minutes", "1", "--seed", "0"]
    result = stage.result("flagship/one")
    assert (result.images_seen, result.threads, result.asked) == (1000, 2, "1 minute")
    assert result.versions == {"torch": "2.9"}
    assert result.seconds > 0
    # on Linux it includes the memory of the parent process: here all of pytest
    assert result.peak_rss_mb > 1
    assert result.resolved == {"model": {"width": 8}, "train": {"batch": 4}}
    assert result.evaluation["fid"] == 0.5
    assert result.evaluation["protocol"]["n_fake"] == 10_000
    assert result.evaluation["floor"]["per_class"] is None  # a thousand classes
    # no path of this machine
    assert not re.search(r'"/', (stage.results / "flagship/one.json").read_text())


def test_cells_with_results_are_skipped(stage: Stage, few: Callable[..., None]) -> None:
    few("one", "two", "three")
    stage("flagship")
    file = stage.results / "flagship/two.json"
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    file.unlink()
    assert stage("flagship") == 0
    trained = [Path(words[words.index("--out") + 1]).name for words in stage.calls("train")]
    assert trained == ["one", "two", "three", "two"]
    assert stage("flagship") == 0
    assert len(stage.calls("train")) == len(stage.calls("evaluate")) == 4
    assert all(
        (file.parent / name).read_bytes() == before[name] for name in ("one.json", "three.json")
    )


def test_an_interrupted_training_begins_again(stage: Stage, few: Callable[..., None]) -> None:
    few("one")
    (stage.work / "flagship/one").mkdir(parents=True)
    (stage.work / "flagship/one/state.pt").touch()
    assert stage("flagship") == 0
    assert not (stage.work / "flagship/one/state.pt").exists()


def test_a_failing_cell_does_not_stop_the_others(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("one", "two", "three")
    stage.wish(fail=("train", "two"))
    assert stage("flagship") == 1
    assert sorted(path.stem for path in (stage.results / "flagship").iterdir()) == ["one", "three"]
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("flagship/two failed: ")]
    assert "ganvas: the disk is full" in line
    assert lines[-1] == "1 failed"
    stage.wish()
    assert stage("flagship") == 0
    assert len(stage.calls("train")) == 4


def test_a_training_is_not_lost_when_judging_fails(stage: Stage, few: Callable[..., None]) -> None:
    few("one")
    stage.wish(fail=("evaluate", "one"))
    assert stage("flagship") == 1
    assert not (stage.results / "flagship/one.json").exists()
    stage.wish()
    assert stage("flagship") == 0
    assert len(stage.calls("train")) == 1
    assert stage.result("flagship/one").evaluation["fid"] == 0.5


def test_results_are_judged_again_without_training(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("one", "two")
    stage("flagship")
    (stage.results / "flagship/two.json").unlink()
    first = stage.result("flagship/one")
    stage.wish(fid=9.0)
    assert stage("flagship", "--judge") == 0
    assert len(stage.calls("train")) == 2
    again = stage.result("flagship/one")
    assert again.evaluation["fid"] == 9.0
    assert dataclasses.replace(again, evaluation=first.evaluation) == first
    assert not (stage.results / "flagship/two.json").exists()
    stage.wish(weights_sha256="another")
    assert stage("flagship", "--judge") == 1
    assert "holds other weights than were judged" in capsys.readouterr().err
    assert stage.result("flagship/one") == again


def test_a_kept_training_of_another_length_is_not_judged(
    stage: Stage, few: Callable[..., None]
) -> None:
    few("one")
    stage.wish(fail=("evaluate", "one"))
    stage("flagship", "--scale", "0.9")
    stage.wish()
    assert stage("flagship") == 0
    assert stage.result("flagship/one").asked == "1 minute"
    assert len(stage.calls("train")) == 2


def test_output_that_is_no_evaluation_is_a_failure(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("one")
    stage.wish(floor=None)
    assert stage("flagship") == 1
    assert "printed no evaluation" in capsys.readouterr().err


def test_budgets_are_parts_of_the_plain_loops_times(stage: Stage) -> None:
    assert stage("sources") == 0
    leaky = stage.result("sources/mlp-leaky")
    assert leaky.plain == Plain(images="MNIST", rates=(1000.0, 900.0, 5000.0), ganvas=(2000.0,))
    assert leaky.images_seen == 12_000_000
    assert leaky.plain_seconds == 12_000.0  # at the median rate
    asked = {words[words.index("--out") + 1]: words for words in stage.calls("train")}
    minutes = {
        Path(run).name: float(words[words.index("--minutes") + 1])
        for run, words in asked.items()
        if "--minutes" in words
    }
    assert minutes["r3gan-for-mlp-leaky"] == pytest.approx(0.95 * 200 / 20)
    assert minutes["r3gan-for-mlp-batchnorm"] == pytest.approx(0.95 * 160 / 60, abs=1e-3)
    assert next(words for run, words in asked.items() if run.endswith("/dcgan-64"))[-2:] == [
        "--set",
        "model.width=32",
    ]
    assert row(
        (stage.results / "figures.md").read_text(),
        "`mlp/leaky`",
        "200 epochs",
        "1,000",
        "200.0 min",
    )


def test_a_budget_too_short_to_start_is_raised_with_a_note(stage: Stage) -> None:
    for name in ("mlp-relu", "mlp-leaky", "mlp-batchnorm", "cgan-digits", "dcgan-64"):
        cell = next(cell for cell in cells.sources() if cell.name == name)
        result = result_of(cell, images=1000)
        file_of(cell, stage.results).parent.mkdir(parents=True, exist_ok=True)
        file_of(cell, stage.results).write_text(result.to_json())
    # 1, as no table is rendered: the stub judges by another protocol than these results have
    assert stage("sources") == 1
    result = stage.result("sources/r3gan-for-mlp-relu")
    assert result.asked == "0.5 minutes"
    assert "1/20 of the plain loop's time of mlp-relu is 0.1 s" in result.note


def test_the_flagship_waits_for_the_system(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.wish(fail=("--only", "cgan/digits"))
    assert stage("sources") == 1
    lines = capsys.readouterr().err
    assert "sources/cgan-digits failed" in lines
    assert (
        "sources/r3gan-for-cgan-digits failed: its length depends on sources/cgan-digits, which has"
        " no result yet" in lines
    )
    assert len(list((stage.results / "sources").iterdir())) == 8


def test_ganvas_knows_these_commands(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "HELD_OUT", 20)
    first = {
        name: partial(itertools.islice, list(make()), 2) for name, make in cells.TABLES.items()
    }
    monkeypatch.setattr(figures, "TABLES", first)
    (stage.work / "sets" / "food").mkdir(parents=True)
    assert stage() == 0
    calls = [
        words for verb in ("train", "runs", "evaluate", "sample") for words in stage.calls(verb)
    ]
    assert len(calls) == 3 * (2 + 2 + 2 + 1 + 1 + 2) + 1
    for words in calls:
        app.parse_args(words, exit_on_error=False, print_error=False)  # raises for what is unknown


def test_pictures_are_drawn_trained_on_and_judged_for_copies(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "TRAINING", 8)
    monkeypatch.setattr(pictures, "HELD_OUT", 12)
    assert stage("pictures", "modes") == 0
    (train,) = [words for words in stage.calls("train") if words[1] == "r3gan/images"]
    folder = Path(train[train.index("--data") + 1])
    assert data.load_dataset(folder).images.shape == (8, 3, 64, 64)
    assert data.load_dataset(folder, split="test").images.shape == (12, 3, 64, 64)
    (evaluate,) = [
        words for words in stage.calls("evaluate") if Path(words[1]).parent.name == "pictures"
    ]
    assert "--copies" in evaluate
    result = stage.result("pictures/r3gan-images")
    assert result.diversity is not None
    assert "sheet" not in result.evaluation["copies"]
    document = (stage.results / "figures.md").read_text()
    assert row(document, "copy check")[1:] == ["not a copier", "not a copier", "yes"]
    assert row(document, "modes of 1,000, in 26,000 samples")[-1] == "no"


def test_a_stop_ends_the_training_too(stage: Stage) -> None:
    stage.wish(hang="train")
    command = [
        sys.executable,
        "-c",
        (
            "import sys, signal, figures, measure; measure.GANVAS = [sys.executable,"
            " sys.argv.pop(1)]; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
            " sys.exit(figures.main())"
        ),
        str(stage.folder / "stub.py"),
        "flagship",
        "--results",
        str(stage.results),
        "--work",
        str(stage.work),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (stage.folder / "hanging").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143  # waits for the training, whose sleep is longer than that
    with FileLock(stage.work / ".lock", timeout=0):
        assert not list(stage.results.glob("*/*.json"))


def test_two_at_once_are_refused(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("one")
    stage.work.mkdir()
    with FileLock(stage.work / ".lock"):
        assert stage("flagship") == 2
    assert "another figures.py is running" in capsys.readouterr().err
    assert not stage.calls("train")


# The command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flagshp"], "figures.py: unknown table flagshp: did you mean flagship?"),
        (
            ["flagship", "--scale", "0.1"],
            "figures.py: results of --scale are not worth keeping: give another folder",
        ),
        (
            ["--scale", "0", "--results", "x"],
            "figures.py: --scale 0: expected more than 0, at most 1",
        ),
        (
            ["pictures", "--only", "food-10min"],
            "figures.py: --only food-10min: no cell of pictures has such a name; --dry-run lists",
        ),
        (["--sacle"], "figures.py: unrecognized arguments: --sacle"),
    ],
)
def test_bad_input_is_reported_in_a_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert figures.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert (out, err.count("\n")) == ("", 1)


def test_a_damaged_result_is_reported_before_any_training(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = stage.results / "flagship/mnist-1min-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 1')
    few("one")
    assert stage("flagship") == 2
    assert f"{path} is not a result of figures.py" in capsys.readouterr().err
    assert not stage.calls("train")


def test_a_dry_run_lists_what_is_left_and_does_nothing(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("one", "two")
    stage("flagship")
    (stage.results / "flagship/two.json").unlink()
    capsys.readouterr()
    assert stage("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["done", "to"]
    assert lines[2] == "1 of 2 cells to do, about 1 min"
    assert len(stage.calls("train")) == 2


# The real ganvas


@pytest.mark.long
def test_the_real_command_is_understood(tmp_path: Path) -> None:
    cell = Cell(
        table="t",
        name="c",
        recipe="dcgan/tiny",
        data="mnist-5k",
        length=Length(64, "images"),
        minutes=1,
        seed=3,
        settings=("model.width=5",),
    )
    places = measure.Places(tmp_path / "results", tmp_path / "work", tmp_path)
    result = measure.train(cell, Length(64, "images"), places)
    card = json.loads((places.run(cell) / "recipe.json").read_bytes())
    assert (card["seed"], card["model"]["width"]) == (3, 5)
    assert (result.images_seen, result.threads, result.versions) == (
        64,
        card["threads"],
        card["versions"],
    )
    assert 100 < result.peak_rss_mb < 5000
