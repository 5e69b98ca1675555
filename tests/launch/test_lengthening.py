"""A finished run goes on with a greater length, as if it had had that from the start."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas import cli
from ganvas.errors import SettingError
from ganvas.launch import launch
from ganvas.runs.run import Run
from ganvas.views.diagnosis import examine
from helpers.common import MY_GAN, assert_same_run, assert_same_tree, state, train


class TestLengthening:
    def test_a_run_goes_on_to_the_bit(
        self, tiny_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(tiny_run)
        done = cli_run("train", "--out", path, "--images", "640")
        assert (done.code, done.out) == (0, f"{path}\n"), done.err
        assert f"resuming {path} after 320 of 640 images" in done.err
        whole = train("cgan/tiny", path.parent / "whole", images=640.0, seed=7)
        assert Run.open(path).card == Run.open(whole.path).card
        assert_same_tree(state(path)["learner"], state(whole.path)["learner"])
        images = [line["images"] for line in whole.read_log()]
        assert [line["images"] for line in Run.open(path).read_log()] == images
        assert [seen for seen, _ in Run.open(path).sheets()] == [160, 320, 480, 640]
        assert examine(Run.open(path)).figures
        assert cli_run("report", path).code == 0
        again = cli_run("train", "--out", path, "--images", "640")
        assert "is finished: 640 images seen" in again.err

    def test_it_stops_and_resumes_to_the_bit(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        stop_after: Callable[[int], None],
        tmp_path: Path,
    ) -> None:
        unbroken = copy(tiny_run)
        unbroken = unbroken.rename(tmp_path / "unbroken")
        launch.train(out=unbroken, images=640.0, quiet=True)
        path = copy(tiny_run)
        stop_after(5)
        with pytest.raises(KeyboardInterrupt):
            launch.train("cgan/tiny", out=path, images=640.0, seed=7, quiet=True)
        assert state(path)["images_seen"] == 400
        launch.train(out=path, quiet=True)
        assert_same_run(unbroken, path)

    def test_settings_of_the_run_stay(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"settings": {"lr": 2e-3, "g_widths": [8]}, "seed": 3}
        run = train("mlp/tiny", tmp_path / "run", images=64.0, **options)
        launch.train(out=run.path, epochs=0.02, quiet=True)
        card = Run.open(run.path).card
        assert (card.plan.total, card.plan.requested) == (80, "0.02 epochs")
        assert (card.train["lr"], state(run.path)["images_seen"]) == (2e-3, 80)
        # a recipe brings its own settings, as ever
        with pytest.raises(SettingError, match=r"model\.g_widths="):
            train("mlp/tiny", run.path, images=320.0, seed=3)

    def test_a_shorter_length_is_refused(self, tiny_run: Run, copy: Callable[[Run], Path]) -> None:
        with pytest.raises(SettingError, match=r"was made with train\.length=320 images, not 300"):
            launch.train(out=copy(tiny_run), images=300.0, quiet=True)

    def test_of_minutes_what_was_trained_is_taken_off(
        self, tiny_run: Run, copy: Callable[[Run], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, deadlines = copy(tiny_run), list[float]()
        saved = state(path) | {"seconds": 50.0}
        Run.open(path).save_state(saved)

        def planned(*_: Any, deadline: float, **__: Any) -> int:
            deadlines.append(deadline)
            return 0

        monkeypatch.setattr(launch, "train_run", planned)
        monkeypatch.setattr("time.monotonic", lambda: 1000.0)
        launch.train(out=path, minutes=1.0, quiet=True)
        assert 1000 < deadlines[0] < 1010
        assert Run.open(path).card.plan.total == 384

    @pytest.mark.parametrize("length", ["--images 96", "--epochs 8", "--set length='12 steps'"])
    def test_rates_that_followed_the_length_need_the_weights_alone(
        self, length: str, cli_run: Callable[..., Any], pictures: Path, tmp_path: Path
    ) -> None:
        recipe = ["--set", "lr.shape=linear", "log=8 images"]
        train_it = ("train", "mlp/tiny", "--data", pictures, "--threads", "1", "--out", "a run")
        assert cli_run(*train_it, *recipe, "--images", "32").code == 0
        words = shlex.split(length)
        if words[0] == "--set":
            refused = cli_run(*train_it, *recipe, *words[1:])
        else:
            refused = cli_run("train", "--out", "a run", *words)
        assert "its lr followed the planned 32 images to their end" in refused.error
        again = shlex.split(refused.error.split("weights: ")[1])
        assert again[:6] == ["ganvas", "train", "--config", "a run/recipe.json", "--from", "a run"]
        assert cli.run([*again[1:], "--out", "next"]) == 0
        card = Run.open(tmp_path / "next").card
        assert card.train["lr"] == Run.open(tmp_path / "a run").card.train["lr"]
        assert card.plan.total == {"--images": 64, "--epochs": 80, "--set": 160}[words[0]]

    def test_a_file_of_the_users_is_named(
        self, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        (tmp_path / "my.py").write_text(MY_GAN)
        words = ("train", "my.py", "--size", "8", "--threads", "1", "--out", "run", "--images")
        assert cli_run(*words, "32").code == 0
        assert cli_run(*words, "64").code == 0
        assert state(tmp_path / "run")["images_seen"] == 64
