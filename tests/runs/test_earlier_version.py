"""Runs of an earlier version can be used: listed, sampled, evaluated, diagnosed, resumed, reported.

`earlier_version/` was written by the version at commit a7120e4, with torch 2.14.1, on one thread:
- `finished`: cgan/tiny, 320 images of mnist-5k, seed 7, evaluated every 160 images
- `half`: my_gan.py:one, mnist-5k at 8x8, seed 3, stopped by Ctrl-C after 40 of 64 images
- `my_gan.py`: never edit or reformat it, since the run holds its hash
Pictures, which every version draws anew, and TensorBoard's files were left out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ganvas.runs.run import Run
from helpers.common import state, train

FILES = Path(__file__).parent / "earlier_version"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A copy of the earlier version's runs, in the folder that commands run in."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    return tmp_path


def fids() -> list[float]:
    """The FIDs that the earlier version wrote."""
    lines = (FILES / "finished/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["fid"] for line in lines]


def generator(path: Path) -> dict[str, torch.Tensor]:
    """The generator's weights; start.safetensors holds the discriminator's, too."""
    weights = load_file(path)
    return {
        name.removeprefix("generator/"): weights[name] for name in weights if "discr" not in name
    }


def assert_near(one: Path, two: Path) -> None:
    """Both files hold the same generator, but for rounding, which differs between machines."""
    ours, theirs = generator(one), generator(two)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("earlier")
def test_runs_are_listed_with_their_progress_and_best_fid(cli_run: Callable[..., Any]) -> None:
    half, finished = sorted(
        json.loads(cli_run("runs", ".", "--json").out), key=lambda row: row["images_seen"]
    )
    assert (half["state"], half["recipe"], half["images_seen"]) == ("stopped", "my_gan.py:one", 40)
    assert (finished["state"], finished["recipe"]) == ("finished", "cgan/tiny")
    assert (finished["images_seen"], finished["planned"]) == (320, 320)
    assert finished["best_fid"] == min(fids())


def test_the_log_reads_as_it_was_written(earlier: Path) -> None:
    log = Run.open(earlier / "finished").read_log()
    assert [line["images"] for line in log] == list(range(32, 321, 32))
    lines = (FILES / "finished/log.jsonl").read_text().splitlines()
    assert [line["d_loss"] for line in log] == [json.loads(line)["d_loss"] for line in lines]


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize(
    ("source", "side"),
    [
        (["finished"], 28),
        (["finished/best.safetensors"], 28),
        (["half", "--gan", "my_gan.py"], 8),
    ],
)
def test_generators_are_sampled(source: list[str], side: int, cli_run: Callable[..., Any]) -> None:
    done = cli_run("sample", *source, "--n", "10", "--out", "x.npz")
    assert done.code == 0, done.err
    with np.load("x.npz") as arrays:
        assert arrays["images"].shape == (10, side, side, 1)


@pytest.mark.usefixtures("earlier")
def test_an_evaluation_is_kept_beside_the_earlier_ones(cli_run: Callable[..., Any]) -> None:
    command = ("evaluate", "finished", "--n", "100", "--prdc-n", "50", "--json")
    done = cli_run(*command)
    assert done.code == 0, done.err
    assert json.loads(done.out)["protocol"]["n_fake"] == 100
    lines = Path("finished/metrics.jsonl").read_text().splitlines()
    assert lines[:2] == (FILES / "finished/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[2])["fid"] == json.loads(done.out)["fid"]


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize(
    ("run", "seen"), [(["finished"], 320), (["half", "--gan", "my_gan.py"], 40)]
)
def test_the_doctor_examines_log_and_networks(
    run: list[str], seen: int, cli_run: Callable[..., Any]
) -> None:
    done = cli_run("doctor", *run, "--json")
    assert done.code == 0, done.err
    diagnosis = json.loads(done.out)
    assert diagnosis["images_seen"] == seen
    assert diagnosis["findings"]
    assert not any("state.pt" in note or "not looked at" in note for note in diagnosis["notes"])


@pytest.mark.usefixtures("earlier")
def test_a_report_shows_sheets_curves_and_evaluations(cli_run: Callable[..., Any]) -> None:
    done = cli_run("report", "finished")
    assert done.code == 0, done.err
    page = Path("finished/report.html").read_text()
    assert "data:image/png" in page
    assert "cgan/tiny" in page
    assert f"{fids()[-1]:.3g}" in page


def test_a_stopped_run_is_resumed_to_the_generator_of_an_unbroken_one(
    earlier: Path, cli_run: Callable[..., Any]
) -> None:
    done = cli_run("train", "my_gan.py", "--out", "half")
    assert done.code == 0, done.err
    assert state(earlier / "half")["images_seen"] == 64
    log = Run.open(earlier / "half").read_log()
    assert [line["images"] for line in log] == list(range(8, 65, 8))
    whole = train(
        "my_gan.py", earlier / "whole", data="mnist-5k", size=(8, 8), seed=3, precision="32"
    )
    assert_near(earlier / "half/generator.safetensors", whole.generator_file)


def test_a_finished_run_is_repeated(earlier: Path, cli_run: Callable[..., Any]) -> None:
    command = "train --config finished/recipe.json --evaluate-every never --out again"
    done = cli_run(*command.split())
    assert done.code == 0, done.err
    assert_near(earlier / "again/generator.safetensors", FILES / "finished/generator.safetensors")


def test_a_finished_run_has_nothing_left_to_train(
    earlier: Path, cli_run: Callable[..., Any]
) -> None:
    done = cli_run("train", "--out", "finished")
    assert done.code == 0, done.err
    before = (FILES / "finished/generator.safetensors").read_bytes()
    assert (earlier / "finished/generator.safetensors").read_bytes() == before


def test_a_finished_run_is_started_from(earlier: Path, cli_run: Callable[..., Any]) -> None:
    done = cli_run(*"train --from finished --images 32 --threads 1 --out warm".split())
    assert done.code == 0, done.err
    card = Run.open(earlier / "warm").card
    assert card.started_from is not None
    assert_near(earlier / "warm/start.safetensors", FILES / "finished/generator.safetensors")
