"""The cells of the tables in docs/figures.md: trainings, their evaluations, and the aims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

FLAGSHIP = "r3gan/digits"
DRAWN = "drawn-pictures"  # the name, in cells, of the folder that pictures.py fills


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

    data: the training set.
    judged_on: the set whose held-out images the samples are compared with; None for `data`.
    n: number of samples; prdc_n of them for precision, recall and coverage.
    plain: measure the rate of the system's plain loop, too.
    pictures: look for copies, and measure diversity.
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
    judged_on: str | None = None
    extractor: str | None = None
    n: int = 10_000
    prdc_n: int = 2000
    plain: bool = False
    pictures: bool = False

    def __str__(self) -> str:
        return f"{self.table}/{self.name}"


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
        pictures=True,
    )


TABLES: dict[str, Callable[[], Iterator[Cell]]] = {
    "flagship": flagship,
    "sources": sources,
    "recipes": recipes,
    "modes": modes,
    "pictures": pictures,
}
