"""Keeps a training to its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from ganvas.plan import Plan

# Between looks at the clock when there is a deadline: a tenth of what is left, within these bounds.
CLOCK_SECONDS, MAX_CLOCK_SECONDS = 3, 30


class Clock:
    """Keeps a training to its deadline: revises the plan when the rate turns out other than
    planned.

    reserve: (seconds left, images a second) -> those of these seconds in which there will be no
    training.
    """

    def __init__(
        self,
        deadline: float | None,
        images_seen: int,
        reserve: Callable[[float, float], float] = lambda left, rate: 0.0,
    ) -> None:
        self.deadline, self.mark, self.seen, self.reserve = (
            deadline,
            time.monotonic(),
            images_seen,
            reserve,
        )

    def pause(self, seconds: float) -> None:
        """So many seconds, just over, were none of training."""
        self.mark += seconds

    def revised(self, plan: Plan, images_seen: int) -> int | None:
        """A new total when the plan, at the rate of the last seconds, would miss the deadline; None
        to leave it."""
        if self.deadline is None:
            return None
        now = time.monotonic()
        rate = (images_seen - self.seen) / max(now - self.mark, 1e-9)
        left = max(0.0, self.deadline - now)
        left -= self.reserve(left, rate)
        # too early: for a while it had been slow
        through = images_seen >= plan.total and left > CLOCK_SECONDS
        if (
            now - self.mark < min(max(CLOCK_SECONDS, left / 10), MAX_CLOCK_SECONDS)
            and left > 0
            and not through
        ):
            return None
        self.mark, self.seen = now, images_seen
        late = (plan.total - images_seen) / rate - left if rate > 0 else 0.0
        # a step that would end too late is none
        total = images_seen + int(rate * left / plan.batch) * plan.batch
        return None if abs(late) <= max(0.03 * left, 0.5) or total == plan.total else total
