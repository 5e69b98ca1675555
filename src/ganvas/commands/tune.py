"""`ganvas tune`."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvas.commands.options import (
    Settings,
    print_json,
    print_table,
    process_start,
)
from ganvas.data.reading import AS_STORED, SIGNED, Reading
from ganvas.runs.train_options import (
    WHOLE,
    DeviceOption,
    FlipOption,
    PrecisionOption,
    SeedOption,
    ThreadsOption,
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """The options of each training of a search, apart from its images and length."""

    flip: FlipOption = None
    seed: SeedOption = None
    device: DeviceOption = None
    precision: PrecisionOption = None
    threads: ThreadsOption = None


DEFAULT_TRIALS = TrialOptions()


def tune(
    recipe: str | None = None,
    /,
    *,
    data: str | None = None,
    minutes: Annotated[float | None, SIGNED] = None,
    trials: Annotated[int | None, WHOLE] = None,
    images: Annotated[float | None, SIGNED] = None,
    reading: Reading = AS_STORED,
    options: TrialOptions = DEFAULT_TRIALS,
    set_: Settings = None,
    out: Path = Path("tuned.toml"),
    json: bool = False,
) -> None:
    """Search gamma, learning rate and augmentation for your data; write a ganvas train --config.

    Short trainings, the first with the recipe's own settings, are scored by held-out images. Ctrl-C
    ends the search and writes the best so far. Needs Optuna: pip install 'ganvas[tune]'.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file. Default: one of r3gan, chosen for the data.
    data
        A data set's name or a path. Default: mnist-5k, or what the recipe was made for.
    minutes
        Wall time of the whole search, including start-up. Default: 10, or no limit if --trials and
        --images are given.
    trials
        Number of trainings. Default: as many as fit into the time.
    images
        Training images of each trial. Default: as many as fit into the time. With --trials,
        --threads, --precision and no --minutes, the same command gives the same result.
    set_
        Change settings of the recipe, from which the search starts: path=value ...
    out
        The TOML file to write; an earlier one is kept beside it.
    json
        Print one JSON document.
    """
    from ganvas.overrides import parse_assignments
    from ganvas.runs.request import Request
    from ganvas.tuning import search
    from ganvas.tuning.budget import SearchOptions

    settings, shared = parse_assignments(set_ or []), vars(reading) | vars(options)
    request = Request.of(recipe=recipe, data=data, settings=settings, **shared)
    length = SearchOptions(minutes=minutes, trials=trials, images=images)
    result = search.tune(request, length, out=out, started=process_start())
    if json:
        print_json(result.to_json())
    else:
        print_table(result.columns, result.rows())
        print(result.out)
    if number := result.stopped:  # by a signal
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
