"""The result of a cell, stored as benchmarks/results/TABLE/CELL.json."""

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
    """Rates of the plain loop and of ganvas, in real images a second, measured in turns.

    images: the data set.
    """

    images: str
    rates: tuple[float, ...]
    ganvas: tuple[float, ...]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The request, the cost and the evaluation of one training.

    asked: the requested length.
    seconds: wall time of the whole `ganvas train`, start to exit; of a rival, of its steps alone.
    resolved: all settings of model and training, as in the run's recipe.json; a rival's options.
    load: the machine's load average when the training began.
    commit: of the code; with a + if src/ had uncommitted changes.
    note: a remark for below the table, if any.
    sheet: file name of the sheet of samples that is shown; "" for none.
    diversity: see `pictures.diversity`.
    evaluation: as printed by `ganvas evaluate --json`; empty until the training is evaluated.
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
    sheet: str = ""
    evaluation: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"

    @property
    def plain_seconds(self) -> float:
        """Time of the plain loop for as many images. Raises RunError if its rate is unknown."""
        if self.plain is None:
            raise RunError(
                f"{self.table}/{self.cell} has no rate of the plain loop: delete its result and"
                " measure again"
            )
        return self.images_seen / self.plain.rate

    def score(self, name: str) -> float | None:
        """A score of the evaluation; None if it does not apply."""
        value = self.evaluation[name]
        return None if value is None else float(value)

    def floor(self, name: str) -> float | None:
        """The same score of real training images; None if it does not apply."""
        value = self.evaluation["floor"][name]
        return None if value is None else float(value)

    def over_floor(self, name: str) -> float | None:
        """A score divided by its floor; None if either is missing, or the floor 0."""
        value, floor = self.score(name), self.floor(name)
        return value / floor if value is not None and floor else None


def file_of(cell: Cell, folder: Path) -> Path:
    return folder / cell.table / f"{cell.name}.json"


def read_result(path: Path) -> Result:
    """Read a result. Raises RunError if the file cannot be read or is not a result."""
    with files.reading(path):
        content = path.read_bytes()
    try:
        result = msgspec.json.decode(content, type=Result)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is not a result of figures.py ({error}): delete it and measure again"
        ) from None
    if result.format != FORMAT:
        raise RunError(
            f"{path} has format {result.format}, expected {FORMAT}: delete it and measure again"
        )
    return result


def of_table(table: str, folder: Path) -> dict[str, Result]:
    """Read the results of a table that exist, by the names of their cells."""
    paths = {cell.name: file_of(cell, folder) for cell in TABLES[table]()}
    return {name: read_result(path) for name, path in paths.items() if path.exists()}


def machine() -> dict[str, str | int | float]:
    """Processor, cores, memory and system of this machine, without its host name."""
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
    """The commit of the code, with a + if src/ has uncommitted changes; "" outside a repository."""
    try:
        commit, changed = (
            subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
            for command in (
                ["git", "rev-parse", "--short=10", "HEAD"],
                ["git", "status", "--porcelain", "--", "src"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.strip() + ("+" if changed.strip() else "")


def protocol(results: list[Result]) -> dict[str, Any]:
    """The protocol that results share. Raises MetricError, naming two results, if they differ."""
    first, *others = results
    one: dict[str, Any] = first.evaluation["protocol"]
    # fields that an earlier version did not write get their defaults
    of_one = msgspec.convert(one, Protocol)
    for other in others:
        of_other = msgspec.convert(other.evaluation["protocol"], Protocol)
        different = [
            f"{name} {getattr(of_one, name)} and {getattr(of_other, name)}"
            for name in (*COMPARED, "seed")
            if getattr(of_one, name) != getattr(of_other, name)
        ]
        if different:
            raise MetricError(
                f"{first.table}/{first.cell} and {other.cell} were judged by different protocols"
                f" ({'; '.join(different)}): judge again with --judge"
            )
    return one
