"""Data named within a file: the run notes its whole path, and the same command goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas.runs.run import Run


def test_a_run_finds_the_array_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_run: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28), np.uint8)
    np.savez("a.npz", left=images, right=images[::-1])
    command = ["train", "mlp/tiny", "--data", "a.npz:right", "--images", 16, "--threads", 1]
    command += ["--set", "batch=8", "--out", "run"]
    for _ in range(2):  # the second time, there is nothing left to do
        done = cli_run(*command)
        assert done.code == 0, done.err
    card = Run.open(tmp_path / "run").card
    assert card.data.what == str(tmp_path / "a.npz:right")
    monkeypatch.chdir("/")
    assert np.array_equal(card.dataset().images[:, 0].numpy(), images[::-1])
