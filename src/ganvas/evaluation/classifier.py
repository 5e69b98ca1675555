"""A small convolutional classifier: the extractor for labelled images, and GAN-train.

Small distortions augment its training; nothing is mirrored, since digits must keep their meaning.
Images of any size will do; those of more than 64x64 pixels are reduced to that by area average.
One seed gives the same weights on one machine and thread count.
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


def convolutions(channels: int, width: int, stride: int) -> nn.Sequential:
    """Five convolutions: float (N, channels, H, W) -> (N, 4 * width, h, w).

    h is H / 4 / stride, rounded up; w likewise.
    """
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
    """Five convolutions and a mean over positions give `features`; a linear layer gives logits."""

    def __init__(self, channels: int, classes: int, width: int = 32, stride: int = 1) -> None:
        super().__init__()
        self.layers = convolutions(channels, width, stride)
        self.last = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) in [-1, 1] -> (N, 4 * width)."""
        means: Tensor = self.layers(images).mean((2, 3))
        return means

    def forward(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) in [-1, 1] -> logits (N, classes)."""
        logits: Tensor = self.last(self.features(images))
        return logits

    @torch.inference_mode()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 4 * width) and class probabilities (N, classes), in inference mode.

        images: uint8 (N, C, H, W).
        """
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
    """Train a classifier on a labelled data set.

    epochs: passes over the data; need not be whole.
    seed: of weights, order and distortions.
    tell: called after each epoch with its number and mean loss.

    Raises DataError for a data set without labels or with a single class.
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
    steps = max(1, math.ceil(len(dataset) * epochs / CLASSIFIER_BATCH))
    order = seeding.EpochOrder(seed, len(dataset))
    model.train()
    pictures = shrunk(dataset.images)
    losses, epoch = [], 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = CLASSIFIER_LR * rate((step + 0.5) / steps, 0.2)
        indices = order.indices(step * CLASSIFIER_BATCH, CLASSIFIER_BATCH)
        images = _distorted(to_float(pictures[indices]), seed, step)
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
    """One-cycle learning rate, relative to its peak (Smith and Topin 2017, arXiv 1708.07120).

    It rises over the first part of a training, `climb`, then falls to 0.
    """
    if progress < climb:
        return progress / climb
    return (1 + math.cos(math.pi * (progress - climb) / (1 - climb))) / 2


def _distorted(images: Tensor, seed: int, step: int) -> Tensor:
    """Rotate, stretch and shift each image a little at random; borders are continued outwards."""
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
    """Share of a labelled data set's images that the classifier names correctly."""
    assert dataset.labels is not None
    return float((model.predict(dataset.images)[1].argmax(1) == dataset.labels).double().mean())


def gan_train(
    fakes: Dataset,
    training: Dataset,
    held_out: Dataset,
    tell: Say = lambda text: None,
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
        tell(
            f"training a classifier on {count(n, 'image')} of {dataset.name},"
            f" {count(epochs, 'epoch')}"
        )
        accuracies.append(accuracy(train_classifier(dataset.rows(rows), epochs=epochs), held_out))
    return GanTrain(fakes=accuracies[0], reals=accuracies[1], images=n)
