"""`ganvas doctor`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import GanOption, print_json
from ganvas.data.reading import DataDirOption


def doctor(
    run: Path, /, *, gan: GanOption = None, data_dir: DataDirOption = None, json: bool = False
) -> None:
    """Diagnose a run: its state, the evidence, and what to run next.

    Parameters
    ----------
    run
        The run's directory. The run may still be training.
    json
        Print one JSON document.
    """
    from ganvas.runs.run import Run
    from ganvas.views.diagnosis import examine

    diagnosis = examine(Run.open(run, gan=gan), data_dir)
    if json:
        print_json(diagnosis)
    else:
        print(diagnosis.to_text())
