"""Result of an evaluation: scores, their floor, and the protocol that they depend on. No torch.

The JSON of `ganvas evaluate --json` is an `EvaluationResult`, field by field; `ganvas compare`
reads it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import msgspec

from ganvas.data.decoding.kinds import lossy_kinds
from ganvas.data.reading import ReadingArguments
from ganvas.errors import MetricError, RunError
from ganvas.system import files


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of generated images; None if one does not apply or means nothing (a note says why).

    fid: Frechet distance, in squared units of the features.
    kid, kid_std: kernel distance and its spread over subsets.
    inception_score, inception_score_std: by the extractor's classes, from 1 to their number.
    precision, recall, density, coverage: see `metrics.Coverage`.
    class_kl: KL divergence, in nats, of the histogram of predicted classes from that of the real
        images.
    label_accuracy: share of the images that the extractor names as labelled ("GAN-test").
    per_class: label accuracy of each class.
    modes: of StackedMNIST, how many of the 1,000 numbers occur.
    reverse_kl: KL divergence, in nats, of their histogram from a uniform one.
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

# scores that are shown: title, and which way is better
ROWS = {
    "fid": ("FID", "lower"), "kid": ("KID", "lower"),
    "inception_score": ("inception score", "higher"),
    "precision": ("precision", "higher"), "recall": ("recall", "higher"),
    "density": ("density", "1"), "coverage": ("coverage", "higher"),
    "class_kl": ("class KL", "lower"), "label_accuracy": ("label accuracy", "higher"),
    "modes": ("modes of 1,000", "higher"), "reverse_kl": ("reverse KL", "lower"),
}  # fmt: skip


class EvaluationArguments(ReadingArguments, total=False):
    """Keyword arguments of `ganvas.evaluate`: `EvaluationSettings`, and how pictures are read."""

    n: int
    seeds: int
    seed: int
    prdc_n: int
    k: int


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Numbers that an evaluation is called with.

    n: generated images; all if a set has fewer.
    prdc_n: images of each set for precision, recall, density and coverage.
    seed: of the first sampling.
    seeds: number of samplings.
    k: neighbours for precision, recall, density and coverage.
    """

    n: int = 10_000
    prdc_n: int = 2000
    seed: int = 0
    seeds: int = 1
    k: int = 5


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All that scores depend on beside the generated images.

    n_real, n_fake: numbers of images.
    n_prdc, k: images of each set, and neighbours, for precision, recall, density and coverage.
    n_modes: images whose modes are counted.
    split: the real images: "test", "train" if nothing is held out, or "against".
    resize: changes to images before features are extracted.
    data, real_sha256: the real images, by name and by content.
    real_files, fake_files: the kinds of files that both came from (see `Dataset.files`);
        "generator" for images that were never in a file, "unknown" in results of older versions.
    seed: of the first sampling.
    asked_classes: "equal" if a conditional generator made each class equally often, because the
        proportions in its training images are unknown.
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
    real_files: str = "unknown"
    fake_files: str = "unknown"
    versions: dict[str, str] = field(default_factory=dict)


# Results compare only if these are equal. Left out: names (hashes cover them), seed (another sample
# of the same) and versions (a note). Numbers of images count: FID falls with them, precision and
# recall move. Files count as far as they lose something of the pixels.
COMPARED = (
    "extractor_sha256", "n_real", "n_fake", "n_prdc", "k", "n_modes",
    "split", "resize", "real_sha256", "asked_classes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Result of the copy check, see `ganvas.evaluation.copies`.

    ratio, spread: with the standard deviation over bootstrap samples.
    share, share_held_out: share of the generated images, and of the yardstick's, that count as
        copies.
    nearest_training, nearest_held_out: median distance of generated images to the nearest one.
    n_fake: generated images that these are taken of, chosen at random.
    space: how distances are taken.
    sheet: path of the sheet of closest pairs; "" if none was written.
    yardstick: the real images compared with: held-out ones or, without these, training images.
    identical: number of all generated images that are training images to the pixel (or mirrored,
        if training saw images mirrored); None in results of earlier versions.
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
    """Accuracy on held-out images of a classifier trained on `images` generated ones (`fakes`),
    and of one trained on as many real ones (`reals`)."""

    fakes: float
    reals: float
    images: int


@dataclass(frozen=True, kw_only=True)
class RepeatOptions:
    """Options of `ganvas evaluate` that repeat an evaluation; hindrance: why none do, else ""."""

    options: tuple[str, ...] = ()
    hindrance: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(Scores):
    """Result of an evaluation: its scores, and what belongs to them.

    source: the run, file or data set that was evaluated.
    floor: the same scores for real training images in place of generated ones: about the best that
        a generator can reach, unless a note says otherwise.
    seeds, spread: with several seeds, scores are means and `spread` their standard deviations.
    real_accuracy: share of the real images that the extractor names as labelled.
    notes: caveats.
    weights_sha256: of the generator; "" for images.
    asked: options that repeat the evaluation; None in results of earlier versions.
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
        """JSON on one line."""
        return msgspec.json.encode(self).decode()


def shown_scores(result: EvaluationResult) -> list[str]:
    """Names in ROWS for which a result or its floor has a score."""
    both = (result, result.floor)
    return [name for name in ROWS if any(getattr(each, name) is not None for each in both)]


def cell(result: EvaluationResult, name: str) -> str:
    """A score with its spread over seeds or, of KID, over subsets."""
    value, spread = getattr(result, name), getattr(result.spread, name, None)
    if spread is None:
        spread = getattr(result, f"{name}_std", None)
    known = value is not None and spread is not None
    return f"{format_score(value)} ± {format_score(spread)}" if known else format_score(value)


def format_score(value: float | None) -> str:
    """Four digits; a dash for None."""
    return "-" if value is None else f"{value:.4g}"


def mean_and_spread(each: Sequence[Scores]) -> tuple[Scores, Scores | None]:
    """Means over seeds, and sample standard deviations (None for a single seed)."""
    if len(each) == 1:
        return each[0], None
    columns = {name: [getattr(scores, name) for scores in each] for name in SCORE_NAMES}
    known = {name: values for name, values in columns.items() if None not in values}
    means: dict[str, Any] = {name: fmean(values) for name, values in known.items()}
    spreads: dict[str, Any] = {name: stdev(values) for name, values in known.items()}
    classes = [scores.per_class for scores in each if scores.per_class is not None]
    if len(classes) == len(each):
        rows = {name: [a for one in classes if (a := one[name]) is not None] for name in classes[0]}
        means["per_class"] = {name: fmean(row) if row else None for name, row in rows.items()}
    return Scores(**means), Scores(**spreads)


def read_result(path: Path) -> EvaluationResult:
    """Read a result of `ganvas evaluate --json > PATH`. Raises RunError."""
    with files.reading(path):
        content = path.read_bytes()
    return parse_result(content, str(path))


def parse_result(content: bytes | str, origin: str) -> EvaluationResult:
    """Parse a result's JSON. Raises RunError, naming `origin`, for anything else."""
    try:
        return msgspec.json.decode(content, type=EvaluationResult)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = f"no result of ganvas evaluate --json ({' '.join(str(error).split())[:150]})"
        raise RunError(f"{origin} is {what}: write it anew") from None


def raise_if_incomparable(results: Sequence[tuple[str, EvaluationResult]]) -> None:
    """Raise MetricError, naming what differs, unless all results have one protocol."""
    (first, reference), *others = results
    for name, result in others:
        if parts := "; ".join(_differences(reference.protocol, result.protocol)):
            differ = f"their protocols differ: {parts}; evaluate both alike"
            raise MetricError(f"{first} and {name} cannot be compared, {differ}")


def same_protocol(a: EvaluationResult, b: EvaluationResult) -> bool:
    """Return True if two results have the same protocol."""
    return not _differences(a.protocol, b.protocol)


def results_during_training(
    results: Sequence[tuple[int | None, EvaluationResult]],
) -> list[tuple[int, EvaluationResult]]:
    """Results made during training, under the newest of their protocols.

    results: of `history.results_of`.
    """
    measured = [(images, each) for images, each in results if images is not None]
    return [(images, each) for images, each in measured if same_protocol(each, measured[-1][1])]


def _differences(a: Protocol, b: Protocol) -> list[str]:
    # for these fields: a title, and the text of a value
    formats: dict[str, tuple[str, Callable[[Protocol], str]]] = {
        "extractor_sha256": ("extractor", lambda p: f"{p.extractor} {p.extractor_sha256[:8]}"),
        "real_sha256": ("real images", lambda p: f"{p.data} {p.real_sha256[:8]}"),
        "asked_classes": ("classes asked for", lambda p: p.asked_classes or "as in training"),
    }
    different = []
    for name in COMPARED:
        if getattr(a, name) != getattr(b, name):
            title, text = formats.get(name, (name, attrgetter(name)))
            different.append(f"{title} {text(a)} and {text(b)}")
    for name, title in (("real_files", "real images"), ("fake_files", "generated images")):
        one, two = getattr(a, name), getattr(b, name)
        if "unknown" not in (one, two) and lossy_kinds(one) != lossy_kinds(two):
            different.append(f"files of the {title} {one} and {two}")
    return different


def version_notes(results: Sequence[tuple[str, EvaluationResult]]) -> list[str]:
    """Notes on versions that differ: last digits may depend on them."""
    (first, reference), *others = results
    notes = []
    for name, result in others:
        one, two = reference.protocol.versions, result.protocol.versions
        pairs = {key: (one.get(key), two.get(key)) for key in one | two}
        different = ", ".join(f"{key} {a} and {b}" for key, (a, b) in pairs.items() if a != b)
        if different:
            versions = f"different versions, which the last digits may depend on: {different}"
            notes.append(f"{first} and {name} were evaluated with {versions}")
    return notes
