"""The figures of picture sets: their trainings, commands, sheets and tables."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cells
import measure
import picture_sets
import rivals
import tables
from cells import PICTURES, Cell, picture_cells
from ganvas.data import load_dataset
from ganvas.system.marks import is_marked
from helpers.staged import Stage, result_of, row
from result import Result, read_result
from sets import picture_sheets

RGB = ["--size", "64", "--channels", "3"]
LOOPS = ("dcgan", "fastgan", "projected")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage that has all picture sets."""
    made = Stage(tmp_path, monkeypatch)
    for name in PICTURES:
        (made.work / "sets" / name).mkdir(parents=True)
    return made


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def sheets_of(stage: Stage) -> list[str]:
    return sorted(path.name for path in (stage.results / "images" / "pictures").glob("*"))


# Cells


def test_each_set_is_trained_on_by_both_recipes_and_some_by_the_rivals() -> None:
    trained: dict[str, Counter[tuple[str, str]]] = {}
    for cell in cells.picture_sets():
        trained.setdefault(cell.data, Counter())[cell.recipe, str(cell.length)] += 1
    recipes = {
        (recipe, length): number
        for recipe in ("projected/images", "r3gan/images")
        for length, number in (("10 minutes", 3), ("60 minutes", 1))
    }
    loops = {
        (f"rival/{name}", length): 1
        for name in ("dcgan", "fastgan", "projected")
        for length in ("10 minutes", "60 minutes")
    }
    assert trained == {
        **dict.fromkeys(("food", "solar", "stamps", "sprites"), recipes | loops),
        **dict.fromkeys(("emoji", "hanzi", "letters"), recipes),
    }
    assert {cell.rival for cell in cells.picture_sets()} - {""} == set(rivals.RIVALS)


def test_all_systems_on_a_set_are_read_and_judged_alike() -> None:
    judged: dict[str, set[Any]] = {}
    for cell in cells.picture_sets():
        how = (list(cell.reading) == RGB, cell.extractor, cell.n * cell.samplings, cell.copies)
        judged.setdefault(cell.data, set()).add(how)
    assert judged == {
        "food": {(True, "imagenet", 2000, True)},
        "solar": {(True, "imagenet", 2000, False)},
        "stamps": {(True, "imagenet", 2000, True)},
        "sprites": {(True, "imagenet", 2000, True)},
        "emoji": {(False, "imagenet", 2000, False)},
        "hanzi": {(False, "imagenet", 5000, False)},
        "letters": {(False, None, 5000, False)},
    }
    # A rival saves no more samples than this.
    assert max(c.n * c.samplings for c in cells.picture_sets() if c.rival) <= rivals.SAMPLES


def test_the_process_that_measures_does_not_load_torch() -> None:
    """The peak memory of a training includes that of the process that started it."""
    folder = Path(measure.__file__).parent
    code = "import sys, measure; from sets import picture_sheets; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_sets_for_measuring_alone_have_no_sheets_and_others_one_a_system_and_time() -> None:
    sheets = Counter(cell.sheet for cell in cells.picture_sets() if cell.sheet)
    assert set(sheets.values()) == {1}
    shown = {sheet.split("-")[0] for sheet in sheets}
    assert shown == {"stamps", "emoji", "hanzi", "letters"}
    assert shown == {name for name in PICTURES if not picture_sets.SETS[name].measuring}
    assert len(sheets) == 2 * 5 + 3 * 2 * 2
    assert "stamps-projected-images-10.png" in sheets
    assert "stamps-rival-projected-60.png" in sheets


# Commands


def test_recipes_and_rivals_are_trained_judged_and_shown(stage: Stage) -> None:
    assert stage("picture-sets", "--only", "stamps-10min") == 0
    folder = str(stage.work / "sets" / "stamps")
    for recipe in ("projected/images", "r3gan/images"):
        trained = [words for words in stage.calls("train") if words[1] == recipe]
        start = ["train", recipe, "--data", folder, *RGB, "--minutes", "10", "--seed"]
        assert [words[:-2] for words in trained] == [[*start, seed] for seed in "012"]
    for name in rivals.RIVALS:
        (words,) = stage.calls(name)
        assert words[1:5] == ["--data", folder, *RGB[:2]]
        given = rivals.parsed(words)
        assert (given.rival, given.minutes, given.seed) == (name, 10, 0)
        assert (given.size, given.channels) == (64, 3)
        assert given.threads == measure.machine()["cores"]
    judged = {Path(words[1]).name: words for words in stage.calls("evaluate")}
    assert len(judged) == 6 + 1
    how = ["--extractor", "imagenet", "--n", "400", "--prdc-n", "2000", "--seeds", "5"]
    assert judged["stamps-10min-r3gan-images-seed2"][2:] == [*how, "--copies", "--json"]
    rival = judged["samples.npz"]
    assert rival[2:7] == ["--data", folder, *RGB[:2], "--channels"]
    assert Path(after(rival, "--out")).parent == Path(rival[1]).parent
    # a sheet of each system's first seed, and no path of this machine
    sheets = [f"stamps-{name}-10.png" for name in ("projected-images", "r3gan-images")]
    assert sheets_of(stage) == [*sheets, *(f"stamps-rival-{name}-10.png" for name in LOOPS)]
    assert not any(re.search('"/', path.read_text()) for path in stage.results.rglob("*.json"))
    text = (stage.results / "pictures.md").read_text()
    assert row(text, "10", "`projected/images`")[2:4] == ["3 of 3", "10,000"]
    assert row(text, "10", "DCGAN")[2:4] == ["1 of 1", "640"]
    assert "](images/pictures/stamps-rival-dcgan-10.png)" in text


def test_a_rival_s_result_has_its_options_and_the_time_of_its_steps(stage: Stage) -> None:
    assert stage("picture-sets", "--only", "food-60min-rival-fastgan") == 0
    result = stage.result("picture-sets/food-60min-rival-fastgan-seed0")
    assert result.resolved == {"options": {"batch": 64}}
    assert (result.images_seen, result.seconds, result.threads) == (640, 3600, 2)
    assert list(result.versions) == ["ganvas", "python", "torch"]
    assert result.evaluation["seeds"] == 5


def test_letters_are_judged_by_the_default_extractor_which_knows_classes(stage: Stage) -> None:
    assert stage("picture-sets", "--only", "letters-60min-projected") == 0
    (train,), (words,) = stage.calls("train"), stage.calls("evaluate")
    assert train[4:6] == ["--minutes", "60"]
    assert words[2:] == ["--n", "5000", "--prdc-n", "2000", "--json"]


def test_no_sample_of_a_set_for_measuring_alone_is_written_to_the_documents(stage: Stage) -> None:
    for name in ("food-60min-rival-dcgan", "solar-60min-r3gan", "sprites-60min-projected"):
        assert stage("picture-sets", "--only", name) == 0
    assert len(stage.calls("evaluate")) == 3
    assert not stage.calls("sample")
    assert not list(stage.results.rglob("*.png"))
    assert "](images/" not in (stage.results / "pictures.md").read_text()


def test_measured_cells_are_not_measured_again(stage: Stage) -> None:
    asked = ("picture-sets", "--only", "stamps-60min-rival")
    assert stage(*asked) == 0
    gone = stage.results / "picture-sets" / "stamps-60min-rival-dcgan-seed0.json"
    gone.unlink()
    assert stage(*asked) == 0
    assert [len(stage.calls(name)) for name in LOOPS] == [2, 1, 1]
    assert stage(*asked) == 0
    assert len(stage.calls("evaluate")) == 4
    assert gone.exists()


def test_a_set_that_cannot_be_made_is_a_line_and_others_are_measured(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(stage.folder))  # without apt-get
    (stage.work / "sets" / "sprites").rmdir()
    assert stage("picture-sets", "--only", "s-60min-r3gan") == 1
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if "left out" in line]
    assert line.startswith("1 cell of sprites left out: cannot start apt-get: No such file")
    names = [Path(after(words, "--data")).name for words in stage.calls("train")]
    assert names == ["stamps", "letters"]
    assert not (stage.work / "sets" / "sprites").exists()


def test_sets_elsewhere_are_used(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "mine" / "solar").mkdir(parents=True)
    asked = ("picture-sets", "--only", "solar-60min-r3gan", "--sets", str(tmp_path / "mine"))
    assert stage(*asked) == 0
    (words,) = stage.calls("train")
    assert after(words, "--data") == str(tmp_path / "mine" / "solar")


# Sheets


def noise(channels: int, count: int = 70, side: int = 64) -> Any:
    shape = (count, side, side, channels)
    return np.random.default_rng(0).integers(0, 256, shape, "uint8")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_of_pure_noise_is_small_enough_and_still_a_sheet(
    channels: int, tmp_path: Path
) -> None:
    images, path = noise(channels), tmp_path / "sheet.png"
    picture_sheets.save_samples(images, path)
    content = path.read_bytes()
    assert len(content) <= picture_sheets.MAX_BYTES
    assert is_marked(content[:256])
    sheet = Image.open(io.BytesIO(content))
    assert sheet.size == (512, 512)


def test_a_sheet_shows_samples_row_by_row_enlarged_and_on_white(tmp_path: Path) -> None:
    images = np.zeros((64, 32, 32, 4), np.uint8)
    images[9] = (200, 0, 0, 255)  # second row, second column; the others are transparent
    picture_sheets.save_samples(images, tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert pixels.shape == (512, 512, 3)
    assert (pixels[64:128, 64:128] == (200, 0, 0)).all()
    assert (pixels == 255).all(2).sum() == 63 * 64 * 64


def test_stored_sheets_are_those_of_the_results() -> None:
    places = measure.Places()
    results = [read_result(path) for path in places.results.glob("picture-sets/*.json")]
    folder = places.documents / "images" / "pictures"
    assert {path.name for path in folder.glob("*")} == {r.sheet for r in results} - {""}
    assert all(path.stat().st_size <= 250_000 for path in folder.glob("*"))


# Tables


def medians(
    data: str, recipe: str, minutes: int, kids: list[float], recalls: list[float], **more: Any
) -> dict[str, Result]:
    """Results of a system, one a seed."""
    made: dict[str, Result] = {}
    scores = zip(picture_cells(data, recipe, minutes), kids, recalls, strict=True)
    for k, (cell, kid, recall) in enumerate(scores, 1):
        made[cell.name] = result_of(cell, images=1000 * k, kid=kid, recall=recall, **more)
    return made


def section(results: dict[str, Result], data: str) -> str:
    """The part of the table of picture sets that is about one of them."""
    return tables.table("picture-sets", results).split(f"### {data}\n")[1].split("\n### ")[0]


def test_medians_stand_beside_the_former_recipe_and_the_aims() -> None:
    former = medians("food", "r3gan/images", 10, [3.0, 1.0, 2.0], [0.1, 0.0, 0.0])
    ours = medians(
        "food", "projected/images", 10, [0.7, 0.6, 0.1], [0.3, 0.2, 0.4], verdict="not a copier"
    )
    text = section(former | ours, "food")
    assert row(text, "10", "`projected/images`")[2:] == [
        "3 of 3",
        "2,000",
        "600",
        "0.3 (0.333)",
        "0.300 (0.300)",
        "not a copier",
        "all",
    ]
    assert row(text, "10", "`r3gan/images`")[2:] == [
        *("3 of 3", "2,000", "2,000", "1", "0.000", "copier", "")
    ]
    assert row(text, "10", "DCGAN")[2:5] == ["0 of 1", "-", "-"]
    assert row(text, "", "real training images")[4:7] == ["500", "", "0.950"]
    assert "Means over 5 samplings of 400, seeds 0 to 4" in text
    assert "label accuracy" not in text


def test_an_aim_that_is_missed_is_named() -> None:
    former = medians("stamps", "r3gan/images", 60, [1.0], [0.1])
    ours = medians("stamps", "projected/images", 60, [0.21], [0.47])
    assert row(section(former | ours, "stamps"), "60", "`projected/images`")[4:] == [
        *("210", "0.21 (0.2)", "0.470 (0.475)", "copier", "all but KID, recall, copy check")
    ]
    better = medians("stamps", "projected/images", 60, [0.2], [0.475], verdict="not a copier")
    assert row(section(former | better, "stamps"), "60", "`projected/images`")[-1] == "all"
    # nothing to compare KID with
    assert row(section(better, "stamps"), "60", "`projected/images`")[-1] == "-"


def test_letters_aim_at_label_accuracy() -> None:
    made = medians("letters", "projected/images", 60, [0.1], [0.9], label_accuracy=0.968)
    for result in made.values():
        result.evaluation["real_accuracy"] = 0.985
    text = section(made, "letters")
    assert row(text, "60", "`projected/images`")[-2:] == ["96.80% (97%)", "all but label accuracy"]
    assert row(text, "", "real training images")[-2] == "50.00%"
    assert "The classifier names 98.50% of the held-out pictures correctly." in text
    assert "copy check" not in text


def test_runs_with_different_verdicts_are_counted() -> None:
    ours = medians("sprites", "projected/images", 10, [0.1] * 3, [0.5] * 3)
    first: Cell = next(picture_cells("sprites", "projected/images", 10))
    ours[first.name] = result_of(first, verdict="not a copier")
    line = row(section(ours, "sprites"), "10", "`projected/images`")
    assert line[-2] == "copier: 2, not a copier: 1"


def test_sets_without_results_say_so_and_shown_ones_show_what_there_is() -> None:
    ours = medians("emoji", "projected/images", 60, [0.1], [0.5])
    assert section(ours, "hanzi").split("\n")[1] == "Not measured yet."
    text = section(ours, "emoji")
    image = "![emoji, projected/images, 60 minutes](images/pictures/emoji-projected-images-60.png)"
    assert row(text, "`projected/images`") == ["`projected/images`", "-", image]
    food = medians("food", "projected/images", 60, [0.1], [0.5])
    assert "no samples are shown" in section(food, "food")
    assert "![" not in section(food, "food")


def test_rivals_read_a_set_s_pictures_as_the_recipes_do(tmp_path: Path) -> None:
    for name, mode in (("a", "RGBA"), ("b", "L")):
        Image.new(mode, (72, 80)).save(tmp_path / f"{name}.png")
    read = rivals.read(str(tmp_path), size=64, channels=3)
    theirs = load_dataset(str(tmp_path), size=64, channels=3)
    assert read.images.shape == (2, 3, 64, 64)
    assert read.fingerprint == theirs.fingerprint
