"""Verbs that make runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ganvas.commands.options import (
    AS_THEY_ARE,
    Device,
    Pictures,
    Settings,
    Signed,
    Whole,
    process_start,
)


def train(
    recipe: str | None = None,
    /,
    *,
    data: str | None = None,
    images: Annotated[float | None, Signed] = None,
    epochs: Annotated[float | None, Signed] = None,
    minutes: Annotated[float | None, Signed] = None,
    seed: Annotated[int | None, Whole] = None,
    out: Path | None = None,
    set_: Settings = None,
    config: Path | None = None,
    pictures: Pictures = AS_THEY_ARE,
    flip: bool | None = None,
    device: Device | None = None,
    precision: Literal["32", "bf16", "fp16"] | None = None,
    threads: Annotated[int | None, Whole] = None,
    processes: Annotated[int | None, Whole] = None,
    evaluate_every: str | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    fresh: bool = False,
    verbose: bool = False,
) -> None:
    """Train a GAN, or go on with a run that is not finished.

    The same command again goes on where it stopped. The run's directory is printed last.

    Parameters
    ----------
    recipe
        A recipe's name (see ganvas recipes) or a GAN file: my_gan.py, my_gan.py:tiny. Default:
        r3gan/digits,
        r3gan/images for a folder, .zip or .npz, r3gan/stacked-mnist for such data, or that of
        --from or of the run in --out.
    data
        A data set's name, or a path: a folder of pictures, .zip, .npz or IDX files. Default:
        mnist-5k, or stacked-mnist
        for its recipe; with --from RUN, that run's.
    images
        Stop after so many training images.
    epochs
        Stop after so many passes over the data.
    minutes
        Stop after so much wall time, start-up and saving included.
    seed
        Of all random draws. Default: 0.
    out
        The run's directory. Default: the next number under runs/.
    set_
        Change settings of the recipe: path=value ..., such as train.batch=32 (see ganvas show).
    config
        Take these from a TOML file (but --out, --data-dir, --fresh, --verbose), or from another
        run's recipe.json to repeat it.
    flip
        Mirror half of the training images, left to right. Not for letters and digits.
    device
        Default: auto.
    precision
        32, or mixed with bf16 or fp16. Default: 32; of recipes made for speed bf16 where that is
        faster.
    threads
        CPU threads. Default: the fastest, measured once and stored with the run.
    processes
        Train on so many processes of this machine, one a GPU, sharing each batch.
    evaluate_every
        Judge the generator on the way, and keep the best: 20k images, 1 epoch, 500 steps; auto, as
        often as takes less
        than 10% of training time; or never. Default: never, or as before for a run that is gone on
        with.
    from_
        Start a new run from trained weights: of a run, of a generator.safetensors, or digits.
    fresh
        Start anew even where an unfinished run could go on; an earlier run in --out is set aside,
        and made once more
        where no recipe is named.
    verbose
        Print every line of the log.
    """
    from ganvas.launch import launch
    from ganvas.overrides import parse_assignments
    from ganvas.training import distributed

    run = launch.train(
        recipe,
        data=data,
        images=images,
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        out=out,
        settings=parse_assignments(set_ or []),
        config=config,
        size=pictures.sides,
        fit=pictures.fit,
        channels=pictures.channels,
        flip=flip,
        data_dir=pictures.data_dir,
        device=device,
        precision=precision,
        threads=threads,
        processes=processes,
        evaluate_every=evaluate_every,
        from_=from_,
        fresh=fresh,
        verbose=verbose,
        started=process_start(),
    )
    if distributed.is_first():
        print(run.path)
