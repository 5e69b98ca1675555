"""The generators that come with the package: found by name, and what they make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ganvas.data.dataset import Dataset
from ganvas.evaluation import extractors
from ganvas.runs.run import Run
from ganvas.runs.weights import locate_generator, open_generator, shipped_generators


def test_digits_come_at_once(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    assert cli_run("sample", "digits", "--labels", "2023").out.strip() == "result.png"
    with Image.open(tmp_path / "result.png") as image:
        assert image.size == (4 * 28 * 4, 28 * 4)


def test_the_file_is_small_and_says_how_it_was_made() -> None:
    (name, path), *others = shipped_generators().items()
    assert (name, others) == ("digits", [])
    assert path.stat().st_size < 1_000_000
    _, card = open_generator(path)
    assert (card.recipe, card.data.name, card.data.images) == ("r3gan/digits", "mnist", 60_000)
    log = (Path(__file__).parents[2] / "docs" / "log.md").read_text()
    made = next(
        line
        for line in log.splitlines()
        if line.startswith("ganvas train r3gan/digits --data mnist --images")
    )
    for option, value in (
        ("--images", card.plan.images),
        ("--threads", card.threads),
        ("--precision", card.precision),
    ):
        assert f"{option} {value} " in f"{made} "
    assert f"model.width={card.model['width']} train.gamma={card.train['gamma']}" in made


def test_it_writes_the_digits_that_are_asked_for() -> None:
    sampler, card = open_generator(shipped_generators()["digits"])
    digits = [k * 7 % 10 for k in range(200)]
    images = sampler(range(200), labels=digits).permute(0, 3, 1, 2)
    reader = extractors.find_extractor(
        "digits", Dataset("made", images, torch.tensor(digits), card.image.classes)
    )
    read = reader.take(images).probabilities
    assert read is not None
    assert sum(read.argmax(1) == torch.tensor(digits)) > 0.98 * 200


def test_a_run_or_file_of_that_name_comes_first_and_a_folder_of_pictures_does_not(
    tiny_run: Run, copy: Callable[..., Path], cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "digits").mkdir()
    assert cli_run("sample", "digits", "--labels", "2023").code == 0
    assert locate_generator(Path("digits")) == shipped_generators()["digits"]
    (tmp_path / "digits").rmdir()
    path = copy(tiny_run, "digits")
    assert locate_generator(Path("digits")) == Path("digits")
    shutil.move(path / "generator.safetensors", tmp_path / "one")
    shutil.rmtree(path)
    shutil.move(tmp_path / "one", path)
    assert locate_generator(Path("digits")) == Path("digits")


def test_it_is_judged_by_its_name_where_no_pictures_have_that(
    cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    command = ("evaluate", "digits", "--data", "mnist-5k", "--n", 300, "--prdc-n", 300, "--json")
    done = cli_run(*command)
    assert done.code == 0, done.err
    verdict = json.loads(done.out)
    assert (verdict["kind"], verdict["source"]) == ("generator", "digits")
    assert verdict["label_accuracy"] > 0.97
    (tmp_path / "digits").mkdir()
    assert "digits" in cli_run(*command).error  # these are judged, and there are none
