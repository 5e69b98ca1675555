"""A checkup: what samples, and what D says of images that it is trained on and of others, tell of a
training's health.

Taken ten to fifty times a training (less often below 10,000 images), at lines of the log, and by
`ganvas doctor`. It changes
nothing: both networks are asked in inference mode, without gradients, and nothing is drawn at
random that a step would draw.

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
from ganvas.doctor.rules import MAX_COMPARED
from ganvas.evaluation.copies import reduced
from ganvas.evaluation.metrics import histogram_kl, squared_distances
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.sheets import sheet_classes
from ganvas.system import seeding
from ganvas.training.augment import memorised_share as share_told
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner

SAMPLES = 64  # of the run's fixed latents
CHECKUP_CLASSES = 8  # of a conditional GAN that are looked at: enough samples of each to compare
MIN_HELD_OUT = 20  # held-out images: with fewer, chance says too much
ASKED = 128  # real images of each kind that D is asked about
# of real images, whose nearest neighbour is of their class, so that samples' classes can be told by
# it
TELLING = 0.7
CHECKUP_CHUNK = 64  # images that are averaged down at a time


class Reals(NamedTuple):
    """Real images: pixels float32 (N, D) and, where there are classes, labels (N,); a few of them
    as uint8 (M, C, H, W)."""

    pixels: Tensor
    labels: Tensor | None
    images: Tensor

    @classmethod
    def of(cls, dataset: Dataset, among: Tensor | None, seed: int) -> Reals:
        """At most MOST of a data set's images, or of those with the indices `among`, chosen by the
        seed."""
        rng = seeding.generator(seed, "checkup", len(dataset))
        chosen = torch.randperm(len(dataset) if among is None else len(among), generator=rng)[
            :MAX_COMPARED
        ]
        chosen = chosen if among is None else among[chosen]
        parts = [reduced(dataset.images[some]).flatten(1) for some in chosen.split(CHECKUP_CHUNK)]
        labels = None if dataset.labels is None else dataset.labels[chosen]
        return cls(torch.cat(parts), labels, dataset.images[chosen[:ASKED]])


class Layout(NamedTuple):
    """labels: of the samples, where there are classes to ask for. groups: indices of the samples
    and of the real images that are compared with one another."""

    labels: Tensor | None
    groups: list[tuple[Tensor, Tensor]]


class Checkup:
    """Checkups of one training.

    held_out: a part of the data that is held out, where there is one; else those images are taken
    that augmentation spares.
    """

    def __init__(
        self, learner: Learner, batches: Batches, sampler: Sampler, held_out: Dataset | None
    ) -> None:
        self.learner, self.batches, self.sampler, self.held_out = (
            learner,
            batches,
            sampler,
            held_out,
        )
        self.seed = batches.seed

    @cached_property
    def known(self) -> Reals:
        """Images that D is trained on."""
        return Reals.of(self.batches.dataset, self.batches.known, self.seed)

    @cached_property
    def held(self) -> Reals | None:
        """Images that it is not; None where there are too few."""
        spared = self.batches.held
        if self.held_out is not None:
            return (
                Reals.of(self.held_out, None, self.seed)
                if len(self.held_out) >= MIN_HELD_OUT
                else None
            )
        return (
            None
            if spared is None or len(spared) < MIN_HELD_OUT
            else Reals.of(self.batches.dataset, spared, self.seed)
        )

    def __call__(self) -> dict[str, float]:
        """Figures by name, each where it can be had and is finite.

        diversity: the mean distance of two samples (of one class, where there are classes to ask
        for) over that of two real
        images. apart: the mean distance of a sample to the nearest other one over that of as many
        real images. nearest: the mean distance of a sample to the nearest training image over that
        of a held-out image. copying: how much nearer samples are to training images than to
        held-out ones, as a ratio of distances, over the same of held-out images: 1 for what knows
        no more of one than of the other, 0 for copies. class_kl: divergence of the histogram of
        classes, each sample's that of the nearest training image, from the training images' own or,
        where there are classes to ask for, from what was asked for, in nats; where the nearest
        image tells a real one's class mostly.
        d_known, d_held: D's mean scores of training and held-out images. memorised: how well D
        tells these two apart, told:
        how well training images and samples: the mean sign of the difference, over pairs.
        """
        fakes = self._samples()
        return _finite(self._of_samples(fakes) | self._of_d(fakes))

    def of_all(self) -> dict[str, float]:
        """nearest_of_all, copying_of_all: as without `_of_all`, but of all training images: those
        that are copied need not be among MOST of them. Empty where these are all. Takes time with
        their number."""
        dataset, among = self.batches.dataset, self.batches.known
        everything = torch.arange(len(dataset)) if among is None else among
        if len(everything) <= MAX_COMPARED:
            return {}
        mine, held = reduced(self._samples()).flatten(1), self.held
        rows = torch.cat([mine, (self.known if held is None else held).pixels[:ASKED]])
        near = torch.full((len(rows), 2), math.inf)
        for some in everything.split(CHECKUP_CHUNK):
            pixels = reduced(dataset.images[some]).flatten(1)
            near = torch.cat([near, distances(rows, pixels)], 1).topk(2, largest=False).values
        to_known = near[: len(mine), 0]
        # a training image is the nearest to itself
        usual = near[len(mine) :, 1 if held is None else 0]
        figures = {"nearest_of_all": _over(float(to_known.mean()), float(usual.mean()))}
        if held is not None:
            ratio = _log_ratio(to_known, distances(mine, held.pixels).min(1).values)
            figures["copying_of_all"] = math.exp(ratio - _log_ratio(usual, _to_others(held.pixels)))
        return _finite(figures)

    def _samples(self) -> Tensor:
        """uint8 (SAMPLES, C, H, W) of the run's fixed latents."""
        labels = None if self.layout.labels is None else self.layout.labels.tolist()
        return self.sampler(range(SAMPLES), seed=self.seed, labels=labels).permute(0, 3, 1, 2)

    @cached_property
    def layout(self) -> Layout:
        everything = [
            (torch.arange(SAMPLES), torch.arange(min(len(self.known.pixels), 4 * SAMPLES)))
        ]
        if not (classes := len(self.sampler.classes)):
            return Layout(None, everything)
        some = min(classes, CHECKUP_CLASSES)
        shown = sheet_classes(some, classes)
        labels = torch.tensor([shown[k % some] for k in range(SAMPLES)])
        assert self.known.labels is not None
        groups = [
            ((labels == k).nonzero().flatten(), (self.known.labels == k).nonzero().flatten())
            for k in shown
        ]
        groups = [(mine, real[: 2 * SAMPLES // some]) for mine, real in groups if len(real) > 1]
        return Layout(labels, groups or everything)

    @cached_property
    def usual(self) -> dict[str, float]:
        """What of real images the figures of samples are set against."""
        known = self.known.pixels
        spread = [_spread(known[real]) for _, real in self.layout.groups]
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

    def _of_samples(self, fakes: Tensor) -> dict[str, float]:
        mine, figures = reduced(fakes).flatten(1), {}
        spread = [_spread(mine[samples]) for samples, _ in self.layout.groups]
        figures["diversity"] = _over(sum(spread) / len(spread), self.usual["spread"])
        figures["apart"] = _over(float(_to_others(mine).mean()), self.usual["apart"])
        to_known = distances(mine, self.known.pixels).min(1).values
        figures["nearest"] = _over(float(to_known.mean()), self.usual["nearest"])
        if self.held is not None:
            ratio = _log_ratio(to_known, distances(mine, self.held.pixels).min(1).values)
            figures["copying"] = math.exp(ratio - self.usual["ratio"])
        if self.known.labels is not None and self.tells_classes:
            figures["class_kl"] = self._class_kl(mine, self.known.labels)
        return figures

    @cached_property
    def tells_classes(self) -> bool:
        """Whether an image's nearest neighbour is of its class: of digits it is, of photographs it
        says nothing."""
        pixels, labels = self.known.pixels, self.known.labels
        if labels is None or len(labels) < 2:
            return False
        found = labels[_apart(pixels[:ASKED], pixels).min(1).indices]
        return float((found == labels[:ASKED]).double().mean()) >= TELLING

    def _class_kl(self, mine: Tensor, labels: Tensor) -> float:
        asked = labels if self.layout.labels is None else self.layout.labels
        among = torch.isin(labels, asked)  # a conditional GAN is not asked for all classes
        if not bool(among.any()):
            return math.nan
        nearest = distances(mine, self.known.pixels[among]).min(1).indices
        return histogram_kl(
            labels[among][nearest], torch.bincount(asked, minlength=int(labels.max()) + 1)
        )

    def _of_d(self, fakes: Tensor) -> dict[str, float]:
        score, logits = self.learner.gan.objective.score, self._logits
        known = logits(self.known.images, self.known.labels)
        samples = logits(fakes, self.layout.labels)
        figures = {"d_known": float(score(known).mean()), "told": float(share_told(known, samples))}
        if self.held is not None:
            held = logits(self.held.images, self.held.labels)
            figures |= {
                "d_held": float(score(held).mean()),
                "memorised": float(share_told(known, held)),
            }
        return figures

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        device = self.learner.device
        shown = to_float(images[:ASKED].to(device))
        mine = (
            None
            if labels is None or not self.learner.gan.conditional
            else labels[:ASKED].to(device)
        )
        return self.learner.eval_logits(shown, mine)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Of rows of a (N, D) to rows of b (M, D): (N, M), exact to 0.01 or so."""
    return squared_distances(a, b).clamp_(min=1e-4).sqrt_()


def _apart(some: Tensor, others: Tensor) -> Tensor:
    """Distances of the first of `others` to all of them but themselves."""
    return distances(some, others).fill_diagonal_(math.inf)


def _to_others(rows: Tensor) -> Tensor:
    """The distance of each of the first ASKED rows to the nearest other one."""
    return _apart(rows[:ASKED], rows).min(1).values


def _spread(rows: Tensor) -> float:
    """The mean distance of two rows; 0 for one alone."""
    return float(
        distances(rows, rows).fill_diagonal_(0).sum() / max(1, len(rows) * (len(rows) - 1))
    )


def _log_ratio(near: Tensor, far: Tensor) -> float:
    return float((near.log() - far.log()).mean())


def _finite(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _over(value: float, usual: float) -> float:
    return value / usual if usual > 0 else math.nan
