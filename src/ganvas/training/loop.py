"""The training loop. Read `train_run()` top to bottom, then `Session`, on which the loop works.

What differs between GANs is in their own files and in plain fields of TrainConfig: the loop knows
no GAN by name.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from ganvas.data.dataset import Dataset
from ganvas.doctor.log_summary import RunInfo
from ganvas.doctor.monitor import Monitor
from ganvas.errors import RunError
from ganvas.gan import Gan, GanFile, Logits
from ganvas.plan import Plan
from ganvas.recipe import Interval
from ganvas.runs.card import CARD_FORMAT
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.system.machine import threads
from ganvas.system.progress import Progress
from ganvas.system.signals import Stop
from ganvas.training import augment
from ganvas.training.batches import Batches
from ganvas.training.checkup import Checkup
from ganvas.training.distributed import World
from ganvas.training.learner import Learner
from ganvas.training.logger import Logger, crossed, doubled
from ganvas.training.step import step
from ganvas.training.validation import Validation

# Seconds between two looks at the rate: a tenth of what is left, within these bounds.
MIN_CLOCK_SECONDS, MAX_CLOCK_SECONDS = 3, 30

# The state is saved at least every 60 s: this leaves room for a slow step and the saving itself.
SAVE_SECONDS = 40
AGREE_STEPS = 16  # steps after which several processes agree on stopping and on the plan


def train_run(
    run: Run,
    file: GanFile,
    dataset: Dataset,
    *,
    gan: Gan | None = None,
    progress: Progress,
    world: World | None = None,
    deadline: float | None = None,
    evaluation: Validation | None = None,
    data_dir: Path | None = None,
) -> int:
    """Train a run to the end of its plan, from its saved state if it has one.

    run: the run's directory, whose card says how to train.
    file: the GAN's file that the card names.
    dataset: the training images.
    gan: the networks with the initial weights of the card's seed, if they are built already.
    world: this process among those that train together; None for one process.
    deadline: time.monotonic() at which to be done. The plan is revised on the way to meet it, and
        each revision is saved.
    evaluation: judges the generator on the way and at the end, in the first process. It changes no
        bit of the training.
    data_dir: the folder of named data sets, for their held-out images.

    Returns 0 when the plan is done, or the number of the signal that stopped the training, with its
    state saved. Raises RunError if a loss or weight is not finite, or if writing fails; what
    was saved before stays.
    """
    # Set up: networks, batches, logger.
    with (
        torch.random.fork_rng(devices=[]),
        threads(run.card.threads),
        closing(Session(run, file, gan, dataset, progress, world or World(), data_dir)) as session,
        Stop() as stop,
    ):
        # Begin, or resume from the saved state.
        session.begin(deadline, evaluation)

        # Loop.
        while session.images_seen < session.plan.total:
            session.learner.set_rates(session.plan, session.images_seen)
            logits = take_step(session.learner, session.batches, session.images_seen)
            session.after_step(logits)
            if signal := session.agree(stop.signal):
                session.save()
                return signal
            session.save_if_due()

        # Finish: the pictures, scores and state of the end.
        session.finish()
    return 0


def take_step(learner: Learner, batches: Batches, images_seen: int) -> Logits:
    """Take the step after `images_seen` images. All that it draws is a function of this position
    and the seed."""
    seed, batch = batches.seed, learner.config.batch
    # For random layers of a user's file, such as nn.Dropout.
    torch.default_generator.manual_seed(seed ^ images_seen)
    learner.seed_dropout(seed, images_seen)

    adapt_every = batch * augment.ADAPT_STEPS
    adapts = learner.controller is not None and images_seen % adapt_every == 0
    held_logits = None
    # D judges held-out images before its update, as it does the batch.
    if adapts and (held_out := batches.held_out(images_seen)) is not None:
        held_logits = learner.eval_logits(*held_out)
    logits = step(learner, batches.at(images_seen))
    if adapts:
        learner.adapt_augmentation(logits.real, held_logits, adapt_every)
    if learner.ema:
        learner.ema.update(learner.gan.generator, batch, images_seen + batch)
    return logits


class Session:
    """A training in progress: what the loop works on, and what happens around each step.

    plan: how long the training is; revised to meet a deadline.
    images_seen: real images seen so far, in whole steps.
    """

    def __init__(
        self,
        run: Run,
        file: GanFile,
        gan: Gan | None,
        dataset: Dataset,
        progress: Progress,
        world: World,
        data_dir: Path | None,
    ) -> None:
        card = run.card
        recipe, device = card.settings(file), torch.device(card.device)
        config, self.batch = recipe.train, recipe.train.batch
        self.run, self.progress, self.world, self.plan = run, progress, world, card.plan
        gan = gan or file.build(recipe.model, card.image, card.seed)
        self.learner = Learner(gan, config, len(dataset), device, card.precision, world)
        self.batches = Batches(dataset, self.learner, card.seed, card.data.flip)
        sampled = dataclasses.replace(gan, generator=self.learner.sampled)
        self.sampler = Sampler(sampled, dataset.classes, device, card.latent_draw)
        checkup = None
        if world.rank == 0:
            held_out = card.held_out(data_dir, progress.say)
            checkup = Checkup(self.learner, self.batches, self.sampler, held_out)
        monitor = Monitor(RunInfo.of(run, file, gan, data_dir, "training"))
        self.logger = Logger(run, self.learner, dataset, self.sampler, progress, checkup, monitor)
        self.sheet_every = Interval.parse(config.sheet).images(self.batch, len(dataset))
        self.first_sheet, self.weights_every = (
            Interval.parse(text).images(self.batch, len(dataset)) if text else None
            for text in (config.first_sheet, config.weights)
        )

    def begin(self, deadline: float | None, evaluation: Validation | None) -> None:
        """Load the saved state, or prepare for the first step; from here on time counts.

        Raises RunError if the state does not fit.
        """
        # The networks and the log.
        self.images_seen, self.seconds_before = 0, 0.0
        if (state := self.run.load_state()) is not None:
            self._load(state)
        else:
            if self.run.card.started_from:
                self.learner.start_from(self.run.load_start())
            if self.world.rank == 0:
                self.logger.rewind(0)
                self.logger.pictures.save_real_images()

        # The clock.
        self.began = self.saved = time.monotonic()
        self.clock = Clock(deadline, self.images_seen, evaluation.reserve if evaluation else None)
        self.progress.begin(self.plan.total, self.images_seen)

        # The evaluations, starting with one that was due when the training stopped.
        self.evaluation = evaluation
        if evaluation:
            evaluation.resume(self.run)
            before = self.images_seen - self.batch
            if evaluation.due(before, self.images_seen, self.seconds_before):
                self.evaluate(evaluation)

    def _load(self, state: dict[str, Any]) -> None:
        """Load a saved state. Raises RunError, naming the field, if it does not fit."""
        try:
            seen, seconds, total = state["images_seen"], state["seconds"], self.plan.total
            if seen % self.batch or not 0 <= seen <= total:
                expected = f"a multiple of {self.batch} up to {total}"
                raise ValueError(f"images_seen: {seen}, expected {expected}")
            if not 0 <= seconds < 1e12:
                raise ValueError(f"seconds: {seconds}, expected 0 or more")
            self.learner.load_state_dict(state["learner"])
            if not self.learner.finite:
                raise ValueError("learner: weights that are NaN or infinite")
            self.logger.resume(seen, state["record"])
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            missing = " is missing" if isinstance(error, KeyError) else ""
            reason = " ".join(str(error).split())[:100] + missing
            raise RunError(
                f"{self.run.path} has a state.pt that does not fit ({reason}): restore it, or use"
                " --fresh"
            ) from None
        self.images_seen, self.seconds_before = seen, float(seconds)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, with those before a resume."""
        return self.seconds_before + time.monotonic() - self.began

    def after_step(self, logits: Logits) -> None:
        """Count a step and do what is due after it: log, sheet, kept weights, evaluation."""
        before = self.images_seen
        self.images_seen += self.batch
        self.logger.step(logits, before, self.images_seen, self.seconds)
        early = doubled(self.first_sheet, self.sheet_every, before, self.images_seen)
        if early or crossed(self.sheet_every, before, self.images_seen):
            self.logger.sheet(self.images_seen)
        if crossed(self.weights_every, before, self.images_seen):
            self.logger.check_weights(self.images_seen)
            if self.world.rank == 0:
                weights = self.learner.sampled.state_dict()
                self.run.save_generator(weights, kept_at=self.images_seen)
        if self.evaluation and self.evaluation.due(before, self.images_seen, self.seconds):
            # Saved first, so that the best generator is never later than the state.
            self.save()
            self.evaluate(self.evaluation)

    def evaluate(self, evaluation: Validation) -> None:
        """Judge the generator. `clock` does not count the time that this takes as training time."""
        began = time.monotonic()
        result = evaluation.evaluate(self.run, self.sampler, self.images_seen, self.seconds)
        if result:
            self.logger.evaluation(result, self.images_seen)
        self.clock.pause(time.monotonic() - began)

    def agree(self, signal: int) -> int:
        """Let the first process decide for all of them whether to stop and how long the plan is.

        signal: the number of the signal that this process got, 0 for none.
        Returns the signal to stop by, 0 to go on.
        """
        ended = self.images_seen >= self.plan.total
        if self.world.size > 1 and self.images_seen // self.batch % AGREE_STEPS and not ended:
            return 0
        total = self.clock.revised(self.plan, self.images_seen) or -1
        signal, total = self.world.broadcast([signal, total])
        if signal and not ended:  # at its end, a training is finished instead
            return signal
        if total >= 0:
            self.plan = self.plan.revise(self.images_seen, total)
            if self.world.rank == 0:
                self.run.save_card(dataclasses.replace(self.run.card, plan=self.plan))
            self.progress.total(self.plan.total)
        return 0

    def save_if_due(self) -> None:
        """Save if the last save is long ago."""
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the state and the generator, unless all images are seen: such a state promises the
        pictures and scores of the end, so `finish` saves it."""
        if self.images_seen < self.plan.total:
            self._save()
            self.saved = time.monotonic()

    def _save(self) -> None:
        """Write the state and the generator. Raises RunError if a weight is not finite; what was
        saved before stays."""
        self.logger.flush()
        self.logger.check_weights(self.images_seen)
        if self.world.rank > 0:
            return
        # The generator first: a finished state promises a finished generator.
        self.run.save_generator(self.learner.sampled.state_dict())
        state = {
            "format": CARD_FORMAT,
            "learner": self.learner.state_dict(),
            "record": self.logger.state_dict(),
            "images_seen": self.images_seen,
            "seconds": self.seconds,
        }
        self.run.save_state(state)

    def finish(self) -> None:
        """Make the pictures of the end, evaluate, and save."""
        self.logger.finish(self.images_seen, self.plan)
        evaluation = self.evaluation
        if evaluation and evaluation.last < self.images_seen and self.learner.finite:
            self.evaluate(evaluation)
        self._save()

    def close(self) -> None:
        """Close the log, however the training ended."""
        self.logger.board.close()


class Clock:
    """Revises the plan of a training whose rate differs from the planned one.

    deadline: time.monotonic() at which to be done; None for no deadline.
    images_seen: images seen when the clock starts.
    reserve: maps (seconds left, images a second) to the seconds in which evaluations will keep the
        training waiting; None for no evaluations.
    """

    def __init__(
        self,
        deadline: float | None,
        images_seen: int,
        reserve: Callable[[float, float], float] | None = None,
    ) -> None:
        self.deadline, self.reserve = deadline, reserve
        # The last look at the rate: when it was, and the images seen by then.
        self.mark, self.seen = time.monotonic(), images_seen

    def pause(self, seconds: float) -> None:
        """Leave the `seconds` just past out of the training time."""
        self.mark += seconds

    def revised(self, plan: Plan, images_seen: int) -> int | None:
        """A new total if the plan, at the rate of the last seconds, would miss the deadline; None
        to keep the plan."""
        if self.deadline is None:
            return None
        now = time.monotonic()
        rate = (images_seen - self.seen) / max(now - self.mark, 1e-9)
        left = max(0.0, self.deadline - now)
        if self.reserve is not None:
            left -= self.reserve(left, rate)
        # The plan ends too early: training was slower when it was made or last revised.
        early = images_seen >= plan.total and left > MIN_CLOCK_SECONDS
        wait = min(max(MIN_CLOCK_SECONDS, left / 10), MAX_CLOCK_SECONDS)
        if now - self.mark < wait and left > 0 and not early:
            return None
        self.mark, self.seen = now, images_seen
        late = (plan.total - images_seen) / rate - left if rate > 0 else 0.0
        # Only steps that end in time count.
        total = images_seen + int(rate * left / plan.batch) * plan.batch
        return None if abs(late) <= max(0.03 * left, 0.5) or total == plan.total else total
