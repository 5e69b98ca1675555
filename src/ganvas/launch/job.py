"""A training that is possible: its request, its networks and data, and the card of its run."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.launch.budget import planned_images, too_few_notes
from ganvas.launch.warm_start import WarmStart, check_fit, warm_start_of
from ganvas.launch.workers import process_count
from ganvas.plan import Plan
from ganvas.recipe import settings
from ganvas.runs.card import Card, DataCard, StartedFrom, versions
from ganvas.runs.request import Request
from ganvas.system.machine import pick_device
from ganvas.training.preflight import Prepared, prepare
from ganvas.training.validation import Say


@dataclass(frozen=True)
class Job:
    """A request, and all that follows from it.

    start: the weights of --from.
    card: of the run that it wants; threads, precision and the images that fit into minutes may be
        yet to be measured.
    """

    request: Request
    prepared: Prepared
    dataset: Dataset
    start: WarmStart | None
    card: Card

    @property
    def gan_path(self) -> str | None:
        """The path of the user's own GAN file."""
        return gans.split_path(self.request.recipe or "")[0] or None


def prepare_job(request: Request, began: StartedFrom | None, say: Say) -> Job:
    """Check that a training is possible, and tell the user what to expect.

    began: what the run that is resumed was started from.

    Raises a GanvasError for anything in the request that is impossible.
    """
    given = request
    request, start, origin = warm_start_of(given, began)
    if request.data != given.data:
        say(f"no --data: training on that of {given.from_}, {request.data}")
    if request.data is None:
        request = dataclasses.replace(request, data=gans.default_data(request.recipe))
    prepared = prepare(request, pick_device(request.device or "auto"))
    dataset = prepared.dataset
    assert dataset is not None
    card = _card(request, prepared, dataset, origin)
    notes = list(prepared.notes)
    if request.length is None:
        notes += too_few_notes(prepared.recipe.train, len(dataset))
    if request.repeats and request.plan:
        notes += _repeat_notes(request.repeats, card)
    for note in notes:
        say(note)
    if start:
        check_fit(start, prepared)
    return Job(request, prepared, dataset, start, card)


def _repeat_notes(repeated: Card, card: Card) -> list[str]:
    """Note what else than the images changed since a run that is repeated.

    Raises SettingError if the images did.
    """
    if card.data.fingerprint != repeated.data.fingerprint:
        raise SettingError(
            "the run to be repeated saw other images, labels or classes than"
            f" {card.data.name} holds now: give those, or a length such as --minutes, to train on"
            " these by its settings"
        )
    changed = [] if card.gan_sha256 == repeated.gan_sha256 else [card.gan]
    changed += [
        name for name, version in card.versions.items() if repeated.versions.get(name) != version
    ]
    return [f"no repeat to the bit, as {', '.join(changed)} changed since that run"] * bool(changed)


def _card(
    request: Request, prepared: Prepared, dataset: Dataset, origin: StartedFrom | None
) -> Card:
    train = prepared.recipe.train
    what, plain = str(request.data), settings(prepared.recipe)
    if os.path.exists(what) and what not in data.NAMES:
        what = os.path.abspath(what)
    processes = process_count(request.processes, prepared.device, train)
    total = planned_images(train, len(dataset))
    return Card(
        recipe=prepared.name,
        gan=prepared.file.name,
        gan_sha256=prepared.file.sha256,
        model=plain["model"],
        train=plain["train"],
        image=prepared.spec,
        data=DataCard(
            what=what,
            name=dataset.name,
            images=len(dataset),
            fingerprint=dataset.fingerprint,
            size=request.size,
            fit=request.fit or "crop",
            channels=request.channels,
            flip=bool(request.flip),
        ),
        seed=request.seed or 0,
        threads=request.threads or 0,
        processes=processes,
        device=prepared.device,
        precision=request.precision or ("32" if train.precision == "32" else ""),
        plan=request.plan
        or Plan(images=total, batch=train.batch, epoch=len(dataset), requested=train.length),
        evaluate_every=None if request.evaluate_every == "never" else request.evaluate_every,
        started_from=origin,
        versions=versions(),
    )
