"""The budget of a search: the number of trials, the images of each, and a deadline."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ganvas.errors import SettingError
from ganvas.plan import MAX_PLAN_IMAGES
from ganvas.runs.request import MAX_MINUTES
from ganvas.runs.train_options import check_positive
from ganvas.tuning.trials import CHECKPOINTS

DEFAULT_MINUTES = 10.0
SEARCH_FINISH_SECONDS = 2.0  # kept back for writing the result and exiting
# share of the time to plan for, since machines have slow moments; the rest goes to more trials
MARGIN = 0.85
# the number of trials is the square root of the number of these in the budget, so that number and
# length of trials both grow with it
TRIAL_SECONDS = 4.0
MAX_PLANNED_TRIALS = 50
MIN_TRIAL_STEPS = 30
MAX_TRIALS = 10_000


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The length of a search, as the user gives it; None where nothing was given.

    minutes: wall time of the whole search. By default 10, or no limit if both of the others are
        given: then the same options give the same result on the same machine.
    trials: number of trainings, 2 or more; the first has the recipe's own settings.
    images: training images of each trial.

    Raises SettingError for a value out of range.
    """

    minutes: float | None = None
    trials: int | None = None
    images: float | None = None

    def __post_init__(self) -> None:
        check_positive("--minutes", self.minutes, MAX_MINUTES)
        check_positive("--images", self.images, MAX_PLAN_IMAGES)
        if self.trials is not None and not 2 <= self.trials <= MAX_TRIALS:
            expected = f"expected 2 to {MAX_TRIALS:,}; the first has the recipe's own settings"
            raise SettingError(f"--trials {self.trials}: {expected}")

    @property
    def time_limit(self) -> float | None:
        """Minutes of the search; None for a search without a clock."""
        if self.minutes is None and (self.trials is None or self.images is None):
            return DEFAULT_MINUTES
        return self.minutes


@dataclass(frozen=True)
class Budget:
    """The plan of a search.

    trials: how many; None for as many as fit into the time.
    images: of each trial, in whole steps.
    deadline: time.monotonic() at which the search ends; None for no limit.
    """

    trials: int | None
    images: int
    deadline: float | None


def plan_budget(
    options: SearchOptions, batch: int, step_seconds: float, score_seconds: float, started: float
) -> Budget:
    """Plan how many trials of how many images fit into the time that is left.

    batch: images of a training step.
    step_seconds, score_seconds: measured times of a step and of a score; unused without a clock.
    started: time.time() from which the minutes count.

    Raises SettingError if the trials that were requested, or two, do not fit.
    """
    images, minutes = math.ceil((options.images or 0) / batch) * batch, options.time_limit
    if minutes is None:
        return Budget(options.trials, images, None)
    spent = time.time() - started
    left = minutes * 60 - SEARCH_FINISH_SECONDS - spent
    scoring, min_trials = CHECKPOINTS * score_seconds, options.trials or 2
    trial_seconds = (images // batch or MIN_TRIAL_STEPS) * step_seconds + scoring
    needed = min_trials * trial_seconds
    if left * MARGIN < needed:
        enough = math.ceil((1.5 * spent + SEARCH_FINISH_SECONDS + needed / MARGIN) / 6) / 10
        length = f"{min_trials} trials" + (f" of {images:,} images" if images else "")
        cure = f"give at least {enough:g}, fewer trials or fewer images"
        raise SettingError(f"--minutes {minutes:g} is too short for {length} here: {cure}")
    deadline = time.monotonic() + left
    if images:
        return Budget(options.trials, images, deadline)
    affordable = int(left * MARGIN / trial_seconds)
    planned = min(MAX_PLANNED_TRIALS, round(math.sqrt(left / TRIAL_SECONDS)), affordable)
    seconds = left * MARGIN / max(2, options.trials or planned)
    return Budget(options.trials, int((seconds - scoring) / step_seconds) * batch, deadline)
