"""`ganvas data inspect`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import print_json
from ganvas.data.reading import AS_STORED, Reading
from ganvas.runs.train_options import Number


def inspect(
    data: str,
    /,
    *,
    recipe: str | None = None,
    minutes: Number = None,
    no_cost: bool = False,
    reading: Reading = AS_STORED,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Report what a data set holds and what training on it will come to, and write a sheet of it.

    Parameters
    ----------
    data
        A data set's name or a path.
    recipe
        The recipe to train with. Default: the one that ganvas train would take.
    minutes
        The planned length of the training. Default: the recipe's.
    no_cost
        Do not measure what training costs here, which takes some ten seconds.
    out
        The PNG to write the sheet to. Default: inspect.png, or inspect-2.png and so on.
    json
        Print one JSON document.
    """
    from ganvas.system.progress import watched
    from ganvas.views import inspect_data

    report = inspect_data.inspect_data(
        data,
        recipe=recipe,
        minutes=minutes,
        out=out,
        cost=not no_cost,
        say=(lambda text: None) if json else (lambda text: print(text, flush=True)),
        watch=watched,
        **vars(reading),
    )
    if json:
        print_json(report.to_json())
