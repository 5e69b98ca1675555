"""A generator judged while it is trained: when, at what cost, and which was the best."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from ganvas.data.dataset import Dataset
from ganvas.errors import GanvasError
from ganvas.evaluation import history
from ganvas.evaluation.result import (
    SCORE_NAMES,
    EvaluationResult,
    results_during_training,
    same_protocol,
)
from ganvas.gan import Gan
from ganvas.recipe import Interval
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.training.logger import crossed

N = 2000  # generated images of an evaluation
LEARNING = 180.0  # seconds, as long as an extractor may take to be trained
VALIDATION_SHARE = 0.1  # of training time, what evaluating may take
# of judging: none is worth a training (torch's are RuntimeErrors)
FAILURES = (GanvasError, RuntimeError, MemoryError)

Say = Callable[[str], None]


class Validation:
    """Evaluations at intervals of a training, each a line of the run's metrics.jsonl; the best
    generator is kept.

    judge: what a generator is worth. every: images from one evaluation to the next; None: as often
    as their cost stays
    below SHARE of training time. cost: seconds of an evaluation, as measured last. spent: seconds
    of all so far.
    best: (FID, images seen) of the least FID under the protocol of `newest`, the last result.
    """

    def __init__(
        self,
        judge: Callable[[Sampler], EvaluationResult],
        every: float | None,
        cost: float,
        say: Say,
    ) -> None:
        self.judge, self.every, self.cost, self.say = judge, every, cost, say
        self.spent, self.seconds = 0.0, 0.0
        self.seen = self.last = 0  # images: so far, and at the last evaluation
        self.newest: EvaluationResult | None = None
        self.best: tuple[float, int] | None = None
        self.said: set[str] = set()

    def resume(self, run: Run) -> None:
        """Go on with the evaluations that a run has already had."""
        lines = [line for line in run.read_metrics() if "images" in line]
        self.spent = sum(line.get("cost_seconds", 0.0) for line in lines)
        self.last = max((line["images"] for line in lines), default=0)
        for images, each in results_during_training(history.results_of(run)):
            self._is_best(each, images)

    def due(self, before: int, images_seen: int, seconds: float) -> bool:
        """Whether to evaluate after the step from `before` images. seconds: of training so far,
        with all evaluations."""
        self.seen, self.seconds = images_seen, seconds
        if self.last >= images_seen:
            return False
        if self.every is not None:
            return crossed(self.every, before, images_seen)
        # this one, and the one at the end
        return self.spent + 2 * self.cost <= VALIDATION_SHARE * (seconds - self.spent)

    def reserve(self, left: float, rate: float) -> float:
        """Of the seconds left, how many evaluating will take, at a rate of training in images a
        second."""
        if self.every is not None:
            since = self.seen % self.every  # images after the last multiple of the interval
            ahead = (
                (left - self.cost + since / rate) // (self.every / rate + self.cost)
                if rate
                else 0.0
            )
            needed = (ahead + 1) * self.cost  # one more at the end
        else:
            needed = VALIDATION_SHARE / (1 + VALIDATION_SHARE) * (self.seconds + left) - self.spent
        return min(left, max(self.cost, needed))

    def evaluate(
        self, run: Run, sampler: Sampler, images_seen: int, seconds: float
    ) -> EvaluationResult | None:
        """Judge the generator, keep the result and, where it is the best so far, the generator.
        Draws none of the training's random numbers. None where it cannot be judged, which is said
        once. Raises RunError for a full disk."""
        began = time.monotonic()
        try:
            with torch.random.fork_rng(
                devices=[sampler.device] if sampler.device.type == "cuda" else []
            ):
                torch.manual_seed(0)  # for a user's random layers: the same figures after a resume
                verdict = self.judge(sampler)
        except FAILURES as error:
            self._once(f"not evaluated at {images_seen:,} images: ", _reason(error))
            self.last = images_seen
            return None
        finally:
            self.cost = time.monotonic() - began
            self.spent += self.cost
            self.last = images_seen
        if is_best := self._is_best(verdict, images_seen):
            run.save_best(sampler.gan.generator.state_dict())
        place = {
            "images": images_seen,
            "seconds": round(seconds, 3),
            "cost_seconds": round(self.cost, 3),
        }
        run.append_metrics(msgspec.json.encode(place | msgspec.to_builtins(verdict)).decode())
        self._tell(verdict, images_seen, seconds, is_best)
        return verdict

    def _is_best(self, verdict: EvaluationResult, images_seen: int) -> bool:
        """Whether no generator before had a lower FID. FIDs of another protocol do not count: the
        best is found anew."""
        if self.newest is not None and not same_protocol(self.newest, verdict):
            self.best = None
            self._once(
                "",
                "judged under another protocol than before: the best generator is looked for anew",
            )
        self.newest = verdict
        fid = verdict.fid
        if fid is None or not math.isfinite(fid) or (self.best is not None and fid >= self.best[0]):
            return False
        self.best = fid, images_seen
        return True

    def _tell(
        self, verdict: EvaluationResult, images_seen: int, seconds: float, is_best: bool
    ) -> None:
        share = self.spent / max(seconds + self.cost - self.spent, 1e-9)  # of the time without them
        figures = summary(verdict, ", best so far" if is_best else "")
        self.say(
            f"at {images_seen:,} images: {figures}; {self.cost:.1f} s, {share:.0%} of training time"
            " so far"
        )
        for note in verdict.notes:
            if note.startswith("no fid"):
                self._once("", f"{note}; so no generator is kept as the best")
        if share > VALIDATION_SHARE:
            cure = (
                "the training is short for it"
                if self.every is None
                else "--evaluate-every auto keeps it below"
            )
            self._once(
                "", f"evaluating takes more than {VALIDATION_SHARE:.0%} of training time: {cure}"
            )

    def _once(self, place: str, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.say(place + text)


def summary(verdict: EvaluationResult, remark: str = "") -> str:
    """A verdict in a few words: "FID 1.23 (floor 0.70), recall 0.61"."""
    name = "kid" if verdict.fid is None else "fid"
    floor, value = getattr(verdict.floor, name), getattr(verdict, name)
    beside = "no floor" if floor is None else f"floor {floor:.3g}"
    parts = {
        "precision": verdict.precision,
        "recall": verdict.recall,
        "right class": verdict.label_accuracy,
    }
    rest = "".join(f", {part} {figure:.3f}" for part, figure in parts.items() if figure is not None)
    return f"{name.upper()} {value:.3g} ({beside}{remark}){rest}"


def prepare_validation(
    card: Card,
    dataset: Dataset,
    gan: Gan,
    data_dir: Path | None,
    say: Say,
    left: float | None = None,
) -> Validation | None:
    """All that is needed to evaluate as the card asks, made before a training begins; its cost is
    measured on an untrained `gan`. None where nothing is asked for, or these images cannot be
    judged, which is said.

    left: seconds for all this and the training, where they are counted; most of them are not spent
    on an extractor."""
    if (when := card.evaluate_every) is None:
        return None
    began = time.monotonic()
    from ganvas.evaluation import evaluate as judging

    if left is not None and left < 2 * LEARNING and judging.must_learn(dataset):
        own = card.data
        how = history.repeat_options(
            data=own.what,
            size=(card.image.height, card.image.width),
            fit=None if own.fit == "crop" else own.fit,
            channels=own.channels,
            data_dir=data_dir,
        )
        say(
            "not evaluated during training: an extractor is yet to be trained, for up to"
            f" {LEARNING:.0f} of {left:.0f} s; give more minutes, or have it trained before, by"
            f" {shlex.join(['ganvas', 'evaluate', own.what, *how.options])}"
        )
        return None
    try:
        judge = judging.while_training(card, dataset, n=N, data_dir=data_dir, tell=say)
        ready = time.monotonic()
        verdict = judge(Sampler(gan, dataset.classes, card.device))
    except FAILURES as error:
        say(f"not evaluated during training: {_reason(error)}")
        return None
    now = time.monotonic()
    cost = now - ready
    every = None if when == "auto" else Interval.parse(when).images(card.plan.batch, len(dataset))
    often = (
        f"so that it takes less than {VALIDATION_SHARE:.0%} of training time"
        if every is None
        else f"every {every:,.0f} images"
    )
    protocol = verdict.protocol
    say(
        f"evaluating {often} and at the end: {protocol.n_fake:,} generated against"
        f" {protocol.n_real:,} real images ({protocol.split}) by {protocol.extractor}, {cost:.1f} s"
        f" each, after {now - began:.1f} s of preparation"
    )
    return Validation(judge, every, cost, say)


def within(left: float, evaluation: Validation | None) -> Validation | None:
    """The same, or None, which is said, where a single evaluation would take most of the seconds
    left for a training."""
    if evaluation is None or evaluation.cost <= left / 2:
        return evaluation
    evaluation.say(
        f"not evaluated during training: that would take {evaluation.cost:.1f} of"
        f" {max(0.0, left):.1f} s"
    )
    return None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def figures_of(verdict: EvaluationResult) -> dict[str, Any]:
    """A verdict's plain figures by their names, without those that mean nothing."""
    return {name: value for name in SCORE_NAMES if (value := getattr(verdict, name)) is not None}
