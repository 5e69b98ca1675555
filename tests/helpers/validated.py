"""Trainings with evaluations, and what these leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganvas.runs.run import Run

PLAN: dict[str, Any] = {"images": 320.0, "seed": 3}
EVERY: dict[str, Any] = PLAN | {"evaluate_every": "96 images"}
AT = [96, 192, 288, 320]


def lines(path: Path) -> list[dict[str, Any]]:
    """Return a run's evaluations without their cost."""
    return [
        {name: value for name, value in line.items() if "seconds" not in name}
        for line in Run.open(path).read_metrics()
    ]
