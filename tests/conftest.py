"""Fixtures of more than one file: folders of the test's own, the command line, small runs."""

from __future__ import annotations

import io
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import cli
from ganvas.data.dataset import Dataset
from ganvas.evaluation import evaluate, extractor_files
from ganvas.launch import job, launch
from ganvas.recipe import Recipe
from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.training import benchmark, loop
from ganvas.tuning import trials

if TYPE_CHECKING:
    from helpers.judged import Pooled

# speed is measured by benchmarks, not by tests
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

pytest.register_assert_rewrite("helpers.common", "helpers.judged", "helpers.paged")

REAL_DATA = "GANVAS_REAL_DATA"  # where the tests keep the user's GANVAS_DATA: see `real_mnist`
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SAVE_LOSSES = Run.save_losses
DERIVED = ("features", "extractors")  # of ganvas's cache, under the hash of what they are made from


def pytest_configure(config: pytest.Config) -> None:
    """Hide the user's home, caches, data and launcher before a test file is imported."""
    session = Path(tempfile.mkdtemp(prefix="ganvas-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(session, ignore_errors=True))
    # a new HOME must not hide packages that pip has installed below the old one
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    if "GANVAS_DATA" in os.environ:
        os.environ[REAL_DATA] = os.environ.pop("GANVAS_DATA")
    for name in LAUNCHER:
        os.environ.pop(name, None)
    # tests' networks are so small that more threads cost more than they give
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    # one for the session: matplotlib takes seconds to make its font cache
    os.environ["MPLCONFIGDIR"] = str(session / "matplotlib")
    os.environ.update(_folders(session / "session", session))


def _folders(place: Path, session: Path) -> dict[str, str]:
    """Environment variables of new, empty folders below `place`.

    Derived files alone are shared within a session, as by a user's commands, to save time.
    """
    (place / "home").mkdir(parents=True)
    (place / "cache" / "ganvas").mkdir(parents=True)
    for name in DERIVED:
        (session / name).mkdir(exist_ok=True)
        with suppress(OSError):  # Windows: a link needs a privilege
            (place / "cache" / "ganvas" / name).symlink_to(session / name)
    return {
        "HOME": str(place / "home"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "XDG_CONFIG_HOME": str(place / "config"),
        "TORCH_HOME": str(place / "torch"),
    }


@pytest.fixture(autouse=True)
def _own_folders() -> Iterator[None]:
    """A home, a cache and a configuration folder for this test and its subprocesses alone."""
    session = Path(os.environ["MPLCONFIGDIR"]).parent
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _folders(Path(tempfile.mkdtemp(dir=session)), session).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """The folder that the user's GANVAS_DATA names. Skips the test if it lacks a file of MNIST."""
    folder = Path(os.environ.get(REAL_DATA, "no folder"))
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        file = folder / "MNIST" / "raw" / f"{name}-ubyte"
        if not file.is_file() and not file.with_name(f"{file.name}.gz").is_file():
            pytest.skip(f"GANVAS_DATA holds no MNIST: it lacks {file.name}")
    return folder


@dataclass
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error message: the last line of stderr, and the only one that begins "ganvas: "."""
        lines = self.err.splitlines()
        assert self.code == 2, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        assert [line for line in lines if line.startswith("ganvas: ")] == lines[-1:], self.err
        assert len(lines[-1]) < 700
        return lines[-1]


@pytest.fixture
def cli_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """`ganvas ARGUMENTS` in this process and in the test's tmp_path."""
    monkeypatch.chdir(tmp_path)
    for verb in ("train", "tune"):  # else --minutes would count from when pytest began
        monkeypatch.setattr(f"ganvas.commands.{verb}.process_start", time.time)

    def call(*arguments: str | Path) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert isinstance(done.value.code, int)
        return Result(done.value.code, out, err)

    return call


@pytest.fixture
def environment() -> dict[str, str]:
    """Environment variables for a process that imports this ganvas, wherever it is started."""
    return os.environ | {"PYTHONPATH": str(Path(cli.__file__).resolve().parents[1])}


@pytest.fixture
def ganvas_cli(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Result]:
    """`python -m ganvas ARGUMENTS` as a process of its own."""

    def call(*arguments: str | Path, cwd: Path | None = None, **options: Any) -> Result:
        command = [sys.executable, "-m", "ganvas", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=cwd or tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """Evaluations and timings take one core, as threads of two test processes hinder each other,
    and timings are shorter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "WARMUP_SECONDS", 0.1)
        for module in (evaluate, benchmark, job):
            patch.setattr(module, "cores", lambda: 1)
        patch.setattr(extractor_files, "THREADS", 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _blank_loss_curves() -> Iterator[None]:
    """Trainings in this process write an empty losses.png: to draw one takes longer than they do.

    See `drawn_losses`.
    """
    blank = io.BytesIO()
    Image.new("L", (900, 600), 255).save(blank, "png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Run, "save_losses", lambda run: files.write(run.path / "losses.png", blank.getvalue())
        )
        yield


@pytest.fixture
def drawn_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this test draw their losses.png."""
    monkeypatch.setattr(Run, "save_losses", SAVE_LOSSES)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any use of a socket fails, as without a network."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of cgan/tiny. Use `copy` to change it."""
    path = tmp_path_factory.mktemp("tiny") / "run"
    return launch.train("cgan/tiny", images=320.0, seed=7, threads=1, out=path, quiet=True)


@pytest.fixture(scope="session")
def unconditional_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of mlp/tiny, which has no classes. Do not change it."""
    path = tmp_path_factory.mktemp("unconditional") / "run"
    return launch.train("mlp/tiny", images=64.0, threads=1, out=path, quiet=True)


@pytest.fixture(scope="session")
def half_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The training of `tiny_run`, stopped by Ctrl-C after 144 of its 320 images.

    Use `copy` to change it.
    """
    path = tmp_path_factory.mktemp("half") / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 9)
        with pytest.raises(KeyboardInterrupt):
            launch.train("cgan/tiny", images=320.0, seed=7, threads=1, out=path, quiet=True)
    return Run.open(path)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Run], Path]:
    """Copy a run to the test's folder."""

    def call(run: Run, name: str = "run") -> Path:
        shutil.copytree(run.path, tmp_path / name)
        return tmp_path / name

    return call


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`stop_after(9)`: the next training gets a SIGINT within its 9th step."""

    def call(steps: int) -> None:
        interrupt_after(monkeypatch, steps)

    return call


def interrupt_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    taken, step = 0, loop.take_step

    def counted(*arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == steps:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    patch.setattr(loop, "take_step", counted)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 12 grey 8x8 pictures in two classes, "cat" and "dog"."""
    from helpers.common import twelve_pictures  # after its assertions are rewritten

    return twelve_pictures(tmp_path / "pictures")


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, hidden ones too, with its content; folders end in a slash."""

    def call(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)) + ("/" if path.is_dir() else ""): (
                b"" if path.is_dir() else path.read_bytes()
            )
            for path in sorted(root.rglob("*"))
        }

    return call


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test starts in its tmp_path, so that relative paths lead there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bounded() -> Iterator[None]:
    """The test fails after 150 seconds: bad input must be refused at once."""
    before = signal.signal(
        signal.SIGALRM, lambda *_: pytest.fail("a bad input was worked on for long")
    )
    # again each second, in case a callback of C++ swallows it
    signal.setitimer(signal.ITIMER_REAL, 150, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def steady() -> None:
    """One thread, and torch's global random state seeded."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(name="training", scope="session")
def training_digits() -> Dataset:
    """The training part of mnist-5k."""
    from helpers.judged import digits  # after its assertions are rewritten

    return digits()


@pytest.fixture(name="held_out", scope="session")
def held_out_digits() -> Dataset:
    """The part of mnist-5k that is held out."""
    from helpers.judged import digits

    return digits("test")


@pytest.fixture
def pooled() -> Pooled:
    from helpers.judged import Pooled

    return Pooled()


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """An .npz of 120 grey 8x8 images: a bright square on black, in the upper or the lower half."""
    rng = np.random.default_rng(0)
    images, labels = np.zeros((120, 8, 8), np.uint8), np.arange(120) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * label + rng.integers(0, 2), rng.integers(0, 6)
        image[row : row + 3, column : column + 3] = 200 + rng.integers(0, 56)
    np.savez(tmp_path / "squares.npz", images=images, labels=labels)
    return tmp_path / "squares.npz"


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace trials by ones that take no time. Their score is a given function of the recipe."""

    def call(
        score: Callable[[Recipe], float], then: Callable[[int], None] = lambda trial: None
    ) -> None:
        begun = 0

        def train(_: Any, recipe: Recipe, images: int) -> Iterator[tuple[int, float | None]]:
            nonlocal begun
            then(begun)
            begun += 1
            yield images // 2, score(recipe)
            yield images, score(recipe)

        monkeypatch.setattr(trials.TrialSetup, "train", train)

    return call
