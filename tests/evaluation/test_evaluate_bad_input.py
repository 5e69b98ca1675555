"""ganvas evaluate: bad input is one line, and a score that means nothing gets a note."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas.data.dataset import Dataset
from ganvas.errors import GanvasError, MetricError, RunError, SettingError
from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.gan import Gan
from ganvas.runs.run import Run
from helpers.judged import evaluate_images, evaluate_pooled, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")


NAN = Extractor(
    "nan", "3", (), None, "none", (), lambda x: Features(x.float().mean((2, 3)) / 0, None)
)


def test_a_bare_command_uses_the_default_numbers(
    monkeypatch: pytest.MonkeyPatch, cli_run: Callable[..., Any]
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "ganvas.evaluation.evaluate.evaluate",
        lambda source, **options: calls.append(options) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        cli_run("evaluate", "run")
    (options,) = calls
    assert (options["n"], options["prdc_n"], options["seeds"], options["seed"]) == (
        10_000,
        2000,
        1,
        0,
    )


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("RUN --n 0", "--n 0: expected 1 to"),
            ("RUN --n -5", "--n -5"),
            ("RUN --n 1", "1 generated image: scores compare sets, give at least 2 images"),
            ("RUN --n 10000001", "--n 10000001: expected 1 to 10000000"),
            ("RUN --seeds 0", "--seeds 0"),
            ("RUN --seed -1", "--seed -1"),
            ("RUN --prdc-n 5", "--prdc-n 5: expected 6"),
            ("RUN --extractor digts", "did you mean digits"),
            ("RUN --data nowhere", "nowhere"),
            ("RUN --out x.png", "does nothing without --copies"),
            (
                "RUN --copies --out images.npz",
                "--out images.npz: the sheet of the closest pairs is a picture",
            ),
            ("RUN --gan some.py", "leave --gan out"),
            (
                "missing",
                "missing does not exist: give a run's directory, a generator.safetensors, or",
            ),
            ("missing/generator.safetensors", "no file"),
            ("images.npz", "say by --data or --against"),
            (
                "images.npz --data mnist-5k --seeds 3",
                "--seeds 3: all images of images.npz are used",
            ),
            ("images.npz --data mnist-5k --gan some.py", "--gan some.py does nothing for images"),
            ("images.npz --against images.npz --copies", "--copies needs training images"),
            (
                "images.npz --data mnist-5k --gan-train",
                "--gan-train needs labels, and images.npz have none",
            ),
            ("labelled.npz --data labelled.npz --gan-train", "labelled.npz has none: leave it out"),
            (
                "labelled.npz --against labelled.npz --gan-train",
                "--gan-train needs training images",
            ),
            (
                "images.npz --data mnist-5k --seed 3",
                "--seed 3: all images of images.npz are used",
            ),
            (
                "keyless.npz --data mnist-5k",
                "does not tell which array holds the images",
            ),
            ("large.npz --data mnist-5k", "large.npz holds images of 32x32, mnist-5k of 28x28"),
            (
                "images.npz --against images.npz --data large.npz",
                "images.npz holds images of 28x28, large.npz of 32x32",
            ),
            ("colour.npz --data mnist-5k", "colour.npz holds RGB images, mnist-5k grey ones"),
            (
                "clear.npz --data mnist-5k",
                "clear.npz holds RGBA images, mnist-5k grey ones: they need one",
            ),
            ("one.npz --data mnist-5k", "1 generated image"),
            ("images.npz --against one.npz", "1 real image"),
            ("negative.npz --data mnist-5k", "labels run from -1"),
            ("eleven.npz --data mnist-5k", "labels run up to 11, expected 0 to 9"),
            ("floats.npz --data mnist-5k", "image 0 has values that are NaN or infinite"),
            ("damaged.npz --data mnist-5k", "damaged.npz"),
        ],
    )
    def test_it_is_one_line(
        self, options: str, message: str, cli_run: Callable[..., Any], tiny_run: Run
    ) -> None:
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (24, 1, 28, 28), dtype=torch.uint8, generator=rng)
        npz(Path("images.npz"), images)
        npz(
            Path("large.npz"),
            torch.randint(0, 256, (24, 1, 32, 32), dtype=torch.uint8, generator=rng),
        )
        npz(
            Path("colour.npz"),
            torch.randint(0, 256, (24, 3, 28, 28), dtype=torch.uint8, generator=rng),
        )
        npz(
            Path("clear.npz"),
            torch.randint(0, 256, (24, 4, 28, 28), dtype=torch.uint8, generator=rng),
        )
        npz(Path("one.npz"), images[:1])
        npz(Path("negative.npz"), images, torch.arange(24) % 10 - 1)
        npz(Path("eleven.npz"), images, torch.arange(24) % 12)
        npz(Path("labelled.npz"), images, torch.arange(24) % 10)
        np.savez("keyless.npz", left=images.numpy(), right=images.numpy())
        np.savez("floats.npz", images=np.full((4, 28, 28), np.nan, np.float32))
        Path("damaged.npz").write_bytes(b"PK no archive")
        words = options.replace("RUN", str(tiny_run.generator_file)).split()
        assert message in cli_run("evaluate", *words).error

    @pytest.mark.parametrize(
        "command",
        [
            "evaluate GENERATOR --against RUN",
            "evaluate GENERATOR --data RUN",
            "train --data RUN",
            "data inspect RUN",
        ],
    )
    def test_a_run_is_no_folder_of_pictures(
        self, command: str, cli_run: Callable[..., Any], tiny_run: Run
    ) -> None:
        """Its sheets and charts are not images of its generator."""
        named = {"RUN": tiny_run.path, "GENERATOR": tiny_run.generator_file}
        message = cli_run(*(named.get(word, word) for word in command.split())).error
        assert f"{tiny_run.path} is a run: name its data" in message
        assert f"ganvas sample {tiny_run.path} --n 10000 --out x.npz" in message

    def test_one_named_class(self, tmp_path: Path, cli_run: Callable[..., Any]) -> None:
        """Labels 0 get its name; GAN-train needs two classes."""
        images = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8)
        for part in ("train", "test"):
            (folder := tmp_path / "cats" / part).mkdir(parents=True)
            for k in range(12):
                Image.fromarray(images[k, 0].numpy()).save(folder / f"{k}.png")
            (folder / "labels.csv").write_text(
                "file,label\n" + "".join(f"{k}.png,cat\n" for k in range(12))
            )
        npz(Path("made.npz"), images, torch.zeros(24, dtype=torch.int64))
        result = evaluate_pooled("made.npz", data="cats")
        assert any(
            note == "labels of made.npz are read as numbers of the classes: 0 is cat"
            for note in result.notes
        )
        message = cli_run("evaluate", "made.npz", "--data", "cats", "--gan-train").error
        assert "--gan-train needs two classes, training images have one: leave it out" in message

    def test_options_without_effect_on_images_are_refused(self, training: Dataset) -> None:
        for options in ({"device": "cuda"}, {"gan": "x.py"}):
            with pytest.raises(SettingError, match="does nothing for images: leave it out"):
                evaluate_images(training.images[:30], **options)

    def test_a_file_named_beside_a_run_is_not_dropped(self, tiny_run: Run) -> None:
        with pytest.raises(RunError, match=r"--gan x\.py: this generator's networks are built in"):
            evaluate(tiny_run, gan="x.py", quiet=True)

    def test_a_damaged_run_is_one_line_and_not_taken_for_pictures(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[..., Path]
    ) -> None:
        broken = copy(tiny_run, "broken")
        (broken / "recipe.json").write_text("{")
        assert "damaged" in cli_run("evaluate", broken).error
        (broken / "recipe.json").unlink()
        assert "it has no recipe.json" in cli_run("evaluate", broken).error
        cut = copy(tiny_run, "cut")
        content = (cut / "generator.safetensors").read_bytes()
        (cut / "generator.safetensors").write_bytes(content[:-7])
        assert "damaged" in cli_run("evaluate", cut).error
        (cut / "generator.safetensors").unlink()
        assert "has no generator yet" in cli_run("evaluate", cut).error

    def test_a_generator_whose_weights_are_not_finite(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        tensors = {k: v.clone() for k, v in run.sampler().gan.generator.state_dict().items()}
        next(v for v in tensors.values() if v.is_floating_point()).fill_(torch.nan)
        run.save_generator(tensors)
        with pytest.raises(GanvasError, match="weights are not finite"):
            evaluate(run, n=20, quiet=True)

    def test_features_that_are_not_finite(self, training: Dataset) -> None:
        with pytest.raises(MetricError, match="nan gives features of mnist-5k that are not finite"):
            evaluate_images(training.images[:50], extractor=NAN)

    def test_an_extractor_with_constant_features(self, training: Dataset) -> None:
        dead = Extractor.of(lambda x: torch.ones(len(x), 4), name="dead")
        result = evaluate(
            training.rows(torch.arange(60)), data="mnist-5k", extractor=dead, quiet=True
        )
        assert "all 1,000 real images have the same features: scores mean little" in result.notes
        assert "all 60 generated images have the same features: scores mean little" in result.notes

    def test_pixels_that_are_not_finite_do_not_count_as_black(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        monkeypatch: pytest.MonkeyPatch,
        cli_run: Callable[..., Any],
    ) -> None:
        make = Gan.make

        def some(gan: Gan, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
            images = make(gan, z, labels)
            images[min(50, len(images) - 1)] = torch.nan
            return images

        monkeypatch.setattr(Gan, "make", some)
        path = copy(tiny_run)
        with pytest.raises(
            RunError, match="pixels that are no numbers, among images 0 to 63 of seed 0"
        ):
            evaluate(path, n=100, quiet=True)
        done = cli_run("sample", path, "--n", 4, "--out", "a.png")
        assert "the generator gives pixels that are no numbers, among images 0 to 3" in done.error
        assert not Path("a.png").exists()

    def test_fewer_images_than_features(self, training: Dataset) -> None:
        result = evaluate_images(training.images[:60], training.labels[:60])
        assert result.fid is None
        assert any(
            note.startswith("no fid: 60 generated images for") and "singular" in note
            for note in result.notes
        )
        assert result.kid is not None
        assert result.precision is not None

    def test_hardly_any_images(self, training: Dataset) -> None:
        result = evaluate_images(training.images[:3], training.labels[:3])
        assert (result.fid, result.precision) == (None, None)
        assert any(
            "3 images of each set are too few for 5 neighbours" in note for note in result.notes
        )
        assert json.loads(result.to_json())["kid"] is not None

    def test_an_all_black_set_gets_scores_and_a_note(self, training: Dataset) -> None:
        result = evaluate_images(torch.zeros(200, 1, 28, 28, dtype=torch.uint8))
        assert any(
            "all 200 generated images are one and the same black image" in note
            for note in result.notes
        )
        assert result.fid > 50 * result.floor.fid
        assert result.coverage < 0.1
        half = torch.cat([training.images[:100], training.images[:100]])
        assert any(
            "only 100 of 200 generated images are different" in note
            for note in evaluate_images(half).notes
        )

    def test_images_of_other_classes_than_the_extractors(self, training: Dataset) -> None:
        made = Dataset("made", training.images[:200], torch.arange(200) % 2, ("boot", "bag"))
        result = evaluate(made, data="mnist-5k", quiet=True)
        assert result.label_accuracy is None
        assert any(
            "no label_accuracy: digits does not know the images' classes bag, boot" in n
            for n in result.notes
        )

    def test_a_class_that_no_real_image_shows(self, training: Dataset) -> None:
        zeros = dataclasses.replace(
            training,
            images=training.images[training.labels == 0][:200],
            labels=None,
            classes=(),
            name="zeros",
        )
        result = evaluate_images(
            training.images[:200], data=None, against=zeros, extractor="digits"
        )
        assert result.class_kl is None
        assert any("no class_kl: it is infinite" in note for note in result.notes)

    def test_a_run_that_cannot_be_written_to_loses_no_work(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(tiny_run)
        (path / "metrics.jsonl").mkdir()
        result = evaluate_pooled(path, n=50)
        assert any(note.startswith("not kept with the run: cannot write") for note in result.notes)
