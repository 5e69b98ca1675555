"""The earlier run that a request resumes."""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from typing import Any

import msgspec

from ganvas.errors import RunError, SettingError
from ganvas.gan import GanFile
from ganvas.plan import Plan
from ganvas.recipe import Interval
from ganvas.runs.card import Card
from ganvas.runs.folder import numbered_runs
from ganvas.runs.request import Request
from ganvas.runs.run import BusyError, Run
from ganvas.system.progress import Say
from ganvas.system.schema import differences
from ganvas.system.text import command


def _identity(card: Card) -> dict[str, Any]:
    """All that must be equal for one training to be the continuation of another."""
    names = ["recipe", "gan", "image", "model", "train", "seed", "precision", "device"]
    names += ["processes", "threads"]
    return {name: getattr(card, name) for name in names} | {
        "data": card.data.fingerprint[:12],
        "flip": card.data.flip,
        "file": card.gan_sha256[:12],
        "from": card.started_from and card.started_from.sha256[:12],
    }


def differences_from(run: Run, wanted: Card, file: GanFile) -> list[str]:
    """List the differences between a run and the wanted one, as "train.batch=64, not 32".

    Settings that an older version did not know have their defaults; measured settings that the
    wanted card leaves open do not count as differences.
    """
    card = run.card
    if card.gan == wanted.gan:
        with suppress(RunError):
            card, wanted = _with_defaults(card, file), _with_defaults(wanted, file)
    old, new = (msgspec.to_builtins(_identity(card)) for card in (card, wanted))
    measured = {name: old[name] for name in ("threads", "precision") if not new[name]}
    return differences(old, new | measured)


def lengthened(run: Run, wanted: Card, file: GanFile) -> Card | None:
    """Return the card of a finished run with the greater length of the wanted one; None if it is no
    longer, or differs in more than that.

    The training goes on as if it had had that length from the start. Raises SettingError, with the
    command that goes on from the weights, if rates followed the old length.
    """
    old, state = run.card, run.load_state()
    as_long = dataclasses.replace(wanted, train=wanted.train | {"length": old.train["length"]})
    if state is None or not run.finished or differences_from(run, as_long, file):
        return None
    length, images = Interval.parse(wanted.train["length"]), wanted.plan.images
    if length.unit == "minutes":
        # as many images a second as before; the clock revises this
        images = round(old.plan.total * length.amount * 60 / max(1e-9, state["seconds"]))
    plan = Plan(images=images, batch=old.plan.batch, epoch=old.plan.epoch, requested=str(length))
    if plan.total <= old.plan.total:
        return None
    if following := old.settings(file).train.following_length:
        raise SettingError(_from_weights(run, length, state["seconds"], following))
    train = old.train | {"length": str(length)}
    return dataclasses.replace(old, plan=plan, train=train)


def _from_weights(run: Run, length: Interval, seconds: float, following: list[str]) -> str:
    """The refusal to lengthen a run, with the command that goes on from its weights."""
    plan = run.card.plan
    done = {"minutes": seconds / 60, "epochs": plan.total / plan.epoch, "images": plan.total}
    rest = max(1, math.ceil(length.amount - done.get(length.unit, 0)))
    rest_of: dict[str, Any] = {length.unit: rest}
    if length.unit == "steps":
        rest_of = {"images": max(1, rest * plan.batch - plan.total)}
    again = command(
        "train",
        *run.card.own_recipe(run.gan),
        config=run.card_file,
        from_=run.path,
        **rest_of,
    )
    why = f"its {' and '.join(following)} followed the planned {plan.requested} to their end"
    return f"{run.path} is finished, and {why}; to go on from its weights: {again}"


def _with_defaults(card: Card, file: GanFile) -> Card:
    """The card with every setting. Raises RunError if its settings do not fit the GAN."""
    recipe = card.settings(file)
    # not by msgspec, which leaves out the defaults of what it has converted
    model, train = dataclasses.asdict(recipe.model), dataclasses.asdict(recipe.train)
    return dataclasses.replace(card, model=model, train=train)


def unfinished(wanted: Card, file: GanFile, request: Request, say: Say) -> Run | None:
    """Find the newest unfinished run of the same request under runs/ that nobody is training."""
    for _, path in numbered_runs():
        try:
            if not Run.is_at(path):  # something else, or a run that is being made
                continue
            run = Run.open(path)
            if differences_from(run, wanted, file) or (
                request.plan and request.plan != run.card.plan
            ):
                continue
            with run.locked():
                if not run.finished:
                    run.read_log()
                    return run
        except BusyError:
            continue
        except RunError as error:
            say(f"not resumed: {error}")
    return None
