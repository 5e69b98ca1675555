"""Earlier evaluations: those kept with a run, those saved to a file, and how to repeat them."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from ganvas.data.catalogue import NAMES
from ganvas.data.reading import Reading
from ganvas.errors import RunError
from ganvas.evaluation.result import (
    EvaluationResult,
    EvaluationSettings,
    RepeatOptions,
    parse_result,
    read_result,
)
from ganvas.runs.run import Run
from ganvas.system.text import command, option_value, readable

# in this order
OPTIONS = (
    *("data", "against", "n", "prdc_n", "seed", "seeds", "extractor"),
    *(each.name for each in fields(Reading)),
    "device",
)


def last_result(path: str | os.PathLike[str]) -> EvaluationResult:
    """Last evaluation of a run's directory, or one saved by `ganvas evaluate --json > PATH`.

    Raises RunError.
    """
    path = Path(path)
    if not path.is_dir():
        return read_result(path)
    run = Run.open(path)
    if results := results_of(run):
        return results[-1][1]
    repeat = command("evaluate", path, *run.card.own_file(None))
    raise RunError(f"{path} has not been evaluated: do so with {repeat}")


def results_of(run: Run) -> list[tuple[int | None, EvaluationResult]]:
    """Evaluations of a run, oldest first, each with the images seen so far, None after training.

    Raises RunError for a damaged metrics.jsonl.
    """
    return [
        (line.get("images"), parse_result(msgspec.json.encode(line), str(run.path)))
        for line in run.read_metrics()
        if "protocol" in line
    ]


def stale_note(path: str | os.PathLike[str], result: EvaluationResult) -> str | None:
    """Note for a run whose generator has changed since this evaluation; else None."""
    if not Path(path).is_dir():
        return None
    if Run.open(Path(path)).generator_card().weights_sha256 == result.weights_sha256:
        return None
    return f"{path} was trained further since it was evaluated"


def repeat_options(
    flags: dict[str, bool] | None = None, *, k: int = EvaluationSettings.k, **options: Any
) -> RepeatOptions:
    """Turn arguments of `evaluate` into options of `ganvas evaluate`, with absolute paths.

    flags: options without a value.
    k: neighbours; the command line has no option for it.
    options: by name; None and the default device are left out.
    """
    words, hindrances = list[str](), list[str]()
    for name in OPTIONS:
        value = options.get(name)
        if value is None or (name, value) == ("device", "cpu"):
            continue
        if isinstance(value, (str, os.PathLike, int, float, tuple)):
            words += ["--" + name.replace("_", "-"), readable(_word(name, value))]
        else:
            hindrances.append(f"its {name} was an object of Python's")
    hindrances += [f"precision to coverage were taken with k = {k}"] * (k != EvaluationSettings.k)
    words += ["--" + name.replace("_", "-") for name, is_set in (flags or {}).items() if is_set]
    return RepeatOptions(options=tuple(words), hindrance=" and ".join(hindrances))


def _word(name: str, value: Any) -> str:
    if isinstance(value, (int, float, tuple)):
        return option_value(value)
    text = os.fspath(value)
    if name != "extractor":
        return _absolute(text)
    # KIND, KIND:DATA, KIND:PATH or FILE.safetensors
    kind, colon, of = text.partition(":")
    if colon:
        return f"{kind}:{_absolute(of)}"
    return _absolute(text) if text.endswith(".safetensors") else text


def _absolute(path: str) -> str:
    return os.path.abspath(path) if os.path.exists(path) and path not in NAMES else path
