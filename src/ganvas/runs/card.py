"""The card: everything that a run or a generator's file says of itself, as one numbered JSON
document.

It is a run's recipe.json and the metadata of generator.safetensors. It holds settings and names,
never code.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import torch
from msgspec import Meta

from ganvas import data, gans
from ganvas.data.assemble import NoHeldOutError
from ganvas.data.dataset import Dataset
from ganvas.data.load import Reading
from ganvas.errors import DataError, GanvasError, RunError
from ganvas.gan import GanFile
from ganvas.plan import Plan
from ganvas.recipe import Channels, Fit, ImageSpec, Positive, Precision, Recipe, TrainConfig
from ganvas.runs.train_options import MAX_THREADS
from ganvas.system.schema import convert
from ganvas.version import __version__

CARD_FORMAT = 1

AnyCard = TypeVar("AnyCard")


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """Which data, how they were read, and what they were (SHA-256 of shapes, pixels, labels and
    class names).

    flip: half of the images that a training sees are mirrored, left to right.
    """

    what: str
    name: str
    images: int
    fingerprint: str
    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    channels: Channels | None = None
    flip: bool = False

    def reading(self, data_dir: Path | None = None) -> Reading:
        """Return the reading that yields these images; named sets lie in `data_dir`."""
        return Reading(self.size, self.fit, self.channels, data_dir)


START_FILE = "start.safetensors"  # a run's copy of the weights that it was started from


@dataclass(frozen=True, kw_only=True)
class StartedFrom:
    """The run or file that a training took its first weights from, and the SHA-256 of those (see
    `weights_sha256`)."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a run is. `gan` names a built-in or, ending in .py, a file of the user's, of which only
    the hash is kept.

    evaluate_every: how often it is evaluated in training, "auto" or an interval; weights do not
    depend on it.
    threads, precision: 0 and "" where they are yet to be measured.
    weights_sha256: of the weights that a generator.safetensors holds beside this card; "" in a
    run's recipe.json.
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
    weights_sha256: str = ""

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, origin: str) -> Card:
        """Raises RunError, naming `origin`, for what is no card or one of a newer format."""
        return parse_card(text, cls, CARD_FORMAT, origin)

    @property
    def recipe_key(self) -> str:
        """The recipe's name within the GAN's file."""
        return self.recipe.removeprefix(self.gan)[1:]

    def own_recipe(self, gan: str | None) -> list[str]:
        """How a command names the recipe where it is in a file of the user's, at `gan`, which a run
        does not lead to."""
        folder = Path(gan).parent if gan else Path("PATH")
        return [str(folder / self.recipe)] if self.gan.endswith(".py") else []

    def own_file(self, gan: str | None) -> list[str]:
        """--gan FILE, for a command that takes a run, where the GAN is in a file of the user's."""
        return ["--gan", gan or f"PATH/{self.gan}"] if self.gan.endswith(".py") else []

    def gan_file(self, path: str | None = None) -> GanFile:
        """The GAN's file: a built-in, or the user's at `path`. A card never leads to code by
        itself.

        Raises RunError when the file is the user's and no path, or another file, is given.
        """
        if not self.gan.endswith(".py"):
            if self.gan not in gans.gan_names():
                raise RunError(
                    f"this generator is of a GAN {self.gan[:40]!r} that this ganvas does not have:"
                    " upgrade ganvas"
                )
            if path is not None:
                raise RunError(
                    f"--gan {path}: this generator's networks are built in, in {self.gan}; leave"
                    " --gan out"
                )
            return gans.load_gan(self.gan)
        if path is None:
            file = shlex.quote(f"PATH/{self.gan}")
            raise RunError(
                f"this generator's networks are in a file of yours, {self.gan}: add --gan {file}"
            )
        if Path(path).name != self.gan:
            raise RunError(
                f"this generator's networks are in {self.gan}, not in {Path(path).name}: give its"
                " own file"
            )
        return gans.load_gan(path)

    def dataset(self, data_dir: Path | None = None, *, fetch: bool = True) -> Dataset:
        """The images that the run is trained on, read as it reads them. Raises DataError where they
        cannot be."""
        native = (self.image.height, self.image.width)
        return self.data.reading(data_dir).load(self.data.what, native, fetch=fetch)

    def held_out(
        self, data_dir: Path | None = None, tell: Callable[[str], None] = lambda line: None
    ) -> Dataset | None:
        """The part of the run's data that is held out, as its images are, of its classes; None
        where there is none here.

        tell: is told of a part that is there and cannot be read, which is left out.
        """
        classes = self.image.classes
        try:
            part = data.load_dataset(
                self.data.what,
                split="test",
                size=(self.image.height, self.image.width),
                fit=self.data.fit,
                channels=self.image.channels,
                data_dir=data_dir,
                fetch=False,
            )
        except NoHeldOutError:
            return None
        except DataError as error:
            if self.data.what not in data.NAMES:  # a set by name is not fetched for this
                tell(f"the held-out part is left out: {error}")
            return None
        if part.classes == classes:
            return part
        if not classes or part.labels is None:
            return None if classes else Dataset(part.name, part.images)
        place = {name: k for k, name in enumerate(classes)}
        labels = torch.tensor([place.get(name, -1) for name in part.classes])[part.labels]
        known = labels >= 0
        return (
            Dataset(part.name, part.images[known], labels[known], classes)
            if bool(known.any())
            else None
        )

    def settings(self, file: GanFile) -> Recipe:
        """The resolved recipe. Raises RunError when its settings do not fit the GAN's file."""
        try:
            return Recipe(
                model=convert(self.model, file.config, "model"),
                train=convert(self.train, TrainConfig, "train"),
                native=self.image,
            )
        except GanvasError as error:
            raise RunError(
                f"the settings stored with this generator do not fit {self.gan}: {error}"
            ) from None


def parse_card(text: str | bytes, kind: type[AnyCard], newest: int, origin: str) -> AnyCard:
    """Parse a card, a dataclass kept as JSON with the number of its format.

    Raises RunError, naming `origin`, for anything else and for formats above `newest`.
    """
    try:
        plain = msgspec.json.decode(text)
        number = plain.get("format") if isinstance(plain, dict) else None
        if isinstance(number, int) and number > newest:
            raise RunError(
                f"{origin} has format {number}, this ganvas reads up to {newest}: upgrade ganvas"
            )
        return msgspec.convert(plain, kind)
    except (
        msgspec.DecodeError,
        msgspec.ValidationError,
        UnicodeDecodeError,
        RecursionError,
    ) as error:
        raise RunError(f"{origin} is damaged or not ganvas's: {error}") from None


def versions() -> dict[str, str]:
    """What the figures of a run may depend on."""
    return {
        "ganvas": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
