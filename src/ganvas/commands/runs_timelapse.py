"""`ganvas runs` and `ganvas timelapse`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from ganvas.commands.options import print_json, print_table
from ganvas.data.reading import SIGNED
from ganvas.runs.train_options import check_positive


def runs(folder: Path | None = None, /, *, json: bool = False) -> None:
    """List runs: state, recipe, data, images seen, minutes of training and best FID.

    Parameters
    ----------
    folder
        The folder of the runs. Default: runs.
    json
        Print one JSON document.
    """
    from ganvas.runs.folder import RUNS
    from ganvas.views.run_list import list_runs

    # the folder does not exist before the first training
    rows = list_runs(folder or RUNS) if folder or RUNS.is_dir() else []
    if json:
        print_json(rows)
        return
    if not rows:
        print(f"no runs in {folder or RUNS}: make one with ganvas train", file=sys.stderr)
        return
    lines = []
    for row in rows:
        numbers = (row.images_seen, ","), (row.minutes, ".1f"), (row.best_fid, ".3g")
        figures = ["-" if value is None else format(value, form) for value, form in numbers]
        names = [row.run, row.progress, row.recipe or "-", row.data or "-"]
        lines.append([*names, *figures, row.extractor or "-"])
    titles = ["run", "state", "recipe", "data", "images seen", "minutes", "best FID", "by"]
    print_table(titles, lines)
    for row in rows:
        if row.error:
            print(f"damaged: {row.error}", file=sys.stderr)


def timelapse(
    run: Path, /, *, out: Path = Path("timelapse.gif"), seconds: Annotated[float, SIGNED] = 8.0
) -> None:
    """Make a GIF of a run's sheets of samples, from first to last.

    Parameters
    ----------
    run
        The run's directory.
    out
        The GIF to write.
    seconds
        Length of the GIF.
    """
    from ganvas.runs.run import Run
    from ganvas.views.timelapse import write_gif

    check_positive("--seconds", seconds)
    print(write_gif(Run.open(run), out, seconds))
