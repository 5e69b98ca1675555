"""The request for a training: from options, from a TOML file, or from a run to resume or repeat."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import tomli_w

from ganvas import gans
from ganvas.data import MIRRORED, NAMES
from ganvas.data.reading import Reading, check_choice
from ganvas.errors import SettingError
from ganvas.overrides import has_rule_gamma
from ganvas.plan import Plan
from ganvas.recipe import Interval, Precision, TrainConfig
from ganvas.runs.card import START_FILE, Card, DataCard, StartedFrom
from ganvas.runs.train_options import MAX_THREADS, TrainOptions, check_positive
from ganvas.system.paths import expanded
from ganvas.system.schema import convert, leaves
from ganvas.system.text import command

MAX_MINUTES = 366 * 24 * 60
LENGTH_OPTIONS: tuple[Literal["images", "epochs", "minutes"], ...] = ("images", "epochs", "minutes")
LENGTH_SETTINGS = ("length", "train.length")
# fields of a Request that a TOML file does not have by these names
INNER = ("settings", "plan", "started_from", "repeats", "data_dir")


@dataclass(frozen=True, kw_only=True)
class Request(TrainOptions):
    """All that the user asked for: options, recipe and settings. None where nothing was given.

    settings: changes of the recipe, such as {"train.batch": 32}.
    started_from: in a repeat, the weights that `from_` must hold.
    repeats: the run to repeat, image by image, by its `plan`.
    """

    recipe: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    started_from: StartedFrom | None = None
    plan: Plan | None = None
    repeats: Card | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_length()
        for name, most in (("threads", MAX_THREADS), ("processes", None), ("minutes", MAX_MINUTES)):
            check_positive(f"--{name}", getattr(self, name), most)
        check_choice("--precision", self.precision, get_args(Precision))
        if self.data is not None and not self.data.strip():
            raise SettingError("--data is empty: give a data set's name or a path")
        if self.flip and self.data in NAMES and self.data not in MIRRORED:
            raise SettingError(f"--flip with {self.data}: it would mirror characters; leave it out")
        if self.from_ is not None and not self.from_.strip():
            raise SettingError("--from is empty: give a run's directory or a generator.safetensors")
        if self.evaluate_every not in (None, "auto", "never"):
            _check_interval(self.evaluate_every)
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise SettingError(f"--seed {self.seed}: expected a whole number from 0 to 2**63 - 1")

    def _check_length(self) -> None:
        lengths = [f"--{name}" for name in LENGTH_OPTIONS if getattr(self, name) is not None]
        if lengths and _sets_length(self.settings):
            lengths.append("the setting length")
        if len(lengths) > 1:
            both = " and ".join(lengths[:2])
            raise SettingError(f"{both} both set the length: give one of them")
        for name in LENGTH_OPTIONS:
            check_positive(f"--{name}", getattr(self, name))

    @classmethod
    def of(cls, **options: Any) -> Request:
        """Build a request from options as users give them: paths of any kind, ~ for the home."""
        # here, once: the path decides about more than what is read
        for name in ("data", "from_"):
            if options.get(name) is not None:
                options[name] = expanded(os.fspath(options[name]))
        if options.get("data_dir") is not None:
            options["data_dir"] = Path(options["data_dir"])
        return cls(**options)

    @property
    def length(self) -> str | None:
        """The length that --images, --epochs or --minutes ask for, such as "5 minutes"."""
        amounts = {unit: getattr(self, unit) for unit in LENGTH_OPTIONS}
        return next((str(Interval(n, unit)) for unit, n in amounts.items() if n is not None), None)

    @property
    def reading(self) -> Reading:
        """The options with which images are read."""
        return Reading(**self.given(), data_dir=self.data_dir)


def _sets_length(settings: Mapping[str, Any]) -> bool:
    return any(name in LENGTH_SETTINGS for name, _ in leaves(settings))


def _check_interval(text: str) -> None:
    with suppress(SettingError):
        if Interval.parse(text).unit != "minutes":
            return
    examples = "an interval, such as '20k images', '1 epoch' or '500 steps', or auto"
    raise SettingError(f"--evaluate-every '{text}': expected {examples}")


def read_config(path: Path, recipe: str | None) -> Request:
    """Read a request from a TOML file, or from a run's recipe.json, to repeat that run by its plan.

    A TOML file holds options of `TrainOptions` (but data_dir), recipe, and tables [model] and
    [train].

    recipe: the recipe that the user named beside the file.

    Raises SettingError for a file that cannot be read, and for unknown or impossible options.
    """
    is_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8")
        plain = json.loads(text) if is_json else tomllib.loads(text)
    except OSError as error:
        raise SettingError(f"cannot read --config {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if is_json else "TOML"
        raise SettingError(f"--config {path} is not {kind}: {error}") from None
    if is_json:
        card = Card.from_json(text, str(path))
        return request_of_run(card, recipe, f"--config {path}", path.parent)
    settings = {name: plain.pop(name) for name in ("model", "train") if name in plain}
    cures = dict.fromkeys(INNER, "use the tables [model] and [train]") | {
        "data_dir": "give --data-dir",
        "from_": "write from",
        "started_from": "write from",
    }
    for name in cures.keys() & plain.keys():
        raise SettingError(f"--config {path}: unknown setting {name}: {cures[name]}")
    if "from" in plain:  # a keyword of Python's
        plain["from_"] = plain.pop("from")
    if isinstance(plain.get("size"), int):
        plain["size"] = [plain["size"]] * 2
    for name in ("data", "from_"):
        if isinstance(plain.get(name), str):
            plain[name] = expanded(plain[name])
    request: Request = convert(plain, Request, f"--config {path}")
    return dataclasses.replace(request, settings=settings)


def to_toml(request: Request) -> str:
    """Write a request without a plan as TOML, which `read_config` reads back.

    Its settings must be tables: {"model": {...}, "train": {...}}.
    """
    options = {
        name.rstrip("_"): value for name, value in vars(request).items() if name not in INNER
    }
    plain = {"recipe": options.pop("recipe"), **options, **request.settings}
    return tomli_w.dumps(_without_none(msgspec.to_builtins(plain)))


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value is not None
    }


def toml(value: Any) -> str:
    """Write the value of a setting as TOML in one line."""
    if isinstance(value, Mapping):
        parts = [f"{name} = {toml(part)}" for name, part in value.items() if part is not None]
        return f"{{ {', '.join(parts)} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    return tomli_w.dumps({"_": value}).removeprefix("_ = ").rstrip("\n")


def request_of_run(card: Card, recipe: str | None, origin: str, folder: Path) -> Request:
    """Build the request that repeats a run.

    recipe: the recipe that the user named.
    origin: the source of the card, for messages.
    folder: the directory of the card. The run's own copy of the weights that it was started from is
        looked for here, else they are read from where they were.
    """
    if recipe is None and ".py" in card.gan + card.recipe:  # a file never leads to code
        train = command("train", f"PATH/{card.recipe}")
        raise SettingError(f"{origin} is of a GAN in a file of yours: name it, {train} ...")
    if recipe is not None and (name := gans.find_recipe(recipe)[0]) != card.recipe:
        whole = f"a run's, with all settings of {card.recipe}"
        raise SettingError(f"{origin} is {whole}: leave {name} out, or --config")
    start, settings = card.started_from, card.train
    if has_rule_gamma(convert(settings, TrainConfig, "train"), card.image):
        settings = settings | {"gamma": None}  # it follows the rule for another batch or other data
    from_ = start.path if start else None
    if start and (folder / START_FILE).is_file():
        from_ = str(folder / START_FILE)
    request = Request(
        recipe=recipe or card.recipe,
        seed=card.seed,
        device=card.device,  # type: ignore[arg-type] # a card holds any text; pick_device checks it
        precision=card.precision or None,
        threads=card.threads,
        processes=card.processes,
        evaluate_every=card.evaluate_every,
        settings={"model": card.model, "train": settings},
        plan=card.plan,
        from_=from_,
        started_from=start,
        repeats=card,
    )
    return with_data(request, card.data)


def merge(config: Request, request: Request) -> Request:
    """Combine the request of a --config file with the command line, which wins."""
    given: dict[str, Any] = {k: v for k, v in vars(request).items() if v not in (None, {})}
    # other data have another number of images in an epoch
    if request.data or request.given() or request.settings:
        given.setdefault("plan", None)
    if request.data:
        given.setdefault("range", None)  # which may have been found from those of the config
    if request.from_:
        given["started_from"] = None
    stored = dict(config.settings)
    if request.length or _sets_length(request.settings):
        given = dict.fromkeys((*LENGTH_OPTIONS, "plan")) | given
        stored = {name: value for name, value in stored.items() if name not in LENGTH_SETTINGS}
        if "train" in stored:
            stored["train"] = {k: v for k, v in stored["train"].items() if k != "length"}
    # single settings, so that the others of a table stay
    given["settings"] = {**stored, **dict(leaves(request.settings))}
    return dataclasses.replace(config, **given)


def with_data(request: Request, data: DataCard) -> Request:
    """Fill in from a card which data a request is for and how to read them."""
    return dataclasses.replace(
        request,
        data=request.data or data.what,
        flip=data.flip if request.flip is None else request.flip,
        **data.given() | request.given(),
    )


def complete(request: Request, card: Card) -> Request:
    """Fill in a request to resume a run from the run's card."""
    recipe, settings = request.recipe, dict(request.settings)
    if recipe is None:
        if card.gan.endswith(".py"):
            train = command("train", f"PATH/{card.recipe}")
            raise SettingError(f"this run's networks are in a file of yours: {train} --out ...")
        recipe = card.recipe
    if recipe == card.recipe and request.from_ is not None:  # which brings its networks along
        settings = {"model": card.model, **dict(leaves(settings))}
    is_changed = request.length is not None or bool(request.settings)
    stored = {"model": card.model, "train": card.train}
    return dataclasses.replace(
        with_data(request, card.data),
        recipe=recipe,
        seed=card.seed if request.seed is None else request.seed,
        threads=request.threads or card.threads,
        processes=request.processes or card.processes,
        precision=request.precision or card.precision or None,
        device=request.device or card.device,  # type: ignore[arg-type] # as above
        settings=settings if is_changed else stored,
        plan=request.plan or (None if is_changed else card.plan),
    )
