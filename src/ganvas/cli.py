"""The command line: one function a verb. Torch and all that needs it are imported inside the verbs, so --help is instant.

Results go to stdout, progress and notices to stderr. Exit codes: 0 done, 2 bad input (one line says which), 130 stopped
by Ctrl-C and 143 by SIGTERM, with the state saved; 1, with a traceback, is a bug of ganvas's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter

from ganvas.errors import GanvasError
from ganvas.files import REASONS
from ganvas.options import AS_THEY_ARE, Device, Pictures, Settings, Signed, Whole, positive, recipe_and_data
from ganvas.version import __version__

app = App(
    name="ganvas", version=__version__, help_format="plaintext", default_parameter=Parameter(negative=()),
    help="Train, judge, sample and serve generative adversarial networks on your own images.",
)  # fmt: skip
data_app = App(name="data", help="Look at data sets before training on them.")
demo_app = App(name="demo", help="Small demonstrations of how GANs work.")
app.command(data_app)
app.command(demo_app)


@app.command
def train(
    recipe: str | None = None, /, *,
    data: str | None = None,
    images: Annotated[float | None, Signed] = None,
    epochs: Annotated[float | None, Signed] = None,
    minutes: Annotated[float | None, Signed] = None,
    seed: Annotated[int | None, Whole] = None,
    out: Path | None = None,
    set_: Settings = None,
    config: Path | None = None,
    pictures: Pictures = AS_THEY_ARE,
    device: Device | None = None,
    precision: Literal["32", "bf16", "fp16"] | None = None,
    threads: Annotated[int | None, Whole] = None,
    processes: Annotated[int | None, Whole] = None,
    fresh: bool = False,
    verbose: bool = False,
) -> None:  # fmt: skip
    """Train a GAN, or go on with a run that is not finished.

    The same command again goes on where it stopped. The run's directory is printed last.

    Parameters
    ----------
    recipe
        A recipe's name (see ganvas recipes) or a GAN file: my_gan.py, my_gan.py:tiny. Default: cgan/digits.
    data
        A data set's name, or a path: a folder of pictures, .zip, .npz or IDX files. Default: mnist-5k.
    images
        Stop after so many training images.
    epochs
        Stop after so many passes over the data.
    minutes
        Stop after so much wall time, start-up and saving included.
    seed
        Of all random draws. Default: 0.
    out
        The run's directory. Default: the next number under runs/.
    set_
        Change settings of the recipe: path=value ..., such as train.batch=32 (see ganvas show).
    config
        Take all this from a TOML file, or from another run's recipe.json to repeat it.
    device
        Default: auto.
    precision
        32 (default), or mixed with bf16 or fp16.
    threads
        CPU threads. Default: the fastest, measured once and stored with the run.
    processes
        Train on so many processes of this machine, one a GPU, sharing each batch.
    fresh
        Start anew even where an unfinished run could go on; an earlier run in --out is set aside, and made once more
        where no recipe is named.
    verbose
        Print every line of the log.
    """
    from ganvas import launch
    from ganvas.recipe import parse_assignments

    run = launch.train(
        recipe, data=data, images=images, epochs=epochs, minutes=minutes, seed=seed, out=out,
        settings=parse_assignments(set_ or []), config=config, size=pictures.sides, fit=pictures.fit,
        channels=pictures.channels, data_dir=pictures.data_dir, device=device, precision=precision, threads=threads,
        processes=processes, fresh=fresh, verbose=verbose, started=_process_start(),
    )  # fmt: skip
    print(run.path)


@app.command
def sample(
    source: Path, /, *,
    n: Annotated[int | None, Whole] = None,
    labels: Annotated[str | None, Signed] = None,
    seed: Annotated[int, Whole] = 0,
    out: Path = Path("result.png"),
    columns: Annotated[int | None, Whole] = None,
    scale: Annotated[int | None, Whole] = None,
    gan: Path | None = None,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Make images with a trained generator.

    Parameters
    ----------
    source
        A run's directory or a generator.safetensors.
    n
        How many images, going through the classes where there are any.
    labels
        One class a character (20231223), names with commas (cat,dog), or balanced.
    seed
        Of the latents: image k of a seed is always the same.
    out
        .png (a row for a sequence, else a sheet), .npz, .zip, or a new folder. Default: result.png.
    columns
        Images in a row of the PNG.
    scale
        Pixels of the PNG for each pixel of an image. Default: 4.
    gan
        The GAN's own file, where it is one of yours.
    device
        Default: cpu.
    """
    from ganvas.launch import pick_device
    from ganvas.run import Run
    from ganvas.sample import draw, kind_of, open_generator

    kind_of(out)  # says now, before images are made, what cannot be written
    path, where = None if gan is None else str(gan), pick_device(device)
    sampler = Run.open(source, gan=path).sampler(where) if source.is_dir() else open_generator(source, path, where)[0]
    print(draw(sampler, n=n, labels=labels, seed=seed).save(out, columns=columns, scale=scale))


@app.command
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
        _print_json(rows)
        return
    _table(
        ["recipe", "native images", "length", ""], [[r["recipe"], r["native"], r["length"], r["summary"]] for r in rows]
    )


@app.command
def show(
    recipe: str = "cgan/digits", /, *,
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
    from ganvas import show as showing

    name, file, changed, spec, _ = recipe_and_data(recipe, data, set_, pictures)
    summary = showing.summarise(name, file, changed, spec)
    if json:
        _print_json(summary.to_json())
    else:
        print(summary.to_text())


@app.command
def bench(
    recipe: str = "cgan/digits", /, *,
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
    from ganvas import measure

    positive("--threads", threads)
    positive("--seconds", seconds)
    name, file, changed, spec, dataset = recipe_and_data(recipe, data, set_, pictures)
    rehearsal = measure.Rehearsal(
        file, changed, spec, dataset or measure.random_images(spec, 4 * changed.train.batch), "cpu"
    )
    figures = measure.bench(name, rehearsal, spec, threads, seconds)
    if json:
        _print_json(figures)
        return
    _table(
        ["", ""],
        [
            ["recipe", f"{name}, {spec}, batches of {figures.batch}"],
            ["threads", str(figures.threads)],
            ["real images/s", f"{figures.images_per_second:,.0f}"],
            ["a step", f"{figures.batch / figures.images_per_second * 1e3:.2f} ms: "
             + ", ".join(f"{part} {ms:.2f}" for part, ms in figures.parts.items())],
            ["multiply-adds an image", f"{figures.macs_per_image / 1e6:,.2f} M"],
            ["share of matmul peak", f"{figures.peak_fraction:.0%}"],
            ["peak memory", f"{figures.peak_rss_mb:,.0f} MB"],
        ],
    )  # fmt: skip


@data_app.command
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
        The recipe whose training to measure. Default: cgan/digits, or mlp/leaky without labels.
    out
        Where the sheet is written.
    """
    from ganvas import inspecting

    report = inspecting.inspect(
        what,
        recipe=recipe,
        out=out,
        size=pictures.sides,
        fit=pictures.fit or "crop",
        channels=pictures.channels,
        data_dir=pictures.data_dir,
    )
    if json:
        _print_json(report.to_json())
    else:
        print(report.to_text())


@demo_app.command(name="1d")
def demo_1d(*, out: Path = Path("."), seed: Annotated[int, Whole] = 0, steps: Annotated[int, Whole] = 1500) -> None:
    """Draw a GAN learning a density in one dimension: demo-1d.png and demo-1d.gif.

    Parameters
    ----------
    out
        The folder for both pictures.
    seed
        Of the demonstration's random draws.
    steps
        Training steps.
    """
    from ganvas import demo

    for path in demo.demo_1d(out, seed=seed, steps=steps):
        print(path)


@app.command
def env(*, json: bool = False) -> None:
    """Print versions, machine and folders, for bug reports.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from ganvas import environment

    facts = environment.describe()
    if json:
        _print_json(facts)
        return
    _table(["", ""], [[name, str(value)] for name, value in facts.items()])


def _process_start() -> float:
    """When this command was started, in seconds since 1970: what --minutes counts from."""
    import psutil

    return float(psutil.Process().create_time())


def _print_json(document: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(document)).decode())


def _table(columns: list[str], rows: Iterable[Iterable[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD if any(columns) else None, show_header=any(columns))
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def main(arguments: list[str] | None = None) -> None:
    """The `ganvas` command. Prints what the user can mend in one line and exits 2."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None) -> int:
    """Do what the arguments say; the exit code. SystemExit (of --help, or a SIGTERM) passes through."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except (GanvasError, cyclopts.CycloptsError) as error:
        print(f"ganvas: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone
        _close_stdout()
    except OSError as error:
        if error.errno not in REASONS:
            raise
        _close_stdout()
        print(f"ganvas: cannot write the output: {REASONS[error.errno]}", file=sys.stderr)
        return 2
    return 0


def _close_stdout() -> None:
    """Let Python's last flush go nowhere, instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
