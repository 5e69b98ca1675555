"""`ganvas tune`: the settings that are searched, and the trial that wins."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ganvas import gans
from ganvas.errors import SettingError
from ganvas.overrides import override, resolve_gamma
from ganvas.recipe import ImageSpec, Recipe, Schedule
from ganvas.tuning import trials
from helpers.tuning import lr, search

SPEC = ImageSpec(height=8, width=8, channels=1)


def test_a_better_learning_rate_is_found(squares: Path, tmp_path: Path) -> None:
    bad = {"lr": 2e-4, "gamma": 0.033}
    result = search(
        squares, "r3gan/tiny", trials=8, images=800, out=tmp_path / "t.toml", settings=bad
    )
    first, best = result.trials[0], result.trials[result.best]
    assert first.settings["lr"] == 2e-4
    assert first.score is not None
    assert best.score is not None
    assert best.score < 0.5 * first.score
    assert float(best.settings["lr"]) > 4e-4
    assert f"trial {best.number} wins, of 8: " in result.verdict


def test_a_search_repeats_and_depends_on_the_seed(squares: Path, tmp_path: Path) -> None:
    one, two = (search(squares, "r3gan/tiny", out=tmp_path / f"{k}.toml", seed=5) for k in "12")
    other = search(squares, "r3gan/tiny", out=tmp_path / "3.toml", seed=6)
    results = [
        [(t.settings, t.score, t.state, t.images) for t in result.trials]
        for result in (one, two, other)
    ]
    assert results[0] == results[1] != results[2]
    assert one.request == two.request


def test_the_first_trial_has_the_recipes_own_settings(
    landscape: Any, squares: Path, tmp_path: Path
) -> None:
    seen: list[Recipe] = []
    landscape(lambda recipe: seen.append(recipe) or float(len(seen)))
    result = search(squares, "r3gan/tiny", trials=6, out=tmp_path / "t.toml", settings={"batch": 4})
    _, _, recipe = gans.find_recipe("r3gan/tiny")
    assert (
        seen[0]
        == resolve_gamma(
            override(recipe, {"batch": 4}), dataclasses.replace(SPEC, classes=("0", "1"))
        )[0]
    )
    assert result.best == 0
    assert "the recipe's own settings win" in result.verdict
    text = (tmp_path / "t.toml").read_text()
    assert "# the recipe's own settings win: KID x 1000 2; none of 5 others is better." in text
    assert tomllib.loads(text)["train"] == {
        "batch": 4,
        "lr": result.request.settings["train"]["lr"],
    } | {name: result.request.settings["train"][name] for name in ("gamma", "augment")}


def test_everything_is_varied_and_schedules_keep_their_shape(
    landscape: Any, squares: Path, tmp_path: Path
) -> None:
    seen: list[Recipe] = []
    landscape(lambda recipe: seen.append(recipe) or float(len(seen)))
    search(squares, "r3gan/tiny", trials=12, out=tmp_path / "t.toml")
    rates = [recipe.train.lr for recipe in seen if isinstance(recipe.train.lr, Schedule)]
    assert len({rate.start for rate in rates}) == len({recipe.train.gamma for recipe in seen}) == 12
    assert {recipe.train.augment for recipe in seen} == {0.0, trials.SOME_AUGMENTATION, "adaptive"}
    for rate in rates:
        assert 2e-4 <= rate.start <= 2e-2
        assert rate.end is not None
        assert rate.start / rate.end == pytest.approx(20, rel=0.02)
        assert rate.start / rate.warmup_from == pytest.approx(10, rel=0.02)
        assert (rate.shape, rate.warmup, rate.hold) == ("cosine", 0.05, 0)


def test_both_learning_rates_keep_their_ratio() -> None:
    _, _, recipe = gans.find_recipe("wgan-gp/tiny")
    train = trials.change_recipe(recipe, {"lr": 3.0}).train
    assert (train.lr, train.d_lr, train.gamma) == (3e-3, 9e-3, None)
    assert trials.change_recipe(recipe, {"lr": 1.0, "augment": recipe.train.augment}) == recipe


@pytest.mark.parametrize(
    ("name", "images", "space"),
    [
        (
            "r3gan/tiny",
            1000,
            {"gamma": (1.0,), "lr": (1.0,), "augment": ("adaptive", 0.0, 0.4)},
        ),
        # the same as none
        ("r3gan/tiny", 60_000, {"gamma": (1.0,), "lr": (1.0,), "augment": ("adaptive", 0.4)}),
        (
            "wgan-gp/tiny",
            1000,
            {"gamma": (1.0,), "lr": (1.0,), "augment": (0.0, 0.4, "adaptive")},
        ),
        ("sngan/tiny", 1000, {"lr": (1.0,), "augment": (0.0, 0.4, "adaptive")}),
        # D judges a batch as a whole
        ("dcgan/tiny", 1000, {"lr": (1.0,), "augment": (0.0, 0.4)}),
    ],
)
def test_only_settings_that_the_recipe_has_are_searched(
    name: str, images: int, space: dict[str, Any]
) -> None:
    _, file, recipe = gans.find_recipe(name)
    recipe = resolve_gamma(recipe, recipe.native)[0]
    assert trials.search_space(recipe, file.build(recipe.model, recipe.native), images) == space


def test_hopeless_and_diverged_trials_do_not_win(
    landscape: Any, squares: Path, tmp_path: Path
) -> None:
    landscape(lambda recipe: float("nan") if lr(recipe) > 2e-3 else 1 / lr(recipe))
    result = search(squares, trials=16, out=tmp_path / "t.toml")
    states = {trial.state for trial in result.trials}
    assert states == {"finished", "pruned", "diverged"}
    assert all(trial.score is None for trial in result.trials if trial.state == "diverged")
    finished = [trial for trial in result.trials if trial.state == "finished"]
    assert result.trials[result.best].score == min(trial.score or 0 for trial in finished)
    assert all(trial.images == 80 for trial in result.trials if trial.state == "pruned")


def test_if_all_trials_diverge_nothing_is_written(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="all of 2 trials diverged, so nothing is written"):
        search(squares, trials=2, out=tmp_path / "t.toml", settings={"lr": 1e38})
    assert not (tmp_path / "t.toml").exists()


def test_the_recipes_own_settings_may_diverge(
    landscape: Any, squares: Path, tmp_path: Path
) -> None:
    landscape(lambda recipe: float("inf") if lr(recipe) >= 1e-3 else 5.0)
    result = search(squares, trials=8, out=tmp_path / "t.toml")
    assert result.trials[0].state == "diverged"
    assert result.verdict.endswith("the recipe's own settings diverge")
