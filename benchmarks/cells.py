"""The cells of the tables in docs/figures.md and docs/pictures.md: trainings, evaluations, aims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from picture_sets import SETS

FLAGSHIP = "r3gan/digits"
DRAWN = "drawn-pictures"  # the name, in cells, of the folder that pictures.py fills
RIVAL = "rival/"


@dataclass(frozen=True)
class Length:
    """The length of a training, as an option of `ganvas train`."""

    amount: float
    unit: Literal["minutes", "epochs", "images"]

    def __str__(self) -> str:
        return f"{self.amount:,g} {self.unit.removesuffix('s') if self.amount == 1 else self.unit}"


@dataclass(frozen=True)
class Share:
    """A length in time: a part of the plain loop's time for the whole schedule of cell `of`."""

    part: float
    of: str

    def __str__(self) -> str:
        return f"1/{1 / self.part:g} of the plain loop's time of {self.of}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A training and its evaluation.

    recipe: of ganvas, or RIVAL and the name of one of rivals.py's.
    data: the training set.
    reading: options with which it is read.
    judged_on: the set whose held-out images the samples are compared with; None for `data`.
    n: number of samples; prdc_n of them for precision, recall and coverage.
    samplings: number of such samples, for means of the scores.
    plain: measure the rate of the system's plain loop, too.
    copies: look for copies.
    diversity: measure diversity.
    sheet: file name of the sheet of samples to show; "" for none.
    minutes: estimated time on two cores, of all this.
    """

    table: str
    name: str
    recipe: str
    data: str
    length: Length | Share
    minutes: float
    seed: int = 0
    settings: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    judged_on: str | None = None
    extractor: str | None = None
    n: int = 10_000
    prdc_n: int = 2000
    samplings: int = 1
    plain: bool = False
    copies: bool = False
    diversity: bool = False
    sheet: str = ""

    def __str__(self) -> str:
        return f"{self.table}/{self.name}"

    @property
    def rival(self) -> str:
        """The rival of rivals.py that is trained; "" for a recipe."""
        return self.recipe.removeprefix(RIVAL) if self.recipe.startswith(RIVAL) else ""


@dataclass(frozen=True)
class Aim:
    """Aims of the flagship's medians.

    accuracy, recall: minima of label accuracy and recall.
    ratio: maximum of FID / floor.
    """

    accuracy: float
    ratio: float
    recall: float


FLAGSHIP_AIMS = {
    ("mnist", 1): Aim(0.97, 20, 0.80),
    ("mnist", 5): Aim(0.99, 4, 0.90),
    ("mnist-5k", 1): Aim(0.96, 30, 0.75),
    ("mnist-5k", 5): Aim(0.985, 10, 0.85),
    ("mnist", 60): Aim(0.995, 2, 0.93),
}
MODES_AIM, REVERSE_KL_AIM = 1000, 0.06
DIVERSITY_AIM = 0.8  # held-out pictures have 1
RECALL_OF_FLOOR_AIM = 0.5


@dataclass(frozen=True)
class System:
    """A source system.

    schedule: its whole training.
    part: the part of its plain loop's time in which the flagship is to be better.
    minutes: estimated time of the schedule with ganvas.
    """

    schedule: Length
    part: float
    minutes: float
    settings: tuple[str, ...] = ()


NARROW = ("model.width=32",)  # dcgan/64 at this width, on 28x28, represents its family
SYSTEMS = {
    "mlp/relu": System(Length(50, "epochs"), 1 / 20, 7),
    "mlp/leaky": System(Length(200, "epochs"), 1 / 20, 7),
    "mlp/batchnorm": System(Length(160_000, "images"), 1, 1),  # 5,000 steps: takes minutes
    "cgan/digits": System(Length(100, "epochs"), 1 / 20, 15),
    "dcgan/64": System(Length(20, "epochs"), 1 / 20, 15, NARROW),
}
RECIPES = {
    "cgan/digits": (),
    "dcgan/64": NARROW,
    "dcgan/repository": (),
    "mlp/relu": (),
    "mlp/leaky": (),
    "mlp/batchnorm": (),
    "r3gan/digits": (),
    "r3gan/images": (),
    "sngan/digits": (),
    "wgan-gp/digits": (),
}
EXTRACTORS = {"mnist": "digits", "fashion-mnist": "classifier:fashion-mnist"}


@dataclass(frozen=True, kw_only=True)
class PictureData:
    """A picture set as it is trained on, and how samples are judged by its held-out part.

    reading, extractor, n, samplings, copies: see `Cell`.
    rivals: train the rivals on it, too.
    """

    reading: tuple[str, ...] = ()
    extractor: str | None = "imagenet"
    n: int = 400
    samplings: int = 5
    copies: bool = False
    rivals: bool = False


# The rivals are made for RGB at 64x64. So the systems beside them get such pictures as well.
RGB = ("--size", "64", "--channels", "3")
PICTURES = {
    "food": PictureData(reading=RGB, copies=True, rivals=True),
    "solar": PictureData(reading=RGB, rivals=True),
    "stamps": PictureData(reading=RGB, copies=True, rivals=True),
    "sprites": PictureData(reading=RGB, copies=True, rivals=True),
    "emoji": PictureData(),
    # enough held-out pictures for a single large sample
    "hanzi": PictureData(n=5000, samplings=1),
    "letters": PictureData(n=5000, samplings=1, extractor=None),
}
PICTURES_RECIPE, FORMER_RECIPE = "projected/images", "r3gan/images"
PICTURE_RECIPES = (PICTURES_RECIPE, FORMER_RECIPE)
PICTURE_RIVALS = ("dcgan", "fastgan", "projected")
PICTURE_MINUTES = {10: 3, 60: 1}  # of training, and with how many seeds a recipe is trained


@dataclass(frozen=True, kw_only=True)
class PictureAim:
    """Aims of PICTURES_RECIPE's medians on a picture set; None where there is none.

    kid: maximum of KID / that of FORMER_RECIPE.
    recall, recall_of_floor: minima of recall and of recall / floor.
    no_copier: the copy check, where it is made, finds no copier.
    accuracy: minimum of label accuracy.
    """

    kid: float | None = None
    recall: float | None = None
    recall_of_floor: float | None = None
    no_copier: bool = False
    accuracy: float | None = None


_AIMS = {
    10: PictureAim(kid=1 / 3, recall=0.3),
    60: PictureAim(kid=1 / 5, recall_of_floor=RECALL_OF_FLOOR_AIM, no_copier=True),
}
PICTURE_AIMS = {
    **{
        (data, minutes): aim
        for data in ("food", "solar", "stamps", "sprites")
        for minutes, aim in _AIMS.items()
    },
    ("letters", 60): PictureAim(accuracy=0.97),
}

# minutes of an evaluation, and of measuring the rate of a plain loop
JUDGING, MEASURING = 1.0, 1.5


def plain_name(recipe: str) -> str:
    return recipe.replace("/", "-")


def flagship() -> Iterator[Cell]:
    for data, minutes in FLAGSHIP_AIMS:
        for seed in range(1 if minutes == 60 else 3):
            yield Cell(
                table="flagship",
                name=f"{data}-{minutes}min-seed{seed}",
                recipe=FLAGSHIP,
                data=data,
                seed=seed,
                length=Length(minutes, "minutes"),
                minutes=minutes + JUDGING,
                judged_on="mnist",
                extractor="digits",
            )


def sources() -> Iterator[Cell]:
    for recipe, system in SYSTEMS.items():
        yield Cell(
            table="sources",
            name=plain_name(recipe),
            recipe=recipe,
            data="mnist",
            length=system.schedule,
            plain=True,
            settings=system.settings,
            minutes=system.minutes + JUDGING + MEASURING,
            judged_on="mnist",
            extractor="digits",
        )
        yield Cell(
            table="sources",
            name=f"r3gan-for-{plain_name(recipe)}",
            recipe=FLAGSHIP,
            data="mnist",
            length=Share(system.part, plain_name(recipe)),
            minutes=1.2 + JUDGING,
            judged_on="mnist",
            extractor="digits",
        )


def recipes() -> Iterator[Cell]:
    for data, extractor in EXTRACTORS.items():
        for recipe, settings in RECIPES.items():
            yield Cell(
                table="recipes",
                name=f"{data}-{plain_name(recipe)}",
                recipe=recipe,
                data=data,
                settings=settings,
                length=Length(5, "minutes"),
                minutes=5 + JUDGING,
                judged_on=data,
                extractor=extractor,
            )


def modes() -> Iterator[Cell]:
    yield Cell(
        table="modes",
        name="stacked-mnist",
        recipe="r3gan/stacked-mnist",
        data="stacked-mnist",
        length=Length(60, "minutes"),
        minutes=60 + 3 * JUDGING,
        judged_on="stacked-mnist",
    )


def pictures() -> Iterator[Cell]:
    # as many samples for recall as training pictures, so that it compares with the floor's
    yield Cell(
        table="pictures",
        name="r3gan-images",
        recipe="r3gan/images",
        data=DRAWN,
        extractor="self",
        length=Length(30, "minutes"),
        minutes=30 + 4 * JUDGING,
        n=2000,
        prdc_n=200,
        copies=True,
        diversity=True,
    )


def picture_systems(data: str) -> Iterator[tuple[str, int]]:
    """The systems trained on a picture set, and the length of their training in minutes."""
    rivals = [RIVAL + name for name in PICTURE_RIVALS if PICTURES[data].rivals]
    for minutes in PICTURE_MINUTES:
        for recipe in (*PICTURE_RECIPES, *rivals):
            yield recipe, minutes


def picture_cells(data: str, recipe: str, minutes: int) -> Iterator[Cell]:
    """The trainings of a system on a picture set, one a seed."""
    how, name = PICTURES[data], f"{data}-{minutes}min-{plain_name(recipe)}"
    for seed in range(1 if recipe.startswith(RIVAL) else PICTURE_MINUTES[minutes]):
        shown = seed == 0 and not SETS[data].measuring
        yield Cell(
            table="picture-sets",
            name=f"{name}-seed{seed}",
            recipe=recipe,
            data=data,
            seed=seed,
            length=Length(minutes, "minutes"),
            minutes=minutes + 1.5 * JUDGING,
            reading=how.reading,
            extractor=how.extractor,
            n=how.n,
            samplings=how.samplings,
            copies=how.copies,
            sheet=f"{data}-{plain_name(recipe)}-{minutes}.png" if shown else "",
        )


def picture_sets() -> Iterator[Cell]:
    for data in PICTURES:
        for recipe, minutes in picture_systems(data):
            yield from picture_cells(data, recipe, minutes)


TABLES: dict[str, Callable[[], Iterator[Cell]]] = {
    "flagship": flagship,
    "sources": sources,
    "recipes": recipes,
    "modes": modes,
    "pictures": pictures,
    "picture-sets": picture_sets,
}
