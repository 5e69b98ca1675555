"""Helpers of the tests of `ganvas tune`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ganvas.recipe import Recipe
from ganvas.runs.request import Request
from ganvas.tuning.budget import SearchOptions
from ganvas.tuning.result import TuningResult
from ganvas.tuning.search import tune
from ganvas.tuning.trials import initial_value

SHORT = ("--trials", "3", "--images", "160", "--threads", "1")


def search(
    data: Path | str,
    recipe: str = "mlp/tiny",
    *,
    out: Path,
    trials: int | None = 3,
    images: float = 160,
    minutes: float | None = None,
    started: float | None = None,
    **options: Any,
) -> TuningResult:
    """Search on one thread, by default with three trials of 160 images each."""
    length = SearchOptions(minutes=minutes, trials=trials, images=images)
    request = Request.of(recipe=recipe, data=data, threads=1, **options)
    return tune(request, length, out=out, started=started or time.time())


def lr(recipe: Recipe) -> float:
    return initial_value(recipe.train.lr)
