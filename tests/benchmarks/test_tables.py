"""The tables rendered from results, and the pictures that one of them needs."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import cells
import formats
import measure
import pictures
import tables
from cells import Length
from ganvas import gans
from ganvas.errors import MetricError, RunError
from ganvas.overrides import parse_assignments, resolve_gamma, with_preset
from ganvas.recipe import ImageSpec, Interval, TrainConfig, convert
from helpers.staged import ALL, result_of, row
from result import file_of, protocol, read_result
from rival_loops import DEFAULTS

ROOT = Path(__file__).parents[2]


def test_medians_are_shown_beside_their_aims() -> None:
    three = [cell for cell in cells.flagship() if cell.name.startswith("mnist-1min-")]
    scores = [(0.972, 9.0, 0.81), (0.991, 30.0, 0.85), (0.980, 5.0, 0.70)]
    results = {
        cell.name: result_of(cell, images=1000 * k, label_accuracy=accuracy, fid=fid, recall=recall)
        for k, (cell, (accuracy, fid, recall)) in enumerate(zip(three, scores, strict=True), 1)
    }
    table = tables.table("flagship", results)
    assert row(table, "`mnist`", "1")[2:] == [
        "3 of 3",
        "2,000",
        "98.00% (97.0%)",
        "9",
        "18 (20)",
        "0.810 (0.80)",
        "0.950",
        "all",
        "1 of 3",
    ]
    assert row(table, "`mnist-5k`", "5")[2:4] == ["0 of 3", "-"]
    results.pop(three[0].name)
    assert row(tables.table("flagship", results), "`mnist`", "1")[2::6] == ["2 of 3", "0.950"]
    assert row(tables.table("flagship", results), "`mnist`", "1")[-2:] == [
        "all but FID / floor, recall",
        "0 of 2",
    ]


def two_systems(seconds: float, **ours: float) -> list[str]:
    """The row of cgan/digits beside a flagship with the scores `ours`.

    cgan/digits has FID 20, label accuracy 96% and a plain loop of 10,000 s.
    """
    system, flagship = [cell for cell in cells.sources() if cell.name.endswith("cgan-digits")]
    theirs = result_of(system, images=6_000_000, fid=20.0, label_accuracy=0.96)
    results = {system.name: theirs, flagship.name: result_of(flagship, seconds=seconds, **ours)}
    return row(tables.table("sources", results), "`cgan/digits`")


def test_the_flagship_beats_a_system_in_fid_accuracy_and_time() -> None:
    assert two_systems(500.0, fid=12.0, label_accuracy=0.97)[2:] == [
        "600",
        "166.7 min",
        "20",
        "96.00%",
        "8.3 min",
        "12",
        "97.00%",
        "20.0 (20)",
        "yes",
    ]
    assert two_systems(500.0, fid=21.0, label_accuracy=0.97)[-1] == "no"
    assert two_systems(500.0, fid=12.0, label_accuracy=0.95)[-1] == "no"
    assert two_systems(501.0, fid=12.0, label_accuracy=0.97)[-1] == "no"


def test_recipes_are_ranked_by_fid_with_the_floor_last() -> None:
    some = [cell for cell in cells.recipes() if cell.data == "fashion-mnist"][:3]
    fids = (30.0, None, 7.0)
    results = {cell.name: result_of(cell, fid=fid) for cell, fid in zip(some, fids, strict=True)}
    table = tables.table("recipes", results)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert [re.findall(r"^\| `?([^`|(]*[^`|( ])", line)[0] for line in lines[2:]] == [
        some[2].recipe,
        some[0].recipe,
        some[1].recipe,
        "real training images",
    ]
    assert row(table, f"`{some[2].recipe}`")[1:3] == ["7", "14"]
    assert "**mnist**: not measured yet." in table


def test_modes_and_pictures_are_shown_beside_their_aims() -> None:
    (cell,) = cells.modes()
    table = tables.table("modes", {cell.name: result_of(cell, modes=1000.0, reverse_kl=0.0611)})
    assert row(table, "modes of 1,000, in 26,000 samples")[-1] == "yes"
    assert row(table, "reverse KL")[1:] == ["0.061", "0.500", "at most 0.06", "no"]
    (cell,) = cells.pictures()
    table = tables.table("pictures", {cell.name: result_of(cell, recall=0.47)})
    assert row(table, "copy check")[1:] == ["copier", "not a copier", "no"]
    assert row(table, "recall")[1:] == ["0.470", "at least 0.475, half of the floor", "no"]
    assert row(table, "diversity (held-out pictures: 1)")[1:] == [
        "0.900",
        "at least 0.8",
        "yes",
    ]


def test_every_table_is_rendered_once_all_results_exist(tmp_path: Path) -> None:
    for cell in ALL:
        file_of(cell, tmp_path).parent.mkdir(exist_ok=True)
        file_of(cell, tmp_path).write_text(result_of(cell).to_json())
    for name, names in tables.DOCUMENTS.items():
        document = tables.render((ROOT / "docs" / name).read_text(), names, tmp_path)
        assert formats.NOTHING not in document
        assert tables.render(document, names, tmp_path) == document
    rendered = [name for names in tables.DOCUMENTS.values() for name in names]
    assert sorted(rendered) == sorted(cells.TABLES)


def test_different_protocols_make_no_table() -> None:
    one, two = (result_of(cell) for cell in list(cells.flagship())[:2])
    assert protocol([one, two])["extractor"] == "digits"
    two.evaluation["protocol"] = two.evaluation["protocol"] | {"n_fake": 5000}
    with pytest.raises(
        MetricError, match=r"different protocols \(n_fake 10000 and 5000\): judge again"
    ):
        tables.table("flagship", {one.cell: one, two.cell: two})


def test_a_document_without_the_comments_of_a_table_is_refused(tmp_path: Path) -> None:
    document = (ROOT / "docs/figures.md").read_text()
    with pytest.raises(RunError, match="lacks a line <!-- modes -->"):
        tables.render(document.replace("<!-- modes -->", ""), ["recipes", "modes"], tmp_path)


def test_the_documents_show_the_stored_results() -> None:
    for name, names in tables.DOCUMENTS.items():
        document = (ROOT / "docs" / name).read_text()
        assert tables.render(document, names, measure.Places().results) == document


def test_stored_results_belong_to_these_cells() -> None:
    folder = measure.Places().results
    cell_of = {file_of(cell, folder): cell for cell in ALL}
    for path in folder.glob("*/*.json"):
        cell, result = cell_of[path], read_result(path)
        assert not re.search(r'"/\w', path.read_text()), (
            f"{path} names a path of the machine that it was made on"
        )
        assert (result.table, result.cell, result.recipe, result.data) == (
            cell.table,
            cell.name,
            cell.recipe,
            cell.data,
        )
        assert (result.settings, result.seed) == (cell.settings, cell.seed)
        if isinstance(cell.length, Length):
            assert result.asked == str(cell.length)
        assert result.evaluation["protocol"]["n_fake"] == cell.n


SPECS = {
    "mnist": ImageSpec(height=28, width=28, channels=1),
    "mnist-5k": ImageSpec(height=28, width=28, channels=1),
    "fashion-mnist": ImageSpec(height=28, width=28, channels=1),
    "stacked-mnist": ImageSpec(height=28, width=28, channels=3),
    cells.DRAWN: ImageSpec(height=64, width=64, channels=3),
    **{
        name: ImageSpec(height=64, width=64, channels=3)
        for name in ("food", "solar", "stamps", "sprites")
    },
    "emoji": ImageSpec(height=64, width=64, channels=4),
    "hanzi": ImageSpec(height=64, width=64, channels=1),
    "letters": ImageSpec(height=32, width=32, channels=1),
}


def test_stored_results_have_the_settings_that_recipes_have_now() -> None:
    """If this fails, a recipe or a preset has changed: delete the result and measure again."""
    for path in measure.Places().results.glob("*/*.json"):
        result = read_result(path)
        if result.recipe.startswith(cells.RIVAL):
            usual = DEFAULTS[result.recipe.removeprefix(cells.RIVAL)]
            assert result.resolved == {"options": asdict(usual)}, path
            continue
        _, file, recipe = gans.find_recipe(result.recipe)
        length = result.asked.replace(",", "")
        recipe, _ = with_preset(recipe, parse_assignments(list(result.settings)), length)
        recipe, _ = resolve_gamma(recipe, SPECS[result.data])
        model = convert(result.resolved["model"], file.config, "model")
        train = convert(result.resolved["train"], TrainConfig, "train")
        # When sheets are made changes no figure.
        train = replace(train, first_sheet=recipe.train.first_sheet)
        assert (model, train) == (recipe.model, recipe.train), path


def test_trainings_by_the_clock_kept_to_their_time() -> None:
    for path in measure.Places().results.glob("*/*.json"):
        result = read_result(path)
        if (asked := Interval.parse(result.asked)).unit == "minutes":
            seconds = 60 * asked.amount
            assert abs(result.seconds - seconds) <= max(5.0, 0.05 * seconds), path


def test_drawn_pictures_are_reproducible_and_all_different() -> None:
    drawn = np.stack([pictures.draw(number) for number in range(400)])
    assert (drawn.shape, drawn.dtype) == ((400, 64, 64, 3), np.uint8)
    assert np.array_equal(pictures.draw(7), drawn[7])
    assert pictures.diversity(drawn[:200], drawn[200:]) == pytest.approx(1, abs=0.1)
    assert pictures.diversity(np.repeat(drawn[:1], 20, 0), drawn[:20]) == pytest.approx(0, abs=1e-6)
    assert len(np.unique(drawn.reshape(400, -1), axis=0)) == 400
