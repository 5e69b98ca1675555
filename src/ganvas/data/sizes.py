"""The size that large pictures are brought to where no size is asked for."""

from __future__ import annotations

KEPT_SIDE = 128  # pictures of one size keep it up to this longer side
STEP, MIN_SHORTER_SIDE = 8, 16  # of a size that pictures are brought to

Size = tuple[int, int]  # height, width


def reduced_size(size: Size, side: int | None) -> Size:
    """Return the size to train on for pictures that all have one size.

    Larger pictures than KEPT_SIDE get about their own shape: sides are multiples of STEP.

    size: (H, W) of the pictures.
    side: of the longer side of larger pictures; None to keep every size.
    """
    if side is None or max(size) <= max(side, KEPT_SIDE):
        return size
    shorter = STEP * round(side * min(size) / max(size) / STEP)
    shorter = min(side, max(MIN_SHORTER_SIDE, shorter))
    return (side, shorter) if size[0] >= size[1] else (shorter, side)
