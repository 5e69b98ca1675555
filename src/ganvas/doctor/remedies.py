"""What to do about a state of a training: one command, with the settings that this run's own recipe
needs.

Most commands make the run once more (`--config RUN/recipe.json`) with one thing changed. Pure
functions of the run's card.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ganvas import data
from ganvas.gan import Gan, GanFile
from ganvas.gans import default_recipe
from ganvas.overrides import resolve_gamma, with_preset
from ganvas.recipe import AUGMENT_BELOW, MAX_AUGMENT, Recipe, Schedule, TrainConfig
from ganvas.runs.card import Card
from ganvas.system.schema import convert

# of Adam for GANs, where a recipe's own is out of range (Radford et al. 2015, arXiv 1511.06434)
USUAL_RATE = 2e-4
HIGHEST_RATE = 0.01  # above, it is
SAFE_EPS = 1e-12  # of Adam: gradients of 1e-10 a weight then count
AUGMENTED = 0.4  # probability of augmentation for a D that cannot adapt it
Rate = Schedule | float
Stage = Literal["training", "stopped", "finished"]


@dataclass(frozen=True)
class RunInfo:
    """A run, as far as rules and remedies need it.

    path: its directory. gan: path of the user's own GAN file. usual: how its recipe trains for as
    long.
    chance: D's loss where it cannot tell, 0 where there is no such value. joint, paired: as in
    ganvas.gan. Where the user's
    own file is not known, neither are these: None, 0, False.
    """

    path: Path
    card: Card
    gan: str | None = None
    data_dir: Path | None = None
    usual: TrainConfig | None = None
    chance: float = 0.0
    joint: bool = False
    paired: bool = False
    state: Stage = "training"

    @classmethod
    def of(
        cls,
        path: Path,
        card: Card,
        file: GanFile,
        gan: Gan,
        own: str | None,
        data_dir: Path | None,
        state: Stage,
    ) -> RunInfo:
        """own: path of the user's own GAN file."""
        recipe = file.recipes.get(card.recipe_key)
        usual = with_preset(recipe, {}, card.plan.requested)[0].train if recipe else None
        patient = cls(
            path,
            card,
            own,
            data_dir,
            usual,
            joint=gan.joint,
            paired=gan.objective.paired,
            state=state,
        )
        return dataclasses.replace(
            patient, chance=gan.objective.chance * patient.train.d_loss_scale
        )

    @cached_property
    def train(self) -> TrainConfig:
        train: TrainConfig = convert(self.card.train, TrainConfig, "train")
        return train


def place(data_dir: Path | None) -> list[str]:
    """--data-dir DIR, where one was given."""
    return [] if data_dir is None else ["--data-dir", str(data_dir)]


def command(patient: RunInfo, state: str) -> str:
    """What to run next, fit for a shell."""
    if state in ("healthy", "too early to tell"):
        return shlex.join(_going_on(patient))
    change = REMEDIES[state](patient)
    where = place(patient.data_dir)
    if change is None:
        return shlex.join(["ganvas", "train", *_other_recipe(patient), *where])
    config = str(patient.path / "recipe.json")
    return shlex.join(
        [
            "ganvas",
            "train",
            *patient.card.own_recipe(patient.gan),
            "--config",
            config,
            *change,
            *where,
        ]
    )


def _going_on(patient: RunInfo) -> list[str]:
    path, own = str(patient.path), ["--gan", patient.gan] if patient.gan else []
    if patient.state == "finished":
        return ["ganvas", "sample", path, *own]
    where = place(patient.data_dir)
    if patient.state == "training":
        return ["ganvas", "doctor", path, *own, *where]
    return ["ganvas", "train", *patient.card.own_recipe(patient.gan), "--out", path, *where]


def _other_recipe(patient: RunInfo) -> list[str]:
    """The default recipe for the same data."""
    card = patient.card.data
    words = [default_recipe(card.what), "--data", card.what]
    if card.size:
        words += ["--size", "x".join(map(str, card.size))]
    if card.fit != "crop":
        words += ["--fit", card.fit]
    return words + (["--channels", str(card.channels)] if card.channels else [])


def _set(*assignments: str) -> list[str]:
    return ["--set", *assignments]


def _peak(rate: Rate) -> float:
    return rate.start if isinstance(rate, Schedule) else rate


def _times(rate: Rate, factor: float) -> Rate:
    return (
        rate.scaled(lambda value: value * factor) if isinstance(rate, Schedule) else rate * factor
    )


def _assigned(name: str, old: Rate | None, new: Rate) -> list[str]:
    """Assignments that make a rate (or gamma) what it is to be from what it is."""
    if not isinstance(new, Schedule):
        return [f"{name}={new:.3g}"]
    parts = {part.name: part.default for part in dataclasses.fields(Schedule)}
    if isinstance(old, Schedule):
        parts = {part: getattr(old, part) for part in parts}
    values = {
        part: getattr(new, part)
        for part, before in parts.items()
        if getattr(new, part) not in (before, None)
    }
    return [
        f"{name}.{part}={value if isinstance(value, str) else f'{value:.3g}'}"
        for part, value in values.items()
    ]


def _rates(train: TrainConfig) -> dict[str, Rate]:
    return {"lr": train.lr} | ({} if train.d_lr is None else {"d_lr": train.d_lr})


def _usual_rate(patient: RunInfo, name: str) -> Rate | None:
    if patient.usual is None:
        return None
    own: Rate | None = getattr(patient.usual, name)
    return patient.usual.lr if own is None else own


def _calmer(patient: RunInfo) -> list[str]:
    """Smaller steps: the recipe's own rates, where the run's are above them or out of range, else a
    quarter."""
    rates = _rates(patient.train)
    back: list[str] = []
    for name, rate in rates.items():
        usual = _usual_rate(patient, name)
        if usual is not None and _peak(usual) < _peak(rate) and _peak(usual) <= HIGHEST_RATE:
            back += _assigned(name, rate, usual)
        elif _peak(rate) > HIGHEST_RATE:
            back += _assigned(name, rate, _times(rate, USUAL_RATE / _peak(rate)))
    return _set(
        *(
            back
            or [
                word
                for name, rate in rates.items()
                for word in _assigned(name, rate, _times(rate, 0.25))
            ]
        )
    )


def _restrained(patient: RunInfo) -> list[str] | None:
    """The recipe's own penalty on D's slope, or that of the rule, where it was set to nothing; R1
    where a D without BatchNorm has none."""
    train, card, usual = patient.train, patient.card, patient.usual
    if train.penalty == "none":
        return _set("penalty=r1") if patient.joint else None
    if train.gamma == 0:
        own = usual.gamma or None if usual and usual.penalty == train.penalty else None
        ruled = resolve_gamma(
            Recipe(model=None, train=dataclasses.replace(train, gamma=own), native=card.image),
            card.image,
        )
        gamma = ruled[0].train.gamma
        assert gamma is not None
        return _set(*_assigned("gamma", train.gamma, gamma))
    return None


def _too_fast(patient: RunInfo) -> bool:
    """Whether a rate is above the recipe's own, or out of range."""
    for name, rate in _rates(patient.train).items():
        usual = _usual_rate(patient, name)
        if _peak(rate) > HIGHEST_RATE or (usual is not None and _peak(rate) > _peak(usual)):
            return True
    return False


def _no_number(patient: RunInfo) -> list[str]:
    if patient.card.precision != "32" and not _too_fast(patient):
        return ["--precision", "32"]
    return _calmer(patient)


def _exploding(patient: RunInfo) -> list[str]:
    return (None if _too_fast(patient) else _restrained(patient)) or _calmer(patient)


def _vanishing(patient: RunInfo) -> list[str] | None:
    if _too_fast(patient):
        return _calmer(patient)
    return _set(f"eps={SAFE_EPS:g}") if patient.train.eps > SAFE_EPS else None


def _collapse(patient: RunInfo) -> list[str] | None:
    if patient.card.gan.endswith(".py") and not _too_fast(patient):
        # the network itself may be at fault: see whether another one does better on these images
        return None
    return _exploding(patient)


def _overpowered(patient: RunInfo) -> list[str]:
    """G's rate back to the recipe's, D's back to G's, D's slope restrained, or else D slowed down."""
    train = patient.train
    usual, d_rate = _usual_rate(patient, "lr"), train.lr if train.d_lr is None else train.d_lr
    if usual is not None and _peak(train.lr) < _peak(usual):
        return _set(
            *_assigned("lr", train.lr, usual),
            *([] if train.d_lr is None else _d_rate(train, usual)),
        )
    if _too_fast(patient):
        return (
            _set(*_d_rate(train, train.lr)) if _peak(d_rate) > _peak(train.lr) else _calmer(patient)
        )
    return _restrained(patient) or _set(*_assigned("d_lr", train.d_lr, _times(d_rate, 0.25)))


def _d_rate(train: TrainConfig, rate: Rate) -> list[str]:
    """D's own rate brought down to the height of G's."""
    assert train.d_lr is not None
    return _assigned(
        "d_lr", train.d_lr, _times(train.d_lr, min(1.0, _peak(rate) / _peak(train.d_lr)))
    )


def _augmented(patient: RunInfo) -> list[str]:
    """More augmentation where there can be more, else a stronger penalty, else a shorter training."""
    train, card, few = patient.train, patient.card, patient.card.data.images < AUGMENT_BELOW
    if train.augment == 0 or (train.augment == "adaptive" and not few):
        return _set("augment=adaptive" if patient.joint and few else f"augment={AUGMENTED}")
    if train.augment != "adaptive" and train.augment < MAX_AUGMENT:
        return _set(f"augment={MAX_AUGMENT}")
    if not card.data.flip and _may_be_mirrored(patient):
        return ["--flip"]
    if train.gamma is not None:
        return _restrained(patient) or _set(
            *_assigned("gamma", train.gamma, _times(train.gamma, 4))
        )
    return ["--images", str(card.plan.total // 2)]


def _may_be_mirrored(patient: RunInfo) -> bool:
    """Pictures in colour may be; figures may not, and of grey pictures nobody knows here."""
    what = patient.card.data.what
    return what in data.MIRRORED or (what not in data.NAMES and patient.card.image.channels > 1)


def _faster(patient: RunInfo) -> list[str]:
    """The recipe's own rates, where the run's are below them, else four times as much, and at the
    least the usual one; but lower ones, where they are so high that they may have killed G in its
    first steps."""
    if _too_fast(patient):
        return _calmer(patient)
    train, usual = patient.train, patient.usual
    rates = _rates(train)
    if usual is not None and _peak(train.lr) < _peak(usual.lr):
        own = {name: _usual_rate(patient, name) or usual.lr for name in rates}
        return _set(
            *(word for name, rate in rates.items() for word in _assigned(name, rate, own[name]))
        )
    words: list[str] = []
    for name, rate in rates.items():
        faster = _times(rate, max(4.0, USUAL_RATE / _peak(rate))) if _peak(rate) > 0 else USUAL_RATE
        words += _assigned(name, rate, faster)
    return _set(*words)


REMEDIES: dict[str, Callable[[RunInfo], list[str] | None]] = {
    "NaN": _no_number,
    "exploding gradients": _exploding,
    "vanishing gradients": _vanishing,
    "starving on tiny data": _augmented,
    "memorising": _augmented,
    "mode collapse": _collapse,
    "learning stalled": _faster,
    "D overfits the training set": _augmented,
    "D overpowers G": _overpowered,
}
