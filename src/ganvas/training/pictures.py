"""Pictures of a training: real images, sheets of samples, progress, losses, nearest neighbours."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.evaluation.metrics import nearest_rows
from ganvas.plan import Plan
from ganvas.recipe import TrainConfig
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.sheets import grid, png, sheet_classes

# parts of the plan shown in progress.png: of 50 epochs these are 1, 10, 30 and 50
MOMENTS = (0.02, 0.2, 0.6, 1.0)
NEIGHBOURS = 20  # generated images whose nearest training image is shown
# bytes of training images compared at a time
NEIGHBOUR_BYTES = 2**26


class Pictures:
    """Saves the pictures of one training in its run.

    sheets: (images seen, file name) of each sheet so far.
    """

    def __init__(self, run: Run, dataset: Dataset, sampler: Sampler, config: TrainConfig) -> None:
        self.run, self.dataset, self.sampler = run, dataset, sampler
        self.columns, self.size = config.sheet_columns, config.sheet_rows * config.sheet_columns
        self.sheet_name = config.sheet_name
        self.sheets: list[tuple[int, str]] = []

    def save_real_images(self) -> None:
        """Save training images, laid out like the sheets: with classes, one column a class."""
        images = self.dataset.images[: self.size]
        if self.dataset.classes:
            images = self.dataset.images[self._one_column_a_class()]
        self.run.save_real_images(images.permute(0, 2, 3, 1), self.columns)

    def _one_column_a_class(self) -> list[int]:
        """Return the indices of the images; a class without images is filled up with others."""
        assert self.dataset.labels is not None
        classes = len(self.dataset.classes)
        members = [(self.dataset.labels == k).nonzero().flatten() for k in range(classes)]
        picks = [members[k] for k in sheet_classes(self.size, classes)]
        return [
            int(pick[k // classes % len(pick)]) if len(pick) else k % len(self.dataset)
            for k, pick in enumerate(picks)
        ]

    def save_sheet(self, images_seen: int) -> tuple[Path, bytes, tuple[int, int]]:
        """Save a sheet of the run's fixed latents: images 0, 1, ... of its seed, as `ganvas sample`
        makes them.

        Returns its path, and a PNG for TensorBoard with its (height, width).
        """
        classes = len(self.sampler.classes)
        labels = sheet_classes(self.size, classes) if classes else None
        images = self.sampler(range(self.size), seed=self.run.card.seed, labels=labels)
        epoch = max(1, images_seen // len(self.dataset))
        name = self.sheet_name.format(images=images_seen, epoch=epoch)
        path = self.run.save_sheet(name, images, self.columns)
        self.sheets.append((images_seen, path.name))
        pixels = grid(images.numpy(), self.columns, gap=2)
        return path, png(pixels), pixels.shape[:2]

    def save_summary(self, plan: Plan) -> None:
        """Save the pictures of the end: sheets of four moments, both losses, nearest neighbours."""
        moments = {}
        for part in MOMENTS:
            images, name = min(self.sheets, key=lambda sheet: abs(sheet[0] - part * plan.total))
            moments[name] = f"epoch {images / len(self.dataset):.4g}"
        self.run.save_progress((caption, name) for name, caption in moments.items())
        self.run.save_losses()
        card = self.run.card
        fakes = self.sampler(range(min(NEIGHBOURS, len(self.dataset))), seed=card.seed)
        self.run.save_neighbours(fakes, nearest_images(fakes, self.dataset, card.data.flip))


def nearest_images(images: Tensor, dataset: Dataset, flip: bool = False) -> Tensor:
    """Return the training image nearest to each image by Euclidean distance in pixels.

    images: uint8 (N, H, W, C); the result has the same shape.
    flip: compare with mirrored training images, too, as a training with --flip saw them.
    """
    indices, least = _nearest(images, dataset)
    nearest = dataset.images[indices].permute(0, 2, 3, 1)
    if flip:
        indices, mirrored = _nearest(images.flip(2), dataset)
        closer = (mirrored < least).view(-1, 1, 1, 1)
        nearest = torch.where(closer, dataset.images[indices].permute(0, 2, 3, 1).flip(2), nearest)
    return nearest


def _nearest(images: Tensor, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Return the index of each image's nearest one, int64 (N,), and their squared distance."""
    queries = images.permute(0, 3, 1, 2).reshape(len(images), -1).double()
    # doubles take eight times the memory of the bytes, and hold these whole numbers exactly
    rows = max(1, NEIGHBOUR_BYTES // (8 * queries.shape[1]))
    blocks = (part.reshape(len(part), -1).double() for part in dataset.images.split(rows))
    squares, indices = nearest_rows([queries], blocks)
    return indices, squares
