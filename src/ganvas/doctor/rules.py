"""The doctor's rules: one for each state of a training, giving its evidence in figures.

The figures come from ganvas.training.logger (losses, gradients) and ganvas.training.checkup
(samples, held-out images).

The thresholds separate runs made ill on purpose from healthy ones, with room on both sides
(docs/log.md). The first few thousand steps of a healthy GAN look bad in many ways, so a rule asks
for what has lasted.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Literal

from ganvas.doctor.log_summary import LogSummary
from ganvas.doctor.picture_rules import ARTEFACTS, PictureState, lasting, passing
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
    PictureState,
    "healthy",
    "too early to tell",
]

# Steps below which no run is called healthy.
EARLY = 10
# Diversity below which none is, either (see mode collapse).
LOW_DIVERSITY = 0.3
# Steps in which BatchNorm's running statistics have yet to settle, so samples mean little.
WARM = 50

# Exploding gradients. Losses per image: healthy ones stay below 60, WGAN's too, whose scale is a
# distance of images.
EXPLODED_LOSS = 1e3
# D's loss in multiples of its loss at chance: healthy ones stay below 1.3.
EXPLODED_D_LOSS = 4.0
# Gradient norms: healthy ones stay below 100.
EXPLODED_GRADIENT = 1e3

# Vanishing gradients. G's gradient norm: with a million weights each has 1e-8, Adam's eps, so that
# its steps shrink with the gradient.
VANISHED_GRADIENT = 1e-5
# The norm of one layer: with a hundred weights each has 1e-8. Healthy layers stay above 1e-3.
VANISHED_LAYER = 1e-7

# Starving on tiny data. With fewer images none can be spared to see what D has learnt by heart.
TINY_DATA = 100
# Epochs by which a D of any size knows them.
TINY_EPOCHS = 10

# Memorising. Training and held-out images, each, that samples are compared with during training.
MAX_COMPARED = 2048
# The ratio of distances to training and to held-out images: healthy samples have 1.0 to 1.1, those
# of a copier 0.05.
COPIED = 0.6
# The same without held-out images, where blur alone brings samples nearer.
COPIED_BLIND = 0.3

# Mode collapse. Diversity (the distance of two samples over that of two real images) of samples of
# one image; untrained networks have 0.1.
SAME = 0.03
# The same from GROWN steps on: good GANs have 0.7 to 1.1, plain ones fall to 0.07 to 0.15 and grow
# again between 3,000 and 6,000 steps.
MIN_DIVERSITY = 0.1
GROWN = 5000
# Steps from which on plain ones have 0.4 or more, so that LOW_DIVERSITY is a collapse.
SETTLED = 10_000
# The same in one class, where samples of other classes differ: healthy GANs have 0.3 or more.
ALIKE_CLASS = 0.1
# The part of their greatest diversity that samples must keep once they look like pictures.
FALLEN = 0.4
# The distance to the nearest other sample over diversity: below 0.01 if there are three pictures
# only, about 1 for real digits.
TWINS = 0.1
# Divergence of the classes over log(classes): 1 for one class, 0.5 for two of ten digits, up to 0.2
# for sharp samples of healthy GANs.
ONE_SIDED = 0.4
# The same above its least value so far: half of the classes are gone.
RISEN = 0.25
# Diversity of real 1s. Blurred samples stay below it and are nearest to 1s, so their classes mean
# nothing.
SHARP = 0.6

# Learning stalled. Steps below which nothing can be expected to have moved.
STILL_STEPS = 100
# The sum of the learning rates, which no weight moves much beyond. A weight is 0.01 to 0.1.
STILL_MOVED = 1e-4

# D overpowers G. Samples this many times as far from training images as held-out ones are do not
# look like pictures of the kind yet.
FAR = 1.8
# D's loss over its loss at chance: D has nothing more to learn. Healthy ones have 0.07 or more
# after the opening.
IDLE_LOSS = 0.05
# The same of a relativistic loss, together with G's loss over its loss at chance. Healthy ones have
# 0.16 or more, and 6 or less, after the opening.
IDLE_PAIRED = 0.2
BEATEN_PAIRED = 7.0
# d_separation, where D's loss has no such scale.
SEPARATED = 0.98
# Steps in which any D is ahead, and the same of a relativistic loss.
OPENING = 200
OPENING_PAIRED = 400
# Samples that are on their way are nearer to training images than this part of their distance in
# the first half.
NEARER = 0.9

# D overfits. `memorised`, how well D tells training from held-out images: noise alone reaches 0.15.
OVERFIT = 0.4
# The same where augmentation adapts itself, with the aim of 0.6.
OVERFIT_ADAPTIVE = 0.75
# The probability from which adaptive augmentation can hardly rise.
MAX_ADAPTED = 0.99 * MAX_AUGMENT


def _nan(log: LogSummary) -> str | None:
    if all(math.isfinite(value) for value in log.last.values()):
        return None
    finite = [mean for mean in log.means[:-1] if math.isfinite(mean["d_loss"])]
    text = f"losses or weights are not finite since step {log.last['step']:.0f}"
    if finite:
        text += f"; before, D's loss was {_n(finite[-1]['d_loss'])}, G's {_n(finite[-1]['g_loss'])}"
    return text


def _exploding(log: LogSummary) -> str | None:
    limits = {
        "d_loss": ("D's loss", EXPLODED_LOSS),
        "d_gradient": ("D's gradient norm", EXPLODED_GRADIENT),
        "g_gradient": ("G's gradient norm", EXPLODED_GRADIENT),
    }
    chance, d_loss = log.run.chance_loss, log.now("d_loss")
    if chance > 0:  # a critic's scores have no zero, and G's loss is their mean
        limits["g_loss"] = ("G's loss", EXPLODED_LOSS)
    huge = [
        f"{title} is {_n(now)} (expected: below {limit:,.0f})"
        for name, (title, limit) in limits.items()
        if (now := log.now(name)) is not None and abs(now) > limit
    ]
    if not huge and d_loss is not None and 0 < EXPLODED_D_LOSS * chance < d_loss:
        huge.append(f"D's loss is {_n(d_loss)} (a D that only guesses has {_n(chance)})")
    return "; ".join(huge) or None


def _vanishing(log: LogSummary) -> str | None:
    norm, least = log.now("g_gradient"), log.now("g_least_gradient")
    if norm is not None and norm <= VANISHED_GRADIENT:
        expected = f"(expected: above {VANISHED_GRADIENT:g})"
        return f"G's gradient norm is {_n(norm)} {expected}, D's is {_n(log.now('d_gradient'))}"
    # 0 is the norm of a layer that does not count, such as one without input
    if least and least <= VANISHED_LAYER:
        expected = f"(expected: above {VANISHED_LAYER:g}), G as a whole has {_n(norm)}"
        return f"one of G's layers has a gradient norm of {_n(least)} {expected}"
    return None


def _starving(log: LogSummary) -> str | None:
    images, epochs = log.run.card.data.images, log.last["epoch"]
    if images >= TINY_DATA or epochs < TINY_EPOCHS:
        return None
    text = f"{images} training images, each seen {epochs:,.0f} times, are too few for D to learn"
    return f"{text} what they have in common (expected: {TINY_DATA} or more){_distances(log)}"


def _memorising(log: LogSummary) -> str | None:
    # Of 60,000 images, MAX_COMPARED hold few of those that are copied: prefer the figures of all.
    suffix = "_of_all" if log.all("nearest_of_all") else ""
    copying, nearest = log.now(f"copying{suffix}"), log.now(f"nearest{suffix}")
    if copying is not None and copying < COPIED:
        ratio, others = copying, "held-out images are (expected: about 1)"
    elif copying is None and nearest is not None and nearest < COPIED_BLIND:
        ratio, others = nearest, "training images are from one another (expected: about 1)"
    else:
        return None
    return f"samples are {_n(ratio)} times as far from training images as {others}{_compared(log)}"


def _collapse(log: LogSummary) -> str | None:
    if log.last["step"] < WARM:
        return None
    return _one_picture(log) or _few_pictures(log) or _alike_class(log) or _few_classes(log)


def _one_picture(log: LogSummary) -> str | None:
    """Apply to samples that are all alike, or far more so than they were."""
    diversity, kl = log.now("diversity"), log.now("class_kl")
    greatest = max(_near(log, "diversity"), default=0.0)
    step = log.last["step"]
    limit = LOW_DIVERSITY if step >= SETTLED else MIN_DIVERSITY if step >= GROWN else SAME
    limit = max(limit, FALLEN * greatest if greatest >= FALLEN else 0.0)
    if diversity is None or diversity > limit:
        return None
    classes = f"; {_divergence(kl)} (expected: near 0)" if kl is not None else ""
    best = f"; at best {_n(greatest)}" if greatest else ""
    return f"{_diversity(diversity)} (expected: about 1{best}){classes}"


def _near(log: LogSummary, name: str) -> list[float]:
    """Return the values of a figure from when samples looked like pictures."""
    return [mean[name] for mean in log.means if name in mean and mean["nearest"] < FAR]


def _few_pictures(log: LogSummary) -> str | None:
    """Apply to samples that each have a twin: of three pictures, two mostly differ."""
    apart, diversity = log.now("apart"), log.now("diversity")
    if apart is None or diversity is None or apart > TWINS * diversity:
        return None
    ratio = f"each is {_n(apart)} times as far from its nearest neighbour among them"
    others = f"as real images are from theirs (expected: about 1), although {_diversity(diversity)}"
    return f"samples are copies of a few pictures: {ratio} {others}"


def _alike_class(log: LogSummary) -> str | None:
    """Apply to samples of a conditional GAN that differ in general, but not in one class."""
    least, diversity = log.now("least_diversity"), log.now("diversity")
    if least is None or diversity is None or diversity < LOW_DIVERSITY or least > ALIKE_CLASS:
        return None
    ratio = f"two of them are {_n(least)} times as far apart as two real images of that class"
    return (
        f"samples of one class are all alike: {ratio} (expected: about 1); {_diversity(diversity)}"
    )


def _few_classes(log: LogSummary) -> str | None:
    """Apply to samples of a few classes that look like pictures, which may differ as real ones do.

    Blurred samples are nearest to the simplest class whatever they become: their low diversity
    tells them apart.
    """
    kl, diversity, nearest = (log.now(name) for name in ("class_kl", "diversity", "nearest"))
    if kl is None or diversity is None or nearest is None or nearest >= FAR or diversity < SHARP:
        return None
    one_class = math.log(len(log.run.card.image.classes))
    least = min(_near(log, "class_kl"), default=kl)
    if kl <= min(ONE_SIDED * one_class, least + RISEN * one_class):
        return None
    classes = f"{_divergence(kl)} (expected: near 0; at best {_n(least)})"
    return f"samples show only a few of the classes: {classes}, although {_diversity(diversity)}"


def _stalled(log: LogSummary) -> str | None:
    step, rate, nearest = log.last["step"], log.last["lr"], log.now("nearest")
    if step < STILL_STEPS:
        return None
    # a training that starts from good weights may stay as it is
    fresh = log.run.card.started_from is None
    if fresh and nearest is not None and log.is_still("nearest") and log.is_still("diversity"):
        since = f"since the first checkup, at a learning rate of {_n(rate)}{_distances(log)}"
        return f"samples have not changed {since}"
    moved = statistics.fmean(log.all("lr")) * step
    if moved < STILL_MOVED and log.run.card.plan.progress(log.last["images"]) >= 0.1:
        steps = f"in {step:,.0f} steps at a learning rate of {_n(rate)}"
        return f"{steps} no weight can have moved by {_n(moved)}"
    return None


def _overpowered(log: LogSummary) -> str | None:
    nearest, before = log.now("nearest"), log.before("nearest")
    d_loss, g_loss, separation = log.now("d_loss"), log.now("g_loss"), log.now("d_separation")
    step, chance = log.last["step"], log.run.chance_loss
    assert d_loss is not None
    idle = d_loss <= IDLE_LOSS * chance if chance > 0 else (separation or 0.0) >= SEPARATED
    lost = nearest is not None and before is not None and nearest >= max(FAR, NEARER * before)
    ahead = d_loss <= IDLE_PAIRED * chance and (g_loss or 0.0) >= BEATEN_PAIRED * chance
    beaten = log.run.paired and ahead
    if not ((idle and lost and step >= OPENING) or (beaten and step >= OPENING_PAIRED)):
        return None
    guess = f" (a D that only guesses has {_n(chance)})" if chance > 0 else ""
    text = f"D's loss is {_n(d_loss)}{guess}, G's is {_n(g_loss)}"
    if separation is not None:
        text += f"; D scores real images above samples in {_pairs(separation):.1%} of pairs"
    return text + _distances(log)


def _overfits(log: LogSummary) -> str | None:
    memorised, adaptive = log.now("memorised"), log.run.train.augment == "adaptive"
    if memorised is None or memorised < (OVERFIT_ADAPTIVE if adaptive else OVERFIT):
        return None
    # adaptive augmentation is the cure itself as long as it can rise
    augmented = log.last.get("augmentation")
    if adaptive and augmented is not None and augmented < MAX_ADAPTED:
        return None
    share = f", with {augmented:.0%} of its images augmented" if augmented else ""
    known, held = _n(log.now("d_known")), _n(log.now("d_held"))
    text = f"D's mean score is {known} for training images and {held} for held-out ones: it scores"
    return (
        f"{text} the former higher in {_pairs(memorised):.0%} of pairs (expected: about 50%){share}"
    )


def _in_pictures(state: PictureState, log: LogSummary) -> str | None:
    """Apply to samples that differ: what is wrong with nearly equal ones is that."""
    diversity = log.now("diversity")
    return None if diversity is None or diversity < LOW_DIVERSITY else lasting(log, state)


# in the order in which they explain one another
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
    **{state: partial(_in_pictures, state) for state in ARTEFACTS},
}
# states that the log shows without a checkup
IN_LOG: set[State] = {"exploding gradients", "vanishing gradients"}
# states in which the figures of later rules mean nothing
LOST: set[State] = {"NaN", "exploding gradients", "learning stalled"}


def too_early(log: LogSummary) -> str | None:
    """Return why a run without any other state is not healthy yet; None if it is."""
    step, diversity = log.last["step"], log.now("diversity")
    if diversity is not None and diversity < LOW_DIVERSITY:
        alike = f"samples are still nearly alike after {step:,.0f} steps"
        return f"{alike} (plain GANs may stay so for some {SETTLED:,})"
    if step < EARLY:
        return f"{step:.0f} steps"
    if (still := passing(log)) is not None:
        return f"after {log.last['images']:,.0f} images, samples still have {still}"
    return None


def healthy_evidence(log: LogSummary) -> str:
    texts = []
    if (diversity := log.now("diversity")) is not None:
        texts.append(_diversity(diversity))
    if (memorised := log.now("memorised")) is not None:
        share = f"{_pairs(memorised):.0%} of pairs (expected: about 50%)"
        texts.append(f"D scores training images above held-out ones in {share}")
    if (norm := log.now("g_gradient")) is not None:
        texts.append(f"G's gradient norm is {_n(norm)}")
    texts.append(f"D's loss is {_n(log.now('d_loss'))}, G's is {_n(log.now('g_loss'))}")
    return "; ".join(texts) + _distances(log)


def _diversity(value: float) -> str:
    return f"two random samples are {_n(value)} times as far apart as two real images"


def _divergence(value: float) -> str:
    return f"the KL divergence of their classes from the data's is {_n(value)}"


def _distances(log: LogSummary) -> str:
    """Return "; samples are X times as far from training images as ...", "" without a checkup."""
    if (nearest := log.now("nearest")) is None:
        return ""
    before = log.before("nearest")
    earlier = f" ({_n(before)} in the first half)" if before is not None else ""
    others = "held-out images are" if log.all("copying") else "training images are from one another"
    ratio = f"{_n(nearest)} times as far from training images as {others}"
    return f"; samples are {ratio}{earlier}{_compared(log)}"


def _compared(log: LogSummary) -> str:
    """Return the number of training images compared, "" if these are all."""
    images = log.run.card.data.images
    if images <= MAX_COMPARED or log.all("nearest_of_all"):
        return ""
    return f" ({MAX_COMPARED:,} of {images:,} training images compared)"


def _pairs(mean_sign: float) -> float:
    """Return the share of pairs in which the first score is higher, from the mean sign of the
    difference."""
    return (1 + mean_sign) / 2


def _n(value: float | None) -> str:
    """Format a figure with three digits."""
    return "unknown" if value is None else f"{value:.3g}"
