"""The folder of runs: which numbers are taken, and what becomes of a run that stands in the way."""

from __future__ import annotations

import re
from pathlib import Path

from ganvas.errors import SettingError
from ganvas.system import files

RUNS = Path("runs")


def numbered_runs() -> list[tuple[int, Path]]:
    """What has a number under runs/, with it, newest first."""
    found = (
        [(re.match("[0-9]{4,}(?=-)", path.name), path) for path in RUNS.iterdir()]
        if RUNS.is_dir()
        else []
    )
    return sorted(((int(number[0]), path) for number, path in found if number), reverse=True)


def set_aside(path: Path) -> Path:
    if path.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise SettingError(
            f"--fresh cannot set {path} aside while you stand in it: go elsewhere first"
        )
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    kept = path.with_name(f"{path.name}.{number}")
    with files.writing(kept):
        path.rename(kept)
    return kept
