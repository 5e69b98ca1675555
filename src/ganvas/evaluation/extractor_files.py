"""Networks that images are judged by, as files: trained once, kept with a card of their origin,
checked whenever read.

Below `data.cache_dir()/extractors` they go by the content of the data and all that their training
depends on: a data set finds its own network again, whatever it is called, and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.errors import RunError
from ganvas.evaluation.classifier import (
    CLASSIFIER_BATCH,
    Classifier,
    accuracy,
    inner_size,
    stride_for,
    train_classifier,
)
from ganvas.evaluation.encoder import ENCODER_BATCH, ENCODER_STEPS, Encoder, train_encoder
from ganvas.recipe import ImageSpec
from ganvas.runs.card import versions
from ganvas.runs.weights import weights_sha256
from ganvas.system import seeding
from ganvas.system.files import write
from ganvas.system.machine import cores
from ganvas.system.machine import threads as on_threads
from ganvas.system.paths import cache_dir

EXTRACTOR_FORMAT = 1
# raised when training changes: networks trained otherwise are not taken from the cache
TRAINING = 1
SEED = 0
# Of every training for the cache, whatever the process is set to, so that the weights do not depend
# on that.
THREADS = min(2, cores())
EPOCHS = 20
MIN_CLASSIFIER_STEPS = 150  # of a classifier, where EPOCHS of a small data set come to less
# in a classifier's training, beyond the first stride: about two minutes on two slow cores
MAX_PIXELS_SEEN = 1e8
# the part of each class, and images in all, that a classifier is tried on
HELD_BACK, MOST_HELD_BACK = 0.1, 2000

Network = Classifier | Encoder
ExtractorKind = Literal["classifier", "self"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a network comes from: the metadata of its file.

    data: the data set's name; fingerprint: of all its images, also those held back. image: what the
    network takes, with the data set's classes. images: how many it was trained on, in `epochs`
    passes. accuracy: the part named rightly of `held_out` other images; None where there were none,
    and for a network that names nothing. command: makes it again.
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
    weights_sha256: str = ""


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
    """Train a classifier on a labelled data set and try it on `held_out`, or on a tenth of each
    class that it holds back.

    epochs: as many as are good and take a few minutes at most, unless given. tell: see
    `train_classifier`. The same arguments give the same weights on the same machine. Raises
    DataError for a set without two classes.
    """
    training, rest = (dataset, held_out) if held_out else hold_back(dataset, seed)
    epochs = epochs or usual_epochs(len(training), dataset.height, dataset.width)
    with on_threads(threads):
        model = train_classifier(training, epochs=epochs, seed=seed, tell=tell)
        right = accuracy(model, rest) if rest else None
    return model, Origin(
        kind="classifier",
        data=dataset.name,
        fingerprint=dataset.fingerprint,
        image=ImageSpec.of(dataset),
        images=len(training),
        epochs=round(epochs, 3),
        seed=seed,
        threads=threads,
        accuracy=right,
        held_out=len(rest) if rest else 0,
        command=command,
        weights_sha256=weights_sha256(_tensors(model)),
    )


def learn_pictures(dataset: Dataset) -> tuple[Encoder, Origin]:
    """Train an encoder on a data set's pictures. Raises DataError for less than two."""
    with on_threads(THREADS):
        model = train_encoder(dataset, steps=ENCODER_STEPS, seed=SEED)
    epochs = ENCODER_STEPS * min(ENCODER_BATCH, len(dataset)) / len(dataset)
    return model, Origin(
        kind="self",
        data=dataset.name,
        fingerprint=dataset.fingerprint,
        image=ImageSpec.of(dataset),
        images=len(dataset),
        epochs=round(epochs, 3),
        seed=SEED,
        threads=THREADS,
        weights_sha256=weights_sha256(_tensors(model)),
    )


def usual_epochs(images: int, height: int, width: int) -> float:
    """Passes over so many images of this size that give a good classifier, or as many as a few
    minutes allow."""
    inner_height, inner_width = inner_size(height, width)
    pixels = inner_height * inner_width / stride_for(height, width) ** 2
    return (
        min(max(EPOCHS * images, MIN_CLASSIFIER_STEPS * CLASSIFIER_BATCH), MAX_PIXELS_SEEN / pixels)
        / images
    )


def hold_back(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
    """A labelled data set without a tenth of each class, and that tenth; None where no class has
    ten images."""
    if dataset.labels is None:
        return dataset, None
    order = torch.randperm(len(dataset), generator=seeding.generator(seed, "held back", 0))
    share = min(HELD_BACK, MOST_HELD_BACK / len(dataset))
    held = torch.zeros(len(dataset), dtype=torch.bool)
    for label in range(len(dataset.classes)):
        members = order[dataset.labels[order] == label]
        held[members[: int(len(members) * share)]] = True
    if not held.any():
        return dataset, None
    kept, back = (
        replace(dataset, images=dataset.images[of], labels=dataset.labels[of])
        for of in (~held, held)
    )
    return kept, back


def cached(kind: ExtractorKind, dataset: Dataset) -> Path:
    """Where the network of a data set is kept, whether it is there or not."""
    epochs = (
        usual_epochs(len(dataset), dataset.height, dataset.width)
        if kind == "classifier"
        else ENCODER_STEPS
    )
    settings = repr(
        (EXTRACTOR_FORMAT, TRAINING, kind, dataset.fingerprint, epochs, HELD_BACK, SEED, THREADS)
    )
    return (
        cache_dir()
        / "extractors"
        / f"{kind}-{hashlib.sha256(settings.encode()).hexdigest()[:32]}.safetensors"
    )


def from_cache(
    kind: ExtractorKind, dataset: Dataset, tell: Callable[[str], None]
) -> tuple[Network, Origin]:
    """The network of a data set: from the cache, or trained now and put there. Another process may
    want the same: one trains.

    A file that is damaged is told of and made anew; where nothing can be written, the network
    serves this once.
    """
    path = cached(kind, dataset)
    with _alone(path, tell):
        if path.exists():
            try:
                network, origin = read_extractor(path)
                if (origin.kind, origin.fingerprint) == (kind, dataset.fingerprint):
                    return network, origin
                tell(f"{path} is of other data: it is made anew")
            except RunError as error:
                tell(f"{error}: it is made anew")
        tell(
            f"training {kind}:{dataset.name} on {len(dataset):,} images, once: a few minutes at"
            " most"
        )
        network, origin = (
            learn_classes(dataset) if kind == "classifier" else learn_pictures(dataset)
        )
        try:
            write_extractor(path, network, origin)
        except RunError as error:
            tell(f"{error}; so it is trained again the next time")
        return _restored(origin, _tensors(network), "the network just trained")


def write_extractor(path: Path, network: Network, origin: Origin) -> None:
    """Write a network with its card as safetensors, whole or not at all; the same network and card
    give the same bytes."""
    write(
        path,
        safetensors.torch.save(_tensors(network), {"ganvas": msgspec.json.encode(origin).decode()}),
    )


def read_extractor(path: Path) -> tuple[Network, Origin]:
    """Read what `write_extractor` wrote. Raises RunError for a file that is missing, damaged, of another kind
    or of a newer format."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise RunError(f"there is no file {path}: check the path") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or no safetensors file ({error})") from None
    if "ganvas" not in metadata:
        raise RunError(
            f"{path} holds no card of ganvas's: expected a file that ganvas extractor wrote"
        )
    try:
        plain = msgspec.json.decode(metadata["ganvas"])
        if (
            isinstance(plain, dict)
            and isinstance(plain.get("format"), int)
            and plain["format"] > EXTRACTOR_FORMAT
        ):
            raise RunError(
                f"{path} has format {plain['format']}, this ganvas reads up to {EXTRACTOR_FORMAT}: upgrade"
                " ganvas"
            )
        origin = msgspec.convert(plain, Origin)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RunError(f"{path} is damaged or no extractor's file ({error})") from None
    if origin.weights_sha256 != weights_sha256(tensors):
        raise RunError(f"{path} is damaged (the checksum of its weights is wrong)")
    return _restored(origin, tensors, str(path))


def _tensors(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}


def _restored(origin: Origin, tensors: dict[str, Tensor], name: str) -> tuple[Network, Origin]:
    """The network with these weights, laid out in memory one way, wherever they come from: so
    features are the same."""
    image = origin.image
    stride = stride_for(image.height, image.width)
    network: Network
    with torch.random.fork_rng(devices=[]):  # their first weights are of no use
        if origin.kind == "classifier":
            network = Classifier(image.channels, len(image.classes), stride=stride)
        else:
            network = Encoder(image.channels, stride=stride)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(
            f"{name} does not fit its own card ({' '.join(str(error).split())[:200]})"
        ) from None
    return network.to(memory_format=torch.channels_last).eval(), origin


@contextmanager
def _alone(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time make the file `path`; where no lock can be written, nobody waits."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for another process that trains the same extractor")
            lock.acquire()
    except OSError:
        pass
    try:
        yield
    finally:
        lock.release()
