"""Earlier runs: which of them a request goes on with, and what becomes of one that stands in the
way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from ganvas.errors import RunError
from ganvas.gan import GanFile
from ganvas.runs.card import Card
from ganvas.runs.folder import numbered_runs
from ganvas.runs.request import Request
from ganvas.runs.run import BusyError, Run
from ganvas.system.schema import differences


def _identity(card: Card) -> dict[str, Any]:
    """What must be equal for one training to be the continuation of another."""
    return {
        "recipe": card.recipe,
        "gan": card.gan,
        "image": card.image,
        "model": card.model,
        "train": card.train,
        "data": card.data.fingerprint[:12],
        "flip": card.data.flip,
        "seed": card.seed,
        "precision": card.precision,
        "device": card.device,
        "processes": card.processes,
        "file": card.gan_sha256[:12],
        "threads": card.threads,
        "from": (began := card.started_from) and began.sha256[:12],
    }


def differences_from(run: Run, wanted: Card, file: GanFile) -> list[str]:
    """What keeps a run from being what is wanted of a GAN's file; what its version did not know yet
    is as by default."""
    own = run.card
    if own.gan == wanted.gan:
        with suppress(RunError):
            own, wanted = _whole(own, file), _whole(wanted, file)
    if not wanted.threads:
        wanted = dataclasses.replace(wanted, threads=run.card.threads)
    if not wanted.precision:
        wanted = dataclasses.replace(wanted, precision=run.card.precision)
    old, new = (json.loads(msgspec.json.encode(_identity(card))) for card in (own, wanted))
    return differences(old, new)


def _whole(card: Card, file: GanFile) -> Card:
    """The card with every setting. Raises RunError where its settings do not fit."""
    recipe = card.settings(file)
    return dataclasses.replace(
        card, model=dataclasses.asdict(recipe.model), train=dataclasses.asdict(recipe.train)
    )


def unfinished(
    wanted: Card, file: GanFile, request: Request, say: Callable[[str], None]
) -> Run | None:
    """The newest run under runs/ that the same request made and that is not finished, nor being
    trained."""
    for _, path in numbered_runs():
        try:
            if not Run.is_at(path):  # no run, or one that is being made
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
            say(f"not gone on with: {error}")
    return None
