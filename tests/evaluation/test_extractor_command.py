"""ganvas extractor: a classifier of the user's own data, as a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas import data
from ganvas.errors import DataError, RunError
from ganvas.evaluation import extractor_files, extractors
from helpers.judged import never, noise

pytestmark = pytest.mark.usefixtures("own_cache")


def test_it_makes_a_classifier_that_can_be_named(
    cli_run: Callable[..., Any], pictures: Path
) -> None:
    words = ("extractor", "pictures", "--epochs", 30, "--threads", 1, "--out")
    done = cli_run(*words, "judge.safetensors")
    assert (done.code, done.out) == (0, "judge.safetensors\n")
    written = Path("judge.safetensors").read_bytes()
    document = json.loads(cli_run(*words, "judge.safetensors", "--json").out)
    assert Path("judge.safetensors").read_bytes() == written
    _, origin = extractor_files.read_extractor(Path("judge.safetensors"))
    assert (
        origin.command
        == "ganvas extractor pictures --epochs 30 --seed 0 --threads 1 --out judge.safetensors"
    )
    dataset = data.load_dataset("pictures")
    extractor = extractors.find_extractor("judge.safetensors", dataset)
    assert (extractor.name, extractor.classes, extractor.sha256) == (
        "judge.safetensors",
        ("cat", "dog"),
        document["sha256"],
    )
    assert extractor(dataset.images).features.shape == (12, 128)
    with pytest.raises(DataError, match="takes images of 8x8 grey"):
        extractors.find_extractor("judge.safetensors", noise(4))


def test_accuracy_is_that_on_the_held_out_part(cli_run: Callable[..., Any]) -> None:
    document = json.loads(
        cli_run("extractor", "mnist-5k", "--epochs", 0.1, "--out", "j.safetensors", "--json").out
    )
    assert (document["images"], document["held_out"]) == (4000, 1000)
    held_out = data.load_dataset("mnist-5k", split="test")
    extractor = extractors.find_extractor("j.safetensors", held_out)
    probabilities = extractor(held_out.images).probabilities
    assert probabilities is not None
    assert document["accuracy"] == float(
        (probabilities.argmax(1) == held_out.labels).double().mean()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "mnist-5k --out judge.pt",
            "--out judge.pt: expected a name that ends in .safetensors",
        ),
        ("mnist-5k --out a.safetensors --epochs 0", "--epochs 0.0: expected more than 0"),
        ("mnist-5k --out a.safetensors --threads 0", "--threads 0: expected more than 0"),
        ("pictures/cat --out a.safetensors", "cat has no classes to tell apart"),
        ("nothing --out a.safetensors", "'nothing' is neither a data set nor a path"),
        (
            "pictures --out pictures/cat/00.png/a.safetensors --epochs 1",
            "00.png/a.safetensors: a file has this name: choose another",
        ),
    ],
)
def test_bad_input(cli_run: Callable[..., Any], pictures: Path, words: str, message: str) -> None:
    assert message in cli_run("extractor", *words.split()).error


def test_where_it_cannot_be_written_is_said_before_the_training(
    cli_run: Callable[..., Any],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extractor_files, "learn_classes", never)
    (tmp_path / "folder.safetensors").mkdir()
    for out in ("/proc/mine.safetensors", "folder.safetensors"):
        assert f"cannot write {out}" in cli_run("extractor", pictures, "--out", out).error


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02c"])
def test_a_file_of_another_kind_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"x\.safetensors is damaged or no safetensors file"):
        extractors.find_extractor(os.fspath(tmp_path / "x.safetensors"), noise(4))
