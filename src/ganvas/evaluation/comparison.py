"""A comparison of generated with real images: features, scores, floor, protocol and caveats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.stacked import NUMBERS
from ganvas.evaluation import metrics
from ganvas.evaluation.extractors import MIN_ACCURACY, Extractor, is_stacked
from ganvas.evaluation.inputs import Generated, Real
from ganvas.evaluation.result import EvaluationSettings, Protocol, Scores
from ganvas.evaluation.scores import (
    FeatureSet,
    compute_scores,
    extract_features,
    same_images_note,
)
from ganvas.runs.card import versions
from ganvas.sampling.samples import raise_if_too_many
from ganvas.system.progress import Say
from ganvas.system.text import count

MIN_REAL_IMAGES = 1000  # below it, a note says that scores are rough
FID_NOTE = "; the fewer images, the higher the FID"


class SeedScores(NamedTuple):
    """Scores of one sampling, the generated images, and notes."""

    scores: Scores
    images: Dataset
    notes: list[str]


class Floor(NamedTuple):
    """Scores of real images in place of generated ones, and notes."""

    scores: Scores
    notes: list[str]


@dataclass(frozen=True)
class Comparison:
    """Generated and real images, and the settings to compare them with.

    resize: changes to images before features are extracted, for the protocol.
    max_modes: images whose modes are counted, of StackedMNIST.
    tell: gets lines of progress.
    """

    generated: Generated
    real: Real
    extractor: Extractor
    settings: EvaluationSettings
    resize: str
    max_modes: int
    tell: Say

    def extract(self, dataset: Dataset, *, real: bool) -> FeatureSet:
        """Extract features; those of real images are cached if the extractor's hash is complete."""
        images = count(len(dataset), "image")
        self.tell(f"extracting features of {images} of {dataset.name} with {self.extractor.name}")
        return extract_features(dataset, self.extractor, cached=real and self.extractor.cacheable)

    @property
    def n_modes(self) -> int | None:
        """Number of images whose modes are counted; None unless these are stacks."""
        if self.extractor.classes != NUMBERS or not is_stacked(self.real.images):
            return None
        images = self.generated.images
        return self.max_modes if images is None else min(self.max_modes, len(images))

    @property
    def class_counts(self) -> Tensor | None:
        """Training images of each class, whose proportions are sampled in; None if unknown."""
        training = self.real.training
        if training is None or training.labels is None:
            return None
        if training.classes != self.generated.classes:
            return None
        return torch.bincount(training.labels, minlength=len(training.classes))

    def score_seed(self, real: FeatureSet, seed: int) -> SeedScores:
        """Sample with one seed and score the images.

        real: features of the real images.
        """
        n, sampler = self.settings.n, self.generated.sampler
        wanted = max(n, self.n_modes or 0)
        if sampler is not None:
            # before an hour's work: what it makes must fit into memory
            columns = real.features.shape[1] + len(self.extractor.classes)
            raise_if_too_many(sampler, wanted, more=12 * columns)
            self.tell(f"sampling {count(wanted, 'image')} with seed {seed}")
        part = seed - self.settings.seed
        images = self.generated.take(
            wanted, self.settings.seed, self.class_counts, part=part, least=n
        )
        features = self.extract(images, real=False)
        modes = None
        if self.n_modes:
            assert features.probabilities is not None
            numbers = features.probabilities[: self.n_modes].argmax(1)
            modes = metrics.modes(numbers, len(NUMBERS))
        if len(images) > n:
            images, features = images.rows(torch.arange(n)), features.first(n)
        scores, notes = compute_scores(real, features, self.extractor.classes, self.settings)
        if modes:
            scores = replace(scores, modes=modes.hit, reverse_kl=modes.reverse_kl)
        same = same_images_note("generated", images.images)
        return SeedScores(scores, images, [*([same] if same else []), *notes])

    def compute_floor(self, real: FeatureSet, n: int) -> Floor:
        """Score n real images in place of generated ones.

        real: features of the real images; taken again if only a half is compared with.
        """
        others, stand_ins = self.real.floor(n)
        if min(len(others), len(stand_ins)) < 2:
            few = (
                f"{count(len(others), 'real image')} and {len(stand_ins)} in place of generated"
                " ones are too few"
            )
            return Floor(Scores(), [f"no floor: {few}"])
        if others is not self.real.images:
            real = self.extract(others, real=True)
        features = self.extract(stand_ins, real=True)
        scores, caveats = compute_scores(real, features, self.extractor.classes, self.settings)
        notes = [f"floor: {note}" for note in caveats]
        if self.real.split != "test":
            notes.append(
                f"floor: {len(stand_ins):,} of the real images against {len(others):,} others, at"
                f" random{FID_NOTE}"
            )
        elif len(stand_ins) < n:
            few = count(len(stand_ins), "training image")
            notes.append(f"floor: only {few}, fewer than the {n:,} generated{FID_NOTE}")
        if self.extractor.knows(self.real.like if self.real.split == "test" else self.real.images):
            notes.append(
                f"floor: {self.extractor.name} learned from the very images that stand in for"
                " generated ones: a perfect generator may have a lower FID than this floor, and"
                " need not reach its label accuracy"
            )
        if self.n_modes:
            hit, kl = metrics.perfect_modes(self.n_modes, len(NUMBERS))
            scores = replace(scores, modes=hit, reverse_kl=kl)
            notes.append("floor: modes and reverse_kl are those of a perfect sampler, simulated")
        return Floor(scores, notes)

    def protocol(self, n_fake: int) -> Protocol:
        """The protocol of scores of n_fake generated images."""
        real, settings = self.real.images, self.settings
        conditional = self.generated.sampler is not None and bool(self.generated.classes)
        return Protocol(
            extractor=self.extractor.name,
            extractor_sha256=self.extractor.sha256,
            n_real=len(real),
            n_fake=n_fake,
            n_prdc=min(settings.prdc_n, len(real), n_fake),
            k=settings.k,
            n_modes=self.n_modes,
            split=self.real.split,
            resize=self.resize,
            data=real.name,
            real_sha256=real.fingerprint,
            seed=settings.seed,
            asked_classes="equal" if conditional and self.class_counts is None else "",
            versions=versions(),
        )

    def caveats(self, real_accuracy: float | None) -> list[str]:
        """Notes on the data and the extractor.

        real_accuracy: of the extractor on the real images; None if unknown.
        """
        real, generated, extractor = self.real.images, self.generated, self.extractor
        notes = [
            *self.real.notes,
            *(self.real.training or real).notes,
            *real.notes,
            *extractor.notes,
            *(generated.images.notes if generated.images else ()),
        ]
        if self.real.split != "test" and extractor.knows(real):
            notes.append(
                f"{extractor.name} learned from the real images compared with: other real images"
                " would differ from them, too"
            )
        if len(real) < MIN_REAL_IMAGES:
            notes.append(f"{count(len(real), 'real image')} only: scores are rough")
        if note := same_images_note("real", real.images):
            notes.append(note)
        if not extractor.classes:
            notes.append(
                f"{extractor.name} knows no classes: no inception_score, class_kl or label_accuracy"
            )
        elif unknown := set(generated.classes) - set(extractor.classes):
            notes.append(
                f"no label_accuracy: {extractor.name} does not know the images' classes"
                f" {', '.join(sorted(unknown))[:100]}"
            )
        if real_accuracy is not None and real_accuracy < MIN_ACCURACY:
            notes.append(
                f"{extractor.name} names only {real_accuracy:.1%} of the real images correctly:"
                " scores of classes mean little; choose another --extractor"
            )
        return notes
