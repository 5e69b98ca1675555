"""A look at a data set before training: what is in it, and what training on it will cost on this
machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganvas import data, gans
from ganvas.overrides import resolve_gamma
from ganvas.recipe import KINDS, ImageSpec, Interval
from ganvas.sampling import sheets
from ganvas.system import files, machine
from ganvas.system.paths import expanded
from ganvas.system.progress import duration
from ganvas.training import benchmark, preflight

SHEET_COLUMNS, SHEET_ROWS = 16, 8
LISTED = 20  # names that a person is shown of a long list


@dataclass(frozen=True)
class Report:
    """What `ganvas data inspect` tells. seconds_per_kimg: of training per 1,000 real images.
    peak_rss_mb: with the data."""

    found: data.Inspection
    recipe: str
    threads: int
    seconds_per_kimg: float
    peak_rss_mb: float
    whole_training: str
    sheet: Path

    def to_json(self) -> dict[str, Any]:
        found = {
            f.name: getattr(self.found, f.name)
            for f in dataclasses.fields(self.found)
            if f.name != "dataset"
        }
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
        kind = KINDS[found.channels]
        lines = [
            f"{found.name}: {found.images:,} images ({splits})",
            (
                "sizes      "
                f" {_listed([f'{count:,} of {size}' for size, count in found.sizes.items()])}"
            ),
            f"trained as  {found.dataset.height}x{found.dataset.width} {kind}",
            (
                "classes    "
                f" {_listed([f'{name} {count:,}' for name, count in found.classes.items()]) or 'none'}"
            ),
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
    if len(items) <= LISTED:
        return ", ".join(items)
    return f"{len(items):,}: {', '.join(items[:LISTED])} and {len(items) - LISTED:,} more"


def inspect_data(
    what: str,
    *,
    recipe: str | None = None,
    out: Path = Path("inspect.png"),
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    channels: Literal[1, 3, 4] | None = None,
    data_dir: Path | None = None,
) -> Report:
    """Count what is in a data set, time real training steps on it, and write a sheet of its first
    images to `out`.

    recipe: whose training to time; by default that of a training on such data.
    Raises DataError, SettingError or RunError.
    """
    files.refuse_ending(out, "the sheet is a PNG", ".png")
    what = expanded(what)
    name, file, asked = gans.find_recipe(recipe or gans.default_recipe(what))
    at_home = asked.native
    found = data.count_dataset(
        what,
        size=size,
        native=(at_home.height, at_home.width),
        fit=fit,
        channels=channels,
        data_dir=data_dir,
    )
    dataset = found.dataset
    spec = ImageSpec.of(dataset)
    settings = resolve_gamma(asked, spec)[0]
    machine.prepare_cpu()
    preflight.networks(file, settings, spec)
    choice = benchmark.choose(file, settings, spec, dataset, "cpu")
    batch, threads = settings.train.batch, choice.threads
    per_image = choice.seconds / batch
    length = Interval.parse(settings.train.length)
    whole = (
        length.images(batch, len(dataset)) * per_image
        if length.unit != "minutes"
        else length.amount * 60
    )
    some = dataset.images[:: max(1, len(dataset) // (SHEET_COLUMNS * SHEET_ROWS))][
        : SHEET_COLUMNS * SHEET_ROWS
    ]
    scale = sheets.viewing_scale(spec.height, spec.width)
    sheets.save_png(
        out, sheets.grid(some.permute(0, 2, 3, 1).numpy(), SHEET_COLUMNS, gap=2, scale=scale)
    )
    return Report(
        found=found,
        recipe=name,
        threads=threads,
        seconds_per_kimg=per_image * 1000,
        peak_rss_mb=machine.peak_rss_mb(),
        whole_training=f"{length} in about {duration(whole)}",
        sheet=out,
    )
