"""Verbs that look back at runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from ganvas.commands.options import Signed, positive, print_json, print_table


def runs(folder: Path | None = None, /, *, json: bool = False) -> None:
    """List runs: state, recipe, data, images seen, minutes of training and best FID.

    Parameters
    ----------
    folder
        Where they are. Default: runs.
    json
        Print one JSON document.
    """
    from ganvas.runs.folder import RUNS
    from ganvas.views.run_list import list_runs

    # before the first training there is no folder
    rows = list_runs(folder or RUNS) if folder or RUNS.is_dir() else []
    if json:
        print_json(rows)
        return
    if not rows:
        print(f"no runs in {folder or RUNS}: ganvas train makes them", file=sys.stderr)
        return
    print_table(
        ["run", "state", "recipe", "data", "images seen", "minutes", "best FID", "by"],
        [
            [
                row.run,
                row.progress,
                row.recipe or "-",
                row.data or "-",
                *(
                    "-" if value is None else format(value, form)
                    for value, form in (
                        (row.images_seen, ","),
                        (row.minutes, ".1f"),
                        (row.best_fid, ".3g"),
                    )
                ),
                row.extractor or "-",
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row.error:
            print(f"damaged: {row.error}", file=sys.stderr)


def timelapse(
    run: Path, /, *, out: Path = Path("timelapse.gif"), seconds: Annotated[float, Signed] = 8.0
) -> None:
    """Make a GIF of a run's sheets, from its first images to its last.

    Parameters
    ----------
    run
        The run's directory.
    out
        Where the GIF is written.
    seconds
        How long it is.
    """
    from ganvas.runs.run import Run
    from ganvas.views import timelapse as film

    positive("--seconds", seconds)
    print(film.write_gif(Run.open(run), out, seconds))
