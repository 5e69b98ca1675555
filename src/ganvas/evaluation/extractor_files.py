"""Extractor networks as files: trained once, kept with a card of their origin, checked when read.

In the cache, `cache_dir()/extractors`, a file's name is a hash of the data's content and of all
that training depends on, so a data set finds its own network under any name, and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
from filelock import FileLock, Timeout
from msgspec import Meta
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.errors import RunError
from ganvas.evaluation import classifier
from ganvas.evaluation.classifier import Classifier, inner_size, stride_for, train_classifier
from ganvas.evaluation.encoder import ENCODER_BATCH, ENCODER_STEPS, Encoder, train_encoder
from ganvas.recipe import ImageSpec
from ganvas.runs.card import versions
from ganvas.runs.weights import read_safetensors, weights_sha256, write_safetensors
from ganvas.system import seeding
from ganvas.system.machine import cores
from ganvas.system.machine import threads as running_threads
from ganvas.system.paths import cache_dir
from ganvas.system.progress import Say

EXTRACTOR_FORMAT = 1
# raised when training changes, so that networks trained otherwise are not taken from the cache
TRAINING = 1
SEED = 0
# of every training for the cache, so that the weights do not depend on the process's setting
THREADS = min(2, cores())
EPOCHS = 20
MIN_CLASSIFIER_STEPS = 150  # for small data sets, where EPOCHS would be fewer
# pixels in a classifier's training, after the first stride: about two minutes on two slow cores
MAX_PIXELS_SEEN = 1e8
# test images of a classifier: share of each class, and number in all
HELD_BACK, MAX_HELD_BACK = 0.1, 2000

Network = Classifier | Encoder
ExtractorKind = Literal["classifier", "self"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Origin of a network: the card of its file.

    data: name of the data set.
    fingerprint: of all its images, including those held back.
    image: images that the network takes, with the data set's classes.
    images: number of training images, seen in `epochs` passes.
    accuracy: on `held_out` other images; None without any, and for an encoder.
    command: repeats the training.
    """

    format: int = EXTRACTOR_FORMAT
    kind: ExtractorKind
    data: str
    fingerprint: str
    image: ImageSpec
    images: int
    epochs: float
    seed: int
    threads: int
    accuracy: Annotated[float, Meta(ge=0, le=1)] | None = None
    held_out: int = 0
    command: str = ""
    versions: dict[str, str] = field(default_factory=versions)
    weights_sha256: Annotated[str, Meta(min_length=64)]


def learn_classes(
    dataset: Dataset,
    held_out: Dataset | None = None,
    *,
    epochs: float | None = None,
    seed: int = SEED,
    threads: int = THREADS,
    command: str = "",
    tell: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[Classifier, Origin]:
    """Train a classifier on a labelled data set and test it.

    held_out: test images; by default a tenth of each class is held back from training.
    epochs: passes over the data; by default `usual_epochs`, a few minutes at most.
    seed, threads: the same ones give the same weights on the same machine.
    command: for the card.
    tell: called after each epoch with its number and mean loss.

    Raises DataError for a data set with fewer than two classes.
    """
    training, test = (dataset, held_out) if held_out else hold_back(dataset, seed)
    epochs = epochs or usual_epochs(len(training), dataset.height, dataset.width)
    with running_threads(threads):
        model = train_classifier(training, epochs=epochs, seed=seed, tell=tell)
        accuracy = classifier.accuracy(model, test) if test else None
    origin = _origin(model, dataset, len(training), epochs, seed=seed, threads=threads)
    number = len(test) if test else 0
    return model, replace(origin, accuracy=accuracy, held_out=number, command=command)


def learn_pictures(dataset: Dataset) -> tuple[Encoder, Origin]:
    """Train an encoder on a data set's pictures. Raises DataError for fewer than two."""
    with running_threads(THREADS):
        model = train_encoder(dataset, steps=ENCODER_STEPS, seed=SEED)
    epochs = ENCODER_STEPS * min(ENCODER_BATCH, len(dataset)) / len(dataset)
    return model, _origin(model, dataset, len(dataset), epochs, seed=SEED, threads=THREADS)


def _origin(
    model: Network, dataset: Dataset, images: int, epochs: float, *, seed: int, threads: int
) -> Origin:
    return Origin(
        kind="classifier" if isinstance(model, Classifier) else "self",
        data=dataset.name,
        fingerprint=dataset.fingerprint,
        image=ImageSpec.of(dataset),
        images=images,
        epochs=round(epochs, 3),
        seed=seed,
        threads=threads,
        weights_sha256=weights_sha256(_tensors(model)),
    )


def usual_epochs(images: int, height: int, width: int) -> float:
    """Epochs that give a good classifier, or as many as a few minutes allow."""
    inner_height, inner_width = inner_size(height, width)
    pixels = inner_height * inner_width / stride_for(height, width) ** 2
    wanted = max(EPOCHS * images, MIN_CLASSIFIER_STEPS * classifier.CLASSIFIER_BATCH)
    return min(wanted, MAX_PIXELS_SEEN / pixels) / images


def hold_back(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
    """Split off a tenth of each class: (the rest, the tenth), (all, None) if no class has ten."""
    if dataset.labels is None:
        return dataset, None
    order = torch.randperm(len(dataset), generator=seeding.generator(seed, "held back", 0))
    share = min(HELD_BACK, MAX_HELD_BACK / len(dataset))
    held = torch.zeros(len(dataset), dtype=torch.bool)
    for label in range(len(dataset.classes)):
        members = order[dataset.labels[order] == label]
        held[members[: int(len(members) * share)]] = True
    return (dataset.rows(~held), dataset.rows(held)) if held.any() else (dataset, None)


def cache_path(kind: ExtractorKind, dataset: Dataset) -> Path:
    """Path of a data set's network in the cache; the file need not exist."""
    usual = usual_epochs(len(dataset), dataset.height, dataset.width)
    length = usual if kind == "classifier" else ENCODER_STEPS
    data = kind, dataset.fingerprint
    settings = repr((EXTRACTOR_FORMAT, TRAINING, *data, length, HELD_BACK, SEED, THREADS))
    digest = hashlib.sha256(settings.encode()).hexdigest()[:32]
    return cache_dir() / "extractors" / f"{kind}-{digest}.safetensors"


def from_cache(kind: ExtractorKind, dataset: Dataset, tell: Say) -> tuple[Network, Origin]:
    """Read a data set's network from the cache, or train it now and keep it.

    Of several processes that want the same network, one trains. A damaged file is replaced; if
    nothing can be written, the network serves this call only. `tell` gets a line in each case.
    """
    path = cache_path(kind, dataset)
    with _alone(path, tell):
        if path.exists():
            try:
                network, origin = read_extractor(path)
                if (origin.kind, origin.fingerprint) == (kind, dataset.fingerprint):
                    return network, origin
                tell(f"{path} belongs to other data; training it again")
            except RunError as error:
                tell(f"{error}; training it again")
        images = f"{len(dataset):,} images"
        tell(f"training {kind}:{dataset.name} on {images}, once: a few minutes at most")
        learn = learn_classes if kind == "classifier" else learn_pictures
        network, origin = learn(dataset)
        try:
            write_extractor(path, network, origin)
        except RunError as error:
            tell(f"{error}; so it will be trained again next time")
        return _restored(origin, _tensors(network), "the network just trained")


def write_extractor(path: Path, network: Network, origin: Origin) -> None:
    """Write a network with its card, whole or not at all; equal input gives equal bytes."""
    write_safetensors(path, _tensors(network), msgspec.json.encode(origin).decode())


def read_extractor(path: Path) -> tuple[Network, Origin]:
    """Read a file of `write_extractor`. Raises RunError as `read_safetensors` does."""
    expected = "a file that ganvas extractor wrote"
    tensors, origin = read_safetensors(path, Origin, EXTRACTOR_FORMAT, expected)
    return _restored(origin, tensors, str(path))


def _tensors(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}


def _restored(origin: Origin, tensors: dict[str, Tensor], name: str) -> tuple[Network, Origin]:
    """Build the network with these weights, always in one memory layout: features depend on it."""
    image = origin.image
    stride = stride_for(image.height, image.width)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and replaced
        network: Network = Encoder(image.channels, stride=stride)
        if origin.kind == "classifier":
            network = Classifier(image.channels, len(image.classes), stride=stride)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{name} does not fit its own card ({reason})") from None
    return network.to(memory_format=torch.channels_last).eval(), origin


@contextmanager
def _alone(path: Path, tell: Say) -> Iterator[None]:
    """Let one process at a time make the file `path`; without a writable lock nobody waits."""
    lock = FileLock(path.with_suffix(".lock"))
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for another process that trains the same extractor")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
