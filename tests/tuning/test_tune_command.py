"""`ganvas tune` as a command: what the budget allows, how it is stopped, what it prints, and bad
input."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas.errors import SettingError
from ganvas.runs.request import Request
from ganvas.tuning import search as tune
from ganvas.tuning import trials
from helpers.tuning import SHORT, lr, search


class TestBudget:
    def test_without_a_clock_trials_are_as_asked(
        self, landscape: Any, squares: Path, tmp_path: Path
    ) -> None:
        landscape(lambda recipe: 1.0)
        found = search(
            squares, trials=7, images=100, out=tmp_path / "t.toml", started=time.time() - 1e6
        )
        assert len(found.trials) == 7
        assert found.images == 112  # whole steps of 16

    @pytest.mark.parametrize("minutes", [0.3, 1.0, 10.0, 300.0])
    @pytest.mark.parametrize("asked", [(None, 0), (5, 0), (None, 1600)])
    def test_what_is_planned_fits(
        self, minutes: float, asked: tuple[int | None, int], squares: Path
    ) -> None:
        prepared = self.prepared(squares, step=0.01, score=0.2)
        plan = tune._planned(tune.Budget(*asked, None), prepared, 16, minutes, time.time())
        assert plan.deadline is not None
        left = plan.deadline - time.monotonic()
        assert left < minutes * 60 - 1
        each = plan.images / 16 * 0.01 + trials.CHECKPOINTS * 0.2
        assert left / each >= (plan.trials or 2)
        assert plan.images % 16 == 0
        assert plan.images == asked[1] or left / each < 1.3 * tune.MAX_PLANNED_TRIALS

    def test_longer_budgets_give_more_and_longer_trials(self, squares: Path) -> None:
        prepared = self.prepared(squares, step=0.01, score=0.2)
        plans = [
            tune._planned(tune.Budget(None, 0, None), prepared, 16, m, time.time())
            for m in (1.0, 10.0)
        ]
        assert plans[1].images > 2 * plans[0].images
        assert 600 / plans[1].images > 2 * 60 / plans[0].images

    @pytest.mark.parametrize("spent", [2.0, 60.0])
    @pytest.mark.parametrize("asked", [(None, 0), (40, 0), (None, 16_000), (9, 16_000)])
    def test_too_short_and_what_would_be_enough(
        self, asked: tuple[int | None, int], spent: float, squares: Path
    ) -> None:
        prepared, budget = self.prepared(squares, step=0.01, score=0.2), tune.Budget(*asked, None)
        with pytest.raises(
            SettingError, match=f"--minutes 0.05 is too short for {asked[0] or 2} trials"
        ) as caught:
            tune._planned(budget, prepared, 16, 0.05, time.time() - spent)
        enough = float(str(caught.value).split("at least ")[1].split(",")[0])
        tune._planned(budget, prepared, 16, enough, time.time() - spent)

    def prepared(self, squares: Path, step: float, score: float) -> tune.PreparedSearch:
        prepared = tune._prepare(
            Request(recipe="mlp/tiny", data=str(squares), threads=1), None, None, print
        )
        return dataclasses.replace(prepared, step=step, score=score)

    def test_the_deadline_ends_the_search(
        self, landscape: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0

        def later(trial: int) -> None:
            nonlocal now
            now += 7.0

        landscape(lambda recipe: 1.0, later)
        monkeypatch.setattr(tune, "_planned", lambda *_: tune.Budget(None, 160, now + 30))
        monkeypatch.setattr(tune.time, "monotonic", lambda: now)
        found = search(squares, trials=None, minutes=1.0, out=tmp_path / "t.toml")
        assert [trial.seconds for trial in found.trials] == [7.0] * 4

    def test_a_trial_that_time_cuts_short_does_not_count(
        self, landscape: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0

        def slower(trial: int) -> None:
            nonlocal now
            now += (5.0, 5.0, 50.0)[trial]

        landscape(lambda recipe: 1 / lr(recipe), slower)
        monkeypatch.setattr(tune, "_planned", lambda *_: tune.Budget(None, 160, now + 30))
        monkeypatch.setattr(tune.time, "monotonic", lambda: now)
        found = search(squares, trials=None, minutes=1.0, out=tmp_path / "t.toml")
        assert [trial.state for trial in found.trials] == ["finished"] * 2

    def test_by_the_clock(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        """As a user does it; how long it takes is not measured here, since the machine may be busy."""
        done = cli_run(
            "tune",
            "mlp/tiny",
            "--data",
            squares,
            "--minutes",
            "5000",
            "--trials",
            "2",
            "--images",
            "64",
            "--json",
        )
        assert done.code == 0, done.err
        assert len(json.loads(done.out)["trials"]) == 2


class TestSignals:
    def stop(self, monkeypatch: pytest.MonkeyPatch, number: int, steps: int) -> None:
        taken, step = 0, trials.take_step

        def counted(learner: Any, batches: Any, seen: int) -> Any:
            nonlocal taken
            taken += 1
            if taken == steps:
                signal.raise_signal(number)
            return step(learner, batches, seen)

        monkeypatch.setattr(trials, "take_step", counted)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_best_so_far_is_written(
        self,
        number: int,
        code: int,
        squares: Path,
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.stop(monkeypatch, number, 25)  # of 10 steps a trial: in the third
        done = cli_run("tune", "mlp/tiny", "--data", squares, "--trials", "9", *SHORT[2:])
        assert done.code == code
        assert (
            "stopped; the best so far is written; to use it: ganvas train --config tuned.toml"
            in done.err
        )
        assert done.out.splitlines()[-1] == "tuned.toml"
        assert cli_run("train", "--config", "tuned.toml", "--images", "32").code == 0

    def test_before_anything_was_found(
        self,
        squares: Path,
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        self.stop(monkeypatch, signal.SIGINT, 5)
        done = cli_run("tune", "mlp/tiny", "--data", squares, *SHORT)
        assert (done.code, done.out) == (130, "")
        assert "stopped before a trial was through: nothing is written" in done.err
        assert [path.name for path in tmp_path.iterdir()] == ["squares.npz"]


class TestCommand:
    def test_one_json_document(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        done = cli_run("tune", "r3gan/tiny", "--data", squares, *SHORT, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert [trial["number"] for trial in found["trials"]] == [0, 1, 2]
        assert found["trials"][found["best"]]["score"] == min(
            trial["score"] for trial in found["trials"]
        )
        assert set(found["trials"][0]["settings"]) == {"gamma", "lr", "augment"}
        assert found["out"] == "tuned.toml"

    def test_a_table(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        done = cli_run("tune", "r3gan/tiny", "--data", squares, *SHORT)
        for word in ("trial", "gamma", "lr", "augment", "KID x 1000", "the recipe's own", "best"):
            assert word in done.out

    def test_without_optuna(
        self, squares: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        assert (
            "pip install 'ganvas[tune]'"
            in cli_run("tune", "mlp/tiny", "--data", squares, *SHORT).error
        )

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ("tune nothing/here", "unknown recipe nothing/here"),
            ("tune mlp/tiny --minutes 0", "--minutes 0: expected more than 0"),
            ("tune mlp/tiny --minutes -1", "--minutes -1: expected more than 0"),
            ("tune mlp/tiny --minutes nan", "--minutes nan: expected more than 0"),
            ("tune mlp/tiny --minutes 1e9", "at most 527,040"),
            (
                "tune mlp/tiny --minutes 0.001 --threads 1",
                "--minutes 0.001 is too short for 2 trials",
            ),
            ("tune mlp/tiny --trials 1", "--trials 1: expected 2 to 10,000"),
            ("tune mlp/tiny --trials 2.5", "expected a whole number"),
            ("tune mlp/tiny --images 0", "--images 0: expected more than 0"),
            ("tune mlp/tiny --seed -1", "--seed -1"),
            ("tune mlp/tiny --out found.json", "a name that ends in .toml"),
            ("tune mlp/tiny --out /dev/null/x.toml", "nothing can be written in /dev/null"),
            ("tune mlp/tiny --data nowhere.npz", "no file or folder nowhere.npz"),
            ("tune mlp/tiny --set batch=1e9", "train.batch"),
            ("tune mlp/tiny --set batch=1000000000 --trials 2 --images 8", "GB of"),
            ("tune mlp/tiny --set nonsense=1", "unknown setting nonsense"),
            ("tune mlp/tiny --set lr=nan", "expected a finite number"),
            ("tune dcgan/tiny --set augment=adaptive", "BatchNorm"),
            ("tune mlp/tiny --threads 0", "--threads 0: expected more than 0"),
        ],
    )
    def test_bad_input(
        self, arguments: str, said: str, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        assert said in cli_run(*arguments.split()).error
        assert list(tmp_path.iterdir()) == []

    def test_labels_are_missing(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        np.savez(squares, images=np.zeros((100, 8, 8), np.uint8))
        assert "needs labels" in cli_run("tune", "cgan/tiny", "--data", squares, *SHORT).error
