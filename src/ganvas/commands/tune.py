"""The verb that searches for settings."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal

from ganvas.commands.options import (
    AS_THEY_ARE,
    Device,
    Pictures,
    Settings,
    Signed,
    Whole,
    print_json,
    print_table,
    process_start,
)


def tune(
    recipe: str | None = None,
    /,
    *,
    data: str | None = None,
    minutes: Annotated[float | None, Signed] = None,
    trials: Annotated[int | None, Whole] = None,
    images: Annotated[float | None, Signed] = None,
    seed: Annotated[int | None, Whole] = None,
    out: Path = Path("tuned.toml"),
    set_: Settings = None,
    pictures: Pictures = AS_THEY_ARE,
    flip: bool | None = None,
    device: Device | None = None,
    precision: Literal["32", "bf16", "fp16"] | None = None,
    threads: Annotated[int | None, Whole] = None,
    json: bool = False,
) -> None:
    """Search for gamma, learning rate and augmentation on your data, and write them for ganvas
    train --config.

    Short trainings, the first with the recipe's own settings, are scored by held-out images. Ctrl-C
    ends the search; the best
    so far is written. Needs Optuna: pip install 'ganvas[tune]'.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file. Default: r3gan/digits, r3gan/images for a folder, .zip or
        .npz,
        r3gan/stacked-mnist for such data.
    data
        A data set's name, or a path. Default: mnist-5k, or stacked-mnist for its recipe.
    minutes
        Wall time of the whole search, start-up included. Default: 10, or none where --trials and
        --images are given.
    trials
        Trainings, the first with the recipe's own settings. Default: as many as there is time for.
    images
        Training images that each trial sees. Default: as many as there is time for. With --trials,
        --threads,
        --precision and no --minutes, the same command gives the same result.
    seed
        Of all random draws. Default: 0.
    out
        The TOML to write; an earlier one is kept beside it.
    set_
        Change settings of the recipe, which the search then starts from: path=value ...
    flip
        Mirror half of the training images, left to right. Not for letters and digits.
    device
        Default: auto.
    precision
        32, or mixed with bf16 or fp16. Default: as ganvas train chooses.
    threads
        CPU threads. Default: the fastest, measured once.
    json
        Print one JSON document.
    """
    from ganvas.overrides import parse_assignments
    from ganvas.tuning import search as tuning

    tuned = tuning.tune(
        recipe,
        data=data,
        minutes=minutes,
        trials=trials,
        images=images,
        seed=seed,
        out=out,
        settings=parse_assignments(set_ or []),
        size=pictures.sides,
        fit=pictures.fit,
        channels=pictures.channels,
        flip=flip,
        data_dir=pictures.data_dir,
        device=device,
        precision=precision,
        threads=threads,
        started=process_start(),
    )
    if json:
        print_json(tuned.to_json())
    else:
        print_table(tuned.columns, tuned.rows())
        print(tuned.out)
    if tuned.stopped:
        raise (
            KeyboardInterrupt if tuned.stopped == signal.SIGINT else SystemExit(128 + tuned.stopped)
        )
