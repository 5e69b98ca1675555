"""Weights that a training cannot start from: one line says why, and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas.runs.run import Run
from helpers.common import MY_GAN, state, train


class TestRefusals:
    @pytest.fixture
    def coloured(self, tmp_path: Path) -> Path:
        for k in range(12):
            folder = tmp_path / "coloured" / "abc"[k % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(k).integers(0, 256, (28, 28, 3), np.uint8)).save(
                folder / f"{k}.png"
            )
        return tmp_path / "coloured"

    def refused(self, cli_run: Callable[..., Any], *words: Any) -> str:
        line: str = cli_run("train", *words, "--threads", "1").error
        assert not Path("runs").exists()
        return line

    def test_images_of_another_shape(
        self, tiny_run: Run, cli_run: Callable[..., Any], pictures: Path, coloured: Path
    ) -> None:
        line = self.refused(cli_run, "cgan/tiny", "--data", pictures, "--from", tiny_run.path)
        assert "is of images of 28x28 grey, these are 8x8 grey" in line
        line = self.refused(cli_run, "cgan/tiny", "--data", coloured, "--from", tiny_run.path)
        assert "28x28 grey, these are 28x28 RGB" in line

    def test_another_number_of_classes(
        self, tiny_run: Run, cli_run: Callable[..., Any], coloured: Path
    ) -> None:
        grey = ("--channels", "1", "--data", coloured)
        assert "has 10 classes, these images have 3" in self.refused(
            cli_run, "cgan/tiny", *grey, "--from", tiny_run.path
        )

    def test_classes_do_not_matter_to_an_unconditional_gan(
        self, unconditional_run: Run, coloured: Path, tmp_path: Path
    ) -> None:
        train(
            "mlp/tiny",
            tmp_path / "run",
            data=str(coloured),
            channels=1,
            images=32.0,
            from_=unconditional_run.path,
        )

    def test_labels_on_one_side_alone(
        self, cli_run: Callable[..., Any], coloured: Path, pictures: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "flat").mkdir()
        for k, file in enumerate(sorted(pictures.rglob("*.png"))):
            shutil.copy(file, tmp_path / "flat" / f"{k}.png")
        labelled, flat = (
            train("r3gan/tiny", tmp_path / name, images=16.0, data=str(what)).path
            for name, what in (("a", pictures), ("b", tmp_path / "flat"))
        )
        line = self.refused(cli_run, "r3gan/tiny", "--data", "flat", "--from", labelled)
        assert "has 2 classes, these images have no labels: give them 2" in line
        onto = ("r3gan/tiny", "--data", pictures, "--from", flat)
        line = self.refused(cli_run, *onto)
        assert "was trained without labels, these images have 2 classes: --set labels=false" in line
        assert (
            cli_run("train", *onto, "--set", "labels=false", "--images", 16, "--out", "run").code
            == 0
        )

    def test_other_networks(self, tiny_run: Run, cli_run: Callable[..., Any]) -> None:
        line = self.refused(cli_run, "cgan/tiny", "--set", "z_dim=9", "--from", tiny_run.path)
        assert "has model.z_dim=8, not 9" in line
        line = self.refused(cli_run, "cgan/digits", "--from", tiny_run.generator_file)
        assert "model.g_widths=" in line
        assert "holds a GAN of cgan, not of mlp" in self.refused(
            cli_run, "mlp/tiny", "--from", tiny_run.path
        )

    def test_missing_or_damaged_weights(
        self, tiny_run: Run, copy: Callable[..., Path], cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        source = copy(tiny_run, "source")
        (tmp_path / "empty").mkdir()
        (tmp_path / "text").write_text("text")
        for what, answer in (
            ("elsewhere", "no file elsewhere"),
            ("empty", "empty is not a run"),
            ("text", "is damaged or no"),
        ):
            assert answer in self.refused(cli_run, "cgan/tiny", "--from", what)
        (source / "state.pt").write_bytes(b"text")
        assert "state.pt is damaged" in self.refused(cli_run, "cgan/tiny", "--from", source)
        (source / "state.pt").unlink()
        line = self.refused(cli_run, "cgan/tiny", "--from", source)
        assert "its state.pt is missing" in line
        assert str(source / "generator.safetensors") in line
        (source / "generator.safetensors").unlink()
        assert "has saved no weights yet" in self.refused(cli_run, "cgan/tiny", "--from", source)
        assert "--from is empty" in self.refused(cli_run, "cgan/tiny", "--from", " ")

    def test_weights_that_are_not_finite(
        self, tiny_run: Run, copy: Callable[..., Path], cli_run: Callable[..., Any]
    ) -> None:
        source = copy(tiny_run, "source")
        saved = state(source)
        next(iter(saved["learner"]["generator"].values()))[0] = torch.nan
        torch.save(saved, source / "state.pt")
        assert "weights contain NaN" in self.refused(cli_run, "cgan/tiny", "--from", source)

    def test_a_file_never_leads_to_code(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "my_gan.py").write_text(MY_GAN)
        source = train("my_gan.py", tmp_path / "source")
        (tmp_path / "my_gan.py").write_text(
            MY_GAN + "\nimport pathlib\npathlib.Path('ran').touch()\n"
        )
        assert "name it, ganvas train PATH/my_gan.py:one" in self.refused(
            cli_run, "--from", source.path
        )
        assert not (tmp_path / "ran").exists()
        assert (
            cli_run(
                "train", "my_gan.py", "--from", source.path, "--threads", "1", "--out", "run"
            ).code
            == 0
        )
