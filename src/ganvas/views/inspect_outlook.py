"""The outlook of a training: how often it sees each image, and whether that is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganvas.data.concerns import MIN_TO_LEARN
from ganvas.recipe import AUGMENT_BELOW, Interval
from ganvas.system.machine import cores
from ganvas.system.progress import duration
from ganvas.system.text import count
from ganvas.training.preflight import Prepared

if TYPE_CHECKING:
    from ganvas.training.cost import Cost

# Recipe -> what it has made, with the images that it had seen by then (docs/figures.md, and for
# projected/images docs/log.md), fewest first.
KNOWN_ENOUGH = {
    "r3gan/digits": ((190_000, "digits of 28x28"),),
    "r3gan/images": ((300_000, "simple pictures of 64x64"),),
    "r3gan/stacked-mnist": ((3_400_000, "a thousand numbers"),),
    "projected/images": (
        (10_000, "the shapes and colours of photographs and sprites of 64x64"),
        (35_000, "sprites of 64x64 that are recognised one by one"),
    ),
}
# How often each image can be seen before it is learned by heart: with augmentation 200 pictures
# were seen 1,480 times and not copied.
MAX_TIMES_AUGMENTED, MAX_TIMES = 1500, 300
BUSY = 0.4  # cores that others use, from which times are clearly too long


@dataclass(frozen=True)
class Outlook:
    """Cost and course of a training.

    seconds_per_kimg: of training, per 1,000 real images.
    peak_rss_mb: of memory, including the data.
    whole_training: the length and about how long it takes.
    images_planned: real images seen in that length.
    times_seen: how often each image of the train part is seen.
    busy_cores: the number of cores that other processes used while it was measured.
    text: lines for the user, each with its name.
    warnings: what will go wrong, each with what helps.
    """

    threads: int
    seconds_per_kimg: float
    peak_rss_mb: float
    whole_training: str
    images_planned: int
    times_seen: float
    busy_cores: float
    text: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def _times(number: float) -> str:
    return f"{number:,.0f} times" if number >= 10 else f"{number:.2g} times"


def foresee(prepared: Prepared, cost: Cost, images: int) -> Outlook:
    """Work out what a training will do.

    prepared: with the length that is planned.
    images: in the train part.
    """
    train, name = prepared.recipe.train, prepared.name
    length, planned = Interval.parse(train.length), cost.images_planned(train, images)
    times, seconds = planned / images, planned * cost.seconds_per_image
    whole = f"{length} in about {duration(seconds)}"
    speed = f"{name} on {count(cost.threads, 'thread')}: {cost.seconds_per_image * 1000:.2f} s"
    text = [
        (
            "cost",
            f"{speed} per 1,000 images, {whole}, {cost.peak_rss_mb:,.0f} MB of memory",
        ),
        ("outlook", f"{planned:,} images to be seen, each about {_times(times)}"),
    ]
    warnings = []
    if cost.busy_cores >= BUSY:
        busy = f"other processes use {cost.busy_cores:.1f} of {count(cores(), 'core')}"
        warnings.append(f"{busy}: all these times are too long")
    stages = KNOWN_ENOUGH.get(name, ())
    reached = [stage for stage in stages if planned >= stage[0]]
    if reached:
        enough, what = reached[-1]
        text.append(("", f"enough for {what}, which took {enough:,}; richer ones need more"))
    if missed := stages[len(reached) :]:
        enough, what = missed[0]
        minutes = math.ceil(enough * cost.seconds_per_image / 60)
        few = f"{planned:,} images are fewer than the {enough:,} that {name} needed for {what}"
        warnings.append(f"{few}: give --minutes {minutes}, or a smaller --size")
    adaptive = train.augment == "adaptive" and images < AUGMENT_BELOW
    most = MAX_TIMES_AUGMENTED if adaptive or train.augment else MAX_TIMES
    if times > most and images >= MIN_TO_LEARN:
        warnings.append(
            f"each image is seen {_times(times)} and may be learned by heart: add images, use"
            f" --flip if mirrored ones look right, or stop sooner (--images {images * most})"
        )
    return Outlook(
        threads=cost.threads,
        seconds_per_kimg=cost.seconds_per_image * 1000,
        peak_rss_mb=cost.peak_rss_mb,
        whole_training=whole,
        images_planned=planned,
        times_seen=times,
        busy_cores=cost.busy_cores,
        text=tuple(text),
        warnings=tuple(warnings),
    )
