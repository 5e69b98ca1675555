"""ganvas evaluate: scores, floor, protocol and notes of a run, a generator or images."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.evaluation import history
from ganvas.evaluation.evaluate import evaluate
from ganvas.runs.run import Run
from ganvas.system import seeding
from helpers.judged import Pooled, evaluate_images, evaluate_pooled, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")


KEYS = {"fid", "kid", "precision", "recall", "density", "coverage", "class_kl", "label_accuracy"}
PROTOCOL = set("extractor extractor_sha256 n_real n_fake n_prdc split resize seed versions".split())


class TestReport:
    def test_one_json_object_with_every_score_its_floor_and_protocol(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        done = cli_run("evaluate", copy(tiny_run), "--n", 300, "--json")
        assert done.code == 0, done.err
        result = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert result.keys() >= KEYS | {
            "floor",
            "protocol",
            "notes",
            "kid_std",
            "inception_score",
            "per_class",
        }
        assert result["floor"].keys() >= KEYS
        assert result["protocol"].keys() >= PROTOCOL
        for scores in (result, result["floor"]):
            assert all(isinstance(scores[key], (int, float)) for key in KEYS), scores
        protocol = result["protocol"]
        assert protocol["extractor"] == "digits"
        assert len(protocol["extractor_sha256"]) == 64
        assert (protocol["n_real"], protocol["n_fake"], protocol["n_prdc"], protocol["k"]) == (
            1000,
            300,
            300,
            5,
        )
        assert (protocol["split"], protocol["resize"], protocol["seed"]) == ("test", "none", 0)
        assert protocol["versions"]["torch"] == torch.__version__
        assert list(result["per_class"]) == list("0123456789")
        assert done.err  # progress

    def test_a_run_that_hardly_trained_is_far_from_the_floor(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        result = evaluate(copy(tiny_run), n=300, quiet=True)
        floor = result.floor
        assert result.fid is not None
        assert floor.fid is not None
        assert result.fid > 20 * floor.fid
        assert floor.coverage == pytest.approx(1, abs=0.1)
        assert floor.label_accuracy is not None
        assert floor.label_accuracy > 0.9 > 0.5 > (result.label_accuracy or 0)
        assert result.real_accuracy is not None
        assert result.real_accuracy > 0.9

    def test_the_table_has_scores_floor_protocol_and_notes(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        text = cli_run("evaluate", copy(tiny_run), "--n", 300).out
        for name in (
            "FID",
            "KID",
            "precision",
            "recall",
            "density",
            "coverage",
            "class KL",
            "label accuracy",
            "floor",
        ):
            assert name in text
        assert "300 judged against 1,000 real (test of mnist-5k" in text
        assert "note: 4,000 of 5,000 real MNIST digits, 400 of each for training" in text
        assert "note: 1,000 of 5,000 real MNIST digits" in text

    def test_brackets_in_a_path_are_no_markup(
        self,
        cli_run: Callable[..., Any],
        training: Dataset,
        pooled: Pooled,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(
            "ganvas.evaluation.extractors.find_extractor", lambda *_, **__: pooled.extractor()
        )
        for name in ("fakes [final].npz", "fakes [blah].npz"):
            npz(Path(name), training.images[:30])
            assert f" {name} " in cli_run("evaluate", name, "--data", "mnist-5k").out

    def test_a_result_is_kept_with_the_run_and_the_same_twice(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        for _ in range(2):
            result = evaluate(run, n=300, quiet=True)
        first, second = (run.path / "metrics.jsonl").read_text().splitlines()
        assert first == second == result.to_json()
        assert run.read_metrics()[1]["fid"] == result.fid
        assert history.last_result(run.path) == result

    def test_a_run_a_generator_and_their_images_get_the_same_scores(
        self, tiny_run: Run, copy: Callable[[Run], Path], tmp_path: Path
    ) -> None:
        run = evaluate_pooled(copy(tiny_run), n=200)
        file = evaluate_pooled(tiny_run.generator_file, n=200)
        assert dataclasses.replace(file, source=run.source, kind=run.kind) == run
        samples = tiny_run.sample(n=200)
        for name in ("made.npz", "made.zip", "made"):
            samples.save(tmp_path / name)
            images = evaluate_pooled(tmp_path / name, data="mnist-5k")
            assert images.protocol.n_fake == 200
            assert images.fid == run.fid, name
            assert images.precision == run.precision

    def test_any_function_from_images_to_features_will_do(self, tiny_run: Run) -> None:
        def means(images: torch.Tensor) -> torch.Tensor:
            return images.float().mean((2, 3)) * factor

        factor = 1
        result = evaluate(tiny_run.generator_file, n=50, extractor=means, quiet=True)
        factor = 2  # nothing of the first call is kept, whatever the object's hash takes in
        twice = evaluate(tiny_run.generator_file, n=50, extractor=means, quiet=True)
        assert twice.fid == pytest.approx(4 * (result.fid or 0))
        assert result.protocol.extractor == "means"
        assert result.fid is not None
        assert result.label_accuracy is None
        assert any("means knows no classes" in note for note in result.notes)

    def test_seeds_give_means_and_spreads(self, tiny_run: Run) -> None:
        each = [evaluate_pooled(tiny_run.generator_file, seed=seed, n=150) for seed in (5, 6, 7)]
        result = evaluate_pooled(tiny_run.generator_file, seed=5, seeds=3, n=150)
        for name in ("fid", "kid", "coverage"):
            values = [getattr(one, name) for one in each]
            assert getattr(result, name) == pytest.approx(np.mean(values))
            assert getattr(result.spread, name) == pytest.approx(np.std(values, ddof=1))
        assert len({one.fid for one in each}) == 3
        assert (result.seeds, result.protocol.seed, each[0].spread) == (3, 5, None)

    def test_a_set_smaller_than_n_is_used_whole_and_a_larger_one_in_part(
        self, held_out: Dataset
    ) -> None:
        some = held_out.rows(torch.arange(400))
        assert evaluate_pooled(some, data="mnist-5k").protocol.n_fake == 400
        part = [evaluate_pooled(some, n=200, seed=seed, data="mnist-5k") for seed in (0, 0, 1)]
        assert [one.protocol.n_fake for one in part] == [200] * 3
        assert part[0].fid == part[1].fid != part[2].fid
        order = torch.randperm(
            400, generator=seeding.generator(0, "judged", 0)
        )  # seeds take parts without one in common
        others = evaluate_pooled(some.rows(order[200:]), data="mnist-5k")
        both = evaluate_pooled(some, n=200, seeds=2, data="mnist-5k")
        assert both.fid == pytest.approx((part[0].fid + others.fid) / 2)
        with pytest.raises(
            SettingError,
            match=r"takes 3 parts of 200, and .* holds 400 images: give --n 133 or less",
        ):
            evaluate_pooled(some, n=200, seeds=3, data="mnist-5k")

    def test_an_inception_score_of_few_images_gets_a_note(self, held_out: Dataset) -> None:
        note = (
            "inception_score is of 40 images in ten parts: it cannot exceed 4, and is too low below"
            " 1,000"
        )
        result = evaluate_images(held_out.images[:40], data="mnist-5k")
        assert note in result.notes
        assert result.inception_score is not None
        assert result.inception_score <= 4
        assert not any(
            "inception_score" in note
            for note in evaluate_images(held_out.images, data="mnist-5k").notes
        )

    def test_unlabelled_images_have_no_label_accuracy_but_the_other_scores(
        self, training: Dataset
    ) -> None:
        result = evaluate_images(training.images[:300], data="mnist-5k")
        assert (result.label_accuracy, result.per_class) == (None, None)
        assert result.class_kl is not None
        assert result.inception_score is not None
        assert result.inception_score > 4

    def test_an_unconditional_run(self, unconditional_run: Run) -> None:
        result = evaluate(unconditional_run.generator_file, n=150, quiet=True)
        assert result.label_accuracy is None
        assert result.floor.label_accuracy is not None
        assert result.class_kl is not None

    def test_slow_packages_are_not_imported(
        self, tiny_run: Run, environment: dict[str, str]
    ) -> None:
        program = """
import sys
from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.extractors import Extractor, Features
take = lambda x: Features(x.float().mean((2, 3)), None)
evaluate(sys.argv[1], n=20, extractor=Extractor("means", "0", (), None, "none", (), take))
assert not {"torchvision", "mlxtend", "matplotlib", "tensorboard"} & set(sys.modules)
"""
        command = [sys.executable, "-c", program, str(tiny_run.generator_file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
