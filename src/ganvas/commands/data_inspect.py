"""`ganvas data inspect`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import print_json
from ganvas.data.reading import AS_STORED, Reading


def inspect(
    data: str,
    /,
    *,
    recipe: str | None = None,
    reading: Reading = AS_STORED,
    out: Path = Path("inspect.png"),
    json: bool = False,
) -> None:
    """Report what a data set holds and what training on it costs here, and write a sheet of it.

    Parameters
    ----------
    data
        A data set's name or a path.
    recipe
        The recipe to time. Default: the one that ganvas train would take.
    out
        The PNG to write the sheet to.
    json
        Print one JSON document.
    """
    from ganvas.views import inspect_data

    report = inspect_data.inspect_data(data, recipe=recipe, out=out, reading=reading)
    if json:
        print_json(report.to_json())
    else:
        print(report.to_text())
