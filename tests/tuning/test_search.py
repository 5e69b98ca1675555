"""`ganvas tune`: what is searched, how trials are scored, and the TOML that comes of it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganvas import data, gans
from ganvas.errors import SettingError
from ganvas.overrides import override, resolve_gamma
from ganvas.recipe import ImageSpec, Recipe, Schedule
from ganvas.runs.request import Request, read_config, to_toml
from ganvas.runs.run import Run
from ganvas.tuning import trials
from helpers.common import MY_GAN, noise_images
from helpers.tuning import SHORT, lr, search

SPEC = ImageSpec(height=8, width=8, channels=1)


class TestSearch:
    def test_a_bad_learning_rate_is_found_out(self, squares: Path, tmp_path: Path) -> None:
        bad = {"lr": 2e-4, "gamma": 0.033}
        found = search(
            squares, "r3gan/tiny", trials=8, images=800, out=tmp_path / "t.toml", settings=bad
        )
        own, best = found.trials[0], found.trials[found.best]
        assert own.settings["lr"] == 2e-4
        assert own.score is not None
        assert best.score is not None
        assert best.score < 0.5 * own.score
        assert float(best.settings["lr"]) > 4e-4
        assert f"trial {best.number} wins, of 8: " in found.verdict

    def test_the_same_search_twice(self, squares: Path, tmp_path: Path) -> None:
        one, two = (search(squares, "r3gan/tiny", out=tmp_path / f"{k}.toml", seed=5) for k in "12")
        other = search(squares, "r3gan/tiny", out=tmp_path / "3.toml", seed=6)
        results = [
            [(t.settings, t.score, t.state, t.images) for t in found.trials]
            for found in (one, two, other)
        ]
        assert results[0] == results[1] != results[2]
        assert one.request == two.request

    def test_the_first_trial_is_the_recipe_as_it_is(
        self, landscape: Any, squares: Path, tmp_path: Path
    ) -> None:
        seen: list[Recipe] = []
        landscape(lambda recipe: seen.append(recipe) or float(len(seen)))
        found = search(
            squares, "r3gan/tiny", trials=6, out=tmp_path / "t.toml", settings={"batch": 4}
        )
        _, _, own = gans.find_recipe("r3gan/tiny")
        assert (
            seen[0]
            == resolve_gamma(
                override(own, {"batch": 4}), dataclasses.replace(SPEC, classes=("0", "1"))
            )[0]
        )
        assert found.best == 0
        assert "the recipe's own settings win" in found.verdict
        text = (tmp_path / "t.toml").read_text()
        assert "# the recipe's own settings win: KID x 1000 2; none of 5 others is better." in text
        assert tomllib.loads(text)["train"] == {
            "batch": 4,
            "lr": found.request.settings["train"]["lr"],
        } | {name: found.request.settings["train"][name] for name in ("gamma", "augment")}

    def test_everything_is_varied_and_schedules_keep_their_shape(
        self, landscape: Any, squares: Path, tmp_path: Path
    ) -> None:
        seen: list[Recipe] = []
        landscape(lambda recipe: seen.append(recipe) or float(len(seen)))
        search(squares, "r3gan/tiny", trials=12, out=tmp_path / "t.toml")
        rates = [recipe.train.lr for recipe in seen if isinstance(recipe.train.lr, Schedule)]
        assert (
            len({rate.start for rate in rates})
            == len({recipe.train.gamma for recipe in seen})
            == 12
        )
        assert {recipe.train.augment for recipe in seen} == {0.0, trials.SOME, "adaptive"}
        for rate in rates:
            assert 2e-4 <= rate.start <= 2e-2
            assert rate.end is not None
            assert rate.start / rate.end == pytest.approx(20, rel=0.02)
            assert rate.start / rate.warmup_from == pytest.approx(10, rel=0.02)
            assert (rate.shape, rate.warmup, rate.hold) == ("cosine", 0.05, 0)

    def test_both_rates_keep_their_ratio(self) -> None:
        _, _, recipe = gans.find_recipe("wgan-gp/tiny")
        train = trials.changed(recipe, {"lr": 3.0}).train
        assert (train.lr, train.d_lr, train.gamma) == (3e-3, 9e-3, None)
        assert trials.changed(recipe, {"lr": 1.0, "augment": recipe.train.augment}) == recipe

    @pytest.mark.parametrize(
        ("name", "images", "found"),
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
    def test_only_what_the_recipe_has_is_searched(
        self, name: str, images: int, found: dict[str, Any]
    ) -> None:
        _, file, recipe = gans.find_recipe(name)
        recipe = resolve_gamma(recipe, recipe.native)[0]
        assert trials.searched(recipe, file.build(recipe.model, recipe.native), images) == found

    def test_hopeless_trials_are_given_up_and_diverged_ones_are_failures(
        self, landscape: Any, squares: Path, tmp_path: Path
    ) -> None:
        landscape(lambda recipe: float("nan") if lr(recipe) > 2e-3 else 1 / lr(recipe))
        found = search(squares, trials=16, out=tmp_path / "t.toml")
        states = {trial.state for trial in found.trials}
        assert states == {"finished", "pruned", "diverged"}
        assert all(trial.score is None for trial in found.trials if trial.state == "diverged")
        finished = [trial for trial in found.trials if trial.state == "finished"]
        assert found.trials[found.best].score == min(trial.score or 0 for trial in finished)
        assert all(trial.images == 80 for trial in found.trials if trial.state == "pruned")

    def test_weights_that_are_no_numbers(self, squares: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match="all of 2 trials diverged, so nothing is written"):
            search(squares, trials=2, out=tmp_path / "t.toml", settings={"lr": 1e38})
        assert not (tmp_path / "t.toml").exists()

    def test_the_recipe_diverges_and_another_does_not(
        self, landscape: Any, squares: Path, tmp_path: Path
    ) -> None:
        landscape(lambda recipe: float("inf") if lr(recipe) >= 1e-3 else 5.0)
        found = search(squares, trials=8, out=tmp_path / "t.toml")
        assert found.trials[0].state == "diverged"
        assert found.verdict.endswith("the recipe's own settings diverge")


class TestScore:
    def test_other_real_images_are_near_and_noise_is_far(self) -> None:
        digits, held_out = (
            data.load_dataset("mnist-5k"),
            data.load_dataset("mnist-5k", split="test"),
        )
        score = trials.Score(digits, held_out)
        near = score(digits.images[:500])
        ones = score(digits.images[digits.labels == 1][:300])
        noise = score(noise_images(dataclasses.replace(SPEC, height=28, width=28), 300).images)
        assert abs(near) < 0.01 * ones
        assert ones < noise

    def test_nothing_that_is_scored_by_is_trained_on(self, squares: Path) -> None:
        whole = data.load_dataset(squares)
        training, held, said = trials.held_apart(whole, str(squares), Request(seed=3), None)
        assert (len(training), len(held)) == (96, 24)
        assert "scored by 24 of the 120 images" in said
        rows = [image.numpy().tobytes() for part in (training, held) for image in part.images]
        assert sorted(rows) == sorted(image.numpy().tobytes() for image in whole.images)
        assert training.labels is not None
        # still their own
        assert torch.equal(training.labels == 0, training.images[:, 0, :4].flatten(1).any(1))

    def test_a_held_out_part_is_what_is_scored_by(self) -> None:
        whole = data.load_dataset("mnist-5k")
        training, held, _ = trials.held_apart(whole, "mnist-5k", Request(), None)
        assert training is whole
        assert torch.equal(held.images, data.load_dataset("mnist-5k", split="test").images)

    @pytest.mark.parametrize("count", [1, 5, 49])
    def test_too_few_images(self, squares: Path, count: int, cli_run: Callable[..., Any]) -> None:
        np.savez(squares, images=np.zeros((count, 8, 8), np.uint8))
        error = cli_run("tune", "mlp/tiny", "--data", squares, *SHORT).error
        assert f"holds {count} image" in error
        assert "it needs 50 images; train with the recipe's own settings" in error

    def test_classes_are_sampled_as_often_as_they_are_trained_on(
        self, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[list[int]] = []
        inner = trials.Sampler.__call__
        monkeypatch.setattr(
            trials.Sampler,
            "__call__",
            lambda self, indices, *, seed, labels: (
                asked.append(labels) or inner(self, indices, seed=seed, labels=labels)
            ),
        )
        with np.load(squares) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        keep = (labels == 0) | (np.arange(120) < 30)
        np.savez(squares, images=images[keep], labels=labels[keep])
        search(squares, "cgan/tiny", trials=2, images=96, out=tmp_path / "t.toml")
        assert len(asked) == 2 * trials.CHECKPOINTS
        assert 0.7 < asked[0].count(0) / len(asked[0]) < 0.9  # 60 of 75


class TestFile:
    def test_train_takes_it(
        self, squares: Path, cli_run: Callable[..., Any], tmp_path: Path, tree: Any
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

    def test_it_says_how_it_was_found_and_can_be_found_again(
        self, squares: Path, cli_run: Callable[..., Any], tmp_path: Path
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
        command = next(
            line for line in first.splitlines() if line.startswith("# Once more: ")
        ).split()[4:]
        assert cli_run(*command).code == 0
        again = (tmp_path / "tuned.toml").read_text()
        first, again = (
            "".join(line for line in text.splitlines() if "The search took" not in line)
            for text in (first, again)
        )
        assert first == again

    def test_a_preset_is_left_to_the_training(
        self, squares: Path, landscape: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Trials have it; what was asked for is written, even where it says the same."""
        _, file, own = gans.find_recipe("r3gan/tiny")
        changes = {"length": "5 minutes"}
        preset = dataclasses.replace(
            override(own, changes), presets={5: {"model.width": 2}, 60: {}}
        )
        monkeypatch.setitem(file.recipes, "tiny", preset)
        widths: list[int] = []
        landscape(lambda recipe: widths.append(recipe.model.width) or 1.0)
        found = search(squares, "r3gan/tiny", out=tmp_path / "t.toml").request.settings
        assert set(widths) == {2}
        assert (set(found), set(found["train"])) == ({"train"}, {"gamma", "lr", "augment"})
        asked = search(
            squares, "r3gan/tiny", out=tmp_path / "u.toml", settings={"width": 2}
        ).request.settings
        assert asked["model"] == {"width": 2}

    def test_mirrored_images_are_searched_for_and_trained_with(
        self,
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
            line
            for line in (tmp_path / "tuned.toml").read_text().splitlines()
            if "Once more" in line
        )
        assert "--flip with mnist-5k" in cli_run("tune", "mlp/tiny", *SHORT, "--flip").error

    def test_a_gan_file_of_the_users(
        self, squares: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "my_gan.py").write_text(MY_GAN)
        assert cli_run("tune", "my_gan.py:two", "--data", squares, *SHORT).code == 0
        settings = tomllib.loads((tmp_path / "tuned.toml").read_text())
        assert settings["recipe"] == f"{tmp_path}/my_gan.py:two"
        assert cli_run("train", "--config", "tuned.toml", "--out", "run").code == 0
        assert Run.open("run", gan="my_gan.py").card.recipe == "my_gan.py:two"

    def test_an_earlier_one_is_kept_and_others_are_not_touched(
        self, squares: Path, landscape: Any, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        landscape(lambda recipe: 1.0)
        command = ("tune", "mlp/tiny", "--data", squares, *SHORT)
        assert cli_run(*command).code == 0
        first = (tmp_path / "tuned.toml").read_text()
        assert (
            "the earlier tuned.toml is kept as tuned.toml.1" in cli_run(*command, "--seed", "1").err
        )
        assert (tmp_path / "tuned.toml.1").read_text() == first
        (tmp_path / "mine.toml").write_text("# mine\n")
        error = cli_run(*command, "--out", "mine.toml").error
        assert "--out mine.toml: what stands there was not written by ganvas tune" in error
        assert (tmp_path / "mine.toml").read_text() == "# mine\n"

    def test_names_that_would_break_a_line(
        self, squares: Path, landscape: Any, tmp_path: Path
    ) -> None:
        landscape(lambda recipe: 1.0)
        path = tmp_path / 'a "b"\n[train]\x7f.npz'
        squares.rename(path)
        search(path, out=tmp_path / "t.toml", size=(8, 8), fit="pad", channels=1)
        read = read_config(tmp_path / "t.toml", None)
        assert (read.data, read.size, read.fit, read.channels) == (str(path), (8, 8), "pad", 1)

    def test_a_request_and_back(self, tmp_path: Path) -> None:
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
