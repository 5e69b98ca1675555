"""The JSON lines of a run: log.jsonl (logging intervals) and metrics.jsonl (evaluations)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from ganvas.errors import RunError
from ganvas.system import files

# fields of each line of the log: where it stands, and means over its interval
PLACE = ("images", "step", "epoch", "seconds", "lr")
STATISTICS = ("d_loss", "g_loss", "d_real", "d_fake", "d_accuracy")
# gradient norms in the interval's last step (see Learner); older logs have none
GRADIENTS = ("d_gradient", "g_gradient", "g_least_gradient")


def append_log(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines to a log. Raises RunError if the disk refuses."""
    with files.writing(path), open(path, "a", encoding="utf-8") as file:
        file.writelines(map(_row, lines))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, without a last one that a crash cut short; [] if the file is missing.

    Statistics stored as null (NaN or infinite) are NaN. Raises RunError for a damaged file.
    """
    try:
        lines = _json_lines(path)
        for line in lines:
            missing = [name for name in (*STATISTICS, *GRADIENTS) if line.get(name, 0) is None]
            line.update(dict.fromkeys(missing, math.nan))
            if any(not isinstance(line[name], (int, float)) for name in (*PLACE, *STATISTICS)):
                raise ValueError
        return lines
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RunError(f"{path} is damaged: restore it, or start anew with --fresh") from None


def rewind(path: Path, lines: list[dict[str, Any]], images_seen: int) -> None:
    """Delete the `lines` of a log from after `images_seen` images; those without images stay."""
    if path.exists():
        kept = (line for line in lines if line.get("images", 0) <= images_seen)
        files.write(path, "".join(map(_row, kept)))


def append_metrics(path: Path, line: str) -> None:
    """Add an evaluation, one line of JSON, after dropping an earlier line that was cut short.

    Raises RunError if the disk refuses.
    """
    # locked: `ganvas evaluate` may end while a training adds an evaluation of its own
    with files.writing(path), FileLock(path.with_name(".metrics.lock")):
        before = path.read_bytes() if path.exists() else b""
        if before and not before.endswith(b"\n"):
            files.write(path, before[: before.rfind(b"\n") + 1])
        with open(path, "ab") as file:
            file.write(line.encode() + b"\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All evaluations, oldest first, without a last line that was cut short.

    Raises RunError for a damaged file.
    """
    try:
        lines = _json_lines(path)
        for line in lines:
            if not (
                isinstance(line, dict)
                and isinstance(line.get("fid"), float | int | None)
                and isinstance(line.get("images", 0), int)
                and isinstance(line.get("cost_seconds", 0), float | int)
            ):
                raise ValueError
        return lines
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: restore it, or delete it") from None


def _json_lines(path: Path) -> list[Any]:
    with files.reading(path):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _row(line: dict[str, Any]) -> str:
    """A line of the log as JSON, which has neither NaN nor infinity: both are stored as null."""
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in line.items()
    }
    return json.dumps(plain) + "\n"
