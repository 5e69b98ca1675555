"""A data set before training: its contents, and what training on it here will come to."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from ganvas import data, gans
from ganvas.data.pictures import Watch, unwatched
from ganvas.data.reading import ReadingArguments
from ganvas.errors import GanvasError
from ganvas.recipe import KINDS
from ganvas.runs.request import Request
from ganvas.system import files, machine
from ganvas.system.progress import Say
from ganvas.system.text import count, first_few, printable
from ganvas.training import preflight
from ganvas.views.inspect_outlook import Outlook, foresee
from ganvas.views.inspect_sheet import save_inspection

MAX_LISTED = 20  # classes shown of a long list
MAX_SHORT = 5  # among which a reader finds the largest and the smallest
MAX_SIZES = 3  # of the most frequent ones
MAX_GROUPS, MAX_IN_GROUP = 5, 4  # of duplicates

Lines = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Report:
    """The contents of `ganvas data inspect`.

    sheet: path of the sheet.
    recipe: full name of the recipe to train with.
    outlook: the cost of a training and what will come of it; None if it was not measured.
    no_cost: why it could not be.
    """

    found: data.Inspection
    sheet: str
    recipe: str
    outlook: Outlook | None = None
    no_cost: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.found.warnings + (self.outlook.warnings if self.outlook else ())

    def to_json(self) -> dict[str, Any]:
        found, outlook = vars(self.found).copy(), dict.fromkeys(_names(Outlook))
        outlook |= vars(self.outlook) if self.outlook else {}
        del found["dataset"], outlook["text"]
        found |= {"trained_as": self.found.trained_as, "warnings": self.warnings}
        ours = {"sheet": self.sheet, "recipe": self.recipe, "no_cost": self.no_cost or None}
        return outlook | found | ours

    def to_text(self) -> str:
        return "\n".join((*self.contents(), *self.prospects()))

    def contents(self) -> list[str]:
        """Lines on what the data set holds."""
        found, images = self.found, self.found.dataset
        splits = ", ".join(f"{n:,} in {split}" for split, n in found.splits.items())
        shape = f"{images.height}x{images.width} {KINDS[found.channels]}"
        if images.height != images.width:
            shape += " (height x width)"
        named = (("", f"{name}: {reason}") for name, reason in found.unreadable_files)
        lines = [
            ("sizes", _sizes(found.sizes)),
            ("trained as", shape),
            ("classes", _classes(found.classes)),
            *_duplicates(found),
            ("unreadable", f"{found.unreadable:,}"),
            *named,
            *(("note", note) for note in found.notes),
            *(("warning", warning) for warning in found.warnings),
            *_strangest(found),
            ("sheet", self.sheet),
        ]
        return [f"{found.name}: {found.images:,} images ({splits})", *_format(lines)]

    def prospects(self) -> list[str]:
        """Lines on a training; none if its cost was not asked for."""
        if self.outlook is None:
            return _format([("cost", f"not measured: {self.no_cost}")] if self.no_cost else [])
        warnings = (("warning", warning) for warning in self.outlook.warnings)
        return _format((*self.outlook.text, *warnings))


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _format(lines: Lines) -> list[str]:
    return [f"{name:<12}{printable(text)}" for name, text in lines]


def _sizes(sizes: dict[str, int]) -> str:
    """One line on all sizes, as width x height. sizes: number of each 'HxW', frequent first."""
    numbers = {tuple(map(int, size.split("x"))): n for size, n in sizes.items()}
    shown = {size: f"{size[1]}x{size[0]}" for size in numbers}
    if len(sizes) == 1:
        return f"all {next(iter(shown.values()))} (width x height)"
    every = sorted(Counter(numbers).elements(), key=lambda size: (size[0] * size[1], size))
    median = statistics.median_low(range(len(every)))
    listed = ", ".join(f"{shown[size]} {numbers[size]:,}" for size in list(numbers)[:MAX_SIZES])
    return (
        f"{len(sizes):,} different (width x height): smallest {shown[every[0]]}, median"
        f" {shown[every[median]]}, largest {shown[every[-1]]}; most frequent {listed}"
    )


def _classes(classes: dict[str, int]) -> str:
    if not classes:
        return "none"
    numbers = sorted(classes.values())
    listed = f"{', '.join(map(printable, list(classes)[:MAX_LISTED]))}"
    listed += ", ..." * (len(classes) > MAX_LISTED)
    if numbers[0] == numbers[-1]:
        return f"{count(len(classes), 'class')} of {numbers[0]:,} each: {listed}"
    by_size = sorted(classes.items(), key=lambda item: -item[1])
    (large, most), (small, least) = by_size[0], by_size[-1]
    spread = f"largest {large} {most:,}, smallest {small} {least:,}"
    listed = first_few((f"{name} {n:,}" for name, n in classes.items()), MAX_LISTED)
    if len(classes) <= MAX_SHORT:
        return f"{count(len(classes), 'class')}: {listed}"
    return f"{count(len(classes), 'class')}: {printable(spread)}; {listed}"


def _duplicates(found: data.Inspection) -> Lines:
    groups = found.duplicate_groups
    kinds = Counter(group.kind for group in groups)
    phrases = {"exact": "of equal pictures", "near": "of nearly equal pictures"}
    told = [f"{count(n, 'group')} {phrases[kind]}" for kind, n in sorted(kinds.items())]
    lines = [("duplicates", "; ".join((f"{found.duplicates:,}", *told)))]
    for group in groups[:MAX_GROUPS]:
        parts = f" in {' and '.join(dict.fromkeys(group.splits))}" * group.in_both_parts
        labels = f", labels {first_few(dict.fromkeys(group.labels), 3)}" * group.labels_differ
        named = first_few(group.files, MAX_IN_GROUP)
        lines.append(("", f"{group.kind}{parts}{labels}: {named}"))
    if len(groups) > MAX_GROUPS:
        lines.append(("", f"and {count(len(groups) - MAX_GROUPS, 'more group')} (--json has all)"))
    return lines


def _strangest(found: data.Inspection) -> Lines:
    return [
        ("unusual" if i == 1 else "", f"{i}  {odd.file}: {odd.reason}")
        for i, odd in enumerate(found.strangest, 1)
    ]


def inspect_data(
    what: str | os.PathLike[str],
    *,
    recipe: str | None = None,
    minutes: float | None = None,
    out: str | os.PathLike[str] | None = None,
    cost: bool = True,
    say: Say = lambda line: None,
    watch: Watch = unwatched,
    **options: Unpack[ReadingArguments],
) -> Report:
    """Count the images of a data set, write a sheet of them, and measure what training will cost.

    what: a data set's name or a path.
    recipe: the recipe to train with; None for the one that `ganvas train` takes for such data.
    minutes: the planned length; None for the recipe's.
    out: a .png; by default inspect.png, or with a number if there is one.
    cost: False to leave out what takes longer.
    say: called with the lines of each part of the report, as soon as they are known.
    watch: shows the progress of reading.
    options: how images are read, as for `ganvas.train`.

    A cost that cannot be measured is no error: the report says why. Raises DataError, SettingError
    or RunError.
    """
    path = _sheet_path(out)
    request = Request.of(recipe=recipe, data=what, minutes=minutes, **options)
    device = machine.pick_device("auto")
    sides = preflight.sides_to_read(request, device)
    found = data.count_dataset(str(request.data), watch=watch, **sides, **vars(request.reading))
    save_inspection(path, found.dataset, found.strangest)
    name = gans.find_recipe(preflight.recipe_for(request, found.dataset))[0]
    report = Report(found, str(path), name)
    say("\n".join(report.contents()))
    if cost:
        report = _with_cost(report, request, device)
        say("\n".join(report.prospects()))
    return report


def _sheet_path(out: str | os.PathLike[str] | None) -> Path:
    """The path of the sheet, which can be written. Raises SettingError or RunError."""
    if out is None:
        names = (f"inspect{f'-{n}' if n > 1 else ''}.png" for n in range(1, 10**6))
        return next(path for path in map(Path, names) if not path.exists())
    path = Path(out)
    files.refuse_ending(path, "the sheet is a PNG", ".png")
    if path.parent.is_dir():
        files.refuse_unwritable(path)
    return path


def _with_cost(report: Report, request: Request, device: str) -> Report:
    from ganvas.training.cost import measure_cost, out_of_memory  # slow, and not always needed

    images = report.found.dataset
    try:
        with out_of_memory():
            prepared = preflight.prepare(request, device, dataset=images)
            machine.prepare_cpu()
            outlook = foresee(prepared, measure_cost(prepared), len(images))
    except GanvasError as error:
        return dataclasses.replace(report, no_cost=str(error))
    return dataclasses.replace(report, outlook=outlook, no_cost="")
