"""What the tables of docs/figures.md hold: every training in them, how it is judged, and what it
set out to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

FLAGSHIP = "r3gan/digits"
DRAWN = "drawn-pictures"  # stands for the folder that pictures.py fills


@dataclass(frozen=True)
class Length:
    """A training's length, as `ganvas train` is told it."""

    amount: float
    unit: Literal["minutes", "epochs", "images"]

    def __str__(self) -> str:
        return f"{self.amount:,g} {self.unit.removesuffix('s') if self.amount == 1 else self.unit}"


@dataclass(frozen=True)
class Share:
    """A length: part of the time that the plain loop of another cell's system takes for its whole
    schedule."""

    part: float
    of: str

    def __str__(self) -> str:
        return f"1/{1 / self.part:g} of the plain loop's time of {self.of}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A training and its judgement.

    data: what is trained on. judged_on: the set whose held-out images it is judged by; None: its
    own. n: samples, of which prdc_n for precision, recall and coverage.
    plain: whether the rate of the system's plain loop is measured, too. pictures: whether copies
    are looked for, and how
    varied the samples are. minutes: what it takes in all on two cores, roughly.
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
    """What the medians of the flagship are to reach: the least label accuracy and recall, the most
    FID / floor."""

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
DIVERSITY_AIM = 0.8  # of the held-out pictures' own
RECALL_OF_FLOOR_AIM = 0.5


@dataclass(frozen=True)
class System:
    """A source system's whole schedule, the part of its plain loop's time in which to do better,
    and its minutes here."""

    schedule: Length
    part: float
    minutes: float
    settings: tuple[str, ...] = ()


NARROW = ("model.width=32",)  # dcgan/64 at this width, on 28x28, stands for its family
SYSTEMS = {
    "mlp/relu": System(Length(50, "epochs"), 1 / 20, 7),
    "mlp/leaky": System(Length(200, "epochs"), 1 / 20, 7),
    "mlp/batchnorm": System(Length(160_000, "images"), 1, 1),  # 5,000 steps: over in minutes
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

JUDGING, MEASURING = 1.0, 1.5  # minutes of an evaluation, and of measuring a plain loop's rate


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
    # As many samples for recall as there are training pictures, so that it is like that of the
    # floor.
    yield Cell(
        table="pictures",
        name="r3gan-images",
        recipe="r3gan/images",
        data=DRAWN,
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
