"""Options that several verbs of the command line take, and what they stand for. No torch before
they are used."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from ganvas.errors import SettingError

if TYPE_CHECKING:
    from ganvas.data.dataset import Dataset
    from ganvas.gan import GanFile
    from ganvas.recipe import ImageSpec, Recipe

Signed = Parameter(allow_leading_hyphen=True)


def _whole(kind: Any, tokens: Sequence[Token]) -> int:
    """cyclopts by itself rounds 1.5 to a whole number in silence."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise SettingError(
            f"{tokens[0].keyword} {tokens[0].value}: expected a whole number"
        ) from None


Whole = Parameter(allow_leading_hyphen=True, converter=_whole)
Device = Literal["auto", "cpu", "cuda", "mps"]


@Parameter(name="*")
@dataclass(frozen=True)
class Pictures:
    """How pictures are read.

    Parameters
    ----------
    size
        H or HxW: bring all pictures to this size.
    fit
        How pictures get that size: crop (default), pad or stretch.
    channels
        1 grey, 3 RGB, 4 RGBA. Default: what the pictures need.
    data_dir
        Where named data sets are kept. Default: GANVAS_DATA, or ganvas's cache.
    """

    size: Annotated[str | None, Signed] = None
    fit: Literal["crop", "pad", "stretch"] | None = None
    channels: Literal[1, 3, 4] | None = None
    data_dir: Path | None = None

    @property
    def sides(self) -> tuple[int, int] | None:
        """ "64" or "50x70" as (height, width)."""
        if self.size is None:
            return None
        match = re.fullmatch(r"(-?\d+)(?:[xX](-?\d+))?", self.size.strip())
        if not match:
            raise SettingError(
                f"--size {self.size}: expected H or HxW in pixels, such as 64 or 50x70"
            )
        sides = int(match[1]), int(match[2] or match[1])
        if min(sides) < 1:
            raise SettingError(f"--size {self.size}: both sides must be 1 pixel or more")
        return sides


AS_THEY_ARE = Pictures()
Settings = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)]


def recipe_and_data(
    name: str, data: str | None, set_: list[str] | None, pictures: Pictures
) -> tuple[str, GanFile, Recipe, ImageSpec, Dataset | None]:
    """A recipe with its changes, and the images to shape it for: a data set's, or the recipe's own
    kind."""
    from ganvas import data as sources
    from ganvas import gans
    from ganvas.overrides import override, parse_assignments, resolve_gamma
    from ganvas.recipe import ImageSpec

    full, file, recipe = gans.find_recipe(name)
    recipe, native = override(recipe, parse_assignments(set_ or [])), recipe.native
    if data is None:
        for option, value in (("--fit", pictures.fit), ("--data-dir", pictures.data_dir)):
            if value is not None:
                raise SettingError(
                    f"{option} {value} does nothing without --data: name the data, or leave it out"
                )
        height, width = pictures.sides or (native.height, native.width)
        spec = replace(
            native, height=height, width=width, channels=pictures.channels or native.channels
        )
        return full, file, resolve_gamma(recipe, spec)[0], spec, None
    dataset = sources.load_dataset(
        data,
        size=pictures.sides,
        native=(native.height, native.width),
        fit=pictures.fit or "crop",
        channels=pictures.channels,
        data_dir=pictures.data_dir,
    )
    spec = ImageSpec.of(dataset)
    return full, file, resolve_gamma(recipe, spec)[0], spec, dataset


def process_start() -> float:
    """When this command was started, in seconds since 1970: what --minutes counts from."""
    import psutil

    return float(psutil.Process().create_time())


def positive(name: str, value: float | None) -> None:
    """Raises SettingError for an option that is given and is not a number above 0."""
    if value is not None and not 0 < value < float("inf"):
        raise SettingError(f"{name} {value}: expected more than 0")


def check_threads(value: int | None) -> None:
    """Raises SettingError for a number of --threads that is given and cannot be."""
    from ganvas.runs.card import MAX_THREADS

    positive("--threads", value)
    if value is not None and value > MAX_THREADS:
        raise SettingError(f"--threads {value}: expected at most {MAX_THREADS}")


def print_json(document: Any) -> None:
    """In UTF-8, which JSON always is, whatever the terminal's encoding."""
    import msgspec

    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


WHOLE = 20  # characters of a word, such as a number, that is never broken at the end of a column
BESIDE = 3  # a column's spaces to its left and right, and one to the next


def print_table(columns: list[str], rows: Iterable[Iterable[str]]) -> None:
    """A table as wide as the terminal, or wider where its numbers would not fit."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if any(columns) else None, show_header=any(columns))
    lines = [list(row) for row in rows]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    widths = _widths(
        list(zip(columns, *lines, strict=True)), console.width - BESIDE * len(columns) - 1
    )
    for column, width in zip(columns, widths, strict=True):
        # plain strings would be markup
        table.add_column(Text(column), width=width, overflow="fold")
    for row in lines:
        table.add_row(*map(Text, row))
    console.width = max(console.width, sum(widths) + BESIDE * len(columns) + 1)
    console.print(table)


def _widths(columns: list[tuple[str, ...]], width: int) -> list[int]:
    """Characters for each column, of `width` in all: enough for its words, and from left to right
    for its lines."""
    from rich.cells import cell_len  # characters of some scripts are two wide

    least = [
        max(min(cell_len(word), WHOLE) for cell in ("-", *cells) for word in cell.split())
        for cells in columns
    ]
    left = max(0, width - sum(least))
    widths = []
    for cells, needed in zip(columns, least, strict=True):
        more = max(0, min(left, max(map(cell_len, cells)) - needed))
        left -= more
        widths.append(needed + more)
    return widths
