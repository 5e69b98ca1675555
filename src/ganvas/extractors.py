"""What turns images into features that they are judged by. A stand-in, to be replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ganvas import data
from ganvas.classifier import Classifier, train_classifier
from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, SettingError, nearest
from ganvas.recipe import ImageSpec


class Features(NamedTuple):
    """features: float32 (N, D). probabilities: float32 (N, K), rows that sum to 1; None where nothing is classified."""

    features: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True)
class Extractor:
    """A function from uint8 images (N, C, H, W) to `Features`, with its name and the hash of its weights."""

    name: str
    sha256: str
    classes: tuple[str, ...]
    spec: ImageSpec | None
    resize: str
    notes: tuple[str, ...]
    take: Callable[[Tensor], Features]

    @classmethod
    def of(cls, judge: Callable[[Tensor], Any]) -> Extractor:
        take = lambda images: Features(torch.as_tensor(judge(images)), None)  # noqa: E731
        return cls(getattr(judge, "__name__", type(judge).__name__), "0" * 64, (), None, "its own", (), take)

    def __call__(self, images: Tensor) -> Features:
        if self.spec and tuple(images.shape[1:]) != (self.spec.channels, self.spec.height, self.spec.width):
            raise DataError(f"{self.name} takes {self.spec}, these images are {tuple(images.shape[1:])}")
        return self.take(images)


def find(
    name: str | None,
    dataset: Dataset,
    *,
    data_dir: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Extractor:
    digits = tuple("0123456789")
    shape = (dataset.channels, dataset.height, dataset.width)
    if name is None:
        name = (
            "digits"
            if shape == (1, 28, 28) and dataset.classes == digits
            else "classifier"
            if dataset.classes
            else "self"
        )
    kind = name.partition(":")[0]
    if kind == "digits":
        if shape != (1, 28, 28):
            raise DataError(f"digits takes 28x28 grey images, {dataset.name} holds {shape}")
        return _of("digits", _digits(), digits, dataset)
    if kind == "classifier":
        tell(f"training a classifier on {dataset.name}")
        return _of(f"classifier:{dataset.name}", train_classifier(dataset, epochs=2), dataset.classes, dataset)
    if kind == "self":
        return _of(f"self:{dataset.name}", Classifier(dataset.channels, 2, 8), (), dataset)
    raise SettingError(
        f"no extractor is called {name!r}: {nearest(name, ('digits', 'classifier', 'self', 'inception'))}"
    )


@lru_cache(1)
def _digits() -> Classifier:
    return train_classifier(data.load("mnist-5k"), epochs=3)


def _of(name: str, model: Classifier, classes: tuple[str, ...], dataset: Dataset) -> Extractor:
    spec = ImageSpec(height=dataset.height, width=dataset.width, channels=dataset.channels, classes=classes)  # type: ignore[arg-type]
    sha = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.state_dict().values())).hexdigest()
    return Extractor(name, sha, classes, spec, "none", (), partial(_take, model, bool(classes)))


def _take(model: Classifier, classifies: bool, images: Tensor) -> Features:
    features, probabilities = model.judge(images)
    return Features(features, probabilities if classifies else None)
