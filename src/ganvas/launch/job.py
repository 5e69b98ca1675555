"""A training that is possible: its request, its networks and data, and the card of its run."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass

import torch

from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.launch.warm_start import WarmStart, check_fit, warm_start_of
from ganvas.plan import MAX_PLAN_IMAGES, Plan
from ganvas.recipe import Interval, TrainConfig, settings
from ganvas.runs.card import Card, DataCard, StartedFrom, versions
from ganvas.runs.request import MAX_MINUTES, Request
from ganvas.system.machine import pick_device
from ganvas.system.progress import Say
from ganvas.training import distributed
from ganvas.training.preflight import Prepared, prepare

MIN_LEARNING_STEPS = 100  # fewer are too few to learn from


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
    start, origin = None, began
    if given.from_ is not None:
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


def planned_images(train: TrainConfig, images: int) -> int:
    """Return the images to train on for `train.length`; 0 for minutes, which are yet to be planned.

    images: in the data set. Raises SettingError for a length beyond all bounds.
    """
    length = Interval.parse(train.length)
    if length.unit == "minutes":
        if length.amount > MAX_MINUTES:
            raise SettingError(f"a length of {length}: expected at most {MAX_MINUTES:,}")
        return 0
    total = max(1, round(length.images(train.batch, images)))
    if total > MAX_PLAN_IMAGES:
        raise SettingError(
            f"{length} are {total:.3g} images: expected at most {MAX_PLAN_IMAGES:.0e}"
        )
    return total


def too_few_notes(train: TrainConfig, images: int) -> list[str]:
    """Note a length in epochs that ends before anything is learned.

    images: in the data set.
    """
    length = Interval.parse(train.length)
    if length.unit != "epochs":
        return []
    steps = math.ceil(length.images(train.batch, images) / train.batch)
    return [
        f"{length} of {images:,} images are {steps} steps, too few to learn from: give --minutes or"
        " --images"
    ] * (steps < MIN_LEARNING_STEPS)


def process_count(wanted: int | None, device: str, train: TrainConfig) -> int:
    """Return the number of processes: torchrun's, else `wanted`, else 1.

    Raises SettingError if the device or the batch cannot be shared among them.
    """
    world, count = distributed.torchrun_world(), wanted or 1
    if world is not None:
        if wanted not in (None, world.size):
            raise SettingError(
                f"--processes {wanted}: torchrun has started {world.size}; give both the same"
            )
        count = world.size
    if count > 1 and device == "mps":
        raise SettingError(
            f"--processes {count}: mps trains in one; leave it out, or use --device cpu"
        )
    if train.batch % count or (train.g_batch or train.batch) % count:
        raise SettingError(
            f"--processes {count} does not divide the batch of {train.batch}: set train.batch to a"
            " multiple"
        )
    if count > 1 and device == "cuda" and world is None and count > torch.cuda.device_count():
        raise SettingError(
            f"--processes {count}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return count
