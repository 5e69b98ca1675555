"""`ganvas train`."""

from __future__ import annotations

from pathlib import Path

from ganvas.commands.options import Settings, process_start
from ganvas.runs.train_options import TrainOptions

NO_OPTIONS = TrainOptions()


def train(
    recipe: str | None = None,
    /,
    *,
    options: TrainOptions = NO_OPTIONS,
    set_: Settings = None,
    config: Path | None = None,
    out: Path | None = None,
    fresh: bool = False,
    verbose: bool = False,
) -> None:
    """Train a GAN, or resume an unfinished run.

    The same command resumes where it stopped. The last line printed is the run's directory.

    Parameters
    ----------
    recipe
        A recipe's name (see ganvas recipes) or a GAN file: my_gan.py, my_gan.py:tiny. Default: the
        recipe of --from or of the run in --out, else r3gan/digits, projected/images for images at a
        path that is no IDX file (r3gan/images up to 32 pixels), or r3gan/stacked-mnist for
        stacked-mnist.
    set_
        Change settings of the recipe: path=value ..., such as train.batch=32 (see ganvas show).
    config
        A TOML file with any of these options, except --out, --data-dir, --fresh and --verbose; or a
        run's recipe.json, to repeat that run.
    out
        The run's directory. Default: the next number under runs/. A finished run goes on if a
        greater length is given.
    fresh
        Do not resume. An earlier run in --out is set aside, and repeated if no recipe is given.
    verbose
        Print every line of the log.
    """
    from ganvas.launch import launch
    from ganvas.overrides import parse_assignments
    from ganvas.training import distributed

    run = launch.train(
        recipe,
        out=out,
        config=config,
        settings=parse_assignments(set_ or []),
        fresh=fresh,
        verbose=verbose,
        started=process_start(),
        **vars(options),
    )
    if distributed.is_first():
        print(run.path)
