"""Evaluations during training: what they keep, and that they change nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganvas.data import load
from ganvas.errors import MetricError
from ganvas.evaluation import evaluate, extractors, history
from ganvas.evaluation.extractors import Features
from ganvas.evaluation.result import EvaluationResult
from ganvas.launch import launch
from ganvas.recipe import ImageSpec
from ganvas.runs.request import Request, read_config, to_toml
from ganvas.runs.run import Run
from ganvas.runs.weights import open_generator
from ganvas.sampling.sampler import Sampler
from ganvas.training import loop
from ganvas.training.validation import Validation
from ganvas.views.run_list import list_runs
from helpers.common import assert_same_tree, noise_images, refusal, state, train
from helpers.judged import Pooled, verdict
from helpers.validated import AT, EVERY, PLAN, lines

pytestmark = pytest.mark.usefixtures("judge")


class TestKept:
    def test_each_evaluation_is_a_line_with_its_protocol(
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

    def test_the_scores_equal_those_of_a_later_evaluation(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evaluate, "cores", lambda: 2)  # other than the training's threads
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

    def test_the_user_sees_a_line_for_each_evaluation(
        self, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        done = cli_run(
            "train", "cgan/tiny", "--images", 320, "--out", "run", "--evaluate-every", "10 steps"
        )
        assert done.out == "run\n"
        shown = done.err.splitlines()
        (first,) = [
            line
            for line in shown
            if line.startswith("evaluating every 160 images and at the end: 200 ")
        ]
        assert re.search(r", \d+\.\d s each, after \d+\.\d s of preparation$", first)
        at = [
            line
            for line in shown
            if line.startswith(("at 160 images: FID ", "at 320 images: FID "))
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
            f"best: FID {best['fid']:.3g} at {best['images']} images, run/best.safetensors" in shown
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


class TestFailures:
    def test_too_few_images_are_reported_once_and_training_continues(
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
        monkeypatch.setattr(load, "load_dataset", lambda *_, **__: one)
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

    def test_a_failed_evaluation_does_not_stop_the_next(
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

    def test_the_same_failure_is_reported_once(self, tiny_run: Run) -> None:
        shown: list[str] = []

        def judge(sampler: Sampler) -> EvaluationResult:
            raise MetricError("bad features")

        evaluation = Validation(judge, 10.0, 0.0, shown.append)
        for seen in (10, 20):
            assert evaluation.evaluate(tiny_run, tiny_run.sampler(), seen, 1.0) is None
        assert shown == ["not evaluated at 10 images: bad features"]

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
    def test_a_wrong_interval_is_refused(
        self, text: str, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run("train", "mlp/tiny", "--out", "run", f"--evaluate-every={text}")
        assert f"--evaluate-every '{text}': expected an interval" in done.error
        assert not (tmp_path / "run").exists()
        assert "evaluate-every" in refusal(lambda: Request(evaluate_every=text))


def test_toml_and_recipe_json_keep_the_interval(tmp_path: Path) -> None:
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

    def take(images: torch.Tensor) -> Features:
        return Features(judge(images).features, torch.eye(10)[images.flatten(1).long().sum(1) % 10])

    digits = replace(judge.extractor(), name="digits", classes=ten, take=take)
    stacked = extractors.per_channel(digits)
    monkeypatch.setattr(extractors, "find_extractor", lambda *_, **__: stacked)
    numbers = tuple(f"{number:03d}" for number in range(1000))
    stacks = noise_images(ImageSpec(height=8, width=8, channels=3, classes=numbers), 1000)
    monkeypatch.setattr(load, "load_dataset", lambda *_, **__: stacks)
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
