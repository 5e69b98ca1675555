"""`ganvas doctor`: runs of every kind, and runs that are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas.runs.run import Run
from ganvas.views.diagnosis import examine
from helpers.common import MY_GAN, state, train


def test_a_finished_run(
    tiny_run: Run,
    copy: Callable[[Run], Path],
    cli_run: Callable[..., Any],
    tree: Callable[[Path], Any],
) -> None:
    path = copy(tiny_run)
    before = tree(path)
    done = cli_run("doctor", path)
    assert (done.code, done.err) == (0, "")
    early = "too early to tell"
    assert done.out.startswith(f"{path}: {early} (finished, 320 of 320 images seen)\n")
    assert f"{early}: samples are still nearly alike after 20 steps" in done.out
    assert f"next: ganvas train --out {path} --images 1600\n" in done.out
    found = json.loads(cli_run("doctor", path, "--json").out)
    assert found.keys() >= {
        "run",
        "state",
        "findings",
        "stage",
        "images_seen",
        "planned",
        "figures",
        "notes",
    }
    assert found["findings"][0].keys() == {"state", "evidence", "command"}
    assert found["figures"].keys() >= {
        "diversity",
        "nearest",
        "copying",
        "memorised",
        "d_gradient",
        "g_gradient",
    }
    assert tree(path) == before


def test_a_stopped_run_and_one_that_is_training(
    half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
) -> None:
    path = copy(half_run)
    assert f"next: ganvas train --out {path}\n" in cli_run("doctor", path).out
    with Run.open(path).locked():
        done = cli_run("doctor", path, "--data-dir", "here")
        assert "too early to tell (training, 144 of 320 images seen)" in done.out
        assert f"next: ganvas doctor {path} --data-dir here\n" in done.out


def test_a_run_without_a_log(
    half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
) -> None:
    path = copy(half_run)
    for name in ("log.jsonl", "state.pt"):
        (path / name).unlink()
    done = cli_run("doctor", path)
    assert done.code == 0
    assert "too early to tell (stopped, 0 of 320 images seen)" in done.out
    assert f"next: ganvas train --out {path}\n" in done.out


@pytest.mark.parametrize("name", ["log.jsonl", "state.pt", "recipe.json"])
def test_a_damaged_run(
    name: str, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
) -> None:
    path = copy(half_run)
    (path / name).write_bytes(b"\xff\xfe\n\n")
    assert f"{path / name} is damaged" in cli_run("doctor", path).error


def test_a_state_that_does_not_fit(
    half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
) -> None:
    path = copy(half_run)
    saved = state(path)
    saved["learner"]["generator"].popitem()
    torch.save(saved, path / "state.pt")
    assert "state.pt that does not fit" in cli_run("doctor", path).error


def test_a_path_that_is_not_a_run(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "nope" in cli_run("doctor", "nope").error
    assert "not a run" in cli_run("doctor", "empty").error


def test_data_that_are_missing_or_have_changed_are_noted(
    pictures: Path, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    train("cgan/tiny", tmp_path / "run", images=64.0, data=pictures)
    assert "note:" not in cli_run("doctor", "run").out
    shutil.copy(pictures / "cat" / "01.png", pictures / "cat" / "00.png")
    assert "note: only the log was judged: " in cli_run("doctor", "run").out
    shutil.rmtree(pictures)
    done = cli_run("doctor", "run")
    assert done.code == 0
    assert "pictures" in done.out.partition("note: ")[2]


def test_a_run_of_the_users_own_gan_file(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "my_gan.py").write_text(MY_GAN)
    train("my_gan.py", tmp_path / "run", images=64.0)
    assert "note: only the log was judged: " in cli_run("doctor", "run").out
    done = cli_run("doctor", "run", "--gan", "my_gan.py")
    assert "note" not in done.out
    again = "ganvas train my_gan.py:one --config run/recipe.json --out run --images 320"
    assert f"next: {again}\n" in done.out
    assert (
        "my_gan.py, not in"
        in cli_run("doctor", "run", "--gan", "other.py").out.partition("note: ")[2]
    )


def test_a_log_of_an_earlier_version(tiny_run: Run, copy: Callable[[Run], Path]) -> None:
    path = copy(tiny_run)
    known = (
        "images",
        "step",
        "epoch",
        "seconds",
        "lr",
        "d_loss",
        "g_loss",
        "d_real",
        "d_fake",
        "d_accuracy",
    )
    lines = [{name: line[name] for name in known} for line in tiny_run.read_log()]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Run.open(path).read_log() == lines
    found = examine(Run.open(path))
    assert found.state == "too early to tell"
    assert "diversity" in found.figures  # of the saved state
    shutil.rmtree(path / "tensorboard")
    train("cgan/tiny", path, images=320.0, seed=7)
