"""Options with which pictures are read, described once for commands, cards, files and Python.

No torch here, so that --help is instant. Annotations are evaluated here, since cyclopts would look
up their names in the modules of subclasses.
"""

import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args

from cyclopts import Group, Parameter, Token

from ganvas.errors import DataError, SettingError, nearest
from ganvas.recipe import Channels, Fit

if TYPE_CHECKING:
    from ganvas.data.dataset import Dataset

Split = Literal["train", "test"]
Frames = Literal["first", "all"]

MAX_PIXELS = 64_000_000  # of an image to train on

READING = Group("Reading images", sort_key=2)  # of --help
SIGNED = Parameter(allow_leading_hyphen=True)  # so that -1 is refused as a value, not as an option


def _sides(kind: Any, tokens: Sequence[Token]) -> tuple[int, int]:
    text = tokens[0].value
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text.strip())
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(sides) < 1:
        raise SettingError(f"--size {text}: expected H or HxW in pixels, such as 64 or 50x70")
    return sides


def _low_high(kind: Any, tokens: Sequence[Token]) -> tuple[float, float]:
    text = tokens[0].value
    with suppress(ValueError):
        low, high = map(float, text.split(":"))
        return low, high
    raise SettingError(f"--range {text}: expected LOW:HIGH, such as 0:4095")


DataDirOption = Annotated[
    Path | None,
    Parameter(
        group=READING,
        help="Folder of the named data sets. Default: $GANVAS_DATA, or ganvas's cache.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The options with which pictures are read; None where not given.

    Raises SettingError for impossible values.
    """

    size: Annotated[
        tuple[int, int] | None,
        SIGNED,
        Parameter(
            group=READING,
            help="H or HxW in pixels: resize all images to it. Default: the size that they all"
            " have, with sides above 128 reduced, else the recipe's.",
            converter=_sides,
            n_tokens=1,
            metavar="SIZE",
        ),
    ] = None
    fit: Annotated[
        Fit | None,
        Parameter(
            group=READING,
            help="How images of another shape are fitted to the size. Default: crop, or pad where"
            " crop would cut off much or the images are transparent.",
        ),
    ] = None
    channels: Annotated[
        Channels | None,
        Parameter(
            group=READING,
            help="1 for grey, 3 for RGB, 4 for RGBA. Default: as many as the images need.",
        ),
    ] = None
    range: Annotated[
        tuple[float, float] | None,
        SIGNED,
        Parameter(
            group=READING,
            help="Values that become black and white, of images with more than 8 bits or with"
            " floats, such as 0:4095. Default: the smallest usual range that holds all values.",
            converter=_low_high,
            n_tokens=1,
            metavar="LOW:HIGH",
        ),
    ] = None
    label_column: Annotated[
        str | None,
        Parameter(
            group=READING,
            help="Column of a table that holds the classes. Default: label, or the only one.",
        ),
    ] = None
    zip_encoding: Annotated[
        str | None,
        Parameter(
            group=READING,
            help="Encoding of the names in a .zip, such as gbk. Default: found from the names.",
        ),
    ] = None
    pages: Annotated[
        Frames | None, Parameter(group=READING, help="Pages to take of a TIFF. Default: first.")
    ] = None
    frames: Annotated[
        Frames | None,
        Parameter(group=READING, help="Frames to take of an animated picture. Default: first."),
    ] = None
    max_megapixels: Annotated[
        float | None,
        SIGNED,
        Parameter(
            group=READING, help="Refuse pictures with more megapixels than this. Default: 250."
        ),
    ] = None

    def __post_init__(self) -> None:
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size, self.size))
        check_size("size", self.size)
        for name, known in (("fit", Fit), ("pages", Frames), ("frames", Frames)):
            check_choice(f"--{name}", getattr(self, name), get_args(known))
        if self.channels not in (None, *get_args(Channels)):
            raise SettingError(f"channels is {self.channels!r}, expected 1, 3 or 4")
        if self.range is not None:
            try:
                low, high = map(float, self.range)
            except (TypeError, ValueError):
                raise SettingError(f"range is {self.range!r}, expected (low, high)") from None
            object.__setattr__(self, "range", (low, high))
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise SettingError(f"--range {low:g}:{high:g}: expected LOW below HIGH")
        if self.max_megapixels is not None and not 0 < self.max_megapixels < math.inf:
            raise SettingError(f"--max-megapixels {self.max_megapixels}: expected more than 0")

    def given(self) -> dict[str, Any]:
        """The options that were given, by name."""
        options = {each.name: getattr(self, each.name) for each in fields(ReadOptions)}
        return {name: value for name, value in options.items() if value is not None}


def check_size(name: str, size: Any) -> None:
    """Raises SettingError unless `size` is None or (H, W) within MAX_PIXELS."""
    if size is None:
        return
    try:
        possible = len(size) == 2 and min(size) >= 1 and math.prod(size) <= MAX_PIXELS
    except TypeError:  # text, or numbers with a fraction
        possible = False
    if not possible:
        raise SettingError(f"{name} is {size!r}, expected (height, width) within 64 megapixels")


def check_choice(option: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises SettingError unless an option's value is None or one of `known`."""
    if value is not None and value not in known:
        raise SettingError(f"{option} {value}: {nearest(str(value), known)}")


class NoHeldOutError(DataError):
    """The data set has no held-out part."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading(ReadOptions):
    """The options with which images are read, and the folder of the named data sets."""

    data_dir: DataDirOption = None

    def load(
        self,
        what: str | os.PathLike[str],
        *,
        split: Split = "train",
        native: tuple[int, int] | None = None,
        side: int | None = None,
        fetch: bool = True,
    ) -> "Dataset":
        """Read a data set with these options. The arguments are those of `load_dataset`."""
        from ganvas.data.load import load_dataset  # imports torch

        options: Any = self.given()
        return load_dataset(
            what,
            split=split,
            native=native,
            side=side,
            data_dir=self.data_dir,
            fetch=fetch,
            **options,
        )

    def held_out(self, what: str | os.PathLike[str], training: "Dataset") -> "Dataset | None":
        """Read the held-out part of what `training` was read from, in the same way.

        Returns None if nothing is held out.
        """
        same: dict[str, Any] = training.read_as.given()
        same |= {"size": (training.height, training.width), "channels": training.channels}
        with suppress(NoHeldOutError):
            return replace(self, **same).load(what, split="test")
        return None


AS_STORED = Reading()


class ReadArguments(TypedDict, total=False):
    """The same options as keyword arguments, for type checkers and editors."""

    size: tuple[int, int] | int | None
    fit: Fit | None
    channels: Channels | None
    range: tuple[float, float] | None
    label_column: str | None
    zip_encoding: str | None
    pages: Frames | None
    frames: Frames | None
    max_megapixels: float | None


class ReadingArguments(ReadArguments, total=False):
    """The fields of `Reading` as keyword arguments."""

    data_dir: str | os.PathLike[str] | None
