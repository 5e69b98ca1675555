"""The images that fit into `--minutes`, and all else that is measured before a training."""

from __future__ import annotations

import dataclasses
import math
import time

from ganvas.errors import SettingError
from ganvas.recipe import Interval
from ganvas.runs.card import Card
from ganvas.system.machine import cores
from ganvas.training.benchmark import MAX_MEASURING_SECONDS, MEASURING_SHARE, choose
from ganvas.training.preflight import Prepared
from ganvas.training.validation import Validation, within

FINISH_SECONDS = 3.0  # kept back from --minutes for the last pictures, saving and leaving
# bytes of images per second, at least, that are searched for the last pictures' nearest neighbours
NEAREST_RATE = 3e8
MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS = 1.0, 20  # less than either is refused


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
    before = time.time() - started
    limit = MAX_MEASURING_SECONDS
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

    before: seconds until a step was measured.
    step: seconds of a step.
    """
    least = max(MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS * step)
    # The next start may take longer than this one; and of more time more is measured, and for one
    # step longer.
    seconds = (1.5 * before + finishing_seconds(card) + least + step) / (1 - MEASURING_SHARE)
    enough = math.ceil(seconds / 6) / 10
    reason, cure = "starting and finishing take most of it here", ""
    if least > MIN_TRAINING_SECONDS:
        reason = (
            f"a step of {card.recipe} on {card.image} takes {step:.2g} s here, and"
            f" {MIN_TRAINING_STEPS} are the minimum"
        )
        cure = ", or make the images smaller with --size"
    return (
        f"--minutes {card.plan.requested.split()[0]} is too short: {reason}; give at least"
        f" {enough:g}{cure}"
    )
