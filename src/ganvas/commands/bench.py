"""`ganvas bench`."""

from __future__ import annotations

from typing import Annotated

from ganvas.commands.options import (
    Settings,
    prepare_recipe,
    print_json,
    print_table,
)
from ganvas.data.reading import AS_STORED, SIGNED, Reading
from ganvas.runs.train_options import MAX_THREADS, ThreadsOption, check_positive


def bench(
    recipe: str = "r3gan/digits",
    /,
    *,
    data: str | None = None,
    set_: Settings = None,
    reading: Reading = AS_STORED,
    threads: ThreadsOption = None,
    seconds: Annotated[float, SIGNED] = 5.0,
    json: bool = False,
) -> None:
    """Measure how fast a recipe trains on this machine.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file.
    data
        A data set to train on. Default: random images of the recipe's native size.
    set_
        Change settings of the recipe: path=value ...
    seconds
        Time for measuring steps.
    json
        Print one JSON document.
    """
    from ganvas.system import machine
    from ganvas.training import benchmark

    check_positive("--threads", threads, MAX_THREADS)
    check_positive("--seconds", seconds)
    prepared = prepare_recipe(recipe, data, set_, reading, "cpu")
    machine.prepare_cpu()
    choice = benchmark.choose(prepared, threads=threads or 0)
    result = benchmark.benchmark(prepared, choice, seconds)
    if json:
        print_json(result)
        return
    parts = ", ".join(f"{part} {ms:.2f}" for part, ms in result.parts.items())
    print_table(
        ["", ""],
        [
            ["recipe", f"{result.recipe}, {result.image}, batches of {result.batch}"],
            ["threads", str(result.threads)],
            ["precision", result.precision],
            ["real images/s", f"{result.images_per_second:,.0f}"],
            ["step", f"{result.batch / result.images_per_second * 1e3:.2f} ms: {parts}"],
            ["multiply-adds per image", f"{result.macs_per_image / 1e6:,.2f} M"],
            ["share of matmul peak", f"{result.peak_fraction:.0%}"],
            ["peak memory", f"{result.peak_rss_mb:,.0f} MB"],
        ],
    )
