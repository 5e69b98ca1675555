"""Artefacts of pictures in figures: patterns of the grid or a place, colours, backgrounds, borders.

Colours are in levels of 0 to 255. Those of transparent images count by their alpha.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

MIN_LOOKED_AT = 8  # pixels a side of images that are measured
MEASURED_AT_ONCE = 2**20  # values of the images that are measured at a time

# Patterns of the pixel grid: frequencies in quarters of a cycle per pixel, down and to the right.
# An upsampling by two leaves halves, an earlier one quarters; all others mirror one of these.
FREQUENCIES = ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2))
MIN_GRID_SIDE = 16  # pixels a side of images in which these frequencies have neighbours
# Root mean square, in levels, of a pattern too faint to see. Its energy is added everywhere.
UNSEEN = 0.25

# Fine detail is the difference from the mean over a square of this many pixels a side. It is looked
# at in images of DETAIL_SIDE pixels a side, less than twice as many at most.
DETAIL_SQUARE = 7
DETAIL_SIDE = 64
FAINT_DETAIL = 2.0  # levels, root mean square

# Colours, backgrounds and borders are looked at in cells, squares of pixels. This many are a side.
CELLS = 32
# Mean deviation, in levels, of real backgrounds from their median: below it they count as one, as
# drawings on plain paper do, and transparent pictures. With less than one in eight that differs,
# 64 samples without any would be chance.
VARIED_BACKGROUND = 24.0
# The same of a single side or corner, of which there are eight.
VARIED_BORDER = 32.0
FAINT_STEP = 16.0  # levels, of a step at the border that is hardly seen

Place = tuple[slice, slice]  # rows and columns


class Look(NamedTuple):
    """Statistics of a set of images.

    grid: (9,) energy at each of FREQUENCIES over that around it, the geometric mean over all
        images; None for small ones.
    likeness: squared cosine of two images' fine detail inside the border, the mean over all
        pairs: small, unless many have the same detail in one place; None for small images.
    colours: (N, 3) mean colour of each image that is not transparent; None for grey images.
    chroma: mean difference of the greatest and the least of a pixel's three colours.
    background: mean deviation, near the border, of a cell from its median over all images.
    variation: (8,) the same at the border itself, of each side and corner.
    step: (8 * C,) difference of each side and corner, in each channel, from the picture next to it;
        the median over all images.
    step_spread: (8 * C,) mean deviation of that difference from its median.
    roughness: mean difference of neighbouring cells, inside, in the median over all images.
    """

    grid: Tensor | None
    likeness: float | None
    colours: Tensor | None
    chroma: float
    background: float
    variation: Tensor
    step: Tensor
    step_spread: Tensor
    roughness: float

    @classmethod
    def of(cls, images: Tensor) -> Look:
        """Measure images uint8 (N, C, H, W)."""
        cells = torch.cat([_cells(part) for part in _parts(images)])
        median = cells.median(0).values
        away = (cells - median).abs().mean((0, 1))
        places = _border(*away.shape)
        outer = torch.cat([cells[(..., *place)].mean((2, 3)) for place, _ in places], 1)
        inner = torch.cat([cells[(..., *place)].mean((2, 3)) for _, place in places], 1)
        steps = outer - inner  # (N, 8 * C)
        step = steps.median(0).values
        colours, chroma = _colours(cells) if images.shape[1] > 1 else (None, 0.0)
        large = min(images.shape[2:]) >= MIN_GRID_SIDE
        return cls(
            grid=_grid_ratios(images) if large else None,
            likeness=_likeness(images) if large and len(images) > 1 else None,
            colours=colours,
            chroma=chroma,
            background=float(away[_ring(*away.shape)].mean()),
            variation=torch.stack([away[place].mean() for place, _ in places]),
            step=step,
            step_spread=(steps - step).abs().mean(0),
            roughness=float((median[:, 1:-2, 1:-2] - median[:, 2:-1, 2:-1]).abs().mean()),
        )


def artefact_figures(samples: Look, reals: Look) -> dict[str, float]:
    """Return the figures of samples by name, and those of real images as real_*.

    grid_peak: energy at a frequency of the pixel grid over the energy around it, at the frequency
        where it exceeds that of real images most.
    detail_likeness: likeness of the images' fine detail (`Look.likeness`).
    border_step: difference of a side or corner from the picture next to it, the median over all
        images, where it is off that of real images most.
    border_step_usual: mean deviation of that difference in real images, and twice the difference
        of neighbours inside the samples: what a border without artefacts may have.
    background: mean deviation near the border from the median over all images. Left out where real
        images have one background (VARIED_BACKGROUND).
    border_variation: the same at the side or corner that varies least, compared with real images.
        Left out where none of theirs varies (VARIED_BORDER).
    chroma: mean strength of the colours. Left out, like the following, for grey images.
    red_shift, green_shift, blue_shift: mean colour less that of real images.
    colour_spread: standard deviation of real images' mean colours, without their brightness.
    """
    figures = dict[str, float]()

    def add(name: str, of_samples: Tensor | float, of_reals: Tensor | float) -> None:
        figures[name], figures[f"real_{name}"] = float(of_samples), float(of_reals)

    if samples.grid is not None and reals.grid is not None:
        worst = (samples.grid / reals.grid.clamp(min=1)).argmax()
        add("grid_peak", samples.grid[worst], reals.grid[worst])
    if samples.likeness is not None and reals.likeness is not None:
        add("detail_likeness", samples.likeness, reals.likeness)
    usual = reals.step_spread + 2 * samples.roughness
    worst = ((samples.step - reals.step).abs() / (usual + FAINT_STEP)).argmax()
    add("border_step", samples.step[worst], reals.step[worst])
    figures["border_step_usual"] = float(usual[worst])
    if reals.background >= VARIED_BACKGROUND:
        add("background", samples.background, reals.background)
    varied = reals.variation >= VARIED_BORDER
    if bool(varied.any()):
        worst = (samples.variation / reals.variation).masked_fill(~varied, math.inf).argmin()
        add("border_variation", samples.variation[worst], reals.variation[worst])
    if samples.colours is None or reals.colours is None:
        return figures
    add("chroma", samples.chroma, reals.chroma)
    shift = (samples.colours.mean(0) - reals.colours.mean(0)).tolist()
    figures |= dict(zip(("red_shift", "green_shift", "blue_shift"), shift, strict=True))
    hues = reals.colours - reals.colours.mean(1, keepdim=True)
    figures["colour_spread"] = float((hues - hues.mean(0)).square().sum(1).mean().sqrt())
    return figures


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    """Split images into parts whose floats and waves take little memory."""
    parts: tuple[Tensor, ...] = images.split(max(1, MEASURED_AT_ONCE // images[0].numel()))
    return parts


def _premultiplied(images: Tensor) -> Tensor:
    """Return float32 levels, with the colours of transparent images multiplied by their alpha."""
    levels = images.float()
    if images.shape[1] < 4:
        return levels
    return torch.cat([levels[:, :3] * (levels[:, 3:] / 255), levels[:, 3:]], 1)


def _grid_ratios(images: Tensor) -> Tensor:
    """Compute `Look.grid` of images whose sides are MIN_GRID_SIDE or more.

    The geometric mean lets no single picture of a chequered flag stand for all.
    """
    height, width = (side // 4 * 4 for side in images.shape[2:])
    window = torch.hann_window(height).unsqueeze(1) * torch.hann_window(width)
    reach = 4 if min(height, width) >= 32 else 2
    offsets = torch.arange(-reach, reach + 1)
    apart = torch.maximum(offsets.abs().unsqueeze(1), offsets.abs())
    at, around = apart <= 1, apart >= min(3, reach)
    down, right = torch.tensor(FREQUENCIES).unsqueeze(2).unbind(1)  # (9, 1)
    rows, columns = (
        (down * (height // 4) + offsets) % height,
        (right * (width // 4) + offsets) % width,
    )
    faint = UNSEEN**2 * height * width / int(at.sum())
    total = torch.zeros(len(FREQUENCIES))
    for part in _parts(images):
        levels = _premultiplied(part)[..., :height, :width]
        waves = torch.fft.fft2((levels - levels.mean((2, 3), keepdim=True)) * window)
        energy = waves.abs().square().mean(1) / window.square().sum() + faint
        # (n, 9, offsets, offsets)
        boxes = energy[:, rows.unsqueeze(2), columns.unsqueeze(1)]
        ratios = boxes[..., at].mean(2) / boxes[..., around].mean(2)
        total += ratios.log().sum(0)
    return (total / len(images)).exp()


def _likeness(images: Tensor) -> float:
    """Compute `Look.likeness`, to which a pattern adds whether it is dark or light in a place."""
    height, width = images.shape[2:]
    # The border has figures of its own.
    images = images[..., height // 8 : height - height // 8, width // 8 : width - width // 8]
    shrunk = max(1, min(images.shape[2:]) // DETAIL_SIDE)
    details = []
    for part in _parts(images):
        levels = avg_pool2d(_premultiplied(part), shrunk)
        ground = avg_pool2d(levels, DETAIL_SQUARE, 1, DETAIL_SQUARE // 2, count_include_pad=False)
        details.append((levels - ground).flatten(1))
    detail = torch.cat(details)
    faint = detail.shape[1] * FAINT_DETAIL**2
    detail = detail / (detail.square().sum(1, keepdim=True) + faint).sqrt()
    squares = (detail @ detail.T).square()
    count = len(images)
    return float((squares.sum() - squares.trace()) / (count * (count - 1)))


def _cells(images: Tensor) -> Tensor:
    """Average images over squares, for CELLS or a few more along the shorter side."""
    return avg_pool2d(
        _premultiplied(images), max(1, min(images.shape[2:]) // CELLS), ceil_mode=True
    )


def _ring(height: int, width: int) -> Tensor:
    """Return the cells near the border, an eighth of each side: bool (height, width)."""
    ring = torch.ones(height, width, dtype=torch.bool)
    ring[height // 8 : -(height // 8), width // 8 : -(width // 8)] = False
    return ring


def _border(height: int, width: int) -> list[tuple[Place, Place]]:
    """Return the sides and corners, each with a stretch of the picture next to it."""
    size = max(1, min(height, width) // 16)  # of a corner
    rows, columns = slice(size, height - size), slice(size, width - size)
    ends = [
        [(slice(0, k), slice(k, 3 * k)), (slice(-k, None), slice(-3 * k, -k))] for k in (1, size)
    ]
    sides, corners = ends
    return [
        *(((outer, columns), (inner, columns)) for outer, inner in sides),
        *(((rows, outer), (rows, inner)) for outer, inner in sides),
        *(((down[0], right[0]), (down[1], right[1])) for down in corners for right in corners),
    ]


def _colours(cells: Tensor) -> tuple[Tensor, float]:
    """Compute `Look.colours` and `Look.chroma` of cells (N, 3 or 4, h, w)."""
    colours, alpha = cells[:, :3], cells[:, 3:].mean((2, 3)) / 255
    if cells.shape[1] == 3:
        alpha = torch.ones(len(cells), 1)
    seen = alpha[:, 0] >= 1 / 255
    means = colours.mean((2, 3))[seen] / alpha[seen]
    strength = (colours.amax(1) - colours.amin(1)).mean((1, 2))
    return means, float(strength.sum() / alpha.sum())
