"""`ganvas tune`: what is searched, how trials are scored, what the budget allows, and the TOML that comes of it."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common import MY_GAN, noise_images
from ganvas import data, gans, trials, tune, tuned
from ganvas.errors import SettingError
from ganvas.recipe import ImageSpec, Recipe, Schedule, override, settled
from ganvas.request import Request, read_config, to_toml
from ganvas.run import Run

SPEC = ImageSpec(height=8, width=8, channels=1)
SHORT = ("--trials", "3", "--images", "160", "--threads", "1")


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """120 grey 8x8 images in two classes: a bright square on black, in the upper or in the lower half."""
    rng = np.random.default_rng(0)
    images, labels = np.zeros((120, 8, 8), np.uint8), np.arange(120) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * label + rng.integers(0, 2), rng.integers(0, 6)
        image[row : row + 3, column : column + 3] = 200 + rng.integers(0, 56)
    np.savez(tmp_path / "squares.npz", images=images, labels=labels)
    return tmp_path / "squares.npz"


def search(what: Path | str, recipe: str = "mlp/tiny", **options: Any) -> tuned.Tuned:
    given = {"trials": 3, "images": 160, "threads": 1, "quiet": True} | options
    return tune.tune(recipe, data=what, **given)


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Trials that take no time and whose score, at every checkpoint, is a given function of the recipe."""

    def call(score: Callable[[Recipe], float], then: Callable[[int], None] = lambda trial: None) -> None:
        begun = 0

        def train(_: Any, recipe: Recipe, images: int) -> Iterator[tuple[int, float | None]]:
            nonlocal begun
            then(begun)
            begun += 1
            yield images // 2, score(recipe)
            yield images, score(recipe)

        monkeypatch.setattr(trials.Ground, "train", train)

    return call


def lr(recipe: Recipe) -> float:
    return trials.start(recipe.train.lr)


class TestSearch:
    def test_a_bad_learning_rate_is_found_out(self, squares: Path, tmp_path: Path) -> None:
        bad = {"lr": 2e-4, "gamma": 0.033}
        found = search(squares, "r3gan/tiny", trials=8, images=800, out=tmp_path / "t.toml", settings=bad)
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
        results = [[(t.settings, t.score, t.state, t.images) for t in found.trials] for found in (one, two, other)]
        assert results[0] == results[1] != results[2]
        assert one.request == two.request

    def test_the_first_trial_is_the_recipe_as_it_is(self, landscape: Any, squares: Path, tmp_path: Path) -> None:
        seen: list[Recipe] = []
        landscape(lambda recipe: seen.append(recipe) or float(len(seen)))
        found = search(squares, "r3gan/tiny", trials=6, out=tmp_path / "t.toml", settings={"batch": 4})
        _, _, own = gans.find("r3gan/tiny")
        assert seen[0] == settled(override(own, {"batch": 4}), dataclasses.replace(SPEC, classes=("0", "1")))[0]
        assert found.best == 0
        assert "the recipe's own settings win" in found.verdict
        text = (tmp_path / "t.toml").read_text()
        assert "# the recipe's own settings win: KID x 1000 2; none of 5 others is better." in text
        assert tomllib.loads(text)["train"] == {"batch": 4, "lr": found.request.settings["train"]["lr"]} | {
            name: found.request.settings["train"][name] for name in ("gamma", "augment")
        }

    def test_everything_is_varied_and_schedules_keep_their_shape(
        self, landscape: Any, squares: Path, tmp_path: Path
    ) -> None:
        seen: list[Recipe] = []
        landscape(lambda recipe: seen.append(recipe) or float(len(seen)))
        search(squares, "r3gan/tiny", trials=12, out=tmp_path / "t.toml")
        rates = [recipe.train.lr for recipe in seen if isinstance(recipe.train.lr, Schedule)]
        assert len({rate.start for rate in rates}) == len({recipe.train.gamma for recipe in seen}) == 12
        assert {recipe.train.augment for recipe in seen} == {0.0, trials.SOME, "adaptive"}
        for rate in rates:
            assert 2e-4 <= rate.start <= 2e-2
            assert rate.end is not None
            assert rate.start / rate.end == pytest.approx(20, rel=0.02)
            assert rate.start / rate.warmup_from == pytest.approx(10, rel=0.02)
            assert (rate.shape, rate.warmup, rate.hold) == ("cosine", 0.05, 0)

    def test_both_rates_keep_their_ratio(self) -> None:
        _, _, recipe = gans.find("wgan-gp/tiny")
        train = trials.changed(recipe, {"lr": 3.0}).train
        assert (train.lr, train.d_lr, train.gamma) == (3e-3, 9e-3, None)
        assert trials.changed(recipe, {"lr": 1.0, "augment": recipe.train.augment}) == recipe

    @pytest.mark.parametrize(
        ("name", "images", "found"),
        [
            ("r3gan/tiny", 1000, {"gamma": (1.0,), "lr": (1.0,), "augment": ("adaptive", 0.0, 0.4)}),
            ("r3gan/tiny", 60_000, {"gamma": (1.0,), "lr": (1.0,), "augment": ("adaptive", 0.4)}),  # the same as none
            ("wgan-gp/tiny", 1000, {"gamma": (1.0,), "lr": (1.0,), "augment": (0.0, 0.4, "adaptive")}),
            ("sngan/tiny", 1000, {"lr": (1.0,), "augment": (0.0, 0.4, "adaptive")}),
            ("dcgan/tiny", 1000, {"lr": (1.0,), "augment": (0.0, 0.4)}),  # D judges a batch as a whole
        ],
    )
    def test_only_what_the_recipe_has_is_searched(self, name: str, images: int, found: dict[str, Any]) -> None:
        _, file, recipe = gans.find(name)
        recipe = settled(recipe, recipe.native)[0]
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

    def test_the_recipe_diverges_and_another_does_not(self, landscape: Any, squares: Path, tmp_path: Path) -> None:
        landscape(lambda recipe: float("inf") if lr(recipe) >= 1e-3 else 5.0)
        found = search(squares, trials=8, out=tmp_path / "t.toml")
        assert found.trials[0].state == "diverged"
        assert found.verdict.endswith("the recipe's own settings diverge")


class TestScore:
    def test_other_real_images_are_near_and_noise_is_far(self) -> None:
        digits, held_out = data.load("mnist-5k"), data.load("mnist-5k", split="test")
        score = trials.Score(digits, held_out)
        near = score(digits.images[:500])
        ones = score(digits.images[digits.labels == 1][:300])
        noise = score(noise_images(dataclasses.replace(SPEC, height=28, width=28), 300).images)
        assert abs(near) < 0.01 * ones
        assert ones < noise

    def test_nothing_that_is_scored_by_is_trained_on(self, squares: Path) -> None:
        whole = data.load(squares)
        training, held, said = trials.held_apart(whole, str(squares), Request(seed=3), None)
        assert (len(training), len(held)) == (96, 24)
        assert "scored by 24 of the 120 images" in said
        rows = [image.numpy().tobytes() for part in (training, held) for image in part.images]
        assert sorted(rows) == sorted(image.numpy().tobytes() for image in whole.images)
        assert training.labels is not None
        assert torch.equal(training.labels == 0, training.images[:, 0, :4].flatten(1).any(1))  # still their own

    def test_a_held_out_part_is_what_is_scored_by(self) -> None:
        whole = data.load("mnist-5k")
        training, held, _ = trials.held_apart(whole, "mnist-5k", Request(), None)
        assert training is whole
        assert torch.equal(held.images, data.load("mnist-5k", split="test").images)

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
    def test_train_takes_it(self, squares: Path, cli_run: Callable[..., Any], tmp_path: Path, tree: Any) -> None:
        before = set(tree(tmp_path))
        done = cli_run(
            "tune", "r3gan/tiny", "--data", "squares.npz", *SHORT, "--set", "train.batch=4", "--set", "z_dim=5",
            "--size", "6", "--seed", "4",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1] == "tuned.toml"
        assert set(tree(tmp_path)) - before == {"tuned.toml"}  # nothing else is left, and nothing under runs/
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
        assert cli_run("tune", "mlp/tiny", "--data", squares, *SHORT, "--set", "lr=0.002", "--seed", "4").code == 0
        first = (tmp_path / "tuned.toml").read_text()
        for part in (
            "Each trial: 160 images of squares.npz, seed 4, cpu, 1 thread, precision 32",
            "24 held-out images",
            "optuna",
            "torch",
        ):
            assert part in first
        command = next(line for line in first.splitlines() if line.startswith("# Once more: ")).split()[4:]
        assert cli_run(*command).code == 0
        again = (tmp_path / "tuned.toml").read_text()
        first, again = (
            "".join(line for line in text.splitlines() if "The search took" not in line) for text in (first, again)
        )
        assert first == again

    def test_a_gan_file_of_the_users(self, squares: Path, cli_run: Callable[..., Any], tmp_path: Path) -> None:
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
        assert "the earlier tuned.toml is kept as tuned.toml.1" in cli_run(*command, "--seed", "1").err
        assert (tmp_path / "tuned.toml.1").read_text() == first
        (tmp_path / "mine.toml").write_text("# mine\n")
        error = cli_run(*command, "--out", "mine.toml").error
        assert "--out mine.toml: what stands there was not written by ganvas tune" in error
        assert (tmp_path / "mine.toml").read_text() == "# mine\n"

    def test_names_that_would_break_a_line(self, squares: Path, landscape: Any, tmp_path: Path) -> None:
        landscape(lambda recipe: 1.0)
        path = tmp_path / 'a "b"\n[train]\x7f.npz'
        squares.rename(path)
        search(path, out=tmp_path / "t.toml", size=(8, 8), fit="pad", channels=1)
        read = read_config(tmp_path / "t.toml", None)
        assert (read.data, read.size, read.fit, read.channels) == (str(path), (8, 8), "pad", 1)

    def test_a_request_and_back(self, tmp_path: Path) -> None:
        settings = {"model": {"widths": [1, 2]}, "train": {"lr": {"start": 1e-5, "shape": "cosine"}, "batch": 3}}
        request = Request(
            recipe="mlp/tiny", data="ä\\\U0001f600'", minutes=0.5, seed=2**62, size=(3, 4), flip=True, threads=2,
            settings=settings, from_="x",
        )  # fmt: skip
        (tmp_path / "r.toml").write_text(to_toml(request))
        assert read_config(tmp_path / "r.toml", None) == request


class TestBudget:
    def test_without_a_clock_trials_are_as_asked(self, landscape: Any, squares: Path, tmp_path: Path) -> None:
        landscape(lambda recipe: 1.0)
        found = search(squares, trials=7, images=100, out=tmp_path / "t.toml", started=time.time() - 1e6)
        assert len(found.trials) == 7
        assert found.images == 112  # whole steps of 16

    @pytest.mark.parametrize("minutes", [0.3, 1.0, 10.0, 300.0])
    @pytest.mark.parametrize("asked", [(None, 0), (5, 0), (None, 1600)])
    def test_what_is_planned_fits(self, minutes: float, asked: tuple[int | None, int], squares: Path) -> None:
        prepared = self.prepared(squares, step=0.01, score=0.2)
        plan = tune._planned(tune.Budget(*asked, None), prepared, 16, minutes, time.time())
        assert plan.deadline is not None
        left = plan.deadline - time.monotonic()
        assert left < minutes * 60 - 1
        each = plan.images / 16 * 0.01 + trials.CHECKPOINTS * 0.2
        assert left / each >= (plan.trials or 2)
        assert plan.images % 16 == 0
        assert plan.images == asked[1] or left / each < 1.3 * tune.MOST_PLANNED

    def test_longer_budgets_give_more_and_longer_trials(self, squares: Path) -> None:
        prepared = self.prepared(squares, step=0.01, score=0.2)
        plans = [tune._planned(tune.Budget(None, 0, None), prepared, 16, m, time.time()) for m in (1.0, 10.0)]
        assert plans[1].images > 2 * plans[0].images
        assert 600 / plans[1].images > 2 * 60 / plans[0].images

    @pytest.mark.parametrize("spent", [2.0, 60.0])
    @pytest.mark.parametrize("asked", [(None, 0), (40, 0), (None, 16_000), (9, 16_000)])
    def test_too_short_and_what_would_be_enough(
        self, asked: tuple[int | None, int], spent: float, squares: Path
    ) -> None:
        prepared, budget = self.prepared(squares, step=0.01, score=0.2), tune.Budget(*asked, None)
        with pytest.raises(SettingError, match=f"--minutes 0.05 is too short for {asked[0] or 2} trials") as caught:
            tune._planned(budget, prepared, 16, 0.05, time.time() - spent)
        enough = float(str(caught.value).split("at least ")[1].split(",")[0])
        tune._planned(budget, prepared, 16, enough, time.time() - spent)

    def prepared(self, squares: Path, step: float, score: float) -> tune.Prepared:
        prepared = tune._prepare(Request(recipe="mlp/tiny", data=str(squares), threads=1), None, False, print)
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
            "tune", "mlp/tiny", "--data", squares, "--minutes", "5000", "--trials", "2", "--images", "64", "--json"
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
        self, number: int, code: int, squares: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.stop(monkeypatch, number, 25)  # of 10 steps a trial: in the third
        done = cli_run("tune", "mlp/tiny", "--data", squares, "--trials", "9", *SHORT[2:])
        assert done.code == code
        assert "stopped; the best so far is written; to use it: ganvas train --config tuned.toml" in done.err
        assert done.out.splitlines()[-1] == "tuned.toml"
        assert cli_run("train", "--config", "tuned.toml", "--images", "32").code == 0

    def test_before_anything_was_found(
        self, squares: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
        assert found["trials"][found["best"]]["score"] == min(trial["score"] for trial in found["trials"])
        assert set(found["trials"][0]["settings"]) == {"gamma", "lr", "augment"}
        assert found["out"] == "tuned.toml"

    def test_a_table(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        done = cli_run("tune", "r3gan/tiny", "--data", squares, *SHORT)
        for word in ("trial", "gamma", "lr", "augment", "KID x 1000", "the recipe's own", "best"):
            assert word in done.out

    def test_without_optuna(self, squares: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        assert "pip install 'ganvas[tune]'" in cli_run("tune", "mlp/tiny", "--data", squares, *SHORT).error

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ("tune nothing/here", "unknown recipe nothing/here"),
            ("tune mlp/tiny --minutes 0", "--minutes 0: expected more than 0"),
            ("tune mlp/tiny --minutes -1", "--minutes -1: expected more than 0"),
            ("tune mlp/tiny --minutes nan", "--minutes nan: expected more than 0"),
            ("tune mlp/tiny --minutes 1e9", "at most 527,040"),
            ("tune mlp/tiny --minutes 0.001 --threads 1", "--minutes 0.001 is too short for 2 trials"),
            ("tune mlp/tiny --trials 1", "--trials 1: expected 2 to 10,000"),
            ("tune mlp/tiny --trials 2.5", "expected a whole number"),
            ("tune mlp/tiny --images 0", "--images 0: expected more than 0"),
            ("tune mlp/tiny --seed -1", "--seed -1"),
            ("tune mlp/tiny --out found.json", "a name that ends in .toml"),
            ("tune mlp/tiny --out /dev/null/x.toml", "nothing can be written in /dev/null"),
            ("tune mlp/tiny --data nowhere.npz", "there is no file or folder nowhere.npz"),
            ("tune mlp/tiny --set batch=1e9", "train.batch"),
            ("tune mlp/tiny --set batch=1000000000 --trials 2 --images 8", "GB of"),
            ("tune mlp/tiny --set nonsense=1", "unknown setting nonsense"),
            ("tune mlp/tiny --set lr=nan", "expected a finite number"),
            ("tune dcgan/tiny --set augment=adaptive", "BatchNorm"),
            ("tune mlp/tiny --threads 0", "--threads 0: expected more than 0"),
        ],
    )
    def test_bad_input(self, arguments: str, said: str, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        assert said in cli_run(*arguments.split()).error
        assert list(tmp_path.iterdir()) == []

    def test_labels_are_missing(self, squares: Path, cli_run: Callable[..., Any]) -> None:
        np.savez(squares, images=np.zeros((100, 8, 8), np.uint8))
        assert "needs labels" in cli_run("tune", "cgan/tiny", "--data", squares, *SHORT).error
