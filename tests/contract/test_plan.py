"""The length of a training: plans, their revisions, and the clock that makes them."""

from __future__ import annotations

import dataclasses
import gc
import shlex
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganvas import data
from ganvas.commands.options import process_start
from ganvas.errors import SettingError
from ganvas.evaluation import extractor_files, extractors
from ganvas.launch import job, launch
from ganvas.plan import Plan
from ganvas.recipe import ImageSpec
from ganvas.runs.request import Request
from ganvas.runs.run import Run
from ganvas.system import machine
from ganvas.training import benchmark, preflight
from ganvas.training.loop import Clock
from helpers.common import state, train

TOTALS = st.integers(1, 10**7)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan with up to four revisions, each later than the one before and not into the past."""
    batch = draw(st.integers(1, 256))
    plan = Plan(
        images=draw(TOTALS), batch=batch, epoch=draw(st.integers(1, 10**5)), requested="5 minutes"
    )
    at = 0
    for _ in range(draw(st.integers(0, 4))):
        if plan.total - batch <= at:
            break
        at = batch * draw(
            st.integers(at // batch + 1, max(at // batch + 1, plan.total // batch - 1))
        )
        plan = plan.revise(at, at + draw(st.integers(1, 10**7)))
    return plan


class TestPlan:
    @given(plans())
    def test_progress_runs_from_0_to_1_without_a_step_back_or_a_jump(self, plan: Plan) -> None:
        ats = [at for at, _ in plan.revisions]
        points = sorted(
            {0, plan.total, plan.total // 2, *ats, *[at - 1 for at in ats], *[at + 1 for at in ats]}
        )
        values = [plan.progress(point) for point in points]
        assert values[0] == 0
        assert plan.progress(plan.total) == pytest.approx(1)
        assert values == sorted(values)
        assert all(0 <= value <= 1 for value in values)
        for at in ats:  # continuous where it is revised
            assert plan.progress(at) == pytest.approx(plan.progress(at - 1e-6), abs=1e-5)

    @given(plans())
    def test_the_total_is_whole_steps_and_no_less_than_asked(self, plan: Plan) -> None:
        wanted = plan.revisions[-1][1] if plan.revisions else plan.images
        assert plan.total % plan.batch == 0
        assert wanted <= plan.total < wanted + plan.batch

    @given(plans(), st.integers(1, 10**7))
    def test_a_revision_leaves_the_past_as_it_was(self, plan: Plan, images: int) -> None:
        at = plan.revisions[-1][0] + plan.batch if plan.revisions else plan.batch
        revised = plan.revise(at, at + images)
        for seen in (0, at // 3, at // 2, at - 1):
            assert revised.progress(seen) == plan.progress(seen)
            assert revised.epoch_progress(seen) == plan.epoch_progress(seen)
        assert plan.revisions == revised.revisions[:-1]
        assert [revised.images_at(seen) for seen in (at - 1, at)] == [
            plan.images_at(at - 1),
            at + images,
        ]
        restored = Plan(**dataclasses.asdict(revised) | {"revisions": revised.revisions})
        assert restored == revised

    @given(plans(), st.data())
    def test_per_epoch_progress_is_that_of_the_epochs_start(
        self, plan: Plan, data: st.DataObject
    ) -> None:
        seen = data.draw(st.integers(0, plan.total))
        value = plan.epoch_progress(seen)
        if plan.images_at(seen) < 2 * plan.epoch:
            assert value == plan.progress(seen)
        else:
            assert value == plan.progress(seen - seen % plan.epoch)
            assert value <= plan.progress(seen)

    def test_a_revision_beyond_two_epochs_leaves_the_rates_before_it(self) -> None:
        """Per-epoch schedules then begin; a repeat knows the revision from its first step on."""
        plan = Plan(images=160, batch=10, epoch=100, requested="1 minute")
        revised = plan.revise(80, 400)
        assert [revised.epoch_progress(seen) for seen in range(0, 80, 10)] == [
            seen / 160 for seen in range(0, 80, 10)
        ]
        assert revised.epoch_progress(90) == 0


class TestClock:
    """The clock in a fake time: a step takes as long as the test says."""

    def finish(
        self,
        monkeypatch: pytest.MonkeyPatch,
        seconds: Callable[[int], float],
        planned: int,
        budget: float,
    ) -> tuple[float, Plan]:
        """The time that a training takes whose step after `n` images takes seconds(n), and its
        last plan."""
        now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        clock = Clock(now + budget, 0)
        plan = Plan(images=planned, batch=10, epoch=100, requested=f"{budget} s")
        seen = 0
        while seen < plan.total:
            now += seconds(seen)
            seen += 10
            if (total := clock.revised(plan, seen)) is not None:
                assert total >= seen
                plan = plan.revise(seen, total)
        return now - 1000.0, plan

    @pytest.mark.parametrize("factor", [0.2, 0.5, 0.9, 1.1, 2.0, 5.0])
    def test_a_wrong_estimate_is_made_good(
        self, factor: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 0.01 * factor, planned=60_000, budget=60)
        assert 57 < took < 61.5
        assert plan.revisions

    def test_a_right_estimate_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 0.01, planned=60_000, budget=60)
        assert plan.revisions == ()
        assert took == pytest.approx(60)

    def test_a_machine_that_slows_down_half_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        took, _ = self.finish(
            monkeypatch, lambda seen: 0.01 if seen < 30_000 else 0.03, planned=60_000, budget=60
        )
        assert 57 < took < 62

    def test_a_slow_spell_does_not_end_it_early(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For 12 seconds all is thirty times slower, as on a machine that does something else for a
        while."""
        took, plan = self.finish(
            monkeypatch,
            lambda seen: 0.3 if 30_000 <= seen < 30_400 else 0.01,
            planned=60_000,
            budget=60,
        )
        assert 57 < took < 61.5
        assert plan.total == pytest.approx(48_400, rel=0.05)  # what there was time for
        assert len(plan.revisions) <= 12

    def test_a_rate_that_comes_and_goes_is_no_reason_to_plan_anew(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        took, plan = self.finish(
            monkeypatch,
            lambda seen: 0.008 if seen // 3000 % 2 else 0.012,
            planned=360_000,
            budget=360,
        )
        assert 355 < took < 365
        assert not [at for at, _ in plan.revisions if at < 200_000]

    def test_steps_longer_than_the_whole_budget_end_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 30.0, planned=1000, budget=20)
        assert (took, plan.total) == (30.0, 10)

    def test_without_a_deadline_nothing_is_revised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(None, 0)
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        assert clock.revised(Plan(images=10, batch=1, epoch=1, requested=""), 5) is None

    def test_minutes_count_from_the_commands_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Time spent before training is deducted, and the whole plan is made beforehand."""
        deadlines: list[float] = []
        monkeypatch.setattr(
            launch, "train_run", lambda *_, deadline, **__: deadlines.append(deadline) or 0
        )
        for minutes, spent in ((10.0, 0.0), (10.0, 480.0)):
            run = train(
                "mlp/tiny", tmp_path / f"{spent}", minutes=minutes, started=time.time() - spent
            )
            left = minutes * 60 - spent
            assert left - 12 < deadlines[-1] - time.monotonic() < left
            assert run.card.plan.requested == "10 minutes"
        whole, short = (Run.open(tmp_path / name).card.plan.images for name in ("0.0", "480.0"))
        assert short < whole / 2

    def test_more_time_is_reserved_for_the_end_with_more_images(self, tiny_run: Run) -> None:
        card = tiny_run.card
        assert job.finishing_seconds(card) == pytest.approx(job.FINISH_SECONDS, abs=0.2)
        many = dataclasses.replace(card.data, images=10_000)
        large = dataclasses.replace(
            card, data=many, image=ImageSpec(height=256, width=256, channels=3)
        )
        seconds = 10_000 * 256 * 256 * 3 / job.NEAREST_RATE
        assert job.finishing_seconds(large) == pytest.approx(job.FINISH_SECONDS + seconds)
        mirrored = dataclasses.replace(large, data=dataclasses.replace(many, flip=True))
        assert job.finishing_seconds(mirrored) == pytest.approx(job.FINISH_SECONDS + 2 * seconds)

    @pytest.mark.parametrize("spent", [3.0, 11.0, 67.0, 700.0])
    def test_the_minutes_that_the_message_names_are_enough(
        self, spent: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
        with pytest.raises(SettingError, match="too short") as caught:
            train("mlp/tiny", tmp_path / "run", minutes=0.01, started=time.time() - spent)
        enough = float(str(caught.value).split()[-1])
        train("mlp/tiny", tmp_path / "run", minutes=enough, started=time.time() - spent)

    def test_no_step_is_begun_that_would_end_too_late(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 8.0, planned=1000, budget=60)
        assert (took, plan.total) == (56.0, 70)
        assert len({total for _, total in plan.revisions}) == len(plan.revisions)

    def test_a_training_by_the_clock_resumes_its_plan_without_measuring_again(
        self,
        tmp_path: Path,
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        stop_after(40)
        command = ("train", "mlp/tiny", "--minutes", "9", "--out", "run", "--threads", "1")
        assert cli_run(*command).code == 130
        planned = Run.open(tmp_path / "run").card.plan
        monkeypatch.setattr(job, "choose", lambda *_, **__: pytest.fail("measured again"))
        stop_after(10)
        assert cli_run(*command).code == 130
        assert Run.open(tmp_path / "run").card.plan == planned
        assert state(tmp_path / "run")["images_seen"] == 50 * 16


def test_minutes_are_not_spent_on_an_extractor_that_is_yet_to_be_trained(
    pictures: Path, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = extractor_files.learn_classes
    monkeypatch.setattr(
        extractor_files, "learn_classes", lambda *_, **__: pytest.fail("trained within the minutes")
    )
    words = ["train", "cgan/tiny", "--data", pictures, "--evaluate-every", "auto", "--minutes"]
    done = cli_run(*words, 0.05)
    assert "--minutes 0.05 is too short" in done.error
    assert (
        "not evaluated during training: an extractor must be trained first, for up to 180 of"
        in done.err
    )
    again = shlex.split(done.err.partition("train it before with ")[2].partition("\n")[0])
    monkeypatch.setattr(extractor_files, "learn_classes", learn)
    for name in ("EPOCHS", "MIN_CLASSIFIER_STEPS"):
        monkeypatch.setattr(extractor_files, name, 1)
    assert cli_run(*again[1:]).code == 0
    assert extractors.is_available(data.load_dataset(pictures))


def test_minutes_count_from_the_start_of_the_process(environment: dict[str, str]) -> None:
    before, rounding = time.time(), 2.0  # psutil knows the machine's start in whole seconds
    code = "from ganvas.commands.options import process_start; print(process_start())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert before - rounding < float(done.stdout) < time.time() + rounding
    assert psutil.boot_time() <= process_start() < before


def test_numbers_too_small_for_full_precision_count_as_zero() -> None:
    torch.set_flush_denormal(False)
    tiny = torch.full((8,), 2e-38)
    assert bool((tiny * 0.25 > 0).all())
    machine.prepare_cpu()
    assert bool((tiny * 0.25 == 0).all())


class TestMeasuring:
    """Measurements before a training, on a fake clock: a step takes as long as the test says."""

    @pytest.fixture
    def slow(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[Callable[[int], float]], list[int]]:
        """`slow(seconds)`: a step on n threads takes seconds(n); the list of all steps' threads."""

        def call(seconds: Callable[[int], float]) -> list[int]:
            now, steps = time.time(), []

            def step(*_: object) -> None:
                nonlocal now
                now += seconds(torch.get_num_threads())
                steps.append(torch.get_num_threads())

            monkeypatch.setattr(benchmark, "take_step", step)
            for clock in ("perf_counter", "monotonic", "time"):
                monkeypatch.setattr(time, clock, lambda: now)
            return steps

        return call

    @pytest.mark.parametrize(
        ("seconds", "limit", "chosen", "most"),
        [
            (lambda threads: threads * 0.1, 60.0, 1, 80),  # all are tried
            (lambda threads: 8.0 / threads, 60.0, 8, 80),
            (lambda threads: 70.0, 60.0, 8, 1),  # the first step has used it up
            (lambda threads: 3 + 1 / threads, 60.0, 8, 20),  # the second count is cut short
        ],
    )
    def test_it_ends_with_its_budget(
        self,
        seconds: Callable[[int], float],
        limit: float,
        chosen: int,
        most: int,
        slow: Callable[..., list[int]],
    ) -> None:
        steps = slow(seconds)
        settings = {"precision": "fastest", "gamma": 1, "penalty_every": 8}
        prepared = preflight.prepare(Request(recipe="r3gan/tiny", settings=settings), "cpu")
        choice = benchmark.choose(prepared, most=8, seconds=limit)
        assert (choice.threads, choice.precision) == (chosen, "32")
        assert choice.seconds == pytest.approx(seconds(chosen))
        assert len(steps) <= most
        assert sum(map(seconds, steps)) <= limit + seconds(steps[-1])

    def test_measuring_takes_at_most_a_tenth_of_the_minutes(
        self, slow: Callable[..., list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A step too slow for them is refused, with minutes that suffice."""
        monkeypatch.setattr(launch, "train_run", lambda *_, **__: pytest.fail("trained"))
        steps = slow(lambda _: 20.0)
        with pytest.raises(
            SettingError,
            match=r"^--minutes 5 is too short: a step of mlp/tiny on 28x28 .*takes 20 s",
        ) as e:
            train("mlp/tiny", tmp_path / "run", minutes=5.0, threads=2)
        assert len(steps) <= 3
        assert "--size" in str(e.value)
        assert not (tmp_path / "run").exists()
        enough = float(str(e.value).partition("give at least ")[2].split(",")[0])
        assert 7 < enough < 8

    def test_measured_networks_are_freed_before_training(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warmups: list[weakref.ref[benchmark.Warmup]] = []
        make = benchmark.Warmup.__init__

        def noted(self: benchmark.Warmup, *arguments: Any) -> None:
            warmups.append(weakref.ref(self))
            make(self, *arguments)

        def trained(*_: object, **__: object) -> int:
            gc.collect()
            assert [warmup() for warmup in warmups] == [None]
            return 0

        monkeypatch.setattr(benchmark.Warmup, "__init__", noted)
        monkeypatch.setattr(launch, "train_run", trained)
        train("mlp/tiny", tmp_path / "run", minutes=5.0)
