"""`ganvas demo 1d`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ganvas.commands.options import Whole


def demo_1d(
    *, out: Path = Path("."), seed: Annotated[int, Whole] = 0, steps: Annotated[int, Whole] = 1500
) -> None:
    """Draw a GAN learning a density in one dimension: demo-1d.png and demo-1d.gif.

    Parameters
    ----------
    out
        The folder for both pictures.
    seed
        Of the demonstration's random draws.
    steps
        Training steps.
    """
    from ganvas.views import demo

    for path in demo.demo_1d(out, seed=seed, steps=steps):
        print(path)
