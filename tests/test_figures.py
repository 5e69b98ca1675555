"""The command that makes the tables: what it trains, that it goes on where it stopped, and what it makes of results."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

import cells
import figures
import pictures
import tables
from cells import Cell, Length, Share
from ganvas import data, gans
from ganvas.errors import MetricError, RunError
from ganvas.recipe import Interval
from result import Plain, Result, file_of, protocol, read_result

ROOT = Path(__file__).parent.parent
ALL = [cell for make in cells.TABLES.values() for cell in make()]

# A ganvas, and a speed.py, that train nothing. It tells its calls, and does what wishes.json says.
STUB = """
import json, sys, time
from pathlib import Path
here, (verb, *words) = Path(__file__).parent, sys.argv[1:]
with open(here / "calls", "a") as file:
    file.write(json.dumps([verb, *words]) + "\\n")
wishes = json.loads((here / "wishes.json").read_text())
def option(name): return words[words.index(name) + 1] if name in words else None
def amount(name): return float(option(name) or 0)
if wishes["fail"] and wishes["fail"][0] == verb and any(wishes["fail"][1] in word for word in words):
    sys.exit("ganvas: the disk is full")
if wishes["hang"] == verb:
    (here / "hanging").touch()
    time.sleep(60)
if verb == "train":
    run = Path(option("--out"))
    run.mkdir()  # fails where an earlier training left anything
    images = round(amount("--images") + 60000 * amount("--epochs") + 1000 * amount("--minutes"))
    (run / "recipe.json").write_text(json.dumps({
        "model": {"width": 8}, "train": {"batch": 4}, "threads": 2, "precision": "32", "images": images,
        "versions": {"torch": "2.9"}}))
    print(run)
elif verb == "runs":
    images = json.loads((Path(words[0]) / "recipe.json").read_text())["images"]
    print(json.dumps([{"run": words[0], "state": "finished", "images_seen": images}]))
elif verb == "evaluate":
    figures = dict.fromkeys(["fid", "kid", "precision", "recall", "coverage", "label_accuracy", "modes", "reverse_kl"], 0.5)
    print(json.dumps({
        **figures, "source": words[0], "floor": {**figures, "per_class": dict.fromkeys(map(str, range(1000)), 1.0)},
        "protocol": {"extractor": "digits", "extractor_sha256": "ab" * 32, "n_real": 100, "n_fake": int(option("--n")),
                     "n_prdc": 100, "k": 5, "n_modes": 26000, "split": "test", "resize": "none",
                     "data": option("--data") or "own", "real_sha256": option("--data") or "own", "seed": 0},
        "copies": {"verdict": "not a copier", "ratio": 0.98, "spread": 0.01, "share": 0.0, "share_held_out": 0.0,
                   "sheet": "/somewhere/copies.png"} if "--copies" in words else None,
        **wishes["figures"]}))
elif verb == "sample":
    import numpy
    numpy.savez(option("--out"), images=numpy.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), "uint8"))
elif verb == "--only":
    rows = [{"against": "the plain loop", "other": [1000, 900, 5000], "ganvas": [2000.0]}, {"against": "another", "other": [1]}]
    print(json.dumps({"images": "MNIST", "comparisons": rows}))
"""


class Stage:
    """A figures.py whose ganvas trains nothing, with results and work of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results, self.work = folder, folder / "results", folder / "work"
        (folder / "stub.py").write_text(STUB)
        self.wish()

    def wish(self, fail: tuple[str, str] | None = None, hang: str | None = None, **figures: Any) -> None:
        (self.folder / "wishes.json").write_text(json.dumps({"fail": fail, "hang": hang, "figures": figures}))

    def __call__(self, *arguments: str) -> int:
        return figures.main([*arguments, "--results", str(self.results), "--work", str(self.work)])

    def calls(self, verb: str) -> list[list[str]]:
        path = self.folder / "calls"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [words for words in lines if words[0] == verb]

    def result(self, name: str) -> Result:
        return read_result(self.results / f"{name}.json")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for program in ("GANVAS", "SPEED"):
        monkeypatch.setattr(figures, program, [sys.executable, str(tmp_path / "stub.py")])
    return Stage(tmp_path)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`few("a", "b")`: the flagship's table has these two cells alone, and the command knows no other table."""

    def call(*names: str) -> None:
        made = [
            Cell(
                table="flagship", name=name, recipe="r3gan/digits", data="mnist", length=Length(1, "minutes"), minutes=1
            )
            for name in names
        ]
        monkeypatch.setattr(figures, "TABLES", {"flagship": lambda: iter(made)})

    return call


def result_of(cell: Cell, seconds: float = 60.0, images: int = 1000, **evaluation: Any) -> Result:
    """A result in whose floor every figure is 0.5 but recall, 0.95."""
    known: dict[str, Any] = dict.fromkeys(("fid", "kid", "precision", "recall", "coverage", "label_accuracy"), 0.5)
    rules = dict.fromkeys(("n_real", "n_fake", "n_prdc"), 10_000) | {
        "extractor": "digits",
        "extractor_sha256": "ab" * 32,
    }
    rules |= {"split": "test", "resize": "none", "seed": 0, "data": cell.judged_on, "real_sha256": cell.judged_on}
    return Result(
        table=cell.table, cell=cell.name, recipe=cell.recipe, data=cell.data, settings=cell.settings, asked="", seed=0,
        images_seen=images, seconds=seconds, threads=2, precision="32", peak_rss_mb=100.0, settings_sha256="",
        versions={}, load=0.1, machine={"processor": "P", "cores": 2, "memory_gb": 8}, commit="c", date="2026-11-24",
        evaluation={**known, "floor": known | {"recall": 0.95}, "protocol": rules, **evaluation},
    )  # fmt: skip


def row(table: str, *beginning: str) -> list[str]:
    """The cells of the one row that begins with these."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    (found,) = [cells for cells in rows if cells[: len(beginning)] == list(beginning)]
    return found


# What is trained


def test_cells_have_names_of_their_own_and_their_tables() -> None:
    assert len({str(cell) for cell in ALL}) == len(ALL)
    assert all(cell.table == name for name, make in cells.TABLES.items() for cell in make())
    assert all(re.fullmatch(r"[a-z0-9-]+", cell.name) for cell in ALL)


def test_every_recipe_is_in_the_table_of_recipes_on_both_data_sets_for_five_minutes() -> None:
    every = {f"{name}/{key}" for name in gans.names() for key in gans.load(name).recipes if key != "tiny"}
    for name in ("mnist", "fashion-mnist"):
        there = [cell for cell in cells.recipes() if cell.data == name]
        assert {cell.recipe for cell in there} == every - {"r3gan/stacked-mnist"}
        assert {(cell.length, cell.judged_on, cell.n) for cell in there} == {(Length(5, "minutes"), name, 10_000)}
    extractors = {(cell.data, cell.extractor) for cell in cells.recipes()}
    assert extractors == {("mnist", "digits"), ("fashion-mnist", "classifier:fashion-mnist")}


def test_flagship_is_trained_with_three_seeds_and_judged_on_mnist_alone() -> None:
    seeds: dict[tuple[str, str], list[int]] = {}
    for cell in cells.flagship():
        seeds.setdefault((cell.data, str(cell.length)), []).append(cell.seed)
        assert (cell.recipe, cell.judged_on, cell.extractor, cell.n) == ("r3gan/digits", "mnist", "digits", 10_000)
    three, one = [0, 1, 2], [0]
    assert seeds == {
        ("mnist", "1 minute"): three, ("mnist", "5 minutes"): three, ("mnist", "60 minutes"): one,
        ("mnist-5k", "1 minute"): three, ("mnist-5k", "5 minutes"): three,
    }  # fmt: skip


@pytest.mark.parametrize("recipe", [recipe for recipe in cells.SYSTEMS if recipe != "dcgan/64"])
def test_source_systems_are_trained_for_the_whole_schedule(recipe: str) -> None:
    train = gans.find(recipe)[2].train
    asked = cells.SYSTEMS[recipe].schedule
    wanted = Interval.parse(train.length).images(train.batch, 60_000)
    assert Interval(asked.amount, asked.unit).images(train.batch, 60_000) == wanted


def test_each_system_is_followed_by_the_flagship_with_part_of_its_time() -> None:
    made = list(cells.sources())
    for system, ours in zip(made[::2], made[1::2], strict=True):
        part = 1 if system.recipe == "mlp/batchnorm" else 1 / 20
        assert system.plain
        assert (ours.recipe, ours.data, ours.length) == ("r3gan/digits", "mnist", Share(part, system.name))


# Trained, judged and kept


def test_a_cell_is_trained_judged_and_kept(stage: Stage, few: Callable[..., None]) -> None:
    few("one")
    assert stage("flagship") == 0
    (train,) = stage.calls("train")
    assert train[1:4] == ["r3gan/digits", "--data", "mnist"]
    assert train[4:8] == ["--minutes", "1", "--seed", "0"]
    result = stage.result("flagship/one")
    assert (result.images_seen, result.threads, result.asked) == (1000, 2, "1 minute")
    assert result.versions == {"torch": "2.9"}
    assert result.seconds > 0
    assert 1 < result.peak_rss_mb < 1000
    assert len(result.settings_sha256) == 64
    assert result.evaluation["fid"] == 0.5
    assert result.evaluation["protocol"]["n_fake"] == 10_000
    assert result.evaluation["floor"]["per_class"] is None  # of a thousand classes
    assert not re.search(r'"/', (stage.results / "flagship/one.json").read_text())  # no path of this machine


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
    assert all((file.parent / name).read_bytes() == before[name] for name in ("one.json", "three.json"))


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
    said = capsys.readouterr().err.splitlines()
    (line,) = [line for line in said if line.startswith("flagship/two failed: ")]
    assert "ganvas: the disk is full" in line
    assert said[-1] == "1 failed"
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


def test_results_are_judged_anew_without_training(
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


def test_a_kept_training_of_another_length_is_not_judged(stage: Stage, few: Callable[..., None]) -> None:
    few("one")
    stage.wish(fail=("evaluate", "one"))
    stage("flagship", "--scale", "0.9")
    stage.wish()
    assert stage("flagship") == 0
    assert stage.result("flagship/one").asked == "1 minute"
    assert len(stage.calls("train")) == 2


def test_something_else_than_an_evaluation_is_a_failure(
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
    assert next(words for run, words in asked.items() if run.endswith("/dcgan-64"))[-2:] == ["--set", "model.width=32"]
    assert row((stage.results / "figures.md").read_text(), "`mlp/leaky`", "200 epochs", "1,000", "200.0 min")


def test_a_budget_too_short_to_start_in_is_raised_and_told(stage: Stage) -> None:
    for name in ("mlp-relu", "mlp-leaky", "mlp-batchnorm", "cgan-digits", "dcgan-64"):
        cell = next(cell for cell in cells.sources() if cell.name == name)
        plain = Plain(images="MNIST", rates=(1000.0,), ganvas=(1000.0,))
        result = dataclasses.replace(result_of(cell, images=1000), plain=plain)
        file_of(cell, stage.results).parent.mkdir(parents=True, exist_ok=True)
        file_of(cell, stage.results).write_text(result.to_json())
    assert stage("sources") == 1  # the document is as it was: the stub judges by another protocol than these results'
    result = stage.result("sources/r3gan-for-mlp-relu")
    assert result.asked == "0.5 minutes"
    assert "1/20 of the plain loop's time of mlp-relu is 0.1 s" in result.note


def test_the_flagship_waits_for_the_system(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.wish(fail=("--only", "cgan/digits"))
    assert stage("sources") == 1
    said = capsys.readouterr().err
    assert "sources/cgan-digits failed" in said
    assert (
        "sources/r3gan-for-cgan-digits failed: its length is a part of a time that sources/cgan-digits is yet to tell"
        in said
    )
    assert len(list((stage.results / "sources").iterdir())) == 8


def test_pictures_are_drawn_trained_on_and_judged_for_copies(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "TRAINING", 8)
    monkeypatch.setattr(pictures, "HELD_OUT", 12)
    assert stage("pictures", "modes") == 0
    (train,) = [words for words in stage.calls("train") if words[1] == "r3gan/images"]
    folder = Path(train[train.index("--data") + 1])
    assert data.load(folder).images.shape == (8, 3, 64, 64)
    assert data.load(folder, split="test").images.shape == (12, 3, 64, 64)
    (evaluate,) = [words for words in stage.calls("evaluate") if Path(words[1]).parent.name == "pictures"]
    assert "--copies" in evaluate
    result = stage.result("pictures/r3gan-images")
    assert result.diversity is not None
    assert "sheet" not in result.evaluation["copies"]
    document = (stage.results / "figures.md").read_text()
    assert row(document, "copy check")[1:] == ["not a copier", "not a copier", "yes"]
    assert row(document, "modes of 1,000, of 26,000 samples")[-1] == "no"


def test_a_stop_takes_the_training_along(stage: Stage) -> None:
    stage.wish(hang="train")
    command = [sys.executable, "-c", "import runpy, sys, signal, figures; figures.GANVAS = [sys.executable, sys.argv.pop(1)]; "
               "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); sys.exit(figures.main())",
               str(stage.folder / "stub.py"), "flagship", "--results", str(stage.results), "--work", str(stage.work)]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (stage.folder / "hanging").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143  # waits for the training, whose sleep is longer than that
    with FileLock(stage.work / ".lock", timeout=0):
        assert not list(stage.results.glob("*/*.json"))


def test_two_at_once_are_refused(stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    few("one")
    stage.work.mkdir()
    with FileLock(stage.work / ".lock"):
        assert stage("flagship") == 2
    assert "another figures.py is at work" in capsys.readouterr().err
    assert not stage.calls("train")


# Asked for


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flagshp"], "figures.py: no table is called flagshp: did you mean flagship?"),
        (
            ["flagship", "--scale", "0.1"],
            "figures.py: --scale makes no results worth keeping: name another place for them",
        ),
        (["--scale", "0", "--results", "x"], "figures.py: --scale 0: expected more than 0, at most 1"),
        (["--sacle"], "figures.py: unrecognized arguments: --sacle"),
    ],
)
def test_bad_input_is_told_in_a_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(said)
    assert (out, err.count("\n")) == ("", 1)


def test_a_damaged_result_is_told_before_any_training(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = stage.results / "flagship/mnist-1min-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 1')
    few("one")
    assert stage("flagship") == 2
    assert f"{path} is no result of figures.py" in capsys.readouterr().err
    assert not stage.calls("train")


def test_a_dry_run_says_what_is_left_and_does_nothing(
    stage: Stage, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("one", "two")
    stage("flagship")
    (stage.results / "flagship/two.json").unlink()
    capsys.readouterr()
    assert stage("--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:2]] == ["done", "to"]
    assert said[2] == "1 of 2 cells to do, about 1 min"
    assert len(stage.calls("train")) == 2


def test_scaled_cells_are_short() -> None:
    small = {str(cell): figures.scaled(cell, 0.01) for cell in ALL}
    assert small["sources/mlp-relu"].length == Length(0.5, "epochs")
    assert small["flagship/mnist-60min-seed0"].length == Length(0.6, "minutes")
    assert small["flagship/mnist-1min-seed0"].length == Length(figures.LEAST_MINUTES, "minutes")
    assert all(cell.n <= 200 for cell in small.values())


# Tables


def test_medians_stand_beside_their_aims() -> None:
    three = [cell for cell in cells.flagship() if cell.name.startswith("mnist-1min-")]
    judged = [(0.972, 9.0, 0.81), (0.991, 30.0, 0.85), (0.980, 5.0, 0.70)]
    found = {
        cell.name: result_of(cell, images=1000 * k, label_accuracy=accuracy, fid=fid, recall=recall)
        for k, (cell, (accuracy, fid, recall)) in enumerate(zip(three, judged, strict=True), 1)
    }
    table = tables.table("flagship", found)
    assert row(table, "`mnist`", "1")[2:] == [
        "3 of 3", "2,000", "98.00% (97.0%)", "9", "18 (20)", "0.810 (0.80)", "0.950", "all", "1 of 3"
    ]  # fmt: skip
    assert row(table, "`mnist-5k`", "5")[2:4] == ["0 of 3", "-"]
    found.pop(three[0].name)
    assert row(tables.table("flagship", found), "`mnist`", "1")[2::6] == ["2 of 3", "0.950"]
    assert row(tables.table("flagship", found), "`mnist`", "1")[-2:] == ["not FID / floor, recall", "0 of 2"]


def two_systems(seconds: float, **ours: float) -> list[str]:
    """The row of cgan/digits (FID 20, 96%, 10,000 s of the plain loop) beside a flagship of these figures."""
    system, flagship = [cell for cell in cells.sources() if cell.name.endswith("cgan-digits")]
    plain = Plain(images="MNIST", rates=(600.0,), ganvas=(1300.0,))
    theirs = dataclasses.replace(result_of(system, images=6_000_000, fid=20.0, label_accuracy=0.96), plain=plain)
    found = {system.name: theirs, flagship.name: result_of(flagship, seconds=seconds, **ours)}
    return row(tables.table("sources", found), "`cgan/digits`")


def test_the_flagship_beats_a_system_in_fid_accuracy_and_time() -> None:
    assert two_systems(500.0, fid=12.0, label_accuracy=0.97)[2:] == [
        "600", "166.7 min", "20", "96.00%", "8.3 min", "12", "97.00%", "20.0 (20)", "yes"
    ]  # fmt: skip
    assert two_systems(500.0, fid=21.0, label_accuracy=0.97)[-1] == "no"
    assert two_systems(500.0, fid=12.0, label_accuracy=0.95)[-1] == "no"
    assert two_systems(501.0, fid=12.0, label_accuracy=0.97)[-1] == "no"


def test_recipes_are_ranked_by_fid_with_the_floor_last() -> None:
    some = [cell for cell in cells.recipes() if cell.data == "fashion-mnist"][:3]
    fids = (30.0, None, 7.0)
    found = {cell.name: result_of(cell, fid=fid) for cell, fid in zip(some, fids, strict=True)}
    table = tables.table("recipes", found)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert [re.findall(r"^\| `?([^`|(]*[^`|( ])", line)[0] for line in lines[2:]] == [
        some[2].recipe, some[0].recipe, some[1].recipe, "real training images"
    ]  # fmt: skip
    assert row(table, f"`{some[2].recipe}`")[1:3] == ["7", "14"]
    assert "**mnist**: not measured yet." in table


def test_unlike_protocols_are_no_table() -> None:
    one, two = (result_of(cell) for cell in list(cells.flagship())[:2])
    assert protocol([one, two])["extractor"] == "digits"
    two.evaluation["protocol"] = two.evaluation["protocol"] | {"n_fake": 5000}
    with pytest.raises(MetricError, match=r"unlike protocols \(n_fake 10000 and 5000\): judge anew"):
        tables.table("flagship", {one.cell: one, two.cell: two})


def test_a_document_without_a_place_for_a_table_is_refused(tmp_path: Path) -> None:
    document = (ROOT / "docs/figures.md").read_text()
    with pytest.raises(RunError, match="lacks a line <!-- modes -->"):
        tables.render(document.replace("<!-- modes -->", ""), tmp_path)


def test_the_document_is_what_the_results_say() -> None:
    document = (ROOT / "docs/figures.md").read_text()
    assert tables.render(document, figures.Places().results) == document


def test_kept_results_are_of_these_cells() -> None:
    folder = figures.Places().results
    cell_of = {file_of(cell, folder): cell for cell in ALL}
    for path in folder.glob("*/*.json"):
        cell, result = cell_of[path], read_result(path)
        assert not re.search(r'"/\w', path.read_text()), f"{path} names a path of the machine that it was made on"
        assert (result.table, result.cell, result.recipe, result.data) == (
            cell.table,
            cell.name,
            cell.recipe,
            cell.data,
        )
        assert (result.settings, result.seed) == (cell.settings, cell.seed)
        if isinstance(cell.length, Length):
            assert result.asked == str(cell.length)
        assert result.evaluation["protocol"]["n_fake"] == cell.n


# With the real thing


@pytest.mark.long
def test_the_real_command_is_understood(tmp_path: Path) -> None:
    cell = Cell(
        table="t", name="c", recipe="dcgan/tiny", data="mnist-5k", length=Length(64, "images"), minutes=1, seed=3,
        settings=("model.width=5",),
    )  # fmt: skip
    places = figures.Places(tmp_path / "results", tmp_path / "work", tmp_path / "figures.md")
    result = figures.train(cell, Length(64, "images"), places)
    card = json.loads((places.run(cell) / "recipe.json").read_bytes())
    assert (card["seed"], card["model"]["width"]) == (3, 5)
    assert (result.images_seen, result.threads, result.versions) == (64, card["threads"], card["versions"])
    assert 100 < result.peak_rss_mb < 5000


def test_drawn_pictures_are_always_the_same_and_no_two_alike() -> None:
    drawn = np.stack([pictures.draw(number) for number in range(400)])
    assert (drawn.shape, drawn.dtype) == ((400, 64, 64, 3), np.uint8)
    assert np.array_equal(pictures.draw(7), drawn[7])
    assert pictures.diversity(drawn[:200], drawn[200:]) == pytest.approx(1, abs=0.1)
    assert pictures.diversity(np.repeat(drawn[:1], 20, 0), drawn[:20]) == pytest.approx(0, abs=1e-6)
    assert len(np.unique(drawn.reshape(400, -1), axis=0)) == 400
