"""`ganvas runs`: every run with its state, whatever state that is."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.runs.run import Run
from ganvas.views.run_list import list_runs
from helpers.common import state
from helpers.paged import PROTOCOL, judgement, put


@pytest.fixture
def folder(tiny_run: Run, half_run: Run, tmp_path: Path) -> Path:
    """A folder with a finished, a stopped, a damaged and a not yet saved run, and other things."""
    runs = tmp_path / "runs"
    for name, run in (
        ("9999-new", tiny_run),
        ("0002-half", half_run),
        ("0010-bad", half_run),
        ("0003-unsaved", half_run),
    ):
        shutil.copytree(run.path, runs / name)
    (runs / "0010-bad" / "state.pt").write_bytes(b"nonsense")
    for name in ("state.pt", "generator.safetensors"):
        (runs / "0003-unsaved" / name).unlink()
    (runs / "0001-being-made").mkdir()
    (runs / "notes.txt").write_text("mine")
    return runs


def test_states_progress_and_costs(folder: Path) -> None:
    rows = list_runs(folder)
    assert [(Path(row.run).name, row.progress) for row in rows] == [
        ("0002-half", "stopped at 45%"),
        ("0003-unsaved", "stopped at 0%"),
        ("0010-bad", "damaged"),
        ("9999-new", "finished"),
    ]
    half, unsaved, bad, new = rows
    assert (half.recipe, half.data, half.images_seen, half.planned) == (
        "cgan/tiny",
        "mnist-5k",
        144,
        320,
    )
    assert half.minutes == pytest.approx(state(folder / "0002-half")["seconds"] / 60, abs=0.01)
    assert (unsaved.images_seen, unsaved.minutes, new.images_seen) == (0, 0, 320)
    assert bad.error is not None
    assert "state.pt is damaged" in bad.error
    assert (bad.recipe, bad.images_seen) == ("cgan/tiny", None)


def test_an_unreadable_folder_and_a_run_without_its_card_are_damaged(
    folder: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "0002-half" / "recipe.json").unlink()
    look = os.listdir

    def refuse(path: Path) -> list[str]:
        if Path(path).name == "0001-being-made":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "listdir", refuse)
    closed, lost, *rest = list_runs(folder)
    assert (closed.state, closed.error) == (
        "damaged",
        f"cannot read {closed.run}: Permission denied",
    )
    assert (lost.state, lost.error) == (
        "damaged",
        f"{lost.run} is not a run: it has no recipe.json",
    )
    assert [row.state for row in rest] == ["stopped", "damaged", "finished"]
    told = cli_run("train", "cgan/tiny", "--images", "32", "--threads", "1").err
    assert "not resumed: cannot read runs/0001-being-made: Permission denied" in told
    assert "not resumed: runs/0002-half is not a run" in told


@pytest.mark.parametrize("name", ["recipe.json", "log.jsonl", "metrics.jsonl"])
def test_one_damaged_run_hides_no_other(
    folder: Path, cli_run: Callable[..., Any], name: str
) -> None:
    (folder / "0002-half" / name).write_bytes(b"\xff{\n[\n")
    done = cli_run("runs")
    assert done.code == 0
    assert [row.state for row in list_runs(folder)] == ["damaged", "stopped", "damaged", "finished"]
    lines = [line for line in done.err.splitlines() if line.startswith("damaged: ")]
    assert len(lines) == 2
    assert f"0002-half/{name}" in lines[0]
    assert all(name in done.out for name in ("0002-half", "0003-unsaved", "0010-bad", "9999-new"))


def test_a_run_that_is_training_shows_its_newest_line(folder: Path) -> None:
    run = Run.open(folder / "0002-half")
    run.append_log([run.read_log()[-1] | {"images": 240, "seconds": 90.0}])
    assert list_runs(folder)[0].progress == "stopped at 45%"  # up to the saved state
    with run.locked():
        row = list_runs(folder)[0]
    assert (row.progress, row.minutes) == ("training now, 75%", 1.5)
    assert list_runs(folder)[0].state == "stopped"


def test_the_best_fid_is_of_all_evaluations_under_the_newest_protocol(
    folder: Path, cli_run: Callable[..., Any]
) -> None:
    run = Run.open(folder / "9999-new")
    for fid, images, extractor in (
        (3.0, 16, "a" * 64),
        (2.0, None, "a" * 64),
        (40.25, 32, "b" * 64),
        (12.5, 48, "b" * 64),
        (20.0, 80, "b" * 64),
        (14.0, None, "b" * 64),
        (None, None, "b" * 64),  # by hand
    ):
        protocol = dataclasses.replace(PROTOCOL, extractor_sha256=extractor)
        put(run, judgement(run, fid=fid, protocol=protocol), images)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"fid": 1')  # cut short
    put(Run.open(folder / "0002-half"), judgement(run, fid=1.0))
    put(Run.open(folder / "0003-unsaved"), judgement(run, fid=None))
    rows = list_runs(folder)
    assert [row.best_fid for row in rows] == [1.0, None, None, 12.5]
    assert [row.extractor for row in rows] == ["digits", None, None, "digits"]
    table = {
        line.split()[0]: line.split() for line in cli_run("runs").out.splitlines() if line.strip()
    }
    assert table["runs/9999-new"][-2:] == ["12.5", "digits"]
    assert table["runs/0002-half"][-2:] == ["1", "digits"]
    assert table["runs/0003-unsaved"][-2:] == ["-", "-"]


def test_json(folder: Path, cli_run: Callable[..., Any]) -> None:
    done = cli_run("runs", folder, "--json")
    rows = json.loads(done.out)
    assert [Path(row["run"]).name for row in rows] == [
        "0002-half",
        "0003-unsaved",
        "0010-bad",
        "9999-new",
    ]
    assert rows[0]["state"] == "stopped"
    assert rows[0]["best_fid"] is None


def test_looking_changes_nothing(folder: Path, tree: Callable[[Path], Any]) -> None:
    before = tree(folder)
    list_runs(folder)
    assert tree(folder) == before


def test_the_folder_may_be_a_run_itself(folder: Path) -> None:
    assert [row.run for row in list_runs(folder / "0002-half")] == [str(folder / "0002-half")]


def test_no_runs(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    done = cli_run("runs")
    assert (done.code, done.out) == (0, "")
    assert "no runs in runs" in done.err
    assert json.loads(cli_run("runs", "--json").out) == []
    (tmp_path / "file").write_text("")
    assert "elsewhere does not exist" in cli_run("runs", "elsewhere").error
    assert "file is a file" in cli_run("runs", "file").error
