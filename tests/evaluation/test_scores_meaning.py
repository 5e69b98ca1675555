"""Scores of an evaluation respond to real digits that are spoiled in one way each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganvas.data.dataset import Dataset
from ganvas.data.stacked import NUMBERS
from ganvas.evaluation import classifier, extractors
from ganvas.evaluation.evaluate import evaluate
from ganvas.runs.run import Run
from helpers.common import train
from helpers.judged import digits, evaluate_images, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")


@pytest.fixture(scope="module")
def stacked() -> Dataset:
    """1,000 stacks of held-out digits, one of each number."""
    source, rng = digits("test"), torch.Generator().manual_seed(0)
    numbers = torch.arange(1000)
    of = [(source.labels == d).nonzero().flatten() for d in range(10)]
    planes = []
    for power in (100, 10, 1):
        rows = [
            int(of[d][torch.randint(100, (), generator=rng)])
            for d in (numbers // power % 10).tolist()
        ]
        planes.append(source.images[rows])
    return Dataset("stacks", torch.cat(planes, 1), numbers, NUMBERS)


class TestMeaning:
    """Real digits, spoiled in one way each."""

    def test_other_real_images_are_at_the_floor(self, training: Dataset) -> None:
        result = evaluate_images(training.images[:400], training.labels[:400])
        assert result.fid == pytest.approx(result.floor.fid, rel=0.7)
        assert result.label_accuracy == pytest.approx(result.real_accuracy, abs=0.05)
        for name in ("precision", "recall", "coverage", "density"):
            assert getattr(result, name) == pytest.approx(getattr(result.floor, name), abs=0.15)
        assert result.class_kl == pytest.approx(0, abs=0.02)

    def test_memorised_training_images_have_excellent_scores_and_the_copy_check_finds_them(
        self, training: Dataset, tmp_path: Path
    ) -> None:
        result = evaluate_images(
            training.images[:400], training.labels[:400], copies=True, out=tmp_path / "pairs.png"
        )
        assert result.fid < 2 * result.floor.fid
        assert result.recall == pytest.approx(result.floor.recall, abs=0.1)
        assert result.copies.verdict == "copier"
        assert (result.copies.ratio, result.copies.identical) == (0, 400)

    def test_a_set_against_itself(self, training: Dataset) -> None:
        some = dataclasses.replace(
            training, images=training.images[:600], labels=training.labels[:600], name="some"
        )
        result = evaluate(some, against=some, quiet=True)
        assert result.fid == pytest.approx(0, abs=1e-6)
        assert (result.precision, result.recall, result.coverage, result.class_kl) == (1, 1, 1, 0)
        assert result.protocol.split == "against"
        assert result.floor.fid is not None
        assert result.floor.fid > 0.01

    def test_a_dropped_class(self, training: Dataset) -> None:
        kept = training.labels != 3
        whole = evaluate_images(training.images[:400], training.labels[:400])
        result = evaluate_images(training.images[kept][:400], training.labels[kept][:400])
        assert result.fid > 2 * whole.fid
        assert result.class_kl == pytest.approx(np.log(10 / 9), abs=0.05)
        assert result.coverage < whole.coverage - 0.05
        assert result.precision > whole.precision - 0.05
        assert result.per_class["3"] is None

    def test_noise(self, training: Dataset) -> None:
        noise = torch.randint(
            0, 256, (500, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
        )
        result = evaluate_images(noise)
        assert result.fid > 50 * result.floor.fid
        assert result.precision < 0.1
        assert result.coverage < 0.1

    def test_wrong_labels(self, training: Dataset) -> None:
        labels = training.labels[:500].clone()
        labels[labels == 4] = 5
        result = evaluate_images(training.images[:500], labels)
        assert result.per_class["5"] == pytest.approx(0.5, abs=0.1)
        assert result.per_class["4"] is None
        assert result.per_class["7"] > 0.8

    def test_images_sorted_by_class_get_the_scores_of_the_same_in_another_order(
        self, training: Dataset
    ) -> None:
        images, labels = training.images[:400], training.labels[:400]
        order = labels.argsort(stable=True)
        mixed, ordered = (
            evaluate_images(images, labels),
            evaluate_images(images[order], labels[order]),
        )
        assert ordered.inception_score == pytest.approx(mixed.inception_score, rel=0.1)
        assert ordered.coverage == pytest.approx(mixed.coverage, abs=0.06)


class TestGanTrain:
    @pytest.fixture(autouse=True)
    def quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(classifier, "GAN_TRAIN_STEPS", 40)

    def test_images_as_good_as_real_teach_as_much_and_wrong_labels_nothing(self) -> None:
        def bars(seed: int, turned: int = 0) -> Dataset:
            images = torch.randint(
                0,
                60,
                (200, 1, 10, 10),
                dtype=torch.uint8,
                generator=torch.Generator().manual_seed(seed),
            )
            labels = torch.arange(200) % 2
            images[labels == 0, :, 4:6] = 200
            images[labels == 1, :, :, 4:6] = 200
            return Dataset("bars", images, (labels + turned) % 2, ("lying", "standing"))

        good, bad = (classifier.gan_train(bars(1, turned), bars(2), bars(3)) for turned in (0, 1))
        assert good.images == 200
        assert good.reals == bad.reals > 0.9
        assert good.fakes > 0.9
        assert bad.fakes < 0.1

    def test_it_is_reported(
        self, cli_run: Callable[..., Any], tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classifier, "GAN_TRAIN_STEPS", 2)
        done = cli_run("evaluate", tiny_run.generator_file, "--n", 150, "--gan-train", "--json")
        result = json.loads(done.out)["gan_train"]
        assert result["images"] == 150
        assert 0 <= result["fakes"] <= 1
        assert 0 <= result["reals"] <= 1


class TestModes:
    def test_modes_and_reverse_kl_beside_a_perfect_sampler(self, stacked: Dataset) -> None:
        half = (stacked.labels < 500).nonzero().flatten()
        made = stacked.rows(half)
        result = evaluate(made, against=stacked, prdc_n=200, quiet=True)
        assert result.modes is not None
        assert result.reverse_kl is not None
        assert 400 < result.modes < 600  # 500, but for errors of the extractor
        assert result.reverse_kl == pytest.approx(np.log(2), abs=0.25)
        assert result.floor.modes == pytest.approx(1000 * (1 - np.exp(-0.5)), rel=0.02)
        assert result.protocol.n_modes == 500
        assert result.label_accuracy is not None
        assert result.label_accuracy > 0.6
        assert result.protocol.extractor == "digits x 3"

    def test_a_generators_modes_are_those_of_26000_images_whatever_n_is(
        self, stacked: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert extractors.MODES_N == 26_000
        monkeypatch.setattr(extractors, "MODES_N", 120)
        file = npz(
            tmp_path / "stacks.npz",
            stacked.images,
            stacked.labels,
            classes=np.array(NUMBERS),
        )
        result = evaluate(
            train("mlp/tiny", tmp_path / "run", data=file, images=32.0), n=20, quiet=True
        )
        assert (result.protocol.n_modes, result.protocol.n_fake) == (120, 20)
        assert result.modes is not None
        assert result.floor.modes is not None
        assert result.modes < 20 < result.floor.modes < 120

    def test_of_images_sorted_by_number_some_of_all_are_used(
        self, stacked: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        some = stacked.rows(torch.arange(0, 1000, 5))
        result = evaluate(some, against=some, n=40, prdc_n=20, quiet=True)
        assert result.per_class is not None
        assert (
            len(
                {number[0] for number, accuracy in result.per_class.items() if accuracy is not None}
            )
            > 7
        )
        monkeypatch.setattr(extractors, "MODES_N", 50)
        part = evaluate(some, against=some, prdc_n=20, quiet=True)
        assert (part.protocol.n_modes, part.protocol.n_fake) == (50, 200)
        assert part.modes is not None
        assert 40 < part.modes <= 50  # of as many as the floor's

    def test_other_data_have_no_modes(self) -> None:
        result = evaluate_images(digits().images[:40], digits().labels[:40])
        assert (result.modes, result.floor.reverse_kl, result.protocol.n_modes) == (
            None,
            None,
            None,
        )
