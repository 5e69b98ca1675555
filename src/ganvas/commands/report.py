"""`ganvas report`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import GanOption
from ganvas.data.reading import DataDirOption


def report(
    run: Path,
    /,
    *,
    out: Path | None = None,
    gan: GanOption = None,
    evaluate: bool = False,
    data_dir: DataDirOption = None,
) -> None:
    """Write a page about a run: one HTML file to read, print or send, without outside links.

    It shows samples over time, curves, scores, the copy check, the doctor's findings, all settings,
    and the commands that repeat it.

    Parameters
    ----------
    run
        The run's directory. The run may still be training.
    out
        The HTML file; an earlier report is replaced. Default: report.html in the run's directory.
    evaluate
        Evaluate the generator first, as ganvas evaluate --copies does.
    """
    from ganvas.runs.run import Run
    from ganvas.views.report import write_report

    print(write_report(Run.open(run, gan=gan), out, evaluate=evaluate, data_dir=data_dir))
