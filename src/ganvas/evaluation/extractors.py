"""Extractors turn images into the features that scores are computed from.

They are chosen by name, or made from any function or module:

    digits              a classifier of MNIST that comes with the package: for 28x28 grey digits
                        and, a channel at a time, for StackedMNIST
    imagenet            features that a published network learned from photographs of all kinds
    imagenet+classifier:DATASET
                        these features, and classes by the next one
    classifier:DATASET  a classifier of a labelled data set, trained on first use
    self:DATASET        an encoder of pictures without labels, trained on first use
    inception[:PATH]    the Inception network of published FIDs (the extra `inception`)
    FILE.safetensors    a network that `ganvas extractor` trained, or one of ganvas's cache

Scores compare only for one extractor with the same weights: `sha256` identifies both.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ganvas.data import NAMES, load_dataset
from ganvas.data.dataset import Dataset
from ganvas.data.stacked import NUMBERS
from ganvas.errors import DataError, SettingError, nearest
from ganvas.evaluation import extractor_files, imagenet, inception
from ganvas.evaluation.classifier import Classifier, inner_size
from ganvas.evaluation.custom_extractors import checked_output, identity
from ganvas.evaluation.extractor_files import Network, Origin
from ganvas.recipe import DIGIT_CLASSES, KINDS, ImageSpec
from ganvas.runs.weights import weights_sha256
from ganvas.system import seeding
from ganvas.system.progress import Say

DIGITS = Path(__file__).parent.parent / "assets" / "extractors" / "digits.safetensors"
# data sets whose training parts consist of MNIST's training images, which `digits` learned from
MADE_OF_MNIST = ("mnist-5k", "stacked-mnist", "stacked-mnist-5k")
CUSTOM_CHUNK = 500  # images in a call of a user's function
TRIED = 500  # images that decide whether a data set shows digits
# unlabelled images count as digits above this mean confidence (digits 0.93, also blurred or
# shifted; clothes 0.78; noise 0.82)
SURE = 0.88
MIN_TRAINING_IMAGES = 1000  # training images below which an extractor gets a caveat
MIN_ACCURACY = 0.8  # accuracy below which what a classifier says of classes gets a caveat
WITH_CLASSES: Literal["imagenet+classifier"] = "imagenet+classifier"
MODES_N = 26_000  # images whose modes are counted, as in Lin et al. 2018 (arXiv 1712.04086)


class Features(NamedTuple):
    """Outputs of an extractor for N images.

    features: float32 (N, D).
    probabilities: float32 (N, K) over the classes, rows sum to 1; None if it does not classify.
    """

    features: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True)
class Extractor:
    """A function from images to features, with what must be known of it to compare scores.

    sha256: of its weights and of all else that its features depend on.
    classes: names of the classes that it predicts, () for none.
    spec: the images that it takes; None: any.
    resize: what it does to the size of images, for the protocol.
    notes: caveats to print beside scores.
    take: uint8 (N, C, H, W) -> Features, without gradients, deterministic.
    cacheable: True if sha256 covers all that features depend on; only then are they cached.
    learned: the data sets that it was trained on, by fingerprint or by the name of a built-in one.
    finds_copies: True if the copy check shall look for copies in its features as well.
    """

    name: str
    sha256: str
    classes: tuple[str, ...]
    spec: ImageSpec | None
    resize: str
    notes: tuple[str, ...]
    take: Callable[[Tensor], Features]
    cacheable: bool = True
    learned: tuple[str, ...] = ()
    finds_copies: bool = False

    def knows(self, dataset: Dataset) -> bool:
        """Return True if the extractor was trained on these very images."""
        return not {dataset.fingerprint, dataset.name}.isdisjoint(self.learned)

    def __call__(self, images: Tensor) -> Features:
        """uint8 (N, C, H, W) -> Features of N rows. Raises DataError for images of another kind."""
        if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0:
            given = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            raise DataError(f"{self.name} takes images as uint8 (N, C, H, W), got {given}")
        if self.spec is not None:
            _raise_if_unsuitable(self.name, self.spec, *images.shape[1:])
        return self.take(images)

    @classmethod
    def of(
        cls,
        function: Callable[[Tensor], Any],
        *,
        name: str | None = None,
        classes: tuple[str, ...] = (),
        spec: ImageSpec | None = None,
        sha256: str | None = None,
    ) -> Extractor:
        """Make an extractor of any function, or module, which is put into evaluation mode.

        function: maps uint8 images (N, C, H, W), CUSTOM_CHUNK at a time, to a tensor or array
            (N, D), or to `Features`.
        name: for reports; by default the function's own.
        classes: names of the classes that it predicts; it must then return `Features`.
        spec: the images that it takes; None: any.
        sha256: by default a hash of source and weights (see `identity`). Give your own if features
            depend on more, such as a file, and to have the real images' features cached.
        """
        title = str(name or getattr(function, "__name__", type(function).__name__))
        if isinstance(function, nn.Module):
            function.eval()

        @torch.inference_mode()
        def take(images: Tensor) -> Features:
            parts = [
                checked_output(function(part), len(part), len(classes), title)
                for part in images.split(CUSTOM_CHUNK)
            ]
            features, probabilities = zip(*parts, strict=True)
            if len(widths := {each.shape[1] for each in features}) > 1:
                numbers = " and ".join(map(str, sorted(widths)))
                raise DataError(
                    f"{title} gave {numbers} features an image: expected the same number"
                )
            return Features(torch.cat(features), torch.cat(probabilities) if classes else None)

        digest = sha256 or identity(function)
        return cls(title, digest, classes, spec, "its own", (), take, cacheable=sha256 is not None)


def find_extractor(
    name: Extractor | Callable[[Tensor], Any] | str | None,
    dataset: Dataset,
    *,
    data_dir: Path | None = None,
    tell: Say = lambda line: print(line, file=sys.stderr),
) -> Extractor:
    """Find an extractor by name, or train it and keep it in the cache by the data's content.

    name: see the module; None: the `default` of the data set. `classifier` and `self` alone are
        trained on `dataset`, with a colon and a name or path on that data set. An `Extractor`
        is returned as it is; of a function or module one is made.
    dataset: images like those to be evaluated; usually the real ones trained on.
    data_dir: where named data sets are.
    tell: gets a line when something is trained.

    Raises SettingError for an unknown name, DataError for images of another kind, RunError for a
    damaged file.
    """
    if isinstance(name, Extractor):
        return name
    if name is not None and not isinstance(name, str):
        return Extractor.of(name)
    if name in (None, "digits") and is_stacked(dataset):
        return per_channel(_shipped(1, dataset.height, dataset.width))
    kind, _, of = (default(dataset) if name is None else name).partition(":")
    shape = dataset.channels, dataset.height, dataset.width
    if kind == "digits" and not of:
        return _shipped(*shape)
    if kind == "imagenet" and not of:
        return _imagenet(dataset)
    if kind == "inception":
        return _inception(Path(of) if of else None, dataset)
    if kind.endswith(".safetensors") and not of:
        path = Path(kind)
        network, origin = extractor_files.read_extractor(path)
        _raise_if_unsuitable(path.name, origin.image, *shape)
        return _of_network(path.name, network, origin)
    if kind not in ("classifier", WITH_CLASSES, "self"):
        kinds = (WITH_CLASSES, "classifier", "self")
        known = ["digits", "imagenet", *(f"{each}:DATASET" for each in kinds), "inception"]
        raise SettingError(f"no extractor is called {name!r}: {nearest(str(name), known)}")
    # an existing path wins over the name of `dataset`
    is_own = of == dataset.name and (of in NAMES or not Path(of).exists())
    training = dataset if is_own or not of else _other(of, dataset, data_dir, tell)
    source = of or dataset.name
    title = f"{'self' if kind == 'self' else 'classifier'}:{source}"
    _raise_if_unsuitable(title, ImageSpec.of(training), *shape)
    if kind == "self":
        return _of_network(title, *extractor_files.from_cache("self", training, tell))
    if len(training.classes) < 2:
        other = f"use {'self:' + source if kind == 'classifier' else 'imagenet'}, or give it labels"
        raise DataError(f"{training.name} has no classes to tell apart: {other}")
    features = _imagenet(dataset) if kind == WITH_CLASSES else None
    classifier = _of_network(title, *extractor_files.from_cache("classifier", training, tell))
    return _with_classes(features, classifier) if features else classifier


def is_available(dataset: Dataset) -> bool:
    """Return True if `find_extractor(None, dataset)` has nothing to train."""
    if is_stacked(dataset) or default(dataset) != WITH_CLASSES:
        return True
    return extractor_files.cache_path("classifier", dataset).exists()


def is_stacked(dataset: Dataset) -> bool:
    """Return True for StackedMNIST: three channels, and the numbers 000 to 999 as classes."""
    return dataset.channels == 3 and dataset.classes == NUMBERS


def default(dataset: Dataset) -> Literal["digits", "imagenet", "imagenet+classifier"]:
    """Kind of extractor for a data set's images.

    `digits` for what looks like digits and is labelled as such or not at all, else `imagenet`;
    of labelled data, a classifier trained on them tells the classes.
    """
    if _shows_digits(dataset):
        return "digits"
    return WITH_CLASSES if len(dataset.classes) > 1 else "imagenet"


def _shows_digits(dataset: Dataset) -> bool:
    """Return True for images of digits.

    Class names alone do not tell: labels without names, as in IDX files, are called 0 to 9 too.
    """
    if (dataset.channels, dataset.height, dataset.width) != (1, 28, 28):
        return False
    if dataset.labels is not None and not set(dataset.classes) <= set(DIGIT_CLASSES):
        return False
    some = torch.randperm(len(dataset), generator=seeding.generator(0, "digits", 0))[:TRIED]
    probabilities = _shipped(1, 28, 28)(dataset.images[some]).probabilities
    assert probabilities is not None
    if dataset.labels is None:
        confidence, predicted = probabilities.max(1)
        return float(confidence.mean()) >= SURE and int(predicted.bincount().max()) <= len(some) / 2
    digits = torch.tensor([int(name) for name in dataset.classes])[dataset.labels[some]]
    return float((probabilities.argmax(1) == digits).double().mean()) >= MIN_ACCURACY


def _raise_if_unsuitable(
    name: str, spec: ImageSpec, channels: int, height: int, width: int
) -> None:
    if (spec.channels, spec.height, spec.width) != (channels, height, width):
        expected = f"{spec.height}x{spec.width} {KINDS[spec.channels]}"
        given = f"{height}x{width} {KINDS.get(channels, f'with {channels} channels')}"
        other = "choose an extractor of such images, or bring them to its size and channels"
        raise DataError(f"{name} takes images of {expected}, these are {given}: {other}")


def _shipped(channels: int, height: int, width: int) -> Extractor:
    network, origin = extractor_files.read_extractor(DIGITS)
    _raise_if_unsuitable("digits", origin.image, channels, height, width)
    part = "of which all images of mnist-5k are part"
    note = f"digits learned from MNIST's 60,000 training images, {part}"
    learned = (origin.fingerprint, *MADE_OF_MNIST)
    return replace(_of_network("digits", network, origin), notes=(note,), learned=learned)


def per_channel(digits: Extractor) -> Extractor:
    """Extractor of StackedMNIST from one of digits.

    Features of the three channels are concatenated; the probability of a number is the product of
    those of its digits.
    """

    def take(images: Tensor) -> Features:
        parts = [digits(images[:, c : c + 1].contiguous()) for c in range(3)]
        features = torch.cat([part.features for part in parts], 1)
        a, b, c = (part.probabilities for part in parts if part.probabilities is not None)
        return Features(features, torch.einsum("ni,nj,nk->nijk", a, b, c).flatten(1))

    return replace(digits, name=f"{digits.name} x 3", classes=NUMBERS, spec=None, take=take)


def _other(of: str, like: Dataset, data_dir: Path | None, tell: Say) -> Dataset:
    """Load the data set `of`; pictures at a path in the size and channels of `like`."""
    if of in NAMES:
        return load_dataset(of, data_dir=data_dir)
    channels: Any = like.channels
    dataset = load_dataset(of, size=(like.height, like.width), channels=channels, data_dir=data_dir)
    for note in dataset.notes:
        tell(f"{of}: {note}")
    return dataset


def _of_network(name: str, network: Network, origin: Origin) -> Extractor:
    image = origin.image

    def take(images: Tensor) -> Features:
        if isinstance(network, Classifier):
            return Features(*network.predict(images))
        return Features(network.encode(images), None)

    size = image.height, image.width
    inner = inner_size(*size)
    return Extractor(
        name=name,
        sha256=origin.weights_sha256,
        classes=image.classes if origin.kind == "classifier" else (),
        spec=image,
        resize="none" if inner == size else f"area average to {inner[0]}x{inner[1]}",
        notes=_caveats(name, origin),
        take=take,
        learned=(origin.fingerprint,),
    )


def _caveats(name: str, origin: extractor_files.Origin) -> tuple[str, ...]:
    """Caveats beside scores of a network that was trained on the user's own data."""
    notes = [f"{name} learned from {origin.images:,} images of {origin.data}"]
    if origin.kind == "classifier" and origin.accuracy is None:
        notes[0] += " and was tested on no others: no class has ten"
    elif origin.accuracy is not None:
        notes[0] += f" and names {origin.accuracy:.1%} of {origin.held_out:,} others correctly"
        if origin.accuracy < MIN_ACCURACY:
            notes.append(f"{name} is often wrong: scores of classes mean little")
    if (n := origin.images) < MIN_TRAINING_IMAGES:
        notes.append(f"{n:,} images teach an extractor little: trust large differences only")
    return tuple(notes)


def _imagenet(dataset: Dataset) -> Extractor:
    network, digest = imagenet.load_judge()

    def take(images: Tensor) -> Features:
        return Features(imagenet.world_features(network, images), None)

    resize = imagenet.JUDGE_RESIZE
    resize += f", {imagenet.GROUNDS}" if dataset.channels == 4 else ""
    return Extractor("imagenet", digest, (), None, resize, (), take, finds_copies=True)


def _with_classes(features: Extractor, classifier: Extractor) -> Extractor:
    """Join the features of one extractor to the classes of another, which alone saw the data."""

    def take(images: Tensor) -> Features:
        return Features(features(images).features, classifier(images).probabilities)

    own = "so a perfect generator need not reach the floor's label accuracy"
    resize = f"; for classes {classifier.resize}" if classifier.resize != "none" else ""
    return replace(
        classifier,
        name=f"{features.name}+{classifier.name}",
        sha256=hashlib.sha256(f"{features.sha256} {classifier.sha256}".encode()).hexdigest(),
        resize=features.resize + resize,
        notes=(f"classes: {classifier.notes[0]}, {own}", *classifier.notes[1:]),
        take=take,
        learned=(),
        finds_copies=features.finds_copies,
    )


def _inception(path: Path | None, dataset: Dataset) -> Extractor:
    if dataset.channels == 4:
        other = "choose another extractor, or 3 channels"
        raise DataError(f"inception takes grey or RGB images, these are RGBA: {other}")
    network, weights = inception.load_inception(path)

    def take(images: Tensor) -> Features:
        return Features(*inception.predict(network, images))

    classes = tuple(f"output {k}" for k in range(inception.INCEPTION_CLASSES))
    text = f"torch-fidelity {inception.version()} {weights_sha256(weights)}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Extractor("inception", digest, classes, None, inception.RESIZE, (), take)
