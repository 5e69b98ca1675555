"""Evaluations that were made before: those that a run keeps, and those that were saved to a file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import msgspec

from ganvas.errors import RunError
from ganvas.evaluation import result
from ganvas.evaluation.result import Verdict
from ganvas.runs.run import Run


def last(path: str | os.PathLike[str]) -> Verdict:
    """The last evaluation of a run's directory, or one saved by `ganvas evaluate --json > PATH`. Raises RunError."""
    path = Path(path)
    if not path.is_dir():
        return result.read(path)
    run = Run.open(path)
    found = all_of(run)
    if not found:
        command = shlex.join(["ganvas", "evaluate", str(path), *run.card.own_file(None)])
        raise RunError(f"{path} has not been evaluated: do so with {command}")
    return found[-1][1]


def all_of(run: Run) -> list[tuple[int | None, Verdict]]:
    """A run's, oldest first, each with the images seen until then, None where it was made after training.

    Raises RunError for a damaged metrics.jsonl.
    """
    lines = [line for line in run.read_metrics() if "protocol" in line]
    return [(line.get("images"), result.parse(msgspec.json.encode(line), str(run.path))) for line in lines]


def staleness(path: str | os.PathLike[str], judged: Verdict) -> str | None:
    """What to say where a run's generator is not the one that was judged."""
    if not Path(path).is_dir() or Run.open(Path(path)).generator_card().weights_sha256 == judged.weights_sha256:
        return None
    return f"{path} was trained further since it was evaluated"
