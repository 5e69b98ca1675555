"""The learner: two networks with their optimizers, and how they are run, updated, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.layers import dropout
from ganvas.layers.batchnorm import share_batchnorm
from ganvas.layers.passes import AutogradPass, Pass, passes
from ganvas.plan import Plan
from ganvas.recipe import AUGMENT_BELOW, Interval, Schedule, TrainConfig
from ganvas.system import seeding
from ganvas.training import augment
from ganvas.training.adam import Adam
from ganvas.training.augment import AugmentParams, Controller
from ganvas.training.distributed import World
from ganvas.training.ema import Average


class ShownImages(NamedTuple):
    """Images (N, C, H, W), their labels (N,), and the changes with which D sees them."""

    images: Tensor
    labels: Tensor | None
    changes: AugmentParams


def check_learnable(gan: Gan, config: TrainConfig) -> None:
    """Raises SettingError where a training asks for what these networks, or their objective, cannot
    do."""
    if gan.objective.paired and config.g_batch not in (None, config.batch):
        raise SettingError(
            f"train.g_batch={config.g_batch}: this objective sets each fake against a real image,"
            f" of which a step has train.batch={config.batch}: leave g_batch out"
        )
    if gan.joint:
        return
    why = "this GAN's discriminator judges a batch as a whole (BatchNorm)"
    if config.order == "together":
        raise SettingError(f"train.order='together': {why}; set train.order='d-first'")
    if config.augment == "adaptive":
        raise SettingError(
            f"train.augment='adaptive': {why}; give a probability, such as 0.4, or 0"
        )
    if config.penalty != "none":
        raise SettingError(
            f"train.penalty='{config.penalty}' needs the slope at each image, and {why}: leave"
            " it out"
        )


def why_apart(gan: Gan, config: TrainConfig, precision: str) -> str:
    """Why the networks are trained one after the other, D first, where one pass is asked for; ""
    where nothing is in the way."""
    if config.order != "together":
        return ""
    if gan.objective.g_over_d_grad is None:
        return (
            "with this objective the gradient for one network is no multiple of that for the other"
        )
    # Loss scaling of 16 bits leaves no room for the factors between both networks' gradients.
    return "fp16 has too narrow a range for it" if precision == "fp16" else ""


class Learner:
    """Two networks with their optimizers: all that a step changes, and all that state.pt keeps of
    it."""

    def __init__(
        self,
        gan: Gan,
        config: TrainConfig,
        epoch: int,
        device: torch.device,
        precision: str = "32",
        world: World | None = None,
    ) -> None:
        check_learnable(gan, config)
        self.gan, self.config, self.device = gan, config, device
        self.world = world or World()
        for network in (gan.generator, gan.discriminator):
            network.to(device).train()
            if self.world.size > 1:
                share_batchnorm(network)
        self.g_parameters = list(gan.generator.parameters())
        self.d_parameters = list(gan.discriminator.parameters())
        self.g_optimizer = Adam(self.g_parameters, config.betas, config.eps)
        self.d_optimizer = Adam(self.d_parameters, config.betas, config.eps)
        self.average = (
            Average(gan.generator, Interval.parse(config.average).images(config.batch, epoch))
            if config.average
            else None
        )
        self.half = {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half == torch.float16)
        self.g_pass: Callable[..., Any]
        self.d_pass: Callable[..., Any]
        self.g_pass, self.d_pass = (
            # autocast is of autograd's passes
            passes(network) if self.half is None else partial(AutogradPass, network)
            for network in (gan.generator, gan.discriminator)
        )
        self.together = config.order == "together" and not why_apart(gan, config, precision)
        self.gamma = 0.0
        few = config.augment == "adaptive" and epoch < AUGMENT_BELOW
        self.controller = Controller(augment.MAX_RAMP) if few else None
        self.divisible = self.half is None and getattr(gan.generator, "divisible", False)
        self.g_dropouts = [m for m in gan.generator.modules() if isinstance(m, dropout.Dropout)]
        self.d_dropouts = [m for m in gan.discriminator.modules() if isinstance(m, dropout.Dropout)]

    def set_rates(self, plan: Plan, images_seen: int) -> None:
        """Set both learning rates, and the penalty's weight, for the coming step."""
        for optimizer, lr in (
            (self.g_optimizer, self.config.lr),
            (self.d_optimizer, self.config.lr if self.config.d_lr is None else self.config.d_lr),
        ):
            if isinstance(lr, Schedule):
                progress = (
                    plan.epoch_progress(images_seen)
                    if lr.per == "epoch"
                    else plan.progress(images_seen)
                )
                lr = lr.at(progress, images_seen // plan.batch)
            optimizer.lr = lr
        gamma = self.config.gamma
        if isinstance(gamma, Schedule):
            gamma = gamma.at(plan.progress(images_seen), images_seen // plan.batch)
        self.gamma = gamma or 0.0
        if self.controller:
            self.controller.ramp = augment.ramp_images(plan.images_at(images_seen))

    def aim_dropout(self, seed: int, images_seen: int) -> None:
        """Make the dropout masks of the coming step a function of (seed, images seen)."""
        for layers, purpose in ((self.g_dropouts, "g-dropout"), (self.d_dropouts, "d-dropout")):
            if layers:
                dropout.set_source(
                    layers,
                    seeding.bits(seed, purpose, images_seen),
                    self.world.rank,
                    self.world.size,
                )

    def make(self, z: Tensor, labels: Tensor | None) -> Pass:
        with self.autocast():
            made: Pass = self.g_pass(z) if labels is None else self.g_pass(z, labels)
        return made

    def judge(self, images: Tensor, labels: Tensor | None) -> Pass:
        with self.autocast():
            judged: Pass = self.d_pass(images) if labels is None else self.d_pass(images, labels)
        return judged

    def fakes(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images to train D on."""
        self.gan.generator.train(self.config.d_fakes == "training")
        with self.autocast():
            fakes = self.gan.make(z, labels)
        self.gan.generator.train()
        return fakes

    def penalise(self, real: ShownImages, fake: ShownImages, mix: Tensor) -> None:
        """Add to D's gradients those of the penalty on its slope by images, as they are before they
        are changed.

        mix: float32 (N,) in [0, 1]: where between real and fake images the gradient penalty is
        taken.
        """

        def at(seen: ShownImages) -> Callable[[Tensor], Tensor]:
            return lambda images: self.gan.judge(augment.apply(images, seen.changes), seen.labels)

        kind, terms = self.config.penalty, []
        # and in 32 bits: half ones are too coarse for the square of a slope
        with torch.enable_grad():
            if kind in ("r1", "r1+r2"):
                terms.append(objectives.squared_gradient_norm(at(real), real.images.float()) / 2)
            if kind in ("r2", "r1+r2"):
                terms.append(objectives.squared_gradient_norm(at(fake), fake.images.float()) / 2)
            if kind == "gradient":
                terms.append(
                    objectives.gradient_penalty(at(real), real.images, fake.images.float(), mix)
                )
            loss = torch.stack([term.mean() for term in terms]).sum() * (
                self.gamma * self.config.penalty_every
            )
            torch.autograd.backward(
                self.scaler.scale(loss), inputs=[p for p in self.d_parameters if p.requires_grad]
            )

    @property
    def augmentation(self) -> float:
        """The probability with which images are augmented before D sees them."""
        if self.controller:
            return self.controller.p
        return 0.0 if self.config.augment == "adaptive" else self.config.augment

    def held_logits(self, held_out: tuple[Tensor, Tensor | None] | None) -> Tensor | None:
        """D's logits (M,) of real images that it is not trained on, and their labels; None without
        any."""
        if held_out is None:
            return None
        images, labels = held_out
        batch = self.config.batch
        parts = zip(
            images.split(batch),
            repeat(None) if labels is None else labels.split(batch),
            strict=False,
        )
        # no dropout, and no statistics of a batch: it may come in parts, as large as a step's
        self.gan.discriminator.eval()
        with torch.no_grad(), self.autocast():
            logits = torch.cat([self.gan.judge(*part).float() for part in parts])
        self.gan.discriminator.train()
        return logits

    def adapt(self, known: Tensor, held_out: Tensor | None, images: int) -> None:
        """Let the probability of augmentation follow how far D knows its training images by heart.

        known, held_out: D's logits of a batch and of what is held out. images: seen since the last
        time.
        """
        assert self.controller is not None
        share = (
            1.0
            if held_out is None
            else float(self.world.mean(augment.memorised_share(known, held_out)))
        )
        self.controller.update(share, images)

    def scaled(self, gradient: Tensor, factor: float) -> Tensor:
        """A gradient times a factor, and in mixed precision times that of the loss scaling."""
        scaled: Tensor = self.scaler.scale(gradient * factor)
        return scaled

    def update(self, optimizer: Adam) -> None:
        """One optimizer step down the gradients, averaged over the processes."""
        self.world.average_gradients(optimizer.parameters)
        self.scaler.step(optimizer)  # type: ignore[arg-type] # it needs no more of an optimizer than ours has
        self.scaler.update()

    def gradient_norms(self) -> Tensor:
        """L2 norms of the last step's gradients, float (3,): of D's, of G's, and the least of those
        of G's weight matrices."""
        d, g = (
            torch.stack(torch._foreach_norm([p.grad for p in parameters if p.grad is not None]))
            for parameters in (self.d_parameters, self.g_parameters)
        )
        matrices = [p.ndim > 1 for p in self.g_parameters if p.grad is not None]
        return torch.stack([d.norm(), g.norm(), g[matrices].min() if any(matrices) else g.min()])

    @property
    def sampled(self) -> nn.Module:
        """The generator that images are made with: the average where there is one."""
        return self.average.network if self.average else self.gan.generator

    @property
    def finite(self) -> bool:
        """Whether every weight is a number: what is not, is never saved."""
        return all(bool(p.isfinite().all()) for p in [*self.g_parameters, *self.d_parameters])

    def autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self.half is None else torch.autocast(self.device.type, self.half)

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.gan.generator.state_dict(),
            "discriminator": self.gan.discriminator.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.network.state_dict() if self.average else {},
            "augmentation": self.controller.state_dict() if self.controller else {},
        }

    def start_from(self, networks: dict[str, dict[str, Tensor]]) -> None:
        """Begin with trained weights: of "generator" and, where they are given, of "discriminator"
        and "average"."""
        self.gan.generator.load_state_dict(networks["generator"])
        if "discriminator" in networks:
            self.gan.discriminator.load_state_dict(networks["discriminator"])
        if self.average:
            self.average.network.load_state_dict(networks.get("average", networks["generator"]))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gan.generator.load_state_dict(state["generator"])
        self.gan.discriminator.load_state_dict(state["discriminator"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        if not isinstance(state["scaler"], dict):
            raise TypeError("the loss scaling of mixed precision is damaged")
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.network.load_state_dict(state["average"])
        if self.controller:
            self.controller.load_state_dict(state["augmentation"])
