"""What a classifier learns from generated images (GAN-train; Shmelkov et al. 2018, arXiv
1807.09499)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ganvas.data.dataset import Dataset
from ganvas.evaluation.classifier import CLASSIFIER_BATCH, accuracy, train_classifier
from ganvas.evaluation.result import GanTrain
from ganvas.system import seeding
from ganvas.system.text import count

GAN_TRAIN_STEPS = 400  # of each training, in whole epochs: six of 10,000 images


def gan_train(
    fakes: Dataset,
    training: Dataset,
    held_out: Dataset,
    tell: Callable[[str], None] = lambda text: None,
) -> GanTrain:
    """Train on generated images and on as many real ones, alike, and test both on held-out images.

    All three have the same class names. Where there are fewer training images than generated ones,
    as many are used of both.
    """
    n = min(len(fakes), len(training))
    epochs = math.ceil(GAN_TRAIN_STEPS * CLASSIFIER_BATCH / n)
    reached = []
    for dataset in (fakes, training):
        rows = torch.randperm(len(dataset), generator=seeding.generator(0, "gan-train", 0))[:n]
        tell(
            f"training a classifier on {count(n, 'image')} of {dataset.name},"
            f" {count(epochs, 'epoch')}"
        )
        reached.append(accuracy(train_classifier(dataset.rows(rows), epochs=epochs), held_out))
    return GanTrain(fakes=reached[0], reals=reached[1], images=n)
