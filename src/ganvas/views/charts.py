"""Line charts of the report: SVG by matplotlib, legible on a light and on a dark page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

CHART_SIZE = (560, 300)  # pixels
MAX_POINTS = 300  # of a curve; longer ones are averaged over stretches of equal length
MAX_MARKED_POINTS = 40
# an axis is logarithmic only if the largest value is more than this many times the smallest
STEEP = 30.0
# Mid-tones, with a contrast of 3:1 or more to white and to the dark page. The dashes tell curves
# apart where colours do not.
STYLES = (("#2a85cc", "-"), ("#d9611e", "--"), ("#1b9a6c", ":"), ("#b8579a", "-."))
_TEXT_COLOUR = "#7a858f"
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text, in a font of the reader's
    "svg.hashsalt": "ganvas",  # the same chart is the same file
    "font.size": 12,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), _TEXT_COLOUR),
    **dict.fromkeys(("xtick.color", "ytick.color"), _TEXT_COLOUR),
}


class Curve(NamedTuple):
    """A named curve of a chart, with gaps where y is None or not finite."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]

    @property
    def known(self) -> list[float]:
        """The values without the gaps."""
        return [y for y in self.y if y is not None and math.isfinite(y)]


def chart(curves: Sequence[Curve], x_title: str, *, log: bool = False) -> bytes:
    """Draw curves over one x axis as an SVG; b"" if they hold no value.

    A curve of more than MAX_POINTS is drawn as means of stretches, within a band from the least to
    the greatest value of each.

    log: use a logarithmic y axis if all values are positive and they span more than STEEP.
    """
    known = [y for curve in curves for y in curve.known]
    if not known:
        return b""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(CHART_SIZE[0] / 72, CHART_SIZE[1] / 72), layout="constrained")
        axes = figure.subplots()
        for curve, (colour, dashes) in zip(curves, cycle(STYLES), strict=False):
            x, least, mean, greatest = _condensed(curve)
            marker = "o" if len(x) <= MAX_MARKED_POINTS else None
            axes.plot(x, mean, dashes, color=colour, label=curve.name, marker=marker, markersize=4)
            if len(x) < len(curve.x):
                axes.fill_between(x, least, greatest, color=colour, alpha=0.25, linewidth=0)
        if log and min(known) > 0 and max(known) > STEEP * min(known):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(left=0)  # a training begins with no image seen
        axes.set_xlabel(x_title)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=_TEXT_COLOUR, alpha=0.25)
        # above the axes, where it hides no curve
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(curves), frameon=False)
        buffer = io.BytesIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    return buffer.getvalue()


def in_words(curves: Sequence[Curve], x_title: str) -> str:
    """Describe a chart in words: the first, last, least and greatest value of each curve."""
    texts = [
        f"{curve.name} from {y[0]:.3g} to {y[-1]:.3g}, between {min(y):.3g} and {max(y):.3g}"
        for curve in curves
        if (y := curve.known)
    ]
    return f"Chart over {x_title}: {'; '.join(texts)}"


def _condensed(curve: Curve) -> tuple[NDArray[np.float64], ...]:
    """Return the last x of each stretch and the least, mean and greatest value in it."""
    x, y = np.array(curve.x, np.float64), np.array(curve.y, np.float64)
    width = max(1, math.ceil(len(x) / MAX_POINTS))
    missing = -len(x) % width
    ends = np.pad(x, (0, missing), mode="edge").reshape(-1, width)[:, -1]
    rows = np.ma.masked_invalid(np.pad(y, (0, missing), constant_values=np.nan)).reshape(-1, width)
    return ends, *(each.filled(math.nan) for each in (rows.min(1), rows.mean(1), rows.max(1)))
