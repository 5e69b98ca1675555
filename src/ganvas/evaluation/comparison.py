"""A comparison of generated with real images: features, scores, floor, protocol and caveats."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.decoding.kinds import lossy_kinds
from ganvas.data.stacked import NUMBERS
from ganvas.evaluation import metrics
from ganvas.evaluation.copies import CopyFeatures
from ganvas.evaluation.extractors import MIN_ACCURACY, Extractor, is_stacked
from ganvas.evaluation.inputs import Generated, Real
from ganvas.evaluation.result import EvaluationSettings, Protocol, Scores
from ganvas.evaluation.scores import FeatureSet, compute_scores, extract_features, same_images_notes
from ganvas.runs.card import versions
from ganvas.sampling.samples import raise_if_too_many
from ganvas.system.progress import Say
from ganvas.system.text import count

MIN_REAL_IMAGES = 1000  # below it, a note says that scores are rough
FID_NOTE = "; the fewer images, the higher the FID"


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
        images = f"{count(len(dataset), 'image')} of {dataset.name}"
        self.tell(f"extracting features of {images} with {self.extractor.name}")
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
        data, classes = self.real.training, self.generated.classes
        if data is None or data.labels is None or data.classes != classes:
            return None
        return torch.bincount(data.labels, minlength=len(classes))

    def score_seed(
        self, real: FeatureSet, seed: int
    ) -> tuple[Scores, Dataset, FeatureSet, list[str]]:
        """Sample with one seed and score the images.

        real: features of the real images.
        Returns scores, the generated images, their features, and notes.
        """
        n, sampler = self.settings.n, self.generated.sampler
        wanted = max(n, self.n_modes or 0)
        if sampler is not None:
            # before an hour's work: what it makes must fit into memory
            columns = real.features.shape[1] + len(self.extractor.classes)
            raise_if_too_many(sampler, wanted, more=12 * columns)
            self.tell(f"sampling {count(wanted, 'image')} with seed {seed}")
        start = self.settings.seed
        images = self.generated.take(wanted, start, self.class_counts, part=seed - start, least=n)
        features = self.extract(images, real=False)
        if len(images) > n:
            images = images.rows(torch.arange(n))
        classes = self.extractor.classes
        first = features.first(n)
        scores, notes = compute_scores(real, first, classes, self.settings)
        if self.n_modes:
            assert features.probabilities is not None
            numbers = features.probabilities[: self.n_modes].argmax(1)
            hit, kl = metrics.modes(numbers, len(NUMBERS))
            scores = replace(scores, modes=hit, reverse_kl=kl)
        return scores, images, first, same_images_notes("generated", images.images) + notes

    def copy_features(self, fakes: FeatureSet) -> CopyFeatures:
        """Features of all that the copy check compares. fakes: of the generated images."""
        named = {"training": self.real.training, "held-out": self.real.held_out}
        sets = {
            name: self.extract(dataset, real=True).features
            for name, dataset in named.items()
            if dataset is not None
        }
        sets["fakes"] = fakes.features
        return CopyFeatures(self.extractor.name, lambda x: self.extractor(x).features, sets)

    def compute_floor(self, real: FeatureSet, n: int) -> tuple[Scores, list[str]]:
        """Score n real images in place of generated ones. Returns the scores, and notes.

        real: features of the real images; taken again if only a half is compared with.
        """
        others, stand_ins = self.real.floor(n)
        if min(len(others), len(stand_ins)) < 2:
            few = f"{count(len(others), 'real image')} and {len(stand_ins)} in place of generated"
            return Scores(), [f"no floor: {few} ones are too few"]
        if others is not self.real.images:
            real = self.extract(others, real=True)
        features = self.extract(stand_ins, real=True)
        scores, notes = compute_scores(real, features, self.extractor.classes, self.settings)
        if self.real.split != "test":
            halves = f"{len(stand_ins):,} of the real images against {len(others):,} others"
            notes.append(f"{halves}, at random{FID_NOTE}")
        elif len(stand_ins) < n:
            few = count(len(stand_ins), "training image")
            notes.append(f"only {few}, fewer than the {n:,} generated{FID_NOTE}")
        if self.extractor.knows(self.real.like if self.real.split == "test" else self.real.images):
            notes.append(
                f"{self.extractor.name} learned from the very images that stand in for generated"
                " ones: a perfect generator may have a lower FID than this floor, and need not"
                " reach its label accuracy"
            )
        if self.n_modes:
            hit, kl = metrics.perfect_modes(self.n_modes, len(NUMBERS))
            scores = replace(scores, modes=hit, reverse_kl=kl)
            notes.append("modes and reverse_kl are those of a perfect sampler, simulated")
        return scores, [f"floor: {note}" for note in notes]

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
            real_files=real.files,
            fake_files=self.generated.files,
            versions=versions(),
        )

    def caveats(self, real_accuracy: float | None) -> list[str]:
        """Notes on the data and the extractor.

        real_accuracy: of the extractor on the real images; None if unknown.
        """
        real, generated, extractor = self.real.images, self.generated, self.extractor
        name = extractor.name
        notes = [
            *self.real.notes,
            *(self.real.training or real).notes,
            *real.notes,
            *extractor.notes,
            *(generated.images.notes if generated.images else ()),
        ]
        if self.real.split != "test" and extractor.knows(real):
            rough = "other real images would differ from them, too"
            notes.append(f"{name} learned from the real images compared with: {rough}")
        losses = lossy_kinds(real.files), lossy_kinds(generated.files)
        if losses[0] != losses[1]:
            lossy = " against ".join(loss or "files without loss" for loss in losses)
            notes.append(
                f"real images of {lossy}: what such files lose changes every score; compare images"
                " that were stored alike"
            )
        if len(real) < MIN_REAL_IMAGES:
            notes.append(f"{count(len(real), 'real image')} only: scores are rough")
        notes += same_images_notes("real", real.images)
        if not extractor.classes:
            notes.append(f"{name} knows no classes: no inception_score, class_kl or label_accuracy")
        elif unknown := set(generated.classes) - set(extractor.classes):
            names = ", ".join(sorted(unknown))[:100]
            notes.append(f"no label_accuracy: {name} does not know the images' classes {names}")
        if real_accuracy is not None and real_accuracy < MIN_ACCURACY:
            notes.append(
                f"{name} names only {real_accuracy:.1%} of the real images correctly: scores of"
                " classes mean little; choose another --extractor"
            )
        return notes
