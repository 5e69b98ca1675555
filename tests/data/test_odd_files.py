"""Sound files that readers often refuse: much text, missing last bytes, camera sizes, frames."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganvas.data import count_dataset, load_dataset
from ganvas.errors import DataError
from helpers.sets import fill, stripes

RED = (200, 10, 20)
COLOURS = ("red", "lime", "blue")


def jpeg(progressive: bool = False) -> bytes:
    """A JPEG of 96x64 with detail everywhere."""
    noise = np.random.default_rng(0).normal(0, 20, (96, 64, 3)).cumsum(1) + 128
    stream = io.BytesIO()
    picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    picture.save(stream, "JPEG", quality=90, progressive=progressive)
    return stream.getvalue()


def test_a_png_with_megabytes_of_text_is_read(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("workflow", "a" * 5_000_000, zip=True)
    text.add_itxt("prompt", "b" * 3_000_000, zip=True)
    assert len(load_dataset(fill(tmp_path, stripes(4, 4), pnginfo=text))) == 1


def test_a_png_whose_text_is_a_bomb_is_refused(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("bomb", "a" * (65 * 2**20), zip=True)
    with pytest.raises(DataError, match=r"0\.png \(Decompressed data too large"):
        load_dataset(fill(tmp_path, stripes(4, 4), pnginfo=text))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_decoded_as_far_as_it_goes(
    tmp_path: Path, progressive: bool
) -> None:
    whole = jpeg(progressive)
    (tmp_path / "a.jpg").write_bytes(whole)
    (tmp_path / "b.jpg").write_bytes(whole[:-2])
    data = load_dataset(tmp_path)
    assert torch.equal(data.images[0], data.images[1])
    note = "1 picture without the last bytes, decoded as far as they go: b.jpg"
    assert data.notes == (note,)


def test_the_rows_before_the_end_of_a_jpeg_are_right(tmp_path: Path) -> None:
    whole = jpeg()
    (tmp_path / "a.jpg").write_bytes(whole)
    (tmp_path / "b.jpg").write_bytes(whole[:-30])
    data = load_dataset(tmp_path)
    assert torch.equal(data.images[0, :, :78], data.images[1, :, :78])
    assert not torch.equal(data.images[0], data.images[1])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_jpeg_that_lacks_more_is_unreadable(
    tmp_path: Path, share: float, progressive: bool
) -> None:
    whole = jpeg(progressive)
    (tmp_path / "a.jpg").write_bytes(whole)
    (tmp_path / "b.jpg").write_bytes(whole[: int(len(whole) * (1 - share))])
    found = count_dataset(tmp_path)
    assert [name for name, _ in found.unreadable_files] == ["b.jpg"]
    assert not any("last bytes" in note for note in found.notes)


def test_a_camera_picture_of_100_megapixels_is_read(tmp_path: Path) -> None:
    large = Image.new("L", (10_000, 10_400), 77)
    large.paste(200, (0, 0, 10_000, 5200))
    data = load_dataset(fill(tmp_path, large, suffix="jpg"), size=(52, 50))
    assert (data.images[0, 0, :25].int() - 200).abs().max() <= 3
    assert (data.images[0, 0, 27:].int() - 77).abs().max() <= 3


# Frames and pages


def animated(folder: Path, *suffixes: str) -> Path:
    """Pictures of three frames each, red, lime and blue."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in COLOURS]
    folder.mkdir(exist_ok=True)
    for suffix in suffixes:
        options = {"lossless": True} if suffix == "webp" else {}
        path = folder / f"{suffix}.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return folder


def test_the_first_frame_is_taken_by_default(tmp_path: Path) -> None:
    animated(tmp_path, "gif", "png", "tiff", "webp")
    data = load_dataset(tmp_path)
    assert data.images[:, :, 0, 0].tolist() == [[255, 0, 0]] * 4
    taken = "4 pictures of several frames, the first of each taken; --frames all or --pages all"
    assert data.notes == (f"{taken} takes each",)


@pytest.mark.parametrize(
    ("suffix", "option"),
    [("gif", "frames"), ("png", "frames"), ("webp", "frames"), ("tiff", "pages")],
)
def test_all_frames_are_images_with_the_label_of_their_file(
    tmp_path: Path, suffix: str, option: str
) -> None:
    animated(tmp_path / "a", suffix)
    fill(tmp_path / "b", Image.new("RGB", (4, 4), "yellow"))
    data = load_dataset(tmp_path, **{option: "all"})  # type: ignore[arg-type]
    expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]
    assert data.images[:, :, 0, 0].tolist() == expected
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 0, 1]
    assert data.notes == ("1 picture of several frames, each an image: 3 in all",)
    other = {"frames": "pages", "pages": "frames"}[option]
    assert len(load_dataset(tmp_path, **{other: "all"})) == 2  # type: ignore[arg-type]


def test_pages_of_several_sizes_and_depths(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((8, 8), 4095, np.uint16))
    pages = [deep, Image.new("RGB", (4, 4), RED), Image.new("L", (4, 4), 9)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    data = load_dataset(tmp_path, pages="all", size=4)
    assert data.images[:, :, 0, 0].tolist() == [[255] * 3, list(RED), [9] * 3]


def test_frames_beside_damaged_files_keep_their_labels(tmp_path: Path) -> None:
    animated(tmp_path / "a", "gif")
    fill(tmp_path / "b", *[Image.new("RGB", (4, 4), "yellow")] * 200)
    (tmp_path / "a" / "bad.gif").write_bytes(b"GIF89a")
    data = load_dataset(tmp_path, frames="all")
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 3 + [1] * 200
    assert data.images[2, :, 0, 0].tolist() == [0, 0, 255]


def test_more_frames_than_any_animation_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animated(tmp_path, "gif", "tiff")
    monkeypatch.setattr("ganvas.data.pictures.MAX_FRAMES_READ", 2)
    assert len(load_dataset(tmp_path)) == 2
    with pytest.raises(DataError, match=r"gif\.gif \(more than 2 frames\), tiff\.tiff \(more"):
        load_dataset(tmp_path, frames="all", pages="all")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_damaged_page_makes_the_picture_unreadable(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (3, 30, 30)).astype(np.uint16)
    frames = [Image.fromarray(each) for each in noise]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    content = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(content[:-900])
    with pytest.raises(DataError, match=r"1 of 1 picture cannot be read: a\."):
        load_dataset(tmp_path, frames="all", pages="all")
