"""A small convolutional classifier: its features are what images are judged by.

Trained from a seed on a labelled data set, it gives the same weights on the same machine and thread
count. Small distortions (digits must keep their sense, so nothing is mirrored) stand in for the
pictures that the set does not hold.

It takes images of any size, but sees no more than 64x64 pixels of them: larger ones are brought to
that by area average.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, affine_grid, cross_entropy, grid_sample

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.errors import DataError
from ganvas.system import seeding

CLASSIFIER_BATCH = 128
CLASSIFIER_LR = 3e-3
# radians, part of the size, part of the side: the most an image is distorted by
TURN, ZOOM, SHIFT = 0.2, 0.12, 0.08
SMOOTHING = 0.05
CLASSIFIER_CHUNK = 500  # images judged at a time
MAX_CLASSIFIER_PIXELS = 64 * 64  # of an image, as the network sees it
LARGE = 40  # pixels: images with a longer side than that are halved by the first convolution


def inner_size(height: int, width: int) -> tuple[int, int]:
    """The size that images of this size are seen in: their own, or MOST_PIXELS in the same shape."""
    scale = min(1.0, math.sqrt(MAX_CLASSIFIER_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> uint8 (N, C, *inner_size(H, W)), each pixel the mean of the area that
    it stands for."""
    size = inner_size(*images.shape[2:])
    if size == images.shape[2:]:
        return images
    parts = images.split(max(1, (1 << 24) // images[0].numel()))  # 64 MB in float32 at a time
    return torch.cat(
        [adaptive_avg_pool2d(part.float(), size).round_().to(torch.uint8) for part in parts]
    )


def stride_for(height: int, width: int) -> int:
    """The first convolution's stride for images of this size."""
    return 2 if max(inner_size(height, width)) > LARGE else 1


def convolutions(channels: int, width: int, stride: int) -> nn.Sequential:
    """Five of them: float (N, channels, H, W) -> (N, 4 * width, H / 4 / stride, W / 4 / stride),
    rounded up."""
    w = width
    layers: list[nn.Module] = []
    for fan_in, fan_out, step in (
        (channels, w, stride),
        (w, w, 2),
        (w, 2 * w, 1),
        (2 * w, 2 * w, 2),
        (2 * w, 4 * w, 1),
    ):
        layers += [
            nn.Conv2d(fan_in, fan_out, 3, step, 1, bias=False),
            nn.BatchNorm2d(fan_out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class Classifier(nn.Module):
    """Five convolutions and a mean over what is left of the image: `features` of it, and a linear
    layer on them."""

    def __init__(self, channels: int, classes: int, width: int = 32, stride: int = 1) -> None:
        super().__init__()
        self.layers, self.last = (
            convolutions(channels, width, stride),
            nn.Linear(4 * width, classes),
        )

    def features(self, images: Tensor) -> Tensor:
        """images float (N, C, H, W) in [-1, 1] -> (N, 4 * width)."""
        means: Tensor = self.layers(images).mean((2, 3))
        return means

    def forward(self, images: Tensor) -> Tensor:
        """-> logits (N, classes)."""
        logits: Tensor = self.last(self.features(images))
        return logits

    @torch.inference_mode()
    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, H, W) -> features (N, 4 * width), class probabilities (N, classes), in
        inference mode."""
        self.eval()
        features = torch.cat(
            [
                self.features(to_float(shrunk(part)).contiguous(memory_format=torch.channels_last))
                for part in images.split(CLASSIFIER_CHUNK)
            ]
        )
        return features, self.last(features).softmax(1)


def train_classifier(
    dataset: Dataset,
    *,
    epochs: float = 10,
    seed: int = 0,
    tell: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Classifier:
    """Train a classifier on a labelled data set. tell: called after each epoch with its number and
    mean loss.

    epochs: passes over the data, also a part of one.

    Raises DataError for a data set without labels, or of one class.
    """
    if dataset.labels is None or len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.name} has no classes to tell apart: a classifier needs labels of two or more"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        stride = stride_for(dataset.height, dataset.width)
        model = Classifier(dataset.channels, len(dataset.classes), stride=stride).to(
            memory_format=torch.channels_last
        )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=CLASSIFIER_LR, weight_decay=0.01, fused=True
    )
    steps, order = (
        max(1, math.ceil(len(dataset) * epochs / CLASSIFIER_BATCH)),
        seeding.EpochOrder(seed, len(dataset)),
    )
    model.train()
    seen = shrunk(dataset.images)
    losses, epoch = [], 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = CLASSIFIER_LR * rate((step + 0.5) / steps, 0.2)
        indices = order.indices(step * CLASSIFIER_BATCH, CLASSIFIER_BATCH)
        images = _distorted(to_float(seen[indices]), seed, step)
        loss = cross_entropy(model(images), dataset.labels[indices], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if (step + 1) * CLASSIFIER_BATCH // len(dataset) > epoch or step == steps - 1:
            epoch += 1
            tell(epoch, float(torch.stack(losses).mean()))
            losses = []
    return model.eval()


def rate(progress: float, climb: float) -> float:
    """The part of the peak rate: up over the first part of a training, `climb`, then down to
    nothing (Smith and Topin 2017, arXiv 1708.07120)."""
    return (
        progress / climb
        if progress < climb
        else (1 + math.cos(math.pi * (progress - climb) / (1 - climb))) / 2
    )


def _distorted(images: Tensor, seed: int, step: int) -> Tensor:
    """Each image a little turned, stretched and moved; what comes in from outside is its border's
    continuation."""
    r = torch.rand(5, len(images), generator=seeding.generator(seed, "distortion", step)) * 2 - 1
    turn, (tall, wide) = r[0] * TURN, 1 + r[1:3] * ZOOM
    rows = [
        turn.cos() * wide,
        -turn.sin() * tall,
        r[3] * 2 * SHIFT,
        turn.sin() * wide,
        turn.cos() * tall,
        r[4] * 2 * SHIFT,
    ]
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False).contiguous(
        memory_format=torch.channels_last
    )


def accuracy(model: Classifier, dataset: Dataset) -> float:
    """The part of a labelled data set's images that the classifier names as they are labelled."""
    assert dataset.labels is not None
    return float((model.judge(dataset.images)[1].argmax(1) == dataset.labels).double().mean())
