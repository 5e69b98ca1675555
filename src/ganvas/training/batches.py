"""The batch of each step: real images, latents, labels, and how they are augmented for D."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.system import seeding
from ganvas.training import augment
from ganvas.training.augment import PLAIN, AugmentParams
from ganvas.training.learner import Learner

LATENT_BLOCK = 16  # steps whose latents are drawn together: it takes hardly longer than for one


@dataclass
class Batch:
    """The inputs of one step. Labels are None unless the GAN is conditional.

    real, real_labels: real images float32 (N, C, H, W) in [-1, 1], and their labels (N,).
    d_z, d_labels: latents (N, z_dim) and labels of the fakes in D's step.
    g_z, g_labels: those of the fakes in G's step; the same if train.g_fakes is "same".
    mix: float32 (N,) in [0, 1] in steps with a penalty on D's slope, of any kind; None in others.
        The gradient penalty is taken at these places between fake (0) and real images (1).
    real_changes, d_changes, g_changes: how real images and both steps' fakes are augmented.
    """

    real: Tensor
    real_labels: Tensor | None
    d_z: Tensor
    d_labels: Tensor | None
    g_z: Tensor
    g_labels: Tensor | None
    mix: Tensor | None = None
    real_changes: AugmentParams = PLAIN
    d_changes: AugmentParams = PLAIN
    g_changes: AugmentParams = PLAIN


class Batches:
    """The batch at every position of a training: a function of (seed, images seen) alone.

    dataset: the training images.
    learner: the networks, their settings, and the process's share of each batch.
    seed: of every draw.
    flip: mirror each real image left to right with probability 1/2.

    held, known: indices of the images that are held out to measure how far D memorises, and of
        those that it is trained on.
    """

    def __init__(self, dataset: Dataset, learner: Learner, seed: int, flip: bool = False) -> None:
        self.dataset, self.learner, self.seed, self.flip = dataset, learner, seed, flip
        self.config, self.gan = learner.config, learner.gan
        self.device, self.world = learner.device, learner.world
        self.size = (dataset.height, dataset.width)
        self.kinds = augment.kinds_for(dataset.images) if learner.config.augment else ()

        # Hold images out for adaptive augmentation.
        indices = torch.arange(len(dataset))
        held = augment.held_out_count(len(dataset)) if learner.controller else 0
        if held:
            rng = seeding.generator(seed, "held out", 0)
            indices = torch.randperm(len(dataset), generator=rng)
        self.held, self.known = indices[:held], indices[held:]
        self.order = seeding.EpochOrder(seed, len(self.known))

        # Fakes are only of classes that have images: D could not judge those of others.
        self.present = dataset.present
        # By purpose: the block's number, its latents and its labels.
        self._blocks: dict[str, tuple[int, Tensor, Tensor | None]] = {}

        # For convolutions images are stored channels_last: the same values in a faster layout.
        self.images = dataset.images.contiguous()
        self.channels_last = any(p.ndim == 4 for p in learner.d_parameters)
        if self.channels_last:
            self.images = self.images.permute(0, 2, 3, 1).contiguous()

    def at(self, images_seen: int) -> Batch:
        """This process's part of the batch that comes after `images_seen` real images."""
        config = self.config
        g_batch = config.g_batch or config.batch
        real, real_labels = self._real(images_seen)

        # Latents and labels of the fakes.
        d_z, d_labels = self._latents("d", images_seen, config.batch)
        # For a gradient penalty, a point between a real image and a fake is judged as of one class.
        if config.d_labels == "real" or config.penalty == "gradient":
            d_labels = real_labels
        g_z, g_labels = d_z, d_labels
        if config.g_fakes != "same":
            g_z, g_labels = self._latents("g", images_seen, g_batch)

        # The penalty on D's slope, in every `penalty_every`-th step.
        mix = None
        if config.penalty != "none" and images_seen // config.batch % config.penalty_every == 0:
            rng = seeding.generator(self.seed, "mix", images_seen)
            mix = self._mine(torch.rand(config.batch, generator=rng))
        batch = Batch(real, real_labels, d_z, d_labels, g_z, g_labels, mix)

        # Augmentation.
        if self.kinds and self.learner.augmentation > 0:
            batch.real_changes = self._changes("real", images_seen, config.batch)
            batch.d_changes = batch.g_changes = self._changes("d", images_seen, config.batch)
            if config.g_fakes != "same":
                batch.g_changes = self._changes("g", images_seen, g_batch)
        return batch

    def held_out(self, images_seen: int) -> tuple[Tensor, Tensor | None] | None:
        """All held-out images, augmented as D would see them, and their labels: the same in every
        process. None if none are held out."""
        if not len(self.held):
            return None
        images, labels = self._pick(self.held)
        changes = self._draw_changes("held", images_seen, len(self.held))
        return augment.apply(images, changes.each(lambda t: t.to(self.device))), labels

    def _real(self, images_seen: int) -> tuple[Tensor, Tensor | None]:
        """The real images and labels of this process at one position."""
        size = self.config.batch
        places = self.world.shard(self.order.indices(images_seen, size))
        indices = self.known.index_select(0, places)
        mirror = None
        if self.flip:
            source = seeding.bits(self.seed, "flip", images_seen)
            mirror = self.world.shard(seeding.kept(source, (size,), 0.5))
        return self._pick(indices, mirror)

    def _pick(self, indices: Tensor, mirror: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Images of the data set as floats and, for a conditional GAN, their labels.

        mirror: bool (N,), True for the images to mirror; None for none.
        """
        images = self.images.index_select(0, indices)  # ten times as fast as indexing with []
        if mirror is not None:
            mirrored = images.flip(2 if self.channels_last else 3)
            images = torch.where(mirror.view(-1, 1, 1, 1), mirrored, images)
        if self.channels_last:
            images = images.permute(0, 3, 1, 2)
        labels = None
        if self.gan.conditional:
            assert self.dataset.labels is not None
            labels = self.dataset.labels[indices].to(self.device)
        return to_float(images.to(self.device)), labels

    def _changes(self, purpose: str, images_seen: int, count: int) -> AugmentParams:
        """This process's part of the augmentations of a batch."""
        return self._draw_changes(purpose, images_seen, count).each(self._mine)

    def _draw_changes(self, purpose: str, images_seen: int, count: int) -> AugmentParams:
        """Draw the augmentations of `count` images for one purpose in one step, on the CPU."""
        rng = seeding.generator(self.seed, f"augment-{purpose}", images_seen)
        p = self.learner.augmentation
        return augment.sample_params(rng, count, self.kinds, self.size, p)

    def _latents(self, purpose: str, images_seen: int, count: int) -> tuple[Tensor, Tensor | None]:
        """This process's latents and labels of one step, from a block of LATENT_BLOCK steps."""
        block, place = divmod(images_seen // self.config.batch, LATENT_BLOCK)
        if self._blocks.get(purpose, (-1,))[0] != block:
            rng = seeding.generator(self.seed, f"{purpose}-latents", block)
            z, labels = torch.randn((LATENT_BLOCK, count, self.gan.z_dim), generator=rng), None
            if self.gan.conditional:
                drawn = torch.randint(len(self.present), (LATENT_BLOCK, count), generator=rng)
                labels = self.present[drawn]
            self._blocks[purpose] = block, z, labels
        _, z, labels = self._blocks[purpose]
        return self._mine(z[place]), None if labels is None else self._mine(labels[place])

    def _mine(self, rows: Tensor) -> Tensor:
        """This process's rows of a global batch, on its device."""
        return self.world.shard(rows).to(self.device)
