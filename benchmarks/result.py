"""A cell's result, as it is kept in benchmarks/results/TABLE/CELL.json."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from cells import TABLES, Cell
from ganvas.errors import MetricError, RunError
from ganvas.evaluation.result import COMPARED, Protocol
from ganvas.system import files

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Real images a second of the plain loop and of ganvas, measured in turns; on which images."""

    images: str
    rates: tuple[float, ...]
    ganvas: tuple[float, ...]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was asked of one training, what it cost, and how it was judged.

    asked: the length. seconds: wall time of the whole `ganvas train`, start to exit. load: of the
    machine when it began.
    resolved: all settings of the model and of the training, as the run's recipe.json has them.
    commit: of the code, with a + where that was changed. note: what is to be said of it, if
    anything.
    diversity: of its samples, 1 for that of held-out pictures. evaluation: what `ganvas evaluate
    --json` said; empty in what is kept of a training that is yet to be judged.
    """

    format: int = FORMAT
    table: str
    cell: str
    recipe: str
    data: str
    settings: tuple[str, ...]
    asked: str
    seed: int
    images_seen: int
    seconds: float
    threads: int
    precision: str
    peak_rss_mb: float
    resolved: dict[str, dict[str, Any]]
    versions: dict[str, str]
    machine: dict[str, str | int | float]
    load: float
    commit: str
    date: str
    note: str = ""
    plain: Plain | None = None
    diversity: float | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"

    @property
    def plain_seconds(self) -> float:
        """What the plain loop takes for as many images. Raises RunError where it was not measured."""
        if self.plain is None:
            raise RunError(
                f"{self.table}/{self.cell} has no plain loop's rate: take its result away and"
                " measure anew"
            )
        return self.images_seen / self.plain.rate

    def figure(self, name: str) -> float | None:
        """A figure of the evaluation; None where it does not apply."""
        value = self.evaluation[name]
        return None if value is None else float(value)

    def floor(self, name: str) -> float | None:
        value = self.evaluation["floor"][name]
        return None if value is None else float(value)

    def beside_floor(self, name: str) -> float | None:
        """A figure divided by its floor."""
        value, floor = self.figure(name), self.floor(name)
        return value / floor if value is not None and floor else None


def file_of(cell: Cell, folder: Path) -> Path:
    return folder / cell.table / f"{cell.name}.json"


def read_result(path: Path) -> Result:
    """Raises RunError for a file that cannot be read or is no result."""
    with files.reading(path):
        content = path.read_bytes()
    try:
        result = msgspec.json.decode(content, type=Result)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is no result of figures.py ({error}): take it away and measure anew"
        ) from None
    if result.format != FORMAT:
        raise RunError(
            f"{path} has format {result.format}, expected {FORMAT}: take it away and measure anew"
        )
    return result


def of_table(table: str, folder: Path) -> dict[str, Result]:
    """The results of a table that are there, by their cells' names."""
    paths = {cell.name: file_of(cell, folder) for cell in TABLES[table]()}
    return {name: read_result(path) for name, path in paths.items() if path.exists()}


def machine() -> dict[str, str | int | float]:
    """What this machine is, without its name."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    memory = round(psutil.virtual_memory().total / 1e9, 1)
    name = platform.processor() or platform.machine()
    if (facts := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip()
            for line in facts.read_text().splitlines()
            if "model name" in line
        ]
        name = names[0] if names else name
    return {"processor": name, "cores": cores, "memory_gb": memory, "system": platform.system()}


def commit_of(root: Path) -> str:
    """The commit of the code that is measured, with a + where that was changed; "" outside a
    repository."""
    try:
        asked = [
            ["git", "rev-parse", "--short=10", "HEAD"],
            ["git", "status", "--porcelain", "--", "src"],
        ]
        commit, changed = (
            subprocess.run(c, cwd=root, capture_output=True, text=True, check=True).stdout
            for c in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.strip() + ("+" if changed.strip() else "")


def protocol(results: list[Result]) -> dict[str, Any]:
    """The one protocol of some results. Raises MetricError, naming two results, where they have
    several."""
    first, *others = results
    one: dict[str, Any] = first.evaluation["protocol"]
    of_one = msgspec.convert(one, Protocol)  # what an earlier version did not tell is as by default
    for other in others:
        of_other = msgspec.convert(other.evaluation["protocol"], Protocol)
        unlike = [
            f"{name} {getattr(of_one, name)} and {getattr(of_other, name)}"
            for name in (*COMPARED, "seed")
            if getattr(of_one, name) != getattr(of_other, name)
        ]
        if unlike:
            raise MetricError(
                f"{first.table}/{first.cell} and {other.cell} were judged by unlike protocols"
                f" ({'; '.join(unlike)}): judge anew with --judge"
            )
    return one
