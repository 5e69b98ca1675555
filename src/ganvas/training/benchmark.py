"""The cost of training on this machine, measured on real steps of throwaway networks."""

from __future__ import annotations

import math
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import flop_registry

from ganvas.data.dataset import Dataset
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, TrainConfig
from ganvas.system.machine import cores, peak_rss_mb, prepare_cpu
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.loop import take_step
from ganvas.training.preflight import Prepared, Tally

WARMUP_SECONDS = 0.4  # for which one thread count is timed
MEASURING_SHARE = 0.1  # of a time budget, at most spent on measuring before a training
MAX_MEASURING_SECONDS = 30.0  # the same without a budget
MIN_PART_STEPS = 16  # timed for the parts of a step
# Drawing the batch; each network, forward and backward; the gradient penalty; both optimizers; the
# EMA of G's weights.
PARTS = ("batch", "G", "D", "penalty", "optimizers", "EMA")
MIN_SPEEDUP = 1.1  # of 16 bits over 32, below which 32 are chosen


def random_images(spec: ImageSpec, count: int) -> Dataset:
    """Make `count` images of noise with the shape and classes of `spec`."""
    rng = torch.Generator().manual_seed(0)
    shape = (count, spec.channels, spec.height, spec.width)
    images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    labels = torch.arange(count) % len(spec.classes) if spec.classes else None
    return Dataset("random images", images, labels, spec.classes)


class Warmup:
    """Training steps of throwaway networks, with real data and draws; nothing of it is kept.

    gan: the networks, which are trained.
    precision: "32", "bf16" or "fp16".
    """

    def __init__(
        self, gan: Gan, config: TrainConfig, dataset: Dataset, device: str, precision: str = "32"
    ) -> None:
        prepare_cpu()
        self.learner = Learner(gan, config, len(dataset), torch.device(device), precision)
        self.batches = Batches(dataset, self.learner, seed=0)
        self.batch, self.taken = config.batch, 0
        # Small, so that weights stay in an ordinary range.
        self.learner.g_optimizer.lr = self.learner.d_optimizer.lr = 1e-5

    def steps(self, count: int, end: float = math.inf) -> float:
        """Take `count` steps, wait for them, and return the mean seconds of one.

        end: time.perf_counter() after which no step begins but the first.
        """
        began, first = time.perf_counter(), self.taken
        with torch.random.fork_rng(devices=[]):
            while self.taken < first + count and (self.taken == first or time.perf_counter() < end):
                take_step(self.learner, self.batches, self.taken * self.batch)
                self.taken += 1
        if self.learner.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / (self.taken - first)

    def seconds_per_step(self, seconds: float, threads: int, end: float = math.inf) -> float:
        """Return the median seconds of a step, timed for `seconds` after one step to warm up.

        With a lazy penalty, steps are timed in groups of `penalty_every`, each with one penalty.

        end: time.perf_counter() after which no step begins but the first; the steps until then
            must do.
        """
        torch.set_num_threads(threads)
        group = self.learner.config.penalty_every
        times = [self.steps(1, end)]
        until = time.perf_counter() + seconds
        while time.perf_counter() < end and (len(times) == 1 or time.perf_counter() < until):
            times.append(self.steps(group, end))
        return statistics.median(times[1:] or times)


def choose_threads(
    warmup: Warmup, most: int, end: float, *, fewest_first: bool = False
) -> tuple[int, float]:
    """Return the number of threads with the fastest step, and the seconds of that step.

    Tries `most` and the powers of 2 below it, as small layers lose more to waking threads than they
    gain. The largest comes first, because slow steps gain by it, unless `fewest_first`; none is
    tried after `end` (time.perf_counter()). Results depend on the number to the bit, so a run
    measures once and stores it.
    """
    counts = [most]
    if warmup.learner.device.type == "cpu":
        counts += [2**k for k in reversed(range(most.bit_length())) if 2**k < most]
    timed: list[tuple[float, int]] = []
    for i, threads in enumerate(sorted(counts) if fewest_first else counts):
        now = time.perf_counter()
        if not timed or now < end:
            # few threads take long: each gets its share of the time
            until = now + (end - now) / (len(counts) - i) if fewest_first else end
            timed.append((warmup.seconds_per_step(WARMUP_SECONDS, threads, until), threads))
    best_seconds, best = min(timed)
    return best, best_seconds


class Choice(NamedTuple):
    """The fastest way to train a recipe here: threads, precision, and the seconds of a step."""

    warmup: Warmup
    threads: int
    precision: str
    seconds: float


def choose(
    prepared: Prepared,
    *,
    threads: int = 0,
    precision: str = "",
    most: int = 0,
    seconds: float = MAX_MEASURING_SECONDS,
    fewest_first: bool = False,
) -> Choice:
    """Measure threads and precision, unless they are given.

    16 bits are tried if the recipe allows them: they pay on CPUs with units for products of bf16
    matrices (AMX), and cost time on others. Without data, random images are trained on.

    threads, precision: 0 and "" to measure them.
    most: the largest number of threads to try; 0 for all cores.
    fewest_first: try one thread first: other processes disturb it least.
    seconds: for all this. Choices that time leaves untried are not made; one step is always taken.
    """
    end = time.perf_counter() + seconds
    train, device = prepared.recipe.train, prepared.device
    dataset = prepared.dataset or random_images(prepared.spec, 4 * train.batch)

    def warmup(precision: str) -> Warmup:
        # throwaway networks, since their weights change: a training begins with its initial ones
        return Warmup(prepared.throwaway(), train, dataset, device, precision)

    first = warmup(precision or "32")
    if threads:
        seconds = first.seconds_per_step(WARMUP_SECONDS, threads, end)
    else:
        threads, seconds = choose_threads(first, most or cores(), end, fewest_first=fewest_first)
    if precision or train.precision == "32" or device == "mps" or time.perf_counter() > end:
        return Choice(first, threads, precision or "32", seconds)
    half = warmup("bf16")
    half_seconds = half.seconds_per_step(WARMUP_SECONDS, threads, end)
    if half_seconds * MIN_SPEEDUP < seconds:
        return Choice(half, threads, "bf16", half_seconds)
    return Choice(first, threads, "32", seconds)


@dataclass(frozen=True)
class Bench:
    """The speed of a recipe on this machine.

    images_per_second: real images.
    macs_per_image: multiply-adds of a step per real image, of both networks, forward and backward,
        without the optimizer.
    peak_fraction: these multiply-adds a second, relative to a large 32-bit matrix product on as
        many threads, also if the step is made in 16 bits.
    parts: milliseconds of each of PARTS that a step has, and of the rest.
    """

    recipe: str
    image: str
    batch: int
    threads: int
    precision: str
    images_per_second: float
    macs_per_image: float
    peak_fraction: float
    peak_rss_mb: float
    parts: dict[str, float]


def _flops(operation: Any, arguments: Any, options: Any, result: Any) -> int:
    """Count the floating-point operations of one of torch's, by torch's formulae.

    torch's own FlopCounterMode fails on gradient penalties.
    """
    formula = flop_registry.get(operation.overloadpacket)
    return formula(*arguments, **options, out_val=result) if formula else 0


def macs_per_image(warmup: Warmup) -> float:
    """Count the multiply-adds of a step per real image, averaged from penalty to penalty."""
    steps = warmup.learner.config.penalty_every
    warmup.taken += -warmup.taken % steps
    counter = Tally(_flops)
    with counter:
        warmup.steps(steps)
    return counter.total / 2 / warmup.batch / steps


def matmul_macs_per_second(threads: int, size: int = 2048) -> float:
    """Measure the peak of 32-bit matrix products: the fastest of 8 of two size x size matrices."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    return size**3 / min(timeit.repeat(lambda: a @ b, number=1, repeat=8))


def benchmark(prepared: Prepared, choice: Choice, seconds: float = 3.0) -> Bench:
    """Measure the step of a recipe, its parts and multiply-adds, against the machine's peak.

    choice: threads and precision; its networks are used up.
    seconds: for timing the step.
    """
    warmup, threads, precision, _ = choice
    peak = matmul_macs_per_second(threads)
    step = warmup.seconds_per_step(seconds, threads)
    # before and after the step, since other programs can only lower it
    peak = max(peak, matmul_macs_per_second(threads))
    macs = macs_per_image(warmup)
    return Bench(
        recipe=prepared.name,
        image=str(prepared.spec),
        batch=warmup.batch,
        threads=threads,
        precision=precision,
        images_per_second=warmup.batch / step,
        macs_per_image=macs,
        peak_fraction=macs * warmup.batch / step / peak,
        peak_rss_mb=peak_rss_mb(),
        parts=_parts(warmup, step),
    )


class _Timed:
    """A pass of a network whose backward methods are timed, too."""

    def __init__(self, inner: Any, timed: Callable[[Any], Any]) -> None:
        self._inner, self._timed = inner, timed

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return self._timed(value) if callable(value) else value


def _parts(warmup: Warmup, step: float) -> dict[str, float]:
    """Milliseconds of each of PARTS in a step of `step` seconds. Uses the warmup up."""
    learner, batches, spent = warmup.learner, warmup.batches, dict.fromkeys(PARTS, 0.0)

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                spent[part] += time.perf_counter() - began

        return inner

    def traced(part: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        forward = timed(part, forward)
        return lambda *inputs: _Timed(forward(*inputs), partial(timed, part))

    for part, owner, name in (
        ("batch", batches, "at"),
        ("G", learner, "fakes"),
        ("penalty", learner, "penalise"),
        ("optimizers", learner, "update"),
        ("EMA", learner.ema, "update"),
    ):
        if owner is not None:
            setattr(owner, name, timed(part, getattr(owner, name)))
    learner.g_pass, learner.d_pass = traced("G", learner.g_pass), traced("D", learner.d_pass)
    every = learner.config.penalty_every
    count = every * -(-MIN_PART_STEPS // every)
    whole = warmup.steps(count)
    shares = {part: seconds / count / whole for part, seconds in spent.items() if seconds}
    shares["rest"] = 1 - sum(shares.values())
    return {part: share * step * 1e3 for part, share in shares.items()}
