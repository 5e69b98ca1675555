"""The other recipes as their papers' code would train them, to compare ganvas's speed with.

The recipe's own networks, objective, batch size and optimizer settings, and nothing done for speed:
torch's own layers in place of ganvas's quicker ones, D's real and fake batches in two passes,
penalties on D's slope in every step and through autograd, `.backward()` through all of D while G
learns, default Adam, an average of weights kept one tensor after another, both losses read at every
step, 32 bits, PyTorch's defaults for threads and memory layout. Images come as in plain.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from ganvas import gans, objectives
from ganvas.gan import Gan, Seeing
from ganvas.gans.projected import Upsample
from ganvas.gans.r3gan import Stem
from ganvas.layers.convolutions import Double, Halve
from ganvas.overrides import resolve_gamma
from ganvas.recipe import ImageSpec, Interval, TrainConfig
from plain import SYSTEMS as TUTORIALS
from plain import Plain, Step, mnist_loader

CLASSES = tuple("0123456789")
RECIPES = tuple(
    f"{name}/{key}"
    for name in gans.gan_names()
    for key in gans.load_gan(name).recipes
    if key != "tiny"
)
STACKS = "r3gan/stacked-mnist"


class Stacks(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Random triples of grey images, as red, green and blue."""

    def __init__(self, digits: torch.utils.data.Dataset[tuple[Tensor, int]]) -> None:
        self.digits = digits

    def __len__(self) -> int:
        return len(self.digits)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        chosen = torch.randint(len(self), (3,)).tolist()
        return torch.cat([self.digits[k][0] for k in chosen]), 0


class Enlarged(Upsample):
    """Each pixel becomes 2x2, then a convolution of kernel 3."""

    def forward(self, x: Tensor) -> Tensor:
        x = interpolate(x, scale_factor=2)
        return conv2d(x, self.weight.transpose(0, 1).flip(2, 3), padding=1)


def networks(name: str) -> tuple[Gan, TrainConfig]:
    """Build a recipe's networks for MNIST from torch's own layers. Returns its settings, too."""
    _, file, recipe = gans.find_recipe(name)
    stacks = name == STACKS
    spec = ImageSpec(
        height=28, width=28, channels=3 if stacks else 1, classes=() if stacks else CLASSES
    )
    recipe = resolve_gamma(recipe, spec)[0]
    gan = file.build(recipe.model, spec)
    for network in (gan.generator, gan.discriminator):
        for layer in network.modules():
            if isinstance(layer, (Halve, Stem)):
                layer.__class__ = nn.Conv2d
            elif isinstance(layer, Double):
                layer.__class__ = nn.ConvTranspose2d
            elif isinstance(layer, Upsample):
                layer.__class__ = Enlarged
        network.to(memory_format=torch.contiguous_format)
    return gan, recipe.train


class Labelled(NamedTuple):
    """Images (N, C, H, W) and their labels (N,)."""

    images: Tensor
    labels: Tensor | None


def penalty(gan: Gan, config: TrainConfig, real: Labelled, fake: Labelled) -> Tensor:
    """The gradient penalty that is added to D's loss."""
    assert config.gamma is not None
    if config.penalty == "gradient":
        mix = torch.rand(len(real.images))
        slopes = objectives.gradient_penalty(
            partial(gan.judge, labels=real.labels), real.images, fake.images, mix
        )
        return config.gamma * slopes.mean()
    sides = {"r1": [real], "r2": [fake], "r1+r2": [real, fake]}[config.penalty]
    squares = [squared_slope(gan, side).mean() for side in sides]
    return config.gamma / 2 * torch.stack(squares).sum()


def squared_slope(gan: Gan, side: Labelled) -> Tensor:
    """The squared norm of D's slope at each image, or at what a `Seeing` D sees of it, (N,)."""
    d = gan.discriminator
    if not isinstance(d, Seeing):
        return objectives.squared_gradient_norm(partial(gan.judge, labels=side.labels), side.images)
    return objectives.squared_gradient_norm(
        lambda *seen: d.judge([*seen], side.labels), *d.see(side.images)
    )


def textbook(name: str, root: Path) -> Plain:
    """A recipe's networks and their endless training loop, on MNIST or stacks of its digits."""
    gan, config = networks(name)
    loader = mnist_loader(root, config.batch)
    if name == STACKS:
        loader = torch.utils.data.DataLoader(
            Stacks(loader.dataset), batch_size=config.batch, shuffle=True
        )
    rates = ((config.d_lr or config.lr).start, config.lr.start)
    d_optimizer, g_optimizer = (
        torch.optim.Adam(network.parameters(), lr=rate, betas=config.betas)
        for network, rate in zip((gan.discriminator, gan.generator), rates, strict=True)
    )
    average, weight = copy.deepcopy(gan.generator).requires_grad_(False), 0.0
    if config.average:
        half_life = Interval.parse(config.average).images(config.batch, 1)
        weight = 1 - 0.5 ** (config.batch / half_life)

    def made(size: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if gan.conditional and labels is None:
            labels = torch.randint(len(CLASSES), (size,))
        return gan.make(torch.randn(size, gan.z_dim), labels), labels

    def steps() -> Iterator[Step]:
        while True:
            for images, named in loader:
                labels = named if gan.conditional else None
                fake, asked = made(len(images), labels if config.penalty == "gradient" else None)
                d_loss = gan.objective.d_loss(
                    gan.judge(images, labels), gan.judge(fake.detach(), asked)
                ).mean()
                if config.penalty != "none":
                    d_loss = d_loss + penalty(
                        gan,
                        config,
                        Labelled(images, labels),
                        Labelled(fake.detach(), asked),
                    )
                d_optimizer.zero_grad()
                d_loss.backward()
                d_optimizer.step()

                if config.g_fakes == "fresh":
                    fake, asked = made(len(images))
                real = gan.judge(images, labels) if gan.objective.paired else None
                g_loss = gan.objective.g_loss(real, gan.judge(fake, asked)).mean()
                g_optimizer.zero_grad()
                g_loss.backward()
                g_optimizer.step()
                if weight:
                    with torch.no_grad():
                        for old, new in zip(
                            average.parameters(), gan.generator.parameters(), strict=True
                        ):
                            old.lerp_(new, weight)
                yield Step(len(images), d_loss.item(), g_loss.item())

    return Plain(gan.generator, gan.discriminator, steps())


SYSTEMS: dict[str, Callable[[Path], Plain]] = {
    name: partial(textbook, name) for name in RECIPES if name not in TUTORIALS
}
