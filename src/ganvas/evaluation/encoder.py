"""A small self-supervised encoder: the extractor for pictures without labels.

It learns to tell pictures apart: two crops of one picture must be closer to each other than to
crops of all others (SimCLR, Chen et al. 2020, arXiv 2002.05709, equation 1). Cropping is the only
augmentation, so that features stay sensitive to what a generator can get wrong: sharpness, noise,
contrast, colour. Features are whitened over the training pictures at the end, so that no single
property such as brightness dominates.

One seed gives the same weights on one machine and thread count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.errors import DataError
from ganvas.evaluation.classifier import CLASSIFIER_CHUNK, Convolutions, fit, shrunk, stride_for
from ganvas.system import seeding

ENCODER_STEPS = 800
ENCODER_BATCH = 64  # pictures a step, two crops of each
WINDOW = 0.75  # side of a crop, relative to the picture's
TEMPERATURE = 0.1
ENCODER_LR = 2e-3
# added to every direction's variance, relative to the largest: keeps rounding errors small
RIDGE = 0.01


class Encoder(Convolutions):
    """The classifier's convolutions at half the width, a mean over positions, and a whitening."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, channels: int, width: int = 16, stride: int = 1) -> None:
        super().__init__(channels, width, stride)
        self.register_buffer("mean", torch.zeros(4 * width))
        self.register_buffer("whitening", torch.eye(4 * width))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Whitened features in inference mode: uint8 (N, C, H, W) -> (N, 4 * width)."""
        # in parts of one size: the last bits of products depend on it
        parts = self.extract(images).split(CLASSIFIER_CHUNK)
        return torch.cat([(part - self.mean) @ self.whitening for part in parts])


def train_encoder(dataset: Dataset, *, steps: int = ENCODER_STEPS, seed: int = 0) -> Encoder:
    """Train an encoder on the pictures of a data set; labels are ignored.

    steps: number of optimizer steps.
    seed: of weights, batches and crops.

    Raises DataError for fewer than two pictures.
    """
    if len(dataset) < 2:
        raise DataError(f"{dataset.name} holds one picture: an encoder needs two to tell apart")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Encoder(dataset.channels, stride=stride_for(dataset.height, dataset.width))
        model = model.to(memory_format=torch.channels_last)
        width = len(model.mean)
        head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
    weights = [*model.parameters(), *head.parameters()]
    pictures = shrunk(dataset.images)
    model.train()

    def loss_of(step: int) -> Tensor:
        rng = seeding.generator(seed, "windows", step)
        chosen = to_float(pictures[torch.randperm(len(pictures), generator=rng)[:ENCODER_BATCH]])
        windows = torch.cat([_windows(chosen, rng), _windows(chosen, rng)])
        windows = windows.contiguous(memory_format=torch.channels_last)
        return _contrast(head(model.features(windows)))

    for _ in fit(weights, ENCODER_LR, 0.1, steps, loss_of):
        pass
    _whiten(model, pictures)
    return model.eval()


def _windows(images: Tensor, rng: torch.Generator) -> Tensor:
    """Crop each image at a random place of its own, without scaling or smoothing."""
    n, channels, height, width = images.shape
    rows, columns = (
        torch.randint(side - part + 1, (n, 1), generator=rng) + torch.arange(part)
        for side, part in ((height, math.ceil(height * WINDOW)), (width, math.ceil(width * WINDOW)))
    )
    each, channel = torch.arange(n).view(n, 1, 1, 1), torch.arange(channels).view(1, channels, 1, 1)
    return images[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _contrast(outputs: Tensor) -> Tensor:
    """Contrastive loss of rows (2N, D), where rows k and k + N are a pair."""
    directions = normalize(outputs, dim=1)
    similarity = directions @ directions.T / TEMPERATURE
    similarity = similarity.masked_fill(torch.eye(len(outputs), dtype=torch.bool), -1e9)
    return cross_entropy(similarity, torch.arange(len(outputs)).roll(len(outputs) // 2))


def _whiten(model: Encoder, pictures: Tensor) -> None:
    """Set the whitening that gives features of these pictures mean 0 and almost unit covariance."""
    features = model.encode(pictures).double()
    values, vectors = torch.linalg.eigh(torch.cov(features.T))
    scales = (values.clamp(min=0) + RIDGE * values.max() + 1e-8).rsqrt()
    with torch.no_grad():
        model.mean.copy_(features.mean(0))
        model.whitening.copy_((vectors * scales) @ vectors.T)
