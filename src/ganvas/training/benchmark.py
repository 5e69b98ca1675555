"""What training costs on this machine, from real steps of throwaway networks."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganvas.data.dataset import Dataset
from ganvas.gan import GanFile
from ganvas.recipe import ImageSpec, Recipe
from ganvas.system.machine import cores, peak_rss_mb, prepare_cpu
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.training.loop import take_step

REHEARSAL_SECONDS = 0.4  # how long a thread count is timed
MEASURING_SHARE = 0.1  # of a budget, what may be measured for before a training
MAX_MEASURING_SECONDS = 30.0  # the same where there is no budget
PARTS_STEPS = 16  # or more, of which a step's parts are timed
# Drawing the batch; each network, there and back; the penalty on D's slope, both optimizers, the
# average of G's weights.
PARTS = ("batch", "G", "D", "penalty", "optimizers", "EMA")
WORTH = 1.1  # how much faster 16 bits must be to be chosen


def random_images(spec: ImageSpec, count: int) -> Dataset:
    """Noise in the shape of `spec`, to build and time networks without data."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (count, spec.channels, spec.height, spec.width), generator=rng, dtype=torch.uint8
    )
    labels = torch.arange(count) % len(spec.classes) if spec.classes else None
    return Dataset("random images", images, labels, spec.classes)


class Warmup:
    """Steps on throwaway networks with the real data, draws and shapes; nothing of it reaches a
    run."""

    def __init__(
        self,
        file: GanFile,
        recipe: Recipe,
        spec: ImageSpec,
        dataset: Dataset,
        device: str,
        precision: str = "32",
    ) -> None:
        prepare_cpu()
        self.learner = Learner(
            file.build(recipe.model, spec),
            recipe.train,
            len(dataset),
            torch.device(device),
            precision,
        )
        self.batches = Batches(dataset, self.learner, seed=0)
        self.batch, self.taken = recipe.train.batch, 0
        for optimizer in (self.learner.g_optimizer, self.learner.d_optimizer):
            optimizer.lr = 1e-5  # small, so that the networks stay in an ordinary range

    def steps(self, count: int, end: float = math.inf) -> float:
        """Take some steps, but for the first none after `end` (time.perf_counter()), and wait for
        them; one's seconds."""
        began, first = time.perf_counter(), self.taken
        with torch.random.fork_rng(devices=[]):
            while self.taken < first + count and (self.taken == first or time.perf_counter() < end):
                take_step(self.learner, self.batches, self.taken * self.batch)
                self.taken += 1
        if self.learner.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / (self.taken - first)

    def seconds_per_step(self, seconds: float, threads: int, end: float = math.inf) -> float:
        """The median of as many steps as fit into `seconds`, and one at the least, after one to
        warm up.

        Where every so many-th step has a penalty, steps are timed in groups of so many: any such
        group has one.
        end: time.perf_counter() after which no step is begun but the very first: what was timed
        until then has to do.
        """
        torch.set_num_threads(threads)
        group = self.learner.config.penalty_every
        times = [self.steps(1, end)]
        until = time.perf_counter() + seconds
        while time.perf_counter() < end and (len(times) == 1 or time.perf_counter() < until):
            times.append(self.steps(group, end))
        return statistics.median(times[1:] or times)


def choose_threads(
    rehearsal: Warmup, most: int, seconds: float = REHEARSAL_SECONDS, end: float = math.inf
) -> tuple[int, float]:
    """The thread count with the fastest step, of `most` and 1, 2, 4, ... below it, and that step's
    seconds.

    Small layers lose more to waking threads than they gain. Measured once for a run and stored with
    it, since results depend on it to the bit. None is tried after `end` (time.perf_counter()), and
    the most first: the slowest steps gain by them.
    """
    counts = sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most}, reverse=True)
    if rehearsal.learner.device.type != "cpu":
        counts = [most]
    timed: list[tuple[float, int]] = []
    for threads in counts:
        if not timed or time.perf_counter() < end:
            timed.append((rehearsal.seconds_per_step(seconds, threads, end), threads))
    best_seconds, best = min(timed)
    return best, best_seconds


class Choice(NamedTuple):
    """How a recipe trains fastest here: on how many threads, in which precision, and the seconds of
    a step."""

    rehearsal: Warmup
    threads: int
    precision: str
    seconds: float


def choose(
    file: GanFile,
    recipe: Recipe,
    spec: ImageSpec,
    dataset: Dataset,
    device: str,
    *,
    threads: int = 0,
    precision: str = "",
    most: int = 0,
    seconds: float = MAX_MEASURING_SECONDS,
) -> Choice:
    """Measure what is not given: threads (at most `most`), and whether 16 bits pay where the recipe
    lets them.

    They do on CPUs with units for products of bf16 matrices (AMX), and cost time on others.
    seconds: for all that; what there is no time to try is not chosen. A single step is always
    taken.
    """
    end = time.perf_counter() + seconds
    first = Warmup(file, recipe, spec, dataset, device, precision or "32")
    if threads:
        seconds = first.seconds_per_step(REHEARSAL_SECONDS, threads, end)
    else:
        threads, seconds = choose_threads(first, most or cores(), end=end)
    if precision or recipe.train.precision == "32" or device == "mps" or time.perf_counter() > end:
        return Choice(first, threads, precision or "32", seconds)
    half = Warmup(file, recipe, spec, dataset, device, "bf16")
    half_seconds = half.seconds_per_step(REHEARSAL_SECONDS, threads, end)
    if half_seconds * WORTH < seconds:
        return Choice(half, threads, "bf16", half_seconds)
    return Choice(first, threads, "32", seconds)


@dataclass(frozen=True)
class Bench:
    """A recipe's speed on this machine.

    images_per_second: real images seen. macs_per_image: multiply-adds of a whole step of both
    networks, forward and
    backward, per real image, without the optimizer. peak_fraction: its share of what a large
    single-precision matrix product reaches here on as many threads, also where the step itself is
    made in 16 bits.
    parts: milliseconds of those of PARTS that a step has, and of the rest of it.
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


class _Operations(TorchDispatchMode):
    """Counts floating-point operations by torch's own formulae: its FlopCounterMode fails where a
    slope is penalised."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def macs_per_image(rehearsal: Warmup) -> float:
    """Multiply-adds of a step per real image, averaged over the steps between two penalties."""
    steps = rehearsal.learner.config.penalty_every
    rehearsal.taken += -rehearsal.taken % steps
    counter = _Operations()
    with counter:
        rehearsal.steps(steps)
    return counter.total / 2 / rehearsal.batch / steps


def matmul_macs_per_second(threads: int, size: int = 2048) -> float:
    """Multiply-adds a second of the fastest of several single-precision products of two size x size
    matrices."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return size**3 / best


def benchmark(name: str, choice: Choice, spec: ImageSpec, seconds: float = 3.0) -> Bench:
    """Measure a recipe, as it trains fastest here: the step, its parts, its multiply-adds and the
    machine's peak."""
    rehearsal, chosen = choice.rehearsal, choice.threads
    peak = matmul_macs_per_second(chosen)
    step = rehearsal.seconds_per_step(seconds, chosen)
    # on both sides of the step: what else runs can only lower it
    peak = max(peak, matmul_macs_per_second(chosen))
    macs = macs_per_image(rehearsal)
    return Bench(
        recipe=name,
        image=str(spec),
        batch=rehearsal.batch,
        threads=chosen,
        precision=choice.precision,
        images_per_second=rehearsal.batch / step,
        macs_per_image=macs,
        peak_fraction=macs * rehearsal.batch / step / peak,
        peak_rss_mb=peak_rss_mb(),
        parts=_parts(rehearsal, step),
    )


class _Timed:
    """A pass of a network whose ways back are timed, too."""

    def __init__(self, inner: Any, timed: Callable[[Any], Any]) -> None:
        self._inner, self._timed = inner, timed

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return self._timed(value) if callable(value) else value


def _parts(rehearsal: Warmup, step: float) -> dict[str, float]:
    """Milliseconds of the parts of a step that takes `step` seconds: see PARTS. It serves no more
    steps afterwards."""
    learner, batches, spent = rehearsal.learner, rehearsal.batches, dict.fromkeys(PARTS, 0.0)

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
        ("EMA", learner.average, "update"),
    ):
        if owner is not None:
            setattr(owner, name, timed(part, getattr(owner, name)))
    learner.g_pass, learner.d_pass = traced("G", learner.g_pass), traced("D", learner.d_pass)
    every = learner.config.penalty_every
    count = every * -(-PARTS_STEPS // every)
    whole = rehearsal.steps(count)
    shares = {part: seconds / count / whole for part, seconds in spent.items() if seconds}
    return {
        part: share * step * 1e3
        for part, share in (shares | {"rest": 1 - sum(shares.values())}).items()
    }
