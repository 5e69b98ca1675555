"""What an evaluation says: figures, the floor beside them, and the protocol under which they mean
something. No torch.

The JSON that `ganvas evaluate --json` prints is a `EvaluationResult`, field by field; `ganvas compare` reads
it again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import msgspec

from ganvas.errors import MetricError, RunError
from ganvas.system import files


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How generated images differ from real ones; None where a figure does not apply or means
    nothing (a note says why).

    fid: Frechet distance, in squared units of the features. kid, kid_std: kernel distance and its
    spread over subsets.
    inception_score, inception_score_std: by the extractor's own classes, 1 to their number.
    precision, recall, density, coverage: see `metrics.prdc`.
    class_kl: KL divergence, in nats, of the predicted classes' histogram from that of the real
    images.
    label_accuracy: the part of the images that the extractor names as they are labelled
    ("GAN-test"); per_class: of each.
    modes, reverse_kl: of StackedMNIST, how many of 1,000 numbers occur, and the KL divergence of
    their histogram from an even one, in nats.
    """

    fid: float | None = None
    kid: float | None = None
    kid_std: float | None = None
    inception_score: float | None = None
    inception_score_std: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    class_kl: float | None = None
    label_accuracy: float | None = None
    per_class: dict[str, float | None] | None = None
    modes: float | None = None
    reverse_kl: float | None = None


SCORE_NAMES = tuple(f.name for f in fields(Scores) if f.name != "per_class")

# What is shown of them, under which title, and which way is better.
ROWS = {
    "fid": ("FID", "lower"), "kid": ("KID", "lower"), "inception_score": ("inception score", "higher"),
    "precision": ("precision", "higher"), "recall": ("recall", "higher"), "density": ("density", "1"),
    "coverage": ("coverage", "higher"), "class_kl": ("class KL", "lower"),
    "label_accuracy": ("label accuracy", "higher"), "modes": ("modes of 1,000", "higher"),
    "reverse_kl": ("reverse KL", "lower"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All that a figure depends on beside the images judged.

    n_real, n_fake: images on each side. n_prdc: on each side of precision, recall, density and
    coverage, with k neighbours.
    n_modes: images whose modes are counted. split: which real images: "test", "train" where nothing
    is held out, or "against". resize: what is done to images before features are taken. data,
    real_sha256: the real images, by name and
    by content. seed: of the first sampling. asked_classes: "equal" where a conditional generator
    was asked for each class as often, for want of training images by whose proportions it is asked
    otherwise.
    """

    extractor: str
    extractor_sha256: str
    n_real: int
    n_fake: int
    n_prdc: int
    k: int
    n_modes: int | None = None
    split: str
    resize: str
    data: str
    real_sha256: str
    seed: int
    asked_classes: str = ""
    versions: dict[str, str] = field(default_factory=dict)


# Names say nothing that hashes do not; another seed is another sample of the same; versions are
# noted, as last digits may depend on them. Numbers of images all count: FID falls with them,
# precision and recall move.
COMPARED = (
    "extractor_sha256", "n_real", "n_fake", "n_prdc", "k", "n_modes", "split", "resize", "real_sha256", "asked_classes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Whether generated images are nearer to training images than unseen real images are: see
    `ganvas.evaluation.copies`.

    yardstick: the real images that are asked the same: held-out ones or, without these, training
    images, each as if it
    were not among them. ratio, spread: with the standard deviation over bootstrap samples.
    share, share_held_out: the part of the generated images, and of the real ones that are the
    yardstick, that count as copies.
    n_fake: generated images asked for all this, a part of all by chance. identical: how many of all
    are training images to the pixel (or mirrored, where training saw such); None in results of
    earlier versions.
    """

    verdict: Literal["copier", "not a copier", "cannot tell"]
    ratio: float | None
    spread: float | None
    share: float | None
    share_held_out: float | None
    nearest_training: float
    nearest_held_out: float | None
    n_fake: int
    n_training: int
    n_held_out: int
    space: str
    sheet: str = ""
    yardstick: Literal["held-out", "training"] = "held-out"
    identical: int | None = None


@dataclass(frozen=True, kw_only=True)
class GanTrain:
    """Accuracy on held-out real images of a classifier trained on generated ones, and of one
    trained on as many real."""

    fakes: float
    reals: float
    images: int


@dataclass(frozen=True, kw_only=True)
class RepeatOptions:
    """How to ask for an evaluation once more: the options of `ganvas evaluate`; hindrance: why no
    options do, where none do."""

    options: tuple[str, ...] = ()
    hindrance: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(Scores):
    """The result of an evaluation.

    floor: the same figures for real training images in place of generated ones: about the best that
    a generator can do, but where a note on it says otherwise.
    spread: with several seeds, the standard deviation of each figure over them; the figures are
    then means.
    real_accuracy: the part of the real images that the extractor names as they are labelled.
    weights_sha256: of the generator judged; "" for images. asked: None in results of earlier
    versions.
    """

    source: str
    kind: Literal["run", "generator", "images"]
    floor: Scores
    protocol: Protocol
    seeds: int = 1
    spread: Scores | None = None
    real_accuracy: float | None = None
    gan_train: GanTrain | None = None
    copies: Copies | None = None
    notes: tuple[str, ...] = ()
    weights_sha256: str = ""
    asked: RepeatOptions | None = None

    def to_json(self) -> str:
        """One line."""
        return msgspec.json.encode(self).decode()


def shown_scores(verdict: EvaluationResult) -> list[str]:
    """The ROWS that a verdict or its floor has a figure for."""
    return [
        name
        for name in ROWS
        if getattr(verdict, name) is not None or getattr(verdict.floor, name) is not None
    ]


def cell(verdict: EvaluationResult, name: str) -> str:
    """A figure, with its spread over seeds or, of KID, over subsets."""
    value, spread = getattr(verdict, name), getattr(verdict.spread, name, None)
    if spread is None:
        spread = getattr(verdict, f"{name}_std", None)
    return format_score(value) + (
        f" ± {format_score(spread)}" if value is not None and spread is not None else ""
    )


def format_score(value: float | None) -> str:
    """Four digits; a dash where there is no figure."""
    return "-" if value is None else f"{value:.4g}"


def mean_and_spread(each: Sequence[Scores]) -> tuple[Scores, Scores | None]:
    """Figures of several seeds as one, with their sample standard deviation (None for a single
    seed)."""
    if len(each) == 1:
        return each[0], None
    columns = {name: [getattr(figures, name) for figures in each] for name in SCORE_NAMES}
    known: dict[str, list[float]] = {
        name: values for name, values in columns.items() if None not in values
    }
    means: dict[str, Any] = {name: statistics.fmean(values) for name, values in known.items()}
    if all(figures.per_class is not None for figures in each):
        classes = [figures.per_class or {} for figures in each]
        rows = {
            name: [found for one in classes if (found := one[name]) is not None]
            for name in classes[0]
        }
        means["per_class"] = {
            name: statistics.fmean(row) if row else None for name, row in rows.items()
        }
    spreads: dict[str, Any] = {name: statistics.stdev(values) for name, values in known.items()}
    return Scores(**means), Scores(**spreads)


def read_result(path: Path) -> EvaluationResult:
    """A result that was saved by `ganvas evaluate --json > PATH`. Raises RunError."""
    with files.reading(path):
        content = path.read_bytes()
    return parse_result(content, str(path))


def parse_result(content: bytes | str, origin: str) -> EvaluationResult:
    """A verdict from its JSON. Raises RunError, naming `origin`, for anything else."""
    try:
        return msgspec.json.decode(content, type=EvaluationResult)
    except (
        msgspec.DecodeError,
        msgspec.ValidationError,
        UnicodeDecodeError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:150]
        raise RunError(
            f"{origin} is no result of ganvas evaluate --json ({reason}): write it anew"
        ) from None


def raise_if_incomparable(results: Sequence[tuple[str, EvaluationResult]]) -> None:
    """Raises MetricError, naming what differs, unless all results stem from one protocol."""
    (first, reference), *others = results
    for name, result in others:
        if different := _differences(reference.protocol, result.protocol):
            raise MetricError(
                f"{first} and {name} cannot be compared, their protocols differ:"
                f" {'; '.join(different)}; evaluate both alike"
            )


def same_protocol(a: EvaluationResult, b: EvaluationResult) -> bool:
    """Whether two results stem from one protocol."""
    return not _differences(a.protocol, b.protocol)


def results_during_training(
    found: Sequence[tuple[int | None, EvaluationResult]],
) -> list[tuple[int, EvaluationResult]]:
    """Of a run's evaluations (see `evaluations.all_of`) those made during training, under the
    newest of their protocols."""
    measured = [(images, each) for images, each in found if images is not None]
    return [(images, each) for images, each in measured if same_protocol(each, measured[-1][1])]


def _differences(a: Protocol, b: Protocol) -> list[str]:
    shown_scores: dict[str, Callable[[Protocol], str]] = {
        "extractor_sha256": lambda p: f"{p.extractor} {p.extractor_sha256[:8]}",
        "real_sha256": lambda p: f"{p.data} {p.real_sha256[:8]}",
        "asked_classes": lambda p: p.asked_classes or "as in training",
    }
    titles = {
        "extractor_sha256": "extractor",
        "real_sha256": "real images",
        "asked_classes": "classes asked for",
    }
    found = []
    for name in COMPARED:
        if getattr(a, name) != getattr(b, name):
            one, two = (
                shown_scores[name](p) if name in shown_scores else getattr(p, name) for p in (a, b)
            )
            found.append(f"{titles.get(name, name)} {one} and {two}")
    return found


def version_notes(results: Sequence[tuple[str, EvaluationResult]]) -> list[str]:
    """What differs in versions: last digits may depend on them."""
    (first, reference), *others = results
    notes = []
    for name, result in others:
        one, two = reference.protocol.versions, result.protocol.versions
        different = [
            f"{key} {one.get(key)} and {two.get(key)}"
            for key in one | two
            if one.get(key) != two.get(key)
        ]
        if different:
            notes.append(
                f"{first} and {name} were judged with unlike versions, which last digits may depend"
                f" on: {', '.join(different)}"
            )
    return notes
