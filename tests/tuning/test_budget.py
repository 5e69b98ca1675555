"""The budget of a search: the plan fits into the time, and the deadline ends the search."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.errors import SettingError
from ganvas.tuning import search as search_module
from ganvas.tuning.budget import MAX_PLANNED_TRIALS, Budget, SearchOptions, plan_budget
from ganvas.tuning.trials import CHECKPOINTS
from helpers.tuning import lr, search


def plan(minutes: float, spent: float = 0.0, **options: Any) -> Budget:
    """A plan for batches of 16, steps of 0.01 s and scores of 0.2 s."""
    length = SearchOptions(minutes=minutes, **options)
    return plan_budget(length, 16, 0.01, 0.2, started=time.time() - spent)


def test_without_a_clock_trials_are_as_requested(
    landscape: Any, squares: Path, tmp_path: Path
) -> None:
    landscape(lambda recipe: 1.0)
    result = search(
        squares, trials=7, images=100, out=tmp_path / "t.toml", started=time.time() - 1e6
    )
    assert len(result.trials) == 7
    assert result.images == 112  # whole steps of 16


@pytest.mark.parametrize("minutes", [0.3, 1.0, 10.0, 300.0])
@pytest.mark.parametrize("options", [{}, {"trials": 5}, {"images": 1600}])
def test_the_plan_fits(minutes: float, options: dict[str, Any]) -> None:
    budget = plan(minutes, **options)
    assert budget.deadline is not None
    left = budget.deadline - time.monotonic()
    assert left < minutes * 60 - 1
    each = budget.images / 16 * 0.01 + CHECKPOINTS * 0.2
    assert left / each >= (budget.trials or 2)
    assert budget.images % 16 == 0
    assert budget.images == options.get("images", 0) or left / each < 1.3 * MAX_PLANNED_TRIALS


def test_longer_budgets_give_more_and_longer_trials() -> None:
    one, ten = plan(1.0), plan(10.0)
    assert ten.images > 2 * one.images
    assert 600 / ten.images > 2 * 60 / one.images


@pytest.mark.parametrize("spent", [2.0, 60.0])
@pytest.mark.parametrize(
    "options", [{}, {"trials": 40}, {"images": 16_000}, {"trials": 9, "images": 16_000}]
)
def test_too_short_a_time_is_refused_with_one_that_is_enough(
    options: dict[str, Any], spent: float
) -> None:
    message = f"--minutes 0.05 is too short for {options.get('trials', 2)} trials"
    with pytest.raises(SettingError, match=message) as caught:
        plan(0.05, spent, **options)
    enough = float(str(caught.value).split("at least ")[1].split(",")[0])
    plan(enough, spent, **options)


class Clock:
    """A made-up time.monotonic(), and a budget of 30 seconds from its now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(search_module, "plan_budget", lambda *_: Budget(None, 160, 1030.0))


def test_the_deadline_ends_the_search(
    landscape: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)

    def later(trial: int) -> None:
        clock.now += 7.0

    landscape(lambda recipe: 1.0, later)
    result = search(squares, trials=None, minutes=1.0, out=tmp_path / "t.toml")
    assert [trial.seconds for trial in result.trials] == [7.0] * 4


def test_a_trial_that_the_deadline_cuts_short_is_dropped(
    landscape: Any, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)

    def slower(trial: int) -> None:
        clock.now += (5.0, 5.0, 50.0)[trial]

    landscape(lambda recipe: 1 / lr(recipe), slower)
    result = search(squares, trials=None, minutes=1.0, out=tmp_path / "t.toml")
    assert [trial.state for trial in result.trials] == ["finished"] * 2


def test_by_the_clock(squares: Path, cli_run: Callable[..., Any]) -> None:
    """As a user does it. Time is not measured here, since the machine may be busy."""
    command = "tune mlp/tiny --minutes 5000 --trials 2 --images 64 --json --data"
    done = cli_run(*command.split(), squares)
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["trials"]) == 2
