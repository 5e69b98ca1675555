"""`ganvas sample --out`: files and folders of generated images."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas import data
from ganvas.errors import RunError, SettingError
from ganvas.runs.run import Run
from ganvas.sampling import samples as samples_module
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.samples import Samples


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path) as file:  # without pickles
        return dict(file)


def side_by_side(images: np.ndarray[Any, Any], scale: int) -> np.ndarray[Any, Any]:
    return np.concatenate([image[..., 0].repeat(scale, 0).repeat(scale, 1) for image in images], 1)


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
        ("options", "words"),
        [
            ("--out x.jpg", "x.jpg"),
            ("--out x.npy", "x.npy"),
            ("--out full", "full"),
            ("--columns 0", "--columns 0"),
            ("--out x.npz --columns 3", "--columns 3 is for a .png"),
            ("--out x --scale 4", "--scale 4 is for a .png"),
            ("--n 500 --columns 1 --scale 100", "more than 1,048,576 pixels long"),
            ("--n 500 --scale 500", "the sheet needs 392"),
        ],
    )
    def test_what_cannot_be_written_is_refused_before_images_are_made(
        self,
        options: str,
        words: str,
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
        assert words in cli_run("sample", tiny_run.path, *options.split()).error

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
        limit = 10**6 // (2 * 28 * 28)
        for out in ("x.npz", "x.zip", "x", "x.png"):
            assert (
                f"at most --n {limit},"
                in cli_run("sample", tiny_run.path, "--n", 100_000, "--out", out).error
            )
            assert not Path(out).exists()
        assert cli_run("sample", tiny_run.path, "--n", limit, "--out", "x.npz").code == 0
        assert (
            "the sheet needs" in cli_run("sample", tiny_run.path, "--n", limit, "--scale", 9).error
        )
        assert cli_run("sample", tiny_run.path, "--n", limit // 8, "--scale", 1).code == 0

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
