"""What a run was made of, and how to make it once more: its settings, data, plan and machine in
words, and commands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from ganvas.data import NAMES
from ganvas.doctor.remedies import place
from ganvas.evaluation.result import EvaluationResult
from ganvas.overrides import resolve_gamma
from ganvas.recipe import settings
from ganvas.runs.card import Card
from ganvas.runs.request import toml
from ganvas.runs.run import Run

MAX_RECIPE_TEXT = 200_000  # characters of recipe.json that are shown
MAX_REVISIONS = 20


class Setting(NamedTuple):
    """usual: the recipe's own value where that is another, None where it is the same or not known."""

    name: str
    value: str
    usual: str | None


class SettingsTable(NamedTuple):
    """known: whether the recipe is at hand to be compared with. changed: whether the user's GAN
    file is another now."""

    rows: list[Setting]
    known: bool
    changed: bool


def settings_of(run: Run) -> SettingsTable:
    """All settings of a run, beside those of its recipe as it is now. Raises RunError where run.gan
    is not its file."""
    card, own, changed = run.card, None, False
    if run.gan is not None or not card.gan.endswith(".py"):
        file = card.gan_file(run.gan)
        changed = run.gan is not None and file.sha256 != card.gan_sha256
        recipe = file.recipes.get(card.recipe_key)
        own = settings(resolve_gamma(recipe, card.image)[0]) if recipe else None
    rows = []
    for part, stored in (("model", card.model), ("train", card.train)):
        for name, value in stored.items():
            text, usual = _plain(value), None
            if own is not None and name in own[part] and _plain(own[part][name]) != text:
                usual = _plain(own[part][name])
            rows.append(Setting(f"{part}.{name}", text, usual))
    return SettingsTable(rows, own is not None, changed)


def _plain(value: Any) -> str:
    return "none" if value is None else toml(value)


def data(card: Card) -> dict[str, str]:
    """The data, how they were read, and what they were."""
    own, image = card.data, card.image
    size = "as it is" if own.size is None else "{}x{}".format(*own.size) + f", by {own.fit}"
    rows = {
        "data": own.what,
        "images": (
            f"{own.images:,}, {image.height}x{image.width}, {image.channels}"
            f" channel{'s' * (image.channels > 1)}"
        ),
        "size": size,
        "mirrored": "half of what is trained on" if own.flip else "no",
        "fingerprint": own.fingerprint,
    }
    if card.started_from:
        rows["trained on from"] = f"{card.started_from.path}, weights {card.started_from.sha256}"
    return rows


def training(card: Card) -> dict[str, str]:
    """The plan, and what the training ran on."""
    plan = card.plan
    rows = {
        "asked for": plan.requested,
        "planned": (
            f"{plan.total:,} images in batches of {plan.batch}, {plan.total / plan.epoch:.3g}"
            " epochs"
        ),
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


def revisions(card: Card) -> str:
    """What became of a plan by the clock: "after 10,112 images 176,637; ..."."""
    each = [f"after {at:,} images {total:,}" for at, total in card.plan.revisions]
    more = f"{len(each) - MAX_REVISIONS:,} earlier ones; " if len(each) > MAX_REVISIONS else ""
    return more + "; ".join(each[-MAX_REVISIONS:])


def judging(run: Run, data_dir: Path | None) -> str:
    """The command that judges a run and looks for copies, fit for a shell."""
    return shlex.join(
        [
            "ganvas",
            "evaluate",
            str(run.path),
            *run.card.own_file(run.gan),
            "--copies",
            *place(data_dir),
        ]
    )


def commands(
    run: Run, judged: EvaluationResult | None, data_dir: Path | None
) -> list[tuple[str, str]]:
    """(what for, command), fit for a shell. judged: the evaluation to be repeated. data_dir: where
    named data sets lie."""
    path, own = str(run.path), run.card.own_file(run.gan)
    train = ["ganvas", "train", *run.card.own_recipe(run.gan)]
    again = [
        *train,
        "--config",
        str(run.path / "recipe.json"),
        "--out",
        f"{path}-again",
        *place(data_dir),
    ]
    found = [("Train it once more, with the same plan", again)]
    if judged is not None and judged.asked and not judged.asked.hindrance:
        found.append(
            ("Judge it once more", ["ganvas", "evaluate", path, *judged.asked.options, *own])
        )
    found.append(("Make images", ["ganvas", "sample", path, *own]))
    found.append(("Write this page again", ["ganvas", "report", path, *own, *place(data_dir)]))
    return [(what, shlex.join(command)) for what, command in found]


def conditions(run: Run, judged: EvaluationResult | None) -> list[str]:
    """What the commands rest on, and what none can repeat."""
    card, own = run.card, run.card.data
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    found = [
        f"The same to the bit on such a machine, with {versions or 'the same versions'}; elsewhere"
        " alike. Without the run's directory, save recipe.json from below and name it behind"
        " --config."
    ]
    if own.what not in NAMES:
        found.append(
            f"The data are looked for at {own.what}; whether they are the same, their fingerprint"
            " tells."
        )
    if card.started_from:
        found.append(
            "It starts from the weights in the run's start.safetensors, which the run's directory"
            " must hold."
        )
    if card.gan.endswith(".py"):
        found.append(
            f"The networks are in a file of the user's, {card.gan}, which is not a part of this"
            " page."
        )
    if judged is not None and (judged.asked is None or judged.asked.hindrance):
        why = (
            judged.asked.hindrance
            if judged.asked
            else "an earlier ganvas did not note what it was asked for"
        )
        found.append(f"The evaluation cannot be repeated by a command, because {why}.")
    return found


def recipe_json(card: Card) -> str:
    """The card as it is in the run, "" where it is too long to be shown."""
    text = card.to_json()
    return text if len(text) <= MAX_RECIPE_TEXT else ""
