"""Directories that are no run, runs of other settings, and NaN: one line, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas.runs.run import Run
from ganvas.training import loop
from helpers.common import ENDLESS, TRAIN, spoil_weights

pytestmark = pytest.mark.usefixtures("bounded")


class TestNoRun:
    @pytest.mark.parametrize(
        "source", ["gone", "empty", "folder", "file.txt", "folder/recipe.json", "."]
    )
    def test_what_is_no_run_is_not_sampled(
        self, source: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
    ) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "recipe.json").write_text("{}")
        (tmp_path / "file.txt").write_text("mine")
        before = tree(tmp_path)
        assert source in cli_run("sample", source).error
        assert tree(tmp_path) == before

    def test_a_safetensors_file_of_others(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        import safetensors.torch

        safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "g.safetensors")
        assert "no ganvas card" in cli_run("sample", "g.safetensors").error
        safetensors.torch.save_file(
            {"a": torch.zeros(2)}, tmp_path / "g.safetensors", {"ganvas": "{}"}
        )
        assert "g.safetensors" in cli_run("sample", "g.safetensors").error

    def test_weights_that_do_not_fit_their_card(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        import safetensors.torch

        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        for wrong in (
            {name: value for name, value in tensors.items() if name != "embedding.weight"},
            tensors | {"more": torch.zeros(1)},
            tensors | {"embedding.weight": torch.zeros(3, 3)},
        ):
            safetensors.torch.save_file(
                wrong, tmp_path / "g.safetensors", {"ganvas": tiny_run.card.to_json()}
            )
            assert "does not fit its own card" in cli_run("sample", "g.safetensors").error

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("format", 2), ("gan", "nope"), ("gan", "../../x"), ("model.z_dim", -1),
            ("model.z_dim", 10**12), ("model.g_widths", "x"), ("model.more", 1),
            ("latent_draw", 0), ("latent_draw", 3),
            ("image.height", 0), ("image.channels", 2), ("image.classes", []), ("train.batch", 0),
            ("train.lr", "x"), ("seed", "x"), ("plan", None), ("data", 3),
        ],
    )  # fmt: skip
    def test_a_card_with_a_wrong_value(
        self, path: str, value: Any, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        import safetensors.torch

        card = json.loads(tiny_run.card.to_json())
        *branch, leaf = path.split(".")
        (card[branch[0]] if branch else card)[leaf] = value
        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        safetensors.torch.save_file(
            tensors, tmp_path / "g.safetensors", {"ganvas": json.dumps(card)}
        )
        assert len(cli_run("sample", "g.safetensors").error) > 20
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "recipe.json").write_text(json.dumps(card))
        shutil.copy(tiny_run.path / "state.pt", tmp_path / "run")
        assert len(cli_run("train", "--out", "run").error) > 20

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("plan.batch", 0), ("plan.epoch", 0), ("plan.images", -5),
            ("plan.revisions", [[0, 0], [-5, 3]]), ("seed", -1), ("threads", 0), ("threads", -1),
            ("threads", 10**12), ("processes", 0), ("processes", -1), ("precision", "64"),
            ("device", "tpu"), ("device", ""), ("data.size", [0, 0]), ("data.size", [-3, 8]),
            ("data.channels", 2), ("data.fit", "x"),
        ],
    )  # fmt: skip
    def test_a_runs_card_with_an_impossible_value(
        self,
        path: str,
        value: Any,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        run = copy(half_run)
        card = json.loads(half_run.card.to_json())
        *branch, leaf = path.split(".")
        (card[branch[0]] if branch else card)[leaf] = value
        (run / "recipe.json").write_text(json.dumps(card))
        before = tree(run)
        assert len(cli_run("train", "--out", run).error) > 20
        assert tree(run) == before


class TestOtherRun:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--seed", "8"), ["seed=7, not 8"]),
            (("--images", "336"), ["train.length=320 images, not 336 images"]),
            (("--set", "batch=8", "lr=0.5"), ["train.batch=16, not 8", "train.lr=0.001, not 0.5"]),
            (("--set", "g_widths=[16,17]"), ["model.g_widths=[16, 16], not [16, 17]"]),
            (("--threads", "2"), ["threads=1, not 2"]),
            (("--size", "14"), ["data="]),
            (("--precision", "bf16"), ["precision=32, not bf16"]),
            (("mlp/tiny",), ["recipe=cgan/tiny, not mlp/tiny"]),
        ],
    )
    def test_changed_settings_are_named(
        self,
        options: tuple[str, ...],
        words: list[str],
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        before = tree(path)
        defaults = {"--images": "320", "--seed": "7"}
        flat = [w for name, value in defaults.items() if name not in options for w in (name, value)]
        recipe = () if options[0] == "mlp/tiny" else ("cgan/tiny",)
        message = cli_run("train", *recipe, *options, *flat, "--out", path).error
        assert all(word in message for word in words), message
        assert "--fresh" in message
        assert tree(path) == before

    def test_changed_data_are_noticed(
        self,
        pictures: Path,
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
        tree: Callable[[Path], Any],
    ) -> None:
        stop_after(2)
        command = (
            "train",
            "cgan/tiny",
            "--data",
            pictures,
            "--images",
            "64",
            "--threads",
            "1",
            "--out",
            "run",
        )
        assert cli_run(*command).code == 130
        before = tree(Path("run"))
        shutil.copy(pictures / "cat" / "01.png", pictures / "cat" / "00.png")
        for again in (command, ("train", "--out", "run")):
            assert "data=" in cli_run(*again).error
        assert tree(Path("run")) == before
        shutil.rmtree(pictures)
        assert "pictures" in cli_run("train", "--out", "run").error

    def test_two_trainings_in_one_directory(
        self,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        with Run.open(path).locked():
            before = tree(path)
            assert "another training is writing" in cli_run("train", "--out", path).error
            assert "another training is writing" in cli_run(*TRAIN, "--out", path, "--fresh").error
            assert tree(path) == before
        assert cli_run("train", "--out", path).code == 0

    def test_two_processes_in_one_directory(
        self, environment: dict[str, str], cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        command = [*ENDLESS, "--out", "run"]
        first = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert first.stderr is not None
            assert any(line.startswith("new run") for line in first.stderr)
            error = cli_run(*command[3:]).error
            first.send_signal(signal.SIGINT)
            first.communicate(timeout=60)
        finally:
            first.kill()
        assert first.returncode == 130
        assert "another training is writing" in error
        assert Run.open(tmp_path / "run").load_state() is not None


class TestNotFinite:
    def test_it_stops_with_one_line_and_keeps_the_last_good_state(
        self,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tiny_run: Run,
    ) -> None:
        path = copy(half_run)
        before = (path / "state.pt").read_bytes(), (path / "generator.safetensors").read_bytes()
        with monkeypatch.context() as patch:
            spoil_weights(patch, "d_parameters", torch.nan, before=240)
            patch.setattr(loop, "SAVE_SECONDS", 1e9)
            message = cli_run("train", "--out", path).error
        assert "no longer finite" in message
        assert "lr=" in message
        assert (
            (path / "state.pt").read_bytes(),
            (path / "generator.safetensors").read_bytes(),
        ) == before
        assert cli_run("train", "--out", path).code == 0  # it was the test's doing: so it goes on
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()

    @pytest.mark.parametrize("stop", [False, True])
    def test_what_is_not_finite_is_never_saved(
        self,
        stop: bool,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        stop_after: Callable[[int], None],
    ) -> None:
        """Neither within an interval of the log, nor by Ctrl-C, nor before a loss shows it."""
        path = copy(half_run)
        spoil_weights(monkeypatch, "g_parameters", torch.inf, after=144)
        monkeypatch.setattr(loop, "SAVE_SECONDS", 1e9 if stop else -1)
        if stop:
            stop_after(1)
        assert "finite" in cli_run("train", "--out", path).error
        for tensor in torch.load(path / "state.pt", weights_only=True)["learner"][
            "generator"
        ].values():
            assert torch.isfinite(tensor).all()

    def test_generators_that_are_kept_are_finite(
        self, tmp_path: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spoil_weights(monkeypatch, "g_parameters", torch.inf, after=16)
        settings = ("--set", "weights=1 steps", "log=100 steps")
        message = cli_run(
            "train", "cgan/tiny", "--images", "80", "--threads", "1", "--out", "run", *settings
        ).error
        assert "weights are no longer finite at 32 images" in message
        assert [path.name for path in (tmp_path / "run" / "weights").iterdir()] == [
            "000000016.safetensors"
        ]

    def test_an_absurd_learning_rate(self, cli_run: Callable[..., Any]) -> None:
        message = cli_run(
            "train", "cgan/tiny", "--set", "lr=1e30", "--images", "3200", "--threads", "1"
        ).error
        assert "no longer finite" in message
        assert "ganvas:" in message
