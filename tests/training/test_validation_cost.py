"""The time that evaluations take, and how it fits a budget."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from ganvas.evaluation.result import EvaluationResult
from ganvas.plan import Plan
from ganvas.sampling.sampler import Sampler
from ganvas.training import validation
from ganvas.training.loop import Clock
from ganvas.training.validation import Validation
from helpers.common import train
from helpers.judged import verdict

pytestmark = pytest.mark.usefixtures("judge")


class TestCost:
    """On a made-up clock: a step of 10 images takes 0.01 s, an evaluation `cost` seconds."""

    def train(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        every: float | None,
        cost: float,
        budget: float | None,
    ) -> tuple[float, float, list[int], Plan]:
        """Return the seconds in all and of evaluations, when these were, and the last plan."""
        now, run = 1000.0, train("mlp/tiny", tmp_path / "run", images=16.0)
        monkeypatch.setattr(time, "monotonic", lambda: now)

        def judge(sampler: Sampler) -> EvaluationResult:
            nonlocal now
            now += cost
            return verdict(1.0)

        shown: list[str] = []
        evaluation, at, seen = Validation(judge, every, cost, shown.append), [], 0
        reserve = evaluation.reserve(budget or 0.0, 1000.0)
        images = 60_000 if budget is None else int((budget - reserve) * 1000)
        plan = Plan(images=images, batch=10, epoch=100, requested="")
        clock = Clock(budget and now + budget, 0, evaluation.reserve)
        while seen < plan.total:
            now += 0.01
            seen += 10
            if evaluation.due(seen - 10, seen, now - 1000) or seen == plan.total:
                at.append(seen)
                evaluation.evaluate(run, run.sampler(), seen, now - 1000)
                clock.pause(cost)
            if (total := clock.revised(plan, seen)) is not None:
                plan = plan.revise(seen, total)
        assert at[-1] == seen
        return now - 1000, evaluation.spent, at, plan

    @pytest.mark.parametrize("cost", [0.05, 0.6, 2.9])
    def test_auto_stays_below_a_tenth_of_training(
        self, cost: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        took, spent, at, _ = self.train(monkeypatch, tmp_path, None, cost, None)
        assert spent <= 0.1 * (took - spent) + 1e-6
        assert spent > 0.08 * (took - spent) or len(at) == 2  # and is made use of
        gaps = [b - a for a, b in itertools.pairwise(at[:-1])]
        assert all(gap == pytest.approx(cost * 10_000, abs=20) for gap in gaps)

    @pytest.mark.parametrize(
        ("every", "cost"), [(None, 0.5), (None, 2.0), (2000.0, 1.0), (7000.0, 3.0), (1e9, 4.0)]
    )
    def test_a_budget_is_kept_and_the_plan_does_not_jump(
        self, every: float | None, cost: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        took, _, at, plan = self.train(monkeypatch, tmp_path, every, cost, 60.0)
        assert 57 < took < 61.5
        totals = [plan.images, *[total for _, total in plan.revisions]]
        assert max(totals) / min(totals) < 1.05
        assert len(plan.revisions) <= 3
        assert len(at) == (len(at) if every is None else -(-plan.total // int(every)))

    def test_an_evaluation_that_takes_most_of_the_budget_is_left_out(self) -> None:
        shown: list[str] = []
        evaluation = Validation(lambda _: verdict(1.0), None, 4.0, shown.append)
        assert validation.within(9.0, evaluation) is evaluation
        assert shown == []
        assert validation.within(7.0, evaluation) is None
        assert shown == ["not evaluated during training: that would take 4.0 of 7.0 s"]
