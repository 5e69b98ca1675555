"""Verbs that say what there is: recipes, data, machine, speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ganvas.commands.options import (
    AS_THEY_ARE,
    Pictures,
    Settings,
    Signed,
    Whole,
    check_threads,
    positive,
    print_json,
    print_table,
    recipe_and_data,
)


def recipes(*, json: bool = False) -> None:
    """List the recipes that are built in.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from ganvas import gans

    rows = [
        {
            "recipe": f"{name}/{key}",
            "summary": recipe.summary,
            "native": str(recipe.native),
            "length": recipe.train.length,
        }
        for name in gans.names()
        for key, recipe in gans.load(name).recipes.items()
    ]
    if json:
        print_json(rows)
        return
    print_table(
        ["recipe", "native images", "length", ""], [[r["recipe"], r["native"], r["length"], r["summary"]] for r in rows]
    )


def show(
    recipe: str = "r3gan/digits", /, *,
    json: bool = False,
    data: str | None = None,
    set_: Settings = None,
    pictures: Pictures = AS_THEY_ARE,
) -> None:  # fmt: skip
    """Print a recipe's resolved settings and the layers of its networks, with shapes and parameter counts.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file.
    json
        Print one JSON document.
    data
        Shape the networks for this data set, instead of the recipe's native images.
    set_
        Change settings: path=value ...
    """
    from ganvas.views import recipe_summary as showing

    name, file, changed, spec, _ = recipe_and_data(recipe, data, set_, pictures)
    summary = showing.summarise(name, file, changed, spec)
    if json:
        print_json(summary.to_json())
    else:
        print(summary.to_text())


def bench(
    recipe: str = "r3gan/digits", /, *,
    json: bool = False,
    data: str | None = None,
    set_: Settings = None,
    pictures: Pictures = AS_THEY_ARE,
    threads: Annotated[int | None, Whole] = None,
    seconds: Annotated[float, Signed] = 5.0,
) -> None:  # fmt: skip
    """Measure how fast a recipe trains on this machine.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file.
    json
        Print one JSON document.
    data
        Train on this data set, instead of random images of the recipe's native shape.
    set_
        Change settings: path=value ...
    threads
        CPU threads. Default: the fastest.
    seconds
        How long to measure the step.
    """
    from ganvas.system import machine
    from ganvas.training import benchmark, preflight

    check_threads(threads)
    positive("--seconds", seconds)
    name, file, changed, spec, dataset = recipe_and_data(recipe, data, set_, pictures)
    machine.prepare_cpu()
    preflight.networks(file, changed, spec)
    images = dataset or benchmark.random_images(spec, 4 * changed.train.batch)
    choice = benchmark.choose(file, changed, spec, images, "cpu", threads=threads or 0)
    figures = benchmark.bench(name, choice, spec, seconds)
    if json:
        print_json(figures)
        return
    print_table(
        ["", ""],
        [
            ["recipe", f"{name}, {spec}, batches of {figures.batch}"],
            ["threads", str(figures.threads)],
            ["precision", figures.precision],
            ["real images/s", f"{figures.images_per_second:,.0f}"],
            ["a step", f"{figures.batch / figures.images_per_second * 1e3:.2f} ms: "
             + ", ".join(f"{part} {ms:.2f}" for part, ms in figures.parts.items())],
            ["multiply-adds an image", f"{figures.macs_per_image / 1e6:,.2f} M"],
            ["share of matmul peak", f"{figures.peak_fraction:.0%}"],
            ["peak memory", f"{figures.peak_rss_mb:,.0f} MB"],
        ],
    )  # fmt: skip


def inspect(
    what: str, /, *,
    json: bool = False,
    recipe: str | None = None,
    out: Path = Path("inspect.png"),
    pictures: Pictures = AS_THEY_ARE,
) -> None:  # fmt: skip
    """Say what a data set holds and what training on it will cost here; write a sheet of it.

    Parameters
    ----------
    what
        A data set's name or a path.
    json
        Print one JSON document.
    recipe
        The recipe whose training to measure. Default: what train would take.
    out
        Where the sheet is written.
    """
    from ganvas.views import inspect_data

    report = inspect_data.inspect(
        what,
        recipe=recipe,
        out=out,
        size=pictures.sides,
        fit=pictures.fit or "crop",
        channels=pictures.channels,
        data_dir=pictures.data_dir,
    )
    if json:
        print_json(report.to_json())
    else:
        print(report.to_text())


def env(*, json: bool = False) -> None:
    """Print versions, machine and folders, for bug reports.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from ganvas.views import environment

    facts = environment.describe()
    if json:
        print_json(facts)
        return
    print_table(["", ""], [[name, str(value)] for name, value in facts.items()])
