"""Two sides, real and generated, as an extractor sees them, and every figure that tells them apart.

What would mean nothing is None, with a note that says why; what points to a mistake raises.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.errors import MetricError, RunError
from ganvas.evaluation import metrics
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.evaluation.result import Scores
from ganvas.runs.weights import weights_sha256
from ganvas.system import files, seeding
from ganvas.system.paths import cache_dir
from ganvas.system.text import count, first_few

CACHE_FORMAT = 1  # part of every key: what is cached under another is not read
MIN_IMAGES = 1000  # images, below which figures are rough
MIN_INCEPTION_IMAGES = 1000  # images, of which an inception score's ten parts are of a hundred
PART_SEED = 0  # of which images stand for all where neighbours are counted


class FeatureSet(NamedTuple):
    """Images as an extractor sees them.

    features: float32 (N, D). probabilities: float32 (N, K) over the extractor's classes, or None.
    labels: int64 (N,), indices into the extractor's classes, or None.
    """

    features: Tensor
    probabilities: Tensor | None
    labels: Tensor | None


def extract(dataset: Dataset, extractor: Extractor, *, cached: bool = False) -> FeatureSet:
    """A data set's images as a side; its labels are translated by the classes' names.

    cached: keep the features, and take them from the cache where they are, by the images' content
    and the extractor's hash.
    Raises MetricError for features that are not finite, DataError for images that do not suit the
    extractor.
    """
    features, probabilities = _cached(dataset, extractor) if cached else extractor(dataset.images)
    for values in (features, probabilities):
        if values is None:
            continue
        if len(values) != len(dataset):
            rows = f"{len(values)} rows for {count(len(dataset), 'image')}"
            raise MetricError(f"{extractor.name} gives {rows} of {dataset.name}: expected one each")
        if not bool(values.isfinite().all()):
            raise MetricError(
                f"{extractor.name} gives features of {dataset.name} that are not finite: mend it,"
                " or choose another"
            )
    return FeatureSet(features, probabilities, labels_in(dataset, extractor.classes))


def labels_in(dataset: Dataset, classes: tuple[str, ...]) -> Tensor | None:
    """The data set's labels as indices into `classes`, by name; None where it has none, or one
    whose name is not there."""
    if dataset.labels is None or not set(dataset.classes) <= set(classes):
        return None
    places = {name: k for k, name in enumerate(classes)}
    return torch.tensor([places[name] for name in dataset.classes])[dataset.labels]


def _cached(dataset: Dataset, extractor: Extractor) -> Features:
    """Features from the cache, or made and put there. A damaged file is made anew; a disk that
    refuses is no matter."""
    digest = hashlib.sha256(
        repr((CACHE_FORMAT, tuple(dataset.images.shape), extractor.sha256)).encode()
    )
    digest.update(dataset.images.contiguous().numpy().data)
    path = cache_dir() / "features" / f"{digest.hexdigest()}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if (file.metadata() or {}).get("sha256") == weights_sha256(tensors):
                return Features(tensors["features"], tensors.get("probabilities"))
    except (SafetensorError, OSError, KeyError):
        pass
    made = extractor(dataset.images)
    tensors = {
        name: value.contiguous() for name, value in made._asdict().items() if value is not None
    }
    with suppress(RunError):
        files.write(path, safetensors.torch.save(tensors, {"sha256": weights_sha256(tensors)}))
    return made


def compute_scores(
    real: FeatureSet, fake: FeatureSet, classes: tuple[str, ...], *, prdc_n: int, k: int
) -> tuple[Scores, tuple[str, ...]]:
    """Every figure of two sides but the modes, and notes on those that mean nothing.

    classes: the extractor's. prdc_n: how many of each side precision, recall, density and coverage
    are taken from, the same of a side every time.
    Raises MetricError for a side of a single image.
    """
    for name, one in (("real", real), ("generated", fake)):
        if len(one.features) < 2:
            raise MetricError(f"1 {name} image: figures are of sets, give 2 or more")
    notes = [
        f"all {len(one.features):,} {name} images have the same features: figures of them mean"
        " little"
        for name, one in (("real", real), ("generated", fake))
        if bool((one.features == one.features[0]).all())
    ]
    n = min(prdc_n, len(real.features), len(fake.features))
    near = None
    if n > k:
        near = metrics.prdc(_part(real.features, n), _part(fake.features, n), k)
    else:
        notes.append(
            f"no precision, recall, density, coverage: {n} images of a side are too few for {k}"
            " neighbours"
        )
    smaller = min(len(real.features), len(fake.features))
    # At most half of a side: of subsets that are alike, the spread says nothing.
    size = min(metrics.SUBSET, max(2, smaller // 2))
    if size < metrics.SUBSET:
        notes.append(
            f"kid_std is of subsets of {size:,} images, where {metrics.SUBSET:,} are usual: a side"
            f" has {smaller:,}"
        )
    if fake.probabilities is not None and len(fake.features) < MIN_INCEPTION_IMAGES:
        notes.append(
            f"inception_score is of {len(fake.features):,} images in ten parts: it cannot exceed "
            f"{math.ceil(len(fake.features) / 10)}, and is too low below {MIN_INCEPTION_IMAGES:,}"
        )
    kernel = metrics.kid(real.features, fake.features, size=size)
    sure = (
        None
        if fake.probabilities is None
        else metrics.inception_score(_part(fake.probabilities, len(fake.features)))
    )
    accuracy, per_class = _accuracy(fake, classes)
    figures = Scores(
        fid=_frechet(real, fake, notes),
        kid=kernel.mean,
        kid_std=kernel.std if smaller > size else None,
        inception_score=sure and sure.mean,
        inception_score_std=sure and sure.std,
        **(near._asdict() if near else {}),
        class_kl=_class_kl(real, fake, classes, notes),
        label_accuracy=accuracy,
        per_class=per_class,
    )
    return figures, tuple(notes)


def _frechet(real: FeatureSet, fake: FeatureSet, notes: list[str]) -> float | None:
    try:
        return metrics.frechet(real.features, fake.features)
    except MetricError as error:
        notes.append(f"no fid: {error}")
        return None


def _part(features: Tensor, n: int) -> Tensor:
    """n rows at random, always the same ones of so many: images often come sorted by class."""
    return features[
        torch.randperm(len(features), generator=seeding.generator(PART_SEED, "part", 0))[:n]
    ]


def _class_kl(
    real: FeatureSet, fake: FeatureSet, classes: tuple[str, ...], notes: list[str]
) -> float | None:
    """Of the classes that the extractor sees on both sides, so that its errors are on both."""
    if real.probabilities is None or fake.probabilities is None:
        return None
    seen = fake.probabilities.argmax(1)
    expected = torch.bincount(real.probabilities.argmax(1), minlength=len(classes))
    value = metrics.histogram_kl(seen, expected)
    if math.isinf(value):
        strange = first_few(classes[int(c)] for c in seen.unique() if expected[c] == 0)
        notes.append(
            f"no class_kl: it is infinite, as among the real images nothing looks like {strange}"
        )
        return None
    return value


def _accuracy(
    fake: FeatureSet, classes: tuple[str, ...]
) -> tuple[float | None, dict[str, float | None] | None]:
    if fake.labels is None or fake.probabilities is None:
        return None, None
    right = (fake.probabilities.argmax(1) == fake.labels).double()
    per_class: dict[str, float | None] = {}
    for c in range(len(classes)):
        own = right[fake.labels == c]
        per_class[classes[c]] = float(own.mean()) if len(own) else None
    return float(right.mean()), per_class


def same_images_note(name: str, images: Tensor) -> str | None:
    """What to say where images uint8 (N, ...) are not all different."""
    distinct = len({hash(image.numpy().tobytes()) for image in images})
    if distinct == len(images):
        return None
    if distinct == 1:
        black = " black" if not bool(images[0].any()) else ""
        return (
            f"all {len(images):,} {name} images are one and the same{black} image: figures of a set"
            " mean little"
        )
    return f"only {distinct:,} of {len(images):,} {name} images are different"
