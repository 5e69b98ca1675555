"""The speed of training: ganvas against plain tutorial loops, and each recipe by itself.

    python benchmarks/speed.py [--seconds 5] [--rounds 5] [--only RECIPE] [--json]

The first table compares rates in real images a second, medians over the rounds. Both sides run in
this process in turns, on the same images: MNIST if $GANVAS_DATA or the cache has it, else the
embedded digits, written as MNIST's files. ganvas runs the loop of `train()` with its draws,
schedules, log and TensorBoard, with the threads and precision that `train()` chose. The other side
is plain.py, or textbook.py for recipes without a tutorial, with PyTorch's default threads. Neither
draws sheets or saves states. Run it on an idle machine.

Two rows compare with given rates, which are not measured here, both from a machine with two cores:
- The Keras source's own loop took 127 ms a step of 32 real images, 253 images a second: 4 times
  that is the target.
- A torchgan DCGAN of width 32 on 32x32 grey images in batches of 64 took 329 images a second: the
  target is 1.4 times that.

The second table has every recipe but the tiny ones at its native size, each measured by `ganvas
bench` in a process of its own, so that memory is the recipe's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

import ganvas
import plain
import textbook
from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.doctor.log_summary import RunInfo
from ganvas.doctor.monitor import Monitor
from ganvas.runs.run import Run
from ganvas.system.machine import cores
from ganvas.system.paths import data_root
from ganvas.system.progress import Progress
from ganvas.training.benchmark import Warmup
from ganvas.training.logger import Logger
from ganvas.training.loop import take_step


@dataclass
class Comparison:
    """A row of the first table.

    ganvas, other: real images a second, one number a round, or one that is given.
    """

    recipe: str
    target: float | None = None
    against: str = "the plain loop"
    size: tuple[int, int] | None = None
    data: str = "mnist"
    threads: int = 0
    precision: str = ""
    ganvas: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ganvas) / statistics.median(self.other)


TEXTBOOK = "a textbook loop"
LOOPS = plain.SYSTEMS | textbook.SYSTEMS
COMPARISONS = (
    Comparison("mlp/relu", 2.5),
    Comparison("mlp/leaky", 3.0),
    Comparison("mlp/batchnorm", 2.0),
    Comparison("cgan/digits", 2.0),
    Comparison("dcgan/64", 1.3),
    *(
        Comparison(
            name, against=TEXTBOOK, data="stacked-mnist" if name == textbook.STACKS else "mnist"
        )
        for name in textbook.SYSTEMS
    ),
    Comparison("mlp/batchnorm", 4.0, "the Keras source's loop (given)", other=[253.0]),
    Comparison("dcgan/64", 1.4, "a torchgan DCGAN (given)", size=(32, 32), other=[329.0]),
)
SETTINGS: dict[str, dict[str, Any]] = {"dcgan/64": {"model.width": 32}}


def mnist_root(temporary: Path) -> Path:
    """The folder in which torchvision finds MNIST.

    The user's own, or `temporary`, to which the embedded digits are written as MNIST's four files.
    """
    parts = {"train": "train", "test": "t10k"}
    raw = data_root() / "MNIST" / "raw"
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    if all((raw / f"{part}-{kind}").is_file() for part in parts.values() for kind in kinds):
        return data_root()
    write_mnist(temporary, "train", data.load_dataset("mnist-5k"))
    write_mnist(temporary, "t10k", data.load_dataset("mnist-5k", split="test"))
    return temporary


def write_mnist(root: Path, part: str, dataset: Dataset) -> None:
    """Write grey images with labels as the IDX files that torchvision's MNIST reads.

    part: "train" or "t10k".
    """
    assert dataset.labels is not None
    assert dataset.channels == 1
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    images, labels = (
        dataset.images[:, 0].contiguous().numpy(),
        dataset.labels.to(torch.uint8).numpy(),
    )
    for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (raw / f"{part}-{kind}").write_bytes(head + array.tobytes())


def ganvas_steps(run: Run, dataset: Dataset) -> Generator[int]:
    """The loop of `train()` without sheets and saved states.

    Each next() takes a step and returns its number of real images.
    """
    file = run.card.gan_file()
    recipe, plan = run.card.settings(file), dataclasses.replace(run.card.plan, images=10**9)
    gan = file.build(recipe.model, run.card.image)
    warmup = Warmup(gan, recipe.train, dataset, "cpu", run.card.precision)
    learner, batches = warmup.learner, warmup.batches
    progress = Progress(quiet=True)
    progress.begin(plan.images, 0)
    record = Logger(
        run, learner, dataset, run.sampler(), progress, None, Monitor(RunInfo(run.path, run.card))
    )
    images_seen, began = 0, time.monotonic()
    try:
        while True:
            learner.set_rates(plan, images_seen)
            logits = take_step(learner, batches, images_seen)
            before, images_seen = images_seen, images_seen + plan.batch
            record.step(logits, before, images_seen, time.monotonic() - began)
            yield plan.batch
    finally:
        if record.board is not None:
            record.board.close()


def rate(steps: Iterator[int], seconds: float, threads: int, flush_denormal: bool) -> float:
    """Measure real images a second for `seconds`, after two steps to warm up."""
    torch.set_num_threads(threads)
    # for this thread alone; those of the pool keep the value that they were started with
    torch.set_flush_denormal(flush_denormal)
    for _ in range(2):
        next(steps)
    images, began = 0, time.perf_counter()
    while True:
        images += next(steps)
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return images / elapsed


def measured(row: Comparison, root: Path, out: Path, rounds: int, seconds: float) -> Comparison:
    """Return the row with rates measured in turns: ganvas's and, unless given, the plain loop's."""
    default_threads = torch.get_num_threads()
    # a run of one step, made as a user would, so that `train()` chooses the threads
    run = ganvas.train(
        row.recipe,
        data=row.data,
        data_dir=root,
        size=row.size,
        settings=SETTINGS.get(row.recipe),
        images=1.0,
        device="cpu",
        out=out,
        quiet=True,
    )
    dataset = data.load_dataset(row.data, data_dir=root, size=row.size)
    other = list(row.other)
    theirs = None if other else (step.images for step in LOOPS[row.recipe](root).steps)
    ours_rates = []
    with closing(ganvas_steps(run, dataset)) as ours:
        for _ in range(rounds):
            if theirs is not None:
                other.append(rate(theirs, seconds, default_threads, flush_denormal=False))
            ours_rates.append(rate(ours, seconds, run.card.threads, flush_denormal=True))
    torch.set_num_threads(default_threads)
    return dataclasses.replace(
        row, threads=run.card.threads, precision=run.card.precision, ganvas=ours_rates, other=other
    )


def bench(recipe: str, seconds: float) -> dict[str, Any]:
    """The output of `ganvas bench RECIPE --json`: see ganvas.training.benchmark.Bench."""
    command = [sys.executable, "-m", "ganvas", "bench", recipe, "--json", "--seconds", str(seconds)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    row: dict[str, Any] = json.loads(out)
    return row


def comparison_table(rows: list[Comparison], images: str) -> Table:
    table = Table(title=f"Real images a second, on {images}", title_justify="left")
    for heading in ("recipe", "threads", "bits", "ganvas", "other", "ratio", "target"):
        table.add_column(heading, justify="left" if heading == "recipe" else "right")
    table.add_column("against")
    for row in rows:
        table.add_row(
            row.recipe,
            str(row.threads),
            row.precision,
            f"{statistics.median(row.ganvas):,.0f}",
            f"{statistics.median(row.other):,.0f}",
            f"{row.ratio:.2f}",
            "-" if row.target is None else f"{row.target:g}",
            row.against,
        )
    return table


def recipe_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="Every recipe at its native size (of peak: share of a large matrix product's speed)",
        title_justify="left",
    )
    table.add_column("recipe")
    table.add_column("images")
    for heading in ("batch", "threads", "images/s", "MMACs/image", "of peak", "peak MB"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["recipe"],
            row["image"],
            str(row["batch"]),
            str(row["threads"]),
            f"{row['images_per_second']:,.0f}",
            f"{row['macs_per_image'] / 1e6:,.1f}",
            f"{row['peak_fraction']:.0%}",
            f"{row['peak_rss_mb']:,.0f}",
        )
    return table


def seconds(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected more than 0")
    return float(text)


def rounds(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return int(text)


def main() -> None:
    recipes = textbook.RECIPES
    parser = argparse.ArgumentParser(description="Measure how fast ganvas trains on this machine.")
    parser.add_argument(
        "--seconds", type=seconds, default=5.0, help="length of a round (default 5)"
    )
    parser.add_argument("--rounds", type=rounds, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--only", choices=recipes, metavar="RECIPE", help="a single recipe: " + ", ".join(recipes)
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of the tables"
    )
    options = parser.parse_args()
    progress = Console(stderr=True, highlight=False)

    machine = {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": cores(),
        # near 0 on an idle machine; else the rates mean little
        "load": round(psutil.getloadavg()[0], 2),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "ganvas": ganvas.__version__,
    }
    # First, since a process's peak memory includes its parent's, which the comparisons make large.
    benches = []
    for recipe in recipes:
        if options.only in (None, recipe):
            progress.print(f"ganvas bench {recipe} ...")
            benches.append(bench(recipe, options.seconds))
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        root = mnist_root(Path(folder))
        images = "MNIST" if root != Path(folder) else "the embedded digits"
        for number, row in enumerate(COMPARISONS):
            if options.only in (None, row.recipe):
                progress.print(f"{row.recipe} against {row.against} ...")
                comparisons.append(
                    measured(row, root, Path(folder, str(number)), options.rounds, options.seconds)
                )

    if options.json:
        rows = [dataclasses.asdict(row) | {"ratio": row.ratio} for row in comparisons]
        print(
            json.dumps(
                {"machine": machine, "images": images, "comparisons": rows, "recipes": benches},
                indent=2,
            )
        )
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if comparisons:
        console.print(comparison_table(comparisons, images))
    console.print(recipe_table(benches))


if __name__ == "__main__":
    main()
