"""Short trainings of throwaway networks, and their score by real images that none of them is
trained on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, leaky_relu

from ganvas import data
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
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.loop import take_step

CHECKPOINTS = 3  # scores of a training, evenly spread, the last at its end
SOME = 0.4  # a probability of augmentation, beside none and one that adapts itself
LEAST_HELD, MOST_HELD = 10, 2000  # real images to score by
SHARE_HELD = 5  # one image in so many is spared for that, where no part of the data is held out
# generated for a score: fewer of large images
LEAST_SAMPLES, MOST_SAMPLES, SAMPLED_PIXELS = 200, 1000, 2_000_000
SUBSETS, SUBSET = 10, 500  # of KID, and how many images are in each


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    change: factors of gamma and lr, and augment: see `changed`. settings: what became of them,
    gamma and lr, where they are
    schedules, as they start. score: KID x 1000, the last that was taken, and only of a finished one
    one that compares;
    None where there was none. images: how many were seen.
    """

    number: int
    change: dict[str, Any]
    settings: dict[str, float | str]
    score: float | None
    state: Literal["finished", "pruned", "diverged", "cut short"]
    images: int
    seconds: float

    def told(self) -> dict[str, str]:
        """The settings as a person is told them."""
        return {name: v if isinstance(v, str) else f"{v:.3g}" for name, v in self.settings.items()}

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in self.told().items())
        score = "" if self.score is None else f"KID x 1000 {self.score:.4g}"
        return (
            f"{values}:"
            f" {', '.join([score] * bool(score) + [self.state] * (self.state != 'finished'))}"
        )


def searched(recipe: Recipe, gan: Gan, images: int) -> dict[str, tuple[float | str, ...]]:
    """What of a recipe can be searched on so many images: "gamma" and "lr" by a factor, from the
    recipe's own, 1; "augment" by a value, the recipe's own first. Only what the recipe has, and
    what would make a difference."""
    train = recipe.train
    found: dict[str, tuple[float | str, ...]] = {}
    if train.penalty != "none" and start(train.gamma) > 0:
        found["gamma"] = (1.0,)
    if start(train.lr) > 0:
        found["lr"] = (1.0,)
    # by what they come to: with many images, "adaptive" is none
    choices: dict[float | str, float | str] = {}
    for choice in (train.augment, 0.0, SOME, "adaptive"):
        if choice != "adaptive" or gan.joint:
            choices.setdefault(
                0.0 if choice == "adaptive" and images >= AUGMENT_BELOW else choice, choice
            )
    return found | {"augment": tuple(choices.values())}


def changed(recipe: Recipe, change: Mapping[str, Any]) -> Recipe:
    """A recipe with gamma and both learning rates multiplied by factors, their schedules' shape
    kept, and another
    augmentation. change: some of "gamma", "lr", "augment"."""
    train = recipe.train
    lr, gamma = change.get("lr", 1.0), change.get("gamma", 1.0)
    train = dataclasses.replace(
        train,
        gamma=scaled(train.gamma, gamma),
        d_lr=scaled(train.d_lr, lr),
        lr=scaled(train.lr, lr) or train.lr,
        augment=change.get("augment", train.augment),
    )
    return dataclasses.replace(recipe, train=train)


def scaled(value: Schedule | float | None, factor: float) -> Schedule | float | None:
    """A value or a whole schedule times a factor, to three digits; exactly as it was for a factor
    of 1."""

    def times(part: float) -> float:
        return float(f"{part * factor:.3g}")

    if value is None or factor == 1:
        return value
    return value.scaled(times) if isinstance(value, Schedule) else times(value)


def displayed(recipe: Recipe, names: Iterable[str]) -> dict[str, float | str]:
    """Settings of a changed recipe, one number or word each."""
    train = recipe.train
    values: dict[str, float | str] = {
        "gamma": start(train.gamma),
        "lr": start(train.lr),
        "augment": train.augment,
    }
    return {name: values[name] for name in names}


def start(value: Schedule | float | None) -> float:
    """What a value is at first: the one number that a person is told of a schedule."""
    return value.start if isinstance(value, Schedule) else value or 0.0


def held_apart(
    training: Dataset, what: str, request: Request, data_dir: Path | None
) -> tuple[Dataset, Dataset, str]:
    """(images to train on, real images to score by, a sentence on those): the data's held-out part,
    or, where there is none or next to none, a fifth of the training images, by chance.

    Raises DataError where these are too few to score by.
    """
    seed = request.seed or 0
    held = data.load_held_out(what, training, fit=request.fit or "crop", data_dir=data_dir)
    if held is not None and len(held) >= LEAST_HELD:
        held = _some(held, seeding.generator(seed, "scored by", 0), MOST_HELD)
        return training, held, f"scored by {len(held):,} images of the held-out part"
    count = min(MOST_HELD, len(training) // SHARE_HELD)
    if count < LEAST_HELD:
        raise DataError(
            f"{training.name} holds {len(training):,} image{'s' if len(training) > 1 else ''} and"
            f" no held-out part: a search is scored by one in {SHARE_HELD} that it holds back,"
            f" {LEAST_HELD} or more, so it needs {SHARE_HELD * LEAST_HELD} images; train with the"
            " recipe's own settings"
        )
    order = torch.randperm(len(training), generator=seeding.generator(seed, "scored by", 0))
    said = (
        f"no part is held out: scored by {count:,} of the {len(training):,} images, which trials"
        " are not trained on"
    )
    return training.rows(order[count:]), training.rows(order[:count]), said


def _some(dataset: Dataset, rng: torch.Generator, most: int) -> Dataset:
    return (
        dataset
        if len(dataset) <= most
        else dataset.rows(torch.randperm(len(dataset), generator=rng)[:most])
    )


def features_for(training: Dataset) -> Callable[[Tensor], Tensor]:
    """What turns images uint8 (N, C, H, W) like those of a data set into features float32 (N, D),
    to be scored by.

    For digits the extractor that comes with the package. Else convolutions with random weights,
    always the same, their
    outputs scaled to about unit variance over the data: they need no training, and tell sets of
    images apart that no ready network knows (Naeem et al. 2020, arXiv 2002.09797).
    """
    if extractors.default(training) == "digits":
        judge = extractors.find_extractor("digits", training)
        return lambda images: judge(images).features
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        layers = [
            nn.Conv2d(a, b, 3, 2, 1, bias=False)
            for a, b in itertools.pairwise((training.channels, 32, 64, 64))
        ]
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

    known = raw(_some(training, seeding.generator(0, "features", 0), MOST_HELD).images)
    mean, deviation = known.mean(0), known.std(0)
    # so that what hardly varies in the data does not outweigh the rest
    scale = deviation + deviation.mean() / 4 + 1e-6
    return lambda images: (raw(images) - mean) / scale


class Score:
    """Tells how far samples are from real images that were not trained on: KID x 1000, 0 where they
    cannot be told apart."""

    def __init__(self, training: Dataset, held_out: Dataset) -> None:
        self.features = features_for(training)
        self.real = self.features(held_out.images)

    def __call__(self, images: Tensor) -> float:
        """images: uint8 (N, C, H, W)."""
        return (
            1000 * metrics.kid(self.real, self.features(images), subsets=SUBSETS, size=SUBSET).mean
        )


@dataclass(frozen=True)
class TrialSetup:
    """What all trials have in common. recipe: as it is, before it is changed. flip: mirror half of
    the real images."""

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
        """How many images are generated for a score."""
        return max(
            LEAST_SAMPLES, min(MOST_SAMPLES, SAMPLED_PIXELS // (self.spec.height * self.spec.width))
        )

    def scored(self, learner: Learner) -> float:
        """The score of a generator; not a number where a weight is none. Classes are as frequent as
        in training."""
        generator = learner.sampled
        if not learner.finite or not all(
            bool(tensor.isfinite().all()) for tensor in generator.state_dict().values()
        ):
            return float("nan")
        labels = None
        if learner.gan.conditional:
            assert self.training.labels is not None
            order = torch.randperm(
                len(self.training), generator=seeding.generator(self.seed, "sampled labels", 0)
            )
            labels = self.training.labels[order[torch.arange(self.samples) % len(order)]].tolist()
        gan = dataclasses.replace(learner.gan, generator=generator)
        made = Sampler(gan, self.spec.classes, self.device)(
            range(self.samples), seed=self.seed, labels=labels
        )
        return self.score(made.permute(0, 3, 1, 2).contiguous())

    def train(self, recipe: Recipe, images: int) -> Iterator[tuple[int, float | None]]:
        """Train throwaway networks on so many images, a whole number of steps. After each step:
        images seen and, at CHECKPOINTS places, the score, which is not a number when the training
        has diverged."""
        config, batch = recipe.train, recipe.train.batch
        gan = self.file.build(recipe.model, self.spec, self.seed)
        learner = Learner(
            gan, config, len(self.training), torch.device(self.device), self.precision
        )
        batches = Batches(self.training, learner, self.seed, self.flip)
        plan = Plan(
            images=images, batch=batch, epoch=len(self.training), requested=f"{images} images"
        )
        places = {images * k // CHECKPOINTS // batch * batch for k in range(1, CHECKPOINTS)} | {
            images
        }
        for seen in range(batch, images + 1, batch):
            learner.set_rates(plan, seen - batch)
            take_step(learner, batches, seen - batch)
            yield seen, self.scored(learner) if seen in places else None
