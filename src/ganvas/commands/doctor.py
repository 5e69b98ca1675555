"""`ganvas doctor`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import print_json


def doctor(
    run: Path, /, *, json: bool = False, gan: Path | None = None, data_dir: Path | None = None
) -> None:
    """Say what ails a run, by which evidence, and what to run next.

    Parameters
    ----------
    run
        The run's directory; it may still be training.
    json
        Print one JSON document.
    gan
        The GAN's own file, where it is one of yours.
    data_dir
        Where named data sets are kept. Default: GANVAS_DATA, or ganvas's cache.
    """
    from ganvas.runs.run import Run
    from ganvas.views.diagnosis import examine

    diagnosis = examine(Run.open(run, gan=None if gan is None else str(gan)), data_dir)
    if json:
        print_json(diagnosis)
    else:
        print(diagnosis.to_text())
