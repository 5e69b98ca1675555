"""The cells of the tables: every training that is measured, and how it is judged."""

from __future__ import annotations

import re

import pytest

import cells
import figures
import measure
from cells import Length, Share
from ganvas import gans
from ganvas.recipe import Interval
from helpers.staged import ALL


def test_cells_have_names_of_their_own_and_their_tables() -> None:
    assert len({str(cell) for cell in ALL}) == len(ALL)
    assert all(cell.table == name for name, make in cells.TABLES.items() for cell in make())
    assert all(re.fullmatch(r"[a-z0-9-]+", cell.name) for cell in ALL)


def test_every_recipe_is_in_the_table_of_recipes_on_both_data_sets_for_five_minutes() -> None:
    every = {
        f"{name}/{key}"
        for name in gans.gan_names()
        for key in gans.load_gan(name).recipes
        if key != "tiny"
    } - {"r3gan/stacked-mnist", "projected/images"}  # for images of three channels, for pictures
    for name in ("mnist", "fashion-mnist"):
        there = [cell for cell in cells.recipes() if cell.data == name]
        assert {cell.recipe for cell in there} == every
        assert {(cell.length, cell.judged_on, cell.n) for cell in there} == {
            (Length(5, "minutes"), name, 10_000)
        }
    extractors = {(cell.data, cell.extractor) for cell in cells.recipes()}
    assert extractors == {("mnist", "digits"), ("fashion-mnist", "classifier:fashion-mnist")}


def test_flagship_is_trained_with_three_seeds_and_judged_on_mnist_alone() -> None:
    seeds: dict[tuple[str, str], list[int]] = {}
    for cell in cells.flagship():
        seeds.setdefault((cell.data, str(cell.length)), []).append(cell.seed)
        assert (cell.recipe, cell.judged_on, cell.extractor, cell.n) == (
            "r3gan/digits",
            "mnist",
            "digits",
            10_000,
        )
    three, one = [0, 1, 2], [0]
    assert seeds == {
        ("mnist", "1 minute"): three,
        ("mnist", "5 minutes"): three,
        ("mnist", "60 minutes"): one,
        ("mnist-5k", "1 minute"): three,
        ("mnist-5k", "5 minutes"): three,
    }


@pytest.mark.parametrize("recipe", [recipe for recipe in cells.SYSTEMS if recipe != "dcgan/64"])
def test_source_systems_are_trained_for_the_whole_schedule(recipe: str) -> None:
    train = gans.find_recipe(recipe)[2].train
    asked = cells.SYSTEMS[recipe].schedule
    wanted = Interval.parse(train.length).images(train.batch, 60_000)
    assert Interval(asked.amount, asked.unit).images(train.batch, 60_000) == wanted


def test_each_system_is_followed_by_the_flagship_with_part_of_its_time() -> None:
    made = list(cells.sources())
    for system, ours in zip(made[::2], made[1::2], strict=True):
        part = 1 if system.recipe == "mlp/batchnorm" else 1 / 20
        assert system.plain
        assert (ours.recipe, ours.data, ours.length) == (
            "r3gan/digits",
            "mnist",
            Share(part, system.name),
        )


def test_scaled_cells_are_short() -> None:
    small = {str(cell): figures.scaled(cell, 0.01) for cell in ALL}
    assert small["sources/mlp-relu"].length == Length(0.5, "epochs")
    assert small["flagship/mnist-60min-seed0"].length == Length(0.6, "minutes")
    assert small["flagship/mnist-1min-seed0"].length == Length(measure.MIN_MINUTES, "minutes")
    assert all(cell.n <= 200 for cell in small.values())
