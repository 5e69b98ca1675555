"""Networks of extractors: trained once, kept by the data's content, checked when read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, RunError
from ganvas.evaluation import extractor_files, extractors
from ganvas.recipe import ImageSpec
from ganvas.runs.weights import write_safetensors
from ganvas.system.paths import cache_dir
from helpers.judged import never, noise, tell_nobody

pytestmark = pytest.mark.usefixtures("own_cache")


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
    def test_a_damaged_file_is_replaced_with_a_line(self, damage: str) -> None:
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
        assert "training it again" in lines[0]
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
        assert "trained again next time" in lines[-1]

    def test_of_two_processes_one_trains(self, environment: dict[str, str], tmp_path: Path) -> None:
        program = """
import torch
from ganvas.data.dataset import Dataset
from ganvas.evaluation import extractor_files, extractors
extractor_files.ENCODER_STEPS, extractor_files.THREADS = 40, 1
images = torch.arange(60 * 144).view(60, 1, 12, 12).to(torch.uint8)
print(extractors.find_extractor("self", Dataset("d", images)).sha256)
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
        """20 passes if that is little work, more for tiny sets, fewer for many or large images."""
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
        monkeypatch.setattr(extractor_files, "MIN_CLASSIFIER_STEPS", 5)
        monkeypatch.setattr(extractor_files, "EPOCHS", 1)
        extractor = extractors.find_extractor(
            None, noise(100, classes=10, side=8), tell=tell_nobody
        )
        assert extractor.classes == tuple(f"class {k}" for k in range(10))
        message = "; ".join(extractor.notes)
        assert "learned from 90 images of noise and names" in message
        assert "of 10 others correctly" in message
        assert "is often wrong" in message  # of noise nothing can be learned
        assert "teach an extractor little" in message

    @pytest.mark.usefixtures("quick")
    def test_too_few_images_to_test_it_get_a_note(self) -> None:
        extractor = extractors.find_extractor("classifier", noise(12, classes=2), tell=tell_nobody)
        assert "was tested on no others" in extractor.notes[0]

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
            ((3, 96, 200), "area average to 44x92"),
            ((4, 64, 64), "none"),
            ((1, 1, 1), "none"),
            ((3, 5, 3), "none"),
            ((1, 65, 65), "area average to 64x64"),
        ],
    )
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


def test_a_newer_format_or_a_missing_card_is_one_line(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", {"a": torch.ones(2)}
    write_safetensors(path, tensors, '{"format": 2}')
    with pytest.raises(RunError, match="has format 2, this ganvas reads up to 1: upgrade ganvas"):
        extractor_files.read_extractor(path)
    save_file(tensors, path)
    with pytest.raises(RunError, match="no ganvas card: give a file that ganvas extractor wrote"):
        extractor_files.read_extractor(path)
