"""A data set before training: its contents, and the cost of training on it on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.data.load import Reading
from ganvas.recipe import KINDS, Interval
from ganvas.runs.request import Request
from ganvas.sampling import sheets
from ganvas.system import files, machine
from ganvas.system.paths import expanded
from ganvas.system.progress import duration
from ganvas.training import benchmark, preflight

SHEET_COLUMNS, SHEET_ROWS = 16, 8
MAX_LISTED = 20  # names shown of a long list
DEFAULT_READING = Reading()


@dataclass(frozen=True)
class Report:
    """The contents of `ganvas data inspect`.

    seconds_per_kimg: of training, per 1,000 real images.
    peak_rss_mb: of memory, including the data.
    whole_training: the recipe's length and about how long it takes.
    """

    found: data.Inspection
    recipe: str
    threads: int
    seconds_per_kimg: float
    peak_rss_mb: float
    whole_training: str
    sheet: Path

    def to_json(self) -> dict[str, Any]:
        found = dict(vars(self.found))
        del found["dataset"]
        return {
            **found,
            "recipe": self.recipe,
            "threads": self.threads,
            "seconds_per_kimg": self.seconds_per_kimg,
            "peak_rss_mb": self.peak_rss_mb,
            "sheet": str(self.sheet),
        }

    def to_text(self) -> str:
        found = self.found
        splits = ", ".join(f"{count:,} in {split}" for split, count in found.splits.items())
        sizes = _listed([f"{count:,} of {size}" for size, count in found.sizes.items()])
        classes = _listed([f"{name} {count:,}" for name, count in found.classes.items()])
        kind = KINDS[found.channels]
        lines = [
            f"{found.name}: {found.images:,} images ({splits})",
            f"sizes       {sizes}",
            f"trained as  {found.dataset.height}x{found.dataset.width} {kind}",
            f"classes     {classes or 'none'}",
            f"duplicates  {found.duplicates:,}",
            f"unreadable  {found.unreadable:,}",
            *(f"            {name}: {reason}" for name, reason in found.unreadable_files),
            *(f"note        {note}" for note in found.notes),
            (
                f"cost        {self.recipe} on {self.threads}"
                f" thread{'s' if self.threads > 1 else ''}: {self.seconds_per_kimg:.2f} s per 1,000"
                f" images, {self.whole_training}, {self.peak_rss_mb:,.0f} MB of memory"
            ),
            f"sheet       {self.sheet}",
        ]
        return "\n".join(lines)


def _listed(items: list[str]) -> str:
    if len(items) <= MAX_LISTED:
        return ", ".join(items)
    return f"{len(items):,}: {', '.join(items[:MAX_LISTED])} and {len(items) - MAX_LISTED:,} more"


def inspect_data(
    what: str,
    *,
    recipe: str | None = None,
    out: Path = Path("inspect.png"),
    reading: Reading = DEFAULT_READING,
) -> Report:
    """Count the images of a data set, time training steps on them, and write a sheet of them.

    what: a data set's name or a path.
    recipe: the recipe to time; by default the one that `ganvas train` takes for such data.
    out: a .png, for the first images, evenly spread.

    Raises DataError, SettingError or RunError.
    """
    files.refuse_ending(out, "the sheet is a PNG", ".png")
    what, reading = expanded(what), reading or Reading()
    recipe = recipe or gans.default_recipe(what)
    native = gans.find_recipe(recipe)[2].native
    found = data.count_dataset(
        what,
        size=reading.size,
        native=(native.height, native.width),
        fit=reading.fit or "crop",
        channels=reading.channels,
        data_dir=reading.data_dir,
    )
    dataset = found.dataset
    prepared = preflight.prepare(
        Request(recipe=recipe, data=what), "cpu", preset=False, dataset=dataset
    )
    machine.prepare_cpu()
    choice = benchmark.choose(prepared)
    train = prepared.recipe.train
    length, per_image = Interval.parse(train.length), choice.seconds / train.batch
    seconds = (
        length.amount * 60
        if length.unit == "minutes"
        else length.images(train.batch, len(dataset)) * per_image
    )
    _write_sheet(out, dataset)
    return Report(
        found=found,
        recipe=prepared.name,
        threads=choice.threads,
        seconds_per_kimg=per_image * 1000,
        peak_rss_mb=machine.peak_rss_mb(),
        whole_training=f"{length} in about {duration(seconds)}",
        sheet=out,
    )


def _write_sheet(out: Path, dataset: Dataset) -> None:
    count = SHEET_COLUMNS * SHEET_ROWS
    images = dataset.images[:: max(1, len(dataset) // count)][:count].permute(0, 2, 3, 1)
    scale = sheets.viewing_scale(dataset.height, dataset.width)
    sheets.save_png(out, sheets.grid(images.numpy(), SHEET_COLUMNS, gap=2, scale=scale))
