"""Images that a generator made: labels in words, and files by their ending."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from ganvas.errors import RunError, SettingError, nearest
from ganvas.sampling import sheets
from ganvas.sampling.sampler import Sampler
from ganvas.system import files

MAX_SAMPLES = 10_000_000
MAX_PNG_SIDE = 2**20  # pixels of a PNG
SCALE = 4  # pixels of a PNG for each of an image, where nothing is said
SHEET_COPIES = 4  # of a sheet's pixels that are in memory at once while it is put together


@dataclass(frozen=True)
class Samples:
    """Images uint8 (N, H, W, C), labels int64 (N,) or None, and how many belong in a row."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    columns: int

    def save(
        self,
        path: str | Path = "result.png",
        *,
        columns: int | None = None,
        scale: int | None = None,
    ) -> Path:
        """Write by the path's ending: .png (one row or sheet), .npz, .zip of PNGs, or a new folder
        of PNGs.

        The images in a PNG stand side by side without gaps, each pixel `scale` (4) pixels wide;
        elsewhere they keep their size.
        Raises SettingError and RunError for what `check_output` refuses, RunError where the disk does.
        """
        kind = check_output(path, self.images.shape, self.columns, columns, scale)
        path, columns, scale = Path(path), columns or self.columns, scale or SCALE
        if kind == "":
            self._save_folder(path)
        elif kind == ".png":
            sheets.save_png(path, sheets.grid(self.images, columns, scale=scale))
        elif kind == ".npz":
            named = (
                {}
                if self.labels is None
                else {"labels": self.labels, "classes": np.array(self.classes)}
            )
            files.write(path, lambda file: np.savez_compressed(file, images=self.images, **named))  # type: ignore[arg-type]
        else:
            files.write(path, self._zip)
        return path

    def _pngs(self) -> Iterator[tuple[str, bytes]]:
        names = [f"{k:06d}.png" for k in range(len(self.images))]
        for name, image in zip(names, self.images, strict=True):
            yield name, sheets.png(image)
        if self.labels is not None:  # so that the folder is itself a labelled data set
            rows = [
                f"{name},{_csv(self.classes[label])}"
                for name, label in zip(names, self.labels, strict=True)
            ]
            yield "labels.csv", ("\n".join(["file,label", *rows]) + "\n").encode()

    def _zip(self, file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in self._pngs():
                # ZipInfo's fixed date: the same bytes every time
                archive.writestr(zipfile.ZipInfo(name), content)

    def _save_folder(self, path: Path) -> None:
        with files.writing(path), files.temporary_folder(path) as folder:
            for name, content in self._pngs():
                (folder / name).write_bytes(content)
            os.replace(folder, os.path.abspath(path))


def kind_of(path: str | Path) -> str:
    """What `Samples.save` writes there: ".png", ".npz", ".zip" or, for a folder, "".

    Raises SettingError for another ending, RunError when a folder with content stands there.
    """
    path = Path(path)
    if path.is_dir():
        with files.writing(path):
            if any(path.iterdir()):
                raise RunError(
                    f"folder {path} is not empty: give a new name, so that nothing is lost"
                )
        return ""
    if (kind := path.suffix.lower()) not in (".png", ".npz", ".zip", ""):
        raise SettingError(
            f"--out {path}: the ending {path.suffix} is unknown; use .png, .npz, .zip or a folder's"
            " name"
        )
    return kind


def check_output(
    path: str | Path,
    shape: tuple[int, ...],
    usual: int,
    columns: int | None = None,
    scale: int | None = None,
) -> str:
    """What `Samples.save` writes there, as `kind_of`, of images of this shape (N, H, W, C), `usual`
    of them in a row.

    Raises SettingError for another ending, a PNG too large for its format or for memory, and
    `columns` or `scale` where they mean nothing; RunError when a folder with content stands there.
    """
    kind = kind_of(path)
    if kind != ".png":
        for option, value in (("--columns", columns), ("--scale", scale)):
            if value is not None:
                raise SettingError(
                    f"{option} {value} is for a .png and does nothing for --out {path}: leave"
                    " it out"
                )
        return kind
    columns, scale = usual if columns is None else columns, SCALE if scale is None else scale
    if columns < 1 or scale < 1:
        raise SettingError(f"--columns {columns} --scale {scale}: both must be 1 or more")
    n, height, width, channels = shape
    across, rows, instead = min(columns, n), -(-n // columns), "or write .npz, .zip or a folder"
    if scale * max(height * rows, width * across) > MAX_PNG_SIDE:
        raise SettingError(
            f"--scale {scale}: the picture would be more than {MAX_PNG_SIDE:,} pixels long; make it"
            f" smaller, {instead}"
        )
    needed = SHEET_COPIES * height * width * channels * scale**2 * rows * across
    if needed > (free := psutil.virtual_memory().available):
        raise SettingError(
            f"--out {path}: the sheet needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB"
            f" are free: give a smaller --scale or --n, {instead}"
        )
    return kind


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def parse_labels(text: str, classes: tuple[str, ...]) -> list[int]:
    """Class indices asked for by a string.

    A string equal to a class's name is that class; one with a comma is read as names; any other as
    one class a character, where each class has a name or an index of one character, and else as one
    class. A class is named by its name or its index. Raises SettingError for an unknown class, with
    the nearest.
    """
    indices = {str(k): k for k in range(len(classes))} | {name: k for k, name in enumerate(classes)}
    if not text:
        raise SettingError("--labels is empty: give one class a character, or names with commas")
    is_word = "," not in text and max(map(len, classes)) > 1
    if text in classes or (is_word and len(classes) > 10):
        parts = [text]
    else:
        parts = [part.strip() for part in text.split(",")] if "," in text else list(text)
    for part in parts:
        if part not in indices:
            unknown = text if is_word else part  # where classes are words, the whole was meant
            several = "; several are written with commas" if is_word and len(classes) > 10 else ""
            raise SettingError(f"no class '{unknown}': {nearest(unknown, classes)}{several}")
    return [indices[part] for part in parts]


class SampleRequest(NamedTuple):
    """Images to be made: how many, how many of them belong in a row, and the class of each, []
    without classes."""

    n: int
    columns: int
    labels: list[int]


def sample_request(
    sampler: Sampler, *, n: int | None = None, labels: str | None = None
) -> SampleRequest:
    """What `sample` would make. Raises SettingError for what does not fit together, or not into
    memory."""
    classes = sampler.classes
    if n is not None and not 1 <= n <= MAX_SAMPLES:
        raise SettingError(f"--n {n}: expected 1 to {MAX_SAMPLES}")
    if labels is not None and not classes:
        raise SettingError(
            f"this generator is unconditional, so it cannot be asked for '{labels}': leave --labels"
            " out, use --n"
        )
    sequence = labels is not None and (labels != "balanced" or labels in classes)
    if sequence:
        assert labels is not None
        wanted = parse_labels(labels, classes)
        if n not in (None, len(wanted)):
            raise SettingError(
                f"--n {n} with {len(wanted)} labels: leave --n out; one image is made for each"
                " label"
            )
        columns = n = len(wanted)
    else:
        columns = len(classes) if 1 < len(classes) <= 20 else 8
        n = n or (columns * 8)
        columns = min(columns, n) if classes else min(n, max(1, round(n**0.5)))
        wanted = [k % len(classes) for k in range(n)] if classes else []
    raise_if_too_many(sampler, n)
    return SampleRequest(n, columns, wanted)


def make(sampler: Sampler, order: SampleRequest, seed: int = 0) -> Samples:
    """The images of an order (see `sample_request`)."""
    images = sampler(range(order.n), seed=seed, labels=order.labels or None, strict=True).numpy()
    labels = np.array(order.labels, np.int64) if order.labels else None
    return Samples(images, labels, sampler.classes, order.columns)


def sample(
    sampler: Sampler, *, n: int | None = None, labels: str | None = None, seed: int = 0
) -> Samples:
    """The images that `ganvas sample` writes: of a sequence of classes, or `n` of every kind.

    labels: see `parse_labels`, or "balanced", to go through the classes `n` times over; needs a
    conditional generator.
    n: how many; 64 when nothing is said, or rows of all classes.
    Raises SettingError for what does not fit together, or not into memory.
    """
    return make(sampler, sample_request(sampler, n=n, labels=labels), seed)


def raise_if_too_many(sampler: Sampler, n: int, more: int = 0) -> None:
    """Raises SettingError where n images, with `more` bytes for each, do not fit into memory."""
    needed = 2 * sampler([0]).nbytes + more  # an image, and its place among all
    if n * needed > (free := psutil.virtual_memory().available):
        raise SettingError(
            f"{n:,} images need {n * needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: "
            f"give at most --n {free // needed}, and make the others with another --seed"
        )
