"""A disk that refuses: one line, what was saved before stays, nothing is left half-written."""

from __future__ import annotations

import errno
import io
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.training import loop
from helpers.common import TRAIN

pytestmark = pytest.mark.usefixtures("bounded")


DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "read-only",
    errno.EACCES: "permission denied",
}


def test_what_killed_saves_left_is_taken_away_by_the_next_training(
    half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
) -> None:
    path, dead = copy(half_run), 2**22 + 1  # above any process's number
    left = [
        path / f".state.pt.{dead}.tmp",
        path / "tensorboard" / f".x.png.{dead}.tmp",
        path / f".state.pt.{os.getpid()}.tmp",
    ]
    kept = [path / f".state.pt.{os.getppid()}.tmp", path / ".mine.tmp"]
    for file in (*left, *kept):
        file.write_bytes(b"half")
    assert cli_run("train", "--out", path).code == 0
    assert [file.exists() for file in (*left, *kept)] == [False] * 3 + [True] * 2


def test_a_lock_held_for_a_moment_is_waited_for(half_run: Run, copy: Callable[[Run], Path]) -> None:
    run = Run.open(copy(half_run))
    held, looked = threading.Event(), threading.Event()

    def look() -> None:
        with run.locked():
            held.set()
            looked.wait(0.1)

    other = threading.Thread(target=look)
    other.start()
    held.wait()
    with run.locked():  # what `ganvas runs` does for a moment is no training
        pass
    other.join()
    assert not run.busy


class TestDisk:
    @pytest.mark.parametrize("number", DISK)
    @pytest.mark.parametrize("function", ["replace", "fsync"])
    def test_a_save_that_fails_leaves_the_state_before(
        self,
        number: int,
        function: str,
        half_run: Run,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        before = tree(path)

        def refuse(*_: Any) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(files.os, function, refuse)
            patch.setattr(loop, "SAVE_SECONDS", -1)
            message = cli_run("train", "--out", path).error
        assert DISK[number] in message
        assert str(path) in message
        after = tree(path)
        for name in ("state.pt", "generator.safetensors", "recipe.json"):
            assert after[name] == before[name]
        assert [name for name in after if name.endswith(".tmp")] == []
        assert cli_run("train", "--out", path).code == 0
        assert (path / "state.pt").stat().st_size == (tiny_run.path / "state.pt").stat().st_size
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()
        assert [{**line, "seconds": 0} for line in Run.open(path).read_log()] == [
            {**line, "seconds": 0} for line in tiny_run.read_log()
        ]

    @pytest.mark.parametrize(
        "place",
        "state.pt generator.safetensors log.jsonl samples progress.png losses.png neighbours.png"
        " events.out".split(),
    )
    def test_each_file_that_cannot_be_written(
        self,
        place: str,
        half_run: Run,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = copy(half_run)
        opened = io.open

        def refuse(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if place in str(file) and str(path) in str(file) and ("w" in mode or "a" in mode):
                raise OSError(errno.ENOSPC, "No space left on device")
            return opened(file, mode, *more, **options)

        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", refuse)
            patch.setattr(io, "open", refuse)  # TensorBoard's
            message = cli_run("train", "--out", path).error
        assert "cannot write" in message
        assert "the disk is full" in message
        assert Run.open(path).load_state() is not None
        assert cli_run("train", "--out", path).code == 0
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()

    @pytest.mark.parametrize("number", DISK)
    def test_a_run_that_cannot_be_made_leaves_nothing(
        self,
        number: int,
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(number, os.strerror(number))

        for function in ("replace", "fsync", "mkdir"):
            with monkeypatch.context() as patch:
                patch.setattr(os, function, refuse)
                for out in ((), ("--out", "mine")):
                    assert DISK[number] in cli_run(*TRAIN, *out).error
            assert [str(found) for found in tmp_path.rglob("*") if found.name != "runs"] == [], (
                function
            )

    @pytest.mark.parametrize("limit", [0, 60_000])
    def test_a_limit_on_the_size_of_files(
        self,
        limit: int,
        half_run: Run,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        ganvas_cli: Callable[..., Any],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        """Set in a process of its own. state.pt has 345 kB, the generator 59, the log 2."""
        path = copy(half_run)
        before = tree(path)
        limited = ganvas_cli(
            "train",
            "--out",
            path,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert "may not grow so large" in limited.error
        after = tree(path)
        assert after["state.pt"] == before["state.pt"]
        # from the generator before, or a newer one where that could be written
        Run.open(path).sample(n=2)
        assert [name for name in after if name.endswith(".tmp")] == []
        assert cli_run("train", "--out", path).code == 0
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()

    def test_other_commands(
        self,
        tiny_run: Run,
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(os, "replace", refuse)
        for words in (
            ("sample", tiny_run.path),
            ("sample", tiny_run.path, "--n", "3", "--out", "folder"),
            ("data", "inspect", "mnist-5k", "--recipe", "cgan/tiny"),
        ):
            assert "read-only" in cli_run(*words).error
            assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_stands_in_the_way(
        self, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
    ) -> None:
        (tmp_path / "inspect.png").mkdir()
        (tmp_path / "inspect.png" / "mine").touch()
        before = tree(tmp_path)
        for out in ("inspect.png", ".", "..", "/"):
            assert (
                "ganvas: "
                in cli_run(
                    "data", "inspect", "mnist-5k", "--recipe", "cgan/tiny", "--out", out
                ).error
            )
        assert tree(tmp_path) == before

    def test_fresh_in_the_folder_where_one_stands(
        self,
        half_run: Run,
        cli_run: Callable[..., Any],
        copy: Callable[[Run], Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = copy(half_run)
        monkeypatch.chdir(path)
        done = cli_run(*TRAIN, "--out", ".", "--fresh")
        assert done.code == 2 or Run.open(path).finished
        assert "Traceback" not in done.err
