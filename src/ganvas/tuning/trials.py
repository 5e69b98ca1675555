"""Short trainings of throwaway networks, scored by real images that they are not trained on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, leaky_relu

from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.errors import DataError
from ganvas.evaluation import extractors, metrics
from ganvas.gan import Gan, GanFile
from ganvas.plan import Plan
from ganvas.recipe import AUGMENT_BELOW, ImageSpec, Recipe, Schedule
from ganvas.runs.request import Request
from ganvas.sampling.sampler import SAMPLING_CHUNK, Sampler
from ganvas.system import seeding
from ganvas.system.text import count
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.loop import take_step

CHECKPOINTS = 3  # scores of a training, evenly spread, the last at its end
SOME_AUGMENTATION = 0.4  # the probability that is tried beside 0 and an adaptive one
MIN_SCORING_IMAGES, MAX_SCORING_IMAGES = 10, 2000  # real images to score by
# one image in this number is held back to score by if the data have no held-out part
SCORING_PART = 5
# samples of a score: fewer of large images
MIN_SCORED_SAMPLES, MAX_SCORED_SAMPLES, SAMPLED_PIXELS = 200, 1000, 2_000_000
KID_SUBSETS, KID_SUBSET_SIZE = 10, 500


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    change: factors of gamma and lr, and augment: see `change_recipe`.
    settings: the values of these; the initial value of a schedule.
    score: KID x 1000 at the last checkpoint, None if there was none or the training diverged. Only
        scores of finished trials compare.
    images: number of images trained on.
    """

    number: int
    change: dict[str, Any]
    settings: dict[str, float | str]
    score: float | None
    state: Literal["finished", "pruned", "diverged", "cut short"]
    images: int
    seconds: float

    def settings_text(self) -> dict[str, str]:
        """The settings, rounded for display."""
        return {name: v if isinstance(v, str) else f"{v:.3g}" for name, v in self.settings.items()}

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in self.settings_text().items())
        outcome = [] if self.score is None else [f"KID x 1000 {self.score:.4g}"]
        outcome += [self.state] * (self.state != "finished")
        return f"{values}: {', '.join(outcome)}"


def search_space(recipe: Recipe, gan: Gan, images: int) -> dict[str, tuple[float | str, ...]]:
    """The settings to search on a training set of `images` images.

    Returns {"gamma": (1.0,), "lr": (1.0,), "augment": values}: "gamma" and "lr" are searched as
    factors of the recipe's own values, "augment" among values, the recipe's own first. Settings
    that the recipe does not have, and values that would make no difference, are left out.
    """
    train = recipe.train
    space: dict[str, tuple[float | str, ...]] = {}
    if train.penalty != "none" and initial_value(train.gamma) > 0:
        space["gamma"] = (1.0,)
    if initial_value(train.lr) > 0:
        space["lr"] = (1.0,)
    # by their effect: on a large set, "adaptive" is the same as none
    choices: dict[float | str, float | str] = {}
    for choice in (train.augment, 0.0, SOME_AUGMENTATION, "adaptive"):
        if choice != "adaptive" or gan.joint:
            effect = 0.0 if choice == "adaptive" and images >= AUGMENT_BELOW else choice
            choices.setdefault(effect, choice)
    return space | {"augment": tuple(choices.values())}


def change_recipe(recipe: Recipe, change: Mapping[str, Any]) -> Recipe:
    """Return the recipe with gamma and both learning rates scaled, and another augmentation.

    change: some of "gamma" and "lr", which are factors, and "augment". Schedules keep their shape.
    """
    train = recipe.train
    lr, gamma = change.get("lr", 1.0), change.get("gamma", 1.0)
    train = dataclasses.replace(
        train,
        gamma=_scaled(train.gamma, gamma),
        d_lr=_scaled(train.d_lr, lr),
        lr=_scaled(train.lr, lr) or train.lr,
        augment=change.get("augment", train.augment),
    )
    return dataclasses.replace(recipe, train=train)


def _scaled(value: Schedule | float | None, factor: float) -> Schedule | float | None:
    """A constant or a schedule times a factor, to three digits; unchanged for a factor of 1."""

    def times(part: float) -> float:
        return float(f"{part * factor:.3g}")

    if value is None or factor == 1:
        return value
    return value.scaled(times) if isinstance(value, Schedule) else times(value)


def displayed(recipe: Recipe, names: Iterable[str]) -> dict[str, float | str]:
    """The searched settings of a recipe, as one number or word each."""
    values = {name: getattr(recipe.train, name) for name in names}
    return {name: v if isinstance(v, str) else initial_value(v) for name, v in values.items()}


def initial_value(value: Schedule | float | None) -> float:
    """The initial value of a constant or a schedule."""
    return value.start if isinstance(value, Schedule) else value or 0.0


def hold_out(dataset: Dataset, request: Request) -> tuple[Dataset, Dataset, str]:
    """Return the images to train on, the real images to score by, and a note on these.

    The images to score by are the data's held-out part; without one, or with fewer than
    MIN_SCORING_IMAGES images in it, a random fifth of `dataset`, which is read as `request` says.

    Raises DataError if there are too few images.
    """
    assert request.data is not None
    rng = seeding.generator(request.seed or 0, "scored by", 0)
    held_out = request.reading.held_out(request.data, dataset)
    if held_out is not None and len(held_out) >= MIN_SCORING_IMAGES:
        held_out = _random_rows(held_out, rng, MAX_SCORING_IMAGES)
        return dataset, held_out, f"scored by {len(held_out):,} images of the held-out part"
    number = min(MAX_SCORING_IMAGES, len(dataset) // SCORING_PART)
    if number < MIN_SCORING_IMAGES:
        images, needed = count(len(dataset), "image"), SCORING_PART * MIN_SCORING_IMAGES
        problem = f"{dataset.name} holds {images} and no held-out part"
        reason = f"a search is scored by one in {SCORING_PART}, so it needs {needed} images"
        raise DataError(f"{problem}: {reason}; train with the recipe's own settings")
    order = torch.randperm(len(dataset), generator=rng)
    parts = f"{number:,} of the {len(dataset):,} images, which trials are not trained on"
    note = f"the data have no held-out part: scored by {parts}"
    return dataset.rows(order[number:]), dataset.rows(order[:number]), note


def _random_rows(dataset: Dataset, rng: torch.Generator, most: int) -> Dataset:
    if len(dataset) <= most:
        return dataset
    return dataset.rows(torch.randperm(len(dataset), generator=rng)[:most])


def features_for(training: Dataset) -> Callable[[Tensor], Tensor]:
    """Return a function from images uint8 (N, C, H, W) to features float32 (N, D), to score by.

    For digits, the extractor that comes with the package. Else convolutions with fixed random
    weights, their outputs scaled to about unit variance over the data: these need no training, and
    tell sets of images apart that no ready network knows (Naeem et al. 2020, arXiv 2002.09797).

    training: images like those to be scored.
    """
    if extractors.default(training) == "digits":
        judge = extractors.find_extractor("digits", training)
        return lambda images: judge(images).features
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        widths = itertools.pairwise((training.channels, 32, 64, 64))
        layers = [nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in widths]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, 2**0.5, generator=rng)

    @torch.inference_mode()
    def raw(images: Tensor) -> Tensor:
        parts = []
        for part in images.split(SAMPLING_CHUNK):
            x = to_float(part)
            for layer in layers:
                x = leaky_relu(layer(x), 0.2)
            parts.append(adaptive_avg_pool2d(x, 2).flatten(1))
        return torch.cat(parts)

    some = _random_rows(training, seeding.generator(0, "features", 0), MAX_SCORING_IMAGES)
    known = raw(some.images)
    mean, deviation = known.mean(0), known.std(0)
    # the quarter keeps features that hardly vary in the data from outweighing the rest
    scale = deviation + deviation.mean() / 4 + 1e-6
    return lambda images: (raw(images) - mean) / scale


class Score:
    """Distance between samples and held-out real images: KID x 1000, 0 for equal distributions."""

    def __init__(self, training: Dataset, held_out: Dataset) -> None:
        self.features = features_for(training)
        self.real = self.features(held_out.images)

    def __call__(self, images: Tensor) -> float:
        """images: uint8 (N, C, H, W)."""
        fake = self.features(images)
        return 1000 * metrics.kid(self.real, fake, subsets=KID_SUBSETS, size=KID_SUBSET_SIZE).mean


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """All that the trials of a search share.

    recipe: with the recipe's own gamma, learning rates and augmentation.
    flip: mirror half of the training images.
    """

    file: GanFile
    recipe: Recipe
    spec: ImageSpec
    training: Dataset
    score: Score
    device: str
    precision: str
    seed: int
    flip: bool = False

    @property
    def samples(self) -> int:
        """Number of samples of a score."""
        affordable = SAMPLED_PIXELS // (self.spec.height * self.spec.width)
        return max(MIN_SCORED_SAMPLES, min(MAX_SCORED_SAMPLES, affordable))

    def score_of(self, learner: Learner) -> float:
        """Score a learner's generator, with classes as frequent as in training.

        Returns NaN if a weight is NaN or infinite.
        """
        generator = learner.sampled
        weights = generator.state_dict().values()
        if not (learner.finite and all(bool(tensor.isfinite().all()) for tensor in weights)):
            return float("nan")
        labels = None
        if learner.gan.conditional:
            assert self.training.labels is not None
            rng = seeding.generator(self.seed, "sampled labels", 0)
            order = torch.randperm(len(self.training), generator=rng)
            labels = self.training.labels[order[torch.arange(self.samples) % len(order)]].tolist()
        gan = dataclasses.replace(learner.gan, generator=generator)
        sampler = Sampler(gan, self.spec.classes, self.device)
        images = sampler(range(self.samples), seed=self.seed, labels=labels)
        return self.score(images.permute(0, 3, 1, 2).contiguous())

    def train(self, recipe: Recipe, images: int) -> Iterator[tuple[int, float | None]]:
        """Train throwaway networks on `images` images, a multiple of the batch size.

        Yields after each step the number of images trained on and, at CHECKPOINTS places, the
        score: NaN if the training has diverged.
        """
        config, batch = recipe.train, recipe.train.batch
        gan = self.file.build(recipe.model, self.spec, self.seed)
        device, epoch = torch.device(self.device), len(self.training)
        learner = Learner(gan, config, epoch, device, self.precision)
        batches = Batches(self.training, learner, self.seed, self.flip)
        plan = Plan(images=images, batch=batch, epoch=epoch, requested=f"{images} images")
        places = {images * k // CHECKPOINTS // batch * batch for k in range(1, CHECKPOINTS)}
        places.add(images)
        for seen in range(batch, images + 1, batch):
            learner.set_rates(plan, seen - batch)
            take_step(learner, batches, seen - batch)
            yield seen, self.score_of(learner) if seen in places else None
