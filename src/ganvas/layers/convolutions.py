"""Convolutions that halve images and transposed ones that double them, fast on CPUs.

All have kernel 4, stride 2 and padding 1. On images of a few pixels, and between images and few
channels, a CPU's convolutions reach at most half of the speed of a matrix product. There a
convolution is computed as a product of all 4x4 patches with the weights, and a transposed one as a
product of all pixels with the weights, whose patches are added up where they overlap. Elsewhere
torch's own run. Results equal those of torch's layers but for rounding; parameters and their names
are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

SMALL_IMAGE = 16  # pixels of the smaller image up to which products pay, whatever the channels
THIN = 4  # channels of the larger image up to which a product pays for a transposed convolution


class Halve(nn.Conv2d):
    """(N, before, H, W) -> (N, after, H // 2, W // 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 4, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if (height // 2) * (width // 2) > SMALL_IMAGE or images.device.type != "cpu":
            return super().forward(images)
        weight = self.weight.permute(0, 2, 3, 1)
        if max(height, width) > 3:
            out = linear(_Patches.apply(images), weight.flatten(1), self.bias)
        else:  # the output is one pixel: the weights that lie within the image suffice
            pixels = images.permute(0, 2, 3, 1).flatten(1)
            out = linear(pixels, weight[:, 1 : 1 + height, 1 : 1 + width].flatten(1), self.bias)
        return out.view(len(images), height // 2, width // 2, -1).permute(0, 3, 1, 2)


class Double(nn.ConvTranspose2d):
    """(N, before, H, W) -> (N, after, 2 H, 2 W)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 4, 2, 1)

    def forward(self, images: Tensor, output_size: list[int] | None = None) -> Tensor:
        _, channels, height, width = images.shape
        large = height * width > SMALL_IMAGE and self.out_channels > THIN
        # An exported network has the operator that every runtime knows.
        if large or images.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(images, output_size)
        pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
        patches = linear(pixels, self.weight.permute(2, 3, 1, 0).flatten(0, 2))
        out: Tensor = _Overlap.apply(patches, len(images), 2 * height, 2 * width)
        return out if self.bias is None else out + self.bias.to(out.dtype).view(1, -1, 1, 1)


class _Patches(torch.autograd.Function):
    """Gather all patches of a Halve, with zeros beyond the edge.

    images (N, C, H, W) -> (N * (H // 2) * (W // 2), 4 * 4 * C).
    """

    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        context.shape = images.shape
        count, channels, height, width = images.shape
        padded = images.new_zeros(count, height + 2, width + 2, channels)
        padded[:, 1:-1, 1:-1] = images.permute(0, 2, 3, 1)
        image, row, column, _ = padded.stride()
        patches = padded.as_strided(
            (count, height // 2, width // 2, 4, 4 * channels), (image, 2 * row, 2 * column, row, 1)
        )
        return patches.reshape(-1, 16 * channels)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        count, _, height, width = context.shape
        by_images: Tensor = _Overlap.apply(gradient, count, height, width)
        return by_images


class _Overlap(torch.autograd.Function):
    """Add patches up where they come from: the transpose of _Patches.

    (N * (H // 2) * (W // 2), 4 * 4 * C) -> (N, C, H, W), cropped at the edge.
    """

    @staticmethod
    def forward(context: Any, patches: Tensor, count: int, height: int, width: int) -> Tensor:
        rows, columns = height // 2, width // 2
        channels = patches.shape[1] // 16
        # A patch covers four blocks of 2x2 pixels. The same corner of two patches never overlaps.
        corners = patches.view(count, rows, columns, 2, 2, 2, 2 * channels)
        blocks = patches.new_zeros(count, rows + 1, 2, columns + 1, 2 * channels)
        for down in (0, 1):
            for right in (0, 1):
                corner = corners[:, :, :, down, :, right].transpose(2, 3)
                blocks[:, down : down + rows, :, right : right + columns] += corner
        padded = blocks.view(count, 2 * rows + 2, 2 * columns + 2, channels)
        images = padded[:, 1 : 1 + height, 1 : 1 + width]
        return images.contiguous().permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Patches.apply(gradient), None, None, None
