"""The contract between a GAN's file and everything else.

A GAN's file holds `Config` (a frozen dataclass), `build(config, spec) -> Gan` and `RECIPES`, a dict
of `Recipe`s. A step trains the two networks of a `Gan` through passes (`Pass`), which autograd
makes for any network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import psutil
import torch
from torch import Tensor, nn

from ganvas.errors import SettingError
from ganvas.objectives import Objective
from ganvas.recipe import ImageSpec, Recipe

BYTES_A_PARAMETER = 16  # weight, gradient and Adam's two moments


@dataclass
class Gan:
    """Two networks and their objective.

    generator: maps latents float32 (N, z_dim), drawn from N(0, 1), to images (N, C, H, W) in
        [-1, 1]. A conditional generator takes labels int64 (N,) as its second argument.
    discriminator: maps images (and labels, if conditional) to logits (N,), without a sigmoid.
    objective: the losses of both networks.
    z_dim: values of one latent.
    conditional: True if both networks take labels.
    joint: True if D may judge real and fake images in one pass; False if D has BatchNorm, which
        would mix the two.
    """

    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    z_dim: int
    conditional: bool = False
    joint: bool = True

    def make(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] from latents (N, z_dim); labels are ignored unless the GAN
        is conditional."""
        images: Tensor = self.generator(z, labels) if self.conditional else self.generator(z)
        return images

    def judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N,) of images (N, C, H, W)."""
        judge = self.discriminator
        logits: Tensor = judge(images, labels) if self.conditional else judge(images)
        return logits


class Logits(NamedTuple):
    """D's logits in one step, float (N,) each.

    real, fake: of the images that D was trained on.
    g_fake: of the fakes that G was trained on.
    g_real: of real images in G's step; None unless the objective is paired.
    """

    real: Tensor
    fake: Tensor
    g_fake: Tensor
    g_real: Tensor | None


class Pass(Protocol):
    """A forward pass of a network, through which gradients are pulled back.

    output: the network's output, without a graph.
    Each method takes the gradient of the loss with respect to the output. With `add`, the weights'
    gradients are added to those already in their `.grad`; else they replace them.
    """

    output: Tensor

    def to_weights(self, gradient: Tensor, *, add: bool = False) -> None:
        """Put the gradients of the weights into their `.grad`."""

    def to_input(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to the first input; the weights' `.grad` is kept."""

    def to_both(self, gradient: Tensor, *, add: bool = False) -> Tensor:
        """Do both: set the weights' gradients and return the first input's."""


@runtime_checkable
class FastPasses(Protocol):
    """Members by which a network offers faster passes, as `ganvas.layers.dense.Dense` does.

    Any other network is trained through autograd's passes.
    divisible: True if one pass can serve two batches, the first of them without gradients. The
        function from `tracer()` then takes a `ganvas.layers.dense.Aside` as its last argument.
    """

    @property
    def divisible(self) -> bool: ...

    def tracer(self) -> Callable[..., Pass]:
        """Return the function that makes passes: it takes the network's inputs."""


@runtime_checkable
class Seeing(Protocol):
    """Members of a discriminator that sees images through a frozen network.

    Its forward pass is `judge` after `see`. The penalty on D's slope is then taken with respect to
    what is seen, and real images, whose gradients no one needs, are seen without a graph.
    """

    def see(self, images: Tensor) -> list[Tensor]:
        """Images (N, C, H, W) -> what D judges, N rows each. No weight is trained in it."""

    def judge(self, seen: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Logits (N,) of what `see` returns; labels int64 (N,) if conditional."""


@dataclass(frozen=True)
class GanFile:
    """A loaded GAN file: its recipes, and the function that builds its networks.

    name: "mlp" for the built-in gans/mlp.py, "my_gan.py" for a user's file.
    config: the class of the GAN's own settings.
    sha256: of a user's file; "" for a built-in GAN.
    """

    name: str
    config: type
    recipes: dict[str, Recipe]
    builder: Callable[[Any, ImageSpec], Gan]
    sha256: str = ""

    def build(self, config: Any, spec: ImageSpec, seed: int = 0) -> Gan:
        """Build both networks with initial weights drawn from `seed`.

        The global random state is left as it was. Weights are laid out channels_last: convolutions
        took 1.6 times as long on CPUs otherwise. Raises SettingError if the GAN cannot make such
        images, or if training it would not fit into memory.
        """
        count = self._parameters(config, spec)
        needed, memory = count * BYTES_A_PARAMETER, psutil.virtual_memory().total
        if needed > memory:
            raise SettingError(
                f"networks of {count:,} parameters need {needed / 1e9:,.0f} GB to train, this"
                f" machine has {memory / 1e9:,.0f} GB of memory: make them or the images smaller"
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            gan = self.builder(config, spec)
        for network in (gan.generator, gan.discriminator):
            network.to(memory_format=torch.channels_last)
        return gan

    def check(self, gan: Gan, spec: ImageSpec) -> None:
        """Raise SettingError if the networks of a user's file break the contract of `Gan`."""
        if gan.conditional and not spec.classes:
            raise SettingError(
                f"{self.name} is a conditional GAN and these images have no labels: give a folder"
                " per class or a labels.csv, or use another GAN, such as projected/images"
            )
        for name, network in (("generator", gan.generator), ("discriminator", gan.discriminator)):
            if not any(p.requires_grad for p in network.parameters()):
                raise SettingError(f"{self.name}: its {name} has no weights to train")
        labels = torch.zeros(2, dtype=torch.int64) if gan.conditional else None
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            gan.generator.eval()
            gan.discriminator.eval()
            images = gan.make(torch.zeros(2, gan.z_dim), labels)
            shape = (2, spec.channels, spec.height, spec.width)
            self._expect("generator", "latents", images, shape)
            self._expect("discriminator", "images", gan.judge(images, labels), (2,))

    def _expect(self, network: str, of: str, made: Tensor, shape: tuple[int, ...]) -> None:
        if made.shape != shape:
            got = f"its {network} makes {tuple(made.shape)} of 2 {of}"
            raise SettingError(f"{self.name}: {got}, expected {shape}")

    def restore(self, config: Any, spec: ImageSpec, tensors: dict[str, Tensor]) -> Gan:
        """Build the networks with the given weights in the generator; D is not to be used.

        Only these weights are allocated, so a card that describes huge networks does no harm.
        Raises RuntimeError if the weights do not fit.
        """
        with torch.device("meta"):
            gan = self.builder(config, spec)
        generator = gan.generator
        generator.load_state_dict(tensors, assign=True)
        if any(t.is_meta for t in [*generator.parameters(), *generator.buffers()]):
            # The generator keeps constants outside its state dict: build it off the meta device.
            gan = self.builder(config, spec)
            gan.generator.load_state_dict(tensors)
        gan.generator.requires_grad_(False).to(memory_format=torch.channels_last)
        return gan

    def _parameters(self, config: Any, spec: ImageSpec) -> int:
        """The number of both networks' parameters, counted on the meta device; 0 if the file
        computes with weights while it builds."""
        try:
            with torch.device("meta"):
                gan = self.builder(config, spec)
        except (RuntimeError, NotImplementedError):
            return 0
        networks = nn.ModuleList([gan.generator, gan.discriminator])
        return sum(p.numel() for p in networks.parameters())
