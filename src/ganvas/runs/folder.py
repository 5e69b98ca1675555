"""The folder runs/: numbered runs, and runs set aside."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ganvas.errors import SettingError
from ganvas.system import files

RUNS = Path("runs")


def numbered_runs() -> list[tuple[int, Path]]:
    """List (number, path) of all that has a number under runs/, newest first."""
    if not RUNS.is_dir():
        return []
    matches = [(re.match("[0-9]{4,}(?=-)", path.name), path) for path in RUNS.iterdir()]
    return sorted(((int(match[0]), path) for match, path in matches if match), reverse=True)


def make_numbered(label: str) -> Path:
    """Make the directory of a new run, runs/NUMBER-LABEL, with the next free number."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in label)
    with files.writing(RUNS):
        RUNS.mkdir(exist_ok=True)
        while True:
            newest = next(iter(numbered_runs()), (0, RUNS))[0]
            path = RUNS / f"{newest + 1:04d}-{name}"
            try:
                path.mkdir()
            except FileExistsError:  # another training took the number
                continue
            return path


def set_aside(path: Path) -> Path:
    """Rename PATH to PATH.1, or the next free number, and return the new path.

    Raises SettingError if the process works in that directory.
    """
    if path.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise SettingError(f"--fresh cannot set {path} aside while you are in it: leave it")
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    kept = next(free for free in numbered if not free.exists())
    with files.writing(kept):
        path.rename(kept)
    return kept
