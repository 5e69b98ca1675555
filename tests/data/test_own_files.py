"""Working inside the folder of pictures: nothing that ganvas writes there becomes data."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas.data.load import load_dataset
from ganvas.errors import DataError
from ganvas.runs.run import Run
from ganvas.views.timelapse import write_gif
from helpers.common import state, train

TRAIN = ("train", "cgan/tiny", "--data", ".", "--images", "320", "--threads", "1")


@pytest.fixture
def photos(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of twelve pictures, to work in."""
    monkeypatch.chdir(pictures)
    return pictures


class TestInside:
    @pytest.fixture(autouse=True)
    def _inside(self, cli_run: Callable[..., Any], photos: Path) -> None:
        self.run = cli_run  # which changes the folder before `photos` does
        self.before = load_dataset(".")

    def test_looking_training_and_resuming(
        self, photos: Path, stop_after: Callable[[int], None]
    ) -> None:
        assert self.run("data", "inspect", ".", "--recipe", "cgan/tiny").code == 0
        assert (photos / "inspect.png").is_file()
        stop_after(5)
        stopped = self.run(*TRAIN)
        assert stopped.code == 130, stopped.err
        assert "left out, as ganvas made them: inspect.png" in stopped.err
        run = "runs/0001-cgan-tiny-pictures"
        assert state(photos / run)["images_seen"] == 80
        again = self.run(*TRAIN)
        assert (again.code, again.out) == (0, f"{run}\n"), again.err
        assert f"left out, as ganvas made them: {run}/, inspect.png" in again.err
        assert f"resuming {run} after 80 of 320 images" in again.err
        for out in ("result.png", "deeper/result.png"):
            Path(out).parent.mkdir(exist_ok=True)
            assert self.run("sample", run, "--out", out).code == 0
        assert self.run("timelapse", run, "--out", "film.gif").code == 0
        assert self.run("report", run).code == 0
        assert "is finished" in self.run("train", "--out", run, "--data", ".").err
        after = load_dataset(".")
        assert after.fingerprint == self.before.fingerprint
        made = f"{run}/, deeper/result.png, film.gif, inspect.png, result.png"
        assert f"left out, as ganvas made them: {made}" in after.notes

    def test_a_run_moves_with_its_pictures(
        self,
        photos: Path,
        stop_after: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        stop_after(5)
        assert self.run(*TRAIN, "--out", "runs/mine").code == 130
        monkeypatch.chdir(photos.parent)
        photos.rename(photos.with_name("elsewhere"))
        monkeypatch.chdir(photos.with_name("elsewhere"))
        gone = self.run("train", "--out", "runs/mine").error
        assert f"was trained on {photos}, which is gone: give its images with --data" in gone
        done = self.run("train", "--out", "runs/mine", "--data", ".")
        assert done.code == 0, done.err
        assert "resuming runs/mine after 80 of 320 images" in done.err
        assert self.run("report", "runs/mine").code == 0
        shutil.rmtree("cat")
        shutil.rmtree("dog")
        assert "holds nothing but what ganvas made: runs/mine/" in self.run(*TRAIN).error

    def test_by_a_path_from_beside(
        self, photos: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (photos.parent / "desk").mkdir()
        monkeypatch.chdir(photos.parent / "desk")
        words = [word if word != "." else "../pictures" for word in TRAIN]
        stop_after(5)
        assert self.run(*words).code == 130
        monkeypatch.chdir(photos)
        done = self.run("train", "--out", "../desk/runs/0001-cgan-tiny-pictures")
        assert (done.code, "resuming" in done.err) == (0, True), done.err


class TestMarks:
    def test_images_that_were_generated_are_data(
        self, tiny_run: Run, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        tiny_run.sample(n=20).save(tmp_path / "folder")
        tiny_run.sample(n=20).save(tmp_path / "packed.zip")
        for what in ("folder", "packed.zip"):
            assert len(load_dataset(tmp_path / what)) == 20
        (tmp_path / "one").mkdir()
        for seed in range(3):
            image = tiny_run.sample(n=1, seed=seed)
            image.save(tmp_path / "one" / f"{seed}.png", scale=1)
        assert len(load_dataset(tmp_path / "one")) == 3
        tiny_run.sample(n=1).save(tmp_path / "one" / "large.png")
        assert len(load_dataset(tmp_path / "one")) == 3

    def test_every_picture_of_a_run_has_a_mark(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        pictures: Path,
        cli_run: Callable[..., Any],
        drawn_losses: None,
    ) -> None:
        run = copy(tiny_run)
        Run.open(run).save_losses()
        found = [*run.glob("*.png"), *run.glob("samples/*.png")]
        assert len(found) >= 5
        write_gif(tiny_run, pictures / "film.gif", 2.0)
        assert cli_run("demo", "1d", "--steps", "15", "--out", pictures).code == 0
        for path in found:
            shutil.copy(path, pictures / "cat" / path.name)
        notes = " ".join(load_dataset(pictures).notes)
        assert len(load_dataset(pictures)) == 12
        assert all(name in notes for name in ("film.gif", "demo-1d.png", "demo-1d.gif"))
        assert "cat/losses.png" in notes

    def test_a_packed_folder_is_read_like_the_folder(
        self, tiny_run: Run, pictures: Path, tmp_path: Path
    ) -> None:
        expected = load_dataset(pictures).fingerprint
        shutil.copytree(tiny_run.path, pictures / "runs" / "0001-a")
        tiny_run.sample(n=9).save(pictures / "result.png")
        path = tmp_path / "packed.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(pictures.rglob("*")):
                archive.write(file, file.relative_to(pictures))
        read = load_dataset(path)
        assert read.fingerprint == expected
        assert "left out, as ganvas made them: runs/0001-a/, result.png" in read.notes

    def test_a_card_alone_makes_no_run(self, pictures: Path) -> None:
        """As of a data set of dishes."""
        (pictures / "cat" / "recipe.json").write_text("{}")
        assert len(load_dataset(pictures)) == 12

    def test_pictures_of_other_programs_stay(self, pictures: Path) -> None:
        image = Image.fromarray(np.zeros((8, 8), np.uint8))
        image.save(pictures / "cat" / "x.gif", comment=b"Software: other")
        (pictures / "cat" / "y.png").write_bytes(b"tEXtSoft")
        with pytest.raises(DataError, match=r"1 of 14 pictures cannot be read: cat/y\.png"):
            load_dataset(pictures)

    def test_a_sheet_alone_is_no_data(self, tiny_run: Run) -> None:
        with pytest.raises(DataError, match=r"nothing but what ganvas made: 000000160\.png"):
            load_dataset(tiny_run.samples_folder)


def test_the_same_pictures_elsewhere_go_on(
    pictures: Path, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train("cgan/tiny", tmp_path / "run", images=96.0, data=pictures)
    moved = pictures.rename(tmp_path / "others")
    train("cgan/tiny", tmp_path / "run", images=96.0, data=moved)
    assert state(tmp_path / "run")["images_seen"] == 96
