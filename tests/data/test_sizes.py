"""Pictures of several sizes: cropped, padded or stretched to one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganvas.data import load_dataset
from ganvas.data.decoding.fits import fitted
from ganvas.data.pictures import PictureOptions
from ganvas.errors import DataError, SettingError
from helpers.sets import fill, stripes

RED = (200, 10, 20)


def test_a_single_size_is_kept_without_a_note(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, stripes(40, 5)), native=(64, 64))
    assert data.images.shape == (1, 1, 5, 40)
    assert data.notes == ()


def test_mixed_sizes_take_the_native_size_with_a_note(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, stripes(40, 40), stripes(50, 50)), native=(16, 16))
    assert data.images.shape == (2, 1, 16, 16)
    expected = "2 pictures of 2 sizes, resized to 16x16, the recipe's own size, as none was given"
    assert data.notes == (expected,)


def test_mixed_sizes_with_no_size_ask_for_one(tmp_path: Path) -> None:
    folder = fill(tmp_path, stripes(40, 30), stripes(50, 20))
    with pytest.raises(
        DataError, match=r"pictures of 2 sizes \(20x50, 30x40\): give one, as --size"
    ):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("fit", "note"),
    [
        ("crop", "cropped and resized"),
        ("pad", "resized and padded with white"),
        ("stretch", "stretched"),
    ],
)
def test_a_given_size_wins_and_is_noted(tmp_path: Path, fit: str, note: str) -> None:
    folder = fill(tmp_path, stripes(40, 30), stripes(50, 20))
    data = load_dataset(folder, size=(8, 16), native=(64, 64), fit=fit)  # type: ignore[arg-type]
    assert data.images.shape == (2, 1, 8, 16)
    assert data.notes == (f"2 pictures of 2 sizes, {note} to 8x16",)


def test_a_picture_of_the_right_shape_is_only_resized(tmp_path: Path) -> None:
    assert load_dataset(fill(tmp_path, stripes(40, 20)), size=(10, 20)).notes == (
        "1 picture of 20x40, resized to 10x20",
    )


def test_enlarging_is_noted(tmp_path: Path) -> None:
    folder = fill(tmp_path, stripes(4, 4), stripes(40, 10), stripes(40, 40))
    assert "2 pictures smaller than 16x16 enlarged" in load_dataset(folder, size=(16, 16)).notes
    assert (
        "1 picture smaller than 16x16 enlarged"
        in load_dataset(folder, size=(16, 16), fit="pad").notes
    )


def test_crop_takes_the_middle_and_leaves_pixels_sharp(tmp_path: Path) -> None:
    columns = load_dataset(fill(tmp_path, stripes(20, 10)), size=10, fit="crop").images[0, 0, 0]
    assert columns.tolist() == list(range(5, 15))


def test_crop_of_an_odd_rest_leaves_pixels_sharp(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, stripes(13, 10)), size=10, fit="crop")
    assert data.images[0, 0, 0].tolist() == list(range(1, 11))


def test_pad_keeps_all_of_the_picture_on_white(tmp_path: Path) -> None:
    image = load_dataset(fill(tmp_path, stripes(20, 10)), size=(20, 20), fit="pad").images[0, 0]
    assert image[:5].unique().tolist() == [255]
    assert image[15:].unique().tolist() == [255]
    assert torch.equal(image[5:15], torch.arange(20, dtype=torch.uint8).expand(10, 20))


def test_padding_is_transparent_for_every_picture_of_a_transparent_set(tmp_path: Path) -> None:
    folder = fill(tmp_path, Image.new("RGB", (8, 4), RED), Image.new("RGBA", (8, 4), (*RED, 100)))
    data = load_dataset(folder, size=(8, 8), fit="pad")
    assert data.images[:, :, 0, 0].tolist() == [[255, 255, 255, 0]] * 2
    assert data.images[:, 3, 4, 4].tolist() == [255, 100]
    assert "2 pictures of 4x8, resized and padded with transparent pixels to 8x8" in data.notes


def test_padding_alone_does_not_make_a_set_transparent(tmp_path: Path) -> None:
    data = load_dataset(
        fill(tmp_path, Image.new("RGBA", (8, 4), (*RED, 255))), size=(8, 8), fit="pad"
    )
    assert data.images[0, :, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("pictures", "suffix", "fit", "told"),
    [
        # flags: 39% of a square is lost
        (
            [Image.new("RGB", (105, 64), RED)] * 3,
            "png",
            "pad",
            "padded, as crop would cut off 39% of the median picture; --fit crop crops,"
            " --size 40x64 keeps the shape",
        ),
        # photographs of 4:3
        (
            [Image.new("RGB", (160, 120), RED)] * 2 + [Image.new("RGB", (300, 100), RED)],
            "jpg",
            "crop",
            "crop cuts off 25% of the median picture; --fit pad keeps all of it,"
            " --size 48x64 keeps the shape",
        ),
        (
            [Image.new("RGB", (100, 110), RED)] * 3,
            "png",
            "crop",
            "crop cuts off 9% of the median picture; --fit pad keeps all of it,"
            " --size 64x56 keeps the shape",
        ),
        (
            [Image.new("RGBA", (100, 110), (*RED, 0))] * 3,
            "png",
            "pad",
            "padded, as there is transparency; --fit crop cuts off 9% of the median picture,"
            " --size 64x56 keeps the shape",
        ),
        ([Image.new("RGB", (99, 99), RED)], "png", None, ""),
    ],
)
def test_the_default_fit_follows_the_pictures(
    tmp_path: Path, pictures: list[Image.Image], suffix: str, fit: str | None, told: str
) -> None:
    data = load_dataset(fill(tmp_path, *pictures, suffix=suffix), size=64)
    assert data.read_as.fit == fit
    assert (told in data.notes) == bool(told)
    assert any("%" in note for note in data.notes) == bool(told)


def test_a_given_fit_is_not_questioned(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, stripes(50, 20)), size=16, fit="crop")
    assert data.read_as.fit == "crop"
    assert data.notes == ("1 picture of 20x50, cropped and resized to 16x16",)


def test_an_opaque_alpha_channel_does_not_decide_the_fit(tmp_path: Path) -> None:
    data = load_dataset(fill(tmp_path, Image.new("RGBA", (50, 55), (*RED, 255))), size=16)
    assert data.read_as.fit == "crop"


def test_arrays_are_fitted_like_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 20, 50), np.uint8))
    assert load_dataset(tmp_path / "x.npz", size=16).read_as.fit == "pad"


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    checks = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    image = load_dataset(fill(tmp_path, checks), size=(8, 8)).images.float()
    assert (image - 127.5).abs().max() < 16


def test_a_large_jpeg_shrinks_to_what_its_full_pixels_would(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    folder = fill(
        tmp_path, Image.fromarray(noise).resize((960, 720), Image.Resampling.BICUBIC), suffix="jpg"
    )
    with Image.open(folder / "0.jpg") as picture:
        full = np.asarray(fitted(picture.convert("RGB"), (100, 100), "crop")).astype(float)
    data = load_dataset(folder, size=(100, 100))
    assert np.abs(data.images[0].permute(1, 2, 0).numpy() - full).mean() < 1.5
    assert data.notes[0] == "1 picture of 720x960, cropped and resized to 100x100"


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    original=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
    mode=st.sampled_from(["L", "RGB", "RGBA"]),
)
def test_any_shape_fits_any_size_and_white_stays_white(
    size: tuple[int, int], original: tuple[int, int], fit: str, mode: str
) -> None:
    image = fitted(Image.new(mode, original, "white"), size, fit)  # type: ignore[arg-type]
    assert (image.height, image.width, image.mode) == (*size, mode)
    assert np.asarray(image.convert("RGB")).min() == 255


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0, 8)}, r"size is \(0, 8\)"),
        ({"size": "8x"}, "size is '8x'"),
        ({"size": 8.5}, r"size is 8\.5"),
        ({"native": (8, -1)}, r"native is \(8, -1\)"),
        ({"size": (100_000, 100_000)}, "within 64 megapixels"),
        ({"fit": "croop"}, "did you mean crop"),
        ({"channels": 2}, "channels is 2"),
    ],
)
def test_impossible_options_are_named(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        load_dataset(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=words):
        PictureOptions(**options)  # type: ignore[arg-type]


def test_more_than_this_machine_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        total = 1000

    monkeypatch.setattr("psutil.virtual_memory", Small)
    with pytest.raises(DataError, match="more than this machine's memory: give a smaller --size"):
        load_dataset(fill(tmp_path, stripes(40, 40)))
