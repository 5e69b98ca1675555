"""The doctor: what ails a training, told from its log. Each finding names a state, its evidence,
and a command to run next.

`diagnose()` is the rules, one function each, over marks: figures of stretches of the training, in
order (see `History`).
`Monitor` asks them while a training goes on. Where the figures come from: ganvas.training.logger
(losses, gradients), ganvas.training.checkup (samples, held-out images).

The thresholds were set so that runs made ill on purpose are told from healthy ones with room on
both sides (docs/log.md); a few thousand steps of a healthy GAN look bad in many ways, so a rule
wants what has gone on for a while.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ganvas.doctor import remedies
from ganvas.doctor.remedies import RunInfo
from ganvas.recipe import MAX_AUGMENT

State = Literal[
    "NaN",
    "exploding gradients",
    "vanishing gradients",
    "starving on tiny data",
    "memorising",
    "mode collapse",
    "learning stalled",
    "D overfits the training set",
    "D overpowers G",
    "healthy",
    "too early to tell",
]
LogMean = Mapping[str, float]

MARKS = 128  # into which a log is drawn together, so that asking costs the same however long it is
RECENT = 1 / 3  # of the images seen: the stretch that must be ill

# a loss per image: healthy ones stay below 60, WGAN's too, whose scale is a distance of images
EXPLODED_LOSS = 1e3
EXPLODED_D_LOSS = 4.0  # D's loss, of that where it cannot tell: healthy ones stay below 1.3
EXPLODED_GRADIENT = 1e3  # a norm: healthy ones stay below 100
# a norm: with a million weights each has 1e-8, Adam's own eps, so steps shrink with it
VANISHED_GRADIENT = 1e-5
# of one layer's weights: with a hundred each has that; healthy layers stay above 1e-3
VANISHED_LAYER = 1e-7
MAX_COMPARED = (
    2048  # training and held-out images, each, that samples are compared with during training
)
TINY_DATA = 100  # images: below, none can be spared to see what D has learnt by heart
TINY_EPOCHS = 10  # by then a D of any size knows them
COPIED = 0.6  # of held-out images' distances: healthy samples are at 1.0 to 1.1, a copier's at 0.05
COPIED_BLIND = 0.3  # the same where nothing is held out, and blur alone brings samples nearer
# of the diversity of real images: that of samples of one image. Untrained networks have 0.1
SAME = 0.03
# of the diversity of samples: how far each is from the next one. Of three pictures: below 0.01;
# real digits: about 1
TWINS = 0.1
# the same from GROWN steps on: good GANs have 0.7 to 1.1, plain ones long stay at 0.1 to 0.2
MIN_DIVERSITY = 0.1
GROWN = 5000  # steps
WARM = 50  # steps, in which BatchNorm's running statistics have yet to become those of G's layers
FALLEN = 0.4  # of the greatest diversity that there was among samples that looked like pictures
# of log(classes): one class alone has 1, two of ten digits 0.5, sharp healthy GANs 0.2 or less
ONE_SIDED = 0.4
RISEN = 0.25  # of log(classes), above the least that there was: half of the classes are gone
# of the diversity of real images, which 1s alone have: blurred samples stay below, and are nearest
# to 1s
SHARP = 0.6
EARLY = 10  # steps, before which nothing is healthy yet
STILL = 0.02  # relative change of figures, over the whole training, that says that nothing moves
# the sum of the learning rates: no weight can have moved much further. A weight is 0.01 to 0.1
STILL_MOVED = 1e-4
STILL_STEPS = 100  # below, nothing can be expected to have moved
# times as far from the nearest training image as held-out images are: no picture of the kind yet
FAR = 1.8
# D's loss, of that where it cannot tell: it has nothing more to learn. Healthy ones, later: from
# 0.07
MAX_IDLE_RATE = 0.05
IDLE_PAIRED = 0.2  # the same of a relativistic loss, together with
# G's loss, of that where D cannot tell. Healthy ones, once begun: 0.16 or more, and 6 or less
BEATEN_PAIRED = 7.0
TOLD = 0.98  # how well D tells samples from real images, where its loss has no such scale
OPENING = 200  # steps, in which any D is ahead
OPENING_PAIRED = 400  # the same of a relativistic loss
# of what distances were in the first half: by so much samples must have come nearer to be on their
# way
BETTER = 0.9
OVERFIT = 0.4  # how well D tells training from held-out images: chance alone reaches 0.15
OVERFIT_ADAPTIVE = 0.75  # the same where augmentation adapts itself, whose aim is 0.6
MAX_AUGMENTED = 0.99 * MAX_AUGMENT  # and can rise no further


@dataclass(frozen=True)
class Finding:
    """evidence: in figures. command: what to run next, fit for a shell."""

    state: State
    evidence: str
    command: str


class History:
    """A log as at most MARKS marks. A mark is the mean of as many lines as any other; the newest
    may be of fewer."""

    def __init__(self) -> None:
        self.whole: list[LogMean] = []
        self.begun: list[LogMean] = []
        self.width = 1

    def add(self, line: Mapping[str, Any]) -> None:
        self.begun.append(
            {name: value for name, value in line.items() if isinstance(value, (int, float))}
        )
        if len(self.begun) == self.width:
            self.whole.append(_mean(self.begun))
            self.begun = []
        if len(self.whole) == MARKS:
            self.whole = [_mean(self.whole[k : k + 2]) for k in range(0, MARKS, 2)]
            self.width *= 2

    @property
    def marks(self) -> list[LogMean]:
        return [*self.whole, *([_mean(self.begun)] if self.begun else [])]


def _mean(lines: Sequence[LogMean]) -> LogMean:
    """Means of the figures that are there; places are the last line's."""
    names = dict.fromkeys(name for line in lines for name in line)
    means = {name: statistics.fmean(line[name] for line in lines if name in line) for name in names}
    return means | {name: lines[-1][name] for name in ("images", "step", "epoch", "seconds")}


class Monitor:
    """Looks at a training while it goes on. A state is told once: when two checkups, one after the
    other, show it, or, of states IN_LOG, two lines with gradient norms."""

    def __init__(self, patient: RunInfo) -> None:
        self.patient = patient
        self.resume(())

    def resume(self, lines: Iterable[LogMean]) -> None:
        """Take in the log of a training that goes on; what it told, the user has heard."""
        self.history, self.told, self.suspected = History(), set[State](), set[State]()
        for line in lines:
            self.see(line)

    def see(self, line: LogMean) -> list[Finding]:
        """Take in a line of the log; what there is to tell. One of losses alone is not thought
        about: every step may have one."""
        self.history.add(line)
        checked = "diversity" in line
        if not checked and ("g_gradient" not in line or line["step"] < WARM):
            return []
        found = [
            each
            for each in diagnose(self.patient, self.history.marks)
            if each.state not in self.told
        ]
        if not checked:
            found = [each for each in found if each.state in IN_LOG]
        sure = [each for each in found if each.state in self.suspected and each.state in RULES]
        self.suspected = {each.state for each in found} | (
            set() if checked else self.suspected - IN_LOG
        )
        self.told |= {each.state for each in sure}
        return sure


def diagnose(patient: RunInfo, marks: Sequence[LogMean]) -> list[Finding]:
    """All that is found, what explains the others first; "healthy" alone where nothing is."""
    if not marks:
        return [_finding(patient, "too early to tell", "the log has no line yet")]
    course = LogSummary(patient, marks)
    found = [
        (state, evidence) for state, rule in RULES.items() if (evidence := rule(course)) is not None
    ]
    lost = [k for k, (state, _) in enumerate(found) if state in LOST]
    found = found[: lost[0] + 1] if lost else found  # the other figures mean nothing then
    if not found:
        step, early = course.last["step"], course.last["step"] < EARLY
        found = [
            (
                ("too early to tell", f"{step:.0f} steps; {_healthy(course)}")
                if early
                else ("healthy", _healthy(course))
            )
        ]
    return [_finding(patient, state, evidence) for state, evidence in found]


def _finding(patient: RunInfo, state: State, evidence: str) -> Finding:
    return Finding(state, evidence, remedies.command(patient, state))


class LogSummary:
    """The marks of a training, and what rules ask of them."""

    def __init__(self, patient: RunInfo, marks: Sequence[LogMean]) -> None:
        self.patient, self.marks, self.last = patient, marks, marks[-1]
        self.recent = [
            mark for mark in marks if mark["images"] > (1 - RECENT) * self.last["images"]
        ]

    def all(self, name: str) -> list[float]:
        return [mark[name] for mark in self.marks if name in mark]

    def now(self, name: str) -> float | None:
        """The median of a figure in the recent stretch, or the newest before; None where it was
        never taken."""
        recent = [mark[name] for mark in self.recent if name in mark] or self.all(name)[-1:]
        return statistics.median(recent) if recent else None

    def before(self, name: str) -> float | None:
        """The median of a figure in the first half; None where that has none."""
        half = [
            mark[name]
            for mark in self.marks
            if name in mark and mark["images"] <= self.last["images"] / 2
        ]
        return statistics.median(half) if half else None

    def still(self, name: str) -> bool:
        """Whether a figure of checkups has not moved at all: not since the first, and over three at
        the least."""
        values = self.all(name)
        return len(values) >= 3 and max(values) - min(values) <= STILL * abs(values[-1])


def _nan(course: LogSummary) -> str | None:
    if all(math.isfinite(value) for value in course.last.values()):
        return None
    before = [mark for mark in course.marks[:-1] if math.isfinite(mark["d_loss"])]
    losses = (
        f"; D's loss was {_n(before[-1]['d_loss'])}, G's {_n(before[-1]['g_loss'])} before"
        if before
        else ""
    )
    return f"losses or weights are no numbers since step {course.last['step']:.0f}{losses}"


def _exploding(course: LogSummary) -> str | None:
    names = {
        "d_loss": "D's loss",
        "d_gradient": "D's gradient norm",
        "g_gradient": "G's gradient norm",
    }
    if course.patient.chance > 0:  # a critic's scores have no zero, and G's loss is but their mean
        names["g_loss"] = "G's loss"
    huge = []
    for name, words in names.items():
        limit = EXPLODED_LOSS if "loss" in name else EXPLODED_GRADIENT
        if (now := course.now(name)) is not None and abs(now) > limit:
            huge.append(f"{words} is {_n(now)} (expected: below {limit:,.0f})")
    chance, loss = course.patient.chance, course.now("d_loss")
    if not huge and loss is not None and 0 < EXPLODED_D_LOSS * chance < loss:
        huge.append(f"D's loss is {_n(loss)}, where one that cannot tell has {_n(chance)}")
    return "; ".join(huge) or None


def _vanishing(course: LogSummary) -> str | None:
    whole, least = course.now("g_gradient"), course.now("g_least_gradient")
    if whole is not None and whole <= VANISHED_GRADIENT:
        return (
            f"G's gradient norm is {_n(whole)} (expected: above {VANISHED_GRADIENT:g}), D's"
            f" {_n(course.now('d_gradient'))}"
        )
    # one of 0 is a layer's that does not count, such as one without input
    if least and least <= VANISHED_LAYER:
        return (
            f"of G's {_n(whole)} as a gradient norm, {_n(least)} reaches one of its layers"
            f" (expected: above {VANISHED_LAYER:g})"
        )
    return None


def _starving(course: LogSummary) -> str | None:
    number, epochs = course.patient.card.data.images, course.last["epoch"]
    if number >= TINY_DATA or epochs < TINY_EPOCHS:
        return None
    return (
        f"{number} training images, each seen {epochs:,.0f} times: too few for D to learn what they"
        f" have in common (expected: {TINY_DATA} or more){_distances(course)}"
    )


def _memorising(course: LogSummary) -> str | None:
    """By all training images where they were looked at: of 60,000, MOST hold but few of those that
    are copied."""
    whole = "_of_all" if course.all("nearest_of_all") else ""
    copying, nearest = course.now(f"copying{whole}"), course.now(f"nearest{whole}")
    if copying is not None and copying < COPIED:
        words = (
            f"samples are {_n(copying)} times as far from training images as held-out images are"
            " (expected: about 1)"
        )
    elif copying is None and nearest is not None and nearest < COPIED_BLIND:
        words = (
            f"samples are {_n(nearest)} times as far from training images as these are from one"
            " another"
        )
    else:
        return None
    return words + _looked_at(course)


def _collapse(course: LogSummary) -> str | None:
    return _alike(course) or _few_pictures(course) or _few_classes(course)


def _alike(course: LogSummary) -> str | None:
    diversity, seen = (
        course.now("diversity"),
        [mark for mark in course.marks if "diversity" in mark],
    )
    most = max((mark["diversity"] for mark in seen if mark["nearest"] < FAR), default=0.0)
    least = max(
        MIN_DIVERSITY if course.last["step"] >= GROWN else SAME,
        FALLEN * most if most >= FALLEN else 0.0,
    )
    if diversity is None or diversity > least or course.last["step"] < WARM:
        return None
    kinds = course.now("class_kl")
    return (
        f"two samples differ by {_n(diversity)} of what two real images do (expected: about 1; it"
        f" was {_n(most)})"
        + (
            ""
            if kinds is None
            else f"; their classes' divergence from the data's is {_n(kinds)} (expected: near 0)"
        )
    )


def _few_pictures(course: LogSummary) -> str | None:
    """Samples that are each a twin of another: of three pictures two differ mostly, as of many."""
    apart, diversity = course.now("apart"), course.now("diversity")
    if (
        apart is None
        or diversity is None
        or apart > TWINS * diversity
        or course.last["step"] < WARM
    ):
        return None
    return (
        f"samples are copies of a few pictures: each is {_n(apart)} times as far from the nearest"
        " other one as real images are (expected: about 1), though two by chance differ by"
        f" {_n(diversity)} of what two real images do"
    )


def _few_classes(course: LogSummary) -> str | None:
    """Samples that look like pictures, of a few classes: these may differ as much as any.

    Blurred ones are nearest to the simplest class, whatever they will be: they are known by their
    little diversity.
    """
    kinds, diversity, nearest = (course.now(name) for name in ("class_kl", "diversity", "nearest"))
    if kinds is None or diversity is None or nearest is None or course.last["step"] < WARM:
        return None
    if nearest >= FAR or diversity < SHARP:
        return None
    all_kinds = math.log(len(course.patient.card.image.classes))
    seen = [mark for mark in course.marks if "class_kl" in mark and mark["nearest"] < FAR]
    best = min((mark["class_kl"] for mark in seen), default=kinds)
    if kinds <= min(ONE_SIDED * all_kinds, best + RISEN * all_kinds):
        return None
    return (
        f"of the classes few are left: their divergence from the data's is {_n(kinds)} (expected:"
        f" near 0; it was {_n(best)}), though two samples differ by {_n(diversity)} of what two"
        " real images do"
    )


def _stalled(course: LogSummary) -> str | None:
    step, nearest = course.last["step"], course.now("nearest")
    moved = statistics.fmean(course.all("lr")) * step
    if step < STILL_STEPS:
        return None
    # what starts from good weights may stay as it is
    fresh = course.patient.card.started_from is None
    if fresh and nearest is not None and course.still("nearest") and course.still("diversity"):
        return (
            "samples have not changed since the first checkup, with a learning rate of"
            f" {_n(course.last['lr'])}" + _distances(course)
        )
    if moved < STILL_MOVED and course.patient.card.plan.progress(course.last["images"]) >= 0.1:
        return (
            f"in {step:,.0f} steps of a learning rate of {_n(course.last['lr'])} no weight can have"
            f" moved by {_n(moved)}"
        )
    return None


def _overpowered(course: LogSummary) -> str | None:
    nearest, before, told = course.now("nearest"), course.before("nearest"), course.now("told")
    loss, chance = course.now("d_loss"), course.patient.chance
    assert loss is not None
    idle = loss <= MAX_IDLE_RATE * chance if chance > 0 else told is not None and told >= TOLD
    lost = nearest is not None and before is not None and nearest >= max(FAR, BETTER * before)
    step, paired = course.last["step"], course.patient.paired
    beaten = (
        paired
        and loss <= IDLE_PAIRED * chance
        and (course.now("g_loss") or 0.0) >= BEATEN_PAIRED * chance
    )
    if not ((idle and lost and step >= OPENING) or (beaten and step >= OPENING_PAIRED)):
        return None
    return (
        f"D's loss is {_n(loss)}"
        + (f" ({_n(chance)} where it cannot tell)" if chance > 0 else "")
        + f", G's {_n(course.now('g_loss'))}"
        + (
            ""
            if told is None
            else f"; D tells {(1 + told) / 2:.1%} of pairs of a real image and a sample"
        )
        + _distances(course)
    )


def _overfits(course: LogSummary) -> str | None:
    memorised, adaptive = course.now("memorised"), course.patient.train.augment == "adaptive"
    if memorised is None or memorised < (OVERFIT_ADAPTIVE if adaptive else OVERFIT):
        return None
    # where it adapts itself, which is the cure while it can
    augmented = course.last.get("augmentation")
    if adaptive and augmented is not None and augmented < MAX_AUGMENTED:
        return None
    return (
        f"D's mean score is {_n(course.now('d_known'))} for training images and"
        f" {_n(course.now('d_held'))} for held-out ones: it tells {(1 + memorised) / 2:.0%} of"
        " pairs (expected: about 50%)"
        + (f", with {augmented:.0%} of what it sees augmented" if augmented else "")
    )


RULES: dict[State, Callable[[LogSummary], str | None]] = {
    "NaN": _nan,
    "exploding gradients": _exploding,
    "vanishing gradients": _vanishing,
    "starving on tiny data": _starving,
    "memorising": _memorising,
    "learning stalled": _stalled,
    "mode collapse": _collapse,
    "D overfits the training set": _overfits,
    "D overpowers G": _overpowered,
}
# told by the log, without a checkup
IN_LOG: set[State] = {"exploding gradients", "vanishing gradients"}
LOST = ("NaN", "exploding gradients", "learning stalled")


def _healthy(course: LogSummary) -> str:
    told = {
        "two samples differ by {} of what two real images do": "diversity",
        "D tells training from held-out images by {} (0: not at all, 1: all)": "memorised",
        "G's gradient norm is {}": "g_gradient",
    }
    figures = [
        words.format(_n(now))
        for words, name in told.items()
        if (now := course.now(name)) is not None
    ]
    figures.append(f"D's loss {_n(course.now('d_loss'))}, G's {_n(course.now('g_loss'))}")
    return "; ".join(figures) + _distances(course)


def _distances(course: LogSummary) -> str:
    if (nearest := course.now("nearest")) is None:
        return ""
    before = course.before("nearest")
    than = f", {_n(before)} in the first half" if before is not None else ""
    others = "held-out images are" if course.all("copying") else "these are from one another"
    return (
        f"; samples are {_n(nearest)} times as far from training images as"
        f" {others}{than}{_looked_at(course)}"
    )


def _looked_at(course: LogSummary) -> str:
    """How many training images that was said of, where it was not of all."""
    number = course.patient.card.data.images
    return (
        ""
        if number <= MAX_COMPARED or course.all("nearest_of_all")
        else f" ({MAX_COMPARED:,} of {number:,} were looked at)"
    )


def _n(value: float | None) -> str:
    """A figure in three digits."""
    return "unknown" if value is None else f"{value:.3g}"
