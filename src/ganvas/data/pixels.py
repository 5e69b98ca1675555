"""Pixel scales: uint8 in files and data sets, float in [-1, 1] in networks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pixels = npt.NDArray[np.uint8]


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 (N, C, H, W) to float32 in [-1, 1]: 0 to -1, 255 to 1."""
    return images.sub(127.5).div_(127.5)


def to_uint8(images: Tensor) -> Tensor:
    """Convert float (N, C, H, W) in [-1, 1] to uint8 (N, H, W, C) on the CPU.

    Values are rounded to the nearest and clamped.
    """
    scaled = images.to(torch.float32).add(1).mul_(127.5).round_().clamp_(0, 255)
    return scaled.to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous()
