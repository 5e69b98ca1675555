"""The learner: two networks with their optimizers; running, updating, saving and loading them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import FastPasses, Gan, Pass, Seeing
from ganvas.layers import dropout
from ganvas.layers.batchnorm import share_batchnorm
from ganvas.layers.dense import make_two_batches
from ganvas.layers.passes import AutogradPass, tracer_of
from ganvas.plan import Plan
from ganvas.recipe import AUGMENT_BELOW, Interval, Schedule, TrainConfig
from ganvas.system import seeding
from ganvas.training import augment
from ganvas.training.augment import AugmentParams, Controller
from ganvas.training.distributed import World
from ganvas.training.optimizers import EMA, Adam

if TYPE_CHECKING:
    from ganvas.training.batches import Batch

AUTOCAST_DTYPES = {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_learnable(gan: Gan, config: TrainConfig) -> None:
    """Raise SettingError if these networks, or their objective, cannot be trained by `config`."""
    if gan.objective.paired and config.g_batch not in (None, config.batch):
        raise SettingError(
            f"train.g_batch={config.g_batch}: this objective needs a real image for each fake, and"
            f" a step has train.batch={config.batch}: leave g_batch out"
        )
    if gan.joint:
        return
    why = "this GAN's discriminator judges a batch as a whole (BatchNorm)"
    if config.order == "together":
        raise SettingError(f"train.order='together': {why}; set train.order='d-first'")
    if config.augment == "adaptive":
        raise SettingError(f"train.augment='adaptive': {why}; give a probability, such as 0.4")
    if config.penalty != "none":
        raise SettingError(f"train.penalty='{config.penalty}': {why}; set train.penalty='none'")


def why_apart(gan: Gan, config: TrainConfig, precision: str) -> str:
    """The reason why order="together" cannot be used, so that D is trained first, then G; "" if it
    can be used, or is not asked for."""
    if config.order != "together":
        return ""
    if gan.objective.g_over_d_grad is None:
        return "this objective's gradient for one network is no multiple of that for the other"
    # fp16's loss scaling leaves no room for the ratio of both networks' gradients.
    return "fp16 has too narrow a range for it" if precision == "fp16" else ""


class Learner:
    """Two networks with their optimizers: all that a step changes and state.pt keeps.

    gan: the networks, moved to `device` and put into training mode.
    config: how they are trained.
    epoch: images in the data set, the unit of lengths such as "1 epoch".
    precision: "32", "bf16" or "fp16", of forward passes and their gradients; weights are float32.
    world: this process among those that train together.
    """

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

        # Optimizers, the average of G's weights, and loss scaling.
        self.g_parameters = list(gan.generator.parameters())
        self.d_parameters = list(gan.discriminator.parameters())
        self.g_optimizer = Adam(self.g_parameters, config.betas, config.eps)
        self.d_optimizer = Adam(self.d_parameters, config.betas, config.eps)
        self.ema: EMA | None = None
        if config.average:
            half_life = Interval.parse(config.average).images(config.batch, epoch)
            self.ema = EMA(gan.generator, half_life)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

        # How passes are made. Autocast applies only to those that autograd makes.
        self.autocast_dtype = AUTOCAST_DTYPES[precision]
        fast = self.autocast_dtype is None
        self.g_pass = tracer_of(gan.generator, fast)
        self.d_pass = tracer_of(gan.discriminator, fast)
        self.divisible = fast and isinstance(gan.generator, FastPasses) and gan.generator.divisible
        self.one_stage = config.order == "together" and not why_apart(gan, config, precision)

        # These change as training proceeds: see set_rates, seed_dropout and adapt_augmentation.
        self.gamma = 0.0
        adaptive = config.augment == "adaptive" and epoch < AUGMENT_BELOW
        self.controller = Controller(augment.MAX_RAMP) if adaptive else None
        self.g_dropouts, self.d_dropouts = (
            [layer for layer in network.modules() if isinstance(layer, dropout.Dropout)]
            for network in (gan.generator, gan.discriminator)
        )

    def set_rates(self, plan: Plan, images_seen: int) -> None:
        """Set both learning rates and the penalty's weight for the coming step."""
        config, step = self.config, images_seen // plan.batch
        d_lr = config.lr if config.d_lr is None else config.d_lr
        for optimizer, lr in ((self.g_optimizer, config.lr), (self.d_optimizer, d_lr)):
            if isinstance(lr, Schedule):
                progress = plan.epoch_progress if lr.per == "epoch" else plan.progress
                lr = lr.at(progress(images_seen), step)
            optimizer.lr = lr
        gamma, done = config.gamma, plan.progress(images_seen)
        self.gamma = gamma.at(done, step) if isinstance(gamma, Schedule) else gamma or 0.0
        if self.controller:
            self.controller.ramp = augment.ramp_images(plan.images_at(images_seen))

    def seed_dropout(self, seed: int, images_seen: int) -> None:
        """Make the dropout masks of the coming step a function of (seed, images seen)."""
        rank, size = self.world.rank, self.world.size
        for layers, purpose in ((self.g_dropouts, "g-dropout"), (self.d_dropouts, "d-dropout")):
            if layers:
                dropout.set_source(layers, seeding.bits(seed, purpose, images_seen), rank, size)

    # Forward passes. `make` and `judge` can be pulled back through; the others cannot.

    def autocast(self) -> AbstractContextManager[object]:
        """The context of mixed precision; none for 32 bits."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast_dtype)

    def make(self, z: Tensor, labels: Tensor | None) -> Pass:
        """Run G on latents (N, z_dim) and labels (N,), if conditional."""
        with self.autocast():
            return self.g_pass(z) if labels is None else self.g_pass(z, labels)

    def judge(self, images: Tensor, labels: Tensor | None, batches: int = 1) -> Pass:
        """Run D on images (N, C, H, W) and labels (N,), if conditional.

        batches: batches of equal size that the images consist of, for dropout's masks.
        """
        dropout.set_groups(self.d_dropouts, batches)
        with self.autocast():
            return self.d_pass(images) if labels is None else self.d_pass(images, labels)

    def judge_both(self, real: Tensor, fakes: Tensor, labels: Tensor | None) -> Pass:
        """Run D once on real images and as many fakes (N, C, H, W), in this order.

        labels: of all, int64 (2 N,), if conditional.
        The pass's input is both of them, or the fakes alone if D is `Seeing`.
        """
        d = self.gan.discriminator
        if not isinstance(d, Seeing):
            return self.judge(torch.cat([real, fakes]), labels, batches=2)

        def run(fakes: Tensor, labels: Tensor | None) -> Tensor:
            with torch.no_grad():
                seen = d.see(real)
            return d.judge(
                [torch.cat(pair) for pair in zip(seen, d.see(fakes), strict=True)], labels
            )

        dropout.set_groups(self.d_dropouts, 2)
        with self.autocast():
            return AutogradPass(d, fakes, labels, run=run)

    def make_fakes(self, batch: Batch) -> tuple[Tensor | None, Pass | None]:
        """Make the fakes of D's and of G's step, if one pass of G can make both.

        Returns the images to train D on, and the pass through which G is trained; None and None if
        each step has to make its own.
        """
        config = self.config
        if config.g_fakes == "same":
            made = self.make(batch.d_z, batch.d_labels)
            return made.output, made
        # D's step comes first and leaves G as it is, so both batches can be made before it.
        if config.order == "d-first" and self.divisible:
            d, g = (batch.d_z, batch.d_labels), (batch.g_z, batch.g_labels)
            training = config.d_fakes == "training"
            return make_two_batches(self.g_pass, d, g, first_training=training)
        return None, None

    def fakes(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images to train D on, from latents and labels."""
        self.gan.generator.train(self.config.d_fakes == "training")
        with self.autocast():
            fakes = self.gan.make(z, labels)
        self.gan.generator.train()
        return fakes

    def logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """D's logits float32 (N,), in its current mode."""
        with self.autocast():
            return self.gan.judge(images, labels).float()

    @torch.no_grad()
    def eval_logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """D's logits float32 (N,) in inference mode: without dropout or a batch's statistics, so
        that images can be judged in parts, each as large as a step's batch."""
        size = self.config.batch
        labels_of = repeat(None) if labels is None else labels.split(size)
        self.gan.discriminator.eval()
        logits = [self.logits(*part) for part in zip(images.split(size), labels_of, strict=False)]
        self.gan.discriminator.train()
        return torch.cat(logits)

    # Gradients and updates.

    def penalise(self, batch: Batch, fakes: Tensor) -> None:
        """Add the gradients of the penalty on D's slope to those in D's `.grad`.

        The slope is taken with respect to the images before augmentation, or to what a `Seeing` D
        sees of them, in 32 bits: its square would be too coarse in 16. The penalty has
        `penalty_every` times its weight, as it is left out of the steps between.
        """
        dropout.set_groups(self.d_dropouts, 1)
        kind, terms = self.config.penalty, []
        real, fakes = batch.real.float(), fakes.float()
        with torch.enable_grad():
            if kind in ("r1", "r1+r2"):
                terms.append(self._squared_slope(real, batch.real_changes, batch.real_labels) / 2)
            if kind in ("r2", "r1+r2"):
                terms.append(self._squared_slope(fakes, batch.d_changes, batch.d_labels) / 2)
            if kind == "gradient":
                assert batch.mix is not None
                judge = self._judge_of(batch.real_changes, batch.real_labels)
                terms.append(objectives.gradient_penalty(judge, real, fakes, batch.mix))
            weight = self.gamma * self.config.penalty_every
            loss = torch.stack([term.mean() for term in terms]).sum() * weight
            weights = [p for p in self.d_parameters if p.requires_grad]
            torch.autograd.backward(self.scaler.scale(loss), inputs=weights)

    def _judge_of(
        self, changes: AugmentParams, labels: Tensor | None
    ) -> Callable[[Tensor], Tensor]:
        """The function from images to D's logits of them, augmented."""
        return lambda images: self.gan.judge(augment.apply(images, changes), labels)

    def _squared_slope(
        self, images: Tensor, changes: AugmentParams, labels: Tensor | None
    ) -> Tensor:
        """The squared norm of D's slope at each image, (N,): R1 and R2 are its mean."""
        d = self.gan.discriminator
        if not isinstance(d, Seeing):
            return objectives.squared_gradient_norm(self._judge_of(changes, labels), images)
        with torch.no_grad():
            seen = d.see(augment.apply(images, changes))
        return objectives.squared_gradient_norm(lambda *seen: d.judge([*seen], labels), *seen)

    def scaled(self, gradient: Tensor, factor: float) -> Tensor:
        """A gradient times `factor` and, in fp16, times the loss scale."""
        scaled: Tensor = self.scaler.scale(gradient * factor)
        return scaled

    def update(self, optimizer: Adam) -> None:
        """Average the gradients over all processes, then take one step of the optimizer."""
        self.world.average_gradients(optimizer.parameters)
        self.scaler.step(optimizer)  # type: ignore[arg-type] # Adam has all that it uses
        self.scaler.update()

    def gradient_norms(self) -> Tensor:
        """L2 norms of the last step's gradients, float (3,): of D, of G, and the smallest among
        G's weight matrices."""
        d, g = (
            torch.stack(torch._foreach_norm([p.grad for p in parameters if p.grad is not None]))
            for parameters in (self.d_parameters, self.g_parameters)
        )
        matrices = [p.ndim > 1 for p in self.g_parameters if p.grad is not None]
        return torch.stack([d.norm(), g.norm(), g[matrices].min() if any(matrices) else g.min()])

    # Augmentation.

    @property
    def augmentation(self) -> float:
        """The probability with which images are augmented before D sees them."""
        if self.controller:
            return self.controller.p
        return 0.0 if self.config.augment == "adaptive" else self.config.augment

    def adapt_augmentation(self, known: Tensor, held_out: Tensor | None, images: int) -> None:
        """Let the probability of augmentation follow how far D has memorised its training images.

        known: D's logits of a training batch.
        held_out: D's logits of held-out images; None if the data set is too small to hold any out.
        images: seen since the last call.
        """
        assert self.controller is not None
        share = 1.0  # a data set of a few dozen images is memorised in any case
        if held_out is not None:
            share = float(self.world.mean(augment.memorised_share(known, held_out)))
        self.controller.update(share, images)

    # The state.

    @property
    def sampled(self) -> nn.Module:
        """The generator that samples are made with: the moving average, if it has one."""
        return self.ema.network if self.ema else self.gan.generator

    @property
    def finite(self) -> bool:
        """True if every weight of both networks is finite; if not, they are never saved."""
        return all(bool(p.isfinite().all()) for p in [*self.g_parameters, *self.d_parameters])

    def _parts(self) -> dict[str, Any]:
        """All parts with a state, by name in state.pt; None for those that this training lacks."""
        return {
            "generator": self.gan.generator,
            "discriminator": self.gan.discriminator,
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
            "scaler": self.scaler,
            "average": None if self.ema is None else self.ema.network,
            "augmentation": self.controller,
        }

    def state_dict(self) -> dict[str, Any]:
        parts = self._parts().items()
        return {name: {} if part is None else part.state_dict() for name, part in parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state. Raises ValueError naming the part that does not fit."""
        for name, part in self._parts().items():
            if part is None:
                continue
            try:
                if not isinstance(state[name], dict):
                    raise TypeError("expected a dictionary")
                part.load_state_dict(state[name])
            except KeyError as error:
                raise ValueError(f"learner.{name}: {error} is missing") from None
            except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
                raise ValueError(f"learner.{name}: {error}") from None

    def start_from(self, networks: dict[str, dict[str, Tensor]]) -> None:
        """Begin with trained weights.

        networks: state dicts of "generator" and optionally of "discriminator" and "average", the
            generator's moving average.
        """
        self.gan.generator.load_state_dict(networks["generator"])
        if "discriminator" in networks:
            self.gan.discriminator.load_state_dict(networks["discriminator"])
        if self.ema:
            self.ema.network.load_state_dict(networks.get("average", networks["generator"]))
