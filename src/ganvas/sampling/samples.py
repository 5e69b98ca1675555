"""Sets of generated images: which to make, and the files they are written to."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from ganvas.errors import RunError, SettingError, nearest
from ganvas.sampling import animations, sheets
from ganvas.sampling.walks import PLAIN_WALK, Walk
from ganvas.system import files

if TYPE_CHECKING:
    from ganvas.data.pixels import Pixels

MAX_SAMPLES = 10_000_000
MAX_PNG_SIDE = 2**20  # pixels of a PNG
SCALE = 4  # default width and height of an image's pixels in a PNG
TIMES = r"(.+?) *x *(\d{1,9})"  # a class and its number of images, in --labels
VARIATIONS = 16  # default number of images of --vary
WAYS = 8  # default number of images that --interpolate takes along
AT_ONCE = 64  # images in a batch
SHEET_COPIES = 4  # copies of a sheet's pixels in memory while it is put together


@dataclass(frozen=True)
class Samples:
    """Generated images.

    images: uint8 (N, H, W, C).
    labels: int64 (N,), indices into `classes`; None for an unconditional generator.
    columns: default number of images in a row of a sheet.
    frame: images of one frame, if they make an animation; 0 for one sheet of all.
    """

    images: Pixels
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    columns: int
    frame: int = 0

    def save(
        self,
        path: str | Path = "result.png",
        *,
        columns: int | None = None,
        scale: int | None = None,
    ) -> Path:
        """Write a .png (row or sheet), .npz, .zip of PNGs or, without an ending, a folder of PNGs;
        frames also as .gif, .webp or .mp4.

        columns, scale: of pictures: images in a row, without gaps, and the enlargement (4).
        Raises SettingError and RunError as `check_output`, RunError if the disk refuses.
        """
        kind = check_output(path, self.images.shape, self.columns, columns, scale, self.frame)
        path, scale = Path(path), scale or SCALE
        columns = columns or _usual_columns(kind, self.columns, self.frame)
        if kind in animations.ANIMATIONS:
            parts = self.images.reshape(-1, self.frame, *self.images.shape[1:])
            frames = (sheets.grid(part, columns, scale=scale) for part in parts)
            files.write(path, animations.encode(frames, kind))
            return path
        if kind == "":
            self._save_folder(path)
        elif kind == ".png" and len(self.images) * scale == 1:  # an image, not a sheet
            files.write(path, sheets.png(self.images[0]))
        elif kind == ".png":
            sheets.save_png(path, sheets.grid(self.images, columns, scale=scale))
        elif kind == ".npz":
            arrays: dict[str, Any] = {"images": self.images}
            if self.labels is not None:
                arrays |= {"labels": self.labels, "classes": np.array(self.classes)}
            files.write(path, lambda file: np.savez_compressed(file, **arrays))
        else:
            files.write(path, self._zip)
        return path

    def _pngs(self) -> Iterator[tuple[str, bytes]]:
        names = [f"{k:06d}.png" for k in range(len(self.images))]
        for name, image in zip(names, self.images, strict=True):
            yield name, sheets.png(image)
        if self.labels is not None:  # makes the folder a labelled data set
            pairs = zip(names, self.labels, strict=True)
            rows = [f"{name},{_csv(self.classes[label])}" for name, label in pairs]
            yield "labels.csv", "\n".join(["file,label", *rows, ""]).encode()

    def _zip(self, file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in self._pngs():
                # ZipInfo's fixed date makes the bytes repeatable
                archive.writestr(zipfile.ZipInfo(name), content)

    def _save_folder(self, path: Path) -> None:
        with files.writing(path), files.temporary_folder(path) as folder:
            for name, content in self._pngs():
                (folder / name).write_bytes(content)
            os.replace(folder, os.path.abspath(path))


def kind_of(path: str | Path, frames: bool = False) -> str:
    """The format of a path: ".png", ".npz", ".zip", of frames an animation's, or, for a folder, "".

    Raises SettingError for another ending, RunError for a folder that is not empty.
    """
    path = Path(path)
    if path.is_dir():
        with files.writing(path):
            if any(path.iterdir()):
                raise RunError(f"folder {path} is not empty: give a new name")
        return ""
    kind = path.suffix.lower()
    if kind in animations.ANIMATIONS:
        if not frames:
            raise SettingError(f"--out {path} is an animation: add --interpolate 8, or give a .png")
        animations.require(kind)
    elif kind not in (".png", ".npz", ".zip", ""):
        known = ".png, .npz, .zip or a folder's name"
        raise SettingError(f"--out {path}: unknown ending {path.suffix}; give {known}")
    return kind


def check_output(
    path: str | Path,
    shape: tuple[int, ...],
    default_columns: int,
    columns: int | None = None,
    scale: int | None = None,
    frame: int = 0,
) -> str:
    """The format of a path, as `kind_of`, checked for images of `shape` (N, H, W, C).

    frame: images of one frame, if they make an animation.
    Raises SettingError for another ending, a picture too large for its format or for memory, and
    `columns` or `scale` for anything else; RunError for a folder that is not empty.
    """
    kind = kind_of(path, frames=frame > 0)
    if kind != ".png" and kind not in animations.ANIMATIONS:
        for option, value in (("--columns", columns), ("--scale", scale)):
            if value is not None:
                raise SettingError(f"{option} {value} is for a .png, not {path}: leave it out")
        return kind
    columns = _usual_columns(kind, default_columns, frame) if columns is None else columns
    scale = SCALE if scale is None else scale
    if columns < 1 or scale < 1:
        raise SettingError(f"--columns {columns} --scale {scale}: both must be 1 or more")
    n, height, width, channels = shape
    frames = 1
    if kind in animations.ANIMATIONS:
        n, frames = frame, n // frame
    across, rows, instead = min(columns, n), -(-n // columns), "or write .npz, .zip or a folder"
    if scale * max(height * rows, width * across) > MAX_PNG_SIDE:
        long = f"the picture would be more than {MAX_PNG_SIDE:,} pixels long"
        raise SettingError(f"--scale {scale}: {long}; make it smaller, {instead}")
    needed = SHEET_COPIES * height * width * channels * scale**2 * rows * across * frames
    if needed > (free := psutil.virtual_memory().available):
        memory = f"{needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise SettingError(f"--out {path}: the sheet needs {memory}: give a smaller --n, {instead}")
    return kind


def _usual_columns(kind: str, columns: int, frame: int) -> int:
    """Return the default number of images in a row: in a sheet of frames, each has a row."""
    return frame if frame and kind == ".png" else columns


def _csv(text: str) -> str:
    """A cell of a table, in quotes if it needs them."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text


def parse_labels(text: str, classes: tuple[str, ...]) -> list[int]:
    """Parse --labels into class indices.

    A class is given by its name or index; 3x50 is 50 times class 3. Text equal to a class's name is
    that class; text with commas is a list; other text is one class per character if all classes
    have a name or index of one character, and otherwise one class.
    Raises SettingError for an unknown class, naming the nearest.
    """
    return _expanded(_parts(text, classes))


def _expanded(parts: list[tuple[int, int]]) -> list[int]:
    return [index for index, times in parts for _ in range(times)]


def _parts(text: str, classes: tuple[str, ...]) -> list[tuple[int, int]]:
    """Parse --labels into class indices, each with a number of images."""
    indices = {str(k): k for k in range(len(classes))} | {name: k for k, name in enumerate(classes)}
    if not text:
        raise SettingError("--labels is empty: give classes, separated by commas")
    is_word = "," not in text and max(map(len, classes)) > 1
    whole = text in classes or (is_word and len(classes) > 10)
    # each character may be a class, x, too
    counted = re.fullmatch(TIMES, text) and not (set(text) <= indices.keys())
    if whole or ("," not in text and counted):
        parts = [text]
    else:
        parts = [part.strip() for part in text.split(",")] if "," in text else list(text)
    found = []
    for part in parts:
        name, times = part, 1
        if part not in indices and (match := re.fullmatch(TIMES, part)):
            name, times = match[1], int(match[2])
        if name not in indices:
            # if classes are words, the whole text was meant as one
            unknown = text if is_word and name == part else name
            several = "; separate several by commas" if is_word and len(classes) > 10 else ""
            raise SettingError(f"no class '{unknown}': {nearest(unknown, classes)}{several}")
        found.append((indices[name], times))
    total = sum(times for _, times in found)
    if min(times for _, times in found) < 1 or total > MAX_SAMPLES:
        raise SettingError(f"--labels {text}: expected 1 to {MAX_SAMPLES:,} images in all")
    return found


class ImageMaker(Protocol):
    """A generator as a function from indices to images: a `Sampler` or an `OnnxSampler`."""

    classes: tuple[str, ...]

    @property
    def z_dim(self) -> int: ...

    @property
    def draw(self) -> int: ...

    def generate(
        self, z: NDArray[np.float32], labels: Sequence[int] | None = None, *, checked_as: str = ""
    ) -> Any:
        """Images uint8 (N, H, W, C) of latents (N, z_dim) and class indices (N,)."""

    def __call__(
        self,
        indices: Sequence[int],
        *,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        strict: bool = False,
    ) -> Any:
        """Images uint8 (N, H, W, C), as a tensor or an array."""


class SampleRequest(NamedTuple):
    """Images to generate: their number, the default columns of a sheet, and a class for each.

    labels: [] for an unconditional generator.
    """

    n: int
    columns: int
    labels: list[int]


def sample_request(
    sampler: ImageMaker,
    *,
    n: int | None = None,
    labels: str | None = None,
    walk: Walk = PLAIN_WALK,
) -> SampleRequest:
    """Resolve the arguments of `sample`, which raises the same errors."""
    classes = sampler.classes
    if labels is None and walk.vary is not None:
        if classes:  # that of the image itself
            labels = classes[walk.vary % len(classes)]
        else:
            n = VARIATIONS if n is None else n
    elif labels is None and walk.steps:
        n = WAYS if n is None else n
    if n is not None and not 1 <= n <= MAX_SAMPLES:
        raise SettingError(f"--n {n}: expected 1 to {MAX_SAMPLES}")
    if labels is not None and not classes:
        raise SettingError(f"--labels {labels!r}: this generator is unconditional; use --n instead")
    if labels is not None and (labels != "balanced" or labels in classes):
        parts = _parts(labels, classes)
        sequence = _expanded(parts)
        given = len(sequence)
        n = n or (VARIATIONS if walk.vary is not None and given == 1 else given)
        if n % given:
            even = f"{-(-n // given) * given}, or leave --n out"
            raise SettingError(f"--n {n} with {given} labels, which are repeated: give {even}")
        indices = sequence * (n // given)
        # a row for a sequence of classes, a sheet for many images of one or of each
        alike = n > given == 1 or any(times > 1 for _, times in parts)
        columns = math.ceil(n**0.5) if alike else given
    else:
        columns = len(classes) if 1 < len(classes) <= 20 else 8
        n = n or columns * 8
        columns = min(columns, n) if classes else min(n, max(1, round(n**0.5)))
        indices = [k % len(classes) for k in range(n)] if classes else []
    raise_if_too_many(sampler, n * walk.frames)
    return SampleRequest(n, columns, indices)


def make(
    sampler: ImageMaker, request: SampleRequest, seed: int = 0, walk: Walk = PLAIN_WALK
) -> Samples:
    """Generate the images of a request (see `sample_request`), frame by frame."""
    parts: list[Pixels] = []
    for number, z in enumerate(walk.latents(sampler, request.n, seed)):
        for start in range(0, request.n, AT_ONCE):
            chunk = slice(start, min(start + AT_ONCE, request.n))
            chosen = request.labels[chunk] if request.labels else None
            which = f"images {chunk.start} to {chunk.stop - 1} of seed {seed}"
            which += f", frame {number}" * (walk.frames > 1)
            parts.append(np.asarray(sampler.generate(z[chunk], chosen, checked_as=which)))
    labels = np.array(request.labels * walk.frames, np.int64) if request.labels else None
    frame = request.n if walk.frames > 1 else 0
    return Samples(np.concatenate(parts), labels, sampler.classes, request.columns, frame)


def sample(
    sampler: ImageMaker,
    *,
    n: int | None = None,
    labels: str | None = None,
    seed: int = 0,
    walk: Walk = PLAIN_WALK,
) -> Samples:
    """Generate images, as `ganvas sample` does.

    n: number of images. Default: one per label, or rows of all classes, or 64.
    labels: a sequence of classes (see `parse_labels`), repeated as a whole to n images, or
        "balanced" for all classes in turn; needs a conditional generator. Default: "balanced" if
        the generator is conditional.
    seed: from 0 to 2**64 - 1.
    walk: truncation, a way to other seeds, or variations of an image.
    Raises SettingError for arguments that contradict each other, or images that exceed memory.
    """
    return make(sampler, sample_request(sampler, n=n, labels=labels, walk=walk), seed, walk)


def raise_if_too_many(sampler: ImageMaker, n: int, more: int = 0) -> None:
    """Raises SettingError if n images, with `more` bytes for each, exceed the free memory."""
    needed = 2 * sampler([0]).nbytes + more  # each image, and its copy in the array of all
    if n * needed > (free := psutil.virtual_memory().available):
        memory = f"{n * needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise SettingError(
            f"{n:,} images need {memory}: give at most --n {free // needed}, and generate the rest"
            " with another --seed"
        )
