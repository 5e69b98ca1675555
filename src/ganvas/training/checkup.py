"""Checkups: figures of samples and of D's scores that show the health of a training.

A training has ten to fifty, each with a line of its log, and fewer if it sees fewer than 10,000
images; `ganvas doctor` adds one. A checkup changes nothing: the networks run in inference mode
without gradients, and its random draws are its own.

Distances are Euclidean, between pixels in [0, 1] of images averaged down to at most 32 a side
(`copies.reduced`).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.doctor.artefacts import MIN_LOOKED_AT, Look, artefact_figures
from ganvas.doctor.rules import MAX_COMPARED
from ganvas.evaluation.copies import reduced
from ganvas.evaluation.metrics import histogram_kl, squared_distances
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.sheets import sheet_classes
from ganvas.system import seeding
from ganvas.training.augment import memorised_share
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner

SAMPLES = 64  # of the run's fixed latents
# classes of a conditional GAN that are sampled: few enough to compare samples within each
CHECKUP_CLASSES = 8
MIN_HELD_OUT = 20  # held-out images: fewer say too little
ASKED = 128  # real images of each kind that D scores
# share of real images whose nearest neighbour is of their class, from which on the nearest
# neighbour gives a sample's class
TELLING = 0.7
CHECKUP_CHUNK = 64  # images averaged down at a time


class Reals(NamedTuple):
    """Real images to compare with.

    which: int64 (N,), their indices in the data set.
    pixels: float32 (N, D), averaged down.
    labels: int64 (N,), None without classes.
    images: the first ASKED of them, uint8 (M, C, H, W).
    """

    which: Tensor
    pixels: Tensor
    labels: Tensor | None
    images: Tensor

    @classmethod
    def of(cls, dataset: Dataset, among: Tensor, seed: int) -> Reals:
        """Choose up to MAX_COMPARED images of a data set, of those with indices `among`."""
        rng = seeding.generator(seed, "checkup", len(dataset))
        chosen = among[torch.randperm(len(among), generator=rng)[:MAX_COMPARED]]
        parts = [reduced(dataset.images[some]).flatten(1) for some in chosen.split(CHECKUP_CHUNK)]
        labels = None if dataset.labels is None else dataset.labels[chosen]
        return cls(chosen, torch.cat(parts), labels, dataset.images[chosen[:ASKED]])


class Layout(NamedTuple):
    """Classes of the samples and the images that they are compared with.

    labels: one for each sample, None for an unconditional GAN.
    groups: indices of samples and of the real images of their class.
    """

    labels: Tensor | None
    groups: list[tuple[Tensor, Tensor]]


class Checkup:
    """Checkups of one training. Call it for the figures of the current networks.

    held_out: the held-out part of the data; None to use the images that adaptive augmentation
        keeps from training.
    """

    def __init__(
        self, learner: Learner, batches: Batches, sampler: Sampler, held_out: Dataset | None
    ) -> None:
        self.learner, self.batches, self.sampler = learner, batches, sampler
        self.held_out, self.seed = held_out, batches.seed

    @cached_property
    def known(self) -> Reals:
        """Training images."""
        return Reals.of(self.batches.dataset, self.batches.known, self.seed)

    @cached_property
    def held(self) -> Reals | None:
        """Images that D is not trained on; None if they are too few."""
        dataset, among = self.batches.dataset, self.batches.held
        if self.held_out is not None:
            dataset, among = self.held_out, torch.arange(len(self.held_out))
        return Reals.of(dataset, among, self.seed) if len(among) >= MIN_HELD_OUT else None

    def __call__(self) -> dict[str, float]:
        """Return the figures by name. Those that cannot be computed or are not finite are left out.

        Of samples:

        diversity: mean distance of two samples (of one class, if the GAN is conditional), over that
            of two real images.
        least_diversity: the same in the class where it is lowest, if the GAN is conditional.
        apart: mean distance of a sample to the nearest other one, over that of as many real images.
        nearest: mean distance of a sample to the nearest training image, over that of a held-out
            image.
        copying: ratio of a sample's distances to the nearest training and the nearest held-out
            image, over the same ratio of held-out images: 1 for a generator that knows no more of
            one set than of the other, 0 for copies.
        class_kl: KL divergence, in nats, of the samples' classes from those of the training images
            (or from those asked for). A sample has the class of the nearest training image, so the
            figure exists only where this is right for most real images (TELLING).

        and those of `artefact_figures`, for images of MIN_LOOKED_AT pixels a side or more.

        Of D:

        d_known, d_held: its mean scores of training and of held-out images.
        memorised: mean sign of the difference of its logits over pairs of a training and a held-out
            image: 0 if it cannot tell them apart, 1 if it always scores the training image higher.
        d_separation: the same over pairs of a training image and a sample.
        """
        fakes = self._samples()
        figures = self._sample_figures(fakes) | self._artefacts(fakes) | self._d_figures(fakes)
        return _finite(figures)

    def of_all(self) -> dict[str, float]:
        """Return `nearest` and `copying` over all training images, as nearest_of_all and
        copying_of_all: the images that are copied need not be among MAX_COMPARED of them.

        Empty if there are no more than these. The time grows with their number.
        """
        dataset, indices = self.batches.dataset, self.batches.known
        if len(indices) <= MAX_COMPARED:
            return {}
        samples, held = reduced(self._samples()).flatten(1), self.held
        rows = torch.cat([samples, (self.known if held is None else held).pixels[:ASKED]])
        near = torch.full((len(rows), 2), math.inf)
        for some in indices.split(CHECKUP_CHUNK):
            pixels = reduced(dataset.images[some]).flatten(1)
            near = torch.cat([near, distances(rows, pixels)], 1).topk(2, largest=False).values
        to_known = near[: len(samples), 0]
        # a training image is the nearest to itself
        usual = near[len(samples) :, 1 if held is None else 0]
        figures = {"nearest_of_all": _over(float(to_known.mean()), float(usual.mean()))}
        if held is not None:
            ratio = _log_ratio(to_known, distances(samples, held.pixels).min(1).values)
            figures["copying_of_all"] = math.exp(ratio - _log_ratio(usual, _to_others(held.pixels)))
        return _finite(figures)

    def _samples(self) -> Tensor:
        """Generate the samples, uint8 (SAMPLES, C, H, W)."""
        labels = None if self.layout.labels is None else self.layout.labels.tolist()
        return self.sampler(range(SAMPLES), seed=self.seed, labels=labels).permute(0, 3, 1, 2)

    @cached_property
    def layout(self) -> Layout:
        everything = torch.arange(SAMPLES), torch.arange(min(len(self.known.pixels), 4 * SAMPLES))
        if not (classes := len(self.sampler.classes)):
            return Layout(None, [everything])
        some = min(classes, CHECKUP_CLASSES)
        shown = sheet_classes(some, classes)
        labels = torch.tensor([shown[k % some] for k in range(SAMPLES)])
        known = self.known.labels
        assert known is not None
        places = [[(each == k).nonzero().flatten() for each in (labels, known)] for k in shown]
        groups = [(made, real[: 2 * SAMPLES // some]) for made, real in places if len(real) > 1]
        return Layout(labels, groups or [everything])

    @cached_property
    def spreads(self) -> list[float]:
        """The mean distance of two real images in each group."""
        return [_spread(self.known.pixels[real]) for _, real in self.layout.groups]

    @cached_property
    def usual(self) -> dict[str, float]:
        """The same figures of real images, by which those of samples are divided."""
        known = self.known.pixels
        spread = self.spreads
        apart = float(_to_others(known[:SAMPLES]).mean()) if len(known) >= SAMPLES else math.nan
        usual = {"spread": sum(spread) / len(spread), "apart": apart}
        if self.held is None:
            usual["nearest"] = float(_to_others(known).mean()) if len(known) > 1 else math.nan
            return usual
        held = self.held.pixels
        to_known = distances(held[:ASKED], known).min(1).values
        usual["nearest"] = float(to_known.mean())
        usual["ratio"] = _log_ratio(to_known, _to_others(held))
        return usual

    def _sample_figures(self, fakes: Tensor) -> dict[str, float]:
        samples, figures = reduced(fakes).flatten(1), {}
        spread = [_spread(samples[rows]) for rows, _ in self.layout.groups]
        figures["diversity"] = _over(sum(spread) / len(spread), self.usual["spread"])
        if self.layout.labels is not None:
            of_each = map(_over, spread, self.spreads)
            figures["least_diversity"] = min(filter(math.isfinite, of_each), default=math.nan)
        figures["apart"] = _over(float(_to_others(samples).mean()), self.usual["apart"])
        to_known = distances(samples, self.known.pixels).min(1).values
        figures["nearest"] = _over(float(to_known.mean()), self.usual["nearest"])
        if self.held is not None:
            ratio = _log_ratio(to_known, distances(samples, self.held.pixels).min(1).values)
            figures["copying"] = math.exp(ratio - self.usual["ratio"])
        if self.known.labels is not None and self.tells_classes:
            figures["class_kl"] = self._class_kl(samples, self.known.labels)
        return figures

    def _artefacts(self, fakes: Tensor) -> dict[str, float]:
        if min(fakes.shape[2:]) < MIN_LOOKED_AT:
            return {}
        made = torch.cat([rows for rows, _ in self.layout.groups])
        return artefact_figures(Look.of(fakes[made]), self.real_look)

    @cached_property
    def real_look(self) -> Look:
        """Statistics of training images, equally many of each class that is sampled, as D sees
        them: mirrored ones, too, where it does."""
        groups = self.layout.groups
        each = torch.arange(max(len(real) for _, real in groups))
        rows = torch.cat([real[each % len(real)] for _, real in groups])
        images = self.batches.dataset.images[self.known.which[rows]]
        return Look.of(torch.cat([images, images.flip(3)]) if self.batches.flip else images)

    @cached_property
    def tells_classes(self) -> bool:
        """True if most images have a nearest neighbour of their class: digits do, photographs do
        not."""
        pixels, labels = self.known.pixels, self.known.labels
        if labels is None or len(labels) < 2:
            return False
        nearest = labels[_apart(pixels[:ASKED], pixels).min(1).indices]
        return float((nearest == labels[:ASKED]).double().mean()) >= TELLING

    def _class_kl(self, samples: Tensor, labels: Tensor) -> float:
        """Compute the figure of samples (N, D). labels: of the known images."""
        expected = labels if self.layout.labels is None else self.layout.labels
        among = torch.isin(labels, expected)  # a conditional GAN is not asked for all classes
        if not bool(among.any()):
            return math.nan
        nearest = distances(samples, self.known.pixels[among]).min(1).indices
        counts = torch.bincount(expected, minlength=int(labels.max()) + 1)
        return histogram_kl(labels[among][nearest], counts)

    def _d_figures(self, fakes: Tensor) -> dict[str, float]:
        score = self.learner.gan.objective.score
        known = self._logits(self.known.images, self.known.labels)
        samples = self._logits(fakes, self.layout.labels)
        figures = {"d_known": score(known).mean(), "d_separation": memorised_share(known, samples)}
        if self.held is not None:
            held = self._logits(self.held.images, self.held.labels)
            figures |= {"d_held": score(held).mean(), "memorised": memorised_share(known, held)}
        return {name: float(value) for name, value in figures.items()}

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        device = self.learner.device
        shown = to_float(images[:ASKED].to(device))
        mine = None if labels is None else labels[:ASKED].to(device)
        return self.learner.eval_logits(shown, mine)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute the distances (N, M) of rows of a (N, D) to rows of b (M, D), exact to about 0.01."""
    return squared_distances(a, b).clamp_(min=1e-4).sqrt_()


def _apart(some: Tensor, others: Tensor) -> Tensor:
    """Compute distances (N, M) of the first N of `others` to all M, infinite to themselves."""
    return distances(some, others).fill_diagonal_(math.inf)


def _to_others(rows: Tensor) -> Tensor:
    """Compute the distance of each of the first ASKED rows to the nearest other one."""
    return _apart(rows[:ASKED], rows).min(1).values


def _spread(rows: Tensor) -> float:
    """Compute the mean distance of two rows; 0 for a single one."""
    pairs = len(rows) * (len(rows) - 1)
    return float(distances(rows, rows).fill_diagonal_(0).sum() / max(1, pairs))


def _log_ratio(near: Tensor, far: Tensor) -> float:
    return float((near.log() - far.log()).mean())


def _finite(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _over(value: float, usual: float) -> float:
    return value / usual if usual > 0 else math.nan
