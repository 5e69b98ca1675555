"""A small encoder that learns without labels: its features are what pictures are judged by where
nobody sorted them.

It learns to tell pictures apart: two windows cut out of one picture shall be nearer to each other
than to windows of all others (Chen et al. 2020, SimCLR, arXiv 2002.05709, equation 1). Windows are
the only change that is made to pictures. What a generator can get wrong, such as sharpness, noise,
contrast and colour, is left in, so no insensitivity to it is learned.
Features are whitened over the training pictures at the end: no one property of them, such as
brightness, rules the rest.

Trained from a seed it gives the same weights on the same machine and thread count.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.errors import DataError
from ganvas.evaluation.classifier import CLASSIFIER_CHUNK, convolutions, rate, shrunk, stride_for
from ganvas.system import seeding

ENCODER_STEPS = 800
ENCODER_BATCH = 64  # pictures a step, two windows of each
WINDOW = 0.75  # of each side
TEMPERATURE = 0.1
ENCODER_LR = 2e-3
# of the largest variance: what every direction's variance is raised by, so that rounding is not
# blown up
RIDGE = 0.01


class Encoder(nn.Module):
    """The classifier's convolutions at half its width, a mean over the picture, and a whitening of
    that."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, channels: int, width: int = 16, stride: int = 1) -> None:
        super().__init__()
        self.layers = convolutions(channels, width, stride)
        self.register_buffer("mean", torch.zeros(4 * width))
        self.register_buffer("whitening", torch.eye(4 * width))

    def raw(self, images: Tensor) -> Tensor:
        """images float (N, C, H, W) in [-1, 1] -> (N, 4 * width), before the whitening."""
        means: Tensor = self.layers(images).mean((2, 3))
        return means

    @torch.inference_mode()
    def judge(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> features (N, 4 * width), in inference mode."""
        self.eval()
        parts = [
            (
                self.raw(to_float(shrunk(part)).contiguous(memory_format=torch.channels_last))
                - self.mean
            )
            @ self.whitening
            for part in images.split(CLASSIFIER_CHUNK)
        ]
        return torch.cat(parts)


def train_encoder(
    dataset: Dataset,
    *,
    steps: int = ENCODER_STEPS,
    seed: int = 0,
    tell: Callable[[int, float], None] = lambda step, loss: None,
) -> Encoder:
    """Train an encoder on a data set's pictures; labels are not looked at. tell: called after each
    step with its loss.

    Raises DataError for less than two pictures.
    """
    if len(dataset) < 2:
        raise DataError(
            f"{dataset.name} holds one picture: an encoder learns by telling pictures apart, give"
            " it more"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Encoder(dataset.channels, stride=stride_for(dataset.height, dataset.width))
        model = model.to(memory_format=torch.channels_last)
        width = len(model.mean)
        head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
    weights = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=ENCODER_LR, weight_decay=0.01, fused=True)
    pictures = shrunk(dataset.images)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = ENCODER_LR * rate((step + 0.5) / steps, 0.1)
        rng = seeding.generator(seed, "windows", step)
        chosen = to_float(pictures[torch.randperm(len(pictures), generator=rng)[:ENCODER_BATCH]])
        windows = torch.cat([_windows(chosen, rng), _windows(chosen, rng)])
        loss = _contrast(head(model.raw(windows.contiguous(memory_format=torch.channels_last))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tell(step + 1, float(loss.detach()))
    _whiten(model, pictures)
    return model.eval()


def _windows(images: Tensor, rng: torch.Generator) -> Tensor:
    """A window of each image, at a place of its own, pixel for pixel: nothing is scaled or
    smoothed."""
    n, channels, height, width = images.shape
    rows, columns = (
        torch.randint(side - part + 1, (n, 1), generator=rng) + torch.arange(part)
        for side, part in ((height, math.ceil(height * WINDOW)), (width, math.ceil(width * WINDOW)))
    )
    each, channel = torch.arange(n).view(n, 1, 1, 1), torch.arange(channels).view(1, channels, 1, 1)
    return images[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _contrast(outputs: Tensor) -> Tensor:
    """The loss of rows (2N, D), of which k and k + N belong together: to name for each the other
    one of its pair."""
    directions = normalize(outputs, dim=1)
    likeness = directions @ directions.T / TEMPERATURE
    likeness = likeness.masked_fill(torch.eye(len(outputs), dtype=torch.bool), -1e9)
    return cross_entropy(likeness, torch.arange(len(outputs)).roll(len(outputs) // 2))


def _whiten(model: Encoder, pictures: Tensor) -> None:
    """Set the model's whitening, so that features of these pictures have mean 0 and, nearly, unit
    covariance."""
    features = model.judge(pictures).double()
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    scales = (values.clamp(min=0) + RIDGE * values.max() + 1e-8).rsqrt()
    with torch.no_grad():
        model.mean.copy_(features.mean(0))
        model.whitening.copy_((vectors * scales) @ vectors.T)
