"""The training loops of rivals.py, each as a person would write it in plain PyTorch from its paper.

Each loop is a generator: every `next()` takes one training step. rivals.py lists what differs from
the papers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from plain import Step, dcgan_weights
from rival_networks import (
    FAST_Z_DIM,
    Critics,
    FastDiscriminator,
    FastGenerator,
    Pyramid,
    diffaugment,
)

DCGAN_Z_DIM = 100
HALF_LIFE, RAMP = 20_000, 0.05  # of Projected GAN's average: images, and share of those seen


@dataclass(frozen=True)
class Options:
    """Settings of a rival.

    width: channels of the layer next to the image.
    pixels: side of the feature network's input; None for rivals without one.
    """

    batch: int
    width: int
    pixels: int | None = None


@dataclass
class Rival:
    """Networks and their endless training loop.

    generator: makes the samples; an average of weights where the paper keeps one.
    trained, frozen: the networks, by name.
    settles: BatchNorm's statistics are to be taken anew before sampling.
    """

    generator: nn.Module
    z_dim: int
    trained: dict[str, nn.Module]
    steps: Iterator[Step]
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    settles: bool = False

    def __post_init__(self) -> None:
        for network in (self.generator, *self.trained.values(), *self.frozen.values()):
            # the memory layout that suits a CPU's convolutions
            network.to(memory_format=torch.channels_last)


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Draw batches of images in [-1, 1] without end, in a new random order in every epoch.

    images: uint8 (N, C, H, W). What remains of an epoch is left out; a set smaller than a batch is
        repeated.
    """
    while True:
        rows = torch.cat([torch.randperm(len(images)) for _ in range(-(-size // len(images)))])
        for chosen in rows[: len(rows) // size * size].split(size):
            yield (images[chosen].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def dcgan_networks(width: int) -> tuple[nn.Sequential, nn.Sequential]:
    w = width

    def larger(before: int, after: int) -> list[nn.Module]:
        return [
            nn.ConvTranspose2d(before, after, 4, 2, 1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]

    def smaller(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]

    generator = nn.Sequential(
        nn.Linear(DCGAN_Z_DIM, 8 * w * 4 * 4),
        nn.Unflatten(1, (8 * w, 4, 4)),
        nn.BatchNorm2d(8 * w),
        nn.ReLU(),
        *larger(8 * w, 4 * w),
        *larger(4 * w, 2 * w),
        *larger(2 * w, w),
        nn.ConvTranspose2d(w, 3, 4, 2, 1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(3, w, 4, 2, 1),
        nn.LeakyReLU(0.2),
        *smaller(w, 2 * w),
        *smaller(2 * w, 4 * w),
        *smaller(4 * w, 8 * w),
        nn.Flatten(),
        nn.Linear(8 * w * 4 * 4, 1),
    )
    for layer in (*generator.apply(dcgan_weights), *discriminator.apply(dcgan_weights)):
        if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return generator, discriminator


def dcgan(images: Tensor, options: Options) -> Rival:
    generator, discriminator = dcgan_networks(options.width)
    d_optimizer, g_optimizer = adam(discriminator, (0.5, 0.999)), adam(generator, (0.5, 0.999))
    bce, size = nn.BCEWithLogitsLoss(), options.batch
    ones, zeros = torch.ones(size, 1), torch.zeros(size, 1)

    def steps() -> Iterator[Step]:
        for real in batches(images, size):
            with torch.no_grad():
                fake = generator(torch.randn(size, DCGAN_Z_DIM))
            d_loss = bce(discriminator(real), ones) + bce(discriminator(fake), zeros)
            update(d_optimizer, d_loss)

            fake = generator(torch.randn(size, DCGAN_Z_DIM))
            g_loss = bce(discriminator(fake), ones)
            update(g_optimizer, g_loss)
            yield Step(size, d_loss.item(), g_loss.item())

    return Rival(
        generator,
        DCGAN_Z_DIM,
        {"generator": generator, "discriminator": discriminator},
        steps(),
    )


def fastgan(images: Tensor, options: Options) -> Rival:
    generator = FastGenerator(options.width)
    discriminator = FastDiscriminator(options.width)
    average = copy.deepcopy(generator)
    d_optimizer, g_optimizer = adam(discriminator, (0.5, 0.999)), adam(generator, (0.5, 0.999))
    size = options.batch

    def steps() -> Iterator[Step]:
        for number, drawn in enumerate(batches(images, size)):
            fake = generator(torch.randn(size, FAST_Z_DIM))
            real, shown = diffaugment(drawn), diffaugment(fake)
            real_logits, encoded = discriminator(real)
            fake_logits, _ = discriminator(shown.detach())
            d_loss = (
                relu(margins(real_logits) - real_logits).mean()
                + relu(margins(fake_logits) + fake_logits).mean()
                + discriminator.rebuilding_loss(real, encoded)
            )
            update(d_optimizer, d_loss)

            g_loss = -discriminator(shown)[0].mean()
            update(g_optimizer, g_loss)
            follow(average, generator, min(0.999, (1 + number) / (10 + number)))
            yield Step(size, d_loss.item(), g_loss.item())

    return Rival(
        average,
        FAST_Z_DIM,
        {"generator": generator, "discriminator": discriminator},
        steps(),
        settles=True,
    )


def margins(logits: Tensor) -> Tensor:
    """Random margins of the hinge loss, from 0.8 to 1, one for each logit."""
    return 0.8 + 0.2 * torch.rand_like(logits)


def projected(images: Tensor, options: Options) -> Rival:
    assert options.pixels is not None
    generator, critics = FastGenerator(options.width), Critics(options.pixels)
    pyramid = Pyramid(options.pixels)
    average = copy.deepcopy(generator)
    d_optimizer, g_optimizer = adam(critics, (0.0, 0.99)), adam(generator, (0.0, 0.99))
    size = options.batch

    def steps() -> Iterator[Step]:
        for number, real in enumerate(batches(images, size)):
            shown = pyramid(diffaugment(generator(torch.randn(size, FAST_Z_DIM))))
            seen = pyramid(diffaugment(real))
            real_logits, fake_logits = critics(seen), critics([each.detach() for each in shown])
            d_loss = relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()
            update(d_optimizer, d_loss)

            g_loss = -critics(shown).mean()
            update(g_optimizer, g_loss)
            follow(average, generator, 0.5 ** (size / min(HALF_LIFE, RAMP * size * (number + 1))))
            yield Step(size, d_loss.item(), g_loss.item())

    return Rival(
        average,
        FAST_Z_DIM,
        {"generator": generator, "discriminators": critics},
        steps(),
        {"features": pyramid},
        settles=True,
    )


def adam(network: nn.Module, betas: tuple[float, float]) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=2e-4, betas=betas)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take a step of the optimizer's own weights, from a loss that others may be part of."""
    optimizer.zero_grad()
    loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step()


@torch.no_grad()
def follow(average: nn.Module, generator: nn.Module, kept: float) -> None:
    """Move an average of weights towards a generator's. Buffers are copied."""
    for mean, learnt in zip(average.parameters(), generator.parameters(), strict=True):
        mean.lerp_(learnt, 1 - kept)
    for copied, buffer in zip(average.buffers(), generator.buffers(), strict=True):
        copied.copy_(buffer)


RIVALS: dict[str, Callable[[Tensor, Options], Rival]] = {
    "dcgan": dcgan,
    "fastgan": fastgan,
    "projected": projected,
}
DEFAULTS = {
    "dcgan": Options(batch=64, width=128),
    "fastgan": Options(batch=8, width=32),
    "projected": Options(batch=64, width=32, pixels=128),
}
