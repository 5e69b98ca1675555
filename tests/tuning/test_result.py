"""The TOML that a search writes: `ganvas train --config` takes it, and it tells how it was made."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas import gans
from ganvas.overrides import override
from ganvas.runs.request import Request, read_config, to_toml
from ganvas.runs.run import Run
from ganvas.tuning import trials
from helpers.common import MY_GAN
from helpers.tuning import SHORT, search


def test_train_takes_the_result(
    squares: Path, cli_run: Callable[..., Any], tmp_path: Path, tree: Any
) -> None:
    before = set(tree(tmp_path))
    done = cli_run(
        "tune",
        "r3gan/tiny",
        "--data",
        "squares.npz",
        *SHORT,
        "--set",
        "train.batch=4",
        "--set",
        "z_dim=5",
        "--size",
        "6",
        "--seed",
        "4",
    )
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "tuned.toml"
    # nothing else is left, and nothing under runs/
    assert set(tree(tmp_path)) - before == {"tuned.toml"}
    assert "to use it: ganvas train --config tuned.toml" in done.err
    settings = tomllib.loads((tmp_path / "tuned.toml").read_text())
    assert settings["train"]["gamma"] > 0
    (tmp_path / "elsewhere").mkdir()
    trained = cli_run("train", "--config", "tuned.toml", "--out", "elsewhere/run")
    assert trained.code == 0, trained.err
    card = Run.open(tmp_path / "elsewhere" / "run").card
    assert (card.recipe, card.data.what, card.image.height) == ("r3gan/tiny", str(squares), 6)
    assert (card.model["z_dim"], card.train["batch"], card.seed) == (5, 4, 0)
    for name in ("gamma", "augment"):
        assert card.train[name] == settings["train"][name]
    assert card.train["lr"] | settings["train"]["lr"] == card.train["lr"]


def test_the_file_holds_the_command_that_repeats_the_search(
    squares: Path, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    assert (
        cli_run(
            "tune", "mlp/tiny", "--data", squares, *SHORT, "--set", "lr=0.002", "--seed", "4"
        ).code
        == 0
    )
    first = (tmp_path / "tuned.toml").read_text()
    for part in (
        "Each trial: 160 images of squares.npz, seed 4, cpu, 1 thread, precision 32",
        "24 held-out images",
        "optuna",
        "torch",
    ):
        assert part in first
    command = next(line for line in first.splitlines() if line.startswith("# Once more: ")).split()[
        4:
    ]
    assert cli_run(*command).code == 0
    again = (tmp_path / "tuned.toml").read_text()
    first, again = (
        "".join(line for line in text.splitlines() if "The search took" not in line)
        for text in (first, again)
    )
    assert first == again


def test_a_presets_settings_are_left_to_the_training(
    squares: Path, landscape: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials use the preset; a setting that was given is written even if it equals the preset."""
    _, file, recipe = gans.find_recipe("r3gan/tiny")
    changes = {"length": "5 minutes"}
    preset = dataclasses.replace(override(recipe, changes), presets={5: {"model.width": 2}, 60: {}})
    monkeypatch.setitem(file.recipes, "tiny", preset)
    widths: list[int] = []
    landscape(lambda recipe: widths.append(recipe.model.width) or 1.0)
    settings = search(squares, "r3gan/tiny", out=tmp_path / "t.toml").request.settings
    assert set(widths) == {2}
    assert (set(settings), set(settings["train"])) == ({"train"}, {"gamma", "lr", "augment"})
    with_width = search(
        squares, "r3gan/tiny", out=tmp_path / "u.toml", settings={"width": 2}
    ).request.settings
    assert with_width["model"] == {"width": 2}


def test_flip_is_kept_for_the_training(
    squares: Path,
    cli_run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flips: list[bool] = []
    batches = trials.Batches

    def noted(*arguments: Any) -> Any:
        made = batches(*arguments)
        flips.append(made.flip)
        return made

    monkeypatch.setattr(trials, "Batches", noted)
    assert cli_run("tune", "mlp/tiny", "--data", squares, *SHORT, "--flip").code == 0
    assert flips == [True] * 3
    assert read_config(tmp_path / "tuned.toml", None).flip
    assert "--flip" in next(
        line for line in (tmp_path / "tuned.toml").read_text().splitlines() if "Once more" in line
    )
    assert "--flip with mnist-5k" in cli_run("tune", "mlp/tiny", *SHORT, "--flip").error


def test_a_users_gan_file_is_named_by_its_absolute_path(
    squares: Path, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "my_gan.py").write_text(MY_GAN)
    assert cli_run("tune", "my_gan.py:two", "--data", squares, *SHORT).code == 0
    settings = tomllib.loads((tmp_path / "tuned.toml").read_text())
    assert settings["recipe"] == f"{tmp_path}/my_gan.py:two"
    assert cli_run("train", "--config", "tuned.toml", "--out", "run").code == 0
    assert Run.open("run", gan="my_gan.py").card.recipe == "my_gan.py:two"


def test_an_earlier_result_is_kept_and_other_files_are_refused(
    squares: Path, landscape: Any, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    landscape(lambda recipe: 1.0)
    command = ("tune", "mlp/tiny", "--data", squares, *SHORT)
    assert cli_run(*command).code == 0
    first = (tmp_path / "tuned.toml").read_text()
    assert "the earlier tuned.toml is kept as tuned.toml.1" in cli_run(*command, "--seed", "1").err
    assert (tmp_path / "tuned.toml.1").read_text() == first
    (tmp_path / "mine.toml").write_text("# mine\n")
    error = cli_run(*command, "--out", "mine.toml").error
    assert "--out mine.toml was not written by ganvas tune: give another name" in error
    assert (tmp_path / "mine.toml").read_text() == "# mine\n"


def test_a_data_path_with_a_line_break_stays_in_its_line(
    squares: Path, landscape: Any, tmp_path: Path
) -> None:
    landscape(lambda recipe: 1.0)
    path = tmp_path / 'a "b"\n[train]\x7f.npz'
    squares.rename(path)
    search(path, out=tmp_path / "t.toml", size=(8, 8), fit="pad", channels=1)
    read = read_config(tmp_path / "t.toml", None)
    assert (read.data, read.size, read.fit, read.channels) == (str(path), (8, 8), "pad", 1)


def test_a_request_is_read_as_it_was_written(tmp_path: Path) -> None:
    settings = {
        "model": {"widths": [1, 2]},
        "train": {"lr": {"start": 1e-5, "shape": "cosine"}, "batch": 3},
    }
    request = Request(
        recipe="mlp/tiny",
        data="ä\\\U0001f600'",
        minutes=0.5,
        seed=2**62,
        size=(3, 4),
        flip=True,
        threads=2,
        settings=settings,
        from_="x",
    )
    (tmp_path / "r.toml").write_text(to_toml(request))
    assert read_config(tmp_path / "r.toml", None) == request
