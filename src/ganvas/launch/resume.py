"""Earlier runs: which of them a request goes on with, and what becomes of one that stands in the way."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ganvas.errors import RunError, SettingError
from ganvas.gan import GanFile
from ganvas.runs.card import Card
from ganvas.runs.request import Request
from ganvas.runs.run import BusyError, Run
from ganvas.system import files
from ganvas.system.schema import differences

RUNS = Path("runs")


def _identity(card: Card) -> dict[str, Any]:
    """What must be equal for one training to be the continuation of another."""
    return {
        "recipe": card.recipe, "gan": card.gan, "image": card.image,
        "model": card.model, "train": card.train, "data": card.data.fingerprint[:12], "flip": card.data.flip,
        "seed": card.seed, "precision": card.precision, "device": card.device, "processes": card.processes,
        "file": card.gan_sha256[:12], "threads": card.threads, "from": (began := card.started_from) and began.sha256[:12],
    }  # fmt: skip


def different(run: Run, wanted: Card, file: GanFile) -> list[str]:
    """What keeps a run from being what is wanted of a GAN's file; what its version did not know yet is as by default."""
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
    return dataclasses.replace(card, model=dataclasses.asdict(recipe.model), train=dataclasses.asdict(recipe.train))


def numbered() -> list[tuple[int, Path]]:
    """What has a number under runs/, with it, newest first."""
    found = [(re.match("[0-9]{4,}(?=-)", path.name), path) for path in RUNS.iterdir()] if RUNS.is_dir() else []
    return sorted(((int(number[0]), path) for number, path in found if number), reverse=True)


def unfinished(wanted: Card, file: GanFile, request: Request, say: Callable[[str], None]) -> Run | None:
    """The newest run under runs/ that the same request made and that is not finished, nor being trained."""
    for _, path in numbered():
        try:
            if not Run.is_at(path):  # no run, or one that is being made
                continue
            run = Run.open(path)
            if different(run, wanted, file) or (request.plan and request.plan != run.card.plan):
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


def set_aside(path: Path) -> Path:
    if path.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise SettingError(f"--fresh cannot set {path} aside while you stand in it: go elsewhere first")
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    kept = path.with_name(f"{path.name}.{number}")
    with files.writing(kept):
        path.rename(kept)
    return kept
