"""Arrays of images in any usual layout -> (N, H, W) or (N, H, W, C)."""

from __future__ import annotations

import numpy as np

from ganvas.data.decoding.ranges import Values
from ganvas.data.formats.arrays.entry import ArrayEntry, side_of
from ganvas.errors import DataError

CHANNELS = (1, 3, 4)
MAX_DOUBT = 0.75  # of the roughness of one order of values to that of the other
_SAMPLED = 64  # images


def image_array(
    where: str, entry: ArrayEntry, array: Values, images: int | None
) -> tuple[Values, tuple[str, ...]]:
    """The images (N, H, W) or (N, H, W, C) in an array, and a note if they lay in another order.

    images: their number, where labels give it.
    Raises DataError if the layout is in doubt.
    """
    shape, name = array.shape, entry.name
    if array.dtype.kind not in "buif":
        raise DataError(f"{where}: {name} are {array.dtype}, expected numbers")
    if array.ndim == 2:
        return _from_rows(where, entry, array, images)
    if array.ndim == 3:
        if shape[2] in (3, 4) and min(shape[:2]) > 15:
            one = f"{name} are {shape}, one picture (H, W, C)"
            raise DataError(f"{where}: {one}: expected (N, H, W) or (N, H, W, C)")
        last = entry.matlab and shape[0] == shape[1] != shape[2] and images != shape[0]
        if last or (images == shape[2] != shape[0]):
            return np.moveaxis(array, 2, 0), (f"{name} {shape} is read as (H, W, N)",)
        return array, ()
    if array.ndim == 4:
        if shape[3] in CHANNELS:
            return array, ()
        if shape[1] in CHANNELS:
            return np.moveaxis(array, 1, 3), (f"{name} {shape} is read as (N, C, H, W)",)
        if shape[2] in CHANNELS:
            return np.moveaxis(array, 3, 0), (f"{name} {shape} is read as (H, W, C, N)",)
    raise DataError(f"{where}: {name} are {shape}, expected (N, H, W) or (N, H, W, C), C 1, 3 or 4")


def _from_rows(
    where: str, entry: ArrayEntry, array: Values, images: int | None
) -> tuple[Values, tuple[str, ...]]:
    columns = images == array.shape[1] != array.shape[0]
    if columns or (images is None and not side_of(array.shape[1]) and entry.matlab):
        array = array.T
    squares, how = square_images(where, array)
    note = f"{entry.name} {entry.shape} is read as {how}"
    if entry.matlab:
        swapped = (0, 2, 1) if squares.ndim == 3 else (0, 2, 1, 3)
        note += (
            ", column by column as MATLAB stores them; if they lie on their side, save (N, H, W)"
        )
        squares = squares.transpose(swapped)
    return squares, (note,)


def square_images(where: str, rows: Values) -> tuple[Values, str]:
    """Square images, (N, S, S) or (N, S, S, 3), from rows of values, and a phrase for their form.

    Colour comes pixel by pixel or plane by plane: neighbours are alike in the right order.
    Raises DataError for rows that are no square, or whose order is in doubt.
    """
    n, values = rows.shape
    side = side_of(values)
    if not side:
        raise DataError(
            f"{where}: rows of {values:,} values are no square picture, grey or RGB: save the"
            " images as an array (N, H, W) or (N, H, W, C)"
        )
    if side * side == values:
        return rows.reshape(n, side, side), f"grey images of {side}x{side}"
    pixels = rows.reshape(n, side, side, 3)
    planes = np.moveaxis(rows.reshape(n, 3, side, side), 1, 3)
    by_pixel, by_plane = _roughness(pixels), _roughness(planes)
    if min(by_pixel, by_plane) > MAX_DOUBT * max(by_pixel, by_plane):
        raise DataError(
            f"{where}: rows of {values:,} values may be RGB pixel by pixel or plane by plane: save"
            " the images as an array (N, H, W, 3)"
        )
    if by_pixel < by_plane:
        return pixels, f"RGB images of {side}x{side}, pixel by pixel"
    return planes, f"RGB images of {side}x{side}, plane by plane"


def _roughness(images: Values) -> float:
    """The mean difference between neighbours in some images, along both axes."""
    chosen = images[:: -(-len(images) // _SAMPLED)].astype(np.float64)
    return float(sum(np.abs(np.diff(chosen, axis=axis)).mean() for axis in (1, 2)))
