"""What the user asked for: from the command line, a TOML file, or a run to be gone on with or
repeated."""

from __future__ import annotations

import dataclasses
import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from ganvas import gans
from ganvas.data import MIRRORED, NAMES
from ganvas.errors import SettingError, nearest
from ganvas.overrides import has_rule_gamma
from ganvas.plan import Plan
from ganvas.recipe import Interval, TrainConfig
from ganvas.runs.card import MAX_THREADS, START_FILE, Card, DataCard, StartedFrom
from ganvas.system.paths import expanded
from ganvas.system.schema import convert, leaves

MAX_MINUTES = 366 * 24 * 60
# fields of a Request that no TOML has by these names
INNER = ("settings", "plan", "started_from", "repeats")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; None where nothing was said. Also the shape of a --config file.

    from_: the run or file whose weights to start from ("from" in TOML). started_from: what they
    must be, in a repeat.
    plan: of the run `repeats`, to be kept to the image.
    """

    recipe: str | None = None
    data: str | None = None
    images: float | None = None
    epochs: float | None = None
    minutes: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    fit: Literal["crop", "pad", "stretch"] | None = None
    channels: Literal[1, 3, 4] | None = None
    flip: bool | None = None
    device: str | None = None
    precision: Literal["32", "bf16", "fp16"] | None = None
    threads: int | None = None
    processes: int | None = None
    evaluate_every: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    from_: str | None = None
    started_from: StartedFrom | None = None
    plan: Plan | None = None
    repeats: Card | None = None

    def __post_init__(self) -> None:
        lengths = [
            name for name in ("images", "epochs", "minutes") if getattr(self, name) is not None
        ]
        if len(lengths) > 1:
            raise SettingError(
                f"--{lengths[0]} and --{lengths[1]} both set the length: give one of them"
            )
        if lengths and _sets_length(self.settings):
            raise SettingError(
                f"--{lengths[0]} and the setting length both set the length: give one of them"
            )
        for name in (*lengths, "threads", "processes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"--{name} {value}: expected more than 0")
        for name, known in (
            ("precision", ("32", "bf16", "fp16")),
            ("fit", ("crop", "pad", "stretch")),
        ):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise SettingError(f"--{name} {value}: {nearest(value, known)}")
        # here, once: what a path leads to decides more than what is read
        for name in ("data", "from_"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(path))
        if self.data is not None and not self.data.strip():
            raise SettingError("--data is empty: give a data set's name or a path")
        if self.flip and self.data in NAMES and self.data not in MIRRORED:
            raise SettingError(
                f"--flip with {self.data}: characters are not mirrored, for they would be others or"
                " none; leave --flip out"
            )
        if self.from_ is not None and not self.from_.strip():
            raise SettingError("--from is empty: give a run's directory or a generator.safetensors")
        if self.threads is not None and self.threads > MAX_THREADS:
            raise SettingError(f"--threads {self.threads}: expected at most {MAX_THREADS}")
        if self.minutes is not None and self.minutes > MAX_MINUTES:
            raise SettingError(
                f"--minutes {self.minutes:g}: expected at most {MAX_MINUTES:,}, a year"
            )
        if self.size is not None and min(self.size) < 1:
            raise SettingError(
                f"--size {self.size[0]}x{self.size[1]}: both sides must be 1 pixel or more"
            )
        if self.evaluate_every not in (None, "auto", "never"):
            _check_interval(self.evaluate_every)
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise SettingError(f"--seed {self.seed}: expected a whole number from 0 to 2**63 - 1")

    @property
    def length(self) -> str | None:
        for unit in ("images", "epochs", "minutes"):
            amount = getattr(self, unit)
            if amount is not None:
                return str(Interval(amount, unit))
        return None


LENGTH = ("length", "train.length")  # how settings name it


def _sets_length(settings: Mapping[str, Any]) -> bool:
    return any(name in LENGTH for name, _ in leaves(settings))


def _check_interval(text: str) -> None:
    expected = (
        f"--evaluate-every '{text}': expected an interval, such as '20k images', '1 epoch' or '500"
        " steps', or auto"
    )
    try:
        interval = Interval.parse(text)
    except SettingError:
        raise SettingError(expected) from None
    if interval.unit == "minutes":
        raise SettingError(expected)


def read_config(path: Path, recipe: str | None) -> Request:
    """A request from a TOML file, or from a run's recipe.json, whose plan is then repeated as it
    was.

    recipe: what the user named beside it.
    TOML: the fields of Request but `settings`, `started_from`, `plan` and `repeats` at the top, and
    tables [model] and [train].
    Raises SettingError for what cannot be read or is not known.
    """
    try:
        text = path.read_text(encoding="utf-8")
        plain = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SettingError(f"cannot read --config {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SettingError(
            f"--config {path} is not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        ) from None
    if path.suffix == ".json":
        return request_of_run(
            Card.from_json(text, str(path)), recipe, f"--config {path}", path.parent
        )
    changes = {name: plain.pop(name) for name in ("model", "train") if name in plain}
    for name in (*INNER, "from_"):
        if name in plain:
            use = "write from" if "from" in name else "use the tables [model] and [train]"
            raise SettingError(f"--config {path}: unknown setting {name}: {use}")
    if "from" in plain:  # a word of Python's own
        plain["from_"] = plain.pop("from")
    if "size" in plain:
        plain["size"] = [plain["size"]] * 2 if isinstance(plain["size"], int) else plain["size"]
    request: Request = convert(plain, Request, f"--config {path}")
    return dataclasses.replace(request, settings=changes)


def to_toml(request: Request) -> str:
    """A request without a plan as TOML, which `read_config` reads back. settings: as {"model":
    {...}, "train": {...}}."""
    fields = [field.name for field in dataclasses.fields(request) if field.name not in INNER]
    lines = [
        f"{name.rstrip('_')} = {toml(value)}"
        for name in fields
        if (value := getattr(request, name)) is not None
    ]
    for table, values in request.settings.items():
        lines += ["", f"[{table}]", *(f"{name} = {toml(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """A setting's value as TOML, in one line."""
    if isinstance(value, Mapping):
        return (
            "{ "
            + ", ".join(
                f"{name} = {toml(part)}" for name, part in value.items() if part is not None
            )
            + " }"
        )
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def request_of_run(card: Card, recipe: str | None, origin: str, folder: Path) -> Request:
    """The request that makes a run once more.

    recipe: what the user named beside it. origin: what holds the card. folder: where it lies, and
    beside it the run's own copy of the weights that it was started from; without that, they are
    looked for where they were.
    """
    if recipe is None and ".py" in card.gan + card.recipe:  # a file never leads to code
        file = shlex.quote(f"PATH/{card.recipe}")
        raise SettingError(
            f"{origin} is of a GAN in a file of yours: name it, ganvas train {file} ..."
        )
    if recipe is not None and (name := gans.find_recipe(recipe)[0]) != card.recipe:
        raise SettingError(
            f"{origin} is a run's, with all settings of {card.recipe}: leave {name} out, or"
            " --config"
        )
    start, train = card.started_from, card.train
    if has_rule_gamma(convert(train, TrainConfig, "train"), card.image):
        train = train | {"gamma": None}  # it follows the rule for another batch, or other images
    return Request(
        recipe=recipe or card.recipe,
        data=card.data.what,
        seed=card.seed,
        size=card.data.size,
        fit=card.data.fit,
        channels=card.data.channels,
        flip=card.data.flip,
        device=card.device,
        precision=card.precision or None,
        threads=card.threads,
        processes=card.processes,
        evaluate_every=card.evaluate_every,
        settings={"model": card.model, "train": train},
        plan=card.plan,
        from_=(
            (str(folder / START_FILE) if (folder / START_FILE).is_file() else start.path)
            if start
            else None
        ),
        started_from=start,
        repeats=card,
    )


def merge(config: Request, own: Request) -> Request:
    """A config file's request with what was said on the command line on top of it."""
    said = {
        f.name: getattr(own, f.name)
        for f in dataclasses.fields(own)
        if getattr(own, f.name) not in (None, {})
    }
    if own.data or own.size or own.channels or own.fit:
        said.setdefault("plan", None)  # another data set, another number of images in an epoch
    if own.from_:
        said["started_from"] = None
    stored: Mapping[str, Any] = config.settings
    if own.length or _sets_length(own.settings):
        said = {"images": None, "epochs": None, "minutes": None, "plan": None} | said
        stored = {
            name: (
                {inner: v for inner, v in value.items() if inner != "length"}
                if name == "train"
                else value
            )
            for name, value in stored.items()
            if name not in LENGTH
        }
    if own.settings:
        said.setdefault("plan", None)
    said["settings"] = {**stored, **dict(leaves(own.settings))}  # a table's other settings stay
    return dataclasses.replace(config, **said)


def with_data(request: Request, data: DataCard) -> Request:
    """A request with what it leaves unsaid of its data taken from a card."""
    return dataclasses.replace(
        request,
        data=request.data or data.what,
        size=request.size or data.size,
        fit=request.fit or data.fit,
        channels=request.channels or data.channels,
        flip=data.flip if request.flip is None else request.flip,
    )


def complete(request: Request, card: Card) -> Request:
    """A request to go on with a run, with what it leaves unsaid taken from the run's card."""
    recipe, settings = request.recipe, dict(request.settings)
    if recipe is None:
        if card.gan.endswith(".py"):
            raise SettingError(
                "this run's networks are in a file of yours: name it, ganvas train "
                f"{shlex.quote(f'PATH/{card.recipe}')} --out ..."
            )
        recipe = card.recipe
    if recipe == card.recipe and request.from_ is not None:  # which brings its networks along
        settings = {"model": card.model, **dict(leaves(settings))}
    said = request.length is not None or request.settings
    stored = {"model": card.model, "train": card.train}
    return dataclasses.replace(
        with_data(request, card.data),
        recipe=recipe,
        seed=card.seed if request.seed is None else request.seed,
        threads=request.threads or card.threads,
        processes=request.processes or card.processes,
        precision=request.precision or card.precision or None,
        device=request.device or card.device,
        settings=settings if said else stored,
        plan=request.plan or (None if said else card.plan),
    )
