"""Run: everything that a training leaves on disk. Nothing else knows the names of its files."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import shlex
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor

from ganvas.errors import RunError
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
from ganvas.system import files
from ganvas.system.text import is_utf8, printable

STATISTICS = ("d_loss", "g_loss", "d_real", "d_fake", "d_accuracy")  # what a step tells
PLACE = ("images", "step", "epoch", "seconds", "lr")
LOGGED = (*PLACE, *STATISTICS)  # what a line of the log holds
# and, in newer logs: norms in its last step (see Learner)
GRADIENTS = ("d_gradient", "g_gradient", "g_least_gradient")
# seconds to wait for a run's lock: who only looks whether it is held holds it for a moment
PATIENCE = 0.3


class BusyError(RunError):
    """Another training is writing to the run."""


class Run:
    """A run's directory.

    recipe.json             its card: settings, image spec, data, seed, plan, versions
    log.jsonl               one line per logging interval
    tensorboard/            the same scalars, and the sheets
    real_images.png         some of the training images
    samples/                sheets from the same latents as training went on
    weights/                generators kept on the way, where the recipe asks for it
    losses.png              both networks' losses
    progress.png            sheets from four moments, beside each other
    neighbours.png          generated images, each beside the training image nearest to it
    metrics.jsonl           one line per evaluation: see `ganvas.evaluation.result` copies.png
    of an evaluation's generated images, those nearest to training images, beside these report.html
    all this on one page
    generator.safetensors   the generator with its card: all that sampling needs best.safetensors
    the same of the generator with the least FID of those evaluated on the way start.safetensors
    the weights that training was started from, where there are such (--from)
    state.pt                both networks, optimizers and images seen: all that going on needs
    """

    def __init__(self, path: str | Path, card: Card, gan: str | None = None) -> None:
        self.path, self.card, self.gan = Path(path), card, gan

    @classmethod
    def open(cls, path: str | Path, *, gan: str | None = None) -> Run:
        """An existing run. gan: path of the user's own GAN file, where one was trained.

        Raises RunError for a directory that is no run, or a damaged one.
        """
        path = Path(path)
        _refuse_bytes(path)
        with files.reading(path):
            there = path.exists()
        if not there:
            raise RunError(f"no run {path}: it does not exist; ganvas train makes runs")
        if not path.is_dir():
            raise RunError(f"{path} is a file, not a run's directory")
        if not (path / "recipe.json").is_file():
            raise RunError(f"{path} is not a run: it has no recipe.json")
        card = path / "recipe.json"
        with files.reading(card):
            content = card.read_bytes()
        try:
            return cls(path, Card.from_json(content, str(card)), gan)
        except RunError as error:
            raise RunError(
                f"{error}; restore it, or name a recipe and start anew with --fresh"
            ) from None

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether a run is in a directory, be it damaged. Raises RunError for one that cannot be
        looked into."""
        with files.reading(path):
            return path.is_dir() and not {"recipe.json", "state.pt"}.isdisjoint(os.listdir(path))

    @classmethod
    def create(cls, path: Path, card: Card, gan: str | None = None, made: bool = False) -> Run:
        """A new run in an empty or new directory. Raises RunError when it cannot be made there.

        made: the caller has made the directory for it; it is taken away again where nothing can be
        written.
        """
        _refuse_bytes(path)
        run = cls(path, card, gan)
        with files.writing(path):
            made = made or not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            refuse_foreign(path)
        try:
            with run.locked():
                if (path / "recipe.json").exists():
                    raise RunError(f"another training is writing to {path}: choose another --out")
                run.save_card(card)
        except RunError:
            if made and not (path / "recipe.json").exists():
                (path / ".lock").unlink(missing_ok=True)
                path.rmdir()
            raise
        return run

    @property
    def generator_file(self) -> Path:
        return self.path / "generator.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the planned images have all been seen."""
        state = self.load_state()
        return state is not None and state["images_seen"] >= self.card.plan.total

    @property
    def best_file(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def closest_file(self) -> Path:
        return self.path / "copies.png"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def pictures(self) -> dict[str, Path]:
        """The pictures beside the sheets that are there: real_images, neighbours, copies."""
        paths = {
            name: self.path / f"{name}.png" for name in ("real_images", "neighbours", "copies")
        }
        return {name: path for name, path in paths.items() if path.is_file()}

    def sampler(self, device: str = "cpu") -> Sampler:
        """The run's generator. Raises RunError when there is none yet, or it is damaged."""
        return self.generator(device)[0]

    def generator_card(self) -> Card:
        """The card of the generator as it is now. Raises RunError as `sampler` does."""
        self._refuse_without_generator()
        return read_weights(self.generator_file)[1]

    def generator(self, device: str = "cpu") -> tuple[Sampler, Card]:
        """The run's generator with its own card. Raises RunError as `sampler` does."""
        self._refuse_without_generator()
        return open_generator(self.generator_file, self.gan, device)

    def _refuse_without_generator(self) -> None:
        if not self.generator_file.exists():
            again = shlex.join(
                ["ganvas", "train", *self.card.own_recipe(self.gan), "--out", str(self.path)]
            )
            raise RunError(f"{self.path} has no generator yet: go on with {again}")

    def sample(self, *, n: int | None = None, labels: str | None = None, seed: int = 0) -> Samples:
        """Images from the run's generator, to look at or `.save()`: see
        `ganvas.sampling.samples.sample`."""
        return sample(self.sampler(), n=n, labels=labels, seed=seed)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out. Raises BusyError when one is in here already."""
        lock = FileLock(self.path / ".lock")
        with files.writing(self.path / ".lock"):
            try:
                lock.acquire(timeout=PATIENCE)
            # held by another process, or by another training of this one
            except (Timeout, RuntimeError):
                raise BusyError(
                    f"another training is writing to {self.path}: wait for it, stop it, or choose"
                    " another --out"
                ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def busy(self) -> bool:
        """Whether a training is writing to the run now."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with self.locked():
                return False
        except BusyError:
            return True
        except RunError:  # a disk that cannot be written: nobody trains there
            return False

    def save_card(self, card: Card) -> None:
        self.card = card
        files.write(self.path / "recipe.json", card.to_json())

    def save_state(self, state: dict[str, Any]) -> None:
        """Write state.pt whole or not at all; `state` holds tensors and plain values only."""

        def save(file: Any) -> None:
            # torch.save to a file turns a full disk into a RuntimeError that does not say so
            buffer = io.BytesIO()
            torch.save(state, buffer)
            file.write(buffer.getbuffer())

        files.write(self.path / "state.pt", save)

    def load_state(self) -> dict[str, Any] | None:
        """The saved state, None before the first save. Raises RunError for a damaged file."""
        path = self.path / "state.pt"
        if not path.exists():
            return None
        try:
            # torch looks at no checksum; this takes 10 ms for 30 MB
            with zipfile.ZipFile(path) as archive:
                if (member := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {member} is wrong")
            # Not mapped: Windows replaces no file that is, and tensors of it live on in a training.
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] > self.card.format:
                raise RunError(
                    f"{path} has format {state['format']}: upgrade ganvas to go on with it"
                )
            if not isinstance(state["images_seen"], int) or not isinstance(state["seconds"], float):
                raise TypeError("images_seen is no whole number")
        except RunError:
            raise
        # pickle, zip and torch each have errors of their own for a damaged file
        except Exception as error:
            reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            raise RunError(
                f"{path} is damaged ({reason}): restore it, or start anew with --fresh"
            ) from None
        return state

    def save_generator(self, tensors: dict[str, Tensor], kept_at: int | None = None) -> None:
        """Write the generator with its card; with `kept_at` (images seen) as one more file in
        weights/."""
        path = (
            self.generator_file
            if kept_at is None
            else self.path / "weights" / f"{kept_at:09d}.safetensors"
        )
        _save_weights(path, tensors, self.card)

    def save_best(self, tensors: dict[str, Tensor]) -> None:
        _save_weights(self.best_file, tensors, self.card)

    def save_start(self, networks: dict[str, dict[str, Tensor]], card: Card) -> None:
        """Keep the weights that the training starts from, with the card of what made them, unless
        they are here."""
        if not (self.path / START_FILE).exists():
            _save_weights(self.path / START_FILE, flatten_networks(networks), card)

    def load_start(self) -> dict[str, dict[str, Tensor]]:
        """The weights that the training starts from, by network. Raises RunError where they are
        missing or others."""
        assert self.card.started_from is not None
        tensors, _ = read_weights(self.path / START_FILE)
        if weights_sha256(tensors) != self.card.started_from.sha256:
            raise RunError(
                f"{self.path / START_FILE} holds other weights than the run was started from: restore it"
            )
        return split_networks(tensors)

    def append_log(self, lines: Iterable[dict[str, Any]]) -> None:
        with (
            files.writing(self.path / "log.jsonl"),
            open(self.path / "log.jsonl", "a", encoding="utf-8") as file,
        ):
            file.writelines(_row(line) for line in lines)

    def append_metrics(self, line: str) -> None:
        """Keep an evaluation, one line of JSON. What a full disk or a kill left of an earlier line
        is dropped before."""
        path = self.path / "metrics.jsonl"
        with (
            files.writing(path),
            FileLock(self.path / ".metrics.lock"),
        ):  # `ganvas evaluate` may come while a run trains
            before = path.read_bytes() if path.exists() else b""
            if before and not before.endswith(b"\n"):
                files.write(path, before[: before.rfind(b"\n") + 1])
            with open(path, "ab") as file:
                file.write(line.encode() + b"\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All evaluations, oldest first; a last line cut short by a crash is left out. Raises
        RunError for a damaged file."""
        path = self.path / "metrics.jsonl"
        try:
            lines = _json_lines(path)
            for line in lines:
                if not isinstance(line, dict) or not isinstance(
                    line.get("fid"), float | int | None
                ):
                    raise ValueError
                if not isinstance(line.get("images", 0), int) or not isinstance(
                    line.get("cost_seconds", 0), float | int
                ):
                    raise ValueError
            return lines
        except (ValueError, RecursionError):
            raise RunError(f"{path} is damaged: restore it, or take it away") from None

    def read_log(self) -> list[dict[str, Any]]:
        """The log's lines; a last line cut short by a crash is left out. A figure that was no
        number, as null, is NaN."""
        path = self.path / "log.jsonl"
        try:
            lines = _json_lines(path)
            for line in lines:
                line.update(
                    {
                        name: math.nan
                        for name in (*STATISTICS, *GRADIENTS)
                        if line.get(name, 0) is None
                    }
                )
            if any(not isinstance(line[name], (int, float)) for line in lines for name in LOGGED):
                raise ValueError
            return lines
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise RunError(f"{path} is damaged: restore it, or start anew with --fresh") from None

    def sheets(self) -> list[tuple[int, Path]]:
        """Images seen and path of each sheet in samples/, in the order in which they were made.

        The state knows when a sheet was made, and of one that was made since, its name tells.
        Raises RunError for a picture of which neither does.
        """
        state = self.load_state()
        try:
            known = {name: images for images, name in state["record"]["sheets"]} if state else {}
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"{self.path / 'state.pt'} is damaged: it does not say when sheets were made"
            ) from None
        template = self.card.train.get("sheet_name", "{images:09d}")
        unit = self.card.plan.epoch if "{epoch" in template and "{images" not in template else 1
        found = []
        for path in sorted((self.path / "samples").glob("*.png")):
            images = known.get(path.name)
            if images is None:
                number = re.search(r"(\d+)\D*$", path.stem)
                if number is None:
                    raise RunError(
                        f"{path} is no sheet of this run (its name holds no number): move it"
                        " elsewhere"
                    )
                images = int(number[1]) * unit
            found.append((images, path))
        return sorted(found)

    def rewind_log(self, images_seen: int) -> None:
        """Forget what was logged, and evaluated in training, after the state that training goes on
        from."""
        metrics = [line for line in self.read_metrics() if line.get("images", 0) <= images_seen]
        if (self.path / "metrics.jsonl").exists():
            files.write(
                self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics)
            )
        lines = [line for line in self.read_log() if line["images"] <= images_seen]
        if (self.path / "log.jsonl").exists():
            files.write(self.path / "log.jsonl", "".join(map(_row, lines)))

    def save_sheet(self, name: str, images: Tensor, columns: int) -> Path:
        """Write samples/NAME.png of uint8 NHWC images."""
        path = self.path / "samples" / f"{name}.png"
        self._save_grid(path, images, columns)
        return path

    def save_real_images(self, images: Tensor, columns: int) -> None:
        self._save_grid(self.path / "real_images.png", images, columns)

    def _save_grid(self, path: Path, images: Tensor, columns: int) -> None:
        pixels = images.numpy()
        scale = sheets.viewing_scale(*pixels.shape[1:3])
        sheets.save_png(path, sheets.grid(pixels, columns, gap=2, scale=scale))

    def save_neighbours(self, fakes: Tensor, nearest: Tensor) -> None:
        """Write neighbours.png: uint8 NHWC images, each generated one left of its nearest training
        image."""
        title = "left: generated, right: the nearest training image"
        sheets.save_pairs(self.path / "neighbours.png", fakes.numpy(), nearest.numpy(), title)

    def save_progress(self, moments: Iterable[tuple[str, str]]) -> None:
        """Write progress.png: a few sheets, given as (caption, file name), under their captions."""
        panels = []
        for caption, name in moments:
            path = self.path / "samples" / name
            if not path.exists():  # a sheet that the user took away
                continue
            with Image.open(path) as image:
                panels.append((caption, image.copy()))
        if panels:
            files.write(self.path / "progress.png", sheets.encode(sheets.captioned(panels, 4)))

    def save_losses(self) -> None:
        """Write losses.png: both networks' losses over the images seen, from the log."""
        from ganvas.runs.loss_curves import losses  # matplotlib takes half a second to import

        files.write(self.path / "losses.png", losses(self.read_log()))


def _json_lines(path: Path) -> list[Any]:
    """What a file of JSON lines holds, nothing where there is none; a last line cut short by a
    crash is left out."""
    with files.reading(path):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _row(line: dict[str, Any]) -> str:
    """A line of the log as JSON, which knows no NaN and no infinity: null stands for both."""
    plain = {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in line.items()
    }
    return json.dumps(plain) + "\n"


def _save_weights(path: Path, tensors: dict[str, Tensor], card: Card) -> None:
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    card = dataclasses.replace(card, weights_sha256=weights_sha256(contiguous))
    write_safetensors(path, contiguous, card.to_json())


def _refuse_bytes(path: Path) -> None:
    # neither torch nor safetensors opens a file there, and no JSON holds the path
    if not is_utf8(str(path)):
        raise RunError(
            f"{printable(str(path))}: the path's bytes are no UTF-8: choose another, or rename it"
        )


def refuse_foreign(path: Path) -> None:
    """Raises RunError for a directory with content that is no run's. Hidden files, such as a lock,
    do not count."""
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if names and "recipe.json" not in names:
        raise RunError(f"{path} is not empty and not a run: choose another --out")
