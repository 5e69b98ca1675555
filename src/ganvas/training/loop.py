"""Training: read it top to bottom. `train_run()` is the loop, `step()` one step of both networks.

What differs between GANs is in their own files and in plain fields of TrainConfig; the loop knows
one objective.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch

from ganvas.data.dataset import Dataset
from ganvas.doctor.monitor import Monitor
from ganvas.doctor.remedies import RunInfo
from ganvas.errors import RunError
from ganvas.gan import Gan, GanFile, Logits
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
from ganvas.training.clock import Clock
from ganvas.training.distributed import World
from ganvas.training.learner import Learner
from ganvas.training.logger import Logger, crossed
from ganvas.training.step import step
from ganvas.training.validation import Validation, figures_of

# the state is saved at least every 60 s: this leaves room for a slow step and the saving itself
SAVE_SECONDS = 40
AGREE_STEPS = 16  # how often several processes agree on going on


def take_step(learner: Learner, batches: Batches, images_seen: int) -> Logits:
    """The step after `images_seen` images, with all its draws a function of that place and the
    seed."""
    seed = batches.seed
    # for a user's random layers that know nothing of draws
    torch.default_generator.manual_seed(seed ^ images_seen)
    learner.aim_dropout(seed, images_seen)
    batch, every = learner.config.batch, augment.ADAPT_STEPS
    asks = learner.controller is not None and images_seen // batch % every == 0
    # of D as the step finds it
    held_out = learner.held_logits(batches.held_out(images_seen)) if asks else None
    logits = step(learner, batches.at(images_seen))
    if asks:
        learner.adapt(logits.real, held_out, batch * every)
    if learner.average:
        learner.average.update(learner.gan.generator, batch, images_seen + batch)
    return logits


def _begun(run: Run, learner: Learner, record: Logger) -> tuple[int, float]:
    """Images seen and seconds of training so far: take over the saved state, or, where there is
    none, begin.

    Raises RunError for a state that does not fit.
    """
    if (state := run.load_state()) is None:
        if run.card.started_from:
            learner.start_from(run.load_start())
        if learner.world.rank == 0:
            record.rewind(0)
            record.real_images()
        return 0, 0.0
    images_seen, seconds = state["images_seen"], state["seconds"]
    try:
        batch, total = learner.config.batch, run.card.plan.total
        if images_seen % batch or not 0 <= images_seen <= total or not 0 <= seconds < 1e12:
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
    return images_seen, float(seconds)


def _save(run: Run, learner: Learner, record: Logger, images_seen: int, seconds: float) -> None:
    """Write the state and the generator. Raises RunError where a weight is no number: what was
    saved before stays."""
    record.flush()
    record.check_weights(images_seen)
    if learner.world.rank == 0:
        # The generator first: a finished state promises a finished generator.
        run.save_generator(learner.sampled.state_dict())
        run.save_state(
            {
                "format": CARD_FORMAT,
                "learner": learner.state_dict(),
                "record": record.state_dict(),
                "images_seen": images_seen,
                "seconds": seconds,
            }
        )


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
    held_out: Dataset | None = None,
    data_dir: Path | None = None,
) -> int:
    """Train a run to the end of its plan, from its saved state where it has one.

    gan: its networks with the initial weights of its seed, if they are built already.
    held_out: images like those of `dataset` that it is not trained on, for checkups. data_dir:
    where named data sets lie.
    deadline: time.monotonic() by which to be through; the plan is then revised on the way, and each
    revision stored.
    evaluation: judges the generator on the way and at the end, in the first process; no bit of the
    training depends on it. Returns 0 when the plan is done, or the number of the signal that
    stopped it, with the state saved.
    Raises RunError when a loss is not finite or the disk refuses; what was saved before stays.
    """
    card, world = run.card, world or World()
    recipe, device = card.settings(file), torch.device(card.device)
    config = recipe.train
    with torch.random.fork_rng(devices=[]), threads(card.threads):
        learner = Learner(
            gan or file.build(recipe.model, card.image, card.seed),
            config,
            len(dataset),
            device,
            card.precision,
            world,
        )
        batches = Batches(dataset, learner, card.seed, card.data.flip)
        sampler = Sampler(
            dataclasses.replace(learner.gan, generator=learner.sampled), dataset.classes, device
        )
        checkup = Checkup(learner, batches, sampler, held_out) if world.rank == 0 else None
        watch = Monitor(RunInfo.of(run, file, learner.gan, data_dir, "training"))
        record = Logger(run, learner, dataset, sampler, progress, checkup, watch)
        images_seen, seconds = _begun(run, learner, record)
        sheet_every, weights_every = (
            Interval.parse(text).images(config.batch, len(dataset)) if text else None
            for text in (config.sheet, config.weights)
        )
        began = saved = time.monotonic()
        plan = card.plan
        clock = (
            Clock(deadline, images_seen, evaluation.reserve)
            if evaluation
            else Clock(deadline, images_seen)
        )
        progress.begin(plan.total, images_seen)

        def spent() -> float:
            return seconds + time.monotonic() - began

        def save() -> None:
            """But not with all images seen: such a state promises the pictures and figures of the
            end."""
            nonlocal saved
            if images_seen < plan.total:
                _save(run, learner, record, images_seen, spent())
                saved = time.monotonic()

        def evaluate() -> None:
            assert evaluation is not None
            now = time.monotonic()
            if verdict := evaluation.evaluate(run, sampler, images_seen, spent()):
                record.figures(figures_of(verdict), images_seen)
            clock.pause(time.monotonic() - now)

        try:
            with Stop() as stop:
                if evaluation:
                    evaluation.resume(run)
                    # it was stopped in it
                    if evaluation.due(images_seen - config.batch, images_seen, seconds):
                        evaluate()
                while images_seen < plan.total:
                    learner.set_rates(plan, images_seen)
                    logits = take_step(learner, batches, images_seen)
                    before, images_seen = images_seen, images_seen + config.batch
                    record.step(logits, before, images_seen, spent())
                    if crossed(sheet_every, before, images_seen):
                        record.sheet(images_seen)
                    if crossed(weights_every, before, images_seen):
                        record.check_weights(images_seen)
                        if world.rank == 0:
                            run.save_generator(learner.sampled.state_dict(), kept_at=images_seen)
                    if evaluation and evaluation.due(before, images_seen, spent()):
                        save()  # first: so a generator that is kept is never of a later moment
                        evaluate()
                    if (
                        world.size == 1
                        or images_seen // config.batch % AGREE_STEPS == 0
                        or images_seen >= plan.total
                    ):
                        signal, total = world.broadcast(
                            [stop.signal, clock.revised(plan, images_seen) or -1]
                        )
                        # else it is at its end, or goes on to the next step
                        if signal and images_seen < plan.total:
                            save()
                            return int(signal)
                        if total >= 0:
                            plan = plan.revise(images_seen, total)
                            if world.rank == 0:
                                run.save_card(dataclasses.replace(run.card, plan=plan))
                            progress.total(plan.total)
                    if time.monotonic() - saved > SAVE_SECONDS:
                        save()
                record.finish(images_seen, plan)
                if evaluation and evaluation.last < images_seen and learner.finite:
                    evaluate()
                _save(run, learner, record, images_seen, spent())
        finally:
            record.close()
    return 0
