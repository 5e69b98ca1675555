"""A run's settings, data, plan and machine in words, and the commands that repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ganvas.data import NAMES
from ganvas.evaluation.result import EvaluationResult, RepeatOptions
from ganvas.overrides import resolve_gamma
from ganvas.recipe import settings
from ganvas.runs.card import Card
from ganvas.runs.request import toml
from ganvas.runs.run import Run
from ganvas.system.text import command, count

MAX_RECIPE_TEXT = 200_000  # characters of recipe.json that are shown
MAX_REVISIONS = 20


class SettingsTable(NamedTuple):
    """All settings of a run.

    rows: (name, value, the recipe's own value); None for the latter if it is the same or unknown.
    known: True if the recipe was available for comparison.
    changed: True if the user's GAN file has changed since training.
    """

    rows: list[tuple[str, str, str | None]]
    known: bool
    changed: bool


def compare_settings(run: Run) -> SettingsTable:
    """Compare a run's settings with its recipe as it is now. Raises RunError if `run.gan` is not
    the run's GAN file."""
    card, usual, changed = run.card, {}, False
    if run.gan is not None or not card.gan.endswith(".py"):
        file = card.gan_file(run.gan)
        changed = run.gan is not None and file.sha256 != card.gan_sha256
        recipe = file.recipes.get(card.recipe_key)
        usual = settings(resolve_gamma(recipe, card.image)[0]) if recipe else {}
    rows = []
    for table, stored in (("model", card.model), ("train", card.train)):
        for name, value in stored.items():
            values = (value, usual.get(table, {}).get(name, value))
            text, own = ("none" if each is None else toml(each) for each in values)
            rows.append((f"{table}.{name}", text, None if own == text else own))
    return SettingsTable(rows, bool(usual), changed)


def data_facts(card: Card) -> dict[str, str]:
    """Describe the training images and the way they were read."""
    data, image = card.data, card.image
    size = f"{image.height}x{image.width}"
    rows = {
        "data": data.what,
        "images": f"{data.images:,}, {size}, {count(image.channels, 'channel')}",
        "size": "{}x{}, by {}".format(*data.size, data.fit or "resizing")
        if data.size
        else "unchanged",
        "mirrored": "half of the training images" if data.flip else "no",
        "fingerprint": data.fingerprint,
    }
    if card.started_from:
        rows["started from"] = f"{card.started_from.path}, weights {card.started_from.sha256}"
    return rows


def training_facts(card: Card) -> dict[str, str]:
    """Describe the plan and the machine of the training."""
    plan, epochs = card.plan, f"{card.plan.total / card.plan.epoch:.3g} epochs"
    rows = {
        "requested": plan.requested,
        "planned": f"{plan.total:,} images in batches of {plan.batch}, {epochs}",
        "first planned": f"{plan.images:,} images",
        "evaluated during training": card.evaluate_every or "never",
        "seed": str(card.seed),
        "threads": str(card.threads) if card.threads else "not measured yet",
        "processes": str(card.processes),
        "device": card.device,
        "precision": card.precision or "not measured yet",
        **card.versions,
    }
    if card.gan_sha256:
        rows["GAN file"] = f"{card.gan}, SHA-256 {card.gan_sha256}"
    return rows


def plan_revisions(card: Card) -> str:
    """List the revisions of a plan by the clock: "after 10,112 images 176,637; ..."."""
    texts = [f"after {at:,} images {total:,}" for at, total in card.plan.revisions]
    more = f"{len(texts) - MAX_REVISIONS:,} earlier ones; " if len(texts) > MAX_REVISIONS else ""
    return more + "; ".join(texts[-MAX_REVISIONS:])


def evaluate_command(run: Run, data_dir: Path | None) -> str:
    """Return the command that evaluates a run with the copy check."""
    own = run.card.own_file(run.gan)
    return command("evaluate", run.path, *own, copies=True, data_dir=data_dir)


def repeat_commands(
    run: Run, result: EvaluationResult | None, data_dir: Path | None
) -> list[tuple[str, str]]:
    """Return (purpose, command) pairs that repeat a run and what was made of it.

    result: the evaluation to repeat.
    data_dir: the folder of named data sets.
    """
    path, recipe, own = run.path, run.card.own_recipe(run.gan), run.card.own_file(run.gan)
    again, config = f"{path}-again", path / "recipe.json"
    train = command("train", *recipe, config=config, out=again, data_dir=data_dir)
    commands = [("Train it again, with the same plan", train)]
    if result is not None and not (asked := _asked(result)).hindrance:
        commands.append(("Evaluate it again", command("evaluate", path, *asked.options, *own)))
    commands.append(("Generate images", command("sample", path, *own)))
    report = command("report", path, *own, data_dir=data_dir)
    return [*commands, ("Write this page again", report)]


def _asked(result: EvaluationResult) -> RepeatOptions:
    why = "an earlier version of ganvas did not save its options"
    return result.asked or RepeatOptions(hindrance=why)


def repeat_conditions(run: Run, result: EvaluationResult | None) -> list[str]:
    """Return the conditions of the repeat commands, and what no command can repeat."""
    card, data = run.card, run.card.data.what
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    lines = [
        f"On the same kind of machine with {versions or 'the same versions'}, the result is the"
        " same to the bit; elsewhere it is similar. Without the run's directory, save the"
        " recipe.json below and pass its path to --config."
    ]
    if data not in NAMES:
        lines.append(f"The data are read from {data}; their fingerprint shows if they changed.")
    if card.started_from:
        lines.append("The run needs its start.safetensors, the weights that it started from.")
    if card.gan.endswith(".py"):
        lines.append(f"The networks are in your own file {card.gan}, which this page leaves out.")
    if result is not None and (why := _asked(result).hindrance):
        lines.append(f"The evaluation cannot be repeated by a command, because {why}.")
    return lines


def recipe_json(card: Card) -> str:
    """Return the card's JSON, "" if it is too long for the page."""
    text = card.to_json()
    return text if len(text) <= MAX_RECIPE_TEXT else ""
