"""Evaluations during training: when, what they keep, that they change nothing, and that they stay
cheap."""

from __future__ import annotations

import itertools
import json
import math
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganvas.errors import MetricError
from ganvas.evaluation import evaluate, extractors, history
from ganvas.evaluation.extractors import Features
from ganvas.evaluation.result import EvaluationResult
from ganvas.launch import launch
from ganvas.plan import Plan
from ganvas.recipe import ImageSpec
from ganvas.runs.request import Request, read_config, to_toml
from ganvas.runs.run import Run
from ganvas.runs.weights import open_generator
from ganvas.sampling.sampler import Sampler
from ganvas.training import loop, validation
from ganvas.training.clock import Clock
from ganvas.training.validation import Validation
from ganvas.views.run_list import list_runs
from helpers.common import assert_same_run, assert_same_tree, noise_images, refusal, state, train
from helpers.judged import Pooled, verdict

PLAN: dict[str, Any] = {"images": 320.0, "seed": 3}
EVERY: dict[str, Any] = PLAN | {"evaluate_every": "96 images"}
AT = [96, 192, 288, 320]


@pytest.fixture(autouse=True)
def judge(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Pooled:
    """Few images, and features that cost nothing."""
    pooled = Pooled()
    monkeypatch.setattr(extractors, "find_extractor", lambda *_, **__: pooled.extractor())
    monkeypatch.setattr(validation, "VALIDATION_IMAGES", 200)
    return pooled


def lines(path: Path) -> list[dict[str, Any]]:
    """A run's evaluations, but for what they cost."""
    return [
        {name: value for name, value in line.items() if "seconds" not in name}
        for line in Run.open(path).read_metrics()
    ]


class TestWhatIsKept:
    def test_a_line_each_with_its_protocol_and_at_the_end(
        self, tmp_path: Path, judge: Pooled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
        run = train("cgan/tiny", tmp_path / "run", **EVERY)
        found = run.read_metrics()
        assert [line["images"] for line in found] == AT
        log = {line["images"]: line["seconds"] for line in run.read_log()}
        for line in found:
            assert line["protocol"]["n_fake"] == 200
            assert line["protocol"]["split"] == "test"
            assert line["floor"]["fid"] < line["fid"]
            assert 0 < line["cost_seconds"] < line["seconds"] + line["cost_seconds"] < 600
            assert line["seconds"] >= log[line["images"]]
        # the floor, the measured one, and no more for each than its own
        assert judge.seen.count(200) == 2 + len(AT)

    def test_the_figures_are_those_of_an_evaluation_afterwards(self, tmp_path: Path) -> None:
        run = train("cgan/tiny", tmp_path / "run", **EVERY)
        last = history.last_result(run.path)
        again = evaluate.evaluate(run, n=200, prdc_n=200, quiet=True)
        assert history.stale_note(run.path, last) is None
        for name in (
            "fid",
            "kid",
            "recall",
            "precision",
            "floor",
            "protocol",
            "weights_sha256",
            "asked",
        ):
            assert getattr(again, name) == getattr(last, name), name

    def test_the_best_generator_is_kept_with_its_card(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fids = iter([math.inf, 3.0, 1.0, 2.0, 2.5])  # the first is the one that is measured
        monkeypatch.setattr(
            evaluate, "while_training", lambda *_, **__: lambda sampler: verdict(next(fids))
        )
        run = train("cgan/tiny", tmp_path / "run", **EVERY, settings={"weights": "192 images"})
        _, card = open_generator(run.best_file)
        _, at_192 = open_generator(run.path / "weights" / "000000192.safetensors")
        assert card.weights_sha256 == at_192.weights_sha256 != run.generator_card().weights_sha256
        assert (card.recipe, card.data) == (run.card.recipe, run.card.data)
        assert list_runs(tmp_path)[0].best_fid == 1.0

    def test_tensorboard_shows_the_figures(self, tmp_path: Path) -> None:
        run = train("cgan/tiny", tmp_path / "run", **EVERY)
        board = EventAccumulator(str(run.path / "tensorboard"))
        board.Reload()
        assert [event.step for event in board.Scalars("evaluation/fid")] == AT
        fids = [line["fid"] for line in run.read_metrics()]
        assert [event.value for event in board.Scalars("evaluation/fid")] == pytest.approx(fids)

    def test_what_the_user_reads(self, tmp_path: Path, cli_run: Callable[..., Any]) -> None:
        done = cli_run(
            "train", "cgan/tiny", "--images", 320, "--out", "run", "--evaluate-every", "10 steps"
        )
        assert done.out == "run\n"
        said = done.err.splitlines()
        (first,) = [
            line
            for line in said
            if line.startswith("evaluating every 160 images and at the end: 200 ")
        ]
        assert re.search(r", \d+\.\d s each, after \d+\.\d s of preparation$", first)
        at = [
            line for line in said if line.startswith(("at 160 images: FID ", "at 320 images: FID "))
        ]
        assert len(at) == 2
        assert "best so far" in at[0]
        assert all(
            "floor" in line and "recall" in line and "% of training time so far" in line
            for line in at
        )
        # 20 steps take less than 10 evaluations
        assert "--evaluate-every auto keeps it below" in done.err
        best = min(Run.open(tmp_path / "run").read_metrics(), key=lambda line: line["fid"])
        assert (
            f"best: FID {best['fid']:.3g} at {best['images']} images, run/best.safetensors" in said
        )
        assert cli_run("sample", "run/best.safetensors", "--n", 1, "--out", "one.png").code == 0


class TestNothingElseChanges:
    @pytest.mark.parametrize("recipe", ["cgan/tiny", "mlp/tiny", "dcgan/tiny"])
    def test_weights_and_log_are_the_same_with_and_without(
        self, recipe: str, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"images": 64.0, "seed": 3}
        torch.manual_seed(5)
        before = torch.get_rng_state()
        judged = train(recipe, tmp_path / "judged", **options, evaluate_every="1 step")
        assert torch.equal(before, torch.get_rng_state())
        plain = train(recipe, tmp_path / "plain", **options)
        assert_same_tree(state(judged.path), state(plain.path))
        assert_same_tree(judged.read_log(), plain.read_log())
        assert judged.generator_card().weights_sha256 == plain.generator_card().weights_sha256

    def test_off_by_default(self, tmp_path: Path, judge: Pooled) -> None:
        run = train("cgan/tiny", tmp_path / "run", **PLAN)
        assert judge.seen == []
        assert not (run.path / "metrics.jsonl").exists()
        assert not run.best_file.exists()


class TestGoingOn:
    def whole(self, tmp_path: Path, **more: Any) -> Run:
        return train("cgan/tiny", tmp_path / "whole", **EVERY, **more)

    def assert_same(self, whole: Run, run: Run) -> None:
        assert_same_run(whole.path, run.path)
        assert lines(whole.path) == lines(run.path)
        assert whole.best_file.read_bytes() == run.best_file.read_bytes()

    def test_stopped_and_gone_on_without_saying_so_again(
        self, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        for steps in (6, 9):  # in a step before an evaluation, and elsewhere
            stop_after(steps)
            with pytest.raises(KeyboardInterrupt):
                train("cgan/tiny", tmp_path / "run", **(EVERY if steps == 6 else {}))
        self.assert_same(self.whole(tmp_path), train(None, tmp_path / "run"))  # type: ignore[arg-type]

    def test_stopped_in_the_last_step_or_killed_in_its_evaluation(
        self, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        every: dict[str, Any] = PLAN | {"evaluate_every": "320 images"}
        stop_after(20)
        whole = train("cgan/tiny", tmp_path / "whole", **every)
        assert [line["images"] for line in lines(whole.path)] == [320]
        with monkeypatch.context() as patch:
            patch.setattr(Run, "append_metrics", lambda *_: exec("raise SystemExit"))
            with pytest.raises(SystemExit):
                train("cgan/tiny", tmp_path / "run", **every)
        assert not Run.open(tmp_path / "run").finished
        self.assert_same(whole, train("cgan/tiny", tmp_path / "run", **every))

    def test_killed_in_an_evaluation(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = self.whole(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Run, "append_metrics", lambda *_: exec("raise SystemExit"))
            with pytest.raises(SystemExit):
                train("cgan/tiny", tmp_path / "run", **EVERY)
        assert state(tmp_path / "run")["images_seen"] == 96
        assert lines(tmp_path / "run") == []
        self.assert_same(whole, train("cgan/tiny", tmp_path / "run", **EVERY))

    def test_evaluations_later_than_the_state_are_forgotten_others_stay(
        self, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        whole = self.whole(tmp_path)
        stop_after(7)
        with pytest.raises(KeyboardInterrupt):
            train("cgan/tiny", tmp_path / "run", **EVERY)
        run = Run.open(tmp_path / "run")
        by_hand = {"fid": 9.5}  # of ganvas evaluate
        for line in (by_hand, {"fid": 0.0, "images": 200, "cost_seconds": 1.0}):
            run.append_metrics(json.dumps(line))
        with open(run.path / "metrics.jsonl", "a") as file:
            file.write('{"fid": 1.0, "ima')  # cut short
        run = train("cgan/tiny", run.path, **EVERY)
        first, *rest = lines(whole.path)
        assert lines(run.path) == [first, by_hand, *rest]
        assert whole.best_file.read_bytes() == run.best_file.read_bytes()

    def test_figures_of_another_protocol_have_no_part_in_the_best(self, tmp_path: Path) -> None:
        run = train("mlp/tiny", tmp_path / "run", images=16.0)
        said: list[str] = []
        fids = iter([0.5, 7.0, 6.0, 8.0])

        def judge(sampler: Sampler) -> EvaluationResult:
            own = verdict(next(fids))
            return replace(own, protocol=replace(own.protocol, extractor_sha256=other))

        other = verdict(1.0).protocol.extractor_sha256
        evaluation = Validation(judge, 10.0, 0.0, said.append)
        evaluation.evaluate(run, run.sampler(), 10, 1.0)
        assert evaluation.best == (0.5, 10)
        run.best_file.unlink()
        other = "0" * 64
        evaluation = Validation(judge, 10.0, 0.0, said.append)
        evaluation.resume(run)
        assert evaluation.best == (0.5, 10)
        for seen, best in ((20, (7.0, 20)), (30, (6.0, 30)), (40, (6.0, 30))):
            evaluation.evaluate(run, run.sampler(), seen, 1.0)
            assert evaluation.best == best
            assert run.best_file.exists()
        assert [text for text in said if "protocol" in text] == [
            "the protocol has changed: earlier scores do not count for the best generator"
        ]
        again = Validation(judge, 10.0, 0.0, said.append)
        again.resume(run)
        assert again.best == (6.0, 30)

    def test_another_interval_or_none_may_be_asked_for(
        self, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        stop_after(7)
        with pytest.raises(KeyboardInterrupt):
            train("cgan/tiny", tmp_path / "run", **EVERY)
        stop_after(7)
        with pytest.raises(KeyboardInterrupt):
            train("cgan/tiny", tmp_path / "run", **EVERY | {"evaluate_every": "2 steps"})
        run = train("cgan/tiny", tmp_path / "run", **EVERY | {"evaluate_every": "never"})
        assert [line["images"] for line in lines(run.path)] == [96, 128, 160, 192, 224]
        assert run.card.evaluate_every is None
        assert run.finished

    def test_interrupted_in_an_evaluation_it_is_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = self.whole(tmp_path)
        with monkeypatch.context() as patch:
            make = evaluate.while_training

            def interrupted(
                *arguments: Any, **options: Any
            ) -> Callable[[Sampler], EvaluationResult]:
                judge, calls = make(*arguments, **options), 0

                def call(sampler: Sampler) -> EvaluationResult:
                    nonlocal calls
                    calls += 1
                    if calls == 3:  # the one that is measured, that at 96, and this
                        signal.raise_signal(signal.SIGINT)
                    return judge(sampler)

                return call

            patch.setattr(evaluate, "while_training", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train("cgan/tiny", tmp_path / "run", **EVERY)
        assert [line["images"] for line in lines(tmp_path / "run")] == [96, 192]
        assert state(tmp_path / "run")["images_seen"] == 192
        self.assert_same(whole, train("cgan/tiny", tmp_path / "run", **EVERY))


class TestCost:
    """In a made-up time, where a step of 10 images takes 0.01 s and an evaluation `cost` seconds."""

    def train(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        every: float | None,
        cost: float,
        budget: float | None,
    ) -> tuple[float, float, list[int], Plan]:
        """Seconds in all, seconds of evaluating, when, and the plan at the end."""
        now, run = 1000.0, train("mlp/tiny", tmp_path / "run", images=16.0)
        monkeypatch.setattr(time, "monotonic", lambda: now)

        def judge(sampler: Sampler) -> EvaluationResult:
            nonlocal now
            now += cost
            return verdict(1.0)

        said: list[str] = []
        evaluation, at, seen = Validation(judge, every, cost, said.append), [], 0
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
        said: list[str] = []
        evaluation = Validation(lambda _: verdict(1.0), None, 4.0, said.append)
        assert validation.within(9.0, evaluation) is evaluation
        assert said == []
        assert validation.within(7.0, evaluation) is None
        assert said == ["not evaluated during training: that would take 4.0 of 7.0 s"]


class TestWhatCannotBeJudged:
    def test_too_few_images_are_said_once_and_training_goes_on(
        self, pictures: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run(
            "train",
            "mlp/tiny",
            "--data",
            pictures,
            "--images",
            64,
            "--out",
            "r",
            "--evaluate-every",
            "2 steps",
        )
        assert done.code == 0
        assert done.err.count("has no held-out part") == 1
        assert done.err.count("no fid: ") == 1
        assert [line["fid"] for line in lines(tmp_path / "r")] == [None, None]
        assert lines(tmp_path / "r")[0]["kid"] is not None
        assert not Run.open(tmp_path / "r").best_file.exists()

    def test_a_single_image_is_refused_before_training_and_does_not_stop_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        one = noise_images(ImageSpec(height=8, width=8, channels=1), 1)
        for read in ("load", "load_held_out"):
            monkeypatch.setattr(launch.data, read, lambda *_, **__: one)
        run = launch.train(
            "mlp/tiny",
            out=tmp_path / "run",
            threads=1,
            images=32,
            settings={"batch": 2},
            evaluate_every="1 epoch",
        )
        assert run.finished
        assert capfd.readouterr().err.count("not evaluated during training: 1 real image") == 1

    def test_one_that_fails_on_the_way_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers: list[Any] = [
            1.0,
            MetricError("bad features"),
            RuntimeError("no convergence"),
            MetricError("bad features"),
            2.0,
        ]

        def judge(sampler: Sampler) -> EvaluationResult:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return verdict(answer)

        monkeypatch.setattr(evaluate, "while_training", lambda *_, **__: judge)
        run = train("cgan/tiny", tmp_path / "run", **EVERY)
        assert [line["images"] for line in lines(run.path)] == [320]

    def test_the_same_failure_is_said_once(self, tiny_run: Run) -> None:
        said: list[str] = []

        def judge(sampler: Sampler) -> EvaluationResult:
            raise MetricError("bad features")

        evaluation = Validation(judge, 10.0, 0.0, said.append)
        for seen in (10, 20):
            assert evaluation.evaluate(tiny_run, tiny_run.sampler(), seen, 1.0) is None
        assert said == ["not evaluated at 10 images: bad features"]

    def test_the_extractor_is_made_before_the_first_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order: list[str] = []
        find, step = extractors.find_extractor, loop.take_step
        monkeypatch.setattr(
            extractors, "find_extractor", lambda *a, **o: order.append("extractor") or find(*a, **o)
        )
        monkeypatch.setattr(loop, "take_step", lambda *a: order.append("step") or step(*a))
        train("mlp/tiny", tmp_path / "run", images=32.0, evaluate_every="auto")
        assert order == ["extractor", "step", "step"]

    @pytest.mark.parametrize("text", ["often", "5 minutes", "0 images", "-1 epochs", ""])
    def test_an_interval_that_is_none(
        self, text: str, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run("train", "mlp/tiny", "--out", "run", f"--evaluate-every={text}")
        assert f"--evaluate-every '{text}': expected an interval" in done.error
        assert not (tmp_path / "run").exists()
        assert "evaluate-every" in refusal(lambda: Request(evaluate_every=text))


def test_it_can_be_asked_for_in_toml_and_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        'recipe = "cgan/tiny"\nimages = 32\nthreads = 1\nevaluate_every = "1 step"\n'
    )
    assert read_config(tmp_path / "my.toml", None).evaluate_every == "1 step"
    assert 'evaluate_every = "1 step"' in to_toml(read_config(tmp_path / "my.toml", None))
    run = launch.train(config=tmp_path / "my.toml", out=tmp_path / "run", quiet=True)
    assert run.card.evaluate_every == "1 step"
    again = launch.train(config=run.path / "recipe.json", out=tmp_path / "again", quiet=True)
    assert [line["images"] for line in lines(again.path)] == [16, 32]
    assert lines(again.path) == lines(run.path)


def test_stacks_of_digits_are_judged_by_the_modes_of_few(
    tmp_path: Path, judge: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    ten = tuple("0123456789")
    take = lambda images: Features(
        judge(images).features, torch.eye(10)[images.flatten(1).long().sum(1) % 10]
    )  # noqa: E731
    digits = replace(judge.extractor(), name="digits", classes=ten, take=take)
    monkeypatch.setattr(extractors, "find_extractor", lambda *_, **__: digits)
    numbers = tuple(f"{number:03d}" for number in range(1000))
    stacks = noise_images(ImageSpec(height=8, width=8, channels=3, classes=numbers), 1000)
    for read in ("load", "load_held_out"):
        monkeypatch.setattr(launch.data, read, lambda *_, **__: stacks)
    (line,) = train(
        "mlp/tiny", tmp_path / "run", images=32.0, evaluate_every="1 epoch"
    ).read_metrics()
    assert line["protocol"]["n_modes"] == 200
    assert 1 < line["modes"] <= 200
    assert line["floor"]["modes"] == pytest.approx(1000 * (1 - 0.999**200), rel=0.05)


def test_two_processes(tmp_path: Path) -> None:
    """The first one judges, while the other waits."""
    one = train("cgan/tiny", tmp_path / "one", **EVERY)
    two = train("cgan/tiny", tmp_path / "two", **EVERY, processes=2)
    assert [line["images"] for line in lines(two.path)] == AT
    assert [line["fid"] for line in lines(two.path)] == pytest.approx(
        [line["fid"] for line in lines(one.path)], rel=1e-2
    )
    assert two.best_file.exists()
