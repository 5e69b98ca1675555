"""Run: the directory that a training writes, and the names of its files."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor

from ganvas.errors import RunError
from ganvas.runs import log
from ganvas.runs.card import START_FILE, Card
from ganvas.runs.weights import (
    flatten_networks,
    open_generator,
    read_weights,
    split_networks,
    weights_sha256,
    write_safetensors,
)
from ganvas.sampling import sheets
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.samples import Samples, sample
from ganvas.sampling.walks import PLAIN_WALK, Walk
from ganvas.system import files
from ganvas.system.text import command, is_utf8, not_utf8

CARD_FILE, STATE_FILE = "recipe.json", "state.pt"
# long enough for a process that only tests whether the lock is held
LOCK_SECONDS = 0.3


class BusyError(RunError):
    """Another training is writing to the run."""


class Run:
    """The directory of a run, and its card.

    recipe.json             the card: settings, image spec, data, seed, plan, versions
    log.jsonl               one line per logging interval (see `ganvas.runs.log`)
    metrics.jsonl           one line per evaluation (see `ganvas.evaluation.result`)
    tensorboard/            the log's scalars and the sheets
    real_images.png         some of the training images
    samples/                sheets from the same latents in the course of training
    losses.png              losses of both networks
    progress.png            sheets from four moments, side by side
    neighbours.png          generated images, each beside its nearest training image
    copies.png              from an evaluation: generated images nearest to training images
    report.html             all of this on one page
    state.pt                networks, optimizers and images seen: all that resuming needs
    generator.safetensors   the generator and its card: all that sampling needs
    best.safetensors        the generator with the lowest FID of the evaluations in training
    start.safetensors       the weights that --from started with
    weights/                generators kept in the course of training, if the recipe asks for it
    """

    def __init__(self, path: str | Path, card: Card, gan: str | None = None) -> None:
        self.path, self.card, self.gan = Path(path), card, gan
        self.card_file = self.path / CARD_FILE
        self.log_file = self.path / "log.jsonl"
        self.metrics_file = self.path / "metrics.jsonl"
        self.samples_folder = self.path / "samples"
        self.closest_file = self.path / "copies.png"
        self.report_file = self.path / "report.html"
        self.state_file = self.path / STATE_FILE
        self.generator_file = self.path / "generator.safetensors"
        self.best_file = self.path / "best.safetensors"
        self.start_file = self.path / START_FILE
        self.lock_file = self.path / ".lock"

    # The directory

    @classmethod
    def open(cls, path: str | Path, *, gan: str | None = None) -> Run:
        """Open an existing run.

        gan: path of the user's own GAN file, if the run trained one.
        Raises RunError if the directory is missing, not a run, or damaged.
        """
        path, file = Path(path), Path(path, CARD_FILE)
        _refuse_bytes(path)
        with files.reading(path):
            if not path.exists():
                raise RunError(f"no run {path}: it does not exist; ganvas train makes runs")
        if not path.is_dir():
            raise RunError(f"{path} is a file: expected a run's directory")
        if not file.is_file():
            raise RunError(f"{path} is not a run: it has no {CARD_FILE}")
        with files.reading(file):
            content = file.read_bytes()
        try:
            return cls(path, Card.from_json(content, str(file)), gan)
        except RunError as error:
            raise RunError(f"{error}; restore it, or use --fresh and name a recipe") from None

    @staticmethod
    def is_at(path: Path) -> bool:
        """True if a directory holds a run, even a damaged one. Raises RunError if it is closed."""
        with files.reading(path):
            return path.is_dir() and not {CARD_FILE, STATE_FILE}.isdisjoint(os.listdir(path))

    @classmethod
    def create(cls, path: Path, card: Card, gan: str | None = None, made: bool = False) -> Run:
        """Create a run in a new or empty directory.

        made: the caller created the directory; it is removed if nothing can be written to it.
        Raises RunError if the directory holds something else or cannot be written.
        """
        _refuse_bytes(path)
        run = cls(path, card, gan)
        with files.writing(path):
            made = made or not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            refuse_foreign(path)
        try:
            with run.locked():
                if run.card_file.exists():
                    raise RunError(f"another training is writing to {path}: choose another --out")
                run.save_card(card)
        except RunError:
            if made and not run.card_file.exists():
                run.lock_file.unlink(missing_ok=True)
                path.rmdir()
            raise
        return run

    def save_card(self, card: Card) -> None:
        """Replace the card, also in recipe.json."""
        self.card = card
        files.write(self.card_file, card.to_json())

    def remove_if_empty(self) -> None:
        """Remove a run in which no training has begun: it holds its card, and at most the weights
        to start from."""
        if {CARD_FILE, START_FILE, self.lock_file.name}.issuperset(os.listdir(self.path)):
            shutil.rmtree(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out. Raises BusyError if one is already writing to the run."""
        lock = FileLock(self.lock_file)
        with files.writing(self.lock_file):
            try:
                lock.acquire(timeout=LOCK_SECONDS)
            # held by another process, or by another training of this one
            except (Timeout, RuntimeError):
                busy = f"another training is writing to {self.path}: wait, or choose another --out"
                raise BusyError(busy) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def busy(self) -> bool:
        """True if a training is writing to the run now."""
        if not self.lock_file.exists():
            return False
        try:
            with self.locked():
                return False
        # any other error means a read-only disk, where nobody trains
        except RunError as error:
            return isinstance(error, BusyError)

    # State

    def save_state(self, state: dict[str, Any]) -> None:
        """Write state.pt whole or not at all. `state` holds tensors and plain values only."""
        # torch.save to a file reports a full disk as a RuntimeError that does not say so
        buffer = io.BytesIO()
        torch.save(state, buffer)
        files.write(self.state_file, buffer.getvalue())

    def load_state(self) -> dict[str, Any] | None:
        """The saved state, or None before the first save. Raises RunError for a damaged file."""
        path = self.state_file
        if not path.exists():
            return None
        try:
            # torch compares no checksums; this takes 10 ms for 30 MB
            with zipfile.ZipFile(path) as archive:
                if (member := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {member} is wrong")
            # not mmap: Windows cannot replace a mapped file, and a training keeps these tensors
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] > self.card.format:
                formats = f"format {state['format']}, this ganvas reads up to {self.card.format}"
                raise RunError(f"{path} has {formats}: upgrade ganvas to go on with it")
            if not isinstance(state["images_seen"], int) or not isinstance(state["seconds"], float):
                raise TypeError("images_seen is no whole number")
        except RunError:
            raise
        # pickle, zip and torch each have errors of their own for a damaged file
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
            message = f"{path} is damaged ({reason}): restore it, or start anew with --fresh"
            raise RunError(message) from None
        return state

    @property
    def finished(self) -> bool:
        """True if all images of the plan have been seen."""
        state = self.load_state()
        return state is not None and state["images_seen"] >= self.card.plan.total

    # Weights

    def save_generator(self, tensors: dict[str, Tensor], kept_at: int | None = None) -> None:
        """Write the generator with its card; if `kept_at` (images seen) is given, to weights/."""
        kept = self.path / "weights" / f"{kept_at or 0:09d}.safetensors"
        _save_weights(self.generator_file if kept_at is None else kept, tensors, self.card)

    def save_best(self, tensors: dict[str, Tensor]) -> None:
        """Write best.safetensors."""
        _save_weights(self.best_file, tensors, self.card)

    def save_start(self, networks: dict[str, dict[str, Tensor]], card: Card) -> None:
        """Write start.safetensors, with the card of the run that made it, unless it exists."""
        if not self.start_file.exists():
            _save_weights(self.start_file, flatten_networks(networks), card)

    def load_start(self) -> dict[str, dict[str, Tensor]]:
        """The weights that the training starts from, by network.

        Raises RunError if they are missing or not those named by the card.
        """
        assert self.card.started_from is not None
        tensors, _ = read_weights(self.start_file)
        if weights_sha256(tensors) != self.card.started_from.sha256:
            raise RunError(f"{self.start_file} holds other weights than at the start: restore it")
        return split_networks(tensors)

    def generator(self, device: str = "cpu") -> tuple[Sampler, Card]:
        """The generator and its own card. Raises RunError if it is missing or damaged."""
        self._refuse_without_generator()
        return open_generator(self.generator_file, self.gan, device)

    def generator_card(self) -> Card:
        """The card in generator.safetensors. Raises RunError if that is missing or damaged."""
        self._refuse_without_generator()
        return read_weights(self.generator_file)[1]

    def sampler(self, device: str = "cpu") -> Sampler:
        """The generator, ready to sample. Raises RunError if it is missing or damaged."""
        return self.generator(device)[0]

    def sample(
        self,
        *,
        n: int | None = None,
        labels: str | None = None,
        seed: int = 0,
        walk: Walk = PLAIN_WALK,
    ) -> Samples:
        """Images from the generator, to look at or to `.save()`.

        See `ganvas.sampling.samples.sample`.
        """
        return sample(self.sampler(), n=n, labels=labels, seed=seed, walk=walk)

    def _refuse_without_generator(self) -> None:
        if not self.generator_file.exists():
            again = command("train", *self.card.own_recipe(self.gan), out=self.path)
            raise RunError(f"{self.path} has no generator yet: go on with {again}")

    # Log and evaluations

    def append_log(self, lines: Iterable[dict[str, Any]]) -> None:
        """Add lines to log.jsonl."""
        log.append_log(self.log_file, lines)

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl: see `ganvas.runs.log.read_log`."""
        return log.read_log(self.log_file)

    def append_metrics(self, line: str) -> None:
        """Add an evaluation, one line of JSON, to metrics.jsonl."""
        log.append_metrics(self.metrics_file, line)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The evaluations in metrics.jsonl, oldest first."""
        return log.read_metrics(self.metrics_file)

    def rewind_log(self, images_seen: int) -> None:
        """Delete what was logged and evaluated after the state that training resumes from."""
        log.rewind(self.metrics_file, self.read_metrics(), images_seen)
        log.rewind(self.log_file, self.read_log(), images_seen)

    # Sheets and charts

    def save_sheet(self, name: str, images: Tensor, columns: int) -> Path:
        """Write samples/NAME.png of uint8 images (N, H, W, C)."""
        path = self.samples_folder / f"{name}.png"
        sheets.save_sheet(path, images.numpy(), columns)
        return path

    def sheets(self) -> list[tuple[int, Path]]:
        """Images seen and path of each sheet in samples/, oldest first.

        The state knows when a sheet was made; of a newer one, the name says it.
        Raises RunError for a picture of unknown time.
        """
        state = self.load_state()
        try:
            known = {name: images for images, name in state["record"]["sheets"]} if state else {}
        except (KeyError, TypeError, ValueError):
            reason = "it does not say when sheets were made"
            raise RunError(f"{self.state_file} is damaged: {reason}") from None
        template = self.card.train.get("sheet_name", "{images:09d}")
        unit = self.card.plan.epoch if "{epoch" in template and "{images" not in template else 1
        result = []
        for path in sorted(self.samples_folder.glob("*.png")):
            images = known.get(path.name)
            if images is None:
                number = re.search(r"(\d+)\D*$", path.stem)
                if number is None:
                    raise RunError(f"{path} is no sheet of this run: move it elsewhere")
                images = int(number[1]) * unit
            result.append((images, path))
        return sorted(result)

    @property
    def pictures(self) -> dict[str, Path]:
        """Those of real_images, neighbours and copies that exist, by name."""
        names = ("real_images", "neighbours", "copies")
        paths = {name: self.path / f"{name}.png" for name in names}
        return {name: path for name, path in paths.items() if path.is_file()}

    def save_real_images(self, images: Tensor, columns: int) -> None:
        """Write real_images.png of uint8 images (N, H, W, C)."""
        sheets.save_sheet(self.path / "real_images.png", images.numpy(), columns)

    def save_neighbours(self, fakes: Tensor, nearest: Tensor) -> None:
        """Write neighbours.png of uint8 images (N, H, W, C) and their nearest training images."""
        title = "left: generated, right: the nearest training image"
        sheets.save_pairs(self.path / "neighbours.png", fakes.numpy(), nearest.numpy(), title)

    def save_progress(self, moments: Iterable[tuple[str, str]]) -> None:
        """Write progress.png of sheets, given as (caption, file name)."""
        panels = []
        for caption, name in moments:
            with suppress(FileNotFoundError), Image.open(self.samples_folder / name) as image:
                panels.append((caption, image.copy()))
        if panels:
            files.write(self.path / "progress.png", sheets.captioned(panels, 4))

    def save_losses(self) -> None:
        """Write losses.png from the log."""
        from ganvas.runs.loss_curves import losses  # matplotlib takes half a second to import

        files.write(self.path / "losses.png", losses(self.read_log()))


def _save_weights(path: Path, tensors: dict[str, Tensor], card: Card) -> None:
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    card = dataclasses.replace(card, weights_sha256=weights_sha256(contiguous))
    write_safetensors(path, contiguous, card.to_json())


def _refuse_bytes(path: Path) -> None:
    # neither torch nor safetensors opens a file there, and JSON cannot hold the path
    if not is_utf8(str(path)):
        raise RunError(not_utf8(str(path)))


def refuse_foreign(path: Path) -> None:
    """Raises RunError if a directory has content but is not a run. Hidden files do not count."""
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if names and CARD_FILE not in names:
        raise RunError(f"{path} is not empty and not a run: choose another --out")
