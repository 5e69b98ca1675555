"""What each step of a training sees: real images, latents, labels, and how D is shown them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.system import seeding
from ganvas.training import augment
from ganvas.training.augment import PLAIN, AugmentParams
from ganvas.training.learner import Learner

LATENT_BLOCK = 16  # steps whose latents are drawn together


@dataclass
class Batch:
    """What one step sees: real images float32 (N, C, H, W), their labels (N,), latents (N, z_dim),
    the fakes' labels.

    mix: (N,) in [0, 1], in steps with a penalty on D's slope: where between real and fake images it
    may be taken.
    real_changes, d_changes, g_changes: how D sees the real images and the fakes of both steps.
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
    """The batch at every position of the training, from (seed, images seen) alone.

    flip: mirror each real image, left to right, with a probability of one half.
    kinds: of augmentations. held: indices of the images that are kept from training, to see how
    much D knows by heart of the others, `known`; both None where none are.
    """

    def __init__(self, dataset: Dataset, learner: Learner, seed: int, flip: bool = False) -> None:
        self.dataset, self.config, self.gan, self.seed = dataset, learner.config, learner.gan, seed
        self.device, self.world = learner.device, learner.world
        self.size, self.flip = (dataset.height, dataset.width), flip
        self.learner = learner
        self.kinds = augment.kinds_for(dataset.images) if learner.config.augment else ()
        held = augment.spared(len(dataset)) if learner.controller else 0
        shuffled = (
            torch.randperm(len(dataset), generator=seeding.generator(seed, "held out", 0))
            if held
            else None
        )
        self.held = None if shuffled is None else shuffled[:held]
        self.known = None if shuffled is None else shuffled[held:]
        self.order = seeding.EpochOrder(seed, len(dataset) - held)
        self._blocks: dict[str, tuple[int, Tensor, Tensor | None]] = {}
        # no other class is asked for: D could not say what is wrong with it
        self.present = dataset.present
        self.images = dataset.images.contiguous()
        self.channels_last = any(
            p.ndim == 4 for p in learner.d_parameters
        )  # for convolutions: same values, faster layout
        if self.channels_last:
            self.images = self.images.permute(0, 2, 3, 1).contiguous()

    def at(self, images_seen: int) -> Batch:
        """This process's part of the batch that comes after `images_seen` real images."""
        config = self.config
        indices = self.world.shard(self.order.indices(images_seen, config.batch))
        if self.known is not None:
            indices = self.known[indices]
        heads = None
        if self.flip:
            heads = self.world.shard(
                seeding.kept(seeding.bits(self.seed, "flip", images_seen), (config.batch,), 0.5)
            )
        real, real_labels = self._picked(indices, heads)
        d_z, d_labels = self._latents("d", images_seen, config.batch)
        if config.penalty == "gradient":
            # a point between two images of one class is judged as of that class
            d_labels = real_labels
        g_z, g_labels = d_z, d_labels
        if config.g_fakes != "same":
            g_z, g_labels = self._latents("g", images_seen, config.g_batch or config.batch)
        mix = None
        if config.penalty != "none" and images_seen // config.batch % config.penalty_every == 0:
            mix = torch.rand(
                config.batch, generator=seeding.generator(self.seed, "mix", images_seen)
            )
            mix = self.world.shard(mix).to(self.device)
        batch = Batch(real, real_labels, d_z, d_labels, g_z, g_labels, mix)
        if self.kinds and self.learner.augmentation > 0:
            batch.real_changes = self._changes("real", images_seen, config.batch, self.world.shard)
            batch.d_changes = batch.g_changes = self._changes(
                "d", images_seen, config.batch, self.world.shard
            )
            if config.g_fakes != "same":
                count = config.g_batch or config.batch
                batch.g_changes = self._changes("g", images_seen, count, self.world.shard)
        return batch

    def held_out(self, images_seen: int) -> tuple[Tensor, Tensor | None] | None:
        """What D sees of the images that are held out, and their labels: all of them, in every
        process."""
        if self.held is None:
            return None
        images, labels = self._picked(self.held)
        return (
            augment.apply(images, self._changes("held", images_seen, len(self.held), lambda t: t)),
            labels,
        )

    def _picked(
        self, indices: Tensor, mirrored: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Real images as floats, mirrored where it says so, and, for a conditional GAN, their
        labels."""
        picked = self.images.index_select(0, indices)  # ten times as fast as indexing with []
        if mirrored is not None:
            picked = torch.where(
                mirrored.view(-1, 1, 1, 1), picked.flip(2 if self.channels_last else 3), picked
            )
        images = to_float(
            (picked.permute(0, 3, 1, 2) if self.channels_last else picked).to(self.device)
        )
        if not self.gan.conditional:
            return images, None
        assert self.dataset.labels is not None
        return images, self.dataset.labels[indices].to(self.device)

    def _changes(
        self, purpose: str, images_seen: int, count: int, mine: Callable[[Tensor], Tensor]
    ) -> AugmentParams:
        """What is done to the images of one purpose in one step, of which `mine` takes this
        process's part."""
        rng = seeding.generator(self.seed, f"augment-{purpose}", images_seen)
        changes = augment.sample_params(
            rng, count, self.kinds, self.size, self.learner.augmentation
        )
        return changes.each(lambda t: mine(t).to(self.device))

    def _latents(self, purpose: str, images_seen: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Latents and labels of one step. They are drawn for BLOCK steps at once, which costs
        hardly more than for one."""
        block, place = divmod(images_seen // self.config.batch, LATENT_BLOCK)
        if self._blocks.get(purpose, (-1,))[0] != block:
            rng = seeding.generator(self.seed, f"{purpose}-latents", block)
            z, labels = torch.randn((LATENT_BLOCK, count, self.gan.z_dim), generator=rng), None
            if self.gan.conditional:
                labels = self.present[
                    torch.randint(len(self.present), (LATENT_BLOCK, count), generator=rng)
                ]
            self._blocks[purpose] = block, z, labels
        _, z, labels = self._blocks[purpose]
        mine = None if labels is None else self.world.shard(labels[place]).to(self.device)
        return self.world.shard(z[place]).to(self.device), mine
