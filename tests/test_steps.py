"""Three training steps of each of the five systems against a transcription of its listed formulae.

The transcriptions are plain PyTorch and share no code with the package: their own layers, a sigmoid and binary
cross-entropy where the source has them, a pass of D for each batch, torch's default Adam, its own cosine schedule.
Both sides run in float64 from the same weights on the same batches, so that they must agree to rounding; and each
transcription can be made wrong on purpose, to show that the comparison would notice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from ganvas import draws, gans
from ganvas.card import Plan
from ganvas.data.dataset import Dataset
from ganvas.recipe import ImageSpec, Interval, TrainConfig, override
from ganvas.training import Batch, Batches, Learner, step, take_step

SEED = 5
OTHER = 2e-4  # every slip changes more than this


def same(name: str) -> float:
    """What rounding may change in three steps of float64. It is 1e-15 as a rule; but a bias before a BatchNorm has a
    gradient of rounding alone, which Adam divides by its eps of 1e-8, and DCGAN is full of them."""
    return 1e-6 if name.startswith("dcgan") else 1e-12


@pytest.fixture(autouse=True)
def _steady() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def bce(probability: Tensor, label: float) -> Tensor:
    return binary_cross_entropy(probability, torch.full_like(probability, label))


class Source:
    """A system as its listing says. `slip` names a mistake to make on purpose; `slips` are those it knows."""

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
                assert type(to) is type(of)
                to.load_state_dict(of.state_dict())

    def step(self, b: Batch, images_seen: int) -> list[float]:
        """One step; d_loss, g_loss, mean scores of real and fake images in D's step, D's accuracy in it."""
        raise NotImplementedError

    def end_epoch(self) -> None:
        pass

    def d_then_g(self, real: Tensor, fake: Tensor, g_loss: Callable[[], Tensor]) -> list[float]:
        """D down BCE(real, 1) + BCE(fake, 0), a sum; then G down a loss that the D just updated gives."""
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
        accuracy = (right / (len(real) + len(fake))).item()  # integers divided: float32 on both sides
        return [d_loss.item(), g_loss.item(), real.mean().item(), fake.mean().item(), accuracy]


def layers_with_state(network: nn.Module) -> list[nn.Module]:
    """Linear layers in order, then BatchNorms in order, and so on: networks may name and group them as they like."""
    leaves = [m for m in network.modules() if not list(m.children()) and m.state_dict()]
    return sorted(leaves, key=lambda m: type(m).__name__)


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def dense(sizes: tuple[int, ...], last: nn.Module, between: Callable[[], nn.Module]) -> nn.Sequential:
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
        return self.d_then_g(self.d(x), self.d(self.g(b.d_z).detach()), lambda: bce(self.d(self.g(z)), 1))


class KerasG(nn.Sequential):
    def __init__(self, slip: str) -> None:
        momentum = 0.8 if slip == "momentum 0.8" else 0.2
        eps = 1e-5 if slip == "BatchNorm eps 1e-5" else 1e-3
        layers: list[nn.Module] = []
        for fan_in, fan_out in ((100, 256), (256, 512), (512, 1024)):
            after: list[nn.Module] = [nn.LeakyReLU(0.2), nn.BatchNorm1d(fan_out, eps=eps, momentum=momentum)]
            layers += [nn.Linear(fan_in, fan_out), *(reversed(after) if slip == "BatchNorm first" else after)]
        super().__init__(*layers, nn.Linear(1024, 784), nn.Tanh())


class Keras(Source):
    slips = (
        "G in training mode", "sum over the 64", "32 in G's step", "noise N(0, 1)", "Adam eps 1e-8", "BatchNorm first",
        "momentum 0.8", "BatchNorm eps 1e-5",
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
        self.g.train(self.slip == "G in training mode")  # as `predict` makes them: with the running statistics
        fakes = self.g(noise(b.d_z)).detach()
        self.g.train()
        verdict = self.d(torch.cat([x, fakes]))
        labels = torch.cat([torch.ones(32, 1), torch.zeros(32, 1)]).double()
        d_loss = binary_cross_entropy(verdict, labels)
        if self.slip == "sum over the 64":
            d_loss = bce(verdict[:32], 1) + bce(verdict[32:], 0)
        descend(self.d_adam, d_loss)
        g_loss = bce(self.d(self.g(noise(b.g_z[:32] if self.slip == "32 in G's step" else b.g_z))), 1)
        descend(self.g_adam, g_loss)
        return self.figures(d_loss, g_loss, verdict[:32], verdict[32:])


class DigitsG(nn.Module):
    def __init__(self, slip: str) -> None:
        super().__init__()
        eps, momentum = (1e-5, 0.8) if slip == "0.8 as momentum" else (0.8, 0.1)
        self.embedding = nn.Embedding(10, 10)
        layers: list[nn.Module] = [nn.Linear(110, 128), nn.LeakyReLU(0.2)]
        for fan_in, fan_out in ((128, 256), (256, 512), (512, 1024)):
            layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out, eps, momentum), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(1024, 784), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        images: Tensor = self.layers(torch.cat([z, self.embedding(y)], dim=1))
        return images


class DigitsD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        self.first, self.second, self.third = nn.Linear(794, 512), nn.Linear(512, 512), nn.Linear(512, 512)
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
        "D first", "fakes of the updated G", "no half", "0.8 as momentum", "fakes judged with the real labels",
        "no Dropout", "fresh noise",
    )  # fmt: skip

    def __init__(self, slip: str) -> None:
        super().__init__(DigitsG(slip), DigitsD(), slip, lr=2e-4, betas=(0.5, 0.999))

    def masks(self, images_seen: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Dropout(0.4) of both layers in G's step, on real images and on fakes: 0, or 1 / 0.6 for what is kept."""
        if self.slip == "no Dropout":
            return ([torch.ones(64, 512)] * 2,) * 3
        source = draws.bits(SEED, "d-dropout", images_seen)
        for_g, for_d = ([draws.kept(source, (n, 512), 0.4) for _ in range(2)] for n in (64, 128))
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
        self.up4, self.norm4 = nn.ConvTranspose2d(8 * d, 4 * d, 4, stride=2, padding=1), nn.BatchNorm2d(4 * d)
        self.up2, self.norm2 = nn.ConvTranspose2d(4 * d, 2 * d, 4, stride=2, padding=1), nn.BatchNorm2d(2 * d)
        self.up1, self.norm1 = nn.ConvTranspose2d(2 * d, d, 4, stride=2, padding=1), nn.BatchNorm2d(d)
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
        layers += [nn.Conv2d(k * d, 2 * k * d, 4, stride=2, padding=1), nn.BatchNorm2d(2 * k * d), nn.LeakyReLU(0.2)]
    for _ in range(4):
        height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * d * height * width, 1), nn.Sigmoid())


class Dcgan(Source):
    slips = ("G first", "one pass of D", "same noise", "mean of both terms", "G in inference mode", "constant rate")
    WIDTH, EPOCHS = 8, 4

    def __init__(self, slip: str, height: int, width: int, channels: int) -> None:
        shape = (self.WIDTH, height, width, channels)
        super().__init__(ConvolutionalG(*shape), convolutional_d(*shape), slip, lr=2e-3, betas=(0.5, 0.999))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        self.schedulers = [cosine(adam, T_max=self.EPOCHS, eta_min=2e-5) for adam in (self.g_adam, self.d_adam)]

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


QUICK = {"width": Dcgan.WIDTH, "batch": 6, "length": f"{Dcgan.EPOCHS} epochs"}
# name: the recipe, its overrides, image shape, images in the data set, its transcription
SYSTEMS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int], int, Callable[[str], Source]]] = {
    "relu": ("mlp/relu", {}, (1, 28, 28), 100, Relu),
    "leaky": ("mlp/leaky", {}, (1, 28, 28), 250, Leaky),
    "keras": ("mlp/batchnorm", {}, (1, 28, 28), 100, Keras),
    "digits": ("cgan/digits", {}, (1, 28, 28), 150, Digits),
    # 12 images in batches of 6: the third step is the second epoch's first, with another learning rate
    "dcgan 28x28 grey": ("dcgan/64", QUICK, (1, 28, 28), 12, dcgan(28, 28, 1)),
    "dcgan 32x32 RGB": ("dcgan/64", QUICK, (3, 32, 32), 12, dcgan(32, 32, 3)),
    "dcgan 64x64 RGB": ("dcgan/64", QUICK, (3, 64, 64), 12, dcgan(64, 64, 3)),
    "dcgan 21x35 RGBA": ("dcgan/64", QUICK, (4, 21, 35), 12, dcgan(21, 35, 4)),
}


def pictures(shape: tuple[int, int, int], count: int, classes: bool) -> Dataset:
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=rng)
    labels, names = (torch.arange(count) % 10, tuple("0123456789")) if classes else (None, ())
    return Dataset("noise", images, labels, names)


def prepared(name: str) -> tuple[Learner, Batches, Plan]:
    full_name, changes, shape, count, _ = SYSTEMS[name]
    _, file, recipe = gans.find(full_name)
    recipe = override(recipe, changes)
    dataset = pictures(shape, count, bool(recipe.native.classes))
    gan = file.build(recipe.model, ImageSpec.of(dataset), 3)
    learner = Learner(gan, recipe.train, count, torch.device("cpu"))
    return learner, Batches(dataset, learner, SEED), plan_of(recipe.train, count)


def plan_of(train: TrainConfig, images: int) -> Plan:
    total = Interval.parse(train.length).images(train.batch, images)
    return Plan(images=round(total), batch=train.batch, epoch=images, requested=train.length)


def difference(name: str, slip: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Largest difference of any figure, weight or running statistic after three steps, or after the first that shows
    a slip."""
    monkeypatch.setattr(Tensor, "float", lambda self: self)  # logits stay float64, too
    learner, batches, plan = prepared(name)
    gan = learner.gan
    gan.generator.double()
    gan.discriminator.double()
    source = SYSTEMS[name][-1](slip)
    source.start_from(gan.generator, gan.discriminator)
    largest = 0.0
    for images_seen in (n * learner.config.batch for n in range(3)):
        b = batches.at(images_seen)
        b.real, b.d_z, b.g_z = b.real.double(), b.d_z.double(), b.g_z.double()
        learner.set_rates(plan, images_seen)
        learner.aim_dropout(SEED, images_seen)
        figures = step(learner, b)
        assert figures.dtype == torch.float64
        expected = torch.tensor(source.step(b, images_seen), dtype=torch.float64)
        pairs = [(figures, expected)]
        for mine, theirs in ((source.g, gan.generator), (source.d, gan.discriminator)):
            for ours, its in zip(layers_with_state(mine), layers_with_state(theirs), strict=True):
                pairs += zip(its.state_dict().values(), ours.state_dict().values(), strict=True)
        largest = max(largest, *((a - b).abs().max().item() for a, b in pairs if a.is_floating_point()))
        if largest > OTHER:
            break
        if (images_seen + learner.config.batch) % plan.epoch == 0:
            source.end_epoch()
    return largest


@pytest.mark.parametrize("name", SYSTEMS)
def test_three_steps_give_the_losses_and_weights_of_the_listed_formulae(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert difference(name, "", monkeypatch) < same(name)


SLIPS = [
    (name, slip)
    for name, source in (
        ("relu", Relu), ("leaky", Leaky), ("keras", Keras), ("digits", Digits), ("dcgan 28x28 grey", Dcgan)
    )
    for slip in source.slips
]  # fmt: skip


@pytest.mark.parametrize(("name", "slip"), SLIPS)
def test_the_comparison_notices_every_way_of_getting_a_step_wrong(
    name: str, slip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert difference(name, slip, monkeypatch) > OTHER


@pytest.mark.parametrize("name", SYSTEMS)
def test_training_in_float32_gives_the_same_figures(name: str) -> None:
    learner, batches, plan = prepared(name)
    source = SYSTEMS[name][-1]("")
    source.start_from(learner.gan.generator, learner.gan.discriminator)
    # Adam makes much of float32's rounding in DCGAN: plain PyTorch on its own is 2% off in its second step
    steps, tolerance = (1, 1e-2) if name.startswith("dcgan") else (3, 1e-5)
    for images_seen in (n * learner.config.batch for n in range(steps)):
        learner.set_rates(plan, images_seen)
        figures = take_step(learner, batches, images_seen)
        assert figures.dtype == torch.float32
        b = batches.at(images_seen)
        b.real, b.d_z, b.g_z = b.real.double(), b.d_z.double(), b.g_z.double()
        expected = source.step(b, images_seen)
        assert figures.tolist()[:4] == pytest.approx(expected[:4], rel=tolerance)


@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_hold_the_recipes_images_noise_and_labels(name: str) -> None:
    learner, batches, plan = prepared(name)
    config, dataset = learner.config, batches.dataset
    seen: list[Tensor] = []
    latents: list[Tensor] = []
    for images_seen in range(0, plan.epoch + config.batch, config.batch):
        b = batches.at(images_seen)
        indices = draws.Order(SEED, len(dataset)).indices(images_seen, config.batch)
        seen.append(indices)
        assert torch.allclose(b.real.double(), dataset.images[indices].double() / 255 * 2 - 1, atol=1e-6)
        assert b.d_z.shape == (config.batch, learner.gan.z_dim)
        shared = name in ("relu", "digits")
        assert torch.equal(b.d_z, b.g_z) == shared
        latents += [b.d_z] if shared else [b.d_z, b.g_z]
        if name == "digits":
            assert dataset.labels is not None
            assert b.real_labels is not None
            assert b.d_labels is not None
            assert b.g_labels is b.d_labels
            assert torch.equal(b.real_labels, dataset.labels[indices])
            assert b.d_labels.unique().tolist() == list(range(10))  # random ones, not the images'
            assert not torch.equal(b.d_labels, b.real_labels)
        else:
            assert b.real_labels is b.d_labels is b.g_labels is None
    assert sorted(torch.cat(seen)[: plan.epoch].tolist()) == list(range(plan.epoch))
    z = torch.cat(latents).flatten()
    assert len(z.unique()) > 0.99 * len(z)  # none drawn twice
    assert z.mean().item() == pytest.approx(0, abs=5 / len(z) ** 0.5)
    assert z.std().item() == pytest.approx(1, abs=5 / len(z) ** 0.5)


def rates(recipe_name: str, changes: dict[str, Any], images: int, at: list[int]) -> list[tuple[float, float]]:
    """G's and D's learning rates in the optimizers after so many images of a training on `images` images."""
    _, file, recipe = gans.find(recipe_name)
    recipe = override(recipe, changes)
    tiny = file.recipes["tiny"]
    learner = Learner(file.build(tiny.model, tiny.native), recipe.train, images, torch.device("cpu"))
    plan = plan_of(recipe.train, images)
    found = []
    for images_seen in at:
        returned = learner.set_rates(plan, images_seen)
        found.append((learner.g_optimizer.param_groups[0]["lr"], learner.d_optimizer.param_groups[0]["lr"]))
        assert returned == found[-1][0]
    return found


@pytest.mark.parametrize(("recipe", "lr"), [("mlp/relu", 1e-4), ("mlp/leaky", 3e-4), ("cgan/digits", 2e-4)])
def test_constant_learning_rates_stay_as_they_are(recipe: str, lr: float) -> None:
    assert rates(recipe, {}, 1000, [0, 1000, 49_000]) == [(lr, lr)] * 3


def test_the_keras_systems_learning_rate_falls_with_every_step() -> None:
    steps = [0, 1, 100, 4999]
    expected = [2e-4 / (1 + 8e-8 * n) for n in steps]
    found = rates("mlp/batchnorm", {}, 60_000, [32 * n for n in steps])
    assert [g for g, _ in found] == pytest.approx(expected, rel=1e-12)
    assert [d for _, d in found] == [g for g, _ in found]
    assert found[0] != found[1]


def test_dcgans_learning_rate_is_torchs_cosine_stepped_after_each_epoch() -> None:
    adam = torch.optim.Adam([nn.Parameter(torch.zeros(1))], 2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=500, eta_min=2e-5)
    expected = []
    for _ in range(500):
        expected.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    assert expected[0] == 2e-3
    for offset in (0, 50, 99):  # images into an epoch of 100: the same rate all through it
        found = rates("dcgan/64", {}, 100, [epoch * 100 + offset for epoch in range(500)])
        assert [g for g, _ in found] == pytest.approx(expected, rel=1e-9)
        assert [d for _, d in found] == [g for g, _ in found]


def test_dcgans_repository_warms_up_over_3_epochs_and_holds_the_last_15() -> None:
    expected = []
    for epoch in range(500):
        if epoch < 3:
            expected.append(2e-4 + (2e-3 - 2e-4) * (epoch / 3) ** 2)
        elif epoch >= 485:
            expected.append(2e-5)
        else:
            expected.append(2e-5 + (2e-3 - 2e-5) * (1 + math.cos(math.pi * (epoch - 3) / 482)) / 2)
    found = rates("dcgan/repository", {}, 100, [epoch * 100 + 64 for epoch in range(500)])
    assert [g for g, _ in found] == pytest.approx(expected, rel=1e-9)
    assert expected[0] == 2e-4


def test_d_may_have_a_learning_rate_of_its_own() -> None:
    assert rates("mlp/relu", {"d_lr": 4e-4}, 100, [0, 160]) == [(1e-4, 4e-4)] * 2
    falling = {"start": 1.0, "end": 0.0, "shape": "linear"}
    assert rates("mlp/relu", {"d_lr": falling, "length": "2 epochs"}, 100, [0, 100]) == [(1e-4, 1.0), (1e-4, 0.5)]


def test_the_papers_constant_rate_is_one_setting() -> None:
    assert rates("dcgan/64", {"lr": 2e-4}, 100, [0, 49_000]) == [(2e-4, 2e-4)] * 2
