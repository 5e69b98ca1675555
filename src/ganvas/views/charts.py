"""Line charts as SVG, to stand within a page: no fonts, scripts or addresses of their own, colours
from the page's CSS.

Classes: "curve", "dot" and "band", each with "c0", "c1", ... for the colour, and "grid" and "axis".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 28, 42  # margins, for the labels
MAX_POINTS = 300  # of a curve; of more, stretches are drawn as one point each
MAX_MARKED_POINTS = 40  # of which each is marked
# the largest of values through the least, from which a scale that may be logarithmic is
STEEP = 30.0
LETTER = 7.5  # pixels, about
DASHES = ("", "6 4", "2 3", "9 3 2 3")  # so that curves are told apart without colours, too

Point = tuple[float, float, float, float]  # x, mean, least, most


@dataclass(frozen=True)
class Curve:
    """Values over x. A value that is None or not finite is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


def chart(curves: Sequence[Curve], x_title: str, *, log: bool = False) -> str:
    """An SVG of the curves with their names, "" where they hold no value.

    Of a long one, each point is the mean of a stretch, in a band from its least to its greatest
    value. log: the y axis may be logarithmic, and is where values are positive and far apart.
    """
    points = [_points(curve) for curve in curves]
    known = [point for runs in points for run in runs for point in run]
    if not known:
        return ""
    low, high = min(point[2] for point in known), max(point[3] for point in known)
    log = log and low > 0 and high / low > STEEP
    low, high, ticks = _scale_log(low, high) if log else _scale(low, high)
    first, last = min(point[0] for point in known), max(point[0] for point in known)
    first = min(first, 0.0)  # a training begins with no image seen
    last = last if last > first else first + 1

    def across(x: float) -> float:
        return LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        part = math.log(y / low) / math.log(high / low) if log else (y - low) / (high - low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    parts = [_horizontal(up(tick), axis_number(tick)) for tick in ticks]
    parts += [
        _vertical(across(tick), axis_number(tick))
        for tick in _scale(first, last, room=0)[2]
        if tick <= last
    ]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title, "middle"))
    for k, runs in enumerate(points):
        parts += _drawn(runs, k, across, up)
    label = "; ".join(
        text for curve, runs in zip(curves, points, strict=True) if (text := _in_words(curve, runs))
    )
    label = f"Chart over {x_title}: {label}"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">' + "".join([*parts, *_names(curves)]) + "</svg>"
    )


def axis_number(value: float) -> str:
    """A tick's number: 0.25, 500, 20k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= (1e4 if letter == "k" else size):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _points(curve: Curve) -> list[list[Point]]:
    """The curve without its gaps, in the pieces that are between them."""
    width = max(1, math.ceil(len(curve.x) / MAX_POINTS))
    runs: list[list[Point]] = [[]]
    for start in range(0, len(curve.x), width):
        ys = [y for y in curve.y[start : start + width] if y is not None and math.isfinite(y)]
        if ys:
            x = curve.x[min(start + width, len(curve.x)) - 1]
            runs[-1].append((x, math.fsum(ys) / len(ys), min(ys), max(ys)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _scale(low: float, high: float, room: float = 0.05) -> tuple[float, float, list[float]]:
    """Ends of an axis, with room beyond the values, and about five round ticks within them."""
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0) or 1.0
    low, high = low - room * (high - low), high + room * (high - low)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((each * power for each in (1, 2, 5) if each * power >= rough), 10 * power)
    return low, high, [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _scale_log(low: float, high: float) -> tuple[float, float, list[float]]:
    """The same of a logarithmic axis."""
    low, high = low / 1.2, high * 1.2
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [
        each * 10.0**power for power in powers for each in ((1,) if len(powers) > 4 else (1, 3))
    ]
    return low, high, [tick for tick in ticks if low <= tick <= high]


def _drawn(
    runs: Sequence[Sequence[Point]],
    k: int,
    across: Callable[[float], float],
    up: Callable[[float], float],
) -> list[str]:
    parts, colour = [], f"c{k % len(DASHES)}"
    for run in runs:
        if any(least < most for _, _, least, most in run):
            edge = [(x, least) for x, _, least, _ in run] + [
                (x, most) for x, _, _, most in reversed(run)
            ]
            parts.append(f'<path class="band {colour}" d="{_path(edge, across, up)}Z"/>')
        line = [(x, mean) for x, mean, *_ in run]
        parts.append(f'<path class="curve {colour}"{_dashed(k)} d="{_path(line, across, up)}"/>')
        if len(run) <= MAX_MARKED_POINTS:
            parts += [
                f'<circle class="dot {colour}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"/>'
                for x, y in line
            ]
    return parts


def _path(
    line: Sequence[tuple[float, float]],
    across: Callable[[float], float],
    up: Callable[[float], float],
) -> str:
    return "M" + "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line)


def _dashed(k: int) -> str:
    dashes = DASHES[k % len(DASHES)]
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _horizontal(y: float, text: str) -> str:
    line = f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    return line + _text(LEFT - 6, y + 4, text, "end")


def _vertical(x: float, text: str) -> str:
    foot = HEIGHT - BOTTOM
    anchor = "end" if x > WIDTH - RIGHT - 20 else "middle"
    return f'<path class="grid" d="M{x:.1f} {TOP}V{foot}"/>' + _text(x, foot + 16, text, anchor)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _names(curves: Sequence[Curve]) -> list[str]:
    """Which line is which, above the chart."""
    parts, x = [], float(LEFT)
    for k, curve in enumerate(curves):
        parts.append(f'<path class="curve c{k % len(DASHES)}"{_dashed(k)} d="M{x:.1f} 12h24"/>')
        parts.append(_text(x + 30, 16, curve.name, "start"))
        x += 30 + LETTER * len(curve.name) + 18
    return parts


def _in_words(curve: Curve, runs: Sequence[Sequence[Point]]) -> str:
    """For those who cannot see it: from where to where."""
    means = [point[1] for run in runs for point in run]
    if not means:
        return ""
    return (
        f"{curve.name} from {means[0]:.3g} to {means[-1]:.3g}, between {min(means):.3g} and"
        f" {max(means):.3g}"
    )
