"""`ganvas tune` as a command: signals, output and bad input."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas.tuning import trials
from helpers.tuning import SHORT


class TestSignals:
    """A signal within a trial."""

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

    def test_before_the_end_of_the_first_trial_nothing_is_written(
        self,
        squares: Path,
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        self.stop(monkeypatch, signal.SIGINT, 5)
        done = cli_run("tune", "mlp/tiny", "--data", squares, *SHORT)
        assert (done.code, done.out) == (130, "")
        assert "stopped before the first trial ended: nothing is written" in done.err
        assert [path.name for path in tmp_path.iterdir()] == ["squares.npz"]


class TestCommand:
    def test_one_json_document(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        done = cli_run("tune", "r3gan/tiny", "--data", squares, *SHORT, "--json")
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert [trial["number"] for trial in result["trials"]] == [0, 1, 2]
        assert result["trials"][result["best"]]["score"] == min(
            trial["score"] for trial in result["trials"]
        )
        assert set(result["trials"][0]["settings"]) == {"gamma", "lr", "augment"}
        assert result["out"] == "tuned.toml"

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
        ("arguments", "message"),
        [
            ("tune nothing/here", "unknown recipe nothing/here"),
            ("tune mlp/tiny --minutes 0", "--minutes 0.0: expected more than 0"),
            ("tune mlp/tiny --minutes -1", "--minutes -1.0: expected more than 0"),
            ("tune mlp/tiny --minutes nan", "--minutes nan: expected more than 0"),
            ("tune mlp/tiny --minutes 1e9", "at most 527,040"),
            (
                "tune mlp/tiny --minutes 0.001 --threads 1",
                "--minutes 0.001 is too short for 2 trials",
            ),
            ("tune mlp/tiny --trials 1", "--trials 1: expected 2 to 10,000"),
            ("tune mlp/tiny --trials 2.5", "expected a whole number"),
            ("tune mlp/tiny --images 0", "--images 0.0: expected more than 0"),
            ("tune mlp/tiny --seed -1", "--seed -1"),
            ("tune mlp/tiny --out found.json", "a name that ends in .toml"),
            ("tune mlp/tiny --out /dev/null/x.toml", "cannot write in /dev/null"),
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
        self, arguments: str, message: str, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        assert message in cli_run(*arguments.split()).error
        assert list(tmp_path.iterdir()) == []

    def test_labels_are_missing(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        np.savez(squares, images=np.zeros((100, 8, 8), np.uint8))
        assert "needs labels" in cli_run("tune", "cgan/tiny", "--data", squares, *SHORT).error
