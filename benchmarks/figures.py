"""Makes the tables of docs/figures.md: trains, judges, keeps results as JSON, and renders them.

    python benchmarks/figures.py [flagship] [sources] [recipes] [modes] [pictures] [--dry-run]
    [--render] [--judge]

Without names, all tables: some seven hours on two cores, on a machine that does nothing else. One
cell of a table is one training by `ganvas train` with its judgement by `ganvas evaluate`, processes
of their own, one after another. A cell whose result is there is skipped, so the same command goes
on where it stopped; a training that was interrupted begins again, one that is yet to be judged is
kept. Take a cell's JSON away to measure it anew; --judge only judges anew, by other rules or
extractors. A cell that fails does not stop the others.

Results: benchmarks/results/TABLE/CELL.json. Runs and logs: runs/figures/, which may go once the
results are there. MNIST must be where `ganvas train --data mnist` finds it, Fashion-MNIST likewise.
Exit codes: 0 done, 1 something failed (lines say what), 2 bad input, 130 and 143 stopped.
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

# Nothing here imports torch: a process's peak memory counts that of its parent, too, at the moment
# when it began.
ROOT = Path(__file__).resolve().parent.parent
GANVAS = [sys.executable, "-m", "ganvas"]
SPEED = [sys.executable, "benchmarks/speed.py"]
MARGIN = 0.95  # --minutes is kept to within 5%, and a share of a time is not to be exceeded
LEAST_MINUTES = 0.5  # below which starting takes most of a budget, or it is refused
VARIED = 500  # images whose distances tell how varied they are


class Places(NamedTuple):
    """results: TABLE/CELL.json. work: runs, logs and drawn pictures. document: what holds the
    tables."""

    results: Path = ROOT / "benchmarks" / "results"
    work: Path = ROOT / "runs" / "figures"
    document: Path = ROOT / "docs" / "figures.md"

    def run(self, cell: Cell) -> Path:
        return self.work / cell.table / cell.name

    def log(self, cell: Cell) -> Path:
        return self.work / cell.table / f"{cell.name}.log"

    def trained(self, cell: Cell) -> Path:
        """Where a training is told of until it is judged."""
        return self.work / cell.table / f"{cell.name}.trained.json"


class Finished(NamedTuple):
    """A process that ended well: what it printed, its wall time in seconds, the most memory that it
    held."""

    out: str
    seconds: float
    peak_rss_mb: float


def call(command: list[str], log: Path) -> Finished:
    """Run a process to its end, with its stderr added to the log. Raises RunError where it fails."""
    shown = shlex.join(command)
    with files.writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as said:
            said.write(f"$ {shown}\n")
    began = time.monotonic()
    with (
        open(log, "ab") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        try:
            out = process.stdout.read().decode()
            # wait() would not tell the memory of this process alone
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:  # stopped: no training is left behind
            process.terminate()
            process.wait()
            raise
    seconds = time.monotonic() - began
    if process.returncode:
        last = log.read_text(errors="replace").rstrip().splitlines()[-1]
        reason = "said nothing" if last.startswith("$ ") else last[:500]
        raise RunError(f"{shown[:200]} ended with {process.returncode}: {reason} (log: {log})")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Finished(out, seconds, peak / 1e6)


def length_of(cell: Cell, places: Places) -> tuple[Length, str]:
    """How long a cell is to train, and what is to be said of that. Raises RunError where it hangs
    on a missing result."""
    if isinstance(cell.length, Length):
        return cell.length, ""
    other = places.results / cell.table / f"{cell.length.of}.json"
    if not other.exists():
        raise RunError(
            f"its length is a part of a time that {cell.table}/{cell.length.of} is yet to tell"
        )
    seconds = read_result(other).plain_seconds * cell.length.part
    minutes = round(MARGIN * seconds / 60, 3)
    if minutes < LEAST_MINUTES:
        note = (
            f"it was given {LEAST_MINUTES:g} minutes, the least that is sensible; {cell.length} is"
            f" {seconds:.1f} s"
        )
        return Length(LEAST_MINUTES, "minutes"), note
    return Length(minutes, "minutes"), ""


def measure(cell: Cell, places: Places, scale: float) -> Result:
    """Train and judge. Raises a GanvasError for what fails."""
    length, note = length_of(cell, places)
    trained = kept(cell, length, places)
    if trained is None:
        say(f"  trains {cell.recipe} on {cell.data} for {length}, seed {cell.seed}")
        plain = plain_rate(cell, places, scale) if cell.plain else None
        trained = train(cell, length, places)
        trained = dataclasses.replace(trained, note=note, plain=plain)
        files.write(places.trained(cell), trained.to_json())
    else:
        say(f"  was trained on {trained.date}, and is yet to be judged")
    say(f"  {trained.images_seen:,} images seen in {trained.seconds:.0f} s; judges")
    return judged(cell, places, trained)


def judged(cell: Cell, places: Places, trained: Result) -> Result:
    evaluation = judge(cell, places)
    return dataclasses.replace(
        trained, evaluation=evaluation, diversity=varied(cell, places) if cell.pictures else None
    )


def kept(cell: Cell, length: Length, places: Places) -> Result | None:
    """A training of just this cell that is yet to be judged."""
    path = places.trained(cell)
    if not path.exists() or not places.run(cell).is_dir():
        return None
    trained = read_result(path)
    asked = (trained.recipe, trained.data, trained.settings, trained.asked, trained.seed)
    return (
        trained
        if asked == (cell.recipe, cell.data, cell.settings, str(length), cell.seed)
        else None
    )


def train(cell: Cell, length: Length, places: Places) -> Result:
    """Train from the beginning, and tell of it. What an interrupted training left is taken away."""
    run, load = places.run(cell), round(psutil.getloadavg()[0], 2)
    commit, date = commit_of(ROOT), datetime.date.today().isoformat()
    places.trained(cell).unlink(missing_ok=True)
    shutil.rmtree(run, ignore_errors=True)
    settings = ["--set", *cell.settings] if cell.settings else []
    command = [
        *GANVAS,
        "train",
        cell.recipe,
        "--data",
        data_of(cell.data, places),
        f"--{length.unit}",
        f"{length.amount:g}",
        "--seed",
        str(cell.seed),
        "--out",
        str(run),
        *settings,
    ]
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
    """What `ganvas evaluate --json` says of the cell's run, without paths of this machine."""
    data = [] if cell.judged_on is None else ["--data", cell.judged_on]
    extractor = [] if cell.extractor is None else ["--extractor", cell.extractor]
    copies = ["--copies"] if cell.pictures else []
    counts = ["--n", str(cell.n), "--prdc-n", str(cell.prdc_n)]
    command = [
        *GANVAS,
        "evaluate",
        str(places.run(cell)),
        *data,
        *extractor,
        *counts,
        *copies,
        "--json",
    ]
    out = call(command, places.log(cell)).out
    try:
        said: dict[str, Any] = json.loads(out)
        said["protocol"]["n_fake"], said["floor"]["fid"]
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{shlex.join(command)} printed no evaluation: {out[:200]!r}") from None
    said["source"] = str(cell)
    if said.get("copies"):
        said["copies"].pop("sheet", None)
    for figures in (said, said["floor"], said.get("spread") or {}):
        if len(figures.get("per_class") or ()) > 100:  # of StackedMNIST: a thousand lines
            figures["per_class"] = None
    return said


def varied(cell: Cell, places: Places) -> float:
    """How varied the run's samples are beside held-out pictures: see `pictures.diversity`."""
    out = places.work / cell.table / f"{cell.name}.npz"
    call(
        [*GANVAS, "sample", str(places.run(cell)), "--n", str(VARIED), "--out", str(out)],
        places.log(cell),
    )
    with np.load(out) as arrays:
        images = arrays["images"]
    return pictures.diversity(images, pictures.held_out(places.work / DRAWN, VARIED))


def plain_rate(cell: Cell, places: Places, scale: float) -> Plain:
    """The plain loop's rate, measured in turns with ganvas's, just before the whole schedule is
    trained."""
    say(f"  measures the plain loop of {cell.recipe}")
    seconds, rounds = max(0.3, 5 * min(1.0, scale)), 5 if scale >= 1 else 1
    command = [
        *SPEED,
        "--only",
        cell.recipe,
        "--json",
        "--seconds",
        str(seconds),
        "--rounds",
        str(rounds),
    ]
    said = json.loads(call(command, places.log(cell)).out)
    (row,) = (row for row in said["comparisons"] if row["against"] == "the plain loop")
    return Plain(images=said["images"], rates=tuple(row["other"]), ganvas=tuple(row["ganvas"]))


def data_of(data: str, places: Places) -> str:
    return str(pictures.folder(places.work / DRAWN)) if data == DRAWN else data


def judge_anew(cell: Cell, places: Places) -> Result:
    """The result that is there, with its run judged once more. Raises RunError where that run is
    gone or another."""
    before = read_result(file_of(cell, places.results))
    if not places.run(cell).is_dir():
        raise RunError(f"{places.run(cell)} is gone: take the result away and measure anew")
    say("  judges anew")
    after = judged(cell, places, before)
    if after.evaluation.get("weights_sha256") != before.evaluation.get("weights_sha256"):
        raise RunError(
            f"{places.run(cell)} holds other weights than were judged: take the result away and"
            " measure anew"
        )
    return after


def go_through(todo: list[Cell], work: Callable[[Cell], None]) -> list[str]:
    """Do the work of each cell, whatever becomes of the others; what failed, in lines."""
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
    """A cell with so many times the length and the samples, to try this command out."""
    if scale == 1:
        return cell
    length = cell.length
    if isinstance(length, Length):
        amount = length.amount * scale
        length = Length(
            max(amount, LEAST_MINUTES) if length.unit == "minutes" else amount, length.unit
        )
    minutes = max(LEAST_MINUTES, cell.minutes * scale) + 0.5
    return dataclasses.replace(
        cell, length=length, n=max(200, round(cell.n * scale)), minutes=minutes
    )


def tell_plan(cells: list[Cell], places: Places) -> None:
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


def read(arguments: list[str] | None) -> argparse.Namespace:
    """Raises SettingError."""
    parser = Parser(description="Make the tables of docs/figures.md.")
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=", ".join(TABLES) + "; default: all"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is done and what is to do")
    parser.add_argument(
        "--render",
        action="store_true",
        help="only write the document from the results that are there",
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="judge anew the runs of results that are there; train nothing",
    )
    parser.add_argument(
        "--results", type=Path, help="keep results, and a document of their own, elsewhere"
    )
    parser.add_argument("--work", type=Path, default=Places().work, help="where runs and logs go")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="times all lengths, to try it out; needs --results"
    )
    options = parser.parse_args(arguments)
    for name in options.tables:
        if name not in TABLES:
            raise SettingError(f"no table is called {name}: {nearest(name, TABLES)}")
    if not 0 < options.scale <= 1:
        raise SettingError(f"--scale {options.scale:g}: expected more than 0, at most 1")
    if options.scale != 1 and options.results is None:
        raise SettingError(
            "--scale makes no results worth keeping: name another place for them by --results"
        )
    return options


def make(cells: list[Cell], places: Places, options: argparse.Namespace) -> list[str]:
    """Measure the cells that have no result, or judge anew those that have one, and render; what
    failed, in lines."""

    def work(cell: Cell) -> None:
        if options.judge:
            keep(judge_anew(cell, places), cell, places)
        else:
            keep(measure(cell, places, options.scale), cell, places)
            render(places)

    if not options.judge:
        render(places)  # says now what is wrong with the results that are there
    todo = [cell for cell in cells if file_of(cell, places.results).exists() == options.judge]
    failures = go_through(todo, work)
    if options.judge and not failures:  # not before: half of the results have another protocol
        render(places)
    return failures


def run(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; the exit code."""
    options = read(arguments)
    places = Places(work=options.work.resolve())
    if options.results is not None:
        places = places._replace(
            results=options.results.resolve(), document=options.results.resolve() / "figures.md"
        )
    names = [name for name in TABLES if name in options.tables or not options.tables]
    cells = [scaled(cell, options.scale) for name in names for cell in TABLES[name]()]
    if options.dry_run:
        tell_plan(cells, places)
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
            f"another figures.py is at work in {places.work}: wait for it, or stop it"
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
        say("stopped; the same command goes on")
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
