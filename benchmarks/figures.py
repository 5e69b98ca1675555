"""Make the tables of docs/figures.md: train, judge, store results as JSON, render.

    python benchmarks/figures.py [flagship] [sources] [recipes] [modes] [pictures] [--dry-run]
    [--render] [--judge]

Without names, all tables: about seven hours on two cores, on an otherwise idle machine. A cell of a
table is one `ganvas train` and its `ganvas evaluate`, as processes, one after another. Cells with a
result are skipped, so the same command continues after a stop: an interrupted training begins
again, and one that was not judged yet is judged. A cell that fails does not stop the others. To
measure a cell again, delete its JSON file; to judge again, by other rules or extractors, use
--judge.

Results: benchmarks/results/TABLE/CELL.json. Runs and logs: runs/figures/, which can be deleted once
the results exist. MNIST and Fashion-MNIST must be where `ganvas train --data mnist` finds them.
Exit codes: 0 done, 1 a cell failed (with a line each), 2 bad input, 130 and 143 stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import psutil
from filelock import FileLock, Timeout

import pictures
import tables
from cells import DRAWN, TABLES, Cell, Length
from ganvas.errors import GanvasError, RunError, SettingError, nearest
from ganvas.system import files
from result import Plain, Result, commit_of, file_of, machine, read_result

# Nothing here imports torch: a process's peak memory includes that of its parent at its start.
ROOT = Path(__file__).resolve().parent.parent
GANVAS = [sys.executable, "-m", "ganvas"]
SPEED = [sys.executable, "benchmarks/speed.py"]
MARGIN = 0.95  # trainings keep to --minutes within 5%, and a share of a time is an upper limit
MIN_MINUTES = 0.5  # below, start-up takes most of a budget, or ganvas refuses it
DIVERSITY_IMAGES = 500


class Places(NamedTuple):
    """Folders and files of a measurement.

    results: holds TABLE/CELL.json.
    work: holds runs, logs and drawn pictures.
    document: the Markdown file with the tables.
    """

    results: Path = ROOT / "benchmarks" / "results"
    work: Path = ROOT / "runs" / "figures"
    document: Path = ROOT / "docs" / "figures.md"

    def run(self, cell: Cell) -> Path:
        return self.work / cell.table / cell.name

    def log(self, cell: Cell) -> Path:
        return self.work / cell.table / f"{cell.name}.log"

    def trained(self, cell: Cell) -> Path:
        """The result of a training that is not judged yet."""
        return self.work / cell.table / f"{cell.name}.trained.json"


class Finished(NamedTuple):
    """A process that succeeded: its output, wall time and peak memory."""

    out: str
    seconds: float
    peak_rss_mb: float


def call(command: list[str], log: Path) -> Finished:
    """Run a process, appending its stderr to the log. Raises RunError if it fails."""
    shown = shlex.join(command)
    with files.writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            file.write(f"$ {shown}\n")
    began = time.monotonic()
    with (
        open(log, "ab") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        try:
            out = process.stdout.read().decode()
            # wait() would not give the memory of this process alone
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:  # a stop must leave no training behind
            process.terminate()
            process.wait()
            raise
    seconds = time.monotonic() - began
    if process.returncode:
        last = log.read_text(errors="replace").rstrip().splitlines()[-1]
        reason = "no message" if last.startswith("$ ") else last[:500]
        raise RunError(f"{shown[:200]} ended with {process.returncode}: {reason} (log: {log})")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Finished(out, seconds, peak / 1e6)


def length_of(cell: Cell, places: Places) -> tuple[Length, str]:
    """Return the length of a cell's training and a note on it, "" for none.

    Raises RunError if it depends on a missing result.
    """
    if isinstance(cell.length, Length):
        return cell.length, ""
    other = places.results / cell.table / f"{cell.length.of}.json"
    if not other.exists():
        raise RunError(
            f"its length depends on {cell.table}/{cell.length.of}, which has no result yet"
        )
    seconds = read_result(other).plain_seconds * cell.length.part
    minutes = round(MARGIN * seconds / 60, 3)
    if minutes < MIN_MINUTES:
        note = (
            f"it was given {MIN_MINUTES:g} minutes, the minimum; {cell.length} is {seconds:.1f} s"
        )
        return Length(MIN_MINUTES, "minutes"), note
    return Length(minutes, "minutes"), ""


def measure(cell: Cell, places: Places, scale: float) -> Result:
    """Train and judge a cell. Raises a GanvasError if either fails."""
    length, note = length_of(cell, places)
    trained = kept(cell, length, places)
    if trained is None:
        say(f"  trains {cell.recipe} on {cell.data} for {length}, seed {cell.seed}")
        plain = plain_rate(cell, places, scale) if cell.plain else None
        trained = train(cell, length, places)
        trained = dataclasses.replace(trained, note=note, plain=plain)
        files.write(places.trained(cell), trained.to_json())
    else:
        say(f"  was trained on {trained.date}, but not judged yet")
    say(f"  {trained.images_seen:,} images seen in {trained.seconds:.0f} s; judges")
    return judged(cell, places, trained)


def judged(cell: Cell, places: Places, trained: Result) -> Result:
    """Return the result with the evaluation of its run."""
    evaluation = judge(cell, places)
    diversity = sample_diversity(cell, places) if cell.pictures else None
    return dataclasses.replace(trained, evaluation=evaluation, diversity=diversity)


def kept(cell: Cell, length: Length, places: Places) -> Result | None:
    """A training of exactly this cell that was not judged yet, or None."""
    path = places.trained(cell)
    if not path.exists() or not places.run(cell).is_dir():
        return None
    trained = read_result(path)
    asked = (trained.recipe, trained.data, trained.settings, trained.asked, trained.seed)
    wanted = (cell.recipe, cell.data, cell.settings, str(length), cell.seed)
    return trained if asked == wanted else None


def train(cell: Cell, length: Length, places: Places) -> Result:
    """Train from the beginning. Files of an interrupted training are deleted."""
    run, load = places.run(cell), round(psutil.getloadavg()[0], 2)
    commit, date = commit_of(ROOT), datetime.date.today().isoformat()
    places.trained(cell).unlink(missing_ok=True)
    shutil.rmtree(run, ignore_errors=True)
    command = [*GANVAS, "train", cell.recipe, "--data", data_of(cell.data, places)]
    command += [f"--{length.unit}", f"{length.amount:g}"]
    command += ["--seed", str(cell.seed), "--out", str(run)]
    command += ["--set", *cell.settings] if cell.settings else []
    finished = call(command, places.log(cell))
    (row,) = json.loads(call([*GANVAS, "runs", str(run), "--json"], places.log(cell)).out)
    if row["state"] != "finished":
        raise RunError(f"{run} is {row['state']}: expected a finished training")
    card = json.loads((run / "recipe.json").read_bytes())
    return Result(
        table=cell.table,
        cell=cell.name,
        recipe=cell.recipe,
        data=cell.data,
        settings=cell.settings,
        asked=str(length),
        seed=cell.seed,
        images_seen=row["images_seen"],
        seconds=round(finished.seconds, 2),
        threads=card["threads"],
        precision=card["precision"],
        peak_rss_mb=round(finished.peak_rss_mb, 1),
        resolved={part: card[part] for part in ("model", "train")},
        versions=card["versions"],
        machine=machine(),
        load=load,
        commit=commit,
        date=date,
    )


def judge(cell: Cell, places: Places) -> dict[str, Any]:
    """The output of `ganvas evaluate --json` for the cell's run, without paths of this machine."""
    command = [*GANVAS, "evaluate", str(places.run(cell))]
    command += [] if cell.judged_on is None else ["--data", cell.judged_on]
    command += [] if cell.extractor is None else ["--extractor", cell.extractor]
    command += ["--n", str(cell.n), "--prdc-n", str(cell.prdc_n)]
    command += ["--copies"] if cell.pictures else []
    command += ["--json"]
    out = call(command, places.log(cell)).out
    try:
        evaluation: dict[str, Any] = json.loads(out)
        evaluation["protocol"]["n_fake"], evaluation["floor"]["fid"]
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{shlex.join(command)} printed no evaluation: {out[:200]!r}") from None
    evaluation["source"] = str(cell)
    if evaluation.get("copies"):
        evaluation["copies"].pop("sheet", None)
    for scores in (evaluation, evaluation["floor"], evaluation.get("spread") or {}):
        if len(scores.get("per_class") or ()) > 100:  # StackedMNIST has a thousand classes
            scores["per_class"] = None
    return evaluation


def sample_diversity(cell: Cell, places: Places) -> float:
    """Diversity of the run's samples, relative to held-out pictures: see `pictures.diversity`."""
    out = places.work / cell.table / f"{cell.name}.npz"
    command = [*GANVAS, "sample", str(places.run(cell))]
    command += ["--n", str(DIVERSITY_IMAGES), "--out", str(out)]
    call(command, places.log(cell))
    with np.load(out) as arrays:
        images = arrays["images"]
    return pictures.diversity(images, pictures.held_out(places.work / DRAWN, DIVERSITY_IMAGES))


def plain_rate(cell: Cell, places: Places, scale: float) -> Plain:
    """Measure the rate of the plain loop, in turns with ganvas's."""
    say(f"  measures the plain loop of {cell.recipe}")
    seconds, rounds = max(0.3, 5 * min(1.0, scale)), 5 if scale >= 1 else 1
    command = [*SPEED, "--only", cell.recipe, "--json"]
    command += ["--seconds", str(seconds), "--rounds", str(rounds)]
    table = json.loads(call(command, places.log(cell)).out)
    (row,) = (row for row in table["comparisons"] if row["against"] == "the plain loop")
    return Plain(images=table["images"], rates=tuple(row["other"]), ganvas=tuple(row["ganvas"]))


def data_of(data: str, places: Places) -> str:
    return str(pictures.folder(places.work / DRAWN)) if data == DRAWN else data


def judge_again(cell: Cell, places: Places) -> Result:
    """Return the stored result with its run judged again.

    Raises RunError if that run is missing, or has other weights.
    """
    before = read_result(file_of(cell, places.results))
    if not places.run(cell).is_dir():
        raise RunError(f"{places.run(cell)} is missing: delete the result and measure again")
    say("  judges again")
    after = judged(cell, places, before)
    if after.evaluation.get("weights_sha256") != before.evaluation.get("weights_sha256"):
        raise RunError(
            f"{places.run(cell)} holds other weights than were judged: delete the result and"
            " measure again"
        )
    return after


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
    """Write the document's tables from the results."""
    template = places.document if places.document.exists() else Places().document
    with files.reading(template):
        text = template.read_text()
    files.write(places.document, tables.render(text, places.results))


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
    return dataclasses.replace(cell, length=length, n=n, minutes=minutes)


def print_plan(cells: list[Cell], places: Places) -> None:
    for cell in cells:
        done = file_of(cell, places.results).exists()
        what = f"{cell.recipe} on {cell.data}, {cell.length}, seed {cell.seed}"
        print(
            f"{'done ' if done else 'to do'}  {cell!s:<44} {what}"
            + ("" if done else f": ~{cell.minutes:.0f} min")
        )
    left = [cell.minutes for cell in cells if not file_of(cell, places.results).exists()]
    print(f"{len(left)} of {len(cells)} cells to do, about {hours(sum(left))}")


def hours(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(message)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line. Raises SettingError for bad input."""
    parser = Parser(description="Make the tables of docs/figures.md.")
    names = f"{', '.join(TABLES)}; default: all"
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=names)
    for flag, text in (
        ("--dry-run", "list which cells are done and which are to do"),
        ("--render", "only write the document, from the results that exist"),
        ("--judge", "judge the runs of existing results again; train nothing"),
    ):
        parser.add_argument(flag, action="store_true", help=text)
    text = "store results, and a document with their tables, in another folder"
    parser.add_argument("--results", type=Path, help=text)
    parser.add_argument("--work", type=Path, default=Places().work, help="folder of runs and logs")
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
    failures = each_cell(todo, work)
    # not earlier: meanwhile some results have the new protocol and some the old one
    if options.judge and not failures:
        render(places)
    return failures


def run(arguments: list[str] | None = None) -> int:
    """Carry out the command line. Returns the exit code."""
    options = parse(arguments)
    places = Places(work=options.work.resolve())
    if options.results is not None:
        places = places._replace(
            results=options.results.resolve(), document=options.results.resolve() / "figures.md"
        )
    names = [name for name in TABLES if name in options.tables or not options.tables]
    cells = [scaled(cell, options.scale) for name in names for cell in TABLES[name]()]
    if options.dry_run:
        print_plan(cells, places)
        return 0
    if options.render:
        render(places)
        print(places.document)
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
    say(f"{len(failures)} failed" if failures else f"done; the tables are in {places.document}")
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
