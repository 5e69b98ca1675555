"""The store: every picture of a data set as one uint8 tensor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ganvas.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Images in memory, with labels or without.

    images: uint8 (N, C, H, W), C one of 1, 3, 4; N >= 1.
    labels: int64 (N,), each an index into `classes`; None for a set without labels.
    classes: the classes' names; () for a set without labels.
    notes: what was done to the pictures on their way in, one sentence each, to be shown to the
    user.
    altered: what of that lost something, in a few words each, for the protocol of a judgement.

    Raises DataError where these do not hold.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3, 4):
            found = f"{images.dtype} {tuple(images.shape)}"
            raise DataError(
                f"{self.name}: images are {found}, expected uint8 (N, C, H, W), C 1, 3 or 4"
            )
        if len(images) == 0:
            raise DataError(f"{self.name} holds no images")
        if (labels is None) != (not self.classes):
            raise DataError(f"{self.name}: labels and class names must come together")
        if len(set(self.classes)) < len(self.classes):
            raise DataError(
                f"{self.name}: a class name occurs more than once among"
                f" {', '.join(self.classes)[:200]}"
            )
        if labels is not None:
            if labels.shape != (len(images),):
                raise DataError(f"{self.name}: {len(labels)} labels for {len(images)} images")
            if int(labels.min()) < 0 or int(labels.max()) >= len(self.classes):
                raise DataError(
                    f"{self.name}: labels run from {int(labels.min())} to {int(labels.max())}, "
                    f"expected 0 to {len(self.classes) - 1}"
                )

    def rows(self, indices: Tensor) -> Dataset:
        """Some of the images, by their indices int64 (N,), with their labels."""
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
        """The classes that images are of, int64 indices in order: numbers may leave some out, as
        {3, 8} does."""
        return torch.tensor([], dtype=torch.int64) if self.labels is None else self.labels.unique()

    @property
    def empty_classes(self) -> list[str]:
        """Names of classes that no image is of."""
        present = set(self.present.tolist())
        return [name for k, name in enumerate(self.classes) if k not in present]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of shape, pixels, labels and class names: equal when training would see the
        same data."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        digest.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()
