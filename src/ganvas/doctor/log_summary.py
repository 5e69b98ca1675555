"""A log of any length, drawn together into means of stretches: the figures that rules look at."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ganvas.gan import Gan, GanFile
from ganvas.overrides import with_preset
from ganvas.recipe import Schedule, TrainConfig
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.system.schema import convert

Rate = Schedule | float
Stage = Literal["training", "stopped", "finished"]

LogMean = Mapping[str, float]  # a line of the log, or the mean of several

# Means that a log is drawn together into, so that a diagnosis costs the same however long it is.
MAX_MEANS = 128
# The stretch that must look ill, in parts of the images seen: a state must have lasted.
RECENT = 1 / 3
# Relative change over the whole training below which a figure has not moved: samples of a
# generator that learns move by more between two checkups.
STILL = 0.02
# Names of fields in logs of earlier versions.
OLD_NAMES = {"told": "d_separation"}


class History:
    """A log as at most MAX_MEANS means, each of equally many lines; the newest may have fewer."""

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self.whole, self.begun, self.width = list[LogMean](), list[LogMean](), 1
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a line of the log; values that are not numbers are left out."""
        numbers = {k: value for k, value in line.items() if isinstance(value, (int, float))}
        self.begun.append({OLD_NAMES.get(name, name): value for name, value in numbers.items()})
        if len(self.begun) == self.width:
            self.whole.append(_mean(self.begun))
            self.begun = []
        if len(self.whole) == MAX_MEANS:
            self.whole = [_mean(self.whole[k : k + 2]) for k in range(0, MAX_MEANS, 2)]
            self.width *= 2

    @property
    def means(self) -> list[LogMean]:
        return [*self.whole, *([_mean(self.begun)] if self.begun else [])]


def _mean(lines: Sequence[LogMean]) -> LogMean:
    """Average each figure over the lines that have it; the place is the last line's."""
    names = dict.fromkeys(name for line in lines for name in line)
    means = {name: statistics.fmean(line[name] for line in lines if name in line) for name in names}
    return means | {name: lines[-1][name] for name in ("images", "step", "epoch", "seconds")}


class LogSummary:
    """Statistics of a run's log.

    run: the run that the log is of.
    means: the log, from `History.means`; at least one.
    """

    def __init__(self, run: RunInfo, means: Sequence[LogMean]) -> None:
        self.run, self.means, self.last = run, means, means[-1]

    def all(self, name: str) -> list[float]:
        """Return all values of a figure, oldest first."""
        return [mean[name] for mean in self.means if name in mean]

    def now(self, name: str) -> float | None:
        """Return the median of a figure in the RECENT stretch; its last value if it has none there,
        None if it was never taken."""
        start = (1 - RECENT) * self.last["images"]
        recent = [mean[name] for mean in self.means if name in mean and mean["images"] > start]
        recent = recent or self.all(name)[-1:]
        return statistics.median(recent) if recent else None

    def before(self, name: str) -> float | None:
        """Return the median of a figure in the first half; None if it has no value there."""
        half = self.last["images"] / 2
        values = [mean[name] for mean in self.means if name in mean and mean["images"] <= half]
        return statistics.median(values) if values else None

    def is_still(self, name: str) -> bool:
        """Return True if a figure of three checkups or more has not moved since the first."""
        values = self.all(name)
        return len(values) >= 3 and max(values) - min(values) <= STILL * abs(values[-1])


@dataclass(frozen=True)
class RunInfo:
    """A run as far as the doctor needs it.

    path: the run's directory.
    gan: path of the user's own GAN file, None for a built-in GAN.
    data_dir: the folder of named data sets, if one was given.
    usual: the recipe's own settings for a training of this length.
    chance_loss: D's loss if it cannot tell real from fake; 0 if there is no such value.
    joint, paired: as in ganvas.gan and ganvas.objectives.

    Where the user's own file is not at hand, `usual` is None, `chance_loss` 0, and `joint` and
    `paired` are False.
    """

    path: Path
    card: Card
    gan: str | None = None
    data_dir: Path | None = None
    usual: TrainConfig | None = None
    chance_loss: float = 0.0
    joint: bool = False
    paired: bool = False
    stage: Stage = "training"

    @classmethod
    def of(cls, run: Run, file: GanFile, gan: Gan, data_dir: Path | None, stage: Stage) -> RunInfo:
        """Describe a run whose GAN's file and networks are at hand."""
        card, objective = run.card, gan.objective
        recipe = file.recipes.get(card.recipe_key)
        usual = with_preset(recipe, {}, card.plan.requested)[0].train if recipe else None
        chance = objective.chance * card.settings(file).train.d_loss_scale
        known = (usual, chance, gan.joint, objective.paired)
        return cls(run.path, card, run.gan, data_dir, *known, stage)

    @cached_property
    def train(self) -> TrainConfig:
        """The settings of the training."""
        train: TrainConfig = convert(self.card.train, TrainConfig, "train")
        return train

    @property
    def rates(self) -> dict[str, Rate]:
        """The learning rates by the names of their settings; D's only if it has its own."""
        both = {"lr": self.train.lr, "d_lr": self.train.d_lr}
        return {name: rate for name, rate in both.items() if rate is not None}

    def usual_rate(self, name: str) -> Rate | None:
        """Return the recipe's own learning rate `name`, None if the recipe is unknown."""
        if self.usual is None:
            return None
        rate: Rate | None = getattr(self.usual, name)
        return self.usual.lr if rate is None else rate
