"""`ganvas demo 1d`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ganvas.runs.train_options import WHOLE


def demo_1d(
    *, out: Path = Path("."), seed: Annotated[int, WHOLE] = 0, steps: Annotated[int, WHOLE] = 1500
) -> None:
    """Draw a GAN as it learns a density in one dimension: demo-1d.png and demo-1d.gif.

    Parameters
    ----------
    out
        The folder to write both pictures to.
    seed
        Seed of all random draws.
    steps
        Training steps.
    """
    from ganvas.views import demo

    for path in demo.demo_1d(out, seed=seed, steps=steps):
        print(path)
