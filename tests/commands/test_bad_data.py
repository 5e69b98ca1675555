"""Data that cannot be read: one line on stderr, exit code 2, and nothing half-written."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas.launch import launch
from ganvas.runs.run import Run
from helpers.common import TRAIN

pytestmark = pytest.mark.usefixtures("bounded")


def png(width: int = 8, height: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be much larger."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def idx(magic: int, *shape: int, content: int | None = None) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + b"\0" * (
        int(np.prod(shape)) if content is None else content
    )


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


IMAGES = np.zeros((4, 8, 8, 1), np.uint8)


# what --data names, the files to make, and a word of the answer
BAD_DATA: dict[str, tuple[str, dict[str, bytes], str]] = {
    "missing folder": ("nowhere/", {}, "nowhere"),
    "a name too long": ("x" * 300, {}, "File name too long"),
    "missing name": ("mnits-5k", {}, "did you mean mnist-5k?"),
    "empty folder": ("d", {"d/.keep": b""}, "d"),
    "a text file": ("d.txt", {"d.txt": b"hello"}, "d.txt"),
    "text called png": ("d", {"d/a/1.png": b"hello", "d/b/2.png": b"hello"}, "png"),
    "truncated png": ("d", {"d/a/1.png": png()[:-30], "d/b/2.png": png()[:40]}, "png"),
    "png bomb": (
        "d",
        {"d/a/1.png": bomb(16_000, 16_000), "d/b/2.png": bomb(16_000, 16_000)},
        "png",
    ),
    "idx with wrong magic": ("d", {"d/train-images-idx3-ubyte": idx(0x0802, 2, 8, 8)}, "idx3"),
    "idx too short": (
        "d",
        {"d/train-images-idx3-ubyte": idx(0x0803, 2, 8, 8, content=100)},
        "idx3",
    ),
    "idx that claims to be huge": (
        "d",
        {"d/train-images-idx3-ubyte": idx(0x0803, 2**31, 2**15, 2**15, content=100)},
        "idx3",
    ),
    "npz of objects": ("d.npz", {"d.npz": npz(images=np.array([{}, None], object))}, "d.npz"),
    "npz without images": ("d.npz", {"d.npz": npz(a=np.zeros(4, np.int64))}, "images"),
    "npz of no numbers": ("d.npz", {"d.npz": npz(images=IMAGES * np.nan)}, "d.npz"),
    "npz of two sets": ("d.npz", {"d.npz": npz(a=IMAGES, b=IMAGES)}, "as d.npz:a"),
    "pickle of objects": ("d.pkl", {"d.pkl": pickle.dumps({"images": Path("x")})}, "d.pkl"),
    "damaged tar": ("d.tar", {"d.tar": b"text" * 400}, "d.tar"),
    "npz with too few labels": (
        "d.npz",
        {"d.npz": npz(images=IMAGES, labels=np.zeros(3, np.int64))},
        "d.npz",
    ),
    "damaged npz": ("d.npz", {"d.npz": npz(images=IMAGES)[:200]}, "d.npz"),
    "zip with ../": ("d.zip", {"d.zip": zipped(**{"../evil.png": png(), "a.png": png()})}, "evil"),
    "zip with /": ("d.zip", {"d.zip": zipped(**{"/tmp/evil.png": png()})}, "evil"),
    "damaged zip": ("d.zip", {"d.zip": zipped(a=png())[:60]}, "d.zip"),
    "labels for other files": (
        "d",
        {"d/1.png": png(), "d/labels.csv": b"file,label\n2.png,a\n"},
        "1.png",
    ),
    "most files without label": (
        "d",
        {
            **{f"d/{i}.png": png() for i in range(1, 4)},
            "d/labels.csv": b"file,label\n2.png,a\n",
        },
        "1.png",
    ),
    "labels of one column": ("d", {"d/1.png": png(), "d/labels.csv": b"1.png\n"}, "labels.csv"),
    "no labels for a conditional GAN": (
        "d",
        {"d/1.png": png(), "d/2.png": png()},
        (
            "needs labels and these images have none: give a folder per class or a labels.csv, "
            "or use an unconditional recipe such as projected/images"
        ),
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(
    case: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
) -> None:
    what, contents, word = BAD_DATA[case]
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = tree(tmp_path)
    assert word in cli_run(*TRAIN, "--data", what).error
    assert word in cli_run(*TRAIN, "--data", what, "--out", "new").error
    assert tree(tmp_path) == before
    if case != "no labels for a conditional GAN":
        assert word in cli_run("data", "inspect", what).error
        assert word in cli_run("show", "cgan/tiny", "--data", what).error
        assert tree(tmp_path) == before


def test_the_home_folder_is_read_as_any_other(
    cli_run: Callable[..., Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the shell leaves ~ as it is. A folder never gets a recipe for digits."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
    (tmp_path / "my.toml").write_text(
        'data = "~/pictures"\nimages = 8\nthreads = 1\nprecision = "32"\n'
    )
    assert cli_run("train", "--data=~/pictures", "--config", "my.toml", "--out", "one").code == 0
    assert cli_run("train", "--config", "my.toml", "--out", "two").code == 0
    for card in (Run.open(tmp_path / name).card for name in ("one", "two")):
        assert (card.recipe, card.data.what, card.data.images) == (
            "r3gan/images",
            str(pictures),
            12,
        )
    for words in (
        "train --data=~nosuch/x",
        "train --from=~nosuch/x",
        "data inspect ~nosuch/x",
        "train cgan/tiny --data mnist --data-dir ~nosuch/x",
    ):
        assert "~nosuch/x: no home folder ~nosuch is known" in cli_run(*words.split()).error


def test_without_a_home_folder(
    cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    # as where the user's number has no name
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert "set HOME, XDG_CACHE_HOME" in cli_run(*TRAIN, "--data", "mnist").error
    assert cli_run("data", "inspect", "mnist-5k", "--recipe", "mlp/tiny").code == 0  # it needs none
