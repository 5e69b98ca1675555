"""Extractors by name: the shipped classifier of digits, and those trained on first use."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, GanvasError, SettingError
from ganvas.evaluation import classifier, extractor_files, extractors
from helpers.judged import noise, tell_nobody

pytestmark = pytest.mark.usefixtures("own_cache")


class TestDigits:
    def test_it_is_the_default_of_unlabelled_digits_and_of_nothing_else(self) -> None:
        digits = data.load_dataset("mnist-5k", split="test").images
        assert extractors.default(Dataset("digits", digits)) == "digits"
        assert extractors.default(Dataset("shifted digits", digits.roll(2, 3))) == "digits"
        others = {
            "inverted": 255 - digits,
            "mirrored": digits.flip(3),
            "noise": noise(500, side=28).images,
            "one digit": digits[:1].expand(500, -1, -1, -1),
            "colour": digits.expand(-1, 3, -1, -1),
        }
        for name, images in others.items():
            assert extractors.default(Dataset(name, images)) == "imagenet", name

    def test_it_names_real_digits(self) -> None:
        held_out = data.load_dataset("mnist-5k", split="test")
        extractor = extractors.find_extractor("digits", held_out)
        features, probabilities = extractor(held_out.images)
        assert features.shape == (1000, 128)
        assert probabilities is not None
        assert torch.allclose(probabilities.sum(1), torch.ones(1000))
        assert (probabilities.argmax(1) == held_out.labels).double().mean() >= 0.994
        assert extractor.classes == tuple("0123456789")
        assert extractor.knows(held_out)
        assert not extractor.knows(noise(4, side=28))
        assert "mnist-5k" in " ".join(extractor.notes)  # its digits are among those learned from

    def test_it_names_mnists_test_images_as_its_card_says(self, real_mnist: Path) -> None:
        test = data.load_dataset("mnist", split="test", data_dir=real_mnist)
        network, origin = extractor_files.read_extractor(extractors.DIGITS)
        accuracy = classifier.accuracy(network, test)
        assert accuracy >= 0.994
        assert accuracy == pytest.approx(origin.accuracy, abs=2e-4)
        assert origin.fingerprint == data.load_dataset("mnist", data_dir=real_mnist).fingerprint

    def test_its_file_is_small_and_says_where_it_comes_from(self) -> None:
        assert extractors.DIGITS.stat().st_size < 1_000_000
        _, origin = extractor_files.read_extractor(extractors.DIGITS)
        assert (origin.data, origin.images, origin.held_out, origin.epochs) == (
            "mnist",
            60_000,
            10_000,
            10,
        )
        assert origin.accuracy is not None
        assert origin.accuracy >= 0.994
        assert (
            origin.command
            == "ganvas extractor mnist --epochs 10 --seed 0 --threads 1 --out digits.safetensors"
        )
        assert origin.versions.keys() >= {"ganvas", "torch", "python"}

    def test_its_weights_are_those_of_published_scores(self) -> None:
        extractor = extractors.find_extractor("digits", data.load_dataset("mnist-5k"))
        assert (
            extractor.sha256 == "7deb6b89204855a6648f0a5fec2750c869ec1523794b1c360e39b3a811d403e7"
        )

    @pytest.mark.parametrize("change", [{"side": 32}, {"side": 28, "channels": 3}])
    def test_other_images_are_refused(self, change: dict[str, int]) -> None:
        with pytest.raises(
            DataError,
            match=r"digits takes images of 28x28 grey, these are \d+x\d+ (grey|RGB): choose",
        ):
            extractors.find_extractor("digits", noise(4, **change))
        with pytest.raises(DataError, match="digits takes"):
            extractors.find_extractor("digits", data.load_dataset("mnist-5k"))(
                noise(4, **change).images
            )


class TestNames:
    @pytest.mark.usefixtures("quick")
    def test_the_default_depends_on_the_images_and_their_classes(self) -> None:
        digits = data.load_dataset("mnist-5k")
        few = replace(
            digits,
            images=digits.images[:40],
            labels=(digits.labels[:40] if digits.labels is not None else None),
        )
        find = partial(extractors.find_extractor, None, tell=tell_nobody)
        assert find(few).name == "digits"
        with_classes = "imagenet+classifier:mnist-5k"
        assert find(replace(few, classes=tuple("abcdefghij"))).name == with_classes
        assert find(replace(few, images=few.images[:, :, 2:, 2:])).name == with_classes
        assert find(replace(few, labels=None, classes=())).name == "digits"
        assert find(Dataset("noise", noise(40, side=28).images)).name == "imagenet"
        one = Dataset("one", few.images, torch.zeros(40, dtype=torch.int64), ("all",))
        assert find(one).name == "imagenet"

    @pytest.mark.usefixtures("quick")
    def test_class_names_alone_make_no_digits(self) -> None:
        """IDX files of clothes have the class names 0 to 9 too."""
        digits = data.load_dataset("mnist-5k").rows(torch.arange(60))
        assert digits.labels is not None
        for wrong, name in ((10, "digits"), (30, "imagenet+classifier:mnist-5k")):
            labels = digits.labels.clone()
            labels[:wrong] = (labels[:wrong] + 1) % 10
            others = replace(digits, labels=labels)
            assert extractors.find_extractor(None, others, tell=tell_nobody).name == name

    @pytest.mark.usefixtures("quick")
    def test_few_kinds_of_digits_are_digits_by_their_names(self) -> None:
        digits = data.load_dataset("mnist-5k")
        assert digits.labels is not None
        sevens_and_ones = digits.rows(
            ((digits.labels == 7) | (digits.labels == 1)).nonzero().flatten()[:60]
        )
        assert sevens_and_ones.labels is not None
        for classes, name in ((("7", "1"), "digits"), (("1", "7"), "imagenet+classifier:mnist-5k")):
            labels = (sevens_and_ones.labels == 1).long()
            few = replace(sevens_and_ones, labels=labels, classes=classes)
            assert extractors.find_extractor(None, few, tell=tell_nobody).name == name

    @pytest.mark.parametrize(
        "name", ["digit", "clasifier:mnist", "", ":", "digits:mnist", "imagenet:a", "photos"]
    )
    def test_unknown_ones_are_one_line(self, name: str) -> None:
        with pytest.raises(SettingError, match="no extractor is called") as caught:
            extractors.find_extractor(name, noise(4))
        assert "\n" not in str(caught.value)
        assert any(kind in str(caught.value) for kind in ("digits", "classifier", "imagenet?"))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("classifier", "noise has no classes to tell apart: use self:noise"),
            ("imagenet+classifier", "noise has no classes to tell apart: use imagenet"),
            ("classifier:nowhere", "'nowhere' is neither a data set nor a path"),
            ("self:./nowhere", "no file or folder ./nowhere"),
            ("self:mnist-5k", "self:mnist-5k takes images of 28x28 grey, these are 12x12 grey"),
            (
                "nowhere.safetensors",
                "no file nowhere.safetensors: give a file that ganvas extractor wrote",
            ),
        ],
    )
    def test_unsuitable_ones_are_one_line(self, name: str, message: str) -> None:
        with pytest.raises(GanvasError) as caught:
            extractors.find_extractor(name, noise(4), tell=tell_nobody)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.usefixtures("quick")
    def test_another_data_sets_extractor(self, pictures: Path) -> None:
        """It is trained on the data set of its name, read in the size of these images."""
        lines: list[str] = []
        extractor = extractors.find_extractor(
            f"classifier:{pictures}", noise(4, side=10), tell=lines.append
        )
        assert extractor.classes == ("cat", "dog")
        assert extractor.name == f"classifier:{pictures}"
        assert any("10x10" in line for line in lines)
        assert extractor(noise(4, side=10).images).features.shape == (4, 128)

    @pytest.mark.usefixtures("quick")
    def test_a_path_wins_over_the_name_of_the_data_set(
        self, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(pictures.parent)
        other, lines = replace(noise(12, side=8), name="pictures"), list[str]()
        one, two = (
            extractors.find_extractor(name, other, tell=lines.append)
            for name in ("self", "self:pictures")
        )
        assert one.sha256 != two.sha256
        monkeypatch.chdir(pictures)
        assert (
            extractors.find_extractor("self:pictures", other, tell=lines.append).sha256
            == one.sha256
        )
