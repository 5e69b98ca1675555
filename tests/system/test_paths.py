"""Folders that ganvas keeps data in, and that tests never meet a user's."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganvas.data import load_dataset
from ganvas.system.paths import cache_dir
from helpers.common import put_idx

IMAGES = np.zeros((6, 28, 28), np.uint8)


def test_the_data_folder_is_the_argument_else_the_environment_else_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {name: tmp_path / name for name in ("given", "environment", "cache/ganvas/data")}
    for n, place in enumerate(places.values(), start=1):
        put_idx(place / "MNIST" / "raw", "train", IMAGES[:n], [0] * n)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GANVAS_DATA", raising=False)
    assert cache_dir() == tmp_path / "cache" / "ganvas"
    assert len(load_dataset("mnist")) == 3
    monkeypatch.setenv("GANVAS_DATA", str(places["environment"]))
    assert len(load_dataset("mnist")) == 2
    assert len(load_dataset("mnist", data_dir=places["given"])) == 1


@pytest.mark.parametrize("value", ["", "not/absolute"])
def test_the_cache_falls_back_to_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_dir() == Path.home() / ".cache" / "ganvas"


def test_a_test_sees_no_folder_of_the_user() -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    code = (
        "import pathlib, matplotlib, torch.hub, ganvas.system.paths as p;"
        "print(pathlib.Path.home(), p.cache_dir(), torch.hub.get_dir(), matplotlib.get_cachedir(),"
        " sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folders = [Path(line) for line in done.stdout.splitlines()]
    assert [Path.home(), cache_dir()] == folders[:2]
    assert len(folders) == 4
    assert not any(folder.is_relative_to(home) for folder in folders)
    assert not any(Path.home().iterdir())
    assert os.environ.keys().isdisjoint({"GANVAS_DATA", "RANK", "WORLD_SIZE"})
