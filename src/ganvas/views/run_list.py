"""`ganvas runs`: the runs of a folder with their progress, cost and best FID."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ganvas.errors import RunError
from ganvas.evaluation.history import results_of
from ganvas.evaluation.result import same_protocol
from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.system.text import readable

RunState = Literal["training", "finished", "stopped", "damaged"]


@dataclass(frozen=True)
class Row:
    """A run as `ganvas runs` lists it.

    run: its path.
    state: "training" if a process is writing to it, "damaged" if it cannot be read (see `error`).
    images_seen: up to the saved state, or up to the newest log line of one that is training.
    planned: images of the whole training.
    minutes: of training so far.
    best_fid, extractor: the lowest FID of its evaluations, during and after training, under the
        protocol of the newest one, and the extractor of that protocol; None if it has no FID.
    """

    run: str
    state: RunState
    recipe: str | None = None
    data: str | None = None
    images_seen: int | None = None
    planned: int | None = None
    minutes: float | None = None
    best_fid: float | None = None
    extractor: str | None = None
    error: str | None = None

    @property
    def progress(self) -> str:
        """The state in words: "stopped at 45%"."""
        if self.state in ("finished", "damaged") or self.images_seen is None or not self.planned:
            return self.state
        percent = 100 * self.images_seen // self.planned
        return f"training now, {percent}%" if self.state == "training" else f"stopped at {percent}%"


def list_runs(folder: Path) -> list[Row]:
    """List the runs in a folder, or the run that it is itself, by their numbers and names.

    A damaged run is listed as such. Raises RunError if the folder is missing or cannot be read.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise RunError(f"{folder} {problem}: expected a folder of runs")
    with files.reading(folder):
        paths = [folder] if Run.is_at(folder) else sorted(folder.iterdir(), key=_number_and_name)
    return [row for path in paths if (row := _row(path))]


def _number_and_name(path: Path) -> tuple[int, str]:
    number = re.match("[0-9]+(?=-)", path.name)
    return int(number[0]) if number else 0, path.name


def _row(path: Path) -> Row | None:
    """Return the row of a run, None if the path is not a run."""
    try:
        if not Run.is_at(path):
            return None
        run = Run.open(path)
    except RunError as error:
        return Row(readable(path), "damaged", error=str(error))
    card, name = run.card, readable(path)
    row = Row(name, "damaged", recipe=card.recipe, data=card.data.name, planned=card.plan.total)
    try:
        busy, log, state, (fid, extractor) = run.busy, run.read_log(), run.load_state(), _best(run)
    except RunError as error:
        return replace(row, error=str(error))
    seen, seconds = (state["images_seen"], state["seconds"]) if state else (0, 0.0)
    if busy and log:  # the log is newer than the saved state
        seen, seconds = max(seen, log[-1]["images"]), max(seconds, log[-1]["seconds"])
    stage: RunState = "training" if busy else "finished" if seen >= card.plan.total else "stopped"
    row = replace(row, state=stage, images_seen=seen, minutes=round(seconds / 60, 2))
    return replace(row, best_fid=fid, extractor=extractor)


def _best(run: Run) -> tuple[float | None, str | None]:
    """Return the lowest FID under the newest protocol and its extractor, since FIDs of different
    protocols do not compare."""
    results = [result for _, result in results_of(run)]
    fids = [r.fid for r in results if r.fid is not None and same_protocol(r, results[-1])]
    return min(fids, default=None), results[-1].protocol.extractor if fids else None
