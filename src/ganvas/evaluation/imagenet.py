"""The extractor `imagenet`: features that EfficientNet-Lite1 learned from ImageNet's photographs.

Features are the 320 channels of the network's last stage, averaged over positions. Those after its
head, 1,280, rank faults alike, but need four times as many images for a Frechet distance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganvas.layers.efficientnet import (
    PUBLISHED,
    EfficientNet,
    efficientnet_input,
    load_efficientnet,
)

# another network than the one that a discriminator may look through
JUDGE_NETWORK = "lite1"
JUDGE_SIDE = 96  # pixels a side of an image as the network sees it
JUDGE_CHUNK = 50  # images in a forward pass
JUDGE_BYTES = 2**27  # of float pixels resized at a time
JUDGE_RESIZE = f"bicubic to {JUDGE_SIDE}x{JUDGE_SIDE}, antialiased"
GROUNDS = "transparent ones on black and on white"
JUDGE_VERSION = 1  # raised when features of the same weights change


def load_judge() -> tuple[EfficientNet, str]:
    """Load the network, and a hash of all that its features depend on.

    Raises MissingExtraError without the package of its weights, RunError for a damaged file.
    """
    text = f"imagenet {JUDGE_VERSION} {JUDGE_RESIZE} {GROUNDS} {PUBLISHED[JUDGE_NETWORK].sha256}"
    return load_efficientnet(JUDGE_NETWORK), hashlib.sha256(text.encode()).hexdigest()


@torch.inference_mode()
def world_features(network: EfficientNet, images: Tensor) -> Tensor:
    """uint8 (N, C, H, W), C 1, 3 or 4 -> float32 (N, 320). Of RGBA, the mean over both grounds."""
    if images.shape[1] < 4:
        return _means(network, images)
    black, white = (_means(network, images, ground) for ground in (0, 255))
    return (black + white) / 2


def _means(network: EfficientNet, images: Tensor, ground: int = 0) -> Tensor:
    made = []
    for part in images.split(JUDGE_CHUNK):
        seen = torch.cat(list(_resized(part, ground)))
        # always as many: for a few images, convolutions sum in another order
        missing = JUDGE_CHUNK - len(seen)
        whole = torch.cat([seen, seen[:1].expand(missing, -1, -1, -1)])
        made.append(network(efficientnet_input(whole))[-1].mean((2, 3))[: len(seen)])
    return torch.cat(made)


def _resized(images: Tensor, ground: int) -> Iterator[Tensor]:
    """Float pixels 0 to 255 (N, 3, JUDGE_SIDE, JUDGE_SIDE), stretched to a square; in parts."""
    side = (JUDGE_SIDE, JUDGE_SIDE)
    for part in images.split(max(1, JUDGE_BYTES // (4 * images[:1].numel()))):
        pixels = part.float()
        if pixels.shape[1] == 4:
            alpha = pixels[:, 3:] / 255
            pixels = pixels[:, :3] * alpha + ground * (1 - alpha)
        pixels = pixels.expand(-1, 3, -1, -1)
        if pixels.shape[2:] != side:
            pixels = interpolate(pixels, side, mode="bicubic", antialias=True).clamp_(0, 255)
        yield pixels
