"""Dataset: images in memory, with labels or without."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ganvas.data.reading import ReadOptions
from ganvas.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Images in memory, with labels or without.

    images: uint8 (N, C, H, W), C one of 1, 3, 4; N >= 1.
    labels: int64 (N,), each an index into `classes`; None for a set without labels.
    classes: names of the classes, each once; () for a set without labels.
    notes: sentences for the user on changes made to the pictures when they were read.
    altered: phrases for the lossy ones among these changes, kept with an evaluation's result.
    read_as: the options that the images were read with, those found among them. The fingerprint
        does not depend on it.
    files: the kinds of files that the images came from, with shares if there are several.

    Raises DataError if these rules are broken.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    read_as: ReadOptions = field(default_factory=ReadOptions)
    files: str = "array"

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3, 4):
            kind = f"{images.dtype} {tuple(images.shape)}"
            raise self._error(f"images are {kind}, expected uint8 (N, C, H, W), C 1, 3 or 4")
        if len(images) == 0:
            raise DataError(f"{self.name} holds no images")
        if (labels is None) != (not self.classes):
            alone = "class names" if labels is None else "labels"
            raise self._error(f"{alone} alone: give both labels and class names, or neither")
        if len(set(self.classes)) < len(self.classes):
            names = ", ".join(self.classes)[:200]
            raise self._error(f"a class name occurs more than once among {names}: rename it")
        if labels is not None:
            if labels.shape != (len(images),):
                raise self._error(f"{len(labels)} labels for {len(images)} images")
            low, high, last = int(labels.min()), int(labels.max()), len(self.classes) - 1
            if low < 0 or high > last:
                raise self._error(f"labels run from {low} to {high}, expected 0 to {last}")

    def _error(self, reason: str) -> DataError:
        return DataError(f"{self.name}: {reason}")

    def rows(self, indices: Tensor) -> Dataset:
        """The images at some indices, int64 (N,), with their labels."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    @property
    def height(self) -> int:
        return int(self.images.shape[2])

    @property
    def width(self) -> int:
        return int(self.images.shape[3])

    @property
    def present(self) -> Tensor:
        """Sorted indices, int64, of the classes that have images; empty without labels."""
        return torch.tensor([], dtype=torch.int64) if self.labels is None else self.labels.unique()

    @property
    def empty_classes(self) -> list[str]:
        """Names of classes without images."""
        present = set(self.present.tolist())
        return [name for k, name in enumerate(self.classes) if k not in present]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of shape, pixels, labels and class names."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        digest.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()
