"""The runtime contract between a GAN's file and everything else.

A GAN's file holds `Config` (a frozen dataclass), `build(config, spec) -> Gan` and `RECIPES`, a dict
of `Recipe`s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn

from ganvas.errors import SettingError
from ganvas.objectives import Objective
from ganvas.recipe import ImageSpec, Recipe

BYTES_A_PARAMETER = 16  # weight, gradient and Adam's two moments


class Logits(NamedTuple):
    """What D said in one step: of real images and fakes in its own step, and of fakes (and real
    images, where the objective is paired) in G's. Float, (N,) each."""

    real: Tensor
    fake: Tensor
    g_fake: Tensor
    g_real: Tensor | None


@dataclass
class Gan:
    """Two networks and their objective.

    generator: z float32 (N, z_dim), N(0, 1) [, labels int64 (N,)] -> images (N, C, H, W) in [-1,
    1].
    discriminator: images [, labels] -> logits (N,), no sigmoid.
    conditional: both networks take labels.
    joint: D may judge real and fake images in one pass; False where its BatchNorm would mix the
    two.
    """

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    z_dim: int
    conditional: bool = False
    joint: bool = True

    def make(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of latents (N, z_dim) and, for a conditional GAN, labels
        (N,)."""
        images: Tensor = self.generator(z, labels) if self.conditional else self.generator(z)
        return images

    def judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N,) of images (N, C, H, W)."""
        logits: Tensor = (
            self.discriminator(images, labels) if self.conditional else self.discriminator(images)
        )
        return logits


@dataclass(frozen=True)
class GanFile:
    """A GAN's file, loaded: its recipes and how to build its networks.

    name: "mlp" for gans/mlp.py, "my_gan.py" for a file of the user's. sha256: of the user's file,
    "" for a built-in.
    """

    name: str
    config: type
    recipes: dict[str, Recipe]
    builder: Callable[[Any, ImageSpec], Gan]
    sha256: str = ""

    def build(self, config: Any, spec: ImageSpec, seed: int = 0) -> Gan:
        """The networks with initial weights drawn from `seed`; the global random state is left as
        it was.

        Convolutional networks get channels_last weights: measured 1.6 times faster on CPUs.
        Raises SettingError where the GAN cannot make such images, or training it would not fit into
        memory.
        """
        parameters = self._sketch(config, spec)
        needed, there = (
            sum(p.numel() for p in parameters) * BYTES_A_PARAMETER,
            psutil.virtual_memory().total,
        )
        if needed > there:
            raise SettingError(
                f"networks of {sum(p.numel() for p in parameters):,} parameters need"
                f" {needed / 1e9:,.0f} GB to train, this machine has {there / 1e9:,.0f} GB of"
                " memory: make them or the images smaller"
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            gan = self.builder(config, spec)
        for network in (gan.generator, gan.discriminator):
            network.to(memory_format=torch.channels_last)
        return gan

    def check(self, gan: Gan, spec: ImageSpec) -> None:
        """Raises SettingError where a user's file does not keep to what ganvas.gan says of the two
        networks."""
        if not self.sha256:
            return
        if gan.conditional and not spec.classes:
            raise SettingError(
                f"{self.name} is a conditional GAN, and these images have no labels to train it"
                " with: give them a folder per class or a labels.csv, or train another, such as"
                " r3gan/images"
            )
        networks = {"generator": gan.generator, "discriminator": gan.discriminator}
        for name, network in networks.items():
            if not any(p.requires_grad for p in network.parameters()):
                raise SettingError(f"{self.name}: its {name} has no weights to train")
        labels = torch.zeros(2, dtype=torch.int64) if gan.conditional else None
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            gan.generator.eval()
            gan.discriminator.eval()
            images = gan.make(torch.zeros(2, gan.z_dim), labels)
            shape = (2, spec.channels, spec.height, spec.width)
            if images.shape != shape:
                raise SettingError(
                    f"{self.name}: its generator makes {tuple(images.shape)} of 2 latents, expected"
                    f" {shape}"
                )
            logits = gan.judge(images, labels)
        if logits.shape != (2,):
            raise SettingError(
                f"{self.name}: its discriminator makes {tuple(logits.shape)} of 2 images, expected"
                " (2,)"
            )

    def _sketch(self, config: Any, spec: ImageSpec) -> list[nn.Parameter]:
        """The parameters' shapes, without numbers; none for a file that builds by computing with
        weights."""
        try:
            with torch.device("meta"):
                gan = self.builder(config, spec)
        except (RuntimeError, NotImplementedError):
            return []
        return [*gan.generator.parameters(), *gan.discriminator.parameters()]

    def restore(self, config: Any, spec: ImageSpec, tensors: dict[str, Tensor]) -> Gan:
        """The networks with a generator of the given weights (and a discriminator without any).

        Nothing is allocated but for these weights: a card that speaks of huge networks does no
        harm.
        Raises RuntimeError where the weights do not fit.
        """
        with torch.device("meta"):
            gan = self.builder(config, spec)
        gan.generator.load_state_dict(tensors, assign=True)
        if any(
            tensor.is_meta for tensor in [*gan.generator.parameters(), *gan.generator.buffers()]
        ):
            gan = self.builder(config, spec)  # it keeps constants that are in no state dict
            gan.generator.load_state_dict(tensors)
        gan.generator.requires_grad_(False).to(memory_format=torch.channels_last)
        return gan
