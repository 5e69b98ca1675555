"""The commands that the doctor gives, for every state and recipe."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest

from ganvas import gans
from ganvas.doctor.log_summary import RunInfo
from ganvas.doctor.remedies import REMEDIES, SMOOTH_RECIPE, next_command
from ganvas.doctor.rules import RULES
from ganvas.overrides import GAMMA, override, parse_assignments
from ganvas.recipe import settings
from ganvas.training import learner
from helpers.common import MY_GAN
from helpers.patients import RECIPES, network, run_info


def change_of(run: RunInfo, state: str) -> list[str]:
    """Return what follows `--config RUN/recipe.json` in the command for a state."""
    words = shlex.split(next_command(run, state))
    at = words.index("--config")
    assert words[:2] + words[at : at + 2] == ["ganvas", "train", "--config", "a run/recipe.json"]
    return words[at + 2 :]


def test_every_state_has_a_remedy() -> None:
    assert REMEDIES.keys() == RULES.keys()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("changes", [{}, {"lr": 1.0}, {"lr": 1e-8, "d_lr": 0.5}, {"augment": 0.4}])
def test_every_command_changes_a_setting_that_the_recipe_has(
    recipe: str, changes: dict[str, Any]
) -> None:
    run = run_info(recipe, **changes)
    _, _, own = gans.find_recipe(recipe)
    for state in REMEDIES:
        words = shlex.split(next_command(run, state))
        if "--set" not in words:
            assert {"--flip", "--images", "--precision", "--data"} & set(words)
            continue
        changed = override(
            override(own, changes), parse_assignments(words[words.index("--set") + 1 :])
        )
        before = settings(dataclasses.replace(own, model=own.model, train=run.train))["train"]
        assert settings(changed)["train"] != before
        learner.check_learnable(network(recipe), changed.train)


@pytest.mark.parametrize(
    ("state", "recipe", "changes", "expected"),
    [
        ("NaN", "mlp/leaky", {}, ["--set", "lr=7.5e-05"]),
        ("NaN", "mlp/leaky", {"lr": 1e30}, ["--set", "lr=0.0003"]),
        ("NaN", "mlp/batchnorm", {}, ["--set", "lr.start=5e-05"]),
        ("exploding gradients", "sngan/digits", {"d_lr": 0.5},
         ["--set", "d_lr.start=0.001", "d_lr.end=0.0001", "d_lr.shape=linear"]),
        ("exploding gradients", "r3gan/digits", {"gamma": 0}, ["--set", f"gamma={GAMMA * 2:g}"]),
        ("exploding gradients", "wgan-gp/digits", {"gamma": 0}, ["--set", "gamma=10"]),
        ("D overpowers G", "r3gan/tiny", {"gamma": 0}, ["--set", "gamma=2.4"]),
        ("mode collapse", "mlp/leaky", {}, ["--set", "penalty=r1"]),
        ("mode collapse", "dcgan/64", {}, ["--set", "lr.start=0.0005", "lr.end=5e-06"]),
        ("D overpowers G", "dcgan/64", {}, ["--set", "d_lr.start=0.0005", "d_lr.end=5e-06",
         "d_lr.shape=cosine", "d_lr.per=epoch"]),
        ("D overpowers G", "mlp/leaky", {"d_lr": 3e-3}, ["--set", "d_lr=0.0003"]),
        ("D overpowers G", "mlp/leaky", {"lr": 1e-6}, ["--set", "lr=0.0003"]),
        ("learning stalled", "mlp/leaky", {"lr": 1e-9}, ["--set", "lr=0.0003"]),
        ("learning stalled", "mlp/leaky", {}, ["--set", "lr=0.0012"]),
        ("learning stalled", "mlp/leaky", {"lr": 1.0, "d_lr": 3e-4}, ["--set", "lr=0.0003"]),
        ("memorising", "dcgan/64", {}, ["--set", "augment=0.4"]),
        ("memorising", "dcgan/64", {"augment": 0.4}, ["--set", "augment=0.8"]),
        ("memorising", "dcgan/64", {"augment": 0.8}, ["--images", str(20_032 // 2)]),
        ("D overfits the training set", "mlp/leaky", {}, ["--set", "augment=adaptive"]),
        ("D overfits the training set", "r3gan/digits", {}, ["--set", f"gamma={GAMMA * 8:g}"]),
        ("vanishing gradients", "mlp/leaky", {}, ["--set", "eps=1e-12"]),
        ("checkerboards", SMOOTH_RECIPE, {}, ["--images", str(5 * 20_000)]),
        ("fixed pattern", SMOOTH_RECIPE, {}, ["--images", str(5 * 20_000)]),
        ("border artefacts", "dcgan/64", {"lr": 0.5},
         ["--set", "lr.start=0.002", "lr.end=2e-05", "lr.shape=cosine", "lr.per=epoch"]),
        ("one background", "mlp/leaky", {}, ["--set", "penalty=r1"]),
        ("colour cast", "dcgan/64", {}, ["--images", str(5 * 20_032)]),
        ("colour cast", "dcgan/64", {"augment": 0.8}, ["--set", "augment=0.4"]),
        ("colour cast", "mlp/leaky", {"lr": 1.0}, ["--set", "lr=0.0003"]),
    ],
)  # fmt: skip
def test_the_new_value_suits_the_run(
    state: str, recipe: str, changes: dict[str, Any], expected: list[str]
) -> None:
    assert change_of(run_info(recipe, **changes), state) == expected


def test_photographs_may_be_mirrored_and_digits_not() -> None:
    assert change_of(run_info("r3gan/images", "a folder"), "starving on tiny data") == ["--flip"]
    assert change_of(run_info("r3gan/images", "svhn"), "starving on tiny data")[0] == "--set"


def test_another_recipe_suits_the_size_of_the_images() -> None:
    run = run_info("dcgan/64", "photos.zip")
    for side, recipe in ((64, "projected/images"), (28, "r3gan/images")):
        image = dataclasses.replace(run.card.image, height=side, width=side)
        card = dataclasses.replace(run.card, gan="my_gan.py", image=image)
        own = dataclasses.replace(run, card=card)
        assert next_command(own, "mode collapse").startswith(f"ganvas train {recipe} --data")


def test_the_usual_rate_is_that_of_the_preset_for_the_length() -> None:
    """Back to the recipe's rate without its networks would be forward to one that diverges."""
    run = run_info("r3gan/digits", requested="60 minutes")
    assert run.card.model["blocks"] == 1
    assert change_of(run, "D overpowers G")[1] == "d_lr.start=0.0001"
    slow = run_info("r3gan/digits", requested="60 minutes", blocks=1, lr=1e-6)
    assert change_of(slow, "D overpowers G")[1] == "lr.start=0.0004"


def test_a_large_data_set_gets_a_fixed_probability_of_augmentation() -> None:
    run = run_info("mlp/leaky", images=60_000)
    assert change_of(run, "D overfits the training set") == ["--set", "augment=0.4"]


def test_mixed_precision_is_turned_off_first() -> None:
    run = run_info("mlp/leaky")
    half = dataclasses.replace(run, card=dataclasses.replace(run.card, precision="fp16"))
    assert change_of(half, "NaN") == ["--precision", "32"]


@pytest.mark.parametrize(
    ("recipe", "place"),
    [("mlp/leaky", ["--out", "a run"]), ("r3gan/digits", ["--config", "a run/recipe.json"])],
)
def test_a_training_that_ended_too_early_becomes_longer(recipe: str, place: list[str]) -> None:
    """Where rates follow the length, it is repeated."""
    run = dataclasses.replace(run_info(recipe), stage="finished")
    longer = str(5 * run.card.plan.total)
    words = shlex.split(next_command(run, "too early to tell"))
    assert words == ["ganvas", "train", *place, "--images", longer]


def test_commands_name_the_data_folder_and_the_users_gan_file(tmp_path: Path) -> None:
    (tmp_path / "my gan.py").write_text(MY_GAN)
    run = dataclasses.replace(run_info(f"{tmp_path}/my gan.py:two"), data_dir=Path("my data"))
    words = shlex.split(next_command(run, "NaN"))
    assert words[2:5] == [str(tmp_path / "my gan.py:two"), "--config", "a run/recipe.json"]
    assert words[-2:] == ["--data-dir", "my data"]
    assert shlex.split(next_command(run, "healthy")) == [
        "ganvas",
        "train",
        str(tmp_path / "my gan.py:two"),
        "--out",
        "a run",
        "--data-dir",
        "my data",
    ]
    unknown = RunInfo(Path("a run"), run.card)
    assert shlex.split(next_command(unknown, "NaN"))[2] == "PATH/my gan.py:two"


@pytest.mark.parametrize("state", ["checkerboards", "fixed pattern", "border artefacts"])
def test_patterns_of_the_grid_call_for_a_generator_that_resamples_smoothly(state: str) -> None:
    gans.find_recipe(SMOOTH_RECIPE)
    run = run_info("dcgan/64", what="a folder")
    words = ["ganvas", "train", SMOOTH_RECIPE, "--data", "a folder"]
    assert shlex.split(next_command(run, state)) == words
