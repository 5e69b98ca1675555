"""Evaluations of trainings that are stopped, killed and resumed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganvas.evaluation import evaluate
from ganvas.evaluation.result import EvaluationResult
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.training.validation import Validation
from helpers.common import assert_same_run, state, train
from helpers.judged import verdict
from helpers.validated import EVERY, PLAN, lines

pytestmark = pytest.mark.usefixtures("judge")


class TestResume:
    def whole(self, tmp_path: Path, **more: Any) -> Run:
        return train("cgan/tiny", tmp_path / "whole", **EVERY, **more)

    def assert_same(self, whole: Run, run: Run) -> None:
        assert_same_run(whole.path, run.path)
        assert lines(whole.path) == lines(run.path)
        assert whole.best_file.read_bytes() == run.best_file.read_bytes()

    def test_a_stopped_run_is_resumed_without_repeating_the_option(
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

    def test_evaluations_later_than_the_state_are_dropped_and_others_kept(
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

    def test_scores_of_another_protocol_do_not_count_for_the_best(self, tmp_path: Path) -> None:
        run = train("mlp/tiny", tmp_path / "run", images=16.0)
        shown: list[str] = []
        fids = iter([0.5, 7.0, 6.0, 8.0])

        def judge(sampler: Sampler) -> EvaluationResult:
            own = verdict(next(fids))
            return replace(own, protocol=replace(own.protocol, extractor_sha256=other))

        other = verdict(1.0).protocol.extractor_sha256
        evaluation = Validation(judge, 10.0, 0.0, shown.append)
        evaluation.evaluate(run, run.sampler(), 10, 1.0)
        assert evaluation.best == (0.5, 10)
        run.best_file.unlink()
        other = "0" * 64
        evaluation = Validation(judge, 10.0, 0.0, shown.append)
        evaluation.resume(run)
        assert evaluation.best == (0.5, 10)
        for seen, best in ((20, (7.0, 20)), (30, (6.0, 30)), (40, (6.0, 30))):
            evaluation.evaluate(run, run.sampler(), seen, 1.0)
            assert evaluation.best == best
            assert run.best_file.exists()
        assert [text for text in shown if "protocol" in text] == [
            "protocol changed: earlier scores do not count for the best generator"
        ]
        again = Validation(judge, 10.0, 0.0, shown.append)
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

    def test_an_interrupted_evaluation_is_finished_first(
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
