"""The log of a training: log.jsonl, TensorBoard, the progress display and the doctor's notices."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.doctor.monitor import Monitor
from ganvas.doctor.remedies import next_command
from ganvas.errors import RunError
from ganvas.evaluation.result import SCORE_NAMES, EvaluationResult
from ganvas.gan import Logits
from ganvas.objectives import Objective
from ganvas.plan import Plan
from ganvas.recipe import Interval
from ganvas.runs.log import GRADIENTS, PLACE, STATISTICS
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.system.files import writing
from ganvas.system.progress import Progress
from ganvas.training.learner import Learner
from ganvas.training.pictures import Pictures

# interval at which statistics leave the device, for the log and the display
FLUSH_SECONDS = 0.25
# Steps whose statistics are computed at once, as that costs hardly more than for one. A fixed
# number: bits depend on it and must not depend on the clock.
FOLD = 64
# Steps between two lines with gradient norms where every step has a line: norms cost a tenth of
# such a step.
NORMS_EVERY = 16
# Bounds on the number of checkups in a training. A checkup costs as much as some hundred images.
MAX_CHECKUPS, MIN_CHECKUPS = 50, 10
# images between two checkups of a training too short for MIN_CHECKUPS
CHECKUP_IMAGES = 1000


def crossed(interval: float | None, before: int, after: int) -> bool:
    """Return True if a multiple of `interval` lies in (before, after]."""
    return interval is not None and math.floor(after / interval) > math.floor(before / interval)


def doubled(first: float | None, end: float, before: int, after: int) -> bool:
    """Return True if `first`, or it doubled any number of times, lies in (before, after] and below
    `end`.

    first: None for never.
    """
    if first is None or after < first:
        return False
    latest = first * 2 ** math.floor(math.log2(after / first))
    return bool(before < latest < end)


def checkup_interval(log: float, sheet: float, planned: int) -> float:
    """Return the number of images between two checkups.

    log, sheet: images between two lines of the log and between two sheets.
    planned: images of the whole training.
    """
    at_most = max(planned / MIN_CHECKUPS, CHECKUP_IMAGES)
    return max(min(max(log, sheet), at_most), planned / MAX_CHECKUPS)


def statistics(objective: Objective, d_loss_scale: float, steps: list[Logits]) -> Tensor:
    """Compute STATISTICS of each step from its logits: float (steps, 5) with both losses, the mean
    scores of real images and fakes, and D's accuracy."""
    if not steps:
        return torch.zeros(0, len(STATISTICS))
    columns = list(zip(*steps, strict=True))
    real, fake, g_fake = (torch.stack(column) for column in columns[:3])
    g_real = torch.stack(columns[3]) if objective.paired else None
    real_score, fake_score = objective.score(real), objective.score(fake)
    right = (real_score > objective.boundary).sum(1) + (fake_score <= objective.boundary).sum(1)
    # a single score means nothing then: D is right if the real image of a pair has the higher one
    if objective.paired:
        right = (real > fake).sum(1) * 2
    means = (
        objective.d_loss(real, fake).mean(1) * d_loss_scale,
        objective.g_loss(g_real, g_fake).mean(1),
        real_score.mean(1),
        fake_score.mean(1),
        right / (real.shape[1] + fake.shape[1]),
    )
    return torch.stack(means, 1)


class StepMeans:
    """Mean STATISTICS of the steps since the last line of the log, on the learner's device.

    sums: of all steps but the `recent` ones, float (5,). count: number of all steps.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.sums = torch.zeros(len(STATISTICS), device=learner.device)
        self.count = 0
        self.recent: list[Logits] = []

    def add(self, logits: Logits) -> None:
        self.recent.append(logits)
        self.count += 1
        # with several processes after each step: only then are all of them here
        if len(self.recent) == FOLD or self.learner.world.size > 1:
            self.sums = self.sums + self.learner.world.mean(self._recent_sums())
            self.recent = []

    def means(self) -> Tensor:
        """Return the means so far, float (5,)."""
        return (self.sums + self._recent_sums()) / self.count

    def _recent_sums(self) -> Tensor:
        gan, config = self.learner.gan, self.learner.config
        return statistics(gan.objective, config.d_loss_scale, self.recent).sum(0)

    def state_dict(self) -> dict[str, Any]:
        recent = [tuple(logits) for logits in self.recent]
        return {"sums": self.sums, "count": self.count, "recent": recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved means. Raises ValueError if they do not fit."""
        sums, count = state["sums"].to(self.sums.device), state["count"]
        if sums.shape != self.sums.shape or not bool(sums.isfinite().all()):
            raise ValueError(f"record.sums: expected {len(STATISTICS)} finite numbers")
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"record.count: expected a number of steps, got {count}")
        for step in state["recent"]:
            tensors: list[Any] = [t if t is None else t.to(sums.device) for t in step]
            if not all(bool(t.isfinite().all()) for t in tensors if t is not None):
                raise ValueError("record.recent: expected finite logits")
            self.recent.append(Logits(*tensors))
        self.sums, self.count = sums, count
        if len(self.recent) >= FOLD or self.means().shape != sums.shape:
            raise ValueError(f"record.recent: expected the logits of less than {FOLD} steps")


class PendingLine(NamedTuple):
    """A line of the log whose values are still on the device."""

    place: dict[str, Any]
    steps: StepMeans
    gradients: Tensor | None
    checkup: dict[str, float]

    def to_log(self) -> dict[str, Any]:
        """Return the line as it is written."""
        means = dict(zip(STATISTICS, self.steps.means().tolist(), strict=True))
        norms = [] if self.gradients is None else self.gradients.tolist()
        named = zip(GRADIENTS, norms, strict=False)
        gradients = {name: norm for name, norm in named if math.isfinite(norm)}
        return self.place | means | gradients | self.checkup


class Logger:
    """Writes the means of each logging interval, with checkups, and has pictures made.

    Values stay on the device until `flush()`, so that a training does not wait for its log.
    Processes but the first only take part in the means.

    first: True in the process that writes the run.
    """

    def __init__(
        self,
        run: Run,
        learner: Learner,
        dataset: Dataset,
        sampler: Sampler,
        progress: Progress,
        checkup: Callable[[], dict[str, float]] | None,
        monitor: Monitor,
    ) -> None:
        self.run, self.learner, self.dataset, self.progress = run, learner, dataset, progress
        self.checkup, self.monitor = checkup, monitor
        self.first = learner.world.rank == 0
        self.pictures = Pictures(run, dataset, sampler, learner.config)
        self.board = Board(run.path / "tensorboard")
        config = learner.config
        log_every = Interval.parse(config.log).images(config.batch, len(dataset))
        sheet_every = Interval.parse(config.sheet).images(config.batch, len(dataset))
        self.check_every = checkup_interval(log_every, sheet_every, run.card.plan.images)
        # a checkup is part of a line, so lines come at least as often
        self.log_every = log_every / math.ceil(log_every / self.check_every)
        self.steps = StepMeans(learner)
        self.pending: list[PendingLine] = []
        self.seconds, self.flushed = 0.0, time.monotonic()

    def resume(self, images_seen: int, state: dict[str, Any]) -> None:
        """Continue after a saved state, in the middle of its interval; later lines are dropped.
        Raises ValueError if the state does not fit."""
        self.steps.load_state_dict(state)
        self.pictures.sheets = [(images, name) for images, name in state["sheets"]]
        self.rewind(images_seen)

    def rewind(self, images_seen: int) -> None:
        """Drop what was logged later, by a process that was killed before it could save."""
        self.board.purge = images_seen + 1
        if self.first:
            self.run.rewind_log(images_seen)
            self.monitor.resume(self.run.read_log())

    def state_dict(self) -> dict[str, Any]:
        return self.steps.state_dict() | {"sheets": self.pictures.sheets}

    def step(self, logits: Logits, before: int, images_seen: int, seconds: float) -> None:
        """Record the step from `before` to `images_seen` images. seconds: of training so far."""
        self.steps.add(logits)
        self.seconds = seconds
        if crossed(self.log_every, before, images_seen):
            self._end_line(images_seen)
        if self.first and time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()
            objective, scale = self.learner.gan.objective, self.learner.config.d_loss_scale
            latest = statistics(objective, scale, [logits])[0].tolist()
            self.progress.update(images_seen, dict(zip(STATISTICS, latest, strict=True)))

    def _end_line(self, images_seen: int) -> None:
        steps, self.steps = self.steps, StepMeans(self.learner)
        if not self.first:
            return
        batch, checkup = self.learner.config.batch, dict[str, float]()
        before = images_seen - steps.count * batch
        if self.checkup and crossed(self.check_every, before, images_seen):
            checkup = self.checkup()
        regular = steps.count > 1 or crossed(NORMS_EVERY * batch, before, images_seen)
        last = images_seen == self.run.card.plan.total
        gradients = self.learner.gradient_norms() if regular or checkup or last else None
        self.pending.append(PendingLine(self._place(images_seen), steps, gradients, checkup))

    def _place(self, images_seen: int) -> dict[str, Any]:
        """Return a line's PLACE in the training, and the augmentation where it adapts."""
        learner = self.learner
        adaptive = {"augmentation": learner.augmentation} if learner.controller else {}
        return {
            "images": images_seen,
            "step": images_seen // learner.config.batch,
            "epoch": images_seen / len(self.dataset),
            "seconds": round(self.seconds, 3),
            "lr": learner.g_optimizer.lr,
        } | adaptive

    def flush(self) -> None:
        """Write the finished intervals to log.jsonl and TensorBoard.

        Raises RunError at the first line whose statistics are not finite. It is logged, too, since
        `ganvas doctor` knows by it.
        """
        self.flushed = time.monotonic()
        if not self.pending:
            return
        lines = [line.to_log() for line in self.pending]
        self.pending = []
        finite = [all(math.isfinite(line[name]) for name in STATISTICS) for line in lines]
        if not all(finite):
            lines = lines[: finite.index(False) + 1]
        self.run.append_log(lines)
        if not all(finite):
            last = lines[-1]
            losses = f" (D {last['d_loss']}, G {last['g_loss']})"
            raise self._not_finite("losses", last["images"], losses)
        for line in lines:
            shown = {name.capitalize(): value for name, value in line.items() if name not in PLACE}
            self.board.scalars(shown, line["images"])
        self.board.flush()
        for line in lines:
            self.progress.line(line)
            for finding in self.monitor.see(line):
                self.progress.say(f"doctor: {finding.to_text()}")

    def check_weights(self, images_seen: int) -> None:
        """Raise RunError, and log a line of NaN, if a weight is not finite. Call it before weights
        are saved, in every process."""
        if self.learner.finite:
            return
        if self.first:
            self.run.append_log([self._place(images_seen) | dict.fromkeys(STATISTICS, math.nan)])
        raise self._not_finite("weights", images_seen)

    def _not_finite(self, what: str, images_seen: int, figures: str = "") -> RunError:
        return RunError(
            f"{self.run.path}: {what} are no longer finite at {images_seen} images{figures}: the"
            f" last saved state is kept; next: {next_command(self.monitor.run, 'NaN')}"
        )

    def evaluation(self, result: EvaluationResult, images_seen: int) -> None:
        """Show the scores of an evaluation in TensorBoard."""
        scores = {f"evaluation/{name}": getattr(result, name) for name in SCORE_NAMES}
        self.board.scalars({k: v for k, v in scores.items() if v is not None}, images_seen)
        self.board.flush()

    def sheet(self, images_seen: int) -> None:
        """Save a sheet of samples and show it in TensorBoard."""
        if self.first:
            path, png, size = self.pictures.save_sheet(images_seen)
            self.board.image("samples", png, size, images_seen)
            self.progress.sheet(path)

    def finish(self, images_seen: int, plan: Plan) -> None:
        """Write the last line, and the last sheet and the pictures of the end."""
        if self.steps.count:
            self._end_line(images_seen)
        if not self.first:
            return
        self.flush()
        if not self.pictures.sheets or self.pictures.sheets[-1][0] < images_seen:
            self.sheet(images_seen)
        self.pictures.save_summary(plan)


class Board:
    """An event file in `folder`, made at the first write. Writing raises RunError if the disk
    refuses.

    purge: the first step that is out of date in earlier files of the folder, None for none.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{time.time_ns():019d}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self.purge: int | None = None
        self.file: BinaryIO | None = None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write values by their tags, as one event."""
        summary = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write(step=step, summary={"value": summary})

    def image(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """Write a PNG of `size` (height, width)."""
        image = {"height": size[0], "width": size[1], "encoded_image_string": png}
        self._write(step=step, summary={"value": [{"tag": tag, "image": image}]})

    def _open(self) -> None:
        # takes tenths of a second to import
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "wb")  # noqa: SIM115 - closed by close()
            self.records = RecordWriter(self.file)
        self._write(file_version="brain.Event:2")
        if self.purge is not None:
            self._write(step=self.purge, session_log={"status": SessionLog.START})

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        if self.file is None:
            self._open()
        with writing(self.path):
            self.records.write(Event(wall_time=time.time(), **event).SerializeToString())

    def flush(self) -> None:
        if self.file is not None:
            with writing(self.path):
                self.file.flush()

    def close(self) -> None:
        """Close the file. What a full disk keeps from it now has raised an error before."""
        if self.file is not None:
            with suppress(OSError):
                self.file.close()
