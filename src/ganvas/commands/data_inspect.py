"""`ganvas data inspect`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import (
    AS_THEY_ARE,
    Pictures,
    print_json,
)


def inspect(
    what: str,
    /,
    *,
    json: bool = False,
    recipe: str | None = None,
    out: Path = Path("inspect.png"),
    pictures: Pictures = AS_THEY_ARE,
) -> None:
    """Say what a data set holds and what training on it will cost here; write a sheet of it.

    Parameters
    ----------
    what
        A data set's name or a path.
    json
        Print one JSON document.
    recipe
        The recipe whose training to measure. Default: what train would take.
    out
        Where the sheet is written.
    """
    from ganvas.views import inspect_data

    report = inspect_data.inspect_data(
        what,
        recipe=recipe,
        out=out,
        size=pictures.sides,
        fit=pictures.fit or "crop",
        channels=pictures.channels,
        data_dir=pictures.data_dir,
    )
    if json:
        print_json(report.to_json())
    else:
        print(report.to_text())
