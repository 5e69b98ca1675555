"""The clock that keeps a training to its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from ganvas.plan import Plan

# Seconds between two looks at the rate: a tenth of what is left, within these bounds.
MIN_CLOCK_SECONDS, MAX_CLOCK_SECONDS = 3, 30


class Clock:
    """Revises the plan of a training whose rate turns out other than planned.

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
        # Done too early: for a while training had been slow.
        early = images_seen >= plan.total and left > MIN_CLOCK_SECONDS
        wait = min(max(MIN_CLOCK_SECONDS, left / 10), MAX_CLOCK_SECONDS)
        if now - self.mark < wait and left > 0 and not early:
            return None
        self.mark, self.seen = now, images_seen
        late = (plan.total - images_seen) / rate - left if rate > 0 else 0.0
        # Only steps that end in time count.
        total = images_seen + int(rate * left / plan.batch) * plan.batch
        return None if abs(late) <= max(0.03 * left, 0.5) or total == plan.total else total
