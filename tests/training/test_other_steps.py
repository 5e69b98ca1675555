"""Steps beyond the source systems: one-stage training, penalties, adaptive augmentation."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvas import gans, objectives
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.overrides import has_rule_gamma, override, resolve_gamma
from ganvas.recipe import AUGMENT_BELOW, ImageSpec, TrainConfig
from ganvas.system import seeding
from ganvas.training import augment
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.loop import take_step
from ganvas.training.step import step
from helpers.common import plan_of

pytestmark = pytest.mark.usefixtures("steady")

SPEC = ImageSpec(height=6, width=5, channels=1, classes=("a", "b", "c"))


class G(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 7), nn.LeakyReLU(0.2), nn.Linear(7, 30), nn.Tanh())
        self.of_class = nn.Embedding(3, 4)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        made: Tensor = self.layers(z + self.of_class(labels))
        return made.view(-1, 1, 6, 5)


class D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(30, 8), nn.Softplus(), nn.Linear(8, 4), nn.Softplus()
        )
        self.of_class = nn.Embedding(3, 4)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return (self.layers(images) * (1 + self.of_class(labels))).sum(1)


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(batch=8, length="20 steps", lr=1e-3, betas=(0.0, 0.99), **settings)


def dataset(count: int = 40) -> Dataset:
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 1, 6, 5), dtype=torch.uint8, generator=rng)
    return Dataset("noise", images, torch.arange(count) % 3, SPEC.classes)


def learning(
    objective: Any = objectives.relativistic,
    count: int = 40,
    dtype: torch.dtype = torch.float64,
    **settings: Any,
) -> tuple[Learner, Batches]:
    torch.manual_seed(0)
    gan = Gan(G().to(dtype), D().to(dtype), objective, 4, conditional=True)
    learner = Learner(gan, config(**settings), count, torch.device("cpu"))
    batches = Batches(dataset(count), learner, 5)
    learner.set_rates(plan_of(learner.config, count), 0)
    return learner, batches


def in_double(batches: Batches, images_seen: int = 0) -> Any:
    batch = batches.at(images_seen)
    floats = {
        name: value.double()
        for name, value in vars(batch).items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return dataclasses.replace(batch, **floats)


def gradients(network: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


@pytest.fixture(autouse=True)
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", lambda self: self)  # logits stay float64, too


@pytest.mark.parametrize("name", ["relativistic", "minimax", "wasserstein"])
def test_one_pass_gives_the_gradients_of_both_losses(name: Any) -> None:
    objective = objectives.named(name)
    learner, batches = learning(objective, order="together", g_fakes="same")
    gan, batch = learner.gan, in_double(batches)
    fakes = gan.make(batch.d_z, batch.d_labels)
    real, fake = gan.judge(batch.real, batch.real_labels), gan.judge(fakes, batch.d_labels)
    d_wanted = torch.autograd.grad(
        objective.d_loss(real, fake).mean(), learner.d_parameters, retain_graph=True
    )
    g_wanted = torch.autograd.grad(objective.g_loss(real, fake).mean(), learner.g_parameters)
    logits = step(learner, batch)
    for network, wanted in ((gan.discriminator, d_wanted), (gan.generator, g_wanted)):
        for result, gradient in zip(gradients(network), wanted, strict=True):
            torch.testing.assert_close(result, gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(logits.fake, fake.detach())
    torch.testing.assert_close(logits.real, real.detach())


def test_gradient_norms_are_those_of_the_last_steps_gradients() -> None:
    """Pins the private `torch._foreach_norm` to the public `torch.linalg.vector_norm`."""
    learner, batches = learning()
    step(learner, in_double(batches))
    d_gradients, g_gradients = (
        gradients(network) for network in (learner.gan.discriminator, learner.gan.generator)
    )
    norm = torch.linalg.vector_norm
    wanted = [norm(torch.cat([t.flatten() for t in each])) for each in (d_gradients, g_gradients)]
    smallest = min(norm(t) for t in g_gradients if t.ndim > 1)
    torch.testing.assert_close(learner.gradient_norms(), torch.stack([*wanted, smallest]))


@pytest.mark.parametrize("name", ["relativistic", "minimax", "wasserstein"])
def test_g_over_d_grad_is_the_ratio_of_the_losses_derivatives_however_sure_d_is(name: Any) -> None:
    objective = objectives.named(name)
    assert objective.g_over_d_grad is not None
    gap = torch.tensor([-60.0, -3.0, 0.0, 2.0, 40.0, 75.0], dtype=torch.float64)
    real, fake = gap.clone(), torch.zeros_like(gap)
    if name == "minimax":
        real, fake = fake, -gap
    by_fake = objective.d_gradient(real, fake)[1]
    torch.testing.assert_close(
        by_fake * objective.g_over_d_grad(real, fake), objective.g_gradient(real, fake)
    )


@pytest.mark.parametrize("name", ["hinge", "least_squares"])
def test_an_objective_without_such_a_ratio_is_trained_d_first(name: Any) -> None:
    results = []
    for order in ("together", "d-first"):
        learner, batches = learning(objectives.named(name), order=order, g_fakes="same")
        step(learner, in_double(batches))
        results.append([p.detach() for p in [*learner.g_parameters, *learner.d_parameters]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("order", ["together", "d-first"])
@pytest.mark.parametrize("kind", ["r1", "r2", "r1+r2", "gradient"])
def test_the_penalty_is_part_of_every_kth_step_with_k_times_its_weight(
    kind: str, order: str
) -> None:
    gamma, every = 0.7, 3
    learner, batches = learning(
        order=order, g_fakes="same", penalty=kind, gamma=gamma, penalty_every=every
    )
    gan, batch = learner.gan, in_double(batches)
    plain, _ = learning(order=order, g_fakes="same")
    step(plain, dataclasses.replace(batch, mix=None))
    without = gradients(plain.gan.discriminator)
    fakes = gan.make(batch.d_z, batch.d_labels).detach()
    total = torch.zeros((), dtype=torch.float64)
    if kind in ("r1", "r1+r2"):
        total = total + gamma / 2 * _slope(gan, batch.real, batch.real_labels).square().mean()
    if kind in ("r2", "r1+r2"):
        total = total + gamma / 2 * _slope(gan, fakes, batch.d_labels).square().mean()
    if kind == "gradient":
        between = (
            batch.mix.view(-1, 1, 1, 1) * batch.real + (1 - batch.mix.view(-1, 1, 1, 1)) * fakes
        )
        total = total + gamma * (_slope(gan, between, batch.real_labels) - 1).square().mean()
    wanted = torch.autograd.grad(every * total, learner.d_parameters, allow_unused=True)
    step(learner, batch)
    for result, old, penalty in zip(gradients(gan.discriminator), without, wanted, strict=True):
        torch.testing.assert_close(
            result - old,
            torch.zeros_like(old) if penalty is None else penalty,
            rtol=1e-6,
            atol=1e-10,
        )

    assert [batches.at(8 * k).mix is not None for k in range(7)] == [
        k % every == 0 for k in range(7)
    ]


@pytest.mark.parametrize(("g_fakes", "order"), [("fresh", "d-first"), ("same", "together")])
def test_the_gradient_penalty_is_taken_between_images_of_one_class(
    g_fakes: Any, order: Any
) -> None:
    """With fakes of other classes, the penalty hardly holds a conditional D's slope between them:
    `wgan-gp/digits` diverged in five minutes of MNIST."""
    for penalty, alike in (("gradient", True), ("r1+r2", False)):
        _, batches = learning(order=order, g_fakes=g_fakes, penalty=penalty, gamma=1.0)
        batch = batches.at(0)
        assert torch.equal(batch.real_labels, batch.d_labels) == alike
        assert torch.equal(batch.real_labels, batch.g_labels) == (alike and g_fakes == "same")


@pytest.mark.parametrize("d_labels", ["uniform", "real"])
def test_fakes_may_have_the_labels_of_the_real_images(d_labels: Any) -> None:
    _, batches = learning(order="together", g_fakes="same", d_labels=d_labels)
    for images in (0, 8, 800):
        batch = batches.at(images)
        assert batch.real_labels is not None
        same = torch.equal(batch.real_labels, batch.d_labels)
        assert same == torch.equal(batch.real_labels, batch.g_labels) == (d_labels == "real")


def _slope(gan: Gan, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gan.judge(images, labels).sum(), images, create_graph=True)
    return slope.flatten(1).norm(dim=1)


def test_gamma_follows_its_schedule() -> None:
    learner, _ = learning(penalty="r1", gamma=2.0)
    assert learner.gamma == 2.0
    recipe = override(
        gans.load_gan("r3gan").recipes["tiny"],
        {"gamma": {"start": 2.0, "end": 1.0, "shape": "linear"}},
    )
    learner = Learner(
        gans.load_gan("r3gan").build(recipe.model, recipe.native),
        recipe.train,
        16,
        torch.device("cpu"),
    )
    plan = plan_of(recipe.train, 16)
    gammas = []
    for images in (0, plan.total // 2, plan.total):
        learner.set_rates(plan, images)
        gammas.append(learner.gamma)
    assert gammas == pytest.approx([2.0, 1.5, 1.0])


@pytest.mark.parametrize(
    ("spec", "batch", "gamma"),
    [
        ((28, 28, 1), 64, 0.2),
        ((28, 28, 1), 32, 0.4),
        ((56, 56, 3), 64, 0.8),
        ((28, 56, 1), 128, 0.2),
    ],
)
def test_gamma_follows_from_pixels_and_batch(
    spec: tuple[int, int, Any], batch: int, gamma: float
) -> None:
    height, width, channels = spec
    recipe = override(gans.load_gan("r3gan").recipes["digits"], {"batch": batch})
    done, note = resolve_gamma(recipe, ImageSpec(height=height, width=width, channels=channels))
    assert done.train.gamma == pytest.approx(gamma)
    assert f"gamma {gamma:g}" in note
    again, silence = resolve_gamma(done, ImageSpec(height=height, width=width, channels=channels))
    assert (again, silence) == (done, "")


@pytest.mark.parametrize(("name", "gamma"), [("r3gan/digits", 0.1), ("wgan-gp/digits", 2.5)])
def test_a_recipe_multiplies_the_rules_gamma(name: str, gamma: float) -> None:
    recipe = override(gans.find_recipe(name)[2], {"gamma_factor": 0.25})
    done, note = resolve_gamma(recipe, recipe.native)
    assert done.train.gamma == pytest.approx(gamma)
    assert note.startswith(f"gamma {gamma:g}: ")
    assert note.endswith(", times the recipe's 0.25")
    # so a repeat with another batch follows the rule anew
    assert has_rule_gamma(done.train, done.native)
    assert not has_rule_gamma(override(done, {"gamma": 0.3}).train, done.native)


def test_a_gamma_that_is_given_stays_and_other_recipes_have_none() -> None:
    given = override(gans.load_gan("r3gan").recipes["digits"], {"gamma": 5})
    assert resolve_gamma(given, given.native) == (given, "")
    relu = gans.load_gan("mlp").recipes["relu"]
    assert resolve_gamma(relu, relu.native) == (relu, "")


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("dcgan/tiny", {"penalty": "r1"}, "BatchNorm"),
        ("dcgan/tiny", {"order": "together", "g_fakes": "same"}, "BatchNorm"),
        ("dcgan/tiny", {"augment": "adaptive"}, "BatchNorm"),
    ],
)
def test_settings_that_a_discriminator_with_batchnorm_cannot_follow_are_refused(
    recipe: str, changes: dict[str, Any], message: str
) -> None:
    _, file, original = gans.find_recipe(recipe)
    changed = override(original, changes)
    with pytest.raises(SettingError, match=message):
        Learner(file.build(changed.model, changed.native), changed.train, 10, torch.device("cpu"))


# Augmentation


@pytest.mark.parametrize("order", ["together", "d-first"])
def test_both_networks_are_trained_through_the_augmentation(order: str) -> None:
    learner, batches = learning(
        order=order, g_fakes="same", augment=1.0, penalty="r1", gamma=1.0, count=30_000
    )
    gan, batch, objective = learner.gan, in_double(batches), objectives.relativistic
    assert batch.real_changes.shift is not None
    assert not torch.equal(batch.real_changes.shift, batch.d_changes.shift)
    fakes = gan.make(batch.d_z, batch.d_labels)
    real = gan.judge(augment.apply(batch.real, batch.real_changes), batch.real_labels)
    fake = gan.judge(augment.apply(fakes, batch.d_changes), batch.d_labels)
    images = batch.real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        gan.judge(augment.apply(images, batch.real_changes), batch.real_labels).sum(),
        images,
        create_graph=True,
    )
    loss = objective.d_loss(real, fake).mean() + 0.5 * slope.square().flatten(1).sum(1).mean()
    d_wanted = torch.autograd.grad(loss, learner.d_parameters, retain_graph=True)
    g_wanted = torch.autograd.grad(
        objective.g_loss(real.detach(), fake).mean(), learner.g_parameters
    )
    before = [p.detach().clone() for p in learner.g_parameters]
    step(learner, batch)
    for result, wanted in zip(gradients(gan.discriminator), d_wanted, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-6, atol=1e-10)
    assert any(not torch.equal(p, old) for p, old in zip(learner.g_parameters, before, strict=True))
    if order == "together":  # else D has changed when G's turn comes
        for result, wanted in zip(gradients(gan.generator), g_wanted, strict=True):
            torch.testing.assert_close(result, wanted, rtol=1e-9, atol=1e-12)


def test_few_images_are_held_out_and_none_of_them_is_trained_on() -> None:
    _, batches = learning(count=300, augment="adaptive", dtype=torch.float32)
    assert len(batches.held) == augment.held_out_count(300) == 30
    held = {tuple(image.flatten().tolist()) for image in batches.dataset.images[batches.held]}
    for seen in range(0, 600, 8):
        batch = batches.at(seen)
        images = ((batch.real + 1) * 127.5).round().to(torch.uint8)
        assert not held & {tuple(image.flatten().tolist()) for image in images}


def test_many_images_are_neither_held_out_nor_augmented() -> None:
    learner, batches = learning(count=AUGMENT_BELOW, augment="adaptive", dtype=torch.float32)
    assert learner.controller is None
    assert len(batches.held) == 0
    assert batches.at(0).real_changes.shift is None
    assert learner.augmentation == 0


def test_the_probability_rises_when_d_knows_its_images_and_is_part_of_the_state() -> None:
    # too few to hold some out
    learner, batches = learning(count=50, augment="adaptive", dtype=torch.float32)
    plan = dataclasses.replace(plan_of(learner.config, 50), images=10_000)
    probabilities = []
    for k in range(3 * augment.ADAPT_STEPS):
        learner.set_rates(plan, 8 * k)
        take_step(learner, batches, 8 * k)
        probabilities.append(learner.augmentation)
    assert probabilities[0] > 0
    assert len(set(probabilities)) == 3
    assert probabilities == sorted(probabilities)
    other, _ = learning(count=50, augment="adaptive", dtype=torch.float32)
    other.load_state_dict(learner.state_dict())
    assert other.augmentation == learner.augmentation


def test_d_judges_held_out_images_before_its_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, batches = learning(count=300, augment="adaptive", dtype=torch.float32)
    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(
        learner, "adapt_augmentation", lambda known, held, images: seen.append((known, held))
    )
    held = batches.held_out(0)
    batch = batches.at(0)
    assert held is not None
    with torch.no_grad():
        wanted = learner.gan.judge(batch.real, batch.real_labels), learner.gan.judge(*held)
    take_step(learner, batches, 0)
    ((known, of_held),) = seen
    torch.testing.assert_close(known, wanted[0])
    torch.testing.assert_close(of_held, wanted[1])


def test_augmentations_are_a_function_of_seed_and_position() -> None:
    first, again = (learning(count=300, augment=0.5, dtype=torch.float32)[1] for _ in range(2))
    a, b, later = first.at(16), again.at(16), first.at(24)
    assert torch.equal(a.d_changes.shift, b.d_changes.shift)
    assert not torch.equal(a.d_changes.shift, later.d_changes.shift)
    shift = augment.sample_params(
        seeding.generator(5, "augment-d", 16), 8, ("translation",), (6, 5), 0.5
    ).shift
    assert first.kinds == ("translation", "colour", "cutout")
    assert torch.equal(a.d_changes.shift, shift)
