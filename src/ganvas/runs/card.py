"""The card of a run or a generator: settings and names as JSON, with a format number.

It is a run's recipe.json and the metadata of generator.safetensors. It never holds code.
"""

from __future__ import annotations

import platform
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta

from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.data.reading import NoHeldOutError, Reading, ReadOptions
from ganvas.errors import DataError, GanvasError, RunError
from ganvas.gan import GanFile
from ganvas.plan import Plan
from ganvas.recipe import ImageSpec, Positive, Precision, Recipe, TrainConfig
from ganvas.runs.train_options import MAX_THREADS
from ganvas.sampling.latents import LATENT_DRAW
from ganvas.system.progress import Say
from ganvas.system.schema import convert, parse_card
from ganvas.version import __version__

CARD_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class DataCard(ReadOptions):
    """The data of a run, and the options they were read with (see `ReadOptions`).

    Fit and range are those used, which may have been found from the images.

    what: the name or path given by the user.
    fingerprint: see `Dataset.fingerprint`.
    flip: True if training mirrors half of the images it sees, left to right.
    """

    what: str
    name: str
    images: int
    fingerprint: str
    flip: bool = False

    def reading(self, data_dir: Path | None = None) -> Reading:
        """Return the reading that yields these images; named sets lie in `data_dir`."""
        return Reading(**self.given(), data_dir=data_dir)


START_FILE = "start.safetensors"  # a run's copy of the weights that it started from


@dataclass(frozen=True, kw_only=True)
class StartedFrom:
    """The run or file that a training took its first weights from, and their `weights_sha256`."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that a run's weights depend on, and how they were made.

    gan: name of a built-in GAN or, ending in .py, of a file of the user's.
    gan_sha256: hash of that file, whose code is not kept.
    model, train: the resolved settings.
    threads, precision: 0 and "" until they are measured.
    evaluate_every: "auto" or the interval of evaluations in training, on which no weight depends.
    latent_draw: version of the draw of latents (see `ganvas.sampling.latents`); cards of the first
        name none.
    weights_sha256: hash of the weights stored beside this card; "" in recipe.json.
    """

    format: int = CARD_FORMAT
    recipe: str
    gan: str
    gan_sha256: str = ""
    model: dict[str, Any]
    train: dict[str, Any]
    image: ImageSpec
    data: DataCard
    seed: int
    threads: Annotated[int, Meta(ge=0, le=MAX_THREADS)]
    processes: Positive = 1
    device: str
    precision: Precision | Literal[""] = "32"
    plan: Plan
    evaluate_every: str | None = None
    started_from: StartedFrom | None = None
    versions: dict[str, str] = field(default_factory=dict)
    latent_draw: Positive = 1
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        if self.latent_draw > LATENT_DRAW:
            known = f"this ganvas knows 1 to {LATENT_DRAW}"
            raise RunError(f"latents of draw {self.latent_draw}; {known}: upgrade ganvas")

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, origin: str) -> Card:
        """Raises RunError, naming `origin`, for what is no card or one of a newer format."""
        return parse_card(text, cls, CARD_FORMAT, origin)

    @property
    def recipe_key(self) -> str:
        """Name of the recipe within the GAN's file."""
        return self.recipe.removeprefix(self.gan)[1:]

    def own_recipe(self, gan: str | None) -> list[str]:
        """Arguments that name the recipe in a command: [] unless it is in a file of the user's.

        gan: path of that file, which a run does not know.
        """
        folder = Path(gan).parent if gan else Path("PATH")
        return [str(folder / self.recipe)] if self.gan.endswith(".py") else []

    def own_file(self, gan: str | None) -> list[str]:
        """["--gan", FILE] for a command that takes a run; [] unless the GAN is the user's."""
        return ["--gan", gan or f"PATH/{self.gan}"] if self.gan.endswith(".py") else []

    def gan_file(self, path: str | None = None) -> GanFile:
        """Load the GAN: a built-in, or the user's file at `path`. A card alone never runs code.

        Raises RunError if the GAN is unknown, or `path` does not fit it.
        """
        networks = "this generator's networks are"
        if self.gan.endswith(".py"):
            if path is None:
                file = shlex.quote(f"PATH/{self.gan}")
                raise RunError(f"{networks} in a file of yours, {self.gan}: add --gan {file}")
            if Path(path).name != self.gan:
                raise RunError(
                    f"{networks} in {self.gan}, not in {Path(path).name}: give that file"
                )
        elif self.gan not in gans.gan_names():
            gan = repr(self.gan[:40])
            raise RunError(f"this generator's GAN is {gan}, unknown to this ganvas: upgrade ganvas")
        elif path is not None:
            raise RunError(f"--gan {path}: {networks} built in ({self.gan}); leave --gan out")
        return gans.load_gan(path or self.gan)

    def dataset(self, data_dir: Path | None = None, *, fetch: bool = True) -> Dataset:
        """Load the run's training images. fetch: see `load_dataset`. Raises DataError."""
        native = (self.image.height, self.image.width)
        return self.data.reading(data_dir).load(self.data.what, native=native, fetch=fetch)

    def held_out(
        self, data_dir: Path | None = None, tell: Say = lambda line: None
    ) -> Dataset | None:
        """Load the held-out part of the run's data, in the run's size, channels and classes.

        Returns None if nothing is held out, if a named set is not on this machine, or if the part
        cannot be read, which `tell` is called with.
        """
        classes = self.image.classes
        try:
            size = self.image.height, self.image.width
            reading = replace(self.data.reading(data_dir), size=size, channels=self.image.channels)
            part = reading.load(self.data.what, split="test", fetch=False)
        except NoHeldOutError:
            return None
        except DataError as error:
            # a named set may be missing, as it is not fetched here
            if self.data.what not in data.NAMES:
                tell(f"the held-out part is left out: {error}")
            return None
        if part.classes == classes:
            return part
        if not classes:
            return replace(part, labels=None, classes=())
        if part.labels is None:
            return None
        # Keep the images of the run's classes, and number these as the run does
        place = {name: k for k, name in enumerate(classes)}
        labels = torch.tensor([place.get(name, -1) for name in part.classes])[part.labels]
        known = labels >= 0
        if known.any():
            return replace(part, images=part.images[known], labels=labels[known], classes=classes)
        return None

    def settings(self, file: GanFile) -> Recipe:
        """The resolved recipe. Raises RunError if its settings do not fit the GAN's file."""
        try:
            return Recipe(
                model=convert(self.model, file.config, "model"),
                train=convert(self.train, TrainConfig, "train"),
                native=self.image,
            )
        except GanvasError as error:
            raise RunError(f"this generator's settings do not fit {self.gan}: {error}") from None


def versions() -> dict[str, str]:
    """Versions that the results of a run may depend on."""
    return {
        "ganvas": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
