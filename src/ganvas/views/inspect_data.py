"""A data set before training: its contents, and the cost of training on it on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvas import data, gans
from ganvas.data.reading import Reading
from ganvas.recipe import KINDS, Interval
from ganvas.runs.request import Request
from ganvas.sampling import sheets
from ganvas.system import files, machine
from ganvas.system.paths import expanded
from ganvas.system.progress import duration
from ganvas.system.text import count, first_few
from ganvas.training import benchmark, preflight

SHEET_COLUMNS, SHEET_IMAGES = 16, 128
MAX_LISTED = 20  # names shown of a long list


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
    sheet: str

    def to_json(self) -> dict[str, Any]:
        left_out = ("found", "dataset", "whole_training")
        fields = vars(self.found) | vars(self)
        return {name: value for name, value in fields.items() if name not in left_out}

    def to_text(self) -> str:
        found = self.found
        splits = ", ".join(f"{n:,} in {split}" for split, n in found.splits.items())
        sizes = first_few((f"{n:,} of {size}" for size, n in found.sizes.items()), MAX_LISTED)
        classes = first_few((f"{name} {n:,}" for name, n in found.classes.items()), MAX_LISTED)
        total = f"{len(found.classes):,}: " * (len(found.classes) > MAX_LISTED)
        images, threads = found.dataset, count(self.threads, "thread")
        speed = f"{self.recipe} on {threads}: {self.seconds_per_kimg:.2f} s per 1,000 images"
        lines = [
            f"{found.name}: {found.images:,} images ({splits})",
            f"sizes       {sizes}",
            f"trained as  {images.height}x{images.width} {KINDS[found.channels]}",
            f"classes     {total}{classes or 'none'}",
            f"duplicates  {found.duplicates:,}",
            f"unreadable  {found.unreadable:,}",
            *(f"            {name}: {reason}" for name, reason in found.unreadable_files),
            *(f"note        {note}" for note in found.notes),
            f"cost        {speed}, {self.whole_training}, {self.peak_rss_mb:,.0f} MB of memory",
            f"sheet       {self.sheet}",
        ]
        return "\n".join(lines)


def inspect_data(what: str, *, recipe: str | None, out: Path, reading: Reading) -> Report:
    """Count the images of a data set, time training steps on them, and write a sheet of them.

    what: a data set's name or a path.
    recipe: the recipe to time; None for the one that `ganvas train` takes for such data.
    out: a .png, for the first images, evenly spread.

    Raises DataError, SettingError or RunError.
    """
    files.refuse_ending(out, "the sheet is a PNG", ".png")
    what = expanded(what)
    recipe = recipe or gans.default_recipe(what)
    native = gans.find_recipe(recipe)[2].native
    found = data.count_dataset(what, native=(native.height, native.width), **vars(reading))
    request, images = Request(recipe=recipe, data=what), found.dataset.images
    prepared = preflight.prepare(request, "cpu", preset=False, dataset=found.dataset)
    machine.prepare_cpu()
    choice = benchmark.choose(prepared)
    train = prepared.recipe.train
    length, per_image = Interval.parse(train.length), choice.seconds / train.batch
    seconds = length.amount * 60
    if length.unit != "minutes":
        seconds = length.images(train.batch, len(images)) * per_image
    shown = images[:: max(1, len(images) // SHEET_IMAGES)][:SHEET_IMAGES].permute(0, 2, 3, 1)
    sheets.save_sheet(out, shown.numpy(), SHEET_COLUMNS)
    cost, whole = per_image * 1000, f"{length} in about {duration(seconds)}"
    memory = machine.peak_rss_mb()
    return Report(found, prepared.name, choice.threads, cost, memory, whole, str(out))
