"""What tests of `ganvas tune` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganvas.recipe import Recipe
from ganvas.tuning import result, trials
from ganvas.tuning import search as tune

SHORT = ("--trials", "3", "--images", "160", "--threads", "1")


def search(what: Path | str, recipe: str = "mlp/tiny", **options: Any) -> result.Tuned:
    given = {"trials": 3, "images": 160, "threads": 1, "quiet": True} | options
    return tune.tune(recipe, data=what, **given)


def lr(recipe: Recipe) -> float:
    return trials.start(recipe.train.lr)
