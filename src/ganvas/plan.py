"""The plan of a training: how long it is, and how much of it is done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ganvas.recipe import Positive

MAX_PLAN_IMAGES = 10**15  # more images are a slip of the user's


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The length of a training, which a training by the clock revises on the way.

    images: real images to see in all, as planned at first.
    batch: images in a step.
    epoch: images in the data set.
    requested: the length as the user gave it.
    revisions: (images seen, new total), one for each time that training was faster or slower than
        planned. From there on, the progress that was left is spread over what the new total leaves.
    """

    images: Annotated[int, Meta(ge=0, le=MAX_PLAN_IMAGES)]
    batch: Positive
    epoch: Positive
    requested: str
    revisions: tuple[
        tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0, le=MAX_PLAN_IMAGES)]], ...
    ] = ()

    def __post_init__(self) -> None:
        places = [at for at, _ in self.revisions]
        if places != sorted(places) or any(total < at for at, total in self.revisions):
            raise ValueError("revisions of the plan must be in order")

    @property
    def total(self) -> int:
        """Images to see in all, by the last revision, in whole steps."""
        images = self.revisions[-1][1] if self.revisions else self.images
        return max(1, -(-images // self.batch)) * self.batch

    def progress(self, images_seen: float) -> float:
        """The part of the plan that is done, 0 to 1."""
        since, done, total = 0, 0.0, self.images
        for at, revised in self.revisions:
            if at > images_seen:
                break
            done += (1 - done) * min(1.0, (at - since) / max(1, total - since))
            since, total = at, revised
        return done + (1 - done) * min(1.0, (images_seen - since) / max(1, total - since))

    def images_at(self, images_seen: int) -> int:
        """Images to see in all, as planned when `images_seen` had been seen."""
        return next(
            (total for at, total in reversed(self.revisions) if at <= images_seen), self.images
        )

    def epoch_progress(self, images_seen: int) -> float:
        """The progress that per-epoch schedules follow: that of the current epoch's start, if the
        plan is of two epochs or more at this point."""
        if self.images_at(images_seen) < 2 * self.epoch:
            return self.progress(images_seen)
        return self.progress(images_seen // self.epoch * self.epoch)

    def revise(self, at: int, images: int) -> Plan:
        """The plan with a new total of `images`, from `at` images seen on."""
        return dataclasses.replace(self, revisions=(*self.revisions, (at, images)))
