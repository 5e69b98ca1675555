"""Features of real and generated images, and the scores of one against the other.

A score that would mean nothing is None, with a note that says why; what points to a mistake raises.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.errors import MetricError, RunError
from ganvas.evaluation import metrics
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.evaluation.result import EvaluationSettings, Scores
from ganvas.runs.weights import read_safetensors, weights_sha256, write_safetensors
from ganvas.system import seeding
from ganvas.system.paths import cache_dir
from ganvas.system.text import count, first_few

CACHE_FORMAT = 1  # part of every key of the cache
MIN_INCEPTION_IMAGES = 1000  # a hundred for each of an inception score's ten parts
PART_SEED = 0  # of the images chosen for precision, recall, density and coverage


class FeatureSet(NamedTuple):
    """Features of N images, with what the extractor's classes say of them.

    features: float32 (N, D).
    probabilities: float32 (N, K) over the extractor's classes, or None.
    labels: int64 (N,), indices into the extractor's classes, or None.
    """

    features: Tensor
    probabilities: Tensor | None
    labels: Tensor | None

    def first(self, n: int) -> FeatureSet:
        """The first n images."""
        features, *others = self
        return FeatureSet(features[:n], *(None if part is None else part[:n] for part in others))

    @property
    def correct(self) -> Tensor | None:
        """float64 (N,): 1 where the likeliest class is the label; None without either."""
        if self.labels is None or self.probabilities is None:
            return None
        return (self.probabilities.argmax(1) == self.labels).double()


@dataclass(frozen=True)
class _CacheCard:
    weights_sha256: str


def extract_features(dataset: Dataset, extractor: Extractor, *, cached: bool = False) -> FeatureSet:
    """Extract features of a data set's images; labels are matched by class name.

    cached: keep the features, or take them from the cache, by the images' content and the
        extractor's hash.

    Raises MetricError for features that are not finite, DataError for images that the extractor
    does not take.
    """
    made = _cached(dataset, extractor) if cached else extractor(dataset.images)
    name = extractor.name
    for values in made:
        if values is not None and len(values) != len(dataset):
            rows = f"{len(values)} rows for {count(len(dataset), 'image')}"
            raise MetricError(f"{name} gives {rows} of {dataset.name}: expected one each")
        if values is not None and not values.isfinite().all():
            what = f"features of {dataset.name} that are not finite"
            raise MetricError(f"{name} gives {what}: correct it, or choose another")
    return FeatureSet(*made, labels_in(dataset, extractor.classes))


def labels_in(dataset: Dataset, classes: tuple[str, ...]) -> Tensor | None:
    """Labels as indices into `classes`, by name; None without labels or if a class is missing."""
    if dataset.labels is None or not set(dataset.classes) <= set(classes):
        return None
    index = {name: k for k, name in enumerate(classes)}
    return torch.tensor([index[name] for name in dataset.classes])[dataset.labels]


def _cached(dataset: Dataset, extractor: Extractor) -> Features:
    """Features from the cache, or extracted and kept.

    A damaged file is replaced; a disk that refuses is ignored.
    """
    settings = repr((CACHE_FORMAT, tuple(dataset.images.shape), extractor.sha256))
    digest = hashlib.sha256(settings.encode())
    digest.update(dataset.images.contiguous().numpy().data)
    path = cache_dir() / "features" / f"{digest.hexdigest()}.safetensors"
    with suppress(RunError, KeyError):
        tensors, _ = read_safetensors(path, _CacheCard, CACHE_FORMAT, "")
        return Features(tensors["features"], tensors.get("probabilities"))
    made = extractor(dataset.images)
    named = made._asdict().items()
    tensors = {name: value.contiguous() for name, value in named if value is not None}
    card = msgspec.json.encode(_CacheCard(weights_sha256(tensors))).decode()
    with suppress(RunError):
        write_safetensors(path, tensors, card)
    return made


def compute_scores(
    real: FeatureSet, fake: FeatureSet, classes: tuple[str, ...], settings: EvaluationSettings
) -> tuple[Scores, list[str]]:
    """Compute all scores but the modes, and notes on those that mean nothing or little.

    classes: the extractor's.
    Raises MetricError for a single image.
    """
    notes = []
    for name, features in (("real", real.features), ("generated", fake.features)):
        n = len(features)
        if n < 2:
            raise MetricError(f"1 {name} image: scores compare sets, give at least 2")
        if (features == features[0]).all():
            notes.append(f"all {n:,} {name} images have the same features: scores mean little")
    smaller = min(len(real.features), len(fake.features))

    # Precision, recall, density and coverage, of some images of each set
    near, n = None, min(settings.prdc_n, smaller)
    if n > settings.k:
        near = metrics.prdc(_part(real.features, n), _part(fake.features, n), settings.k)
    else:
        few = f"{n} images of each set are too few for {settings.k} neighbours"
        notes.append(f"no precision, recall, density, coverage: {few}")

    # KID; subsets of at most half of a set, since its spread says nothing if they are alike
    size = min(metrics.SUBSET, max(2, smaller // 2))
    if size < metrics.SUBSET:
        subsets = f"subsets of {size:,} images instead of {metrics.SUBSET:,}"
        notes.append(f"kid_std is of {subsets}: the smaller set has {smaller:,}")
    kernel = metrics.kid(real.features, fake.features, size=size)

    inception = _inception_score(fake, notes)
    scores = Scores(
        fid=_frechet(real, fake, notes),
        kid=kernel.mean,
        kid_std=kernel.std if smaller > size else None,
        inception_score=inception and inception.mean,
        inception_score_std=inception and inception.std,
        **(near._asdict() if near else {}),
        class_kl=_class_kl(real, fake, classes, notes),
        label_accuracy=None if fake.correct is None else float(fake.correct.mean()),
        per_class=_per_class(fake, classes),
    )
    return scores, notes


def _inception_score(fake: FeatureSet, notes: list[str]) -> metrics.Spread | None:
    if fake.probabilities is None:
        return None
    n = len(fake.features)
    if n < MIN_INCEPTION_IMAGES:
        bound = f"cannot exceed {math.ceil(n / 10)}, and is too low below {MIN_INCEPTION_IMAGES:,}"
        notes.append(f"inception_score is of {n:,} images in ten parts: it {bound}")
    return metrics.inception_score(_part(fake.probabilities, n))


def _frechet(real: FeatureSet, fake: FeatureSet, notes: list[str]) -> float | None:
    try:
        return metrics.frechet(real.features, fake.features)
    except MetricError as error:
        notes.append(f"no fid: {error}")
        return None


def _part(features: Tensor, n: int) -> Tensor:
    """Choose n random rows, the same ones for equal numbers: images often come sorted by class."""
    rows = torch.randperm(len(features), generator=seeding.generator(PART_SEED, "part", 0))
    return features[rows[:n]]


def _class_kl(
    real: FeatureSet, fake: FeatureSet, classes: tuple[str, ...], notes: list[str]
) -> float | None:
    """KL divergence of predicted classes, predicted for both sets so that errors are in both."""
    if real.probabilities is None or fake.probabilities is None:
        return None
    predicted = fake.probabilities.argmax(1)
    expected = torch.bincount(real.probabilities.argmax(1), minlength=len(classes))
    value = metrics.histogram_kl(predicted, expected)
    if math.isinf(value):
        missing = first_few(classes[int(c)] for c in predicted.unique() if expected[c] == 0)
        notes.append(f"no class_kl: it is infinite, since no real image looks like {missing}")
        return None
    return value


def _per_class(fake: FeatureSet, classes: tuple[str, ...]) -> dict[str, float | None] | None:
    if fake.correct is None or fake.labels is None:
        return None
    groups = {name: fake.correct[fake.labels == c] for c, name in enumerate(classes)}
    return {name: float(each.mean()) if len(each) else None for name, each in groups.items()}


def same_images_notes(name: str, images: Tensor) -> list[str]:
    """Note on images, uint8 (N, ...), that are not all different."""
    distinct = len({hash(image.numpy().tobytes()) for image in images})
    if distinct == len(images):
        return []
    if distinct > 1:
        return [f"only {distinct:,} of {len(images):,} {name} images are different"]
    same = "one and the same" if images[0].any() else "one and the same black"
    return [f"all {len(images):,} {name} images are {same} image: scores mean little"]
