"""Validation: the generator is evaluated during training, and the best one is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch

from ganvas.data.dataset import Dataset
from ganvas.errors import GanvasError
from ganvas.evaluation.history import results_of
from ganvas.evaluation.result import EvaluationResult, results_during_training, same_protocol
from ganvas.gan import Gan
from ganvas.recipe import Interval
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.system.progress import Say
from ganvas.system.text import command
from ganvas.training.logger import crossed

VALIDATION_IMAGES = 2000  # generated for an evaluation
EXTRACTOR_SECONDS = 180.0  # that training an extractor may take
VALIDATION_SHARE = 0.1  # of training time that evaluations may take
# Errors of an evaluation, none of which is worth losing a training (torch's are RuntimeErrors).
FAILURES = (GanvasError, RuntimeError, MemoryError)


@dataclass
class Validation:
    """Evaluations at intervals of a training, each a line of the run's metrics.jsonl.

    judge: evaluates a generator.
    every: images from one evaluation to the next; None to evaluate as often as the cost stays below
        VALIDATION_SHARE of the training time.
    cost: seconds of the last evaluation.
    say: shows a line to the user.

    spent: seconds of all evaluations.
    seconds, seen: of training and images so far. last: images at the last evaluation.
    newest: the last result.
    best: (FID, images seen) of the lowest FID under the protocol of `newest`.
    notified: notices that the user has seen.
    """

    judge: Callable[[Sampler], EvaluationResult]
    every: float | None
    cost: float
    say: Say
    spent: float = 0.0
    seconds: float = 0.0
    seen: int = 0
    last: int = 0
    newest: EvaluationResult | None = None
    best: tuple[float, int] | None = None
    notified: set[str] = field(default_factory=set)

    def resume(self, run: Run) -> None:
        """Continue after the evaluations that a run already has."""
        lines = [line for line in run.read_metrics() if "images" in line]
        self.spent = sum(line.get("cost_seconds", 0.0) for line in lines)
        self.last = max((line["images"] for line in lines), default=0)
        for images, result in results_during_training(results_of(run)):
            self._is_best(result, images)

    def due(self, before: int, images_seen: int, seconds: float) -> bool:
        """Return True if an evaluation is due after the step from `before` to `images_seen` images.

        seconds: of training so far, including evaluations.
        """
        self.seen, self.seconds = images_seen, seconds
        if self.last >= images_seen:
            return False
        if self.every is not None:
            return crossed(self.every, before, images_seen)
        # this evaluation and the one at the end
        return self.spent + 2 * self.cost <= VALIDATION_SHARE * (seconds - self.spent)

    def reserve(self, left: float, rate: float) -> float:
        """Return how many of the `left` seconds evaluations will take.

        rate: of training, in images a second.
        """
        if self.every is not None:
            since = self.seen % self.every  # images after the last multiple of the interval
            ahead = 0.0
            if rate:
                ahead = (left - self.cost + since / rate) // (self.every / rate + self.cost)
            needed = (ahead + 1) * self.cost  # one more at the end
        else:
            needed = VALIDATION_SHARE / (1 + VALIDATION_SHARE) * (self.seconds + left) - self.spent
        return min(left, max(self.cost, needed))

    def evaluate(
        self, run: Run, sampler: Sampler, images_seen: int, seconds: float
    ) -> EvaluationResult | None:
        """Evaluate the generator; keep the result and, if it is the best so far, the generator.

        Draws none of the training's random numbers. Returns None, with a notice at the first time,
        if the evaluation fails. Raises RunError if the disk is full.
        """
        began = time.monotonic()
        try:
            devices = [sampler.device] if sampler.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(0)  # for a user's random layers: the same scores after a resume
                result = self.judge(sampler)
        except FAILURES as error:
            self._say_once(_reason(error), f"not evaluated at {images_seen:,} images: ")
            return None
        finally:
            self.cost = time.monotonic() - began
            self.spent += self.cost
            self.last = images_seen
        if is_best := self._is_best(result, images_seen):
            run.save_best(sampler.gan.generator.state_dict())
        line = {"images": images_seen, "seconds": round(seconds, 3)}
        line |= {"cost_seconds": round(self.cost, 3)} | msgspec.to_builtins(result)
        run.append_metrics(msgspec.json.encode(line).decode())
        self._report(result, images_seen, seconds, is_best)
        return result

    def _is_best(self, result: EvaluationResult, images_seen: int) -> bool:
        """Return True if no generator before had a lower FID under the same protocol."""
        if self.newest is not None and not same_protocol(self.newest, result):
            self.best = None
            self._say_once("protocol changed: earlier scores do not count for the best generator")
        self.newest, fid = result, result.fid
        if fid is None or not math.isfinite(fid) or (self.best is not None and fid >= self.best[0]):
            return False
        self.best = fid, images_seen
        return True

    def _report(self, result: EvaluationResult, seen: int, seconds: float, is_best: bool) -> None:
        share = self.spent / max(seconds + self.cost - self.spent, 1e-9)
        scores = _summary(result, ", best so far" if is_best else "")
        cost = f"{self.cost:.1f} s, {share:.0%} of training time so far"
        self.say(f"at {seen:,} images: {scores}; {cost}")
        for note in result.notes:
            if note.startswith("no fid"):
                self._say_once(f"{note}; so no generator is kept as the best")
        if share > VALIDATION_SHARE:
            advice = "the training is too short for it"
            if self.every is not None:
                advice = "--evaluate-every auto keeps it below"
            most = f"{VALIDATION_SHARE:.0%} of training time"
            self._say_once(f"evaluating takes more than {most}: {advice}")

    def _say_once(self, text: str, place: str = "") -> None:
        if text not in self.notified:
            self.notified.add(text)
            self.say(place + text)


def _summary(result: EvaluationResult, remark: str = "") -> str:
    """Return a result in a few words: "FID 1.23 (floor 0.70), recall 0.61"."""
    name = "kid" if result.fid is None else "fid"
    floor, value = getattr(result.floor, name), getattr(result, name)
    beside = "no floor" if floor is None else f"floor {floor:.3g}"
    titles = {"precision": "precision", "recall": "recall", "label_accuracy": "right class"}
    scores = ((title, getattr(result, key)) for key, title in titles.items())
    rest = "".join(f", {title} {score:.3f}" for title, score in scores if score is not None)
    return f"{name.upper()} {value:.3g} ({beside}{remark}){rest}"


def prepare_validation(
    card: Card, dataset: Dataset, gan: Gan, data_dir: Path | None, say: Say, left: float | None
) -> Validation | None:
    """Prepare the evaluations that a card asks for, before the training begins.

    card: of the run.
    dataset: the training images.
    gan: untrained networks, with which the cost of an evaluation is measured.
    data_dir: the folder of named data sets.
    say: shows a line to the user.
    left: seconds for this and the training, if they are limited. Most are not to be spent on an
        extractor.

    Returns None if the card asks for none or, with a notice, if these images cannot be evaluated.
    """
    if card.evaluate_every is None:
        return None
    began = time.monotonic()
    from ganvas.evaluation.evaluate import must_learn, while_training

    if left is not None and left < 2 * EXTRACTOR_SECONDS and must_learn(dataset):
        say(_no_time_for_extractor(card, data_dir, left))
        return None
    try:
        judge = while_training(card, dataset, n=VALIDATION_IMAGES, data_dir=data_dir, tell=say)
        ready = time.monotonic()
        protocol = judge(Sampler(gan, dataset.classes, card.device, card.latent_draw)).protocol
    except FAILURES as error:
        say(f"not evaluated during training: {_reason(error)}")
        return None
    now = time.monotonic()
    if card.evaluate_every == "auto":
        every, often = None, f"so that it takes less than {VALIDATION_SHARE:.0%} of training time"
    else:
        every = Interval.parse(card.evaluate_every).images(card.plan.batch, len(dataset))
        often = f"every {every:,.0f} images"
    say(
        f"evaluating {often} and at the end: {protocol.n_fake:,} generated against"
        f" {protocol.n_real:,} real images ({protocol.split}) by {protocol.extractor},"
        f" {now - ready:.1f} s each, after {now - began:.1f} s of preparation"
    )
    return Validation(judge, every, now - ready, say)


def _no_time_for_extractor(card: Card, data_dir: Path | None, left: float) -> str:
    what, size = card.data.what, (card.image.height, card.image.width)
    options = card.data.given() | {"size": size, "data_dir": data_dir}
    return (
        "not evaluated during training: an extractor must be trained first, for up to"
        f" {EXTRACTOR_SECONDS:.0f} of {left:.0f} s; give more minutes, or train it before with"
        f" {command('evaluate', what, data=what, **options)}"
    )


def within(left: float, validation: Validation | None) -> Validation | None:
    """Return `validation`, or None, with a notice, if one evaluation would take more than half of
    the `left` seconds."""
    if validation is None or validation.cost <= left / 2:
        return validation
    needed = f"{validation.cost:.1f} of {max(0.0, left):.1f} s"
    validation.say(f"not evaluated during training: that would take {needed}")
    return None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
