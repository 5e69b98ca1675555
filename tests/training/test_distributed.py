"""Several processes train as one; mixed precision resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from ganvas import gans
from ganvas.errors import RunError, SettingError
from ganvas.launch import launch
from ganvas.training import distributed
from ganvas.training.distributed import World
from helpers.common import MY_GAN, state, train, twelve_pictures
from helpers.distributed import (
    Ended,
    end_before_joining,
    free_ports,
    lack_the_data,
    normalise_part,
    train_as_one_of_two,
    train_no_more,
)

ENVIRONMENT = os.environ | {"PYTHONWARNINGS": "ignore"}


def ganvas(
    *arguments: str, cwd: Path, launcher: tuple[str, ...] = ("-m",)
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "ganvas", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )


def learner(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(run / "state.pt", weights_only=True)["learner"]


def assert_close(one: Path, two: Path, recipe: str) -> None:
    """Equal but for rounding. Biases are left out: before BatchNorm, or where D's fakes are of the
    real images' classes, a gradient may be zero but for rounding, which Adam blows up to full
    steps. Rates are small, so that these change little else."""
    file = gans.load_gan(recipe.partition("/")[0])
    for network in ("generator", "discriminator"):
        a, b = learner(one)[network], learner(two)[network]
        assert a.keys() == b.keys()
        compared = [
            name
            for name in a
            if not (name.endswith("bias") and a[name].ndim == 1) and "running" not in name
        ]
        assert compared, file
        for name in compared:
            torch.testing.assert_close(
                a[name], b[name], rtol=1e-4, atol=2e-5, msg=f"{network}.{name}"
            )


TINY = [f"{name}/tiny" for name in gans.gan_names()]
LR = {"lr": 1e-4, "d_lr": 1e-4}


def training_of(recipe: str, out: Path, pictures: Path) -> dict[str, Any]:
    """Arguments of `train`. Of r3gan's dozen pictures, four in five are augmented from the second
    step on."""
    data: dict[str, Any] = {"data": str(pictures)} if recipe == "r3gan/tiny" else {"size": (16, 16)}
    images, settings = 96.0, LR
    if recipe == "projected/tiny":
        # Its frozen network enlarges rounding, of which Adam makes whole steps where gradients are
        # near zero: two steps, with a penalty in the first, and a larger eps.
        images, settings = 16.0, LR | {"eps": 1e-2}
    return {"recipe": recipe, "out": out, "images": images, "settings": settings} | data


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two processes, as a launcher starts them, train every tiny recipe, one after another.

    Returns the folder of their runs, and that of r3gan's pictures.
    """
    folder = tmp_path_factory.mktemp("two")
    pictures = twelve_pictures(folder / "pictures")
    trainings = [training_of(recipe, folder / recipe, pictures) for recipe in TINY]
    ports = free_ports(len(trainings))
    context = torch.multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=train_as_one_of_two, args=(rank, ports, trainings))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
    assert [process.exitcode for process in processes] == [0, 0]
    return folder, pictures


@pytest.mark.long
@pytest.mark.parametrize("recipe", TINY)
def test_two_processes_equal_one(
    recipe: str, tmp_path: Path, trained_by_two: tuple[Path, Path]
) -> None:
    folder, pictures = trained_by_two
    train(**training_of(recipe, tmp_path / "one", pictures))
    assert_close(tmp_path / "one", folder / recipe, recipe)
    augmentation = [learner(run)["augmentation"] for run in (tmp_path / "one", folder / recipe)]
    assert augmentation[0] == augmentation[1]
    assert (augmentation[0] == {"p": 0.8}) == (recipe == "r3gan/tiny")


@pytest.mark.long
def test_two_processes_stop_and_resume_to_the_same_end(tmp_path: Path) -> None:
    options: dict[str, Any] = {"images": 3000.0, "processes": 2, "settings": {"log": "18 steps"}}
    train("cgan/tiny", tmp_path / "unbroken", **options)
    command = [sys.executable, "-m", "ganvas", *"train cgan/tiny --images 3000 --threads 1".split()]
    process = subprocess.Popen(
        [*command, "--processes", "2", "--set", "log=18 steps", "--out", "stopped"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((tmp_path / "stopped" / "samples").glob("*.png")):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "to resume: ganvas train --out stopped" in errors
    seen = torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["images_seen"]
    assert 0 < seen < 3000
    train("cgan/tiny", tmp_path / "stopped", **options)
    unbroken, stopped = learner(tmp_path / "unbroken"), learner(tmp_path / "stopped")
    for network in ("generator", "discriminator"):
        assert all(
            torch.equal(unbroken[network][name], stopped[network][name])
            for name in unbroken[network]
        )
    lines = [
        [
            json.loads(line) | {"seconds": 0}
            for line in (tmp_path / run / "log.jsonl").read_text().splitlines()
        ]
        for run in ("unbroken", "stopped")
    ]
    assert len(lines[0]) == 11
    # an interval begun before the stop, too, with the figures of both processes
    assert lines[0] == lines[1]


@pytest.mark.long
def test_torchrun_equals_one_process(tmp_path: Path) -> None:
    common = ("train", "mlp/tiny", "--images", "96", "--threads", "1")
    train("mlp/tiny", tmp_path / "one", images=96.0)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    two = ganvas(*common, "--out", "two", cwd=tmp_path, launcher=launcher)
    assert two.returncode == 0, two.stderr
    assert two.stdout == "two\n"  # printed by the first process alone
    assert_close(tmp_path / "one", tmp_path / "two", "mlp/tiny")
    again = ganvas(*common, "--out", "two", cwd=tmp_path, launcher=launcher)
    assert (again.returncode, again.stdout) == (0, "two\n"), again.stderr
    assert "is finished" in again.stderr


@pytest.mark.long
def test_the_first_process_reports_an_error_of_another() -> None:
    with (
        pytest.raises(RunError, match=r"^process 1 of 2: no more$"),
        distributed.together(2, "cpu", train_no_more, ()) as world,
    ):
        world.raise_if_any("")
        world.mean(torch.ones(1))


@pytest.mark.long
@pytest.mark.parametrize(
    ("follow", "arguments", "code"), [(train_no_more, (Ended(),), 3), (end_before_joining, (), 4)]
)
def test_a_process_that_ends_before_it_can_join_is_not_waited_for(
    follow: Callable[..., Any], arguments: tuple[Any, ...], code: int
) -> None:
    with (
        pytest.raises(RunError, match=rf"^process 1 of 2: it ended with exit code {code}$"),
        distributed.together(2, "cpu", follow, arguments),
    ):
        pytest.fail("the group needs both")


@pytest.mark.long
def test_a_process_that_cannot_train_leaves_no_empty_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "follow", lack_the_data)
    with pytest.raises(RunError, match=r"^process 1 of 2: no data here$"):
        train("mlp/tiny", tmp_path / "run", images=96.0, processes=2)
    assert not (tmp_path / "run").exists()


SCRIPT = """
import ganvas
print("once")
ganvas.train("mlp/tiny", images=32, processes=2, threads=1, quiet=True, out="run")
"""


@pytest.mark.long
@pytest.mark.parametrize("arguments", [["script.py"], ["-"]])
def test_a_script_needs_no_guard(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        input=SCRIPT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert state(tmp_path / "run")["images_seen"] == 32


def test_a_problem_of_one_process_is_raised_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(problems: list[str], problem: str) -> None:
        problems[:] = [problem, "no data"]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with pytest.raises(RunError, match=r"^process 1 of 2: no data$"):
        World(0, 2).raise_if_any("")


def test_other_processes_want_the_same_data_and_code(tmp_path: Path) -> None:
    code = tmp_path / "my.py"
    code.write_text(MY_GAN)
    run = train(str(code), tmp_path / "run", images=8.0, size=(8, 8))
    assert launch.open_same(str(run.path), str(code), None)[0].card.data == run.card.data
    run.save_card(
        dataclasses.replace(run.card, data=dataclasses.replace(run.card.data, fingerprint="0"))
    )
    with pytest.raises(RunError, match="mnist-5k holds other images here"):
        launch.open_same(str(run.path), str(code), None)
    code.write_text(MY_GAN + "\n")
    with pytest.raises(RunError, match="is another file here"):
        launch.open_same(str(run.path), str(code), None)


def test_several_processes_are_refused_where_they_are_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.mps, "is_available", lambda: True)
        with pytest.raises(SettingError, match="--processes 2: mps trains in one"):
            train("mlp/tiny", tmp_path / "run", processes=2, device="mps")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="--processes 4: torchrun has started 2"):
        train("mlp/tiny", tmp_path / "run", processes=4)


def test_processes_must_divide_the_batch(tmp_path: Path) -> None:
    result = ganvas("train", "mlp/tiny", "--processes", "3", cwd=tmp_path)
    assert result.returncode == 2
    assert "--processes 3: the batch of 16 cannot be shared" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_and_resumes_exactly(
    precision: Any, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    options: dict[str, Any] = {
        "images": 160.0,
        "precision": precision,
        "settings": {"log": "1 step"},
    }
    train("mlp/tiny", tmp_path / "whole", **options)
    stop_after(5)
    with pytest.raises(KeyboardInterrupt):
        train("mlp/tiny", tmp_path / "part", **options)
    assert state(tmp_path / "part")["images_seen"] == 80
    train("mlp/tiny", tmp_path / "part", **options)
    whole, part = learner(tmp_path / "whole"), learner(tmp_path / "part")
    assert all(
        torch.equal(whole["generator"][name], part["generator"][name])
        for name in whole["generator"]
    )
    assert all(torch.isfinite(tensor).all() for tensor in whole["generator"].values())
    assert bool(whole["scaler"]) == (precision == "fp16")  # loss scaling is for fp16


def test_batchnorm_over_two_processes_is_batchnorm_over_both_parts() -> None:
    x, grad = torch.randn(6, 3, 4, 4).double(), torch.randn(6, 3, 4, 4).double()
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3).double()
    nn.init.normal_(layer.weight)
    whole = x.clone().requires_grad_()
    y = layer(whole)
    y.backward(grad)
    (port,) = free_ports(1)
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=normalise_part, args=(rank, port, x, grad, results))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    parts = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert layer.weight.grad is not None
    assert whole.grad is not None
    joined = [torch.cat([torch.from_numpy(parts[rank][i]) for rank in (0, 1)]) for i in (0, 1, 4)]
    torch.testing.assert_close(joined[0], y.detach())
    torch.testing.assert_close(joined[1], whole.grad)
    torch.testing.assert_close(torch.from_numpy(parts[0][2]), layer.weight.grad)
    torch.testing.assert_close(torch.from_numpy(parts[0][3]), layer.running_var)
    torch.testing.assert_close(joined[2], layer.eval()(x))
