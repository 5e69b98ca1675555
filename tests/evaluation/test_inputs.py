"""Real images beside the generated ones: which part, in which form, and what is noted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.data.reading import Reading
from ganvas.errors import GanvasError
from ganvas.evaluation import inputs, metrics
from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.runs.run import Run
from helpers.common import train
from helpers.judged import Pooled, evaluate_images, evaluate_pooled, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")


class TestGeneratedImages:
    def test_whatever_training_reads_can_be_evaluated(
        self, training: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        images = training.images[:20, 0].numpy()
        np.save("made.npy", images)
        np.savez("made.npz", faces=images, masks=images[:3])
        np.savetxt("made.csv", images.reshape(20, -1), "%d", ",")
        (tmp_path / "set").mkdir()
        np.save("set/made.npy", images)
        for source in ("made.npy", "made.npz:faces", "made.csv", "set"):
            generated = inputs.open_generated(source, Reading())
            assert generated.images is not None
            assert torch.equal(generated.images.images, training.images[:20])
            assert (generated.name, generated.kind) == (source, "images")
        with pytest.raises(
            GanvasError, match=r"made\.npz:fakes .* did you mean faces|holds no array"
        ):
            inputs.open_generated("made.npz:fakes", Reading())
        with pytest.raises(GanvasError, match=r"none\.npz:faces does not exist"):
            inputs.open_generated("none.npz:faces", Reading())


class TestRealImages:
    def test_nothing_held_out_gets_a_note(self, pictures: Path) -> None:
        result = evaluate_pooled(pictures, data=pictures)
        assert (result.protocol.split, result.protocol.n_real) == ("train", 12)
        assert any("no held-out part" in note for note in result.notes)
        assert any(
            "floor: 6 of the real images against 6 others, at random; the fewer images" in note
            for note in result.notes
        )
        assert any("12 real images only" in note for note in result.notes)
        assert result.fid is None
        assert any("no fid: 12 real images for 16 features" in note for note in result.notes)
        assert result.precision == 1

    def test_an_extractor_that_learned_from_the_images_gets_a_note(
        self, training: Dataset, pictures: Path, pooled: Pooled
    ) -> None:
        """It knows the floor's images too well, or those of both sets."""
        of_floor = "floor: pooled learned from the very images that stand in for generated ones"
        of_real = "pooled learned from the real images compared with"
        one = data.load_dataset(pictures)
        for made, name, learned, expected in (
            (training.rows(torch.arange(40)), "mnist-5k", "mnist-5k", [of_floor]),
            (training.rows(torch.arange(40)), "mnist-5k", "0" * 64, []),
            (one, pictures, one.fingerprint, [of_floor, of_real]),
        ):
            given = dataclasses.replace(pooled.extractor(), learned=(learned,))
            notes = evaluate(made, data=name, extractor=given, quiet=True).notes
            assert [
                any(note.startswith(text) for note in notes) for text in (of_floor, of_real)
            ] == [text in expected for text in (of_floor, of_real)]

    def test_kids_subsets_are_at_most_half_of_a_set(
        self, training: Dataset, pooled: Pooled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metrics, "SUBSET", 100)
        result = evaluate_images(training.images[:150], extractor=pooled.extractor())
        assert result.kid_std is not None
        assert result.floor.kid_std is not None
        assert result.kid_std > 0 < result.floor.kid_std
        assert [note for note in result.notes if "kid_std" in note] == [
            "kid_std is of subsets of 75 images instead of 100: the smaller set has 150"
        ]
        large = evaluate_images(
            training.images[:200], data=None, against=training, extractor=pooled.extractor()
        )
        assert not any("kid_std" in note for note in large.notes)

    def test_against_a_named_set_takes_its_training_part_with_a_note(
        self, training: Dataset
    ) -> None:
        result = evaluate_pooled(training.rows(torch.arange(40)), against="mnist-5k")
        expected = (
            "--against mnist-5k takes its training part: --data mnist-5k compares with the held-out"
            " one"
        )
        assert expected in result.notes

    def test_a_size_that_the_images_have_is_no_resizing(
        self, training: Dataset, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"data": "mnist-5k", "size": (28, 28)}
        same = npz(tmp_path / "same.npz", training.images[:20])
        assert evaluate_pooled(same, **options).protocol.resize == "none"
        large = npz(tmp_path / "large.npz", training.images[:20].repeat(1, 1, 2, 2))
        assert evaluate_pooled(large, **options).protocol.resize == "resized to 28x28"

    def test_real_images_that_were_resized_are_in_the_protocol(
        self, training: Dataset, tmp_path: Path
    ) -> None:
        large = npz(tmp_path / "large.npz", training.images[:20].repeat(1, 1, 2, 3))
        options: dict[str, Any] = {"against": large, "size": (28, 28), "fit": "crop"}
        result = evaluate_pooled(training.rows(torch.arange(30)), **options)
        assert result.protocol.resize == "real ones cropped and resized to 28x28"

    def test_colours_that_go_are_in_the_protocol(self, training: Dataset, tmp_path: Path) -> None:
        for k in range(20):
            pixels = np.random.default_rng(k).integers(256, size=(28, 28, 3), dtype=np.uint8)
            (tmp_path / "colour").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "colour" / f"{k}.png")
        result = evaluate_pooled(tmp_path / "colour", channels=1, data="mnist-5k")
        assert result.protocol.resize == "turned to grey"
        grey = npz(tmp_path / "grey.npz", training.images[:20])
        assert evaluate_pooled(grey, channels=1, data="mnist-5k").protocol.resize == "none"

    def test_pictures_get_the_given_size_and_channels(self, tmp_path: Path) -> None:
        real = npz(tmp_path / "real.npz", torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
        wide = npz(tmp_path / "wide.npz", torch.randint(0, 256, (20, 3, 8, 24), dtype=torch.uint8))
        options: dict[str, Any] = {"against": real, "channels": 1}
        result = [
            evaluate_pooled(wide, size=(8, 8), fit=fit, **options)
            for fit in ("crop", "pad", "stretch")
        ]
        assert [one.protocol.resize for one in result] == [
            f"{done} to 8x8, turned to grey"
            for done in ("cropped and resized", "resized and padded with white", "stretched")
        ]
        assert len({one.kid for one in result}) == 3
        assert "20 colour pictures turned to grey" in result[0].notes

    def test_images_with_transparency(self, tmp_path: Path) -> None:
        """They keep transparency beside such images, and lose or get it beside others."""
        clear = npz(tmp_path / "clear.npz", torch.randint(0, 256, (20, 4, 8, 8), dtype=torch.uint8))
        colour = npz(
            tmp_path / "colour.npz", torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
        )
        assert evaluate_pooled(clear, against=clear).precision == 1
        result = evaluate_pooled(clear, against=colour, channels=3)
        assert "20 transparent pictures composited on white" in result.notes
        assert result.protocol.resize == "composited on white"
        wider = evaluate_pooled(colour, against=clear)
        assert "20 RGB images of colour.npz widened to RGBA" in wider.notes

    def test_digits_of_few_classes_in_any_order(
        self, training: Dataset, held_out: Dataset, tmp_path: Path
    ) -> None:
        def some(digits: Dataset, names: tuple[str, ...]) -> Dataset:
            assert digits.labels is not None
            rows = digits.rows((digits.labels < 3).nonzero().flatten()[:200])
            assert rows.labels is not None
            return dataclasses.replace(
                rows,
                labels=torch.tensor([names.index(str(k)) for k in rows.labels.tolist()]),
                classes=names,
            )

        result = evaluate(
            some(training, ("0", "1", "2")), against=some(held_out, ("2", "0", "1")), quiet=True
        )
        assert result.protocol.extractor == "digits"
        assert result.label_accuracy is not None
        assert result.real_accuracy is not None
        assert min(result.label_accuracy, result.real_accuracy) > 0.97
        assert result.per_class is not None
        assert (result.per_class["2"] or 0) > 0.97
        assert result.per_class["7"] is None
        assert result.class_kl == pytest.approx(0, abs=0.02)

    def test_a_single_training_image_makes_no_floor(self, tmp_path: Path) -> None:
        images = torch.randint(0, 256, (30, 8, 8), dtype=torch.uint8).numpy()
        for part, number in (("train", 1), ("test", 30)):
            (folder := tmp_path / "photos" / part).mkdir(parents=True)
            for k in range(number):
                Image.fromarray(images[k]).save(folder / f"{k}.png")
        made = npz(tmp_path / "made.npz", torch.from_numpy(images)[:, None])
        result = evaluate_pooled(made, data=tmp_path / "photos")
        assert (
            "no floor: 30 real images and 1 in place of generated ones are too few" in result.notes
        )
        assert result.floor.kid is None

    def test_a_held_out_folder(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        for part, number in (("train", 40), ("test", 30)):
            (tmp_path / "photos" / part).mkdir(parents=True)
            for k in range(number):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / f"{k}.png")
        images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
        result = evaluate_pooled(npz(tmp_path / "made.npz", images), data=tmp_path / "photos")
        assert (result.protocol.split, result.protocol.n_real, result.protocol.n_fake) == (
            "test",
            30,
            50,
        )
        assert any(
            "only 40 training images, fewer than the 50 generated" in note for note in result.notes
        )

    def test_a_runs_own_data_are_read_as_in_training_and_a_change_gets_a_note(
        self, pictures: Path, tmp_path: Path
    ) -> None:
        run = train("cgan/tiny", tmp_path / "run", data=pictures, size=(6, 6), images=16.0)
        assert run.card.image.height == 6
        wide = Extractor(
            "mean",
            "1",
            (),
            None,
            "none",
            (),
            lambda x: Features(x.float().mean((2, 3)) / 255, None),
        )
        assert not any(
            "as it was in training" in n
            for n in evaluate(run, n=20, extractor=wide, quiet=True).notes
        )
        (pictures / "cat" / "00.png").unlink()
        result = evaluate(run, n=20, extractor=wide, quiet=True)
        assert any("is not as it was in training" in note for note in result.notes)
        pictures.rename(tmp_path / "elsewhere")
        with pytest.raises(GanvasError, match="say by --data where they are now"):
            evaluate(run, n=20, extractor=wide, quiet=True)
        against = evaluate(
            run, n=20, extractor=wide, against=tmp_path / "elsewhere", size=(6, 6), quiet=True
        )
        assert any("stand in for the training images" in note for note in against.notes)
        assert (against.protocol.asked_classes, result.protocol.asked_classes) == ("equal", "")

    def test_grey_images_are_widened_to_rgb_with_a_note(self, tmp_path: Path) -> None:
        grey = npz(tmp_path / "grey.npz", torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
        colour = npz(
            tmp_path / "colour.npz", torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
        )
        for images, against in ((grey, colour), (colour, grey)):
            result = evaluate_pooled(images, against=against)
            assert any("20 grey images of grey.npz widened to RGB" in note for note in result.notes)
        same = evaluate_pooled(grey, against=grey)
        assert not any("widened" in note for note in same.notes)

    def test_class_numbers_get_the_real_images_names(self, tmp_path: Path) -> None:
        """Dark images are cats and bright ones dogs, and the extractor, which has the classes in
        another order, knows it."""
        labels = torch.arange(12) % 2
        images = (labels * 200)[:, None, None, None].expand(12, 1, 8, 8).to(torch.uint8)
        images = images + torch.arange(12, dtype=torch.uint8)[:, None, None, None]
        npz(tmp_path / "real.npz", images, labels, classes=np.array(["cat", "dog"]))
        npz(tmp_path / "made.npz", images, labels)

        def take(x: torch.Tensor) -> Features:
            bright = (x.float().mean((1, 2, 3)) / 255)[:, None]
            return Features(bright, torch.cat([bright, 1 - bright], 1))

        ideal = Extractor("ideal", "2", ("dog", "cat"), None, "none", (), take)
        result = evaluate("made.npz", against="real.npz", extractor=ideal, quiet=True)
        assert result.per_class == {"dog": 1, "cat": 1}
        assert any("0 is cat, 1 is dog" in note for note in result.notes)
        assert not any("correctly" in note for note in result.notes)
        wrong = Extractor("wrong", "3", ("cat", "dog"), None, "none", (), take)
        result = evaluate("made.npz", against="real.npz", extractor=wrong, quiet=True)
        assert any(
            "wrong names only 0.0% of the real images correctly" in note for note in result.notes
        )


class TestFiles:
    def test_a_loss_on_one_side_is_recorded_and_noted(self, tmp_path: Path) -> None:
        for suffix in ("png", "jpg"):
            (tmp_path / suffix).mkdir()
            for i in range(30):
                Image.new("RGB", (16, 16), (8 * i, 0, 0)).save(tmp_path / suffix / f"{i}.{suffix}")
        one = evaluate_pooled(tmp_path / "jpg", data=tmp_path / "png")
        assert (one.protocol.real_files, one.protocol.fake_files) == ("PNG", "JPEG")
        (note,) = [note for note in one.notes if "such files lose" in note]
        assert note.startswith("real images of files without loss against JPEG: ")
        both = evaluate_pooled(tmp_path / "jpg", data=tmp_path / "jpg")
        assert not any("such files lose" in note for note in both.notes)

    def test_a_generators_images_have_lost_nothing(self, tiny_run: Run) -> None:
        result = evaluate_pooled(tiny_run.generator_file, n=60)
        assert (result.protocol.real_files, result.protocol.fake_files) == ("array", "generator")
        assert not any("such files lose" in note for note in result.notes)


class TestLabels:
    def test_equal_shares_go_through_the_classes_as_sampling_does(self) -> None:
        assert inputs.spread_labels(23, torch.ones(10)).tolist() == [k % 10 for k in range(23)]

    def test_shares_are_kept_in_every_beginning(self) -> None:
        labels = inputs.spread_labels(1000, torch.tensor([70, 0, 20, 10]))
        for n in (10, 50, 333, 1000):
            counts = torch.bincount(labels[:n], minlength=4)
            assert counts.tolist() == pytest.approx([0.7 * n, 0, 0.2 * n, 0.1 * n], abs=1)
        assert len(labels) == 1000

    def test_a_generator_makes_classes_in_the_proportions_of_training(self, tiny_run: Run) -> None:
        made = inputs.open_generated(tiny_run, Reading()).take(
            40, 0, torch.tensor([3, 1] + [0] * 8)
        )
        assert made.labels is not None
        assert torch.bincount(made.labels).tolist() == [30, 10]
