"""Many runs at a glance: what each is, how far it came, what it cost and how good it became."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ganvas.errors import RunError
from ganvas.evaluation import history
from ganvas.evaluation.result import same_protocol
from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.system.text import readable

RunState = Literal["training", "finished", "stopped", "damaged"]


@dataclass(frozen=True)
class Row:
    """A run as `ganvas runs` lists it.

    state: training (a process is writing to it), finished, stopped, or damaged, and `error` then
    says in what way.
    images_seen: up to the saved state, or for one that is training up to its newest log line.
    planned: images in all.
    minutes: of training. best_fid: the least of its evaluations, on the way and by hand, under the
    newest of their protocols, None where none was measured; by which extractor.
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
    """The runs in a folder (or the one that it is), by their numbers and names. One that is damaged
    hides no other.

    Raises RunError where there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder} is {'a file' if folder.exists() else 'not there'}: give a folder that holds"
            " runs"
        )
    with files.reading(folder):
        paths = [folder] if Run.is_at(folder) else sorted(folder.iterdir(), key=_place)
    return [row for path in paths if (row := _row(path))]


def _place(path: Path) -> tuple[int, str]:
    number = re.match("[0-9]+(?=-)", path.name)
    return int(number[0]) if number else 0, path.name


def _row(path: Path) -> Row | None:
    """A run as it is listed; None for what is no run."""
    try:
        if not Run.is_at(path):
            return None
        run = Run.open(path)
    except RunError as error:
        return Row(readable(path), "damaged", error=str(error))
    card = run.card
    row = Row(
        readable(path), "damaged", recipe=card.recipe, data=card.data.name, planned=card.plan.total
    )
    try:
        busy, log, state, (fid, extractor) = run.busy, run.read_log(), run.load_state(), _best(run)
    except RunError as error:
        return replace(row, error=str(error))
    seen, seconds = (state["images_seen"], state["seconds"]) if state else (0, 0.0)
    if busy and log:  # newer than what is saved
        seen, seconds = max(seen, log[-1]["images"]), max(seconds, log[-1]["seconds"])
    kind: RunState = "training" if busy else "finished" if seen >= card.plan.total else "stopped"
    return replace(
        row,
        state=kind,
        images_seen=seen,
        minutes=round(seconds / 60, 2),
        best_fid=fid,
        extractor=extractor,
    )


def _best(run: Run) -> tuple[float | None, str | None]:
    """The least FID, and by which extractor: FIDs of unlike protocols have no least, the newest
    protocol counts."""
    found = [each for _, each in history.results_of(run)]
    fids = [each.fid for each in found if each.fid is not None and same_protocol(each, found[-1])]
    return min(fids, default=None), found[-1].protocol.extractor if fids else None
