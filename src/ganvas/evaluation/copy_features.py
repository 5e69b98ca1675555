"""The copy check in the features of an extractor, beside pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ganvas.evaluation.metrics import nearest_rows

FEATURE_BLOCK = 2048  # images compared with at a time


class Nearest(NamedTuple):
    """Nearest neighbours of N images.

    distance: float64 (N,), Euclidean.
    which: int64 (N,), index of the neighbour.
    mirrored: bool (N,), true where the neighbour's mirror image is meant.
    """

    distance: Tensor
    which: Tensor
    mirrored: Tensor


@dataclass(frozen=True)
class CopyFeatures:
    """Features in which copies are looked for; those of each image and of its mirror image count.

    name: of the extractor.
    take: uint8 (N, C, H, W) -> features (N, D).
    sets: features of the images "fakes", "training" and, if there are any, "held-out".
    """

    name: str
    take: Callable[[Tensor], Tensor]
    sets: dict[str, Tensor]

    def likely(self, known: Tensor, most: int) -> Tensor:
        """Indices of at most `most` images that seem nearest to training ones, without `known`."""
        fakes, training = self.sets["fakes"], self.sets["training"]
        centre = training.mean(0)
        blocks = (block - centre for block in training.split(FEATURE_BLOCK))
        distance, _ = nearest_rows([fakes - centre], blocks)
        distance[known] = torch.inf
        return distance.argsort(stable=True)[: min(most, len(distance) - len(known))]

    def finder(self, pictures: dict[str, Tensor]) -> Callable[..., Nearest]:
        """Return a function like `copies._Find`. pictures: uint8 (N, C, H, W) of the sets."""

        def find(of: str, rows: Tensor, among: str, without: Tensor | None = None) -> Nearest:
            others = self.sets[among].double()
            mirrored = self.take(pictures[of][rows].flip(3))
            views = [each.double() for each in (self.sets[of][rows], mirrored)]
            _, index = nearest_rows(views, others.split(FEATURE_BLOCK), without)
            exact, view = torch.stack([(v - others[index]).norm(dim=1) for v in views]).min(0)
            return Nearest(exact, index, view == 1)

        return find
