"""Ways through latents, variations of an image, truncation; and the animations that show them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from ganvas.errors import MissingExtraError, RunError
from ganvas.runs.run import Run
from ganvas.sampling import animations
from ganvas.sampling.latents import latents
from ganvas.sampling.samples import Samples, sample
from ganvas.sampling.walks import Walk, slerp
from helpers.common import hide_package


class Generator:
    """A generator of latents of 50 values."""

    z_dim, draw = 50, 2


GENERATOR = Generator()


class TestWalk:
    def test_a_way_begins_and_ends_at_its_seeds_and_keeps_the_length_of_latents(self) -> None:
        frames = list(Walk(steps=5, to=(9, 4)).latents(GENERATOR, 3, seed=7))
        assert len(frames) == Walk(steps=5, to=(9, 4)).frames == 9
        for frame, seed in ((0, 7), (4, 9), (8, 4)):
            np.testing.assert_array_equal(frames[frame], latents(range(3), seed, 50))
        lengths = np.linalg.norm(np.stack(frames), axis=2)
        assert lengths.min() > 0.8 * 50**0.5
        # equal steps: each frame is as far from the one before
        steps = np.linalg.norm(np.diff(np.stack(frames[:5]), axis=0), axis=2)
        assert (steps.std(0) / steps.mean(0)).max() < 0.15

    def test_without_to_it_goes_to_the_next_seed(self) -> None:
        *_, last = Walk(steps=3).latents(GENERATOR, 2, seed=7)
        np.testing.assert_array_equal(last, latents(range(2), 8, 50))
        *_, last = Walk(steps=3).latents(GENERATOR, 2, seed=2**64 - 1)
        np.testing.assert_array_equal(last, latents(range(2), 0, 50))

    def test_variations_begin_with_the_image_and_are_as_near_to_it_as_was_asked(self) -> None:
        own = latents([5], 3, 50)
        for amount, cosine in ((0.0, 1.0), (0.1, 0.95), (0.5, 0.75), (1.0, 0.0)):
            (z,) = Walk(vary=5, amount=amount).latents(GENERATOR, 400, seed=3)
            np.testing.assert_array_equal(z[:1], own)
            assert z[1:].std() == pytest.approx(1, abs=0.15)
            found = (z[1:] @ own[0]) / np.linalg.norm(z[1:], axis=1) / np.linalg.norm(own)
            assert found.mean() == pytest.approx(cosine, abs=0.04)
        # a variation is what it is, however many are made
        (few,) = Walk(vary=5).latents(GENERATOR, 3, seed=3)
        (many,) = Walk(vary=5).latents(GENERATOR, 9, seed=3)
        np.testing.assert_array_equal(few, many[:3])

    def test_truncation_shortens_latents(self) -> None:
        (plain,) = Walk().latents(GENERATOR, 4, seed=3)
        np.testing.assert_array_equal(plain, latents(range(4), 3, 50))
        (short,) = Walk(truncation=0.5).latents(GENERATOR, 4, seed=3)
        np.testing.assert_array_equal(short, plain * np.float32(0.5))

    def test_latents_without_an_angle_are_interpolated_straight(self) -> None:
        same = latents([1], 0, 6)
        np.testing.assert_allclose(slerp(same, same, 0.3), same, rtol=1e-6)
        assert np.isfinite(slerp(same, -same, 0.3)).all()
        assert np.isfinite(slerp(np.zeros_like(same), same, 0.5)).all()


class TestSamples:
    def test_each_frame_shows_the_same_classes(self, tiny_run: Run) -> None:
        sampler = tiny_run.sampler()
        made = sample(sampler, labels="213", seed=4, walk=Walk(steps=3, to=(9,)))
        assert made.labels is not None
        assert made.labels.tolist() == [2, 1, 3] * 3
        for seed, part in ((4, made.images[:3]), (9, made.images[6:])):
            np.testing.assert_array_equal(part, sample(sampler, labels="213", seed=seed).images)

    def test_each_step_is_a_row_without_classes_too(self, tmp_path: Path) -> None:
        images = np.zeros((5 * 8, 4, 4, 1), np.uint8)
        made = Samples(images, None, (), columns=3, frame=8)
        for name, sides in (("a.png", (8 * 4, 5 * 4)), ("a.webp", (3 * 4, 3 * 4))):
            with Image.open(made.save(tmp_path / name, scale=1)) as image:
                assert image.size == sides

    def test_variations_have_the_class_of_their_image(self, tiny_run: Run) -> None:
        sampler = tiny_run.sampler()
        made = sample(sampler, seed=4, walk=Walk(vary=13))
        assert made.labels is not None
        assert made.labels.tolist() == [3] * 16
        image = sampler([13], seed=4, labels=[3]).numpy()
        assert abs(made.images[:1].astype(int) - image).max() <= 1
        other = sample(sampler, labels="7x5", seed=4, walk=Walk(vary=13))
        assert other.labels is not None
        assert other.labels.tolist() == [7] * 5


class TestAnimations:
    @pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.mp4"])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_frames_come_back_in_order(self, name: str, channels: int) -> None:
        """Odd sides, too, which videos do not have."""
        levels = [0, 90, 180, 255]
        frames = [np.full((15, 21, channels), level, np.uint8) for level in levels]
        if channels == 4:
            for frame in frames:
                frame[..., 3] = 255
                frame[:4, :, 3] = 0
        content = animations.encode(frames, Path(name).suffix)
        if name == "a.mp4":
            with av.open(io.BytesIO(content)) as video:
                found = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        else:
            with Image.open(io.BytesIO(content)) as image:
                assert image.n_frames == 4
                assert image.info["loop"] == 0
                found = []
                for k in range(4):
                    image.seek(k)
                    paper = Image.new("RGBA", image.size, "white")
                    paper.alpha_composite(image.convert("RGBA"))
                    found.append(np.asarray(paper.convert("RGB")))
        assert len(found) == 4
        for level, frame in zip(levels, found, strict=True):
            assert abs(frame[8:15, :20].astype(int) - level).max() <= 4
            if channels == 4:
                assert frame[0:2].min() > 240

    def test_a_video_too_large_for_its_format_is_refused(self) -> None:
        with pytest.raises(RunError, match="20000x4 pixels is too large"):
            animations.encode([np.zeros((4, 20_000, 1), np.uint8)], ".mp4")

    def test_a_video_without_its_package_is_refused_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hide_package(monkeypatch, "av")
        with pytest.raises(MissingExtraError, match=r"pip install 'ganvas\[video\]'"):
            animations.require(".mp4")
        animations.require(".gif")


class TestCommand:
    def test_steps_are_rows_of_a_sheet_and_frames_of_an_animation(
        self, tiny_run: Run, cli_run: Callable[..., Any]
    ) -> None:
        options = ("--labels", "213", "--interpolate", 5, "--scale", 2)
        for name, sides in (("a.png", (3 * 56, 5 * 56)), ("a.gif", (3 * 56, 56))):
            assert cli_run("sample", tiny_run.path, *options, "--out", name).code == 0
            with Image.open(name) as image:
                assert image.size == sides
        assert cli_run("sample", tiny_run.path, *options[:4], "--out", "a.npz").code == 0
        with np.load("a.npz") as file:
            assert file["images"].shape == (15, 28, 28, 1)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("--interpolate 1", "--interpolate 1: expected 2 to 10,000 steps"),
            ("--interpolate -3", "expected 2 to 10,000 steps"),
            ("--to 5", "--to is where --interpolate goes"),
            ("--to x --interpolate 4", "--to x: expected seeds, such as 7"),
            ("--to -1 --interpolate 4", "--to -1: expected seeds, such as 7"),
            ("--vary 3 --interpolate 4", "give one"),
            ("--vary -3", "expected the index of an image"),
            ("--amount 2 --vary 3", "--amount 2.0: expected a number from 0 to 1"),
            ("--truncation -1", "expected a number from 0 to 4"),
            ("--truncation nan", "expected a number from 0 to 4"),
            ("--out a.gif", "a.gif is an animation: add --interpolate 8"),
            ("--out a.mp4 --vary 3", "a.mp4 is an animation: add --interpolate 8"),
            ("--n 100000 --interpolate 10000", "give at most --n"),
            ("--n 100000000 --interpolate 10", "expected 1 to"),
        ],
    )
    def test_what_it_cannot_do_is_refused_in_one_line(
        self, arguments: str, words: str, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        assert words in cli_run("sample", tiny_run.path, *arguments.split()).error
        assert not list(tmp_path.iterdir())
