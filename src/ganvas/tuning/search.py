"""A short search for gamma, learning rate and augmentation on one's own data, by Optuna; its result
is a TOML to train with.

Trials are short trainings, all of one length, with their schedules fitted to it. Their score is the
kernel distance between samples and held-out real images (KID: unbiased, so few images do). The
first trial is the recipe as it is, so that the best is never worse by this score, which, of one
training each, is a noisy one.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
import signal
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch

from ganvas import data as sources
from ganvas import gans
from ganvas.errors import MissingExtraError, SettingError
from ganvas.overrides import with_preset
from ganvas.plan import MAX_PLAN_IMAGES
from ganvas.recipe import Recipe
from ganvas.recipe import settings as settings_of
from ganvas.runs.card import versions
from ganvas.runs.request import MAX_MINUTES, Request
from ganvas.system import files
from ganvas.system.machine import pick_device, prepare_cpu
from ganvas.system.progress import Progress, duration
from ganvas.system.schema import leaves
from ganvas.system.signals import Stop
from ganvas.training.benchmark import MAX_MEASURING_SECONDS, MEASURING_SHARE, choose
from ganvas.training.preflight import prepare
from ganvas.tuning.result import FIRST, Tuned, how, write_toml
from ganvas.tuning.trials import (
    CHECKPOINTS,
    Score,
    Trial,
    TrialSetup,
    changed,
    displayed,
    held_apart,
    searched,
)

MINUTES = 10.0  # of the search, unless its length is given otherwise
SEARCH_SPAN = (
    10.0  # gamma and learning rates are searched from a tenth to ten times the recipe's own
)
SEARCH_FINISH_SECONDS = 2.0  # kept back from --minutes for writing and leaving
# of what is left, planned for: machines have slow moments. What remains goes to more trials
MARGIN = 0.85
# trials are as many as quarters of a trial's seconds, so both grow with the budget
TRIAL_SECONDS = 4.0
MAX_PLANNED_TRIALS = 50  # trials, however large the budget
MIN_TRIAL_STEPS = 30  # of a trial
# trials before Optuna compares: without a model of what is good, and without giving up any
STARTUP = 5
MAX_TRIALS = 10_000


@dataclass(frozen=True)
class Budget:
    """trials: how many, None for as many as there is time for. images: of each, in whole steps.
    deadline: time.monotonic() by which all is done; None for no matter when."""

    trials: int | None
    images: int
    deadline: float | None


@dataclass(frozen=True)
class PreparedSearch:
    """A search before its first trial.

    request: with data and a GAN's file by their whole paths, and with threads and precision as
    chosen. asked: the recipe as
    its file has it. real: images to score by. space: see `searched`. step, score: seconds of a
    training step and of a score, where they were measured.
    """

    request: Request
    data_dir: Path | None
    asked: Recipe
    ground: TrialSetup
    real: int
    space: dict[str, tuple[float | str, ...]]
    step: float
    score: float


def tune(
    recipe: str | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    trials: int | None = None,
    images: float | None = None,
    seed: int | None = None,
    out: str | os.PathLike[str] = "tuned.toml",
    settings: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    channels: Literal[1, 3, 4] | None = None,
    flip: bool | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    precision: Literal["32", "bf16", "fp16"] | None = None,
    threads: int | None = None,
    quiet: bool = False,
    started: float | None = None,
) -> Tuned:
    """Search gamma, learning rate and augmentation by short trainings, and write the best to `out`,
    a TOML for `train(config=)`.

    recipe, data, size, fit, channels, flip, data_dir, device, precision, threads: as of
    `ganvas.train`. settings: changes of the
    recipe, which the search starts from. minutes: of the whole search since `started` (time.time(),
    by default now); 10,
    unless both `trials`, how many trainings, and `images`, the length of each, are given: then no
    clock has a say, and the
    same arguments, threads and precision give the same result on the same machine. seed: of
    trainings, samples and the search.

    A signal ends the search, and the best so far is written. Nothing else is left on the disk. An
    earlier result of a search at `out` is kept beside it. Raises a GanvasError for anything that
    cannot be; KeyboardInterrupt, or SystemExit(143), where a signal comes before the first training
    is through.
    """
    started = time.time() if started is None else started
    request = Request.of(
        recipe=recipe,
        data=os.fspath(data or gans.default_data(recipe)),
        seed=seed or 0,
        size=size,
        fit=fit,
        channels=channels,
        flip=flip,
        device=pick_device(device or "auto"),
        precision=precision,
        threads=threads,
        settings=settings or {},
    )
    _check(minutes, trials, images, Path(out))
    optuna, say = _optuna(), Progress(quiet=quiet).say
    if minutes is None and (trials is None or images is None):
        minutes = MINUTES
    prepared = _prepare(request, None if data_dir is None else Path(data_dir), minutes, say)
    batch = prepared.ground.recipe.train.batch
    budget = Budget(trials, math.ceil((images or 0) / batch) * batch, None)
    if minutes is not None:
        budget = _planned(budget, prepared, batch, minutes, started)
    say(_announcement(prepared, budget))
    with Stop() as stop, torch.random.fork_rng(devices=[]):
        done = _search(optuna, prepared, budget, stop, say)
    if not any(trial.state == "finished" for trial in done):
        _give_up(done, stop.signal, say)
    return write_toml(
        _tuned(prepared, budget, done, stop.signal, time.time() - started), Path(out), say
    )


def _check(minutes: float | None, trials: int | None, images: float | None, out: Path) -> None:
    """Raises SettingError for a length that cannot be, or a place where the result cannot be put."""
    for name, value, most in (
        ("--minutes", minutes, MAX_MINUTES),
        ("--images", images, MAX_PLAN_IMAGES),
    ):
        if value is not None and not 0 < value <= most:
            raise SettingError(f"{name} {value:g}: expected more than 0, and at most {most:,}")
    if trials is not None and not 2 <= trials <= MAX_TRIALS:
        raise SettingError(
            f"--trials {trials}: expected 2 to {MAX_TRIALS:,}; the first is the recipe as it is"
        )
    files.refuse_ending(out, "the result is TOML", ".toml")
    with files.reading(out):
        if out.is_dir() or (out.exists() and not out.read_bytes().startswith(FIRST.encode())):
            raise SettingError(
                f"--out {out}: what stands there was not written by ganvas tune; give another name"
            )
    folder = next(path for path in out.absolute().parents if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):  # said now, not after the search
        raise SettingError(f"--out {out}: nothing can be written in {folder}; give another place")


def _optuna() -> Any:
    """Optuna, silenced. Raises MissingExtraError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError(
            "ganvas tune searches with Optuna, an extra: pip install 'ganvas[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _prepare(
    request: Request, data_dir: Path | None, minutes: float | None, say: Callable[[str], None]
) -> PreparedSearch:
    """Prepare the recipe, hold images back to score by, and measure what is left open.

    minutes: of the search; None without a clock.
    """
    what, device = request.data or gans.default_data(request.recipe), request.device or "cpu"
    request = dataclasses.replace(request, data=what, data_dir=data_dir)
    prepared = prepare(request, device)
    recipe, spec, dataset = prepared.recipe, prepared.spec, prepared.dataset
    assert dataset is not None
    training, held_out, note = held_apart(dataset, what, request, data_dir)
    for line in (*prepared.notes, note):
        say(line)
    prepare_cpu()
    threads, bits = (
        request.threads or 0,
        str(request.precision or ("32" if recipe.train.precision == "32" else "")),
    )
    choice = None
    if minutes is not None or not threads or not bits:
        choice = choose(
            dataclasses.replace(prepared, dataset=training),
            threads=threads,
            precision=bits,
            seconds=MAX_MEASURING_SECONDS if minutes is None else MEASURING_SHARE * minutes * 60,
        )
        threads, bits = choice.threads, choice.precision
    torch.set_num_threads(threads)
    ground = TrialSetup(
        prepared.file,
        recipe,
        spec,
        training,
        Score(training, held_out),
        device,
        bits,
        request.seed or 0,
        bool(request.flip),
    )
    began = time.perf_counter()
    if choice:
        ground.scored(choice.warmup.learner)
    request = dataclasses.replace(
        request,
        recipe=_whole(request.recipe or prepared.name, prepared.name),
        threads=threads,
        precision=bits,  # type: ignore[arg-type]
        data=what if what in sources.NAMES else os.path.abspath(what),
    )
    space = searched(recipe, prepared.gan, len(training))
    seconds = time.perf_counter() - began
    return PreparedSearch(
        request,
        data_dir,
        prepared.original,
        ground,
        len(held_out),
        space,
        choice.seconds if choice else 0.0,
        seconds,
    )


def _whole(given: str, name: str) -> str:
    """A recipe's name; of a GAN's file of the user's its path, so that it is found from anywhere."""
    path, key = gans.split_path(given)
    return f"{os.path.abspath(path)}{'' if key is None else f':{key}'}" if path else name


def _planned(
    asked: Budget, prepared: PreparedSearch, batch: int, minutes: float, started: float
) -> Budget:
    """How many trials of how many images fit into what is left of the time.

    Raises SettingError where two, or as many as were asked for, do not.
    """
    spent = time.time() - started
    left = minutes * 60 - SEARCH_FINISH_SECONDS - spent
    scores, fewest = CHECKPOINTS * prepared.score, asked.trials or 2
    least = (
        asked.images // batch or MIN_TRIAL_STEPS
    ) * prepared.step + scores  # seconds of a trial
    if left * MARGIN < fewest * least:
        enough = math.ceil((1.5 * spent + SEARCH_FINISH_SECONDS + fewest * least / MARGIN) / 6) / 10
        length = f" of {asked.images:,} images" if asked.images else ""
        raise SettingError(
            f"--minutes {minutes:g} is too short for {fewest} trials{length} here: give at least"
            f" {enough:g}, or less to do"
        )
    deadline = time.monotonic() + left
    if asked.images:
        return dataclasses.replace(asked, deadline=deadline)
    count = asked.trials or min(
        MAX_PLANNED_TRIALS, round(math.sqrt(left / TRIAL_SECONDS)), int(left * MARGIN / least)
    )
    seconds = left * MARGIN / max(2, count)
    return Budget(asked.trials, int((seconds - scores) / prepared.step) * batch, deadline)


def _announcement(prepared: PreparedSearch, budget: Budget) -> str:
    ground = prepared.ground
    searching = ", ".join(prepared.space)
    count = f"{budget.trials} trials" if budget.trials else "trials"
    until = ""
    if budget.deadline is not None:
        until = f", for {duration(budget.deadline - time.monotonic())} at most"
    return (
        f"{prepared.request.recipe} on {ground.training.name}: {count} of {budget.images:,}"
        f" images{until}; searching {searching}; {how(prepared.request)}"
    )


def _search(
    optuna: Any, prepared: PreparedSearch, budget: Budget, stop: Stop, say: Callable[[str], None]
) -> tuple[Trial, ...]:
    """Trials until there are enough, time is up or a signal comes. One that these cut short is left
    out."""
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(
            seed=prepared.ground.seed % 2**32, n_startup_trials=STARTUP
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )
    study.enqueue_trial({name: values[0] for name, values in prepared.space.items()})
    factor = optuna.distributions.FloatDistribution(1 / SEARCH_SPAN, SEARCH_SPAN, log=True)
    space = {
        name: factor if len(values) == 1 else optuna.distributions.CategoricalDistribution(values)
        for name, values in prepared.space.items()
    }
    done: list[Trial] = []
    while len(done) != budget.trials and not stop.signal and _time_for_one(budget, done):
        asked = study.ask(space)
        trial = _trial(asked, prepared.ground, budget, stop)
        if trial.state == "cut short":
            break
        states = {
            "pruned": optuna.trial.TrialState.PRUNED,
            "diverged": optuna.trial.TrialState.FAIL,
        }
        study.tell(
            asked, trial.score if trial.state == "finished" else None, state=states.get(trial.state)
        )
        done.append(trial)
        say(f"trial {trial.number}: {trial} ({duration(trial.seconds)})")
    return tuple(done)


def _time_for_one(budget: Budget, done: list[Trial]) -> bool:
    if budget.deadline is None or not done:
        return True
    return time.monotonic() + max(trial.seconds for trial in done) < budget.deadline


def _trial(asked: Any, ground: TrialSetup, budget: Budget, stop: Stop) -> Trial:
    """Train with what Optuna asked for, to the end unless it is hopeless, diverges or is cut short."""
    recipe, began = changed(ground.recipe, asked.params), time.monotonic()
    state: Literal["finished", "pruned", "diverged", "cut short"] = "finished"
    score, seen = None, 0
    for seen, found in ground.train(recipe, budget.images):
        if found is not None and not math.isfinite(found):
            state, score = "diverged", None
            break
        if seen == budget.images:
            score = found
            break
        if found is not None:
            score = found
            asked.report(found, seen)
            if asked.should_prune():
                state = "pruned"
                break
        if stop.signal or (budget.deadline is not None and time.monotonic() > budget.deadline):
            state = "cut short"
            break
    return Trial(
        asked.number,
        dict(asked.params),
        displayed(recipe, asked.params),
        score,
        state,
        seen,
        time.monotonic() - began,
    )


def _give_up(done: tuple[Trial, ...], stopped: int, say: Callable[[str], None]) -> NoReturn:
    """No trial came to its end."""
    if stopped:
        say("stopped before a trial was through: nothing is written")
        raise KeyboardInterrupt if stopped == signal.SIGINT else SystemExit(128 + stopped)
    if done:
        raise SettingError(
            f"all of {len(done)} trials diverged, so nothing is written: set a smaller train.lr to"
            " start from"
        )
    raise SettingError(
        "no trial was through in time, this machine being slower than measured: give more --minutes"
    )


def _tuned(
    prepared: PreparedSearch, budget: Budget, done: tuple[Trial, ...], stopped: int, seconds: float
) -> Tuned:
    best = min(
        (trial for trial in done if trial.state == "finished"),
        key=lambda trial: (trial.score, trial.number),
    )
    ground, asked = prepared.ground, prepared.request.settings
    # A preset is left to the training, which may be of another length.
    own = with_preset(prepared.asked, {}, ground.recipe.train.length)[0]
    named = {
        path.removeprefix("model.").removeprefix("train.").partition(".")[0]
        for path, _ in leaves(asked)
    }
    found = _different(own, changed(ground.recipe, best.change), named.union(prepared.space))
    return Tuned(
        request=dataclasses.replace(prepared.request, settings=found),
        asked=asked,
        data_name=ground.training.name,
        data_dir=prepared.data_dir,
        trials=done,
        best=best.number,
        images=budget.images,
        samples=ground.samples,
        real=prepared.real,
        seconds=seconds,
        stopped=stopped,
        versions=versions() | {"optuna": importlib.metadata.version("optuna")},
    )


def _different(own: Recipe, found: Recipe, names: Container[str]) -> dict[str, dict[str, Any]]:
    """Settings {"model": {...}, "train": {...}} that make the one recipe the other; those of
    `names`, which were asked for or searched, even where they are equal."""
    before, after = settings_of(own), settings_of(found)
    different = {
        part: {
            name: value
            for name, value in after[part].items()
            if value is not None and (value != before[part].get(name) or name in names)
        }
        for part in ("model", "train")
    }
    return {part: values for part, values in different.items() if values}
