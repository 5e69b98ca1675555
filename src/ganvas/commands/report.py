"""The verb that tells of a run on one page."""

from __future__ import annotations

from pathlib import Path


def report(
    run: Path,
    /,
    *,
    out: Path | None = None,
    gan: Path | None = None,
    evaluate: bool = False,
    data_dir: Path | None = None,
) -> None:
    """Write all that is known of a run as one HTML file, to look at, to print or to send.

    Samples over time, curves, report card, copy check, what the doctor finds, settings, and how to
    repeat it. The file asks for nothing beside itself.

    Parameters
    ----------
    run
        The run's directory; it may still be training.
    out
        Where the page is written; an earlier report is replaced. Default: report.html in the run's
        directory.
    gan
        The GAN's own file, where it is one of yours.
    evaluate
        Judge the generator first, with the copy check, as ganvas evaluate --copies does.
    data_dir
        Where named data sets are kept. Default: GANVAS_DATA, or ganvas's cache.
    """
    from ganvas.runs.run import Run
    from ganvas.views import report as page

    opened = Run.open(run, gan=None if gan is None else str(gan))
    print(page.write_report(opened, out, evaluate=evaluate, data_dir=data_dir))
