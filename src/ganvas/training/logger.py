"""What a training tells while it goes on: the log, TensorBoard, sheets of samples, and the pictures
at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.doctor import remedies
from ganvas.doctor.rules import Monitor
from ganvas.errors import RunError
from ganvas.evaluation.metrics import squared_distances
from ganvas.gan import Logits
from ganvas.objectives import Objective
from ganvas.plan import Plan
from ganvas.recipe import Interval
from ganvas.runs.log import GRADIENTS, PLACE, STATISTICS
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.sheets import grid, png, sheet_classes
from ganvas.system.progress import Progress
from ganvas.training.learner import Learner
from ganvas.training.tensorboard import Board

FLUSH_SECONDS = 0.25  # how often figures leave the device, for the log and the display
# parts of the plan shown in progress.png: epochs 1, 10, 30 and 50 of 50
MOMENTS = (0.02, 0.2, 0.6, 1.0)
# Steps whose figures are computed together: a fixed number, since bits depend on it and must not on
# the clock.
FOLD = 64
NEIGHBOURS = 20
NEIGHBOUR_BYTES = 2**26  # of training images that these are looked for among at a time
# steps, from one line with gradient norms to the next, where every step has a line: a tenth of such
# a step
NORMS_EVERY = 16
# Checkups of a training come with its log and its sheets, but within these bounds. One costs as
# much as some hundred images.
MAX_CHECKUPS, MIN_CHECKUPS = 50, 10
CHECKUP_IMAGES = 1000  # from one to the next, where there would be fewer than MIN_CHECKUPS


def crossed(interval: float | None, before: int, after: int) -> bool:
    """Whether a multiple of `interval` lies in (before, after]."""
    return interval is not None and math.floor(after / interval) > math.floor(before / interval)


def checkup_interval(log: float, sheet: float, planned: int) -> float:
    """Images from one checkup to the next, for the intervals of the log and of sheets and the
    length that is planned."""
    at_most = max(planned / MIN_CHECKUPS, CHECKUP_IMAGES)
    return max(min(max(log, sheet), at_most), planned / MAX_CHECKUPS)


class Span(NamedTuple):
    """The steps of one line of the log: their figures' sums so far, their number, and those not yet
    in the sums."""

    line: dict[str, Any]
    sums: Tensor
    steps: int
    recent: list[Logits]
    gradients: Tensor | None
    checkup: dict[str, float]


def statistics(objective: Objective, d_loss_scale: float, steps: list[Logits]) -> Tensor:
    """log.STATISTICS of some steps, float (steps, 5): both losses, mean scores of real images and
    fakes, D's accuracy."""
    if not steps:
        return torch.zeros(0, len(STATISTICS))
    real, fake, g_fake = (torch.stack(column) for column in list(zip(*steps, strict=True))[:3])
    g_real = (
        torch.stack([logits.g_real for logits in steps if logits.g_real is not None])
        if objective.paired
        else None
    )
    real_score, fake_score = objective.score(real), objective.score(fake)
    right = (real_score > objective.boundary).sum(1) + (fake_score <= objective.boundary).sum(1)
    # single scores mean nothing: D is right where the real image of a pair has the higher one
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


class Logger:
    """Means of each step's STATISTICS over each logging interval, and everything that is made of
    them.

    Figures stay on the device until `flush()`: a training does not wait for its log.
    """

    def __init__(
        self,
        run: Run,
        learner: Learner,
        dataset: Dataset,
        sampler: Sampler,
        progress: Progress,
        checkup: Callable[[], dict[str, float]] | None,
        watch: Monitor,
    ) -> None:
        self.run, self.learner, self.dataset, self.sampler, self.progress = (
            run,
            learner,
            dataset,
            sampler,
            progress,
        )
        self.objective, self.config, self.world = (
            learner.gan.objective,
            learner.config,
            learner.world,
        )
        log_every, sheet_every = (
            Interval.parse(text).images(self.config.batch, len(dataset))
            for text in (self.config.log, self.config.sheet)
        )
        self.checkup, self.watch = checkup, watch
        self.check_every = checkup_interval(log_every, sheet_every, run.card.plan.images)
        # a checkup is part of a line
        self.log_every = log_every / math.ceil(log_every / self.check_every)
        self.sums = torch.zeros(len(STATISTICS), device=self.sampler.device)
        self.count = 0  # steps in the sums and in `recent`
        self.recent: list[Logits] = []
        self.pending: list[Span] = []
        self.flushed = time.monotonic()
        self.board: Board | None = None
        # TensorBoard forgets what an earlier process logged from here on
        self.purge: int | None = None
        self.latest: Logits | None = None
        self.seconds = 0.0
        self.sheets: list[tuple[int, str]] = []  # images seen, file name

    def resume(self, images_seen: int, state: dict[str, Any]) -> None:
        """Go on after a saved state: what was logged later is forgotten, an interval begun is gone
        on with."""
        sums, count = state["sums"].to(self.sums.device), state["count"]
        if (
            sums.shape != self.sums.shape
            or not bool(sums.isfinite().all())
            or not isinstance(count, int)
            or count < 0
        ):
            raise ValueError("sums of figures that are none")
        self.sums, self.count = sums, count
        for step in state["recent"]:
            tensors: list[Any] = [t if t is None else t.to(sums.device) for t in step]
            if not all(bool(t.isfinite().all()) for t in tensors if t is not None):
                raise ValueError("logits that are no numbers")
            self.recent.append(Logits(*tensors))
        if (
            len(self.recent) >= FOLD
            or self._means(Span({}, sums, 1, self.recent, None, {})).shape != sums.shape
        ):
            raise ValueError("logits that are none")
        self.sheets = [(images, name) for images, name in state["sheets"]]
        self.rewind(images_seen)

    def rewind(self, images_seen: int) -> None:
        """Forget what was logged later: by a process that was killed after it had last saved, or
        before it ever had."""
        self.purge = images_seen + 1
        if self.world.rank == 0:
            self.run.rewind_log(images_seen)
            self.watch.resume(self.run.read_log())

    def state_dict(self) -> dict[str, Any]:
        return {
            "sums": self.sums,
            "count": self.count,
            "recent": [tuple(logits) for logits in self.recent],
            "sheets": self.sheets,
        }

    def step(self, logits: Logits, before: int, images_seen: int, seconds: float) -> None:
        """Note one step."""
        self.recent.append(logits)
        self.count += 1
        self.latest, self.seconds = logits, seconds
        # all processes are here now, and only now
        if len(self.recent) == FOLD or self.world.size > 1:
            self._fold()
        if crossed(self.log_every, before, images_seen):
            self._line(images_seen)
        if self.world.rank == 0 and time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()
            self._show(images_seen)

    def _fold(self) -> None:
        """Add the recent steps' figures to the sums. Many steps together cost hardly more than one."""
        if self.recent:
            own = statistics(self.objective, self.config.d_loss_scale, self.recent).sum(0)
            self.sums = self.sums + self.world.mean(own)
            self.recent = []

    def _line(self, images_seen: int) -> None:
        if self.world.rank == 0:  # the others write no log
            before, checkup = images_seen - self.count * self.config.batch, {}
            if self.checkup and crossed(self.check_every, before, images_seen):
                checkup = self.checkup()
            due = (
                self.count > 1
                or checkup
                or crossed(NORMS_EVERY * self.config.batch, before, images_seen)
            )
            due = due or images_seen == self.run.card.plan.total
            gradients = self.learner.gradient_norms() if due else None
            place = self._place(images_seen)
            self.pending.append(Span(place, self.sums, self.count, self.recent, gradients, checkup))
        self.sums, self.count, self.recent = torch.zeros_like(self.sums), 0, []

    def _place(self, images_seen: int) -> dict[str, Any]:
        """Where in the training a line of the log is, and what its last step was made with."""
        place = {
            "images": images_seen,
            "step": images_seen // self.config.batch,
            "epoch": images_seen / len(self.dataset),
            "seconds": round(self.seconds, 3),
            "lr": self.learner.g_optimizer.lr,
        }
        return place | (
            {"augmentation": self.learner.augmentation} if self.learner.controller else {}
        )

    def _means(self, span: Span) -> Tensor:
        """A line's mean figures, float (5,)."""
        return (
            span.sums + statistics(self.objective, self.config.d_loss_scale, span.recent).sum(0)
        ) / span.steps

    def flush(self) -> None:
        """Write the finished intervals to log.jsonl and TensorBoard. Raises RunError when a figure
        is not finite."""
        self.flushed = time.monotonic()
        if not self.pending:
            return
        lines = [self._figures(span) for span in self.pending]
        self.pending = []
        broken = [
            k
            for k, line in enumerate(lines)
            if not all(math.isfinite(line[name]) for name in STATISTICS)
        ]
        lines = lines[: broken[0] + 1] if broken else lines
        self.run.append_log(lines)  # one that is not finite, too: by it `ganvas doctor` knows
        if broken:
            line = lines[-1]
            raise self._end("losses", line["images"], f" (D {line['d_loss']}, G {line['g_loss']})")
        for line in lines:
            shown = {name.capitalize(): value for name, value in line.items() if name not in PLACE}
            self._tensorboard().scalars(shown, line["images"])
        self._tensorboard().flush()
        for line in lines:
            self.progress.line(line)
            for finding in self.watch.see(line):
                self.progress.say(
                    f"doctor: {finding.state}: {finding.evidence}; next: {finding.command}"
                )

    def _figures(self, span: Span) -> dict[str, Any]:
        """A whole line of the log."""
        norms: list[float] = [] if span.gradients is None else span.gradients.tolist()
        gradients = {
            name: norm for name, norm in zip(GRADIENTS, norms, strict=False) if math.isfinite(norm)
        }
        means = dict(zip(STATISTICS, self._means(span).tolist(), strict=True))
        return span.line | means | gradients | span.checkup

    def check_weights(self, images_seen: int) -> None:
        """Before any are saved, in every process. Raises RunError, and notes it in the log, where
        they are no longer numbers and no loss has shown it yet."""
        if self.learner.finite:
            return
        if self.world.rank == 0:
            self.run.append_log([self._place(images_seen) | dict.fromkeys(STATISTICS, math.nan)])
        raise self._end("weights", images_seen)

    def _end(self, what: str, images_seen: int, figures: str = "") -> RunError:
        """That a training cannot go on, with the command that the doctor gives for it."""
        return RunError(
            f"{self.run.path}: {what} are no longer finite at {images_seen} images{figures}: "
            f"the last saved state is kept; next: {remedies.command(self.watch.patient, 'NaN')}"
        )

    def _show(self, images_seen: int) -> None:
        assert self.latest is not None
        latest = statistics(self.objective, self.config.d_loss_scale, [self.latest])[0]
        self.progress.update(images_seen, dict(zip(STATISTICS, latest.tolist(), strict=True)))

    def _tensorboard(self) -> Board:
        if self.board is None:
            self.board = Board(self.run.path / "tensorboard", self.purge)
        return self.board

    def figures(self, values: Mapping[str, float], images_seen: int) -> None:
        """Show an evaluation's figures in TensorBoard."""
        self._tensorboard().scalars(
            {f"evaluation/{name}": value for name, value in values.items()}, images_seen
        )
        self._tensorboard().flush()

    def real_images(self) -> None:
        """Show what the training sees, laid out like the sheets."""
        config = self.config
        some = self.dataset.images[: config.sheet_rows * config.sheet_columns]
        if self.dataset.classes:  # one column a class, where the sheets have one too
            some = self._one_column_a_class()
        self.run.save_real_images(some.permute(0, 2, 3, 1), config.sheet_columns)

    def _one_column_a_class(self) -> Tensor:
        assert self.dataset.labels is not None
        count, classes = (
            self.config.sheet_rows * self.config.sheet_columns,
            len(self.dataset.classes),
        )
        of_class = [(self.dataset.labels == k).nonzero().flatten() for k in range(classes)]
        picks = [of_class[k] for k in sheet_classes(count, classes)]
        indices = [
            int(pick[k // classes % len(pick)]) if len(pick) else k % len(self.dataset)
            for k, pick in enumerate(picks)
        ]
        return self.dataset.images[indices]

    def sheet(self, images_seen: int) -> None:
        """Make a sheet from the run's fixed latents: images 0, 1, ... of its seed, as `ganvas
        sample` would; of which classes, `sheet_classes` says."""
        if self.world.rank > 0:
            return
        config, count = self.config, self.config.sheet_rows * self.config.sheet_columns
        labels = sheet_classes(count, len(self.sampler.classes)) if self.sampler.classes else None
        images = self.sampler(range(count), seed=self.run.card.seed, labels=labels)
        name = config.sheet_name.format(
            images=images_seen, epoch=max(1, images_seen // len(self.dataset))
        )
        path = self.run.save_sheet(name, images, config.sheet_columns)
        pixels = grid(images.numpy(), config.sheet_columns, gap=2)
        self._tensorboard().image("samples", png(pixels), pixels.shape[:2], images_seen)
        self.sheets.append((images_seen, path.name))
        self.progress.sheet(path)

    def finish(self, images_seen: int, plan: Plan) -> None:
        """The pictures at the end: a last sheet, four moments beside each other, both losses,
        nearest neighbours."""
        if self.count:
            self._line(images_seen)
        if self.world.rank > 0:
            return
        self.flush()
        if not self.sheets or self.sheets[-1][0] < images_seen:
            self.sheet(images_seen)
        moments = {}
        for part in MOMENTS:
            images, name = min(self.sheets, key=lambda sheet: abs(sheet[0] - part * plan.total))
            moments[name] = f"epoch {images / len(self.dataset):.4g}"
        self.run.save_progress((caption, name) for name, caption in moments.items())
        self.run.save_losses()
        fakes = self.sampler(range(min(NEIGHBOURS, len(self.dataset))), seed=self.run.card.seed)
        self.run.save_neighbours(
            fakes, nearest_images(fakes, self.dataset, self.run.card.data.flip)
        )

    def close(self) -> None:
        """Close TensorBoard's file, however the training ended."""
        if self.board is not None:
            self.board.close()


def nearest_images(images: Tensor, dataset: Dataset, flip: bool = False) -> Tensor:
    """For each image, uint8 (N, H, W, C), the data set's image at the least Euclidean distance in
    pixels, same shape.

    flip: or that image mirrored, where a training saw them so.
    """
    found, least = _nearest(images, dataset)
    nearest = dataset.images[found].permute(0, 2, 3, 1)
    if flip:
        found, mirrored = _nearest(images.flip(2), dataset)
        closer = (mirrored < least).view(-1, 1, 1, 1)
        nearest = torch.where(closer, dataset.images[found].permute(0, 2, 3, 1).flip(2), nearest)
    return nearest


def _nearest(images: Tensor, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """The index of each image's nearest one, int64 (N,), and their squared distance."""
    queries = images.permute(0, 3, 1, 2).reshape(len(images), -1).double()
    least = torch.full((len(images),), torch.inf, dtype=torch.double)
    found = torch.zeros(len(images), dtype=torch.int64)
    # doubles take eight times the memory of the bytes
    rows = max(1, NEIGHBOUR_BYTES // (8 * queries.shape[1]))
    for start in range(0, len(dataset), rows):
        chunk = dataset.images[start : start + rows].reshape(-1, queries.shape[1]).double()
        # of whole numbers: exact in doubles
        distance, index = squared_distances(queries, chunk).min(1)
        closer = distance < least
        least[closer], found[closer] = distance[closer], index[closer] + start
    return found, least
