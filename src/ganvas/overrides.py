"""Changes of a recipe: by dotted paths, by the length of a training, and by its images."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from typing import Any

from ganvas.errors import SettingError, nearest
from ganvas.recipe import (
    IDLE_PARTS,
    PENALTY_ALONE,
    ImageSpec,
    Interval,
    Recipe,
    Schedule,
    TrainConfig,
    settings,
)
from ganvas.system.schema import convert, leaves

GAMMA = 0.2  # the penalty's weight for 28x28 images in batches of 64 (docs/log.md)


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Change some settings of a recipe.

    changes: dotted path -> value, such as {"train.batch": 32}. "model." or "train." may be left out
        if only one of them has the setting ("batch", "lr.shape"). A nested mapping changes what it
        names and leaves the rest.

    Settings of the recipe that would do nothing after a change are reset: with penalty "none"
    gamma, gamma_factor and penalty_every; with another shape of a schedule the parts that this
    shape does not have. Raises SettingError for an unknown path (naming the nearest), a wrong type,
    a value out of range, or NaN.
    """
    tree = settings(recipe)
    resolved = [(_resolve(path, tree), value) for path, value in changes.items()]
    # Tables first, as in a stored recipe; then settings that reset others, before these.
    resolved.sort(key=lambda change: ("." in change[0], not change[0].endswith(RESETTING)))
    for path, value in resolved:
        for inner, part in leaves({path: value}):
            _reset_idle(tree, inner, part)
        _put(tree, path, value)
    model = convert(tree["model"], type(recipe.model), "model")
    train = convert(tree["train"], TrainConfig, "train")
    return dataclasses.replace(recipe, model=model, train=train)


RESETTING = (".penalty", ".shape")  # settings that reset others


def _reset_idle(tree: dict[str, Any], path: str, value: Any) -> None:
    """Reset the settings that do nothing once the setting at `path` has this value."""
    where, _, name = path.rpartition(".")
    if (path, value) == ("train.penalty", "none"):
        for part, idle in PENALTY_ALONE.items():
            _put(tree, f"train.{part}", idle)
    elif name == "shape" and isinstance(value, str) and isinstance(_at(tree, where), dict):
        for part in IDLE_PARTS.get(value, ()):
            _put(tree, f"{where}.{part}", getattr(Schedule, part))


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def with_preset(
    recipe: Recipe, changes: Mapping[str, Any], length: str | None = None, device: str = ""
) -> tuple[Recipe, str]:
    """Apply the preset for a length in minutes and the changes for a GPU, then `changes`.

    changes: as in `override`. If they change a setting of the preset, none of it is applied: its
        settings belong together.
    length: of the training; None for the recipe's own.
    device: to train on.
    Returns the recipe and a note for the user on the preset, "" for none.
    """
    length = length or override(recipe, changes).train.length
    presets, interval = [], Interval.parse(length)
    if interval.unit == "minutes":
        minutes, preset = recipe.preset(interval.amount)
        presets.append((f"about {Interval(minutes, 'minutes')}", preset))
    if device not in ("", "cpu"):
        presets.append(("a GPU", recipe.gpu))
    changed, notes = recipe, []
    for what, preset in presets:
        preset_recipe = override(changed, preset)
        if not _keeps(preset_recipe, changes, preset):
            given = {_resolve(path, settings(recipe)): value for path, value in leaves(changes)}
            culprits = [p for p, v in given.items() if not _keeps(preset_recipe, {p: v}, preset)]
            named = ", ".join(culprits or given)
            notes.append(f"the settings for {what} are left out, for {named} is given")
        elif preset:
            changed = preset_recipe
            values = ", ".join(f"{name}={value}" for name, value in preset.items())
            notes.append(f"settings for {what}: {values}")
    return override(override(changed, changes), {"train.length": length}), "; ".join(notes)


def _keeps(recipe: Recipe, changes: Mapping[str, Any], preset: Mapping[str, Any]) -> bool:
    """True if a recipe with a preset still has all of its settings after `changes`."""
    try:
        changed = override(recipe, changes)
        return all(override(changed, {name: value}) == changed for name, value in preset.items())
    except SettingError:  # such as the end of a learning rate that is constant now
        return False


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Parse ["train.batch=32", "objective=hinge"] to {"train.batch": 32, "objective": "hinge"}.

    Values are read as TOML, and as text if they are not TOML. Raises SettingError without a "=".
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise SettingError(
                f"'{assignment}' is not a setting: write path=value, such as train.batch=32"
            )
        try:
            read = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            read = {}
        changes[path.strip()] = read["value"] if len(read) == 1 else text
    return changes


def _resolve(path: str, tree: dict[str, Any]) -> str:
    """The full path of a setting, or of a part of a schedule that may still be a constant.

    Raises SettingError for an unknown or ambiguous path.
    """
    parts = path.split(".")
    known = [p for p, _ in leaves(tree)]
    branches = {p.rsplit(".", n)[0] for p in known for n in range(1, p.count(".") + 1)}
    everything = [*known, *sorted(branches - {"model", "train"})]
    if path in everything or path in ("model", "train"):
        return path
    if len(parts) > 2 and ".".join(parts[:2]) in everything:
        return path  # inside a schedule; convert() checks its names
    short = {p: p.split(".", 1)[-1] for p in everything}
    ends = [p for p in everything if short[p] == path]
    if not ends and len(parts) > 1:
        ends = [f"{p}.{'.'.join(parts[1:])}" for p in everything if short[p] == parts[0]]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise SettingError(f"setting {path} could be {' or '.join(ends)}: write the whole path")
    if len(parts) > 1 and parts[-1] in {part.name for part in dataclasses.fields(Schedule)}:
        # If the part before it is wrong, the error is about that.
        return f"{_resolve('.'.join(parts[:-1]), tree)}.{parts[-1]}"
    if parts[-1] == "objective":
        raise SettingError(
            f"unknown setting {path}: this GAN has one objective; r3gan and sngan take others"
        )
    hint = nearest(path, everything) if len(parts) > 1 else nearest(path, short.values())
    raise SettingError(f"unknown setting {path}: {hint}")


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a value in the tree of settings."""
    *branches, leaf = path.split(".")
    for name in branches:
        inner = tree.get(name)
        # A constant becomes a schedule when one of its parts is set.
        if isinstance(inner, (int, float)):
            inner = tree[name] = {"start": inner}
        if inner is None:
            inner = tree[name] = {}
        if not isinstance(inner, dict):
            raise SettingError(f"setting {path}: {name} has no parts of its own")
        tree = inner
    if isinstance(value, Mapping) and isinstance(tree.get(leaf), dict):
        for name, part in value.items():
            _put(tree, f"{leaf}.{name}", part)
    else:
        tree[leaf] = value


def resolve_gamma(recipe: Recipe, spec: ImageSpec) -> tuple[Recipe, str]:
    """Set gamma, the weight of the penalty on D's slope, by rule if the recipe leaves it open.

    The rule has the form of StyleGAN2-ADA's (Karras et al. 2020, arXiv 2006.06676, appendix C) and
    a factor of our own. Gamma is proportional to the pixels of an image, since a slope's square
    falls as they grow in number, and inversely proportional to the batch size. The gradient
    penalty's is 10 for all images.

    Returns the recipe and a note for the user on the rule, "" if nothing was open.
    """
    train = recipe.train
    if train.penalty == "none" or train.gamma is not None:
        return recipe, ""
    if train.penalty == "gradient":
        gamma, rule = 10.0, "the gradient penalty's usual weight"
    else:
        gamma = GAMMA * (spec.height * spec.width) / 784 * 64 / train.batch
        rule = f"{GAMMA} * ({spec.height} * {spec.width} / 784) * (64 / {train.batch})"
    gamma = float(f"{gamma * train.gamma_factor:.3g}")
    if train.gamma_factor != 1:
        rule += f", times the recipe's {train.gamma_factor:g}"
    resolved = dataclasses.replace(recipe, train=dataclasses.replace(train, gamma=gamma))
    return resolved, f"gamma {gamma:g}: {rule}"


def has_rule_gamma(train: TrainConfig, spec: ImageSpec) -> bool:
    """True if gamma is what `resolve_gamma` would set for a training on such images."""
    opened = Recipe(model=None, train=dataclasses.replace(train, gamma=None), native=spec)
    return train.gamma is not None and resolve_gamma(opened, spec)[0].train.gamma == train.gamma
