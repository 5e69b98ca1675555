"""The time and memory of a training on this machine, measured in seconds on steps that fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from ganvas.errors import SettingError
from ganvas.recipe import Interval, TrainConfig
from ganvas.system.machine import OtherLoad, peak_rss_mb
from ganvas.training import benchmark
from ganvas.training.preflight import Prepared, step_bytes

COST_SECONDS = 10.0  # for measuring
STEP_FACTOR = 2  # of a step's memory to the lower bound by `step_bytes`
MEASURED_BYTES = 250_000_000  # of the largest step that is measured, by that bound
MIN_MEASURED_BATCH = 8  # in smaller ones, what is done once a step outweighs


@dataclass(frozen=True)
class Cost:
    """The cost of a training.

    seconds_per_image: of training, for one real image.
    peak_rss_mb: of memory, including the data.
    busy_cores: the mean number of cores that other processes used meanwhile.
    """

    threads: int
    seconds_per_image: float
    peak_rss_mb: float
    busy_cores: float

    def images_planned(self, train: TrainConfig, images: int) -> int:
        """The real images that a training sees in its whole length.

        images: in the data set.
        """
        length = Interval.parse(train.length)
        if length.unit == "minutes":
            return int(length.amount * 60 / self.seconds_per_image)
        return max(1, round(length.images(train.batch, images)))


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Turn the errors of NumPy and torch for memory that is not to be had into SettingError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        raise SettingError("memory ran out: use a smaller --size or batch") from None


def measure_cost(prepared: Prepared) -> Cost:
    """Measure steps on a part of the batch if whole ones would take long or much memory.

    Raises SettingError if a training does not fit into the free memory.
    """
    train = prepared.recipe.train
    batch = train.batch
    needed = STEP_FACTOR * _bound(prepared, train)
    free = psutil.virtual_memory().available
    if needed > free:
        raise SettingError(
            f"a step takes about {needed / 1e9:,.1f} GB of memory and {free / 1e9:,.1f} GB are"
            " free: use a smaller --size or batch"
        )
    small = train
    while batch > MIN_MEASURED_BATCH and _bound(prepared, small) > MEASURED_BYTES:
        batch = max(MIN_MEASURED_BATCH, batch // 2)
        fakes = train.g_batch and max(MIN_MEASURED_BATCH, train.g_batch * batch // train.batch)
        small = dataclasses.replace(train, batch=batch, g_batch=fakes)
    recipe = dataclasses.replace(prepared.recipe, train=small)
    before, others = psutil.Process().memory_info().rss, OtherLoad()
    choice = benchmark.choose(
        dataclasses.replace(prepared, recipe=recipe), seconds=COST_SECONDS, fewest_first=True
    )
    memory = peak_rss_mb()
    if small.batch < train.batch:
        memory = max(memory, (before + needed) / 1e6)
    return Cost(choice.threads, choice.seconds / batch, memory, others.cores())


def _bound(prepared: Prepared, train: TrainConfig) -> int:
    return step_bytes(prepared.file, prepared.recipe.model, train, prepared.spec)
