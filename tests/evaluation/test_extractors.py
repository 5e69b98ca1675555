"""What images are judged by: the shipped classifier, and those trained on first use and by command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, GanvasError, RunError, SettingError
from ganvas.evaluation import extractor_files, extractors
from ganvas.recipe import ImageSpec
from ganvas.system.paths import cache_dir, data_root

REAL = data_root() / "MNIST"  # where the user keeps it; the fixture below hides the variable


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GANVAS_DATA", raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a few steps: what comes of them does not matter."""
    monkeypatch.setattr(extractor_files, "ENCODER_STEPS", 3)
    monkeypatch.setattr(extractor_files, "EPOCHS", 1)
    monkeypatch.setattr(extractor_files, "MIN_CLASSIFIER_STEPS", 3)


def noise(
    count: int, channels: int = 1, side: int = 12, classes: int = 0, seed: int = 0
) -> Dataset:
    images = torch.randint(
        256, (count, channels, side, side), generator=torch.Generator().manual_seed(seed)
    )
    labels = torch.arange(count) % classes if classes else None
    return Dataset(
        "noise", images.to(torch.uint8), labels, tuple(f"class {k}" for k in range(classes))
    )


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("trained once more")


def tell_nobody(line: str) -> None:
    pass


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
            assert extractors.default(Dataset(name, images)) == "self", name

    def test_it_names_real_digits_rightly(self) -> None:
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

    @pytest.mark.skipif(not REAL.is_dir(), reason="needs real MNIST in GANVAS_DATA")
    def test_it_names_mnists_test_images_rightly_as_its_card_says(self) -> None:
        test = data.load_dataset("mnist", split="test", data_dir=REAL.parent)
        network, origin = extractor_files.read_extractor(extractors.DIGITS)
        accuracy = extractor_files.accuracy(network, test)
        assert accuracy >= 0.994
        assert accuracy == pytest.approx(origin.accuracy, abs=2e-4)
        assert origin.fingerprint == data.load_dataset("mnist", data_dir=REAL.parent).fingerprint

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

    def test_its_weights_are_the_ones_that_figures_were_published_with(self) -> None:
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
    def test_the_default_goes_by_the_images_and_their_classes(self) -> None:
        digits = data.load_dataset("mnist-5k")
        few = replace(
            digits,
            images=digits.images[:40],
            labels=(digits.labels[:40] if digits.labels is not None else None),
        )
        find = partial(extractors.find_extractor, None, tell=tell_nobody)
        assert find(few).name == "digits"
        assert find(replace(few, classes=tuple("abcdefghij"))).name == "classifier:mnist-5k"
        assert find(replace(few, images=few.images[:, :, 2:, 2:])).name == "classifier:mnist-5k"
        assert find(replace(few, labels=None, classes=())).name == "digits"
        assert find(Dataset("noise", noise(40, side=28).images)).name == "self:noise"
        assert (
            find(Dataset("one", few.images, torch.zeros(40, dtype=torch.int64), ("all",))).name
            == "self:one"
        )

    @pytest.mark.usefixtures("quick")
    def test_numbers_for_names_make_no_digits(self) -> None:
        """As IDX files have them, of clothes, too."""
        digits = data.load_dataset("mnist-5k").rows(torch.arange(60))
        assert digits.labels is not None
        for wrong, name in ((10, "digits"), (30, "classifier:mnist-5k")):
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
        for classes, name in ((("7", "1"), "digits"), (("1", "7"), "classifier:mnist-5k")):
            labels = (sevens_and_ones.labels == 1).long()
            few = replace(sevens_and_ones, labels=labels, classes=classes)
            assert extractors.find_extractor(None, few, tell=tell_nobody).name == name

    @pytest.mark.parametrize(
        "name", ["digit", "clasifier:mnist", "", ":", "digits:mnist", "photos"]
    )
    def test_unknown_ones_are_one_line(self, name: str) -> None:
        with pytest.raises(SettingError, match="no extractor is called") as caught:
            extractors.find_extractor(name, noise(4))
        assert "\n" not in str(caught.value)
        assert "digits" in str(caught.value) or "classifier" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("classifier", "noise has no classes to tell apart: extractor with self:noise"),
            ("classifier:nowhere", "'nowhere' is neither a data set nor a path"),
            ("self:./nowhere", "no file or folder ./nowhere"),
            ("self:mnist-5k", "self:mnist-5k takes images of 28x28 grey, these are 12x12 grey"),
            ("nowhere.safetensors", "there is no file nowhere.safetensors"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, name: str, message: str) -> None:
        with pytest.raises(GanvasError) as caught:
            extractors.find_extractor(name, noise(4), tell=tell_nobody)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.usefixtures("quick")
    def test_another_data_sets_extractor_judges_these_images(self, pictures: Path) -> None:
        """It is trained on the data set that it is named after, read as large as the images to be
        judged."""
        lines: list[str] = []
        extractor = extractors.find_extractor(
            f"classifier:{pictures}", noise(4, side=10), tell=lines.append
        )
        assert extractor.classes == ("cat", "dog")
        assert extractor.name == f"classifier:{pictures}"
        assert any("10x10" in line for line in lines)
        assert extractor(noise(4, side=10).images).features.shape == (4, 128)

    @pytest.mark.usefixtures("quick")
    def test_a_path_is_what_lies_there_whatever_the_judged_against_are_called(
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


@pytest.mark.usefixtures("quick")
class TestKept:
    @pytest.mark.parametrize("kind", ["classifier", "self"])
    def test_it_is_trained_once_and_found_by_the_datas_content(
        self, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, lines = noise(60, classes=2), list[str]()
        torch.set_num_threads(1)
        first = extractors.find_extractor(kind, dataset, tell=lines.append)
        assert len(lines) == 1
        assert first.knows(dataset)
        assert not first.knows(noise(60, classes=2, seed=1))
        assert "60 images" in lines[0]
        again = extractors.find_extractor(
            kind, replace(noise(60, classes=2, seed=1), name="others"), tell=lines.append
        )
        assert len(lines) == 2
        assert again.sha256 != first.sha256
        monkeypatch.setattr(extractor_files, "train_classifier", never)
        monkeypatch.setattr(extractor_files, "train_encoder", never)
        cached = extractors.find_extractor(
            kind, replace(dataset, name="renamed"), tell=lines.append
        )
        assert len(lines) == 2
        assert cached.name == f"{kind}:renamed"
        assert cached.sha256 == first.sha256
        for mine, other in zip(cached(dataset.images), first(dataset.images), strict=True):
            assert mine is other is None or torch.equal(mine, other)

    @pytest.mark.parametrize("kind", ["classifier", "self"])
    def test_the_same_data_give_the_same_file_whatever_the_threads(
        self, kind: str, tmp_path: Path
    ) -> None:
        contents = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.rand(threads)
            extractors.find_extractor(kind, noise(60, classes=2), tell=tell_nobody)
            assert torch.get_num_threads() == threads
            (file,) = (cache_dir() / "extractors").glob("*.safetensors")
            contents.append(file.read_bytes())
            file.unlink()
        assert contents[0] == contents[1]

    @pytest.mark.parametrize("damage", ["cut", "bit", "card", "text", "other"])
    def test_a_damaged_file_is_told_of_and_made_anew(self, damage: str) -> None:
        dataset, lines = noise(40, classes=2), list[str]()
        first = extractors.find_extractor("self", dataset, tell=tell_nobody)
        (file,) = (cache_dir() / "extractors").glob("*.safetensors")
        good = file.read_bytes()
        bad = {
            "cut": good[:-100],
            "bit": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
            "text": b"not a network",
            "card": good.replace(b"fingerprint", b"fingerprind"),
            "other": good,
        }[damage]
        if damage == "other":
            extractors.find_extractor("self", noise(40, seed=1), tell=tell_nobody)
            bad = next(f for f in file.parent.glob("*.safetensors") if f != file).read_bytes()
        file.write_bytes(bad)
        again = extractors.find_extractor("self", dataset, tell=lines.append)
        assert str(file) in lines[0]
        assert "made anew" in lines[0]
        assert again.sha256 == first.sha256
        assert file.read_bytes() == good

    def test_where_nothing_can_be_kept_it_serves_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        dataset, lines = noise(40), list[str]()
        kept = extractors.find_extractor("self", dataset, tell=tell_nobody)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert extractors.find_extractor("self", dataset, tell=lines.append).sha256 == kept.sha256
        assert "cannot write" in lines[-1]
        assert "trained again the next time" in lines[-1]

    def test_of_two_processes_one_trains(self, environment: dict[str, str], tmp_path: Path) -> None:
        program = """
import torch
from ganvas.data.dataset import Dataset
from ganvas.evaluation import extractor_files, extractors
extractor_files.ENCODER_STEPS, extractor_files.THREADS = 40, 1
images = torch.arange(60 * 144).view(60, 1, 12, 12).to(torch.uint8)
print(extractors.find_extractor(None, Dataset("d", images)).sha256)
"""
        start = partial(
            subprocess.Popen,
            [sys.executable, "-c", program],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        )
        message = [process.communicate(timeout=400) for process in [start(), start()]]
        assert message[0][0] == message[1][0] != ""
        assert sum("training self:d" in err for _, err in message) == 1, message
        assert len(list((tmp_path / "ganvas" / "extractors").glob("*.safetensors"))) == 1


class TestTraining:
    def test_a_tenth_of_each_class_is_held_back(self) -> None:
        dataset = noise(300, classes=3)
        kept, back = extractor_files.hold_back(dataset, seed=0)
        assert back is not None
        assert torch.bincount(back.labels).tolist() == [10, 10, 10]  # type: ignore[arg-type]
        assert torch.bincount(kept.labels).tolist() == [90, 90, 90]  # type: ignore[arg-type]
        both = torch.cat([kept.images, back.images]).flatten(1)
        assert torch.equal(both.unique(dim=0), dataset.images.flatten(1).unique(dim=0))
        assert extractor_files.hold_back(noise(18, classes=2), seed=0)[1] is None

    def test_its_length_is_bounded_for_any_data(self) -> None:
        """20 passes where that is little work, more for tiny sets, less for many or large images."""
        assert extractor_files.usual_epochs(3600, 28, 28) == 20
        assert extractor_files.usual_epochs(100, 28, 28) * 100 == 150 * 128
        assert extractor_files.usual_epochs(60_000, 28, 28) * 60_000 * 784 == pytest.approx(1e8)
        assert extractor_files.usual_epochs(60_000, 32, 32) == pytest.approx(
            extractor_files.usual_epochs(60_000, 64, 64)
        )
        for side in (1, 40, 41, 64, 1024):
            assert extractor_files.usual_epochs(10**6, side, side) * 10**6 <= 1e8

    def test_few_images_of_many_classes_give_a_classifier_with_caveats(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(extractor_files, "MIN_CLASSIFIER_STEPS", 40)
        extractor = extractors.find_extractor(
            None, noise(100, classes=10, side=8), tell=tell_nobody
        )
        assert extractor.classes == tuple(f"class {k}" for k in range(10))
        message = "; ".join(extractor.notes)
        assert "learned from 90 images of noise and names" in message
        assert "of 10 others rightly" in message
        assert "is often wrong" in message  # of noise nothing can be learned
        assert "teach an extractor little" in message

    @pytest.mark.usefixtures("quick")
    def test_too_few_images_to_try_it_on_any_are_told_of(self) -> None:
        extractor = extractors.find_extractor("classifier", noise(12, classes=2), tell=tell_nobody)
        assert "could be tried on no others" in extractor.notes[0]

    @pytest.mark.usefixtures("quick")
    def test_one_picture_is_too_few(self) -> None:
        with pytest.raises(DataError, match="noise holds one picture"):
            extractors.find_extractor("self", noise(1), tell=tell_nobody)
        assert (
            extractors.find_extractor("self", noise(2), tell=tell_nobody)(noise(5).images)
            .features.isfinite()
            .all()
        )

    @pytest.mark.usefixtures("quick")
    @pytest.mark.parametrize("kind", ["classifier", "self"])
    @pytest.mark.parametrize(
        ("shape", "resize"),
        [
            ((3, 96, 200), "area average to 44x92"), ((4, 64, 64), "none"), ((1, 1, 1), "none"), ((3, 5, 3), "none"),
            ((1, 65, 65), "area average to 64x64"),
        ],
    )  # fmt: skip
    def test_any_size_and_channels(
        self, kind: str, shape: tuple[int, int, int], resize: str
    ) -> None:
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(256, (20, *shape), generator=rng).to(torch.uint8)
        extractor = extractors.find_extractor(
            kind, Dataset("any", images, torch.arange(20) % 2, ("a", "b")), tell=tell_nobody
        )
        assert extractor.resize == resize
        assert extractor.spec == ImageSpec(
            height=shape[1], width=shape[2], channels=shape[0], classes=("a", "b")
        )  # type: ignore[arg-type]
        features, probabilities = extractor(images)
        assert features.shape == (20, 128 if kind == "classifier" else 64)
        assert features.isfinite().all()
        assert (probabilities is None) == (extractor.classes == ()) == (kind == "self")

    def test_large_pictures_are_seen_as_means_of_areas(self) -> None:
        from ganvas.evaluation.classifier import shrunk

        images = noise(3, side=128).images
        means = images.view(3, 1, 64, 2, 64, 2).double().mean((3, 5))
        assert torch.equal(shrunk(images), means.round().to(torch.uint8))
        assert shrunk(images[:, :, :64, :64]).data_ptr() == images.data_ptr()


class TestCommand:
    def test_it_makes_a_classifier_that_can_be_named(
        self, cli_run: Callable[..., Any], pictures: Path
    ) -> None:
        words = ("extractor", "pictures", "--epochs", 30, "--threads", 1, "--out")
        done = cli_run(*words, "judge.safetensors")
        assert (done.code, done.out) == (0, "judge.safetensors\n")
        written = Path("judge.safetensors").read_bytes()
        document = json.loads(cli_run(*words, "judge.safetensors", "--json").out)
        assert Path("judge.safetensors").read_bytes() == written
        _, origin = extractor_files.read_extractor(Path("judge.safetensors"))
        assert (
            origin.command
            == "ganvas extractor pictures --epochs 30 --seed 0 --threads 1 --out judge.safetensors"
        )
        dataset = data.load_dataset("pictures")
        extractor = extractors.find_extractor("judge.safetensors", dataset)
        assert (extractor.name, extractor.classes, extractor.sha256) == (
            "judge.safetensors",
            ("cat", "dog"),
            document["sha256"],
        )
        assert extractor(dataset.images).features.shape == (12, 128)
        with pytest.raises(DataError, match="takes images of 8x8 grey"):
            extractors.find_extractor("judge.safetensors", noise(4))

    def test_accuracy_is_that_on_the_held_out_part(self, cli_run: Callable[..., Any]) -> None:
        document = json.loads(
            cli_run(
                "extractor", "mnist-5k", "--epochs", 0.1, "--out", "j.safetensors", "--json"
            ).out
        )
        assert (document["images"], document["held_out"]) == (4000, 1000)
        held_out = data.load_dataset("mnist-5k", split="test")
        extractor = extractors.find_extractor("j.safetensors", held_out)
        probabilities = extractor(held_out.images).probabilities
        assert probabilities is not None
        assert document["accuracy"] == float(
            (probabilities.argmax(1) == held_out.labels).double().mean()
        )

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (
                "mnist-5k --out judge.pt",
                "--out judge.pt: expected a name that ends in .safetensors",
            ),
            ("mnist-5k --out a.safetensors --epochs 0", "--epochs 0.0: expected more than 0"),
            ("mnist-5k --out a.safetensors --threads 0", "--threads 0: expected more than 0"),
            ("pictures/cat --out a.safetensors", "cat has no classes to tell apart"),
            ("nothing --out a.safetensors", "'nothing' is neither a data set nor a path"),
            (
                "pictures --out pictures/cat/00.png/a.safetensors --epochs 1",
                "00.png/a.safetensors: a file stands there: choose another",
            ),
        ],
    )
    def test_bad_input(
        self, cli_run: Callable[..., Any], pictures: Path, words: str, message: str
    ) -> None:
        assert message in cli_run("extractor", *words.split()).error

    def test_where_it_cannot_be_written_is_said_before_the_training(
        self,
        cli_run: Callable[..., Any],
        pictures: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(extractor_files, "learn_classes", never)
        (tmp_path / "folder.safetensors").mkdir()
        for out in ("/proc/mine.safetensors", "folder.safetensors"):
            assert f"cannot write {out}" in cli_run("extractor", pictures, "--out", out).error

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02c"])
    def test_a_file_of_another_kind_is_one_line(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(RunError, match=r"x\.safetensors is damaged or no safetensors file"):
            extractors.find_extractor(os.fspath(tmp_path / "x.safetensors"), noise(4))
