"""The loss curves of a run, drawn with matplotlib."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ganvas.system.marks import SHEET_MARK

# blue and vermilion differ for the colour-blind too
_D_COLOUR, _G_COLOUR = "#0072b2", "#d55e00"


def losses(log: list[dict[str, Any]]) -> bytes:
    """Draw both losses and D's mean scores over epochs, with a running mean of many values, as PNG.

    A last line of the log that spans less than half an interval is left out: the mean of few steps
    would look like a leap.
    """
    log = log[:-1] if _short_last(log) else log
    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = np.array([line["epoch"] for line in log])
    for axes, name, label, colour in (
        (above, "d_loss", "D loss", _D_COLOUR),
        (above, "g_loss", "G loss", _G_COLOUR),
        (below, "d_real", "D(real)", _D_COLOUR),
        (below, "d_fake", "D(fake)", _G_COLOUR),
    ):
        values = np.array([line[name] for line in log], float)
        width, start, marker = len(values) // 100, 0, "." if len(values) < 20 else None
        if width > 1:
            axes.plot(epochs, values, color=colour, alpha=0.25, linewidth=0.8)
            values, start = np.convolve(values, np.full(width, 1 / width), "valid"), width - 1
        axes.plot(epochs[start:], values, color=colour, label=label, marker=marker)
    above.set_ylabel("loss")
    below.set_ylabel("mean score")
    below.set_xlabel("epochs")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if log:
            # above the axes, where it hides no curve
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=SHEET_MARK)
    return buffer.getvalue()


def _short_last(log: list[dict[str, Any]]) -> bool:
    if len(log) < 3:
        return False
    before, previous, last = (line["epoch"] for line in log[-3:])
    return bool(last - previous < (previous - before) / 2)
