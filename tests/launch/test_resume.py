"""Resuming a training: which run is taken, and when a new one is made instead."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas.launch import launch
from ganvas.runs.run import Run
from helpers.common import assert_same_run, assert_same_tree, state, train


class TestResuming:
    def test_the_callers_threads_are_left_as_they_were(self, tmp_path: Path) -> None:
        before = torch.get_num_threads()
        train("mlp/tiny", tmp_path / "run", images=16.0, threads=before + 1)
        assert torch.get_num_threads() == before

    def test_reading_a_state_does_not_keep_its_file_open(
        self, half_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        """Where it is mapped, Windows lets no other take its place."""
        path = copy(half_run)
        kept = Run.open(path).load_state()
        with open(path / "state.pt", "r+b") as file:
            file.write(b"\0" * (path / "state.pt").stat().st_size)
        assert_same_tree(kept, state(half_run.path))

    def test_the_same_command_resumes(
        self, cli_run: Callable[..., Any], stop_after: Callable[[int], None], tmp_path: Path
    ) -> None:
        command = ("train", "cgan/tiny", "--images", "320", "--threads", "1")
        stop_after(5)
        assert cli_run(*command).code == 130
        done = cli_run(*command)
        assert (done.code, done.out) == (0, "runs/0001-cgan-tiny-mnist-5k\n")
        assert "resuming runs/0001-cgan-tiny-mnist-5k after 80 of 320 images" in done.err
        third = cli_run(*command)  # finished: so the next number
        assert third.out == "runs/0002-cgan-tiny-mnist-5k\n"
        assert_same_run(
            tmp_path / "runs/0001-cgan-tiny-mnist-5k", tmp_path / "runs/0002-cgan-tiny-mnist-5k"
        )

    @pytest.mark.parametrize(
        "other",
        [
            ("--seed", "1"),
            ("--images", "336"),
            ("--set", "lr=0.002"),
            ("--data", "pictures"),
            ("--threads", "2"),
            ("--size", "14"),
        ],
    )
    def test_another_request_is_another_run(
        self,
        other: tuple[str, str],
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
        pictures: Path,
    ) -> None:
        options = {"--images": "320", "--threads": "1"}
        flat = [word for pair in options.items() for word in pair]
        stop_after(5)
        cli_run("train", "cgan/tiny", *flat)
        changed = [word for pair in (options | dict([other])).items() for word in pair]
        done = cli_run("train", "cgan/tiny", *changed)
        assert done.out.startswith("runs/0002-")
        assert cli_run("train", "cgan/tiny", *flat).out == "runs/0001-cgan-tiny-mnist-5k\n"

    def test_the_newest_unfinished_run_is_taken(
        self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path
    ) -> None:
        for name in ("0001-a", "0003-a", "0002-a"):
            shutil.copytree(half_run.path, tmp_path / "runs" / name)
        done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7")
        assert done.out == "runs/0003-a\n"  # with its own thread count, as none is given

    def test_numbers_of_more_than_four_digits(
        self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path
    ) -> None:
        for name in ("9999-a", "10000-a", "0002-a", "2024 pictures"):
            shutil.copytree(half_run.path, tmp_path / "runs" / name)
        assert (
            cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7").out == "runs/10000-a\n"
        )
        for number in (10001, 10002):
            done = cli_run("train", "mlp/tiny", "--images", "32", "--threads", "1")
            assert done.out == f"runs/{number}-mlp-tiny-mnist-5k\n"

    @pytest.mark.parametrize("name", ["state.pt", "recipe.json", "log.jsonl"])
    def test_a_damaged_run_that_is_skipped_is_named(
        self, name: str, cli_run: Callable[..., Any], half_run: Run, tiny_run: Run, tmp_path: Path
    ) -> None:
        for number in (1, 2, 3, 4):
            shutil.copytree(
                (tiny_run if number == 3 else half_run).path, tmp_path / "runs" / f"000{number}-a"
            )
        (tmp_path / "runs" / "0002-a" / name).write_bytes(b"\xff\xfe\n\n")
        (tmp_path / "runs" / "0005-new").mkdir()
        # neither a busy run nor a finished one is worth a word
        with Run.open(tmp_path / "runs" / "0004-a").locked():
            done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7")
        assert done.out == "runs/0001-a\n"
        notes = [line for line in done.err.splitlines() if "not resumed" in line]
        assert len(notes) == 1
        assert f"runs/0002-a/{name}" in notes[0]
        assert "damaged" in notes[0]
        assert [
            line
            for line in done.err.splitlines()
            if "0003" in line or "0004" in line or "0005" in line
        ] == []

    def test_out_alone_resumes(
        self, cli_run: Callable[..., Any], half_run: Run, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(half_run)
        done = cli_run("train", "--out", path)
        assert (done.code, done.out) == (0, f"{path}\n")
        assert_same_run(tiny_run.path, path)

    def test_a_run_older_than_a_setting_is_resumed(
        self,
        cli_run: Callable[..., Any],
        half_run: Run,
        copy: Callable[[Run], Path],
        tmp_path: Path,
    ) -> None:
        path = copy(half_run)
        card = json.loads((path / "recipe.json").read_text())
        del card["train"]["augment"]
        (path / "recipe.json").write_text(json.dumps(card))
        done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7", "--out", path)
        assert done.code == 0, done.err
        assert "resuming" in done.err
        card["train"]["batch"] = 32
        (path / "recipe.json").write_text(json.dumps(card))
        assert (
            "train.batch=32, not 16"
            in cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7", "--out", path).error
        )

    def test_another_recipe_is_reported_before_its_settings(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(tiny_run)
        error = cli_run("train", "r3gan/tiny", "--out", path).error
        assert error.endswith(
            "was made with recipe=cgan/tiny, not r3gan/tiny: give the same, another --out, or"
            " --fresh"
        )
        error = cli_run("train", "cgan/digits", "--config", path / "recipe.json").error
        assert "with all settings of cgan/tiny: leave cgan/digits out, or --config" in error

    def test_a_finished_run_is_reported_and_left_as_it_is(
        self,
        cli_run: Callable[..., Any],
        tiny_run: Run,
        copy: Callable[[Run], Path],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(tiny_run)
        before = tree(path)
        done = cli_run("train", "--out", path)
        assert (done.code, done.out) == (0, f"{path}\n")
        assert "is finished" in done.err
        assert tree(path) == before

    def test_fresh_starts_anew_and_loses_nothing(
        self,
        cli_run: Callable[..., Any],
        half_run: Run,
        copy: Callable[[Run], Path],
        tree: Callable[[Path], Any],
        tmp_path: Path,
    ) -> None:
        path = copy(half_run)
        before = tree(path)
        for number in (1, 2):
            done = cli_run(
                "train", "cgan/tiny", "--images", "32", "--threads", "1", "--out", path, "--fresh"
            )
            assert (done.code, done.out) == (0, f"{path}\n")
            assert f"kept as {path}.{number}" in done.err
        assert tree(tmp_path / "run.1") == before
        assert state(path)["images_seen"] == state(tmp_path / "run.2")["images_seen"] == 32

    def test_fresh_alone_repeats_the_run(
        self,
        cli_run: Callable[..., Any],
        pictures: Path,
        tmp_path: Path,
        stop_after: Callable[[int], None],
    ) -> None:
        stop_after(2)
        command = (
            "train",
            "cgan/tiny",
            "--data",
            pictures,
            "--size",
            "9",
            "--images",
            "64",
            "--seed",
            "5",
            "--threads",
            "1",
        )
        assert (
            cli_run(*command, "--set", "g_widths=[5]", "lr.shape=linear", "--out", "run").code
            == 130
        )
        first = Run.open(tmp_path / "run").card
        assert cli_run("train", "--fresh", "--out", "run").code == 0
        assert Run.open(tmp_path / "run").card == first
        assert state(tmp_path / "run")["images_seen"] == 64
        done = cli_run(
            "train", "--fresh", "--out", "run", "--set", "batch=8", "--epochs", "2", "--seed", "6"
        )
        assert done.code == 0, done.err
        card = Run.open(tmp_path / "run").card
        assert (card.seed, card.plan.total, card.plan.requested) == (6, 24, "2 epochs")
        assert card.train == first.train | {"batch": 8, "length": "2 epochs"}
        assert (card.recipe, card.model, card.data) == (first.recipe, first.model, first.data)

    def test_fresh_alone_measures_minutes_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
        first = train("mlp/tiny", tmp_path / "run", minutes=5.0)
        first.save_card(dataclasses.replace(first.card, plan=first.card.plan.revise(16, 32)))
        again = launch.train(out=tmp_path / "run", fresh=True, quiet=True)
        assert again.card.plan.requested == "5 minutes"
        assert again.card.plan.revisions == ()

    def test_fresh_alone_needs_a_card_that_can_be_read(
        self,
        cli_run: Callable[..., Any],
        half_run: Run,
        copy: Callable[[Run], Path],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        (path / "recipe.json").write_text("{")
        before = tree(path)
        message = cli_run("train", "--fresh", "--out", path).error
        assert "recipe.json is damaged" in message
        assert "name a recipe" in message
        assert tree(path) == before

    def test_fresh_without_out_takes_the_next_number(
        self,
        cli_run: Callable[..., Any],
        half_run: Run,
        tmp_path: Path,
        tree: Callable[[Path], Any],
    ) -> None:
        shutil.copytree(half_run.path, tmp_path / "runs" / "0004-old")
        before = tree(tmp_path / "runs")
        done = cli_run(
            "train", "cgan/tiny", "--images", "320", "--seed", "7", "--threads", "1", "--fresh"
        )
        assert done.out == "runs/0005-cgan-tiny-mnist-5k\n"
        after = tree(tmp_path / "runs")
        assert {name: after[name] for name in before} == before

    def test_a_run_that_is_being_trained_is_not_resumed(
        self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path
    ) -> None:
        shutil.copytree(half_run.path, tmp_path / "runs" / "0001-a")
        with Run.open(tmp_path / "runs" / "0001-a").locked():
            done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7", "--threads", "1")
        assert done.out == "runs/0002-cgan-tiny-mnist-5k\n"
