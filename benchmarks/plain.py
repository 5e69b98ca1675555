"""The five source systems as a PyTorch tutorial would write them, to compare ganvas's speed with.

Same networks, losses, batch sizes, order of steps and optimizer settings as the recipes, and
nothing done for speed: torchvision's MNIST with transforms for every image, a shuffling DataLoader,
D's real and fake batches in two passes, default Adam, `.backward()` through all of D while G
learns, both losses read at every step, PyTorch's defaults for threads and memory layout.

Each loop is a generator: every `next()` takes one training step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Step(NamedTuple):
    """The result of a step: its number of real images, and both losses."""

    images: int
    d_loss: float
    g_loss: float


@dataclass
class Plain:
    """A system's two networks, and its endless training loop."""

    generator: nn.Module
    discriminator: nn.Module
    steps: Iterator[Step]


def mnist_loader(root: Path, batch: int) -> torch.utils.data.DataLoader[tuple[Tensor, Tensor]]:
    from torchvision import datasets, transforms

    to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    images = datasets.MNIST(root, train=True, transform=to_range, download=False)
    return torch.utils.data.DataLoader(images, batch_size=batch, shuffle=True)


def relu(root: Path) -> Plain:
    """The plain GAN: both steps use the same fakes."""
    generator = nn.Sequential(
        nn.Linear(100, 256),
        nn.ReLU(),
        nn.Linear(256, 512),
        nn.ReLU(),
        nn.Linear(512, 784),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(784, 512),
        nn.LeakyReLU(0.01),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.01),
        nn.Linear(256, 1),
        nn.Sigmoid(),
    )
    loader = mnist_loader(root, 16)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-4)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
    bce = nn.BCELoss()

    def steps() -> Iterator[Step]:
        while True:
            for images, _ in loader:
                size = len(images)
                real = images.view(size, -1)
                ones, zeros = torch.ones(size, 1), torch.zeros(size, 1)
                fake = generator(torch.randn(size, 100))

                d_loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
                d_optimizer.zero_grad()
                d_loss.backward()
                d_optimizer.step()

                g_loss = bce(discriminator(fake), ones)
                g_optimizer.zero_grad()
                g_loss.backward()
                g_optimizer.step()
                yield Step(size, d_loss.item(), g_loss.item())

    return Plain(generator, discriminator, steps())


def leaky(root: Path) -> Plain:
    """The "quick to understand" GAN: fresh noise for G's step."""
    generator = nn.Sequential(
        nn.Linear(64, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 784),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(784, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
        nn.Sigmoid(),
    )
    loader = mnist_loader(root, 100)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=3e-4)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=3e-4)
    bce = nn.BCELoss()

    def steps() -> Iterator[Step]:
        while True:
            for images, _ in loader:
                size = len(images)
                real = images.view(size, -1)
                ones, zeros = torch.ones(size, 1), torch.zeros(size, 1)

                fake = generator(torch.randn(size, 64))
                d_loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
                d_optimizer.zero_grad()
                d_loss.backward()
                d_optimizer.step()

                fake = generator(torch.randn(size, 64))
                g_loss = bce(discriminator(fake), ones)
                g_optimizer.zero_grad()
                g_loss.backward()
                g_optimizer.step()
                yield Step(size, d_loss.item(), g_loss.item())

    return Plain(generator, discriminator, steps())


def batchnorm(root: Path) -> Plain:
    """The Keras GAN: noise N(-1, 1) / 2, fakes for D in inference mode, 64 of them for G."""

    def block(fan_in: int, fan_out: int) -> list[nn.Module]:
        return [
            nn.Linear(fan_in, fan_out),
            nn.LeakyReLU(0.2),
            nn.BatchNorm1d(fan_out, eps=1e-3, momentum=0.2),
        ]

    generator = nn.Sequential(
        *block(100, 256),
        *block(256, 512),
        *block(512, 1024),
        nn.Linear(1024, 784),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(784, 1024),
        nn.LeakyReLU(0.2),
        nn.Linear(1024, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
        nn.Sigmoid(),
    )
    for layer in itertools.chain(generator, discriminator):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    batch = 32
    loader = mnist_loader(root, batch)
    d_optimizer = torch.optim.Adam(
        discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999), eps=1e-7
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999), eps=1e-7)
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 8e-8 * step))
        for optimizer in (d_optimizer, g_optimizer)
    ]
    bce = nn.BCELoss()

    def noise(count: int) -> Tensor:
        return (torch.randn(count, 100) - 1) / 2

    def steps() -> Iterator[Step]:
        while True:
            for images, _ in loader:
                size = len(images)
                generator.eval()
                with torch.no_grad():
                    fake = generator(noise(size))
                generator.train()
                real_scores, fake_scores = discriminator(images.view(size, -1)), discriminator(fake)
                d_loss = (
                    bce(real_scores, torch.ones(size, 1)) + bce(fake_scores, torch.zeros(size, 1))
                ) / 2
                d_optimizer.zero_grad()
                d_loss.backward()
                d_optimizer.step()
                # the accuracy that the source prints at every step
                ((real_scores > 0.5).float().mean() + (fake_scores <= 0.5).float().mean()).item()

                g_loss = bce(discriminator(generator(noise(2 * batch))), torch.ones(2 * batch, 1))
                g_optimizer.zero_grad()
                g_loss.backward()
                g_optimizer.step()
                for scheduler in schedulers:
                    scheduler.step()
                yield Step(size, d_loss.item(), g_loss.item())

    return Plain(generator, discriminator, steps())


class DigitGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def block(fan_in: int, fan_out: int) -> list[nn.Module]:
            return [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out, 0.8), nn.LeakyReLU(0.2)]

        self.label_embedding = nn.Embedding(10, 10)
        self.model = nn.Sequential(
            nn.Linear(110, 128),
            nn.LeakyReLU(0.2),
            *block(128, 256),
            *block(256, 512),
            *block(512, 1024),
            nn.Linear(1024, 784),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.model(torch.cat((self.label_embedding(labels), z), -1))
        return images.view(-1, 1, 28, 28)


class DigitDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label_embedding = nn.Embedding(10, 10)
        self.model = nn.Sequential(
            nn.Linear(794, 512),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 512),
            nn.Dropout(0.4),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 512),
            nn.Dropout(0.4),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 1),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        scores: Tensor = self.model(
            torch.cat((images.view(len(images), -1), self.label_embedding(labels)), -1)
        )
        return scores


def digits(root: Path) -> Plain:
    """The conditional GAN with squared error: G first, then D on the same fakes, detached."""
    generator, discriminator = DigitGenerator(), DigitDiscriminator()
    loader = mnist_loader(root, 64)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    mse = nn.MSELoss()

    def steps() -> Iterator[Step]:
        while True:
            for images, labels in loader:
                size = len(images)
                valid, invalid = torch.ones(size, 1), torch.zeros(size, 1)

                wanted = torch.randint(0, 10, (size,))
                fake = generator(torch.randn(size, 100), wanted)
                g_loss = mse(discriminator(fake, wanted), valid)
                g_optimizer.zero_grad()
                g_loss.backward()
                g_optimizer.step()

                real_loss = mse(discriminator(images, labels), valid)
                fake_loss = mse(discriminator(fake.detach(), wanted), invalid)
                d_loss = (real_loss + fake_loss) / 2
                d_optimizer.zero_grad()
                d_loss.backward()
                d_optimizer.step()
                yield Step(size, d_loss.item(), g_loss.item())

    return Plain(generator, discriminator, steps())


class DCGANGenerator(nn.Module):
    """For 28x28 grey images: 2 -> 4 -> 8, cut to 7 -> 14 -> 28."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d
        self.linear = nn.Linear(100, 2 * 2 * 8 * d)
        self.norm0 = nn.BatchNorm2d(8 * d)
        self.up1, self.norm1 = nn.ConvTranspose2d(8 * d, 4 * d, 4, 2, 1), nn.BatchNorm2d(4 * d)
        self.up2, self.norm2 = nn.ConvTranspose2d(4 * d, 2 * d, 4, 2, 1), nn.BatchNorm2d(2 * d)
        self.up3, self.norm3 = nn.ConvTranspose2d(2 * d, d, 4, 2, 1), nn.BatchNorm2d(d)
        self.up4 = nn.ConvTranspose2d(d, 1, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.norm0(self.linear(z).view(-1, 8 * self.d, 2, 2)))
        x = torch.relu(self.norm1(self.up1(x)))
        x = torch.relu(self.norm2(self.up2(x)[:, :, :7, :7]))
        x = torch.relu(self.norm3(self.up3(x)))
        return torch.tanh(self.up4(x))


def dcgan_discriminator(d: int) -> nn.Module:
    """For 28x28 grey images: 28 -> 14 -> 7 -> 3 -> 1. Logits."""
    return nn.Sequential(
        nn.Conv2d(1, d, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(d, 2 * d, 4, 2, 1),
        nn.BatchNorm2d(2 * d),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * d, 4 * d, 4, 2, 1),
        nn.BatchNorm2d(4 * d),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * d, 8 * d, 4, 2, 1),
        nn.BatchNorm2d(8 * d),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(8 * d, 1),
    )


def dcgan_weights(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def dcgan(root: Path) -> Plain:
    """The DCGAN of width 32 on 28x28 grey images: fresh noise for G's step, learning rates that
    change per epoch."""
    generator, discriminator = DCGANGenerator(32), dcgan_discriminator(32)
    generator.apply(dcgan_weights)
    discriminator.apply(dcgan_weights)
    loader = mnist_loader(root, 64)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    schedulers = [
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500, eta_min=2e-5)
        for optimizer in (d_optimizer, g_optimizer)
    ]
    bce = nn.BCEWithLogitsLoss()

    def steps() -> Iterator[Step]:
        while True:
            for real, _ in loader:
                size = len(real)
                ones, zeros = torch.ones(size, 1), torch.zeros(size, 1)

                fake = generator(torch.randn(size, 100))
                d_loss = bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)
                d_optimizer.zero_grad()
                d_loss.backward()
                d_optimizer.step()

                fake = generator(torch.randn(size, 100))
                g_loss = bce(discriminator(fake), ones)
                g_optimizer.zero_grad()
                g_loss.backward()
                g_optimizer.step()
                yield Step(size, d_loss.item(), g_loss.item())
            for scheduler in schedulers:
                scheduler.step()

    return Plain(generator, discriminator, steps())


SYSTEMS: dict[str, Callable[[Path], Plain]] = {
    "mlp/relu": relu,
    "mlp/leaky": leaky,
    "mlp/batchnorm": batchnorm,
    "cgan/digits": digits,
    "dcgan/64": dcgan,
}
