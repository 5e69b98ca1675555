"""Options that several commands take, and the printing of results. No torch at the top."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ganvas.data.reading import Reading

if TYPE_CHECKING:
    from ganvas.training.preflight import Prepared

Settings = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)]
GanOption = Annotated[
    str | None, Parameter(help="The GAN's file, if it is your own.", metavar="PATH")
]


def prepare_recipe(
    recipe: str, data: str | None, set_: list[str] | None, reading: Reading, device: str = ""
) -> Prepared:
    """Prepare a recipe for a data set, or for the recipe's native images, without any preset."""
    from ganvas.overrides import parse_assignments
    from ganvas.runs.request import Request
    from ganvas.training.preflight import prepare

    settings = parse_assignments(set_ or [])
    request = Request.of(recipe=recipe, data=data, settings=settings, **vars(reading))
    return prepare(request, device, preset=False)


def process_start() -> float:
    """Return the time.time() at which this command was started; --minutes count from it."""
    import psutil

    return float(psutil.Process().create_time())


def print_json(document: Any) -> None:
    """Print in UTF-8, as JSON always is, whatever the terminal's encoding."""
    import msgspec

    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


MAX_WHOLE = 20  # characters of a word, such as a number, that is never broken


def print_table(columns: list[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table as wide as the terminal, or wider if its numbers would not fit."""
    from rich import box
    from rich.cells import cell_len  # characters of some scripts are two cells wide
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if any(columns) else None, show_header=any(columns))
    lines = [list(row) for row in rows]
    for cells in zip(columns, *lines, strict=True):
        words = ["-", *(word for cell in cells for word in cell.split())]
        width = max(min(cell_len(word), MAX_WHOLE) for word in words)
        # as Text, since plain strings may hold markup
        table.add_column(Text(cells[0]), min_width=width, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table, crop=False)
