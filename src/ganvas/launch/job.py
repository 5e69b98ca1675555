"""A checked training: its request, its networks and data, and the card of its run.

`measure` completes the card: with threads, precision, and the images that fit into `--minutes`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import torch

from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.data.kinds import split_member
from ganvas.errors import SettingError
from ganvas.launch.warm_start import WarmStart, check_fit, warm_start_of
from ganvas.plan import MAX_PLAN_IMAGES, Plan
from ganvas.recipe import Interval, TrainConfig, settings
from ganvas.runs.card import Card, DataCard, StartedFrom, versions
from ganvas.runs.request import MAX_MINUTES, Request
from ganvas.sampling.latents import LATENT_DRAW
from ganvas.system.machine import cores, pick_device
from ganvas.system.progress import Say
from ganvas.training import distributed
from ganvas.training.benchmark import MAX_MEASURING_SECONDS, MEASURING_SHARE, choose
from ganvas.training.preflight import Prepared, prepare
from ganvas.training.validation import Validation, within

MIN_LEARNING_STEPS = 100  # fewer are too few to learn from
FINISH_SECONDS = 3.0  # kept back from --minutes for the last pictures, saving and exiting
# bytes of training images, at least, that a search for nearest neighbours covers in a second
NEAREST_RATE = 3e8
MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS = 1.0, 20  # less than either is refused


@dataclass(frozen=True)
class Job:
    """A request, and all that follows from it.

    start: the weights of --from.
    card: of the run that is requested; threads, precision and the images that fit into minutes may
        still have to be measured.
    """

    request: Request
    prepared: Prepared
    dataset: Dataset
    start: WarmStart | None
    card: Card

    @property
    def gan_path(self) -> str | None:
        """The path of the user's own GAN file."""
        return gans.split_path(self.request.recipe or "")[0] or None


def prepare_job(request: Request, began: StartedFrom | None, say: Say) -> Job:
    """Check that a training is possible, and tell the user what to expect.

    began: what the run that is resumed was started from.

    Raises a GanvasError for anything in the request that is impossible.
    """
    given = request
    start, origin = None, began
    if given.from_ is not None:
        request, start, origin = warm_start_of(given, began)
        if request.data != given.data:
            say(f"no --data: training on that of {given.from_}, {request.data}")
    if request.data is None:
        request = dataclasses.replace(request, data=gans.default_data(request.recipe))
    prepared = prepare(request, pick_device(request.device or "auto"))
    dataset = prepared.dataset
    assert dataset is not None
    card = _card(request, prepared, dataset, origin)
    for note in [*prepared.notes, *_notes(request, card)]:
        say(note)
    if start:
        check_fit(start, prepared)
    return Job(request, prepared, dataset, start, card)


def _notes(request: Request, card: Card) -> list[str]:
    """Note a length in epochs that is too short, and what changed since a run that is repeated.

    Raises SettingError if the images changed since that run.
    """
    notes, repeated, length = [], request.repeats, Interval.parse(card.train["length"])
    steps = card.plan.total // card.plan.batch
    if request.length is None and length.unit == "epochs" and steps < MIN_LEARNING_STEPS:
        notes.append(
            f"{length} of {card.data.images:,} images are {steps} steps, too few to learn from:"
            " give --minutes or --images"
        )
    if not (repeated and request.plan):
        return notes
    if card.data.fingerprint != repeated.data.fingerprint:
        raise SettingError(
            "the run to be repeated saw other images, labels or classes than"
            f" {card.data.name} holds now: give those, or a length to train on these"
        )
    old, new = ({card.gan: card.gan_sha256} | card.versions for card in (repeated, card))
    if changed := [name for name in new if new[name] != old.get(name)]:
        notes.append(f"no repeat to the bit, as {', '.join(changed)} changed since that run")
    return notes


def _card(
    request: Request, prepared: Prepared, dataset: Dataset, origin: StartedFrom | None
) -> Card:
    train = prepared.recipe.train
    what, plain = str(request.data), settings(prepared.recipe)
    if what not in data.NAMES and os.path.exists(split_member(what)[0]):
        what = os.path.abspath(what)
    reading = request.given()
    # what the images were fitted to, which without --size may follow from the machine
    if dataset.altered:
        reading.setdefault("size", (dataset.height, dataset.width))
    processes = process_count(request.processes, prepared.device, train)
    total = planned_images(train, len(dataset))
    return Card(
        recipe=prepared.name,
        gan=prepared.file.name,
        gan_sha256=prepared.file.sha256,
        model=plain["model"],
        train=plain["train"],
        image=prepared.spec,
        data=DataCard(
            what=what,
            name=dataset.name,
            images=len(dataset),
            fingerprint=dataset.fingerprint,
            flip=bool(request.flip),
            **_found(dataset) | reading,
        ),
        seed=request.seed or 0,
        threads=request.threads or 0,
        processes=processes,
        device=prepared.device,
        precision=request.precision or ("32" if train.precision == "32" else ""),
        plan=request.plan
        or Plan(images=total, batch=train.batch, epoch=len(dataset), requested=train.length),
        evaluate_every=None if request.evaluate_every == "never" else request.evaluate_every,
        started_from=origin,
        versions=versions(),
        latent_draw=LATENT_DRAW,
    )


def _found(dataset: Dataset) -> dict[str, Any]:
    """The options that were found from the images and hold for their held-out part, too."""
    read_as = dataset.read_as.given()
    return {name: read_as[name] for name in ("fit", "range") if name in read_as}


def planned_images(train: TrainConfig, images: int) -> int:
    """Return the images to train on for `train.length`; 0 for minutes, which are yet to be planned.

    images: in the data set. Raises SettingError for a length that is too large.
    """
    length = Interval.parse(train.length)
    if length.unit == "minutes":
        if length.amount > MAX_MINUTES:
            raise SettingError(f"a length of {length}: expected at most {MAX_MINUTES:,}")
        return 0
    total = max(1, round(length.images(train.batch, images)))
    if total > MAX_PLAN_IMAGES:
        raise SettingError(f"{length}: {total:.3g} images, expected at most {MAX_PLAN_IMAGES:.0e}")
    return total


def process_count(wanted: int | None, device: str, train: TrainConfig) -> int:
    """Return the number of processes: torchrun's, else `wanted`, else 1.

    Raises SettingError if the device or the batch cannot be shared among them.
    """
    world = distributed.torchrun_world()
    count, gpus = world.size if world else wanted or 1, torch.cuda.device_count()
    problem = ""
    if wanted not in (None, count):
        problem = f"torchrun has started {count}; give both the same"
    elif count > 1 and device == "mps":
        problem = "mps trains in one; leave it out, or use --device cpu"
    elif train.batch % count or (train.g_batch or train.batch) % count:
        problem = f"the batch of {train.batch} cannot be shared; set train.batch to a multiple"
    elif count > 1 and device == "cuda" and world is None and count > gpus:
        problem = f"this machine has {gpus} CUDA devices"
    if problem:
        raise SettingError(f"--processes {wanted or count}: {problem}")
    return count


def seconds_left(card: Card, started: float) -> float:
    """Seconds that a training of some minutes still has, when `started` was its start."""
    minutes = Interval.parse(card.train["length"]).amount
    return started + minutes * 60 - finishing_seconds(card) - time.time()


def finishing_seconds(card: Card) -> float:
    """Seconds of `--minutes` that are kept back for what comes after training."""
    image = card.image.channels * card.image.height * card.image.width
    return FINISH_SECONDS + card.data.images * image * (1 + card.data.flip) / NEAREST_RATE


def measure(
    card: Card, prepared: Prepared, evaluation: Validation | None, started: float
) -> tuple[Card, float | None, Validation | None]:
    """Measure what the card leaves open: threads, precision, and the images that fit into minutes.

    evaluation: planned during the training; it is dropped, with a notice, if it takes too long.
    started: time.time() from which the minutes count.

    Returns the complete card, time.monotonic() at the end of the minutes (None without any), and
    the evaluation. Raises SettingError for minutes that are too short.
    """
    by_clock = not card.plan.images
    if card.threads and card.precision and not by_clock:
        return card, None, evaluation
    before, limit = time.time() - started, MAX_MEASURING_SECONDS
    if by_clock:
        limit = MEASURING_SHARE * max(0.0, seconds_left(card, started))
    # the networks and data for measuring are freed with this function, before a training begins
    _, threads, precision, step = choose(
        prepared,
        threads=card.threads,
        precision=card.precision,
        most=max(1, cores() // card.processes),
        seconds=limit,
    )
    card = dataclasses.replace(card, threads=threads, precision=precision)  # type: ignore[arg-type]
    if not by_clock:
        return card, None, evaluation
    left = seconds_left(card, started)
    if left < max(MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS * step):
        raise SettingError(_too_short(card, before, step))
    deadline = time.monotonic() + left
    evaluation = within(left, evaluation)
    if evaluation:
        left -= evaluation.reserve(left, card.plan.batch / step)
    plan = dataclasses.replace(card.plan, images=max(1, int(left / step)) * card.plan.batch)
    return dataclasses.replace(card, plan=plan), deadline, evaluation


def _too_short(card: Card, before: float, step: float) -> str:
    """The refusal of `--minutes`, with a length that is enough.

    before: seconds from the start until measuring began.
    step: seconds of a step.
    """
    least = max(MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS * step)
    # The next start may take longer than this one. Measuring takes a share of the time given, and
    # may exceed it by one step.
    seconds = (1.5 * before + finishing_seconds(card) + least + step) / (1 - MEASURING_SHARE)
    enough = math.ceil(seconds / 6) / 10
    reason, cure = "starting and finishing take most of it here", ""
    if least > MIN_TRAINING_SECONDS:
        reason = f"a step of {card.recipe} on {card.image} takes {step:.2g} s here"
        cure = ", or make the images smaller with --size"
    given = card.plan.requested.split()[0]
    return f"--minutes {given} is too short: {reason}; give at least {enough:g}{cure}"
