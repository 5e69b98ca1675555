"""Plain data: what to train and how. No torch here.

A `Recipe` is a GAN file's own settings (`model`) with the settings of its training (`train`). It
goes to JSON and back unchanged; `ganvas.overrides` changes single values by their dotted path, and
answers an unknown one with the nearest name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ganvas.errors import SettingError
from ganvas.system.schema import convert

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
UpTo100 = Annotated[int, Meta(ge=1, le=100)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(ge=1e-30)]  # gt=0 lets 0 pass where a CPU flushes denormals
Beta = Annotated[float, Meta(ge=0, lt=1)]
Fit = Literal["crop", "pad", "stretch"]  # how an image of another shape is brought to a size
Channels = Literal[1, 3, 4]
Precision = Literal["32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}  # of images, by their channels


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What one image is: its sides in pixels, 1, 3 or 4 channels, and the names of its classes, ()
    for none."""

    height: Positive
    width: Positive
    channels: Channels
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Any) -> ImageSpec:
        """The spec of a data set's images."""
        sides = {
            name: getattr(dataset, name) for name in ("height", "width", "channels", "classes")
        }
        spec: ImageSpec = convert(sides, cls, dataset.name)
        return spec

    def __str__(self) -> str:
        kind = KINDS[self.channels]
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"{self.height}x{self.width} {kind}{classes}"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A value that changes over the planned length of a training.

    cosine, linear: from `start` to `end` (0 unless given). inverse: start / (1 + decay * step),
    whatever the length.
    warmup: the fraction of the plan in which the value first climbs, quadratically, from
    `warmup_from` to `start`.
    hold: the fraction at the plan's end in which it stays at `end`.
    per: the value changes with every step, or once per epoch. (A plan of less than two epochs has
    no epochs to
    speak of: its values change with every step.)
    """

    start: NonNegative
    end: NonNegative | None = None
    shape: Literal["constant", "linear", "cosine", "inverse"] = "constant"
    decay: NonNegative = 0.0
    warmup: Fraction = 0.0
    warmup_from: NonNegative = 0.0
    hold: Fraction = 0.0
    per: Literal["step", "epoch"] = "step"

    def __post_init__(self) -> None:
        if self.warmup + self.hold >= 1:
            raise SettingError(
                f"warmup {self.warmup:g} + hold {self.hold:g} is {self.warmup + self.hold:g}: "
                "they must leave a part of the plan, so stay below 1"
            )
        idle = {
            "end": self.end is not None and self.shape in ("constant", "inverse"),
            "decay": self.decay > 0 and self.shape != "inverse",
            "warmup": self.warmup > 0 and self.shape == "inverse",
            "warmup_from": self.warmup_from > 0 and self.warmup == 0,
            "hold": self.hold > 0 and self.shape in ("constant", "inverse"),
        }
        for name, is_idle in idle.items():
            if is_idle:  # nothing that is set is silently ignored
                raise SettingError(
                    f"{name}={getattr(self, name)} does nothing in a schedule of shape"
                    f" '{self.shape}': leave it out"
                )

    def scaled(self, change: Callable[[float], float]) -> Schedule:
        """The same shape, with all its values changed."""
        end = None if self.end is None else change(self.end)
        return dataclasses.replace(
            self, start=change(self.start), end=end, warmup_from=change(self.warmup_from)
        )

    def at(self, progress: float, step: int) -> float:
        """The value at `progress`, the part of the plan that is done (0 to 1), which is `step`
        steps (from 0) in."""
        if self.shape == "inverse":
            return self.start / (1 + self.decay * step)
        if progress < self.warmup:
            return (
                self.warmup_from + (self.start - self.warmup_from) * (progress / self.warmup) ** 2
            )
        if self.shape == "constant":
            return self.start
        done = min(1.0, (progress - self.warmup) / (1 - self.warmup - self.hold))
        remaining = 1 - done if self.shape == "linear" else (1 + math.cos(math.pi * done)) / 2
        end = self.end or 0.0
        return end + (self.start - end) * remaining


_UNITS = ("steps", "epochs", "images", "minutes")
MIN_LENGTH = 1e-9  # of an interval, in its unit: of so many multiples there is a number


@dataclass(frozen=True)
class Interval:
    """A length of training, such as "50 steps", "1 epoch", "20k images" or (for a whole training)
    "5 minutes"."""

    amount: float
    unit: Literal["steps", "epochs", "images", "minutes"]

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read "50 steps". Raises SettingError for anything that is not an amount of 1e-9 or more
        and a known unit."""
        match = re.fullmatch(
            r"\s*([0-9][0-9_,]*(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*([kM]?)\s*([a-z]+)\s*", text
        )
        unit = {u[:-1]: u for u in _UNITS} | {u: u for u in _UNITS}
        if not match or match[3] not in unit:
            raise SettingError(
                f"'{text}' is not a length: write a number and {', '.join(_UNITS)}, such as '50"
                " steps'"
            )
        amount = (
            float(match[1].replace(",", "").replace("_", ""))
            * {"": 1, "k": 1e3, "M": 1e6}[match[2]]
        )
        if not MIN_LENGTH <= amount < math.inf:
            raise SettingError(
                f"'{text}' is not a length: expected a finite amount of {MIN_LENGTH:g} or more"
            )
        return cls(amount, unit[match[3]])  # type: ignore[arg-type]

    def images(self, batch: int, dataset: int) -> float:
        """The interval in images, for a batch size and a number of images in the data set. Not for
        minutes."""
        return self.amount * {"steps": batch, "epochs": dataset, "images": 1}[self.unit]

    def __str__(self) -> str:
        amount = int(self.amount) if self.amount == int(self.amount) else self.amount
        return f"{amount} {self.unit[:-1] if amount == 1 else self.unit}"


# what serves it, and its value without one
PENALTY_ALONE = {"gamma": None, "gamma_factor": 1.0, "penalty_every": 1}


AUGMENT_BELOW = 20_000  # images: larger data sets need no augmentation
MAX_AUGMENT = 0.8  # largest probability of augmentation


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a GAN is trained: one step sees `batch` real images and changes both networks once.

    order: which network's step comes first; or "together": both from one pass of each (one-stage
    training: Shen et al. 2021, arXiv 2103.00430), where the objective allows it, else D first. It
    needs a D that judges each image by itself.
    g_fakes: "fresh", G's step draws its own noise; "same", it uses the noise (and labels) of D's
    step, one forward of G.
    d_fakes: G's mode when it makes the images that D is trained on; "inference" uses running
    statistics and leaves them.
    g_batch: images in G's step, where that is not `batch`.
    d_loss_scale: 1 for D's loss as the sum of its real and its fake term, 0.5 for their mean.
    penalty: on D's slope: at real images (r1), at fakes (r2), at both, or between the two
    (gradient; see ganvas.objectives), when D's fakes are of the classes of the real images beside
    them.
    gamma: the penalty's weight: gamma / 2 times R1 and R2, gamma times the gradient penalty. By the
    rule of `settled` unless given.
    gamma_factor: by what the rule's gamma is multiplied.
    penalty_every: the penalty is part of every so many-th step, with so many times its weight.
    lr, d_lr: learning rate of both networks, and D's own where it differs.
    augment: the probability with which D is shown each image, real or fake, augmented; or
    "adaptive", to let it follow how far D knows its training images by heart where they are few
    (see ganvas.training.augment).
    precision: "fastest" lets 16 bits (bf16) be chosen where they are faster, unless the user says.
    average: half-life of the average of G's weights that is sampled, where given, instead of the
    weights themselves.
    length: the whole training. log, sheet, weights: how often losses are logged, a sheet of samples
    is made, and (where given) the generator's weights are kept.
    sheet_rows, sheet_columns: the sheet's layout; sheet_name: its file name, of {images} and
    {epoch}.
    """

    batch: Positive
    length: str
    lr: Schedule | NonNegative
    d_lr: Schedule | NonNegative | None = None
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    order: Literal["d-first", "g-first", "together"] = "d-first"
    g_fakes: Literal["fresh", "same"] = "fresh"
    d_fakes: Literal["training", "inference"] = "training"
    g_batch: Positive | None = None
    d_loss_scale: PositiveFloat = 1.0
    penalty: Literal["none", "r1", "r2", "r1+r2", "gradient"] = "none"
    gamma: Schedule | NonNegative | None = None
    gamma_factor: PositiveFloat = 1.0
    penalty_every: Positive = 1
    precision: Literal["32", "fastest"] = "32"
    augment: Fraction | Literal["adaptive"] = 0.0
    average: str | None = None
    log: str = "100 steps"
    sheet: str = "1 epoch"
    weights: str | None = None
    sheet_rows: UpTo100 = 4
    sheet_columns: UpTo100 = 4
    sheet_name: str = "{images:09d}"

    def __post_init__(self) -> None:
        if self.g_fakes == "same" and self.g_batch not in (None, self.batch):
            raise SettingError(
                f"train.g_batch={self.g_batch} with train.g_fakes='same': the fakes that both steps"
                f" share are {self.batch}; leave g_batch out"
            )
        if self.g_fakes == "same" and self.d_fakes == "inference":
            raise SettingError(
                "train.d_fakes='inference' with train.g_fakes='same': fakes that both steps share"
                " are made in training mode"
            )
        if self.order == "together" and (self.g_fakes != "same" or self.d_loss_scale != 1):
            raise SettingError(
                "train.order='together' needs train.g_fakes='same' and train.d_loss_scale=1: one"
                " pass serves both"
            )
        for name, idle in PENALTY_ALONE.items():
            if self.penalty == "none" and (value := getattr(self, name)) != idle:
                raise SettingError(
                    f"train.{name}={value} does nothing without a penalty: set train.penalty, or"
                    " leave it out"
                )
        for name in ("length", "log", "sheet", "weights", "average"):
            text = getattr(self, name)
            if text is None:
                continue
            try:
                unit = Interval.parse(text).unit
            except SettingError as error:
                raise SettingError(f"train.{name}: {error}") from None
            if unit == "minutes" and name != "length":
                raise SettingError(f"train.{name}='{text}': give steps, epochs or images")
        # Two digits of width at most: more could fill the memory.
        rest = re.sub(r"{{|}}|{(images|epoch)(:0?[0-9]{0,2}d?)?}", "", self.sheet_name)
        if set(rest) & set("{}"):
            raise SettingError(
                f"train.sheet_name='{self.sheet_name[:100]}': use {{images}} and {{epoch}}, or"
                " {images:09d} for nine digits"
            )
        if not self.sheet_name:
            raise SettingError(
                "train.sheet_name is empty: give a file name, such as '{images:09d}'"
            )
        if set(self.sheet_name) & set("/\\\0"):
            raise SettingError(
                f"train.sheet_name={self.sheet_name!r} holds a slash or a zero byte: give a file"
                " name"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A GAN file's own settings, the settings of its training, and the images it is at home with.

    presets: minutes -> settings that are better for a training of about that time on two cores.
    """

    model: Any
    train: TrainConfig
    native: ImageSpec
    summary: str = field(default="", compare=False)
    presets: Mapping[float, Mapping[str, Any]] = field(default_factory=dict, compare=False)

    def preset(self, minutes: float) -> tuple[float, Mapping[str, Any]]:
        """The preset whose time is nearest to so many minutes, by their ratio; (minutes, {}) where
        there is none."""
        if not self.presets:
            return minutes, {}
        return min(self.presets.items(), key=lambda preset: abs(math.log(preset[0] / minutes)))


def settings(recipe: Recipe) -> dict[str, Any]:
    """Model and training settings as plain dictionaries, fit for JSON."""
    plain: dict[str, Any] = msgspec.to_builtins({"model": recipe.model, "train": recipe.train})
    return plain
