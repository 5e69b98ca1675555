"""Training: read it top to bottom. `train()` is the loop, `step()` one step of both networks.

What differs between GANs is in their own files and in plain fields of TrainConfig; the loop knows one objective.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganvas import dist, draws
from ganvas.card import FORMAT, Plan
from ganvas.data.dataset import Dataset
from ganvas.dist import World
from ganvas.ema import Average
from ganvas.errors import RunError
from ganvas.gan import Gan
from ganvas.gans import GanFile
from ganvas.pixels import to_float
from ganvas.progress import Progress
from ganvas.recipe import Interval, Schedule, TrainConfig
from ganvas.record import Record, crossed
from ganvas.run import Run
from ganvas.sample import Sampler
from ganvas.signals import Stop

SAVE_SECONDS = 40  # the state is saved at least every 60 s: this leaves room for a slow step and the saving itself
CLOCK_SECONDS = 3  # between looks at the clock when there is a deadline
AGREE_STEPS = 16  # how often several processes agree on going on


class Learner:
    """Two networks with their optimizers: all that a step changes, and all that state.pt keeps of it."""

    def __init__(
        self,
        gan: Gan,
        config: TrainConfig,
        epoch: int,
        device: torch.device,
        precision: str = "32",
        world: World | None = None,
    ) -> None:
        self.gan, self.config, self.device = gan, config, device
        self.world = world or World()
        for network in (gan.generator, gan.discriminator):
            network.to(device).train()
            if self.world.size > 1:
                dist.share_batchnorm(network)
        self.g_parameters = list(gan.generator.parameters())
        self.d_parameters = list(gan.discriminator.parameters())
        self.g_optimizer = _adam(self.g_parameters, config)
        self.d_optimizer = _adam(self.d_parameters, config)
        self.average = (
            Average(gan.generator, Interval.parse(config.average).images(config.batch, epoch))
            if config.average
            else None
        )
        self.half = {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half == torch.float16)
        self.g_dropouts = [m for m in gan.generator.modules() if isinstance(m, draws.Dropout)]
        self.d_dropouts = [m for m in gan.discriminator.modules() if isinstance(m, draws.Dropout)]

    def set_rates(self, plan: Plan, images_seen: int) -> float:
        """Set both learning rates for the coming step; returns G's."""
        rates = []
        for optimizer, lr in (
            (self.g_optimizer, self.config.lr),
            (self.d_optimizer, self.config.lr if self.config.d_lr is None else self.config.d_lr),
        ):
            if isinstance(lr, Schedule):
                progress = plan.epoch_progress(images_seen) if lr.per == "epoch" else plan.progress(images_seen)
                lr = lr.at(progress, images_seen // plan.batch)
            for group in optimizer.param_groups:
                group["lr"] = lr
            rates.append(lr)
        return rates[0]

    def aim_dropout(self, seed: int, images_seen: int) -> None:
        """Make the dropout masks of the coming step a function of (seed, images seen)."""
        for layers, purpose in ((self.g_dropouts, "g-dropout"), (self.d_dropouts, "d-dropout")):
            if layers:
                draws.aim(layers, draws.bits(seed, purpose, images_seen), self.world.rank, self.world.size)

    def update(self, optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        """One optimizer step down the gradient of `loss`, averaged over the processes."""
        for p in parameters:  # zero_grad() does this, and 40 microseconds of other things
            p.grad = None
        self.scaler.scale(loss).backward()
        self.world.average_gradients(parameters)
        self.scaler.step(optimizer)
        self.scaler.update()

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
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gan.generator.load_state_dict(state["generator"])
        self.gan.discriminator.load_state_dict(state["discriminator"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        for optimizer in (self.g_optimizer, self.d_optimizer):  # which do not look at shapes themselves
            for p, moments in optimizer.state.items():
                if moments["exp_avg"].shape != p.shape or moments["exp_avg_sq"].shape != p.shape:
                    raise ValueError("an optimizer's state of another shape than its weights")
                if not all(bool(moment.isfinite().all()) for moment in moments.values()):
                    raise ValueError("an optimizer's state that is no numbers")
        if not isinstance(state["scaler"], dict):
            raise TypeError("the loss scaling of mixed precision is damaged")
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.network.load_state_dict(state["average"])


def _adam(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Adam:
    # fused: one pass over weights, gradients and moments; on a CPU 3 times as fast as the default
    return torch.optim.Adam(parameters, lr=0.0, betas=config.betas, eps=config.eps, fused=True)


@dataclass
class Batch:
    """What one step sees: real images float32 (N, C, H, W), their labels (N,), latents (N, z_dim), the fakes' labels."""

    real: Tensor
    real_labels: Tensor | None
    d_z: Tensor
    d_labels: Tensor | None
    g_z: Tensor
    g_labels: Tensor | None


class Batches:
    """The batch at every position of the training, from (seed, images seen) alone."""

    def __init__(self, dataset: Dataset, learner: Learner, seed: int) -> None:
        self.dataset, self.config, self.gan, self.seed = dataset, learner.config, learner.gan, seed
        self.device, self.world = learner.device, learner.world
        self.order = draws.Order(seed, len(dataset))
        self.images = dataset.images.contiguous()
        self.channels_last = any(
            p.ndim == 4 for p in learner.d_parameters
        )  # for convolutions: same values, faster layout
        if self.channels_last:
            self.images = self.images.permute(0, 2, 3, 1).contiguous()

    def at(self, images_seen: int) -> Batch:
        """This process's part of the batch that comes after `images_seen` real images."""
        config = self.config
        indices = self.world.part(self.order.indices(images_seen, config.batch))
        picked = self.images.index_select(0, indices)  # ten times as fast as indexing with []
        real = to_float((picked.permute(0, 3, 1, 2) if self.channels_last else picked).to(self.device))
        real_labels = None
        if self.gan.conditional:
            assert self.dataset.labels is not None
            real_labels = self.dataset.labels[indices].to(self.device)
        d_z, d_labels = self._latents("d", images_seen, config.batch)
        if config.g_fakes == "same":
            return Batch(real, real_labels, d_z, d_labels, d_z, d_labels)
        g_z, g_labels = self._latents("g", images_seen, config.g_batch or config.batch)
        return Batch(real, real_labels, d_z, d_labels, g_z, g_labels)

    def _latents(self, purpose: str, images_seen: int, count: int) -> tuple[Tensor, Tensor | None]:
        rng = draws.generator(self.seed, f"{purpose}-latents", images_seen)
        z = torch.randn((count, self.gan.z_dim), generator=rng)
        labels = None
        if self.gan.conditional:
            labels = torch.randint(len(self.dataset.classes), (count,), generator=rng)
            labels = self.world.part(labels).to(self.device)
        return self.world.part(z).to(self.device), labels


def step(learner: Learner, batch: Batch) -> Tensor:
    """Change both networks once. Returns this step's run.STATISTICS, float32 (5,), on the device."""
    gan, config = learner.gan, learner.config
    fakes = None
    if config.g_fakes == "same":
        with learner.autocast():
            fakes = gan.make(batch.d_z, batch.d_labels)
    if config.order == "g-first":
        g_loss = g_step(learner, batch, fakes)
        d_figures = d_step(learner, batch, fakes)
    else:
        d_figures = d_step(learner, batch, fakes)
        g_loss = g_step(learner, batch, fakes)
    d_loss, d_real, d_fake, accuracy = d_figures
    return torch.stack([d_loss, g_loss, d_real, d_fake, accuracy])


def d_step(learner: Learner, batch: Batch, fakes: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train D on real images and fakes (made here unless given). Returns loss, mean scores, accuracy."""
    gan, config = learner.gan, learner.config
    with learner.autocast():
        with torch.no_grad():
            if fakes is None:
                gan.generator.train(config.d_fakes == "training")
                fakes = gan.make(batch.d_z, batch.d_labels)
                gan.generator.train()
            fakes = fakes.detach()
        draws.join(learner.d_dropouts, 2 if gan.joint else 1)
        if gan.joint:
            labels = None
            if batch.real_labels is not None and batch.d_labels is not None:
                labels = torch.cat([batch.real_labels, batch.d_labels])
            real, fake = gan.judge(torch.cat([batch.real, fakes]), labels).split([len(batch.real), len(fakes)])
        else:
            real, fake = gan.judge(batch.real, batch.real_labels), gan.judge(fakes, batch.d_labels)
    real, fake = real.float(), fake.float()
    loss = gan.objective.d_loss(real, fake).mean() * config.d_loss_scale
    learner.update(learner.d_optimizer, loss, learner.d_parameters)
    with torch.no_grad():
        real_score, fake_score = gan.objective.score(real), gan.objective.score(fake)
        right = (real_score > gan.objective.boundary).sum() + (fake_score <= gan.objective.boundary).sum()
        return loss.detach(), real_score.mean(), fake_score.mean(), right / (len(real) + len(fake))


def g_step(learner: Learner, batch: Batch, fakes: Tensor | None) -> Tensor:
    """Train G on what D says of its fakes (made here unless given, with their graph). Returns its loss."""
    gan = learner.gan
    for p in learner.d_parameters:  # D's own gradients would be computed for nothing
        p.requires_grad_(False)
    draws.join(learner.d_dropouts, 1)
    with learner.autocast():
        if fakes is None:
            fakes = gan.make(batch.g_z, batch.g_labels)
        real = None
        if gan.objective.paired:
            with torch.no_grad():
                real = gan.judge(batch.real, batch.real_labels).float()
        logits = gan.judge(fakes, batch.g_labels).float()
    loss = gan.objective.g_loss(real, logits).mean()
    learner.update(learner.g_optimizer, loss, learner.g_parameters)
    for p in learner.d_parameters:
        p.requires_grad_(True)
    return loss.detach()


def take_step(learner: Learner, batches: Batches, images_seen: int) -> Tensor:
    """The step after `images_seen` images, with all its draws a function of that place and the seed."""
    seed = batches.seed
    torch.default_generator.manual_seed(seed ^ images_seen)  # for a user's random layers that know nothing of draws
    learner.aim_dropout(seed, images_seen)
    statistics = step(learner, batches.at(images_seen))
    if learner.average:
        batch = learner.config.batch
        learner.average.update(learner.gan.generator, batch, images_seen + batch)
    return statistics


class Clock:
    """Keeps a training to its deadline: revises the plan when the rate turns out other than planned."""

    def __init__(self, deadline: float | None, images_seen: int) -> None:
        self.deadline, self.mark, self.seen = deadline, time.monotonic(), images_seen

    def revised(self, plan: Plan, images_seen: int) -> int | None:
        """A new total when the plan, at the rate of the last seconds, would miss the deadline; None to leave it."""
        now = time.monotonic()
        if self.deadline is None or (now - self.mark < CLOCK_SECONDS and now < self.deadline):
            return None
        rate = (images_seen - self.seen) / (now - self.mark)
        left = max(0.0, self.deadline - now)
        self.mark, self.seen = now, images_seen
        late = (plan.total - images_seen) / rate - left if rate > 0 else 0.0
        if abs(late) <= max(0.03 * left, 0.5):
            return None
        return images_seen + int(rate * left)


def train(
    run: Run,
    file: GanFile,
    dataset: Dataset,
    *,
    progress: Progress,
    world: World | None = None,
    deadline: float | None = None,
) -> int:
    """Train a run to the end of its plan, from its saved state where it has one.

    deadline: time.monotonic() by which to be through; the plan is then revised on the way, and each revision stored.
    Returns 0 when the plan is done, or the number of the signal that stopped it, with the state saved.
    Raises RunError when a loss is not finite or the disk refuses; what was saved before stays.
    """
    card, world = run.card, world or World()
    recipe, device = card.settings(file), torch.device(card.device)
    config = recipe.train
    torch.set_num_threads(card.threads)
    with torch.random.fork_rng(devices=[]):
        learner = Learner(
            file.build(recipe.model, card.image, card.seed), config, len(dataset), device, card.precision, world
        )
        batches = Batches(dataset, learner, card.seed)
        sampler = Sampler(dataclasses.replace(learner.gan, generator=learner.sampled), dataset.classes, device)
        images_seen, seconds, record = 0, 0.0, Record(run, config, dataset, sampler, progress, world)
        if (state := run.load_state()) is not None:
            images_seen, seconds = state["images_seen"], state["seconds"]
            try:
                if images_seen % config.batch or not 0 <= images_seen <= run.card.plan.total or not 0 <= seconds < 1e12:
                    raise ValueError(f"{images_seen} images seen in {seconds} seconds")
                learner.load_state_dict(state["learner"])
                if not learner.finite:
                    raise ValueError("weights that are no numbers")
                record.resume(images_seen, state["record"])
            except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
                reason = " ".join(str(error).split())[:100]
                raise RunError(
                    f"{run.path} has a state.pt that does not fit ({reason}): restore it, or use --fresh"
                ) from None
        elif world.rank == 0:
            record.real_images()
        sheet_every, weights_every = (
            Interval.parse(text).images(config.batch, len(dataset)) if text else None
            for text in (config.sheet, config.weights)
        )
        began = saved = time.monotonic()
        clock, plan = Clock(deadline, images_seen), card.plan
        progress.begin(plan.total, images_seen)

        def save() -> None:
            record.flush()
            if not learner.finite:
                raise RunError(
                    f"{run.path}: weights are no longer finite at {images_seen} images: the last saved state is kept; "
                    f"train anew with a smaller step than lr={learner.g_optimizer.param_groups[0]['lr']:g}"
                )
            if world.rank == 0:
                # The generator first: a finished state promises a finished generator.
                run.save_generator(learner.sampled.state_dict())
                run.save_state(
                    {
                        "format": FORMAT,
                        "learner": learner.state_dict(),
                        "record": record.state_dict(),
                        "images_seen": images_seen,
                        "seconds": seconds + time.monotonic() - began,
                    }
                )

        try:
            with Stop() as stop:
                while images_seen < plan.total:
                    lr = learner.set_rates(plan, images_seen)
                    statistics = take_step(learner, batches, images_seen)
                    before, images_seen = images_seen, images_seen + config.batch
                    record.step(statistics, before, images_seen, lr, seconds + time.monotonic() - began)
                    if crossed(sheet_every, before, images_seen):
                        record.sheet(images_seen)
                    if crossed(weights_every, before, images_seen) and world.rank == 0:
                        run.save_generator(learner.sampled.state_dict(), kept_at=images_seen)
                    if time.monotonic() - saved > SAVE_SECONDS:
                        save()
                        saved = time.monotonic()
                    if world.size > 1 and images_seen // config.batch % AGREE_STEPS:
                        continue
                    signal, total = world.agree([stop.signal, clock.revised(plan, images_seen) or -1])
                    if signal:
                        save()
                        return int(signal)
                    if total >= 0:
                        plan = plan.revise(images_seen, total)
                        if world.rank == 0:
                            run.save_card(dataclasses.replace(run.card, plan=plan))
                        progress.total(plan.total)
                record.finish(images_seen, plan)
                save()
        finally:
            record.close()
    return 0
