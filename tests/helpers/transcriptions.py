"""The five source systems in plain PyTorch, transcribed from their listings.

They share no code with the package: layers, a sigmoid and binary cross-entropy where the source has
them, a pass of D for each batch, torch's default Adam and its cosine schedule. Each can be made
wrong on purpose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ganvas.system import seeding
from ganvas.training.batches import Batch

SEED = 5


def bce(probability: Tensor, label: float) -> Tensor:
    return binary_cross_entropy(probability, torch.full_like(probability, label))


class Source:
    """A system as its listing says. slip: a mistake to make on purpose, one of `slips`."""

    slips: tuple[str, ...] = ()

    def __init__(self, g: nn.Module, d: nn.Module, slip: str, lr: float, **adam: Any) -> None:
        assert not slip or slip in self.slips
        self.g, self.d, self.slip = g.double(), d.double(), slip
        self.g_adam = torch.optim.Adam(g.parameters(), lr, **adam)
        self.d_adam = torch.optim.Adam(d.parameters(), lr, **adam)

    def start_from(self, g: nn.Module, d: nn.Module) -> None:
        """Take over weights and running statistics."""
        for mine, theirs in ((self.g, g), (self.d, d)):
            for to, of in zip(layers_with_state(mine), layers_with_state(theirs), strict=True):
                assert isinstance(of, type(to))  # ganvas may use a subclass
                to.load_state_dict(of.state_dict())

    def step(self, b: Batch, images_seen: int) -> list[float]:
        """One step; d_loss, g_loss, mean scores of real and fake images in D's step, D's accuracy
        in it."""
        raise NotImplementedError

    def end_epoch(self) -> None:
        pass

    def d_then_g(self, real: Tensor, fake: Tensor, g_loss: Callable[[], Tensor]) -> list[float]:
        """D down BCE(real, 1) + BCE(fake, 0), a sum; then G down a loss that the D just updated
        gives."""
        if self.slip == "G first":
            descend(self.g_adam, g_loss())
        d_loss = bce(real, 1) + bce(fake, 0)
        if self.slip == "mean of both terms":
            d_loss = d_loss / 2
        descend(self.d_adam, d_loss)
        loss = g_loss()
        if self.slip != "G first":
            descend(self.g_adam, loss)
        return self.figures(d_loss, loss, real, fake)

    def figures(self, d_loss: Tensor, g_loss: Tensor, real: Tensor, fake: Tensor) -> list[float]:
        right = (real > 0.5).sum() + (fake <= 0.5).sum()
        # integers divided: float32 on both sides
        accuracy = (right / (len(real) + len(fake))).item()
        return [d_loss.item(), g_loss.item(), real.mean().item(), fake.mean().item(), accuracy]


def layers_with_state(network: nn.Module) -> list[nn.Module]:
    """Linear layers in order, then BatchNorms in order, and so on: networks may name and group them
    as they like."""
    leaves = [m for m in network.modules() if not list(m.children()) and m.state_dict()]
    return sorted(leaves, key=lambda m: type(m).__name__)


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def dense(
    sizes: tuple[int, ...], last: nn.Module, between: Callable[[], nn.Module]
) -> nn.Sequential:
    """Linear layers of these sizes with an activation between them and one at the end."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), between()]
    return nn.Sequential(*layers[:-1], last)


class Relu(Source):
    slips = ("G first", "fresh noise", "mean of both terms", "slope 0.2 in D")

    def __init__(self, slip: str) -> None:
        slope = 0.2 if slip == "slope 0.2 in D" else 0.01
        g = dense((100, 256, 512, 784), nn.Tanh(), nn.ReLU)
        d = dense((784, 512, 256, 1), nn.Sigmoid(), lambda: nn.LeakyReLU(slope))
        super().__init__(g, d, slip, lr=1e-4)

    def step(self, b: Batch, images_seen: int) -> list[float]:
        x, fakes = b.real.reshape(16, 784), self.g(b.d_z)
        judged = self.g(-b.d_z) if self.slip == "fresh noise" else fakes
        return self.d_then_g(self.d(x), self.d(fakes.detach()), lambda: bce(self.d(judged), 1))


class Leaky(Source):
    slips = ("G first", "same noise", "mean of both terms", "slope 0.01")

    def __init__(self, slip: str) -> None:
        slope = 0.01 if slip == "slope 0.01" else 0.2
        g = dense((64, 256, 256, 784), nn.Tanh(), lambda: nn.LeakyReLU(slope))
        d = dense((784, 256, 256, 1), nn.Sigmoid(), lambda: nn.LeakyReLU(slope))
        super().__init__(g, d, slip, lr=3e-4)

    def step(self, b: Batch, images_seen: int) -> list[float]:
        x, z = b.real.reshape(100, 784), b.d_z if self.slip == "same noise" else b.g_z
        return self.d_then_g(
            self.d(x), self.d(self.g(b.d_z).detach()), lambda: bce(self.d(self.g(z)), 1)
        )


class KerasG(nn.Sequential):
    def __init__(self, slip: str) -> None:
        momentum = 0.8 if slip == "momentum 0.8" else 0.2
        eps = 1e-5 if slip == "BatchNorm eps 1e-5" else 1e-3
        layers: list[nn.Module] = []
        for fan_in, fan_out in ((100, 256), (256, 512), (512, 1024)):
            after: list[nn.Module] = [
                nn.LeakyReLU(0.2),
                nn.BatchNorm1d(fan_out, eps=eps, momentum=momentum),
            ]
            layers += [
                nn.Linear(fan_in, fan_out),
                *(reversed(after) if slip == "BatchNorm first" else after),
            ]
        super().__init__(*layers, nn.Linear(1024, 784), nn.Tanh())


class Keras(Source):
    slips = (
        "G in training mode", "sum over the 64", "32 in G's step", "noise N(0, 1)", "Adam eps 1e-8",
        "BatchNorm first", "momentum 0.8", "BatchNorm eps 1e-5",
    )  # fmt: skip

    def __init__(self, slip: str) -> None:
        d = dense((784, 1024, 256, 1), nn.Sigmoid(), lambda: nn.LeakyReLU(0.2))
        eps = 1e-8 if slip == "Adam eps 1e-8" else 1e-7
        super().__init__(KerasG(slip), d, slip, lr=2e-4, betas=(0.5, 0.999), eps=eps)
        self.steps = 0

    def step(self, b: Batch, images_seen: int) -> list[float]:
        for adam in (self.g_adam, self.d_adam):
            adam.param_groups[0]["lr"] = 2e-4 / (1 + 8e-8 * self.steps)
        self.steps += 1

        def noise(z: Tensor) -> Tensor:
            return z if self.slip == "noise N(0, 1)" else (z - 1) / 2

        x = b.real.reshape(32, 784)
        assert len(b.d_z) == 32
        assert len(b.g_z) == 64
        # as `predict` makes them: with the running statistics
        self.g.train(self.slip == "G in training mode")
        fakes = self.g(noise(b.d_z)).detach()
        self.g.train()
        verdict = self.d(torch.cat([x, fakes]))
        labels = torch.cat([torch.ones(32, 1), torch.zeros(32, 1)]).double()
        d_loss = binary_cross_entropy(verdict, labels)
        if self.slip == "sum over the 64":
            d_loss = bce(verdict[:32], 1) + bce(verdict[32:], 0)
        descend(self.d_adam, d_loss)
        g_loss = bce(
            self.d(self.g(noise(b.g_z[:32] if self.slip == "32 in G's step" else b.g_z))), 1
        )
        descend(self.g_adam, g_loss)
        return self.figures(d_loss, g_loss, verdict[:32], verdict[32:])


class DigitsG(nn.Module):
    def __init__(self, slip: str) -> None:
        super().__init__()
        eps, momentum = (1e-5, 0.8) if slip == "0.8 as momentum" else (0.8, 0.1)
        self.embedding = nn.Embedding(10, 10)
        layers: list[nn.Module] = [nn.Linear(110, 128), nn.LeakyReLU(0.2)]
        for fan_in, fan_out in ((128, 256), (256, 512), (512, 1024)):
            layers += [
                nn.Linear(fan_in, fan_out),
                nn.BatchNorm1d(fan_out, eps, momentum),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Linear(1024, 784), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        images: Tensor = self.layers(torch.cat([z, self.embedding(y)], dim=1))
        return images


class DigitsD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        self.first, self.second, self.third = (
            nn.Linear(794, 512),
            nn.Linear(512, 512),
            nn.Linear(512, 512),
        )
        self.last = nn.Linear(512, 1)

    def forward(self, x: Tensor, y: Tensor, masks: list[Tensor]) -> Tensor:
        act = nn.LeakyReLU(0.2)
        h = act(self.first(torch.cat([x, self.embedding(y)], dim=1)))
        h = act(self.second(h) * masks[0])
        h = act(self.third(h) * masks[1])
        score: Tensor = self.last(h)
        return score


class Digits(Source):
    slips = (
        "D first", "fakes of the updated G", "no half", "0.8 as momentum",
        "fakes judged with the real labels", "no Dropout", "fresh noise",
    )  # fmt: skip

    def __init__(self, slip: str) -> None:
        super().__init__(DigitsG(slip), DigitsD(), slip, lr=2e-4, betas=(0.5, 0.999))

    def masks(self, images_seen: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Dropout(0.4) of both layers in G's step, on real images and on fakes: 0, or 1 / 0.6 for
        what is kept."""
        if self.slip == "no Dropout":
            return ([torch.ones(64, 512)] * 2,) * 3
        source = seeding.bits(SEED, "d-dropout", images_seen)
        for_g, for_d = ([seeding.kept(source, (n, 512), 0.4) for _ in range(2)] for n in (64, 128))
        for_real, for_fake = [m[:64] for m in for_d], [m[64:] for m in for_d]
        a, b, c = ([m.double() / 0.6 for m in masks] for masks in (for_g, for_real, for_fake))
        return a, b, c

    def step(self, b: Batch, images_seen: int) -> list[float]:
        assert b.real_labels is not None
        assert b.d_labels is not None
        x, y1, z, y2 = b.real.reshape(64, 784), b.real_labels, b.d_z, b.d_labels
        for_g, for_real, for_fake = self.masks(images_seen)

        def d_step(fakes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            labels = y1 if self.slip == "fakes judged with the real labels" else y2
            real, fake = self.d(x, y1, for_real), self.d(fakes.detach(), labels, for_fake)
            d_loss = (fake**2).mean() + ((1 - real) ** 2).mean()
            d_loss = d_loss if self.slip == "no half" else d_loss / 2
            descend(self.d_adam, d_loss)
            return d_loss, real, fake

        fakes = self.g(z, y2)
        if self.slip == "D first":
            d_loss, real, fake = d_step(fakes)
        g_loss = ((1 - self.d(fakes, y2, for_g)) ** 2).mean()
        descend(self.g_adam, g_loss)
        if self.slip == "fakes of the updated G":
            fakes = self.g(z, y2)
        if self.slip == "fresh noise":
            fakes = self.g(-z, y2)
        if self.slip != "D first":
            d_loss, real, fake = d_step(fakes)
        return self.figures(d_loss, g_loss, real, fake)


class ConvolutionalG(nn.Module):
    def __init__(self, d: int, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.d, self.sides = d, [(height, width)]
        for _ in range(4):
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            self.sides.insert(0, (height, width))
        self.linear = nn.Linear(100, height * width * 8 * d)
        self.norm8 = nn.BatchNorm2d(8 * d)
        self.up4, self.norm4 = (
            nn.ConvTranspose2d(8 * d, 4 * d, 4, stride=2, padding=1),
            nn.BatchNorm2d(4 * d),
        )
        self.up2, self.norm2 = (
            nn.ConvTranspose2d(4 * d, 2 * d, 4, stride=2, padding=1),
            nn.BatchNorm2d(2 * d),
        )
        self.up1, self.norm1 = (
            nn.ConvTranspose2d(2 * d, d, 4, stride=2, padding=1),
            nn.BatchNorm2d(d),
        )
        self.out = nn.ConvTranspose2d(d, channels, 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        (h16, w16), (h8, w8), (h4, w4), (h2, w2), (h, w) = self.sides
        x = torch.relu(self.norm8(self.linear(z).reshape(len(z), 8 * self.d, h16, w16)))
        x = torch.relu(self.norm4(self.up4(x)[..., :h8, :w8]))
        x = torch.relu(self.norm2(self.up2(x)[..., :h4, :w4]))
        x = torch.relu(self.norm1(self.up1(x)[..., :h2, :w2]))
        return torch.tanh(self.out(x)[..., :h, :w])


def convolutional_d(d: int, height: int, width: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, d, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for k in (1, 2, 4):
        layers += [
            nn.Conv2d(k * d, 2 * k * d, 4, stride=2, padding=1),
            nn.BatchNorm2d(2 * k * d),
            nn.LeakyReLU(0.2),
        ]
    for _ in range(4):
        height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * d * height * width, 1), nn.Sigmoid())


class Dcgan(Source):
    slips = (
        "G first",
        "one pass of D",
        "same noise",
        "mean of both terms",
        "G in inference mode",
        "constant rate",
    )
    WIDTH, EPOCHS = 8, 4

    def __init__(self, slip: str, height: int, width: int, channels: int) -> None:
        shape = (self.WIDTH, height, width, channels)
        super().__init__(
            ConvolutionalG(*shape), convolutional_d(*shape), slip, lr=2e-3, betas=(0.5, 0.999)
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        self.schedulers = [
            cosine(adam, T_max=self.EPOCHS, eta_min=2e-5) for adam in (self.g_adam, self.d_adam)
        ]

    def end_epoch(self) -> None:
        if self.slip != "constant rate":
            for scheduler in self.schedulers:
                scheduler.step()

    def step(self, b: Batch, images_seen: int) -> list[float]:
        z = b.d_z if self.slip == "same noise" else b.g_z
        self.g.train(self.slip != "G in inference mode")
        fakes = self.g(b.d_z).detach()
        self.g.train()
        if self.slip == "one pass of D":
            real, fake = self.d(torch.cat([b.real, fakes])).chunk(2)
        else:
            real, fake = self.d(b.real), self.d(fakes)
        return self.d_then_g(real, fake, lambda: bce(self.d(self.g(z)), 1))


def dcgan(height: int, width: int, channels: int) -> Callable[[str], Source]:
    return lambda slip: Dcgan(slip, height, width, channels)
