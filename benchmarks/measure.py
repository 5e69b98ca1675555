"""The measurement of a cell: `ganvas train`, or rivals.py, then `ganvas evaluate`, as processes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

import picture_sets
import pictures
from cells import DRAWN, PICTURES, Cell, Length
from command_line import say
from ganvas.errors import GanvasError, RunError
from ganvas.system import files
from ganvas.version import __version__
from result import Plain, Result, commit_of, file_of, machine, read_result
from sets import picture_sheets

# Nothing here imports torch: a process's peak memory includes that of its parent at its start.
ROOT = Path(__file__).resolve().parent.parent
GANVAS = [sys.executable, "-m", "ganvas"]
SPEED = [sys.executable, "benchmarks/speed.py"]
RIVALS = [sys.executable, "benchmarks/rivals.py"]
MARGIN = 0.95  # trainings keep to --minutes within 5%, and a share of a time is an upper limit
MIN_MINUTES = 0.5  # below, start-up takes most of a budget, or ganvas refuses it
DIVERSITY_IMAGES = 500


class Places(NamedTuple):
    """Folders and files of a measurement.

    results: holds TABLE/CELL.json.
    work: holds runs, logs and drawn pictures.
    documents: holds the Markdown files with the tables, and their sheets.
    sets: holds the picture sets.
    """

    results: Path = ROOT / "benchmarks" / "results"
    work: Path = ROOT / "runs" / "figures"
    documents: Path = ROOT / "docs"
    sets: Path = ROOT / "runs" / "figures" / "sets"

    def run(self, cell: Cell) -> Path:
        return self.work / cell.table / cell.name

    def log(self, cell: Cell) -> Path:
        return self.work / cell.table / f"{cell.name}.log"

    def trained(self, cell: Cell) -> Path:
        """The result of a training that is not judged yet."""
        return self.work / cell.table / f"{cell.name}.trained.json"

    def samples(self, cell: Cell) -> Path:
        """The samples that a rival leaves."""
        return self.run(cell) / "samples.npz"

    def sheet(self, cell: Cell) -> Path:
        return self.documents / "images" / "pictures" / cell.sheet


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
    """Return the result with the evaluation of its run, whose sheet is written."""
    evaluation = judge(cell, places)
    diversity = sample_diversity(cell, places) if cell.diversity else None
    if cell.sheet:
        count = picture_sheets.ROWS * picture_sheets.COLUMNS
        picture_sheets.save_samples(samples_of(cell, places, count), places.sheet(cell))
    return dataclasses.replace(
        trained, evaluation=evaluation, diversity=diversity, sheet=cell.sheet
    )


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
    load = round(psutil.getloadavg()[0], 2)
    commit, date = commit_of(ROOT), datetime.date.today().isoformat()
    places.trained(cell).unlink(missing_ok=True)
    shutil.rmtree(places.run(cell), ignore_errors=True)
    measured = (_train_rival if cell.rival else _train_recipe)(cell, length, places)
    return Result(
        table=cell.table,
        cell=cell.name,
        recipe=cell.recipe,
        data=cell.data,
        settings=cell.settings,
        asked=str(length),
        seed=cell.seed,
        machine=machine(),
        load=load,
        commit=commit,
        date=date,
        **measured,
    )


def _train_recipe(cell: Cell, length: Length, places: Places) -> dict[str, Any]:
    """Run `ganvas train`. Returns the fields of Result that it determines."""
    run = places.run(cell)
    command = [*GANVAS, "train", cell.recipe, "--data", data_of(cell.data, places), *cell.reading]
    command += [f"--{length.unit}", f"{length.amount:g}"]
    command += ["--seed", str(cell.seed), "--out", str(run)]
    command += ["--set", *cell.settings] if cell.settings else []
    finished = call(command, places.log(cell))
    (row,) = json.loads(call([*GANVAS, "runs", str(run), "--json"], places.log(cell)).out)
    if row["state"] != "finished":
        raise RunError(f"{run} is {row['state']}: expected a finished training")
    card = json.loads((run / "recipe.json").read_bytes())
    return {
        "images_seen": row["images_seen"],
        "seconds": round(finished.seconds, 2),
        "threads": card["threads"],
        "precision": card["precision"],
        "peak_rss_mb": round(finished.peak_rss_mb, 1),
        "resolved": {part: card[part] for part in ("model", "train")},
        "versions": card["versions"],
    }


def _train_rival(cell: Cell, length: Length, places: Places) -> dict[str, Any]:
    """Run rivals.py, with a thread a core. Returns the fields of Result that it determines."""
    run = places.run(cell)
    command = [*RIVALS, cell.rival, "--data", data_of(cell.data, places), *cell.reading]
    command += ["--minutes", f"{length.amount:g}", "--threads", str(machine()["cores"])]
    command += ["--seed", str(cell.seed), "--out", str(run)]
    finished = call(command, places.log(cell))
    report = json.loads((run / "result.json").read_bytes())
    versions = {"ganvas": __version__, "python": platform.python_version()}
    return {
        "images_seen": report["images_seen"],
        "seconds": round(report["seconds"], 2),
        "threads": report["threads"],
        "precision": "32",
        "peak_rss_mb": round(finished.peak_rss_mb, 1),
        "resolved": {"options": report["options"]},
        "versions": versions | {"torch": report["torch"]},
    }


def judge(cell: Cell, places: Places) -> dict[str, Any]:
    """The output of `ganvas evaluate --json` for the cell's run, without paths of this machine."""
    command = [*GANVAS, "evaluate"]
    if cell.rival:
        command += [str(places.samples(cell)), "--data", data_of(cell.data, places), *cell.reading]
        command += ["--out", str(places.run(cell) / "copies.png")] if cell.copies else []
    else:
        command += [str(places.run(cell))]
    command += [] if cell.judged_on is None else ["--data", cell.judged_on]
    command += [] if cell.extractor is None else ["--extractor", cell.extractor]
    command += ["--n", str(cell.n), "--prdc-n", str(cell.prdc_n)]
    command += ["--seeds", str(cell.samplings)] if cell.samplings > 1 else []
    command += ["--copies"] if cell.copies else []
    command += ["--json"]
    out = call(command, places.log(cell)).out
    for folder in (places.work, places.sets):
        out = out.replace(f"{folder}{os.sep}", "")
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
    images = samples_of(cell, places, DIVERSITY_IMAGES)
    return pictures.diversity(images, pictures.held_out(places.work / DRAWN, DIVERSITY_IMAGES))


def samples_of(cell: Cell, places: Places, count: int) -> NDArray[np.uint8]:
    """The first samples of a run or rival: uint8 (count, H, W, C)."""
    path = places.samples(cell)
    if not cell.rival:
        path = places.work / cell.table / f"{cell.name}.npz"
        command = [*GANVAS, "sample", str(places.run(cell))]
        call([*command, "--n", str(count), "--out", str(path)], places.log(cell))
    with np.load(path) as arrays:
        images: NDArray[np.uint8] = arrays["images"][:count]
    return images


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
    if data == DRAWN:
        return str(pictures.folder(places.work / DRAWN))
    return str(places.sets / data) if data in PICTURES else data


def make_sets(cells: list[Cell], places: Places) -> dict[str, str]:
    """Make the picture sets of cells that are missing. Returns reasons by the sets that fail."""
    failed = {}
    for data in dict.fromkeys(cell.data for cell in cells if cell.data in PICTURES):
        try:
            if not (places.sets / data).exists():
                picture_sets.make(data, places.sets)
        except GanvasError as error:
            failed[data] = " ".join(str(error).split())
    return failed


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
