"""Evaluations that were made before: those that a run keeps, and those that were saved to a file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import msgspec

from ganvas.data.catalogue import NAMES
from ganvas.errors import RunError
from ganvas.evaluation import result
from ganvas.evaluation.result import EvaluationResult, RepeatOptions
from ganvas.runs.run import Run
from ganvas.system.text import readable

K = 5  # neighbours of precision, recall, density and coverage: the command line has no other


def last_result(path: str | os.PathLike[str]) -> EvaluationResult:
    """The last evaluation of a run's directory, or one saved by `ganvas evaluate --json > PATH`.
    Raises RunError."""
    path = Path(path)
    if not path.is_dir():
        return result.read_result(path)
    run = Run.open(path)
    found = results_of(run)
    if not found:
        command = shlex.join(["ganvas", "evaluate", str(path), *run.card.own_file(None)])
        raise RunError(f"{path} has not been evaluated: do so with {command}")
    return found[-1][1]


def results_of(run: Run) -> list[tuple[int | None, EvaluationResult]]:
    """A run's, oldest first, each with the images seen until then, None where it was made after
    training.

    Raises RunError for a damaged metrics.jsonl.
    """
    lines = [line for line in run.read_metrics() if "protocol" in line]
    return [
        (line.get("images"), result.parse_result(msgspec.json.encode(line), str(run.path)))
        for line in lines
    ]


def stale_note(path: str | os.PathLike[str], judged: EvaluationResult) -> str | None:
    """What to say where a run's generator is not the one that was judged."""
    if (
        not Path(path).is_dir()
        or Run.open(Path(path)).generator_card().weights_sha256 == judged.weights_sha256
    ):
        return None
    return f"{path} was trained further since it was evaluated"


def repeat_options(
    *, k: int = K, flags: dict[str, bool] | None = None, **options: Any
) -> RepeatOptions:
    """Arguments of `judging.evaluate` as options of `ganvas evaluate`, with paths from the root;
    None is left out."""
    hindrances = [
        f"its {name} was an object of Python's"
        for name, value in options.items()
        if _is_object(value)
    ]
    hindrances += [f"precision to coverage were taken with k = {k}"] * (k != K)
    words = [
        word
        for name, value in options.items()
        if value is not None and not _is_object(value)
        for word in (_option(name), readable(_word(name, value)))
    ]
    words += [_option(name) for name, is_set in (flags or {}).items() if is_set]
    return RepeatOptions(options=tuple(words), hindrance=" and ".join(hindrances))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_object(value: Any) -> bool:
    return not isinstance(value, (str, os.PathLike, int, tuple, type(None)))


def _word(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, int):
        return str(value)
    text = os.fspath(value)
    if name == "extractor":  # KIND:DATA, KIND:PATH or FILE.safetensors
        kind, colon, of = text.partition(":")
        return (
            f"{kind}:{_from_root(of)}"
            if colon
            else _from_root(text)
            if text.endswith(".safetensors")
            else text
        )
    return _from_root(text)


def _from_root(path: str) -> str:
    return os.path.abspath(path) if os.path.exists(path) and path not in NAMES else path
