"""Figures of an evaluation move when and as they should: real digits, spoiled in one way each."""

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
from ganvas.evaluation import evaluate, gan_train, stacks
from ganvas.runs.run import Run
from helpers.common import train
from helpers.judged import digits, judge, npz

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
    return Dataset("stacks", torch.cat(planes, 1), numbers, stacks.STACK_CLASSES)


class TestMeaning:
    """Real digits, spoiled in one way each."""

    def test_other_real_images_are_at_the_floor(self, training: Dataset) -> None:
        found = judge(training.images[:400], training.labels[:400])
        assert found.fid == pytest.approx(found.floor.fid, rel=0.7)
        assert found.label_accuracy == pytest.approx(found.real_accuracy, abs=0.05)
        for name in ("precision", "recall", "coverage", "density"):
            assert getattr(found, name) == pytest.approx(getattr(found.floor, name), abs=0.15)
        assert found.class_kl == pytest.approx(0, abs=0.02)

    def test_training_images_by_heart_have_excellent_figures_and_the_copy_check_tells(
        self, training: Dataset, tmp_path: Path
    ) -> None:
        found = judge(
            training.images[:400], training.labels[:400], copies=True, out=tmp_path / "pairs.png"
        )
        assert found.fid < 2 * found.floor.fid
        assert found.recall == pytest.approx(found.floor.recall, abs=0.1)
        assert found.copies.verdict == "copier"
        assert (found.copies.ratio, found.copies.identical) == (0, 400)

    def test_a_set_against_itself(self, training: Dataset) -> None:
        some = dataclasses.replace(
            training, images=training.images[:600], labels=training.labels[:600], name="some"
        )
        found = evaluate.evaluate(some, against=some, quiet=True)
        assert found.fid == pytest.approx(0, abs=1e-6)
        assert (found.precision, found.recall, found.coverage, found.class_kl) == (1, 1, 1, 0)
        assert found.protocol.split == "against"
        assert found.floor.fid is not None
        assert found.floor.fid > 0.01

    def test_a_dropped_class(self, training: Dataset) -> None:
        kept = training.labels != 3
        whole = judge(training.images[:400], training.labels[:400])
        found = judge(training.images[kept][:400], training.labels[kept][:400])
        assert found.fid > 2 * whole.fid
        assert found.class_kl == pytest.approx(np.log(10 / 9), abs=0.05)
        assert found.coverage < whole.coverage - 0.05
        assert found.precision > whole.precision - 0.05
        assert found.per_class["3"] is None

    def test_noise(self, training: Dataset) -> None:
        noise = torch.randint(
            0, 256, (500, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
        )
        found = judge(noise)
        assert found.fid > 50 * found.floor.fid
        assert found.precision < 0.1
        assert found.coverage < 0.1

    def test_wrong_labels(self, training: Dataset) -> None:
        labels = training.labels[:500].clone()
        labels[labels == 4] = 5
        found = judge(training.images[:500], labels)
        assert found.per_class["5"] == pytest.approx(0.5, abs=0.1)
        assert found.per_class["4"] is None
        assert found.per_class["7"] > 0.8

    def test_images_sorted_by_class_are_judged_like_the_same_in_another_order(
        self, training: Dataset
    ) -> None:
        images, labels = training.images[:400], training.labels[:400]
        order = labels.argsort(stable=True)
        mixed, ordered = judge(images, labels), judge(images[order], labels[order])
        assert ordered.inception_score == pytest.approx(mixed.inception_score, rel=0.1)
        assert ordered.coverage == pytest.approx(mixed.coverage, abs=0.06)


class TestGanTrain:
    @pytest.fixture(autouse=True)
    def quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gan_train, "GAN_TRAIN_STEPS", 40)

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

        good, bad = (gan_train.gan_train(bars(1, turned), bars(2), bars(3)) for turned in (0, 1))
        assert good.images == 200
        assert good.reals == bad.reals > 0.9
        assert good.fakes > 0.9
        assert bad.fakes < 0.1

    def test_it_is_reported(
        self, cli_run: Callable[..., Any], tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gan_train, "GAN_TRAIN_STEPS", 2)
        done = cli_run("evaluate", tiny_run.generator_file, "--n", 150, "--gan-train", "--json")
        found = json.loads(done.out)["gan_train"]
        assert found["images"] == 150
        assert 0 <= found["fakes"] <= 1
        assert 0 <= found["reals"] <= 1


class TestModes:
    def test_modes_and_reverse_kl_beside_a_perfect_sampler(self, stacked: Dataset) -> None:
        half = (stacked.labels < 500).nonzero().flatten()
        made = stacked.rows(half)
        found = evaluate.evaluate(made, against=stacked, prdc_n=200, quiet=True)
        assert found.modes is not None
        assert found.reverse_kl is not None
        assert 400 < found.modes < 600  # 500, but for errors of the extractor
        assert found.reverse_kl == pytest.approx(np.log(2), abs=0.25)
        assert found.floor.modes == pytest.approx(1000 * (1 - np.exp(-0.5)), rel=0.02)
        assert found.protocol.n_modes == 500
        assert found.label_accuracy is not None
        assert found.label_accuracy > 0.6
        assert found.protocol.extractor == "digits x 3"

    def test_a_generators_modes_are_those_of_26000_images_whatever_n_is(
        self, stacked: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert stacks.MODES_N == 26_000
        monkeypatch.setattr(stacks, "MODES_N", 120)
        file = npz(
            tmp_path / "stacks.npz",
            stacked.images,
            stacked.labels,
            classes=np.array(stacks.STACK_CLASSES),
        )
        found = evaluate.evaluate(
            train("mlp/tiny", tmp_path / "run", data=file, images=32.0), n=20, quiet=True
        )
        assert (found.protocol.n_modes, found.protocol.n_fake) == (120, 20)
        assert found.modes is not None
        assert found.floor.modes is not None
        assert found.modes < 20 < found.floor.modes < 120

    def test_images_sorted_by_number_are_judged_by_some_of_all(
        self, stacked: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        some = stacked.rows(torch.arange(0, 1000, 5))
        found = evaluate.evaluate(some, against=some, n=40, prdc_n=20, quiet=True)
        assert found.per_class is not None
        assert (
            len({number[0] for number, accuracy in found.per_class.items() if accuracy is not None})
            > 7
        )
        monkeypatch.setattr(stacks, "MODES_N", 50)
        part = evaluate.evaluate(some, against=some, prdc_n=20, quiet=True)
        assert (part.protocol.n_modes, part.protocol.n_fake) == (50, 200)
        assert part.modes is not None
        assert 40 < part.modes <= 50  # of as many as the floor's

    def test_other_data_have_no_modes(self) -> None:
        found = judge(digits().images[:40], digits().labels[:40])
        assert (found.modes, found.floor.reverse_kl, found.protocol.n_modes) == (None, None, None)
