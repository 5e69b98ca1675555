"""`ganvas bench`."""

from __future__ import annotations

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


def bench(
    recipe: str = "r3gan/digits",
    /,
    *,
    json: bool = False,
    data: str | None = None,
    set_: Settings = None,
    pictures: Pictures = AS_THEY_ARE,
    threads: Annotated[int | None, Whole] = None,
    seconds: Annotated[float, Signed] = 5.0,
) -> None:
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
    figures = benchmark.benchmark(name, choice, spec, seconds)
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
            [
                "a step",
                f"{figures.batch / figures.images_per_second * 1e3:.2f} ms: "
                + ", ".join(f"{part} {ms:.2f}" for part, ms in figures.parts.items()),
            ],
            ["multiply-adds an image", f"{figures.macs_per_image / 1e6:,.2f} M"],
            ["share of matmul peak", f"{figures.peak_fraction:.0%}"],
            ["peak memory", f"{figures.peak_rss_mb:,.0f} MB"],
        ],
    )
