"""START HERE. What to train and how, as plain data, without torch.

A `Recipe` holds a GAN file's own settings (`model`) and the settings of its training (`train`). It
goes to JSON and back unchanged. `ganvas.overrides` changes single values by their dotted path.
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

DIGIT_CLASSES = tuple("0123456789")
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}  # names for messages, by number of channels


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The shape of one image.

    height, width: in pixels.
    channels: 1 (grey), 3 (RGB) or 4 (RGBA).
    classes: the names of its classes; () for images without labels.
    """

    height: Positive
    width: Positive
    channels: Channels
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Any) -> ImageSpec:
        """The spec of a data set's images."""
        fields = ("height", "width", "channels", "classes")
        spec: ImageSpec = convert({f: getattr(dataset, f) for f in fields}, cls, dataset.name)
        return spec

    def __str__(self) -> str:
        kind = KINDS[self.channels]
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"{self.height}x{self.width} {kind}{classes}"


# The images of the recipes for digits.
MNIST = ImageSpec(height=28, width=28, channels=1, classes=DIGIT_CLASSES)


# Fields of a schedule that have no effect in each shape.
IDLE_PARTS = {
    "constant": ("end", "decay", "hold"), "linear": ("decay",), "cosine": ("decay",),
    "inverse": ("end", "warmup", "warmup_from", "hold"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A value that changes over the planned length of a training.

    start: the value at first, after the warm-up.
    end: the value that "linear" and "cosine" end at, 0 if None.
    shape: "constant"; "linear" or "cosine" from `start` to `end`; "inverse", which is
        start / (1 + decay * step) whatever the length.
    decay: the factor in "inverse".
    warmup: fraction of the plan in which the value first climbs, quadratically, from `warmup_from`
        to `start`.
    hold: fraction of the plan, at its end, in which the value stays at `end`.
    per: "step", the value changes with every step; "epoch", once per epoch, in plans of two epochs
        or more (in shorter ones with every step).
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
        without_warmup = () if self.warmup else ("warmup_from",)
        for name in (*IDLE_PARTS[self.shape], *without_warmup):
            # A value that is set is never silently ignored.
            if (value := getattr(self, name)) != getattr(Schedule, name):
                raise SettingError(
                    f"{name}={value} does nothing in a schedule of shape '{self.shape}': omit it"
                )

    def scaled(self, change: Callable[[float], float]) -> Schedule:
        """The schedule with all its values mapped by `change`."""
        end = None if self.end is None else change(self.end)
        return dataclasses.replace(
            self, start=change(self.start), end=end, warmup_from=change(self.warmup_from)
        )

    def at(self, progress: float, step: int) -> float:
        """The value at a position in the plan.

        progress: the part of the plan that is done, 0 to 1.
        step: steps that are done.
        """
        if self.shape == "inverse":
            return self.start / (1 + self.decay * step)
        if progress < self.warmup:
            climb = self.start - self.warmup_from
            return self.warmup_from + climb * (progress / self.warmup) ** 2
        if self.shape == "constant":
            return self.start
        done = min(1.0, (progress - self.warmup) / (1 - self.warmup - self.hold))
        remaining = 1 - done if self.shape == "linear" else (1 + math.cos(math.pi * done)) / 2
        end = self.end or 0.0
        return end + (self.start - end) * remaining


_LENGTH = re.compile(
    r"\s*([0-9][0-9_,]*(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*([kM]?)\s*(step|epoch|image|minute)s?\s*"
)
MIN_LENGTH = 1e-9  # smallest interval, in its unit: keeps position / interval finite


@dataclass(frozen=True)
class Interval:
    """A length of training: "50 steps", "1 epoch", "20k images" or, for a whole training,
    "5 minutes"."""

    amount: float
    unit: Literal["steps", "epochs", "images", "minutes"]

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read a text such as "50 steps".

        Raises SettingError unless it is an amount of MIN_LENGTH or more and a known unit.
        """
        match = _LENGTH.fullmatch(text)
        if not match:
            raise SettingError(
                f"'{text}' is not a length: give steps, epochs, images or minutes, as in '50 steps'"
            )
        amount = float(re.sub("[,_]", "", match[1])) * {"": 1, "k": 1e3, "M": 1e6}[match[2]]
        if not MIN_LENGTH <= amount < math.inf:
            raise SettingError(
                f"'{text}' is not a length: expected a finite amount of {MIN_LENGTH:g} or more"
            )
        return cls(amount, f"{match[3]}s")  # type: ignore[arg-type]

    def images(self, batch: int, dataset: int) -> float:
        """The interval in images; minutes have none.

        batch: images in a step.
        dataset: images in an epoch.
        """
        return self.amount * {"steps": batch, "epochs": dataset, "images": 1}[self.unit]

    def __str__(self) -> str:
        amount = int(self.amount) if self.amount == int(self.amount) else self.amount
        return f"{amount} {self.unit[:-1] if amount == 1 else self.unit}"


# Settings that only serve a penalty, and their values without one.
PENALTY_ALONE = {"gamma": None, "gamma_factor": 1.0, "penalty_every": 1}

AUGMENT_BELOW = 20_000  # images: larger data sets need no augmentation
MAX_AUGMENT = 0.8  # largest probability of augmentation


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training, whose steps each update both networks once.

    batch: real images in a step.
    length: of the whole training.
    lr, d_lr: learning rate of both networks, and D's own if it differs.
    betas, eps: of Adam.
    order: the network whose step comes first. "together" updates both from one pass of each
        (one-stage training: Shen et al. 2021, arXiv 2103.00430) if the objective allows it, else D
        comes first; it needs a D that judges each image by itself.
    g_fakes: "fresh", G's step draws its own latents; "same", it uses those of D's step, and one
        forward pass of G serves both.
    d_fakes: the mode of G when it makes the fakes for D's step; "inference" uses BatchNorm's
        running statistics and does not update them.
    d_labels: of the fakes in D's step; "uniform", each class as often as any other; "real", those
        of the step's real images. With penalty "gradient" always those.
    g_batch: fakes in G's step, if not `batch`.
    d_loss_scale: 1 for D's loss as the sum of its real and its fake term, 0.5 for their mean.
    penalty: on D's slope, at real images (r1), at fakes (r2), at both (r1+r2) or between the two
        (gradient); see ganvas.objectives. With "gradient", fakes in D's step get the labels of the
        real images beside them.
    gamma: the penalty's weight: gamma / 2 times R1 and R2, gamma times the gradient penalty. None
        for the rule of `ganvas.overrides.resolve_gamma`.
    gamma_factor: the factor by which that rule's gamma is multiplied.
    penalty_every: k, to compute the penalty in every k-th step, with k times its weight.
    precision: "fastest" allows 16 bits (bf16) where they are faster, unless the user chooses.
    augment: the probability with which D sees each image augmented, real or fake; "adaptive" lets
        it follow how far D memorises a small data set (see ganvas.training.augment).
    average: half-life of the moving average of G's weights (EMA) that samples are made with; None
        to sample with the weights themselves.
    log, sheet: intervals at which losses are logged and a sheet of samples is made.
    first_sheet: length after which there is a sheet already, and after twice that, and so on until
        `sheet`, so that the first minute shows something; None to wait for `sheet`.
    weights: interval at which the generator's weights are kept; None to keep only the last.
    sheet_rows, sheet_columns: the sheet's layout.
    sheet_name: the sheet's file name, which may contain {images} and {epoch}.
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
    d_labels: Literal["uniform", "real"] = "uniform"
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
    first_sheet: str | None = None
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
                "train.d_fakes='inference' with g_fakes='same': those are made in training mode"
            )
        if self.order == "together" and (self.g_fakes != "same" or self.d_loss_scale != 1):
            raise SettingError(
                "train.order='together' needs train.g_fakes='same' and train.d_loss_scale=1"
            )
        for name, idle in PENALTY_ALONE.items():
            if self.penalty == "none" and (value := getattr(self, name)) != idle:
                raise SettingError(
                    f"train.{name}={value} does nothing without a penalty: set train.penalty too"
                )
        for name in ("length", "log", "sheet", "first_sheet", "weights", "average"):
            text = getattr(self, name)
            try:
                minutes = text is not None and Interval.parse(text).unit == "minutes"
            except SettingError as error:
                raise SettingError(f"train.{name}: {error}") from None
            if minutes and name != "length":
                raise SettingError(f"train.{name}='{text}': give steps, epochs or images")
        # A field width of at most two digits: a wider field could fill the memory.
        rest = re.sub(r"{{|}}|{(images|epoch)(:0?[0-9]{0,2}d?)?}", "", self.sheet_name)
        if set(rest) & set("{}"):
            raise SettingError(
                f"train.sheet_name='{self.sheet_name[:100]}': use {{images}} and {{epoch}}, or"
                " {images:09d} for nine digits"
            )
        if not self.sheet_name or set(self.sheet_name) & set("/\\\0"):
            raise SettingError(
                f"train.sheet_name={self.sheet_name!r}: expected a file name, such as"
                " '{images:09d}', without a slash or zero byte"
            )

    @property
    def following_length(self) -> list[str]:
        """Names of the settings whose values follow the planned length of the training."""
        values = {name: getattr(self, name) for name in ("lr", "d_lr", "gamma")}
        return [
            name
            for name, value in values.items()
            if isinstance(value, Schedule) and (value.shape in ("linear", "cosine") or value.warmup)
        ]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A GAN file's own settings and those of its training.

    model: the GAN file's `Config`.
    train: how it is trained.
    native: the images that the settings are made for.
    summary: one line for lists of recipes.
    presets: minutes -> changes that are better for a training of about that time on two cores.
    gpu: changes for any training on a GPU, which needs larger batches and networks to be busy.
    """

    model: Any
    train: TrainConfig
    native: ImageSpec
    summary: str = field(default="", compare=False)
    presets: Mapping[float, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    gpu: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def preset(self, minutes: float) -> tuple[float, Mapping[str, Any]]:
        """(its minutes, changes) of the preset whose time is nearest by ratio; (minutes, {}) if the
        recipe has no presets."""
        if not self.presets:
            return minutes, {}
        return min(self.presets.items(), key=lambda preset: abs(math.log(preset[0] / minutes)))


def settings(recipe: Recipe) -> dict[str, Any]:
    """Model and training settings as plain dictionaries, fit for JSON."""
    plain: dict[str, Any] = msgspec.to_builtins({"model": recipe.model, "train": recipe.train})
    return plain
