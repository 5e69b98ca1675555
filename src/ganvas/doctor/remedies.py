"""The command to run next for each state of a training.

Most commands repeat the run (`--config RUN/recipe.json`) with one setting changed, to the value
that this run's own recipe needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ganvas import data
from ganvas.doctor.log_summary import Rate, RunInfo
from ganvas.gans import default_recipe
from ganvas.overrides import resolve_gamma
from ganvas.recipe import AUGMENT_BELOW, MAX_AUGMENT, Recipe, Schedule, TrainConfig
from ganvas.system.text import command

# Adam's usual learning rate for GANs (Radford et al. 2015, arXiv 1511.06434), used where a
# recipe's own rate is above MAX_RATE
USUAL_RATE = 2e-4
MAX_RATE = 0.01
SAFE_EPS = 1e-12  # Adam's eps with which gradients of 1e-10 a weight still count
LONGER = 5  # times as many images, for a training that ended too early
AUGMENTED = 0.4  # probability of augmentation for a discriminator that cannot adapt it
# The recipe for pictures whose grid shows: its generator resamples most smoothly.
SMOOTH_RECIPE = "projected/images"


def next_command(run: RunInfo, state: str) -> str:
    """Return the command to run next for a state, quoted for a shell."""
    own, gan, data_dir = run.card.own_recipe(run.gan), run.gan, run.data_dir
    if state in REMEDIES:
        if (change := REMEDIES[state](run)) is None:
            return _other_recipe(run, SMOOTH_RECIPE if state in GRID_STATES else None)
        config = run.path / "recipe.json"
        return command("train", *own, "--config", config, *change, data_dir=data_dir)
    if run.stage == "finished" and state == "too early to tell":
        following = run.train.following_length  # if any, it is planned anew
        return command(
            "train",
            *own,
            config=run.path / "recipe.json" if own or following else None,
            out=None if following else run.path,
            images=LONGER * run.card.plan.total,
            data_dir=data_dir,
        )
    if run.stage == "finished":
        return command("sample", run.path, gan=gan)
    if run.stage == "training":
        return command("doctor", run.path, gan=gan, data_dir=data_dir)
    return command("train", *own, out=run.path, data_dir=data_dir)


def _other_recipe(run: RunInfo, recipe: str | None) -> str:
    """Return the command that trains a recipe, or else the default one, on the same data."""
    images, spec = run.card.data, run.card.image
    recipe = recipe or default_recipe(images.what, (spec.height, spec.width))
    return command("train", recipe, data=images.what, **images.given(), data_dir=run.data_dir)


def _set(*assignments: str) -> list[str]:
    return ["--set", *assignments]


def _peak(rate: Rate) -> float:
    return rate.start if isinstance(rate, Schedule) else rate


def _scaled(rate: Rate, factor: float) -> Rate:
    if isinstance(rate, Schedule):
        return rate.scaled(lambda value: value * factor)
    return rate * factor


def _assign(name: str, old: Rate | None, new: Rate) -> list[str]:
    """Return the assignments that change a rate (or gamma) from `old` to `new`."""
    if not isinstance(new, Schedule):
        return [f"{name}={new:.3g}"]
    before = {part.name: part.default for part in dataclasses.fields(Schedule)}
    if isinstance(old, Schedule):
        before = {part: getattr(old, part) for part in before}
    values = {part: getattr(new, part) for part in before}
    return [
        f"{name}.{part}={value if isinstance(value, str) else f'{value:.3g}'}"
        for part, value in values.items()
        if value not in (before[part], None)
    ]


def _too_fast(run: RunInfo) -> bool:
    """Return True if a learning rate is above the recipe's own or above MAX_RATE."""
    limits = {name: _peak(run.usual_rate(name) or MAX_RATE) for name in run.rates}
    return any(_peak(rate) > min(limits[name], MAX_RATE) for name, rate in run.rates.items())


def _lower_rates(run: RunInfo) -> list[str]:
    """Set rates that are too high to the recipe's own; if none is, set all to a quarter."""
    changes: list[str] = []
    for name, rate in run.rates.items():
        usual = run.usual_rate(name)
        if usual is not None and _peak(usual) < _peak(rate) and _peak(usual) <= MAX_RATE:
            changes += _assign(name, rate, usual)
        elif _peak(rate) > MAX_RATE:
            changes += _assign(name, rate, _scaled(rate, USUAL_RATE / _peak(rate)))
    if not changes:
        for name, rate in run.rates.items():
            changes += _assign(name, rate, _scaled(rate, 0.25))
    return _set(*changes)


def _higher_rates(run: RunInfo) -> list[str]:
    """Set rates below the recipe's own to these, or else raise them fourfold, at least to
    USUAL_RATE. Rates so high that they may have killed G in its first steps are lowered."""
    if _too_fast(run):
        return _lower_rates(run)
    usual, changes = run.usual, list[str]()
    back = usual is not None and _peak(run.train.lr) < _peak(usual.lr)
    for name, rate in run.rates.items():
        new: Rate | None = run.usual_rate(name) if back else None
        if new is None and _peak(rate) > 0:
            new = _scaled(rate, max(4.0, USUAL_RATE / _peak(rate)))
        changes += _assign(name, rate, USUAL_RATE if new is None else new)
    return _set(*changes)


def _restrain_d(run: RunInfo) -> list[str] | None:
    """Turn on the gradient penalty of the recipe, or R1 for a D without BatchNorm; None if a
    penalty is on already or D cannot have one."""
    train, card, usual = run.train, run.card, run.usual
    if train.penalty == "none":
        return _set("penalty=r1") if run.joint else None
    if train.gamma != 0:
        return None
    own = usual.gamma or None if usual and usual.penalty == train.penalty else None
    recipe = Recipe(model=None, train=dataclasses.replace(train, gamma=own), native=card.image)
    gamma = resolve_gamma(recipe, card.image)[0].train.gamma
    assert gamma is not None
    return _set(*_assign("gamma", train.gamma, gamma))


def _for_nan(run: RunInfo) -> list[str]:
    if run.card.precision != "32" and not _too_fast(run):
        return ["--precision", "32"]
    return _lower_rates(run)


def _for_exploding_gradients(run: RunInfo) -> list[str]:
    return (not _too_fast(run) and _restrain_d(run)) or _lower_rates(run)


def _for_vanishing_gradients(run: RunInfo) -> list[str] | None:
    if _too_fast(run):
        return _lower_rates(run)
    return _set(f"eps={SAFE_EPS:g}") if run.train.eps > SAFE_EPS else None


def _for_mode_collapse(run: RunInfo) -> list[str] | None:
    if run.card.gan.endswith(".py") and not _too_fast(run):
        # the user's network may be the cause: another recipe on the same images shows
        return None
    return _for_exploding_gradients(run)


def _for_strong_d(run: RunInfo) -> list[str]:
    """Set G's rate back to the recipe's, or D's to G's, or else restrain D or slow it down."""
    train, usual = run.train, run.usual_rate("lr")
    d_rate = train.lr if train.d_lr is None else train.d_lr
    if usual is not None and _peak(train.lr) < _peak(usual):
        return _set(*_assign("lr", train.lr, usual), *_lower_d_rate(train, usual))
    if _too_fast(run):
        faster = _peak(d_rate) > _peak(train.lr)
        return _set(*_lower_d_rate(train, train.lr)) if faster else _lower_rates(run)
    return _restrain_d(run) or _set(*_assign("d_lr", train.d_lr, _scaled(d_rate, 0.25)))


def _lower_d_rate(train: TrainConfig, rate: Rate) -> list[str]:
    """Return the assignments that bring D's own rate, if it has one, down to `rate`."""
    if train.d_lr is None:
        return []
    factor = min(1.0, _peak(rate) / _peak(train.d_lr))
    return _assign("d_lr", train.d_lr, _scaled(train.d_lr, factor))


def _more_augmentation(run: RunInfo) -> list[str]:
    """Augment more while that is possible, then strengthen the penalty, then train for less."""
    train, card, few = run.train, run.card, run.card.data.images < AUGMENT_BELOW
    if train.augment == 0 or (train.augment == "adaptive" and not few):
        return _set("augment=adaptive" if run.joint and few else f"augment={AUGMENTED}")
    if train.augment != "adaptive" and train.augment < MAX_AUGMENT:
        return _set(f"augment={MAX_AUGMENT}")
    # of grey images of the user's nobody knows if they are letters or digits
    what, coloured = card.data.what, card.image.channels > 1
    mirrored = what in data.MIRRORED or (what not in data.NAMES and coloured)
    if mirrored and not card.data.flip:
        return ["--flip"]
    if (gamma := train.gamma) is not None:
        return _restrain_d(run) or _set(*_assign("gamma", gamma, _scaled(gamma, 4)))
    return ["--images", str(card.plan.total // 2)]


def _longer(run: RunInfo) -> list[str]:
    return ["--images", str(LONGER * run.card.plan.total)]


def _for_grid(run: RunInfo) -> list[str] | None:
    """Lower rates that are too high, then change to SMOOTH_RECIPE, then train for longer: weights
    that make a pattern settle slowly."""
    if _too_fast(run):
        return _lower_rates(run)
    return _longer(run) if run.card.recipe == SMOOTH_RECIPE else None


def _for_colour_cast(run: RunInfo) -> list[str]:
    """Lower rates that are too high, then augment less, as colours that are augmented often leak
    into samples, then train for longer: shapes are learned before colours."""
    if _too_fast(run):
        return _lower_rates(run)
    if run.train.augment != "adaptive" and run.train.augment > AUGMENTED:
        return _set(f"augment={AUGMENTED}")
    return _longer(run)


# states that come from the way in which a generator resamples
GRID_STATES = ("checkerboards", "fixed pattern", "border artefacts")
REMEDIES: dict[str, Callable[[RunInfo], list[str] | None]] = {
    "NaN": _for_nan,
    "exploding gradients": _for_exploding_gradients,
    "vanishing gradients": _for_vanishing_gradients,
    "starving on tiny data": _more_augmentation,
    "memorising": _more_augmentation,
    "mode collapse": _for_mode_collapse,
    "learning stalled": _higher_rates,
    "D overfits the training set": _more_augmentation,
    "D overpowers G": _for_strong_d,
    "one background": _for_mode_collapse,
    "checkerboards": _for_grid,
    "fixed pattern": _for_grid,
    "border artefacts": _for_grid,
    "colour cast": _for_colour_cast,
}
