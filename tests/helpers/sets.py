"""Small data sets, written as pictures, archives and torchvision's files."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas.data import load_dataset


def put_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CIFAR-10, whose checksums replace those that torchvision knows."""
    from torchvision import datasets

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 255, (2, 3072), np.uint8)
    contents = {
        "data_batch_1": {"data": pixels, "labels": [1, 0]},
        "test_batch": {"data": pixels[:1], "labels": [1]},
        "batches.meta": {"label_names": ["airplane", "automobile"]},
    }
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": sums["batches.meta"]}
    )
    return folder


def put_pictures(root: Path, *names: str, table: str | None = None, at: str = "") -> Path:
    """Grey 2x2 PNGs at these names, the i-th of value i, and text files under other suffixes.

    table: content of a labels.csv in the folder `at`.
    """
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".PNG"):
            Image.new("L", (2, 2), value).save(path, "PNG")
        else:
            path.write_text("text")
    if table is not None:
        (root / at / "labels.csv").write_text(table)
    return root


def put_table(root: Path, name: str, text: str) -> Path:
    """Write a text file beside the pictures of `put_pictures`."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root


def classes(source: Path, split: str = "train", **options: str) -> list[str]:
    """The class of each picture, in order; [] without classes."""
    data = load_dataset(source, split=split, **options)  # type: ignore[arg-type]
    return [] if data.labels is None else [data.classes[i] for i in data.labels]


def zipped(folder: Path) -> Path:
    """Pack a folder into a zip beside it."""
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(folder))
    return target


def read_classes(path: Path, split: str = "train") -> tuple[list[int], list[str] | None]:
    """The value of each picture, in order, and its class."""
    data = load_dataset(path, split=split)  # type: ignore[arg-type]
    values = data.images[:, 0, 0, 0].tolist()
    return values, None if data.labels is None else [data.classes[i] for i in data.labels]


def fill(folder: Path, *pictures: Image.Image, suffix: str = "png", **options: object) -> Path:
    """Save pictures under the names 0, 1, ..."""
    folder.mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.{suffix}", **options)
    return folder


def stripes(width: int, height: int) -> Image.Image:
    """A grey picture. The value of each pixel is its column."""
    return Image.fromarray(np.tile(np.arange(width, dtype=np.uint8), (height, 1)))
