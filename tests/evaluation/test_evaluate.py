"""ganvas evaluate: what it reports of what, and under which protocol."""

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
from PIL import Image

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.data.load import Reading
from ganvas.errors import GanvasError, SettingError
from ganvas.evaluation import history, inputs
from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.runs.run import Run
from ganvas.system import seeding
from helpers.common import train
from helpers.judged import Pooled, evaluate_images, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")


KEYS = {"fid", "kid", "precision", "recall", "density", "coverage", "class_kl", "label_accuracy"}
PROTOCOL = {
    "extractor",
    "extractor_sha256",
    "n_real",
    "n_fake",
    "n_prdc",
    "split",
    "resize",
    "seed",
    "versions",
}


class TestWhatIsReported:
    def test_one_json_object_with_every_figure_its_floor_and_protocol(
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
        for figures_of in (result, result["floor"]):
            assert all(isinstance(figures_of[key], (int, float)) for key in KEYS), figures_of
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

    def test_the_table_has_figures_floor_protocol_and_notes(
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

    def test_a_verdict_is_kept_with_the_run_and_the_same_twice(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        for _ in range(2):
            result = evaluate(run, n=300, quiet=True)
        first, second = (run.path / "metrics.jsonl").read_text().splitlines()
        assert first == second == result.to_json()
        assert run.read_metrics()[1]["fid"] == result.fid
        assert history.last_result(run.path) == result

    def test_a_run_a_generator_and_their_images_are_judged_alike(
        self, tiny_run: Run, copy: Callable[[Run], Path], pooled: Pooled, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"extractor": pooled.extractor(), "quiet": True}
        run = evaluate(copy(tiny_run), n=200, **options)
        file = evaluate(tiny_run.generator_file, n=200, **options)
        assert dataclasses.replace(file, source=run.source, kind=run.kind) == run
        samples = tiny_run.sample(n=200)
        for name in ("made.npz", "made.zip", "made"):
            samples.save(tmp_path / name)
            images = evaluate(tmp_path / name, data="mnist-5k", **options)
            assert images.protocol.n_fake == 200
            assert images.fid == run.fid, name
            assert images.precision == run.precision

    def test_any_object_that_maps_images_to_features_will_do(self, tiny_run: Run) -> None:
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

    def test_seeds_give_means_and_spreads(self, tiny_run: Run, pooled: Pooled) -> None:
        options: dict[str, Any] = {"n": 150, "extractor": pooled.extractor(), "quiet": True}
        each = [evaluate(tiny_run.generator_file, seed=seed, **options) for seed in (5, 6, 7)]
        result = evaluate(tiny_run.generator_file, seed=5, seeds=3, **options)
        for name in ("fid", "kid", "coverage"):
            values = [getattr(one, name) for one in each]
            assert getattr(result, name) == pytest.approx(np.mean(values))
            assert getattr(result.spread, name) == pytest.approx(np.std(values, ddof=1))
        assert len({one.fid for one in each}) == 3
        assert (result.seeds, result.protocol.seed, each[0].spread) == (3, 5, None)

    def test_a_set_smaller_than_n_is_judged_whole_and_a_larger_one_in_part(
        self, held_out: Dataset, pooled: Pooled
    ) -> None:
        options: dict[str, Any] = {
            "data": "mnist-5k",
            "extractor": pooled.extractor(),
            "quiet": True,
        }
        some = held_out.rows(torch.arange(400))
        assert evaluate(some, **options).protocol.n_fake == 400
        part = [evaluate(some, n=200, seed=seed, **options) for seed in (0, 0, 1)]
        assert [one.protocol.n_fake for one in part] == [200] * 3
        assert part[0].fid == part[1].fid != part[2].fid
        order = torch.randperm(
            400, generator=seeding.generator(0, "judged", 0)
        )  # seeds take parts without one in common
        others = evaluate(some.rows(order[200:]), **options)
        both = evaluate(some, n=200, seeds=2, **options)
        assert both.fid == pytest.approx((part[0].fid + others.fid) / 2)
        with pytest.raises(
            SettingError,
            match=r"takes 3 parts of 200, and .* holds 400 images: give --n 133 or less",
        ):
            evaluate(some, n=200, seeds=3, **options)

    def test_an_inception_score_of_few_images_is_told_to_be_low(self, held_out: Dataset) -> None:
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

    def test_unlabelled_images_have_no_label_accuracy_but_the_other_figures(
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

    def test_what_takes_seconds_to_import_is_not_imported(
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


class TestRealSide:
    def test_where_nothing_is_held_out_this_is_said(self, pictures: Path, pooled: Pooled) -> None:
        result = evaluate(pictures, data=pictures, extractor=pooled.extractor(), quiet=True)
        assert (result.protocol.split, result.protocol.n_real) == ("train", 12)
        assert any("no held-out part" in note for note in result.notes)
        assert any(
            "floor: 6 of the real images against 6 others, by chance; the fewer images" in note
            for note in result.notes
        )
        assert any("12 real images only" in note for note in result.notes)
        assert result.fid is None
        assert any("no fid: 12 real images for 16 features" in note for note in result.notes)
        assert result.precision == 1

    def test_an_extractor_that_learned_from_the_stand_ins_or_the_real_images_is_told_of(
        self, training: Dataset, pictures: Path, pooled: Pooled
    ) -> None:
        """The floor's images are then too familiar to it, or both sides are."""
        of_floor = "floor: pooled learned from the very images that stand in for generated ones"
        of_real = "pooled learned from the images judged against"
        one = data.load_dataset(pictures)
        for given, name, learned, expected in (
            (training.rows(torch.arange(40)), "mnist-5k", "mnist-5k", [of_floor]),
            (training.rows(torch.arange(40)), "mnist-5k", "0" * 64, []),
            (one, pictures, one.fingerprint, [of_floor, of_real]),
        ):
            given = dataclasses.replace(pooled.extractor(), learned=(learned,))
            notes = evaluate(given, data=name, extractor=given, quiet=True).notes
            assert [
                any(note.startswith(text) for note in notes) for text in (of_floor, of_real)
            ] == [text in expected for text in (of_floor, of_real)]

    def test_kids_subsets_are_no_more_than_half_of_a_side(
        self, training: Dataset, pooled: Pooled
    ) -> None:
        result = evaluate_images(training.images[:1200], extractor=pooled.extractor())
        assert result.kid_std is not None
        assert result.floor.kid_std is not None
        assert result.kid_std > 0 < result.floor.kid_std
        assert [note for note in result.notes if "kid_std" in note] == [
            "kid_std is of subsets of 500 images, where 1,000 are usual: a side has 1,000"
        ]
        both = evaluate_images(
            training.images[:2400], data=None, against=training, extractor=pooled.extractor()
        )
        assert not any("kid_std" in note for note in both.notes)

    def test_a_named_set_judged_against_is_its_training_part_and_it_is_said(
        self, training: Dataset, pooled: Pooled
    ) -> None:
        options: dict[str, Any] = {"extractor": pooled.extractor(), "quiet": True}
        result = evaluate(training.rows(torch.arange(40)), against="mnist-5k", **options)
        expected = (
            "--against mnist-5k takes its training part: --data mnist-5k judges by the held-out one"
        )
        assert expected in result.notes

    def test_a_size_that_the_images_have_is_no_resizing(
        self, training: Dataset, pooled: Pooled, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {
            "data": "mnist-5k",
            "extractor": pooled.extractor(),
            "size": (28, 28),
            "quiet": True,
        }
        same = npz(tmp_path / "same.npz", training.images[:20])
        assert evaluate(same, **options).protocol.resize == "none"
        large = npz(tmp_path / "large.npz", training.images[:20].repeat(1, 1, 2, 2))
        assert evaluate(large, **options).protocol.resize == "resized to 28x28"

    def test_real_images_that_were_resized_are_in_the_protocol(
        self, training: Dataset, pooled: Pooled, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"extractor": pooled.extractor(), "size": (28, 28), "quiet": True}
        large = npz(tmp_path / "large.npz", training.images[:20].repeat(1, 1, 2, 3))
        result = evaluate(training.rows(torch.arange(30)), against=large, **options)
        assert result.protocol.resize == "real ones cropped and resized to 28x28"

    def test_colours_that_go_are_in_the_protocol(
        self, training: Dataset, pooled: Pooled, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {
            "data": "mnist-5k",
            "extractor": pooled.extractor(),
            "quiet": True,
        }
        for k in range(20):
            pixels = np.random.default_rng(k).integers(256, size=(28, 28, 3), dtype=np.uint8)
            (tmp_path / "colour").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "colour" / f"{k}.png")
        result = evaluate(tmp_path / "colour", channels=1, **options)
        assert result.protocol.resize == "turned to grey"
        grey = npz(tmp_path / "grey.npz", training.images[:20])
        assert evaluate(grey, channels=1, **options).protocol.resize == "none"

    def test_pictures_get_size_and_channels_as_asked(self, pooled: Pooled, tmp_path: Path) -> None:
        real = npz(tmp_path / "real.npz", torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
        wide = npz(tmp_path / "wide.npz", torch.randint(0, 256, (20, 3, 8, 24), dtype=torch.uint8))
        options: dict[str, Any] = {
            "against": real,
            "extractor": pooled.extractor(),
            "quiet": True,
            "channels": 1,
        }
        result = [
            evaluate(wide, size=(8, 8), fit=fit, **options) for fit in ("crop", "pad", "stretch")
        ]
        assert [one.protocol.resize for one in result] == [
            f"{done} to 8x8, turned to grey"
            for done in ("cropped and resized", "resized and padded with white", "stretched")
        ]
        assert len({one.kid for one in result}) == 3
        assert "20 colour pictures turned to grey" in result[0].notes

    def test_images_with_transparency(self, pooled: Pooled, tmp_path: Path) -> None:
        """They are judged beside such images as they are, and beside others with the channels of
        these."""
        clear = npz(tmp_path / "clear.npz", torch.randint(0, 256, (20, 4, 8, 8), dtype=torch.uint8))
        colour = npz(
            tmp_path / "colour.npz", torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
        )
        options: dict[str, Any] = {"extractor": pooled.extractor(), "quiet": True}
        assert evaluate(clear, against=clear, **options).precision == 1
        result = evaluate(clear, against=colour, channels=3, **options)
        assert "20 transparent pictures composited on white" in result.notes
        assert result.protocol.resize == "composited on white"
        wider = evaluate(colour, against=clear, **options)
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

    def test_a_single_training_image_makes_no_floor(self, tmp_path: Path, pooled: Pooled) -> None:
        images = torch.randint(0, 256, (30, 8, 8), dtype=torch.uint8).numpy()
        for part, number in (("train", 1), ("test", 30)):
            (folder := tmp_path / "photos" / part).mkdir(parents=True)
            for k in range(number):
                Image.fromarray(images[k]).save(folder / f"{k}.png")
        made = npz(tmp_path / "made.npz", torch.from_numpy(images)[:, None])
        result = evaluate(made, data=tmp_path / "photos", extractor=pooled.extractor(), quiet=True)
        assert (
            "no floor: 30 real images and 1 in place of generated ones are too few" in result.notes
        )
        assert result.floor.kid is None

    def test_a_held_out_folder(self, tmp_path: Path, pooled: Pooled) -> None:
        rng = np.random.default_rng(0)
        for part, number in (("train", 40), ("test", 30)):
            (tmp_path / "photos" / part).mkdir(parents=True)
            for k in range(number):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / f"{k}.png")
        images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
        result = evaluate(
            npz(tmp_path / "made.npz", images),
            data=tmp_path / "photos",
            extractor=pooled.extractor(),
            quiet=True,
        )
        assert (result.protocol.split, result.protocol.n_real, result.protocol.n_fake) == (
            "test",
            30,
            50,
        )
        assert any(
            "there are only 40 training images, fewer than the 50 judged" in note
            for note in result.notes
        )

    def test_a_runs_own_data_are_read_as_in_training_and_a_change_is_said(
        self, pictures: Path, pooled: Pooled, tmp_path: Path
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

    def test_grey_images_are_widened_to_rgb_and_it_is_said(
        self, pooled: Pooled, tmp_path: Path
    ) -> None:
        grey = npz(tmp_path / "grey.npz", torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
        colour = npz(
            tmp_path / "colour.npz", torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
        )
        for judged, against in ((grey, colour), (colour, grey)):
            result = evaluate(judged, against=against, extractor=pooled.extractor(), quiet=True)
            assert any("20 grey images of grey.npz widened to RGB" in note for note in result.notes)
        same = evaluate(grey, against=grey, extractor=pooled.extractor(), quiet=True)
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
        assert not any("rightly" in note for note in result.notes)
        wrong = Extractor("wrong", "3", ("cat", "dog"), None, "none", (), take)
        result = evaluate("made.npz", against="real.npz", extractor=wrong, quiet=True)
        assert any(
            "wrong names only 0.0% of the real images rightly" in note for note in result.notes
        )

    def test_the_real_sides_features_are_cached_by_content(
        self, held_out: Dataset, training: Dataset, tmp_path: Path, cache: Path
    ) -> None:
        one, two, made = Pooled(), Pooled(), training.images[:100]
        first = evaluate_images(made, extractor=one.extractor("a" * 64))
        assert one.seen == [1000, 100, 100]  # real, generated, floor
        renamed = npz(tmp_path / "renamed.npz", held_out.images)
        evaluate_images(made, data=None, against=renamed, extractor=two.extractor("a" * 64))
        assert two.seen == [100, 500, 100]  # only the halves of its floor are new
        again = Pooled()
        assert evaluate_images(made, extractor=again.extractor("a" * 64)) == first
        assert again.seen == [100]
        other = Pooled()
        evaluate_images(made, extractor=other.extractor("b" * 64))
        assert other.seen == [1000, 100, 100]

    def test_those_of_a_users_own_extractor_are_kept_only_under_a_hash_that_the_user_gives(
        self, training: Dataset, tmp_path: Path
    ) -> None:
        """What a function depends on, nobody can see in full."""
        made, pooled = training.images[:100], Pooled()

        def features(images: torch.Tensor) -> torch.Tensor:
            return pooled(images).features

        for judged_by, looked_at in (
            (features, 2 * 1200),
            (Extractor.of(features), 2 * 1200),
            (Extractor.of(features, sha256="c" * 64), 1200 + 100),
        ):
            pooled.seen.clear()
            for _ in range(2):
                evaluate_images(made, extractor=judged_by)
            assert sum(pooled.seen) == looked_at  # real images, generated ones, and the floor's

    def test_a_damaged_cache_is_made_anew_and_a_disk_that_refuses_is_no_matter(
        self, training: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
        made, good = training.images[:100], Pooled()
        first = evaluate_images(made, extractor=good.extractor())
        for file in (tmp_path / "own" / "ganvas" / "features").iterdir():
            content = bytearray(file.read_bytes())
            content[-5] ^= 1
            file.write_bytes(content)
        again = Pooled()
        assert evaluate_images(made, extractor=again.extractor()) == first
        assert again.seen == good.seen
        for file in (tmp_path / "own" / "ganvas" / "features").iterdir():
            file.write_bytes(b"no tensors")
        assert evaluate_images(made, extractor=Pooled().extractor()) == first
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert evaluate_images(made, extractor=Pooled().extractor()) == first


class TestLabels:
    def test_equal_shares_go_through_the_classes_as_sampling_does(self) -> None:
        assert inputs.spread_labels(23, torch.ones(10)).tolist() == [k % 10 for k in range(23)]

    def test_shares_are_kept_in_every_beginning(self) -> None:
        labels = inputs.spread_labels(1000, torch.tensor([70, 0, 20, 10]))
        for n in (10, 50, 333, 1000):
            counts = torch.bincount(labels[:n], minlength=4)
            assert counts.tolist() == pytest.approx([0.7 * n, 0, 0.2 * n, 0.1 * n], abs=1)
        assert len(labels) == 1000

    def test_a_generator_is_asked_for_classes_as_often_as_they_occur(self, tiny_run: Run) -> None:
        source = inputs.open_generated(tiny_run, Reading())
        made = source.take(40, 0, torch.tensor([3, 1] + [0] * 8))
        assert made.labels is not None
        assert torch.bincount(made.labels).tolist() == [30, 10]
