"""`ganvas sample`: which images come out for which seed and labels, and in which files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganvas import data, gans
from ganvas.errors import RunError, SettingError
from ganvas.recipe import ImageSpec
from ganvas.runs.run import Run
from ganvas.sampling import sampler as sampler_module
from ganvas.sampling import samples as samples_module
from ganvas.sampling.sampler import Sampler, latents
from ganvas.sampling.samples import Samples, parse_labels, sample


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path) as file:  # without pickles
        return dict(file)


def side_by_side(images: np.ndarray[Any, Any], scale: int) -> np.ndarray[Any, Any]:
    return np.concatenate([image[..., 0].repeat(scale, 0).repeat(scale, 1) for image in images], 1)


def made(gan: str, spec: ImageSpec, seed: int = 0) -> Sampler:
    """A Sampler of an untrained generator."""
    file = gans.load_gan(gan)
    return Sampler(file.build(file.recipes["tiny"].model, spec, seed), spec.classes)


class TestLatents:
    @given(
        st.integers(0, 2**64 - 1),
        st.lists(st.integers(0, 10**9), min_size=1, max_size=9),
        st.integers(1, 40),
    )
    def test_each_depends_on_its_seed_and_index_alone(
        self, seed: int, indices: list[int], z_dim: int
    ) -> None:
        together = latents(indices, seed, z_dim)
        assert together.shape == (len(indices), z_dim)
        assert together.dtype == torch.float32
        for row, index in zip(together, indices, strict=True):
            assert torch.equal(row, latents([index], seed, z_dim)[0])

    def test_they_are_what_they_were(self) -> None:
        """Pinned bits: an image that someone has noted the seed of must not change with a new
        version."""
        expected = np.random.Generator(np.random.Philox(key=np.array([3, 5], np.uint64)))
        assert (
            latents([5], 3, 7).numpy().tobytes()
            == expected.standard_normal(7, np.float32).tobytes()
        )
        assert latents([0], 0, 3)[0].tolist() == pytest.approx(
            latents([0, 1], 0, 3)[0].tolist(), abs=0
        )

    def test_other_seeds_and_indices_are_independent_standard_normals(self) -> None:
        z = torch.cat([latents(range(500), seed, 20) for seed in (0, 1, 2**63, 2**64 - 1)])
        assert len({row.numpy().tobytes() for row in z}) == 2000
        assert z.mean().abs() < 0.02
        assert z.std().item() == pytest.approx(1, abs=0.02)
        assert np.abs(np.corrcoef(z.numpy().T) - np.eye(20)).max() < 0.1

    @pytest.mark.parametrize("seed", [-1, 2**64])
    def test_seeds_out_of_range(self, seed: int) -> None:
        with pytest.raises(SettingError, match=str(seed)):
            latents([0], seed, 3)


class TestKeyedImages:
    def test_image_k_of_a_seed_is_the_same_whatever_is_made_beside_it(
        self, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sampler = tiny_run.sampler()
        whole = sampler(range(150), seed=4).int()
        for chunk in (1, 7, 150):
            monkeypatch.setattr(sampler_module, "SAMPLING_CHUNK", chunk)
            assert (sampler(range(150), seed=4).int() - whole).abs().max() <= 1
        assert (sampler([149, 3, 64], seed=4).int() - whole[[149, 3, 64]]).abs().max() <= 1
        assert (sampler(range(20), seed=4).int() - whole[:20]).abs().max() <= 1
        assert not torch.equal(sampler(range(150), seed=5).int(), whole)

    def test_repetition_is_equal_to_the_bit(self, tiny_run: Run) -> None:
        torch.manual_seed(1)
        one = tiny_run.sample(n=30, seed=2).images
        torch.manual_seed(2)
        np.testing.assert_array_equal(one, tiny_run.sample(n=30, seed=2).images)

    def test_batch_statistics_do_not_enter_and_the_mode_is_left_as_it_was(
        self, tiny_run: Run
    ) -> None:
        sampler = tiny_run.sampler()
        for training in (True, False):
            sampler.gan.generator.train(training)
            before = {
                name: value.clone() for name, value in sampler.gan.generator.state_dict().items()
            }
            sampler(range(5))
            assert sampler.gan.generator.training is training
            after = sampler.gan.generator.state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)

    def test_without_labels_image_k_shows_class_k_modulo_the_classes(self, tiny_run: Run) -> None:
        sampler = tiny_run.sampler()
        indices = [3, 14, 9, 20]
        assert torch.equal(sampler(indices), sampler(indices, labels=[3, 4, 9, 0]))
        assert not torch.equal(sampler(indices), sampler(indices, labels=[4, 4, 4, 4]))

    def test_the_requested_class_reaches_the_generator(self, tiny_run: Run) -> None:
        sampler, wanted = tiny_run.sampler(), [2, 0, 2, 3]
        z = latents(range(4), 0, sampler.gan.z_dim)
        with torch.inference_mode():
            images = sampler.gan.generator.eval()(z, torch.tensor(wanted))
        expected = images.permute(0, 2, 3, 1).add(1).mul(127.5).round().clamp(0, 255).byte()
        assert np.array_equal(sample(sampler, labels="2023").images, expected.numpy())


class TestLabels:
    DIGITS = tuple("0123456789")

    @pytest.mark.parametrize(
        ("text", "classes", "expected"),
        [
            ("20231223", DIGITS, [2, 0, 2, 3, 1, 2, 2, 3]),
            ("7", DIGITS, [7]),
            ("1,0,1", DIGITS, [1, 0, 1]),
            ("cat,dog,cat", ("cat", "dog"), [0, 1, 0]),
            (" cat , dog", ("cat", "dog"), [0, 1]),
            ("dog", ("cat", "dog"), [1]),
            ("101", ("cat", "dog"), [1, 0, 1]),  # by index, one a character
            ("1,cat", ("cat", "dog"), [1, 0]),
            ("12", ("12", "1", "2"), [0]),  # a class's name as a whole comes first
            ("21", ("12", "1", "2"), [2, 1]),  # names come before indices
            ("11,3", tuple(f"k{k}" for k in range(12)), [11, 3]),
            ("ba", ("a", "b"), [1, 0]),
            ("balanced", ("balanced", "other"), [0]),
            ("dog, small", ("cat", "dog, small"), [1]),
        ],
    )
    def test_reading(self, text: str, classes: tuple[str, ...], expected: list[int]) -> None:
        assert parse_labels(text, classes) == expected

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
    def test_any_sequence_of_digits_and_its_form_with_commas(self, sequence: list[int]) -> None:
        assert parse_labels("".join(map(str, sequence)), self.DIGITS) == sequence
        if len(sequence) > 1:
            assert parse_labels(",".join(map(str, sequence)), self.DIGITS) == sequence

    @pytest.mark.parametrize(
        ("text", "classes", "message"),
        [
            ("12x", DIGITS, "no class 'x'"),
            ("cat,dgo", ("cat", "dog"), "no class 'dgo': did you mean dog?"),
            ("catdog", ("cat", "dog"), "no class 'catdog': did you mean dog?"),
            ("bird", ("cat", "dog"), "no class 'bird': choose one of: cat, dog"),
            (" dog", ("cat", "dog"), "no class ' dog': did you mean dog?"),
            ("DOG", ("cat", "dog"), "no class 'DOG': did you mean dog?"),
            ("1,2", ("cat", "dog"), "no class '2'"),
            ("", DIGITS, "empty"),
            ("1,", DIGITS, "no class ''"),
            ("-1", DIGITS, "no class '-'"),
        ],
    )
    def test_unknown_classes(self, text: str, classes: tuple[str, ...], message: str) -> None:
        with pytest.raises(SettingError) as error:
            parse_labels(text, classes)
        assert message in str(error.value)

    @given(st.integers(1, 45))
    def test_n_goes_through_the_classes_balanced_or_not(self, n: int) -> None:
        sampler = made("cgan", ImageSpec(height=2, width=2, channels=1, classes=("a", "b", "c")))
        for labels in (None, "balanced"):
            samples = sample(sampler, n=n, labels=labels)
            assert samples.labels is not None
            assert samples.labels.tolist() == [k % 3 for k in range(n)]
            counts = np.bincount(samples.labels, minlength=3)
            assert counts.max() - counts.min() <= 1

    def test_without_n_balanced_gives_as_many_of_every_class(self, tiny_run: Run) -> None:
        labels = tiny_run.sample(labels="balanced").labels
        assert labels is not None
        assert len(set(np.bincount(labels, minlength=10))) == 1

    def test_one_image_is_made_for_each_label(self, tiny_run: Run) -> None:
        assert len(tiny_run.sample(labels="123", n=3).images) == 3
        with pytest.raises(SettingError, match="--n 4 with 3 labels"):
            tiny_run.sample(labels="123", n=4)

    @pytest.mark.parametrize("labels", ["123", "balanced", "", "cat,dog"])
    def test_an_unconditional_generator_has_no_labels(
        self, unconditional_run: Run, labels: str
    ) -> None:
        with pytest.raises(SettingError, match="unconditional"):
            unconditional_run.sample(labels=labels)
        assert unconditional_run.sample(n=3).labels is None


class TestFiles:
    def test_a_sequence_is_one_row_without_gaps(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run("sample", tiny_run.path, "--labels", "20231223")
        assert (done.code, done.out, done.err) == (0, "result.png\n", "")
        cli_run("sample", tiny_run.path, "--labels", "20231223", "--out", "same.npz")
        stored = arrays(tmp_path / "same.npz")
        assert stored.keys() == {"images", "labels", "classes"}
        assert (stored["images"].shape, stored["images"].dtype) == ((8, 28, 28, 1), np.uint8)
        assert (stored["labels"].tolist(), stored["labels"].dtype) == (
            [2, 0, 2, 3, 1, 2, 2, 3],
            np.int64,
        )
        np.testing.assert_array_equal(
            pixels(tmp_path / "result.png"), side_by_side(stored["images"], 4)
        )
        for scale in (1, 3):
            cli_run(
                "sample",
                tiny_run.path,
                "--labels",
                "20231223",
                "--scale",
                scale,
                "--out",
                "row.png",
            )
            np.testing.assert_array_equal(
                pixels(tmp_path / "row.png"), side_by_side(stored["images"], scale)
            )

    def test_a_file_of_weights_is_as_good_as_the_run(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        cli_run("sample", tiny_run.path, "--labels", "31", "--out", "run.npz")
        (tmp_path / "alone").mkdir()
        alone = tmp_path / "alone" / "renamed.safetensors"
        alone.write_bytes(tiny_run.generator_file.read_bytes())
        done = cli_run("sample", alone, "--labels", "31", "--out", "file.npz")
        assert done.code == 0, done.err
        assert (tmp_path / "run.npz").read_bytes() == (tmp_path / "file.npz").read_bytes()

    @pytest.mark.parametrize(
        ("n", "columns", "rows"), [(20, None, 2), (20, 5, 4), (7, 5, 2), (3, 50, 1), (1, 1, 1)]
    )
    def test_a_sheet_otherwise(
        self,
        n: int,
        columns: int | None,
        rows: int,
        tiny_run: Run,
        cli_run: Callable[..., Any],
        tmp_path: Path,
    ) -> None:
        options = () if columns is None else ("--columns", columns)
        assert cli_run("sample", tiny_run.path, "--n", n, "--scale", 1, *options).code == 0
        sheet, images = pixels(tmp_path / "result.png"), tiny_run.sample(n=n).images
        across = min(columns or 10, n)
        assert sheet.shape == (rows * 28, across * 28)
        for k in range(rows * across):
            y, x = k // across * 28, k % across * 28
            expected = images[k, ..., 0] if k < n else np.full((28, 28), 255)
            np.testing.assert_array_equal(sheet[y : y + 28, x : x + 28], expected)

    def test_columns_break_a_sequence(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        cli_run("sample", tiny_run.path, "--labels", "12345", "--columns", 2, "--scale", 2)
        assert pixels(tmp_path / "result.png").shape == (3 * 56, 2 * 56)

    def test_unconditional_samples_have_no_labels_anywhere(
        self, unconditional_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        for out in ("u.npz", "u.zip", "u", "u.png"):
            assert cli_run("sample", unconditional_run.path, "--n", 5, "--out", out).code == 0
        assert arrays(tmp_path / "u.npz").keys() == {"images"}
        assert sorted(path.name for path in (tmp_path / "u").iterdir()) == [
            f"{k:06}.png" for k in range(5)
        ]
        with zipfile.ZipFile(tmp_path / "u.zip") as archive:
            assert sorted(archive.namelist()) == [f"{k:06}.png" for k in range(5)]

    @pytest.mark.parametrize("out", ["made", "made.zip", "deeper/made", "MADE.ZIP"])
    def test_a_folder_or_zip_is_a_data_set(
        self, out: str, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run("sample", tiny_run.path, "--n", 23, "--seed", 9, "--out", out)
        assert (done.code, done.out) == (0, f"{out}\n"), done.err
        wanted, read = tiny_run.sample(n=23, seed=9), data.load_dataset(tmp_path / out)
        np.testing.assert_array_equal(read.images.permute(0, 2, 3, 1).numpy(), wanted.images)
        assert read.labels is not None
        assert wanted.labels is not None
        assert [read.classes[k] for k in read.labels] == [str(k) for k in wanted.labels]

    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("out", ["made", "made.zip", "made.npz"])
    def test_odd_class_names_and_any_channels_come_back(
        self, channels: int, out: str, tmp_path: Path
    ) -> None:
        classes = ("a,b", 'say "hi"', "#1", "two words", "ünï", "-", "O'Neil", "0")
        images = np.random.default_rng(0).integers(0, 256, (8, 5, 4, channels), np.uint8)
        Samples(images, np.arange(8), classes, 8).save(tmp_path / out)
        read = data.load_dataset(tmp_path / out)
        np.testing.assert_array_equal(read.images.permute(0, 2, 3, 1).numpy(), images)
        assert read.labels is not None
        assert [read.classes[k] for k in read.labels] == list(classes)

    def test_colour_rows(self, tmp_path: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
        Samples(images, None, (), 3).save(tmp_path / "row.png", scale=1)
        np.testing.assert_array_equal(pixels(tmp_path / "row.png"), np.concatenate(list(images), 1))

    def test_the_same_command_makes_the_same_bytes(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        for name in ("a.zip", "b.zip", "a.png", "b.png", "a.npz", "b.npz"):
            cli_run("sample", tiny_run.path, "--n", 12, "--seed", 5, "--out", name)
        for ending in ("zip", "png", "npz"):
            assert (tmp_path / f"a.{ending}").read_bytes() == (
                tmp_path / f"b.{ending}"
            ).read_bytes()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ("--out x.jpg", "x.jpg"), ("--out x.npy", "x.npy"), ("--out full", "full"), ("--columns 0", "--columns 0"),
            ("--out x.npz --columns 3", "--columns 3 is for a .png"), ("--out x --scale 4", "--scale 4 is for a .png"),
            ("--n 500 --columns 1 --scale 100", "more than 1,048,576 pixels long"),
            ("--n 500 --scale 500", "the sheet needs 392"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_written_is_said_before_images_are_made(
        self,
        options: str,
        said: str,
        tiny_run: Run,
        cli_run: Callable[..., Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        monkeypatch.setattr(
            "psutil.virtual_memory", lambda: SimpleNamespace(available=10**10, total=10**10)
        )
        make = Sampler.__call__

        def one(sampler: Sampler, indices: Any, **options: Any) -> Any:
            return (
                make(sampler, indices, **options)
                if len(indices) == 1
                else pytest.fail("images were made")
            )

        monkeypatch.setattr(Sampler, "__call__", one)  # one alone tells how much memory they need
        assert said in cli_run("sample", tiny_run.path, *options.split()).error

    @pytest.mark.parametrize("out", ["long.npz", "long.zip", "long"])
    def test_only_a_png_can_be_too_long(self, out: str, tmp_path: Path) -> None:
        samples = Samples(np.zeros((2, 2**18 + 1, 1, 1), np.uint8), None, (), 2)
        with pytest.raises(
            SettingError,
            match=r"1,048,576 pixels long; make it smaller, or write \.npz, \.zip or a folder",
        ):
            samples.save(tmp_path / "long.png")
        assert samples.save(tmp_path / out).exists()

    def test_more_images_than_memory_holds_are_refused_before_they_are_made(
        self, tiny_run: Run, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Small:
            available = 10**6
            total = 10**12

        monkeypatch.setattr("psutil.virtual_memory", Small)
        most = 10**6 // (2 * 28 * 28)
        for out in ("x.npz", "x.zip", "x", "x.png"):
            assert (
                f"at most --n {most},"
                in cli_run("sample", tiny_run.path, "--n", 100_000, "--out", out).error
            )
            assert not Path(out).exists()
        assert cli_run("sample", tiny_run.path, "--n", most, "--out", "x.npz").code == 0
        assert (
            "the sheet needs" in cli_run("sample", tiny_run.path, "--n", most, "--scale", 9).error
        )
        assert cli_run("sample", tiny_run.path, "--n", most // 8, "--scale", 1).code == 0

    def test_existing_pictures_are_replaced_whole_and_folders_never(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        cli_run("sample", tiny_run.path, "--n", 4)
        first = (tmp_path / "result.png").read_bytes()
        cli_run("sample", tiny_run.path, "--n", 4, "--seed", 1)
        assert (tmp_path / "result.png").read_bytes() != first
        assert [entry.name for entry in tmp_path.iterdir()] == ["result.png"]
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        assert "not empty" in cli_run("sample", tiny_run.path, "--out", "full").error
        assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["mine"]
        (tmp_path / "empty").mkdir()
        assert cli_run("sample", tiny_run.path, "--n", 2, "--out", "empty").code == 0
        assert len(list((tmp_path / "empty").iterdir())) == 3

    def test_a_failing_folder_leaves_nothing(
        self, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(samples_module.os, "replace", full)
        for out in ("made", "made.zip", "made.png", "made.npz"):
            with pytest.raises(RunError, match="the disk is full"):
                tiny_run.sample(n=4).save(tmp_path / out)
        assert list(tmp_path.iterdir()) == []

    def test_a_run_without_a_generator_says_how_to_get_one(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(half_run)
        assert cli_run("sample", path, "--n", 2).code == 0  # an unfinished run has one, too
        (path / "generator.safetensors").unlink()
        assert f"ganvas train --out {path}" in cli_run("sample", path, "--n", 2).error

    def test_no_code_comes_from_a_file(
        self, tiny_run: Run, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        import safetensors.torch

        (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
        card = json.loads(tiny_run.card.to_json()) | {"gan": "evil.py"}
        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        safetensors.torch.save_file(
            tensors, tmp_path / "g.safetensors", {"ganvas": json.dumps(card)}
        )
        assert "add --gan" in cli_run("sample", "g.safetensors").error
        card["gan"] = "../evil"
        safetensors.torch.save_file(
            tensors, tmp_path / "g.safetensors", {"ganvas": json.dumps(card)}
        )
        assert "../evil" in cli_run("sample", "g.safetensors").error
        assert not (tmp_path / "ran").exists()
