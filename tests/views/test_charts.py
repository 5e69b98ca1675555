"""Line charts as SVG."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from ganvas.views import charts
from ganvas.views.charts import Curve, chart


def paths(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    """The corners of each path of a class, but for the names' own."""
    ET.fromstring(svg)
    found = re.findall(rf'<path class="{kind} c\d"[^>]*? d="M([^"h]*?)Z?"', svg)
    return [
        [(float(x), float(y)) for x, y in (corner.split() for corner in path.split("L"))]
        for path in found
    ]


def test_values_are_where_the_axes_say() -> None:
    svg = chart([Curve("loss", [100, 200, 400], [1.0, 3.0, 2.0])], "images seen")
    (line,) = paths(svg, "curve")
    ticks = {
        text: float(y) - 4
        for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', svg)
    }
    assert [y for _, y in line] == pytest.approx([ticks["1"], ticks["3"], ticks["2"]], abs=0.11)
    across = {
        text: float(x)
        for x, text in re.findall(r'x="([\d.]+)" y="254.0" text-anchor="\w+">(\d+)<', svg)
    }
    assert [x for x, _ in line] == pytest.approx(
        [across["100"], across["200"], across["400"]], abs=0.11
    )
    assert svg.count("<circle") == 3


@pytest.mark.parametrize("gap", [None, math.nan, math.inf])
def test_a_value_that_is_none_is_a_gap(gap: float | None) -> None:
    svg = chart([Curve("loss", range(5), [1.0, 2.0, gap, 3.0, 4.0])], "x")
    assert [len(path) for path in paths(svg, "curve")] == [2, 2]
    assert chart([Curve("loss", range(2), [gap, gap])], "x") == ""
    assert chart([Curve("loss", [], [])], "x") == ""


def test_of_many_values_none_is_hidden() -> None:
    """A leap between two points is in the band."""
    y = [1.0] * 100_000
    y[54_321] = 50.0
    svg = chart([Curve("loss", range(100_000), y)], "x")
    (line,), (band,) = paths(svg, "curve"), paths(svg, "band")
    assert len(line) <= charts.MAX_POINTS
    assert min(at for _, at in band) < min(at for _, at in line) - 100
    assert len(svg) < 30_000


def test_values_far_apart_are_on_a_logarithmic_axis() -> None:
    svg = chart([Curve("FID", [1, 2, 3], [0.1, 1.0, 10.0])], "x", log=True)
    (line,) = paths(svg, "curve")
    heights = [y for _, y in line]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert [text for text in re.findall(r">([\d.]+)</text>", svg) if text in ("0.1", "1", "10")][
        :3
    ] == [
        "0.1",
        "1",
        "10",
    ]
    for values in ([0.0, 1.0, 10.0], [1.0, 2.0, 3.0]):
        (line,) = paths(chart([Curve("FID", [1, 2, 3], values)], "x", log=True), "curve")
        assert (line[0][1] - line[1][1]) / (line[1][1] - line[2][1]) == pytest.approx(
            (values[1] - values[0]) / (values[2] - values[1]), rel=0.02
        )


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30, 1e300])
def test_one_value(value: float) -> None:
    (line,) = paths(chart([Curve("loss", [7], [value])], "x"), "curve")
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in line)


def test_names_are_text() -> None:
    svg = chart([Curve("<script>&\"'", [1, 2], [1.0, 2.0])], '<b>"')
    assert "<script" not in svg
    assert (
        ET.fromstring(svg).get("aria-label")
        == 'Chart over <b>": <script>&"\' from 1 to 2, between 1 and 2'
    )


def test_numbers_of_ticks() -> None:
    assert [charts.axis_number(v) for v in (0.25, 500, 5000, 20_000, 1.5e6, 3e9, -0.001)] == [
        "0.25",
        "500",
        "5000",
        "20k",
        "1.5M",
        "3G",
        "-0.001",
    ]
