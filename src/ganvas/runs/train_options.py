"""The options of a training, described once: for `ganvas train`, --config files and `ganvas.train`.

No torch here, so that --help is instant.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ganvas.data.reading import SIGNED, Reading, ReadingArguments
from ganvas.errors import SettingError
from ganvas.recipe import Device, Precision

MAX_THREADS = 4096


def check_positive(name: str, value: float | None, most: int | None = None) -> None:
    """Raise SettingError if an option is given and not in (0, most]."""
    if value is None:
        return
    if not 0 < value < float("inf"):
        raise SettingError(f"{name} {value}: expected more than 0")
    if most is not None and value > most:
        raise SettingError(f"{name} {value}: expected at most {most:,}")


def _whole(kind: Any, tokens: Sequence[Token]) -> int:
    # cyclopts by itself would silently round 1.5
    try:
        return int(tokens[0].value)
    except ValueError:
        option = f"{tokens[0].keyword} {tokens[0].value}"
        raise SettingError(f"{option}: expected a whole number") from None


WHOLE = Parameter(allow_leading_hyphen=True, converter=_whole)
Number = Annotated[float | None, SIGNED]

# Options of several commands, each with its help text.
SeedOption = Annotated[int | None, WHOLE, Parameter(help="Seed of all random draws. Default: 0.")]
FlipOption = Annotated[
    bool | None,
    Parameter(help="Mirror half of the training images, left to right. Not for letters or digits."),
]
DeviceOption = Annotated[Device | None, Parameter(help="Where to train. Default: auto.")]
PrecisionOption = Annotated[
    Precision | None,
    Parameter(
        help="32 bits, or mixed precision with bf16 or fp16. Default: 32, or bf16 if the recipe"
        " allows it and it is faster here."
    ),
]
ThreadsOption = Annotated[
    int | None, WHOLE, Parameter(help="CPU threads. Default: the fastest number, measured once.")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainOptions(Reading):
    """All options that a command line, a --config file and Python share; None where not given."""

    data: Annotated[
        str | None,
        Parameter(
            help="A data set's name or a path: a folder or an archive of images, arrays, tables of"
            " pixels, parquet or IDX files; FILE:NAME names an array in a file. Default: mnist-5k,"
            " or what the recipe or the run of --from was made for."
        ),
    ] = None
    images: Annotated[Number, Parameter(help="Stop after this many training images.")] = None
    epochs: Annotated[Number, Parameter(help="Stop after this many passes over the data.")] = None
    minutes: Annotated[
        Number, Parameter(help="Stop after this much wall time, including start-up and saving.")
    ] = None
    seed: SeedOption = None
    flip: FlipOption = None
    device: DeviceOption = None
    precision: PrecisionOption = None
    threads: ThreadsOption = None
    processes: Annotated[
        int | None,
        WHOLE,
        Parameter(help="Share each batch among this many processes of this machine, one per GPU."),
    ] = None
    evaluate_every: Annotated[
        str | None,
        Parameter(
            help="Evaluate the generator during training and keep the best one: an interval such as"
            " '20k images', '1 epoch' or '500 steps'; auto, for less than 10% of the time; or"
            " never. Default: never, or what a resumed run was started with."
        ),
    ] = None
    from_: Annotated[
        str | None,
        Parameter(
            name="--from",
            help="Start a new run from trained weights: a run's directory, a"
            " generator.safetensors, or digits.",
        ),
    ] = None


class TrainArguments(ReadingArguments, total=False):
    """The same options as keyword arguments of `ganvas.train`, for type checkers and editors."""

    data: str | os.PathLike[str] | None
    images: float | None
    epochs: float | None
    minutes: float | None
    seed: int | None
    flip: bool | None
    device: Device | None
    precision: Precision | None
    threads: int | None
    processes: int | None
    evaluate_every: str | None
    from_: str | os.PathLike[str] | None
