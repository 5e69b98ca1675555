"""Groups of images that are one picture: with equal pixels, or nearly.

Thumbnails are compared, not hashes of a few bits, which collide on digits and drawings: most of
their pixels are paper. A k-d tree finds the neighbours of each thumbnail, and their images are
compared pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

Floats = npt.NDArray[np.float32]

THUMBNAIL = 8  # pixels per side
AXES = 12  # principal components of thumbnails that are searched
MAX_NEIGHBOURS = 6  # of each image that are compared
# Largest root mean square difference of near duplicates, relative to that of two images of the set.
# The most similar of 5,000 different digits are at 0.13.
NEAR, NEAR_THUMBNAILS = 0.08, 0.06
MIN_FOR_SPREAD = 10  # below, images are set against their own contrast
CHUNK_BYTES = 2**26  # of images that are compared at a time
MAX_SAMPLE, SAMPLE_BYTES = 1000, 2**28  # of images that the spread is measured on
ENOUGH_FOR_THUMBNAIL = 64  # pixels per side


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are one picture.

    kind: "exact" if the originals' pixels are equal, else "near".
    files: the names of the pictures, or of images in an array their index.
    labels: the class of each; () without labels.
    splits: the part of each, "train" or "test".
    """

    kind: Literal["exact", "near"]
    files: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def labels_differ(self) -> bool:
        return len(set(self.labels)) > 1

    @property
    def in_both_parts(self) -> bool:
        return len(set(self.splits)) > 1


def equal_groups(digests: Sequence[bytes]) -> list[list[int]]:
    """Indices of images by their digest, each group in order, in the order of their first."""
    groups: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        groups.setdefault(digest, []).append(i)
    return list(groups.values())


def join_near(groups: list[list[int]], images: Sequence[Tensor]) -> list[list[int]]:
    """Join groups of images whose first ones are nearly the same.

    groups: indices into all images; see `equal_groups`.
    images: the parts of a data set, uint8 (N, C, H, W), all of one shape but N.
    """
    first = [group[0] for group in groups]
    pairs = _near_pairs(_Rows(images), np.array(first))
    joined = dict(enumerate(groups))
    root = list(range(len(groups)))
    for a, b in pairs.tolist():
        a, b = _root(root, a), _root(root, b)
        if a != b:
            a, b = min(a, b), max(a, b)
            root[b] = a
            joined[a] = joined[a] + joined.pop(b)
    return [sorted(group) for group in joined.values()]


def _root(root: list[int], i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i


class _Rows:
    """Images of several tensors by one index."""

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])
        self.values = int(parts[0][0].numel())

    def at(self, indices: npt.NDArray[np.int64], step: int = 1) -> Tensor:
        """Every `step`-th pixel of images, float (N, C, H, W), transparent ones on white."""
        parts = [part[:, :, ::step, ::step] for part in self.parts]
        out = torch.empty((len(indices), *parts[0].shape[1:]))
        for part, start in zip(parts, self.starts, strict=False):
            here = (indices >= start) & (indices < start + len(part))
            out[torch.from_numpy(here)] = part[torch.from_numpy(indices[here] - start)].float()
        if out.shape[1] < 4:
            return out
        alpha = out[:, 3:] / 255
        return torch.cat([255 + (out[:, :3] - 255) * alpha, out[:, 3:]], 1)

    def chunks(self, count: int) -> list[slice]:
        size = max(1, CHUNK_BYTES // 4 // self.values)
        return [slice(i, i + size) for i in range(0, count, size)]


def _near_pairs(rows: _Rows, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Pairs of positions in `indices` whose images are nearly the same, int64 (N, 2)."""
    none = np.empty((0, 2), np.int64)
    if len(indices) < 2:
        return none
    # imported late, as most of ganvas needs no scipy
    from scipy.spatial import cKDTree

    thumbnails = _thumbnails(rows, indices)
    points = _principal(thumbnails)
    radius = NEAR_THUMBNAILS * _spread(thumbnails)
    if radius == 0:
        return none
    found = cKDTree(points).query(points, MAX_NEIGHBOURS, distance_upper_bound=radius, workers=-1)[
        1
    ]
    pairs = np.stack([np.repeat(np.arange(len(found)), found.shape[1]), found.ravel()], 1)
    pairs = pairs[pairs[:, 1] < len(found)]  # a neighbour that is not there has the number N
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], 1), axis=0)
    if not len(pairs):
        return none
    shown = min(MAX_SAMPLE, max(MIN_FOR_SPREAD, SAMPLE_BYTES // 4 // rows.values))
    sample = indices[:: -(-len(indices) // shown)]
    limit = NEAR * _spread(rows.at(sample).flatten(1).numpy())
    near = [
        (rows.at(indices[chunk[:, 0]]) - rows.at(indices[chunk[:, 1]])).flatten(1).norm(dim=1)
        < limit
        for chunk in (pairs[part] for part in rows.chunks(len(pairs)))
    ]
    kept: npt.NDArray[Any] = pairs[torch.cat(near).numpy()]
    return kept


def _thumbnails(rows: _Rows, indices: npt.NDArray[np.int64]) -> Floats:
    """Grey thumbnails, flat, (N, THUMBNAIL ** 2)."""
    step = max(1, max(rows.parts[0].shape[2:]) // ENOUGH_FOR_THUMBNAIL)
    grey = (rows.at(indices[part], step).mean(1, True) for part in rows.chunks(len(indices)))
    small = [adaptive_avg_pool2d(images, THUMBNAIL).flatten(1) for images in grey]
    return torch.cat(small).numpy()


def _principal(points: Floats) -> Floats:
    """The first principal components, in which no distance is larger than between the points."""
    centred = points - points.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    projected: Floats = centred @ axes[:, :AXES]
    return projected


def _spread(points: Floats) -> float:
    """The root mean square distance of two points, (N, values), or of few from a flat image's."""
    centre = points.mean(0) if len(points) >= MIN_FOR_SPREAD else points.mean()
    return float(np.sqrt(2 * ((points - centre) ** 2).sum(1).mean()))
