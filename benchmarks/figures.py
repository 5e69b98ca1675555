"""Make the tables of docs/figures.md and docs/pictures.md: train, judge, store results, render.

    python benchmarks/figures.py [flagship] [sources] [recipes] [modes] [pictures] [picture-sets]
    [--only TEXT] [--dry-run] [--render] [--judge]

Without names, all tables: about 44 hours on two cores, on an otherwise idle machine, seven of them
without picture-sets, which comes last. A cell of a table is one `ganvas train` and its `ganvas
evaluate`, as processes, one after another; for rivals, rivals.py trains. Cells with a result are
skipped, so the same command continues after a stop: an interrupted training begins again, and one
that was not judged yet is judged. A cell that fails does not stop the others. To measure a cell
again, delete its JSON file; to judge again, by other rules or extractors, use --judge.

Results: benchmarks/results/TABLE/CELL.json; sheets: docs/images/pictures/. Runs and logs:
runs/figures/, which can be deleted once the results exist. MNIST and Fashion-MNIST must be where
`ganvas train --data mnist` finds them. Picture sets that are missing from --sets are made by
picture_sets.py; of one that cannot be made, the cells are left out, with a line that says why.
Exit codes: 0 done, 1 a cell failed (with a line each), 2 bad input, 130 and 143 stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

import tables
from cells import TABLES, Cell, Length
from command_line import Parser, say
from ganvas.errors import GanvasError, RunError, SettingError, nearest
from ganvas.system import files
from ganvas.system.text import count
from measure import MIN_MINUTES, Places, judge_again, make_sets, measure
from result import Result, file_of


def each_cell(todo: list[Cell], work: Callable[[Cell], None]) -> list[str]:
    """Do the work of each cell, also if others fail. Returns a line for each failure."""
    failures: list[str] = []
    for k, cell in enumerate(todo):
        left = sum(each.minutes for each in todo[k:])
        say(f"[{k + 1} of {len(todo)}] {cell}: about {hours(left)} left by the plan")
        try:
            work(cell)
        except (GanvasError, OSError, KeyError, ValueError) as error:
            failures.append(
                f"{cell} failed: {' '.join(str(error).split()) or type(error).__name__}"
            )
            say(f"  {failures[-1]}")
    return failures


def keep(result: Result, cell: Cell, places: Places) -> None:
    files.write(file_of(cell, places.results), result.to_json())
    places.trained(cell).unlink(missing_ok=True)


def render(places: Places) -> None:
    """Write the documents' tables from the results."""
    for name, names in tables.DOCUMENTS.items():
        document = places.documents / name
        template = document if document.exists() else Places().documents / name
        with files.reading(template):
            text = template.read_text()
        files.write(document, tables.render(text, names, places.results))


def scaled(cell: Cell, scale: float) -> Cell:
    """A cell with length and samples times `scale`, to try this command out."""
    if scale == 1:
        return cell
    length = cell.length
    if isinstance(length, Length):
        amount = length.amount * scale
        amount = max(amount, MIN_MINUTES) if length.unit == "minutes" else amount
        length = Length(amount, length.unit)
    minutes = max(MIN_MINUTES, cell.minutes * scale) + 0.5
    n = max(200, round(cell.n * scale))
    samplings = min(cell.samplings, 2)
    return dataclasses.replace(cell, length=length, n=n, samplings=samplings, minutes=minutes)


def print_plan(cells: list[Cell], places: Places) -> None:
    for cell in cells:
        done = file_of(cell, places.results).exists()
        what = f"{cell.recipe} on {cell.data}, {cell.length}, seed {cell.seed}"
        print(
            f"{'done ' if done else 'to do'}  {cell!s:<52} {what}"
            + ("" if done else f": ~{cell.minutes:.0f} min")
        )
    left = [cell.minutes for cell in cells if not file_of(cell, places.results).exists()]
    print(f"{len(left)} of {len(cells)} cells to do, about {hours(sum(left))}")


def hours(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line. Raises SettingError for bad input."""
    parser = Parser(description="Make the tables of docs/figures.md and docs/pictures.md.")
    names = f"{', '.join(TABLES)}; default: all"
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=names)
    for flag, text in (
        ("--dry-run", "list which cells are done and which are to do"),
        ("--render", "only write the document, from the results that exist"),
        ("--judge", "judge the runs of existing results again; train nothing"),
    ):
        parser.add_argument(flag, action="store_true", help=text)
    text = "only cells whose names contain it, such as food-10min"
    parser.add_argument("--only", metavar="TEXT", default="", help=text)
    text = "store results, and documents with their tables, in another folder"
    parser.add_argument("--results", type=Path, help=text)
    parser.add_argument("--work", type=Path, default=Places().work, help="folder of runs and logs")
    text = "folder of the picture sets, made if they are missing (default: sets in that of --work)"
    parser.add_argument("--sets", type=Path, metavar="FOLDER", help=text)
    text = "factor of all lengths, to try it out; needs --results"
    parser.add_argument("--scale", type=float, default=1.0, help=text)
    options = parser.parse_args(arguments)
    for name in options.tables:
        if name not in TABLES:
            raise SettingError(f"unknown table {name}: {nearest(name, TABLES)}")
    if not 0 < options.scale <= 1:
        raise SettingError(f"--scale {options.scale:g}: expected more than 0, at most 1")
    if options.scale != 1 and options.results is None:
        raise SettingError(
            "results of --scale are not worth keeping: give another folder with --results"
        )
    return options


def make(cells: list[Cell], places: Places, options: argparse.Namespace) -> list[str]:
    """Measure the cells without a result, or judge those with one again, and render.

    Returns a line for each failure.
    """

    def work(cell: Cell) -> None:
        if options.judge:
            keep(judge_again(cell, places), cell, places)
        else:
            keep(measure(cell, places, options.scale), cell, places)
            render(places)

    if not options.judge:
        render(places)  # reports damaged results before anything is trained
    todo = [cell for cell in cells if file_of(cell, places.results).exists() == options.judge]
    missing = make_sets(todo, places)
    failures = [
        f"{count(sum(cell.data == data for cell in todo), 'cell')} of {data} left out: {reason}"
        for data, reason in missing.items()
    ]
    failures += each_cell([cell for cell in todo if cell.data not in missing], work)
    # not earlier: meanwhile some results have the new protocol and some the old one
    if options.judge and not failures:
        render(places)
    return failures


def chosen_cells(options: argparse.Namespace) -> list[Cell]:
    """The cells that the command line asks for. Raises SettingError if there are none."""
    names = [name for name in TABLES if name in options.tables or not options.tables]
    cells = [cell for name in names for cell in TABLES[name]() if options.only in cell.name]
    if not cells:
        raise SettingError(
            f"--only {options.only}: no cell of {', '.join(names)} has such a name; --dry-run"
            " lists them"
        )
    return [scaled(cell, options.scale) for cell in cells]


def run(arguments: list[str] | None = None) -> int:
    """Carry out the command line. Returns the exit code."""
    options = parse(arguments)
    sets = options.sets or options.work / "sets"
    places = Places(work=options.work.resolve(), sets=sets.resolve())
    if options.results is not None:
        results = options.results.resolve()
        places = places._replace(results=results, documents=results)
    cells = chosen_cells(options)
    if options.dry_run:
        print_plan(cells, places)
        return 0
    if options.render:
        render(places)
        print(*(places.documents / name for name in tables.DOCUMENTS), sep="\n")
        return 0
    with files.writing(places.work):
        places.work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(places.work / ".lock", timeout=0):
            failures = make(cells, places, options)
    except Timeout:
        raise RunError(
            f"another figures.py is running in {places.work}: wait for it, or stop it"
        ) from None
    for line in failures:
        say(line)
    say(f"{len(failures)} failed" if failures else f"done; the tables are in {places.documents}")
    return 1 if failures else 0


def main(arguments: list[str] | None = None) -> int:
    try:
        return run(arguments)
    except GanvasError as error:
        say(f"figures.py: {' '.join(str(error).split())}")
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command continues")
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
