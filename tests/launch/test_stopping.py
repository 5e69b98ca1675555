"""Stopping a training: what is saved, what is printed, and that nothing is lost."""

from __future__ import annotations

import itertools
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.errors import RunError
from ganvas.launch import launch
from ganvas.runs.run import Run
from ganvas.training import loop
from helpers.common import ENDLESS, MY_GAN, assert_same_run, state, train


class TestStopping:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_saves_tells_how_to_resume_and_sets_the_exit_code(
        self, number: int, code: int, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        """In a process of its own, as a shell would see it."""
        command = [*ENDLESS, "--verbose"]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("epoch"):
                    break
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == code
        assert out == ""
        assert "Traceback" not in err
        path = Path("runs", "0001-cgan-tiny-mnist-5k")
        assert f"to resume: ganvas train --out {path}" in err.splitlines()[-1]
        seen = state(tmp_path / path)["images_seen"]
        assert seen > 0
        assert Run.open(tmp_path / path).read_log()[-1]["images"] <= seen
        Run.open(tmp_path / path).sample(n=2)

    def test_suggested_commands_can_be_pasted_into_a_shell(
        self, cli_run: Callable[..., Any], stop_after: Callable[[int], None], tmp_path: Path
    ) -> None:
        (tmp_path / "my code").mkdir()
        (tmp_path / "my code" / "my gan.py").write_text(MY_GAN)
        stop_after(3)
        command = (
            "train",
            "my code/my gan.py:two",
            "--threads",
            "1",
            "--out",
            "my run",
            "--data-dir",
            "my data",
        )
        resume = cli_run(*command).err.splitlines()[-1].partition("to resume: ")[2]
        assert shlex.split(resume) == ["ganvas", *command[:2], *command[4:]]
        with pytest.raises(RunError, match="has no generator yet") as caught:
            no_generator = Run.open(
                tmp_path / "my run", gan=str(tmp_path / "my code" / "my gan.py")
            )
            no_generator.generator_file.unlink()
            no_generator.sampler()
        again = shlex.split(str(caught.value).partition("go on with ")[2])
        assert again == [
            "ganvas",
            "train",
            str(tmp_path / command[1]),
            "--out",
            str(tmp_path / "my run"),
        ]
        done = cli_run(*shlex.split(resume)[1:])
        assert done.code == 0, done.err
        look = shlex.split(done.err.splitlines()[-1].partition(", or: ")[2])
        assert look == ["ganvas", "sample", "my run", "--gan", "my code/my gan.py"]
        for words in (
            ("sample", "my run"),
            ("train", "--out", "my run"),
            ("train", "--config", "my run/recipe.json"),
        ):
            assert "'PATH/my gan.py" in cli_run(*words).error
        assert cli_run(*look[1:]).code == 0

    def test_the_state_is_saved_at_least_once_a_minute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert loop.SAVE_SECONDS <= 60
        now, saves = 0.0, []
        save_state = Run.save_state

        def noting(self: Run, saved: dict[str, Any]) -> None:
            saves.append((now, saved["images_seen"]))
            save_state(self, saved)
            assert self.generator_file.exists() or not saves[1:]

        def step(*arguments: Any) -> Any:
            nonlocal now
            now += 5.0  # each step takes 5 seconds
            return take_step(*arguments)

        take_step = loop.take_step
        monkeypatch.setattr(Run, "save_state", noting)
        monkeypatch.setattr(loop, "take_step", step)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        train("mlp/tiny", tmp_path / "run", images=640.0)
        times = [0.0, *[at for at, _ in saves]]
        assert len(times) > 4
        assert max(b - a for a, b in itertools.pairwise(times)) <= 60
        assert saves[-1][1] == 640

    def test_a_stop_in_the_last_step_lets_the_training_finish(
        self, tiny_run: Run, stop_after: Callable[[int], None], tmp_path: Path
    ) -> None:
        """With all images seen, pictures, last log line and last evaluation are still to come."""
        stop_after(20)
        run = train("cgan/tiny", tmp_path / "run", images=320.0, seed=7)
        assert_same_run(tiny_run.path, run.path)

    @pytest.mark.parametrize("slow", [False, True])
    def test_a_training_killed_at_its_end_is_not_finished(
        self, slow: bool, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if slow:
            # so that the state is saved after every step
            monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
        with monkeypatch.context() as patch:
            patch.setattr(loop.Logger, "finish", lambda *_: pytest.fail("killed"))
            with pytest.raises(pytest.fail.Exception):
                train("cgan/tiny", tmp_path / "run", images=320.0, seed=7)
        assert not Run.open(tmp_path / "run").finished
        launch.train(out=tmp_path / "run", quiet=True)
        assert_same_run(tiny_run.path, tmp_path / "run")

    def test_a_damaged_last_log_line_does_not_stop_reading(
        self, half_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(half_run)
        with open(path / "log.jsonl", "a") as file:
            file.write('{"images": 1')
        assert Run.open(path).read_log() == half_run.read_log()


def test_a_run_killed_before_its_first_save_begins_again_with_an_empty_log(tmp_path: Path) -> None:
    whole, killed = (
        train("cgan/tiny", tmp_path / name, images=64.0).path for name in ("whole", "killed")
    )
    (killed / "state.pt").unlink()
    launch.train(out=killed, quiet=True)
    assert_same_run(whole, killed)
