"""What turns images into features that they are judged by: by name, or any object that maps images
to numbers.

    digits              a classifier that comes with the package, trained on MNIST: for 28x28 grey
    digits
    classifier:DATASET  a classifier of a labelled data set, trained on first use
    self:DATASET        an encoder of pictures without labels, trained on first use
    inception[:PATH]    the Inception network of published FIDs (the extra `inception`)
    FILE.safetensors    a network that `ganvas extractor` trained, or one of ganvas's cache

No figure compares across extractors, nor across other weights of the same one: `sha256` says which
these are.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ganvas.data import NAMES, load_dataset
from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, SettingError, nearest
from ganvas.evaluation import extractor_files, inception
from ganvas.evaluation.classifier import Classifier, inner_size
from ganvas.evaluation.fingerprint import identity
from ganvas.recipe import KINDS, ImageSpec
from ganvas.runs.weights import weights_sha256
from ganvas.system import seeding

DIGITS = Path(__file__).parent.parent / "assets" / "extractors" / "digits.safetensors"
# of its training images, in their training parts
MADE_OF_MNIST = ("mnist-5k", "stacked-mnist", "stacked-mnist-5k")
DIGIT_NAMES = tuple("0123456789")
CUSTOM_CHUNK = 500  # images that an object of the user's gets at a time
TRIED = 500  # labelled images that tell whether `digits` knows what they show
# mean probability of the likeliest digit: of digits 0.93, blurred or shifted, too, of clothes 0.78,
# noise 0.82
SURE = 0.88
MIN_TRAINING_IMAGES = 1000  # images: with less, a network's training is told of as a caveat
MIN_ACCURACY = 0.8  # accuracy: below it, what a classifier says of classes is told of as a caveat


class Features(NamedTuple):
    """features: float32 (N, D). probabilities: float32 (N, K) over the classes, rows sum to 1;
    None: it does not classify."""

    features: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True)
class Extractor:
    """A function from images to features, and what must be known of it to compare figures.

    sha256: of its weights, and of what else its features depend on. classes: the names of those it
    knows, () for none.
    spec: the images that it takes; None: any. resize: what it does to their size, for the protocol.
    notes: caveats to print
    beside figures. take: uint8 (N, C, H, W) -> Features, without gradients, always the same.
    certain: that features depend on
    nothing that sha256 does not tell: only then are they kept. learned: the data sets that it
    learned from, by their fingerprints, or by their names where these are ganvas's own.
    """

    name: str
    sha256: str
    classes: tuple[str, ...]
    spec: ImageSpec | None
    resize: str
    notes: tuple[str, ...]
    take: Callable[[Tensor], Features]
    certain: bool = True
    learned: tuple[str, ...] = ()

    def knows(self, dataset: Dataset) -> bool:
        """Whether it learned from these very images."""
        return not {dataset.fingerprint, dataset.name}.isdisjoint(self.learned)

    def __call__(self, images: Tensor) -> Features:
        """uint8 (N, C, H, W) -> Features of N rows. Raises DataError for images that it does not
        take."""
        if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0:
            found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            raise DataError(f"{self.name} takes images as uint8 (N, C, H, W), got {found}")
        if self.spec is not None:
            raise_if_unsuitable(self.name, self.spec, *images.shape[1:])
        return self.take(images)

    @classmethod
    def of(
        cls,
        judge: Callable[[Tensor], Any],
        *,
        name: str | None = None,
        classes: tuple[str, ...] = (),
        spec: ImageSpec | None = None,
        sha256: str | None = None,
    ) -> Extractor:
        """Any object that maps uint8 images (N, C, H, W) to features (N, D): a function, or a
        module, which is put into evaluation mode.

        judge: returns a tensor or array (N, D), or `Features`; it is called with CHUNK images at a
        time.
        sha256: by default `ganvas.evaluation.fingerprint.identity`. Give your own where features
        depend on more, such as a file, and to have the real images' features kept.
        """
        title = str(name or getattr(judge, "__name__", type(judge).__name__))
        if isinstance(judge, nn.Module):
            judge.eval()

        @torch.inference_mode()
        def take(images: Tensor) -> Features:
            parts = [
                _checked(judge(part), len(part), len(classes), title)
                for part in images.split(CUSTOM_CHUNK)
            ]
            features, probabilities = zip(*parts, strict=True)
            if len(widths := {each.shape[1] for each in features}) > 1:
                numbers = " and ".join(map(str, sorted(widths)))
                raise DataError(
                    f"{title} gave {numbers} features an image: expected the same number for all"
                    " images"
                )
            return Features(torch.cat(features), torch.cat(probabilities) if classes else None)

        digest = sha256 or identity(judge)
        return cls(title, digest, classes, spec, "its own", (), take, certain=sha256 is not None)


def find_extractor(
    name: str | None,
    dataset: Dataset,
    *,
    data_dir: Path | None = None,
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Extractor:
    """The extractor of this name, for images like those of `dataset`: the real ones trained on,
    with labels where they have them.

    None: what `default` says. `classifier` and
    `self` alone are those of `dataset`; another data set's take part with `:` and its name or path.
    They are trained on first use, which is told of in a line, and kept by the content of the data.
    Raises SettingError for an unknown name, DataError where the images do not suit, RunError for a
    damaged file.
    """
    kind, _, of = (default(dataset) if name is None else name).partition(":")
    if kind == "digits" and not of:
        return _shipped(dataset)
    if kind == "inception":
        return _inception(Path(of) if of else None, dataset)
    if kind.endswith(".safetensors") and not of:
        return _from_file(Path(kind), dataset)
    if kind not in ("classifier", "self"):
        known = ("digits", "classifier:DATASET", "self:DATASET", "inception")
        raise SettingError(f"no extractor is called {name!r}: {nearest(str(name), known)}")
    # a path is what lies there
    is_own = of == dataset.name and (of in NAMES or not Path(of).exists())
    source = dataset if is_own or not of else _other(of, dataset, data_dir, tell)
    title = f"{kind}:{of or dataset.name}"
    raise_if_unsuitable(
        title, ImageSpec.of(source), dataset.channels, dataset.height, dataset.width
    )
    if kind == "self":
        return _of_network(title, *extractor_files.from_cache("self", source, tell))
    if source.labels is None or len(source.classes) < 2:
        raise DataError(
            f"{source.name} has no classes to tell apart: judge with self:{of or dataset.name}, or"
            " give it labels"
        )
    return _of_network(title, *extractor_files.from_cache("classifier", source, tell))


def raise_if_unsuitable(name: str, spec: ImageSpec, channels: int, height: int, width: int) -> None:
    """Raises DataError where an extractor of this name takes images of another kind."""
    if (spec.channels, spec.height, spec.width) == (channels, height, width):
        return
    takes = f"{spec.height}x{spec.width} {KINDS[spec.channels]}"
    found = f"{height}x{width} {KINDS.get(channels, f'with {channels} channels')}"
    raise DataError(
        f"{name} takes images of {takes}, these are {found}: choose an extractor trained on such"
        " images, or bring them to its size and channels"
    )


def is_available(dataset: Dataset) -> bool:
    """Whether `find(None, dataset)` has nothing to train."""
    kind = default(dataset)
    return kind == "digits" or extractor_files.cached(kind, dataset).exists()


def default(dataset: Dataset) -> Literal["digits", "classifier", "self"]:
    """The kind of extractor that suits a data set's images: `digits` for what looks like digits and
    is labelled as such, or not at all, `classifier` for other labelled data, else `self`."""
    return "digits" if _of_digits(dataset) else "classifier" if len(dataset.classes) > 1 else "self"


def _of_digits(dataset: Dataset) -> bool:
    """Whether images are digits. Names do not tell: labels without names, as IDX files hold them,
    are called so, too."""
    if (dataset.channels, dataset.height, dataset.width) != (1, 28, 28):
        return False
    if dataset.labels is not None and not set(dataset.classes) <= set(DIGIT_NAMES):
        return False
    some = torch.randperm(len(dataset), generator=seeding.generator(0, "digits", 0))[:TRIED]
    probabilities = _shipped(dataset)(dataset.images[some]).probabilities
    assert probabilities is not None
    if dataset.labels is None:
        likeliest, found = probabilities.max(1)
        return float(likeliest.mean()) >= SURE and int(found.bincount().max()) <= len(some) / 2
    digits = torch.tensor([int(name) for name in dataset.classes])[dataset.labels[some]]
    return float((probabilities.argmax(1) == digits).double().mean()) >= MIN_ACCURACY


def _shipped(dataset: Dataset) -> Extractor:
    network, origin = extractor_files.read_extractor(DIGITS)
    raise_if_unsuitable("digits", origin.image, dataset.channels, dataset.height, dataset.width)
    notes = (
        (
            "digits learned from MNIST's 60,000 training images, of which all images of mnist-5k"
            " are part"
        ),
    )
    return replace(
        _of_network("digits", network, origin, notes), learned=(origin.fingerprint, *MADE_OF_MNIST)
    )


def _from_file(path: Path, dataset: Dataset) -> Extractor:
    network, origin = extractor_files.read_extractor(path)
    raise_if_unsuitable(path.name, origin.image, dataset.channels, dataset.height, dataset.width)
    return _of_network(path.name, network, origin)


def _other(of: str, like: Dataset, data_dir: Path | None, tell: Callable[[str], None]) -> Dataset:
    """The data set that an extractor is named after; pictures of a path are read as large as those
    to be judged."""
    if of in NAMES:
        return load_dataset(of, data_dir=data_dir)
    channels: Any = like.channels
    dataset = load_dataset(of, size=(like.height, like.width), channels=channels, data_dir=data_dir)
    for note in dataset.notes:
        tell(f"{of}: {note}")
    return dataset


def _of_network(
    name: str,
    network: extractor_files.Network,
    origin: extractor_files.Origin,
    notes: tuple[str, ...] | None = None,
) -> Extractor:
    image = origin.image

    def take(images: Tensor) -> Features:
        return (
            Features(*network.judge(images))
            if isinstance(network, Classifier)
            else Features(network.judge(images), None)
        )

    inner = inner_size(image.height, image.width)
    own = inner == (image.height, image.width)
    return Extractor(
        name=name,
        sha256=origin.weights_sha256,
        classes=image.classes if origin.kind == "classifier" else (),
        spec=image,
        resize="none" if own else f"area average to {inner[0]}x{inner[1]}",
        notes=_caveats(name, origin) if notes is None else notes,
        take=take,
        learned=(origin.fingerprint,),
    )


def _caveats(name: str, origin: extractor_files.Origin) -> tuple[str, ...]:
    """What to bear in mind beside figures taken with a network that was trained on the user's own
    data."""
    notes = [f"{name} learned from {origin.images:,} images of {origin.data}"]
    if origin.kind == "classifier":
        named = (
            f"names {origin.accuracy:.1%} of {origin.held_out:,} others rightly"
            if origin.accuracy is not None
            else ""
        )
        notes[0] += (
            f" and {named}" if named else " and could be tried on no others: no class has ten"
        )
        if origin.accuracy is not None and origin.accuracy < MIN_ACCURACY:
            notes.append(f"{name} is often wrong: what figures say of classes means little")
    if origin.images < MIN_TRAINING_IMAGES:
        notes.append(
            f"{origin.images:,} images teach an extractor little: trust large differences only"
        )
    return tuple(notes)


def _inception(path: Path | None, dataset: Dataset) -> Extractor:
    if dataset.channels == 4:
        raise DataError(
            "inception takes grey or RGB images, these are RGBA: choose another extractor, or 3"
            " channels"
        )
    network, weights = inception.load_inception(path)

    def take(images: Tensor) -> Features:
        return Features(*inception.judge(network, images))

    classes = tuple(f"output {k}" for k in range(inception.INCEPTION_CLASSES))
    digest = hashlib.sha256(
        f"torch-fidelity {inception.version()} {weights_sha256(weights)}".encode()
    ).hexdigest()
    return Extractor("inception", digest, classes, None, inception.RESIZE, (), take)


def _checked(given: Any, count: int, classes: int, name: str) -> tuple[Tensor, Tensor]:
    """What an object of the user's gave for `count` images, as float32 features and probabilities,
    (count, 0) for none."""
    features, probabilities = (
        given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    )
    if (probabilities is None) != (classes == 0):
        raise DataError(
            f"{name} has {classes} classes, but gives {'no' if classes else 'their'} probabilities:"
            " both or none"
        )
    rows = [
        _tensor(each, count, name)
        for each in (features, np.empty((count, 0)) if classes == 0 else probabilities)
    ]
    for each, columns in zip(rows, (None, classes), strict=True):
        if (
            each.ndim != 2
            or len(each) != count
            or each.shape[1] != (columns if columns is not None else each.shape[1])
        ):
            expected = f"({count}, {'D' if columns is None else columns})"
            raise DataError(
                f"{name} gave an array of the shape {tuple(each.shape)} for {count} images:"
                f" expected {expected}"
            )
    if rows[0].shape[1] == 0:
        raise DataError(
            f"{name} gave no features at all, an array of the shape {tuple(rows[0].shape)}:"
            " expected (N, D)"
        )
    return rows[0], rows[1]


def _tensor(given: Any, count: int, name: str) -> Tensor:
    """What an object of the user's gave for `count` images, as float32. Raises DataError for what
    holds no real numbers."""
    try:
        made = given if isinstance(given, Tensor) else torch.as_tensor(np.ascontiguousarray(given))
        kind = "complex numbers" if made.is_complex() else ""
    except (TypeError, ValueError, RuntimeError):
        kind = "None" if given is None else f"a {type(given).__name__} that is no array of numbers"
    if kind:
        raise DataError(
            f"{name} gave {kind} for {count} images: expected features as an array ({count}, D)"
        )
    return made.to("cpu", torch.float32)
