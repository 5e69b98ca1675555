"""A small convolutional classifier: the extractor for labelled images, and GAN-train.

Small distortions augment its training; nothing is mirrored, since digits must keep their meaning.
Images of any size will do; those of more than 64x64 pixels are reduced to that by area average.
One seed gives the same weights on one machine and thread count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, affine_grid, cross_entropy, grid_sample

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.errors import DataError
from ganvas.evaluation.result import GanTrain
from ganvas.system import seeding
from ganvas.system.progress import Say
from ganvas.system.text import count

CLASSIFIER_BATCH = 128
CLASSIFIER_LR = 3e-3
# largest distortions: radians, relative size, share of the side
TURN, ZOOM, SHIFT = 0.2, 0.12, 0.08
SMOOTHING = 0.05
CLASSIFIER_CHUNK = 500  # images in a forward pass
MAX_CLASSIFIER_PIXELS = 64 * 64  # of an image as the network sees it
LARGE = 40  # pixels: the first convolution has stride 2 for images with a longer side
GAN_TRAIN_STEPS = 400  # of each GAN-train classifier, in whole epochs: six of 10,000 images


def inner_size(height: int, width: int) -> tuple[int, int]:
    """Height and width as the network sees them: MAX_CLASSIFIER_PIXELS at most, in proportion."""
    scale = min(1.0, math.sqrt(MAX_CLASSIFIER_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk(images: Tensor) -> Tensor:
    """Area average: uint8 (N, C, H, W) -> uint8 (N, C, *inner_size(H, W))."""
    size = inner_size(*images.shape[2:])
    if size == images.shape[2:]:
        return images
    parts = images.split(max(1, (1 << 24) // images[0].numel()))  # 64 MB in float32 at a time
    return torch.cat(
        [adaptive_avg_pool2d(part.float(), size).round_().to(torch.uint8) for part in parts]
    )


def stride_for(height: int, width: int) -> int:
    """Stride of the first convolution for images of this size."""
    return 2 if max(inner_size(height, width)) > LARGE else 1


class Convolutions(nn.Module):
    """Five convolutions and a mean over positions.

    The convolutions reduce height and width to 1 / (4 * stride), rounded up.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        widths = (channels, width, width, 2 * width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for (m, n), step in zip(pairwise(widths), (stride, 2, 1, 2, 1), strict=True):
            layers += [nn.Conv2d(m, n, 3, step, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def features(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) in [-1, 1] -> (N, 4 * width)."""
        means: Tensor = self.layers(images).mean((2, 3))
        return means

    @torch.inference_mode()
    def extract(self, images: Tensor) -> Tensor:
        """Features in inference mode: uint8 (N, C, H, W) -> (N, 4 * width)."""
        self.eval()
        parts = (to_float(shrunk(part)) for part in images.split(CLASSIFIER_CHUNK))
        return torch.cat(
            [self.features(part.contiguous(memory_format=torch.channels_last)) for part in parts]
        )


class Classifier(Convolutions):
    """Convolutions give `features`; a linear layer gives logits."""

    def __init__(self, channels: int, classes: int, width: int = 32, stride: int = 1) -> None:
        super().__init__(channels, width, stride)
        self.last = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) in [-1, 1] -> logits (N, classes)."""
        logits: Tensor = self.last(self.features(images))
        return logits

    @torch.inference_mode()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 4 * width) and class probabilities (N, classes), in inference mode.

        images: uint8 (N, C, H, W).
        """
        features = self.extract(images)
        return features, self.last(features).softmax(1)


def train_classifier(
    dataset: Dataset,
    *,
    epochs: float = 10,
    seed: int = 0,
    tell: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Classifier:
    """Train a classifier on a labelled data set.

    epochs: passes over the data; need not be whole.
    seed: of weights, order and distortions.
    tell: called after each epoch with its number and mean loss.

    Raises DataError for a data set without labels or with a single class.
    """
    if dataset.labels is None or len(dataset.classes) < 2:
        raise DataError(f"{dataset.name} has no classes to tell apart: give labels of two or more")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        stride = stride_for(dataset.height, dataset.width)
        model = Classifier(dataset.channels, len(dataset.classes), stride=stride)
        model = model.to(memory_format=torch.channels_last)
    steps = max(1, math.ceil(len(dataset) * epochs / CLASSIFIER_BATCH))
    order = seeding.EpochOrder(seed, len(dataset))
    model.train()
    pictures = shrunk(dataset.images)

    def loss_of(step: int) -> Tensor:
        assert dataset.labels is not None
        indices = order.indices(step * CLASSIFIER_BATCH, CLASSIFIER_BATCH)
        images = _distorted(to_float(pictures[indices]), seed, step)
        return cross_entropy(model(images), dataset.labels[indices], label_smoothing=SMOOTHING)

    losses, epoch = [], 0
    for step, loss in enumerate(fit(model.parameters(), CLASSIFIER_LR, 0.2, steps, loss_of)):
        losses.append(loss)
        if (step + 1) * CLASSIFIER_BATCH // len(dataset) > epoch or step == steps - 1:
            epoch += 1
            tell(epoch, float(torch.stack(losses).mean()))
            losses = []
    return model.eval()


def fit(
    weights: Iterable[nn.Parameter],
    peak: float,
    climb: float,
    steps: int,
    loss_of: Callable[[int], Tensor],
) -> Iterator[Tensor]:
    """Train by AdamW with one cycle of the learning rate (Smith and Topin 2017, arXiv 1708.07120).

    peak: highest learning rate.
    climb: part of the training in which the rate rises to it; then it falls to 0.
    loss_of: gives the loss of a step.

    Yields the loss of each step.
    """
    optimizer = torch.optim.AdamW(weights, lr=peak, weight_decay=0.01, fused=True)
    for step in range(steps):
        done = (step + 0.5) / steps
        falling = (1 + math.cos(math.pi * (done - climb) / (1 - climb))) / 2
        optimizer.param_groups[0]["lr"] = peak * (done / climb if done < climb else falling)
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach()


def _distorted(images: Tensor, seed: int, step: int) -> Tensor:
    """Rotate, stretch and shift each image a little at random; borders are continued outwards."""
    r = torch.rand(5, len(images), generator=seeding.generator(seed, "distortion", step)) * 2 - 1
    turn, (tall, wide) = r[0] * TURN, 1 + r[1:3] * ZOOM
    c, s = turn.cos(), turn.sin()
    rows = [c * wide, -s * tall, r[3] * 2 * SHIFT, s * wide, c * tall, r[4] * 2 * SHIFT]
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False).contiguous(
        memory_format=torch.channels_last
    )


def accuracy(model: Classifier, dataset: Dataset) -> float:
    """Share of a labelled data set's images that the classifier names correctly."""
    assert dataset.labels is not None
    return float((model.predict(dataset.images)[1].argmax(1) == dataset.labels).double().mean())


def gan_train(
    fakes: Dataset, training: Dataset, held_out: Dataset, tell: Say = lambda text: None
) -> GanTrain:
    """GAN-train (Shmelkov et al. 2018, arXiv 1807.09499): accuracy learned from generated images.

    Train one classifier on generated images and one on as many real images, and test both on
    held-out images. All three data sets have the same class names.
    """
    n = min(len(fakes), len(training))
    epochs = math.ceil(GAN_TRAIN_STEPS * CLASSIFIER_BATCH / n)
    accuracies = []
    for dataset in (fakes, training):
        rows = torch.randperm(len(dataset), generator=seeding.generator(0, "gan-train", 0))[:n]
        some = f"{count(n, 'image')} of {dataset.name}"
        tell(f"training a classifier on {some}, {count(epochs, 'epoch')}")
        accuracies.append(accuracy(train_classifier(dataset.rows(rows), epochs=epochs), held_out))
    return GanTrain(fakes=accuracies[0], reals=accuracies[1], images=n)
