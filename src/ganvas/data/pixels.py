"""The two places where pixels change their scale: uint8 outside, float in [-1, 1] inside."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> float32 in [-1, 1]: 0 -> -1, 255 -> 1."""
    return images.sub(127.5).div_(127.5)


def to_uint8(images: Tensor) -> Tensor:
    """float (N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C) on the CPU, to the nearest; what lies
    outside is cut off."""
    scaled = images.to(torch.float32).add(1).mul_(127.5).round_().clamp_(0, 255)
    return scaled.to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous()
