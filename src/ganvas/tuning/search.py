"""A short search for gamma, learning rate and augmentation on the user's data, with Optuna.

Trials are short trainings of one length, with their schedules fitted to it. A trial's score is the
kernel distance between samples and held-out real images (KID, which is unbiased, so that few images
do). The first trial has the recipe's own settings, so the best trial never scores worse. As each
setting is trained once, scores are noisy. The result is a TOML file to train with.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch

from ganvas import gans
from ganvas.data import NAMES
from ganvas.errors import MissingExtraError, SettingError
from ganvas.overrides import with_preset
from ganvas.recipe import Recipe
from ganvas.recipe import settings as settings_of
from ganvas.runs.card import versions
from ganvas.runs.request import Request
from ganvas.system.machine import pick_device, prepare_cpu
from ganvas.system.progress import Progress, Say, duration
from ganvas.system.schema import leaves
from ganvas.system.signals import Stop
from ganvas.training.benchmark import MAX_MEASURING_SECONDS, MEASURING_SHARE, Choice, choose
from ganvas.training.preflight import Prepared, prepare
from ganvas.tuning.budget import Budget, SearchOptions, plan_budget
from ganvas.tuning.result import TuningResult, check_place, trial_conditions, write_toml
from ganvas.tuning.trials import (
    Score,
    Trial,
    TrialSetup,
    change_recipe,
    displayed,
    hold_out,
    search_space,
)

# gamma and learning rates are searched from a tenth of the recipe's own to ten times as much
SEARCH_SPAN = 10.0
# trials before Optuna models which settings are good, and before it stops any trial early
STARTUP_TRIALS = 5


@dataclass(frozen=True)
class PreparedSearch:
    """A search before its first trial.

    request: with data and a GAN's file by absolute paths, and with the threads and the precision
        that were chosen.
    original: the recipe as its file has it.
    setup: what all trials share.
    real: number of images to score by.
    space: see `search_space`.
    step_seconds, score_seconds: measured times of a training step and of a score; 0 if threads and
        precision were given and the search has no clock.
    """

    request: Request
    original: Recipe
    setup: TrialSetup
    real: int
    space: dict[str, tuple[float | str, ...]]
    step_seconds: float
    score_seconds: float


def tune(request: Request, options: SearchOptions, *, out: Path, started: float) -> TuningResult:
    """Search gamma, learning rate and augmentation by short trainings, and write the best to `out`.

    An earlier result of a search at `out` is kept beside it; nothing else is written.

    request: recipe, data, settings to start from, and how to train. Its seed is that of trainings,
        samples and the search.
    options: the length of the search.
    out: a TOML file for `train(config=)`.
    started: time.time() from which the minutes count.

    After a signal, the best result so far is written. Raises a GanvasError for anything in the
    request that is impossible; KeyboardInterrupt, or SystemExit(143), if a signal comes before the
    end of the first training.
    """
    request = dataclasses.replace(
        request,
        data=request.data or gans.default_data(request.recipe),
        seed=request.seed or 0,
        device=pick_device(request.device or "auto"),  # type: ignore[arg-type]
    )
    check_place(out)
    optuna, say = _optuna(), Progress().say
    prepared = prepare_search(request, options.time_limit, say)
    costs = prepared.step_seconds, prepared.score_seconds
    budget = plan_budget(options, prepared.setup.recipe.train.batch, *costs, started)
    say(_announcement(prepared, budget))
    with Stop() as stop, torch.random.fork_rng(devices=[]):
        trials = _run_trials(optuna, prepared, budget, stop, say)
    if not any(trial.state == "finished" for trial in trials):
        _give_up(trials, stop.signal, say)
    result = _result(prepared, budget, trials, stop.signal, time.time() - started)
    return write_toml(result, out, say)


def _optuna() -> Any:
    """Import and silence Optuna. Raises MissingExtraError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("ganvas tune needs Optuna: pip install 'ganvas[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def prepare_search(request: Request, minutes: float | None, say: Say) -> PreparedSearch:
    """Prepare the recipe, hold images back to score by, and measure what is left open.

    request: with data and device.
    minutes: of the search; None without a clock.
    """
    assert request.data is not None
    assert request.device is not None
    prepared = prepare(request, request.device)
    assert prepared.dataset is not None
    training, held_out, note = hold_out(prepared.dataset, request)
    for line in (*prepared.notes, note):
        say(line)
    prepare_cpu()
    choice = _choose(request, dataclasses.replace(prepared, dataset=training), minutes)
    request = dataclasses.replace(
        request,
        recipe=_absolute(request.recipe or prepared.name, prepared.name),
        data=request.data if request.data in NAMES else os.path.abspath(request.data),
        threads=choice.threads if choice else request.threads,
        precision=choice.precision if choice else request.precision or "32",  # type: ignore[arg-type]
    )
    torch.set_num_threads(request.threads or 1)
    setup = TrialSetup(
        file=prepared.file,
        recipe=prepared.recipe,
        spec=prepared.spec,
        training=training,
        score=Score(training, held_out),
        device=request.device or "cpu",
        precision=request.precision or "32",
        seed=request.seed or 0,
        flip=bool(request.flip),
    )
    began = time.perf_counter()
    if choice:
        setup.score_of(choice.warmup.learner)
    costs = choice.seconds if choice else 0.0, time.perf_counter() - began
    space = search_space(prepared.recipe, prepared.gan, len(training))
    return PreparedSearch(request, prepared.original, setup, len(held_out), space, *costs)


def _choose(request: Request, prepared: Prepared, minutes: float | None) -> Choice | None:
    """Measure threads, precision and a step; None if both are given and there is no clock."""
    threads = request.threads or 0
    precision = request.precision or ("32" if prepared.recipe.train.precision == "32" else "")
    if minutes is None and threads and precision:
        return None
    seconds = MAX_MEASURING_SECONDS if minutes is None else MEASURING_SHARE * minutes * 60
    return choose(prepared, threads=threads, precision=precision, seconds=seconds)


def _absolute(given: str, name: str) -> str:
    """The recipe's name; for a user's GAN file its absolute path, valid in any directory."""
    path, key = gans.split_path(given)
    return f"{os.path.abspath(path)}{'' if key is None else f':{key}'}" if path else name


def _announcement(prepared: PreparedSearch, budget: Budget) -> str:
    count = f"{budget.trials} trials" if budget.trials else "trials"
    length = f"{count} of {budget.images:,} images"
    if budget.deadline is not None:
        length += f", for {duration(budget.deadline - time.monotonic())} at most"
    what = f"{prepared.request.recipe} on {prepared.setup.training.name}"
    space, conditions = ", ".join(prepared.space), trial_conditions(prepared.request)
    return f"{what}: {length}; searching {space}; {conditions}"


def _run_trials(
    optuna: Any, prepared: PreparedSearch, budget: Budget, stop: Stop, say: Say
) -> list[Trial]:
    """Run trials until the budget is spent or a signal comes; one that is cut short is dropped."""
    seed = prepared.setup.seed % 2**32
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.enqueue_trial({name: values[0] for name, values in prepared.space.items()})
    factor = optuna.distributions.FloatDistribution(1 / SEARCH_SPAN, SEARCH_SPAN, log=True)
    space = {
        name: factor if len(values) == 1 else optuna.distributions.CategoricalDistribution(values)
        for name, values in prepared.space.items()
    }
    states = {"pruned": optuna.trial.TrialState.PRUNED, "diverged": optuna.trial.TrialState.FAIL}
    trials: list[Trial] = []
    while len(trials) != budget.trials and not stop.signal and _has_time(budget, trials):
        suggestion = study.ask(space)
        trial = _run_trial(suggestion, prepared.setup, budget, stop)
        if trial.state == "cut short":
            break
        score = trial.score if trial.state == "finished" else None
        study.tell(suggestion, score, state=states.get(trial.state))
        trials.append(trial)
        say(f"trial {trial.number}: {trial} ({duration(trial.seconds)})")
    return trials


def _has_time(budget: Budget, trials: list[Trial]) -> bool:
    """True if one more trial as slow as the slowest would end before the deadline."""
    if budget.deadline is None or not trials:
        return True
    return time.monotonic() + max(trial.seconds for trial in trials) < budget.deadline


def _run_trial(suggestion: Any, setup: TrialSetup, budget: Budget, stop: Stop) -> Trial:
    """Train with Optuna's suggestion until the end, or until it is hopeless, diverges or is cut
    short.

    suggestion: an `optuna.Trial`.
    """
    recipe, began = change_recipe(setup.recipe, suggestion.params), time.monotonic()
    state: Literal["finished", "pruned", "diverged", "cut short"] = "finished"
    score, seen, deadline = None, 0, budget.deadline or math.inf
    for seen, new_score in setup.train(recipe, budget.images):
        score = score if new_score is None else new_score
        if score is not None and not math.isfinite(score):
            state, score = "diverged", None
            break
        if seen == budget.images:
            break
        if new_score is not None:
            suggestion.report(new_score, seen)
            if suggestion.should_prune():
                state = "pruned"
                break
        if stop.signal or time.monotonic() > deadline:
            state = "cut short"
            break
    change, seconds = dict(suggestion.params), time.monotonic() - began
    settings = displayed(recipe, change)
    return Trial(suggestion.number, change, settings, score, state, seen, seconds)


def _give_up(trials: list[Trial], stopped: int, say: Say) -> NoReturn:
    """Raise the error, or the signal, that left no trial finished."""
    if stopped:
        say("stopped before the first trial ended: nothing is written")
        raise KeyboardInterrupt if stopped == signal.SIGINT else SystemExit(128 + stopped)
    if trials:
        problem = f"all of {len(trials)} trials diverged, so nothing is written"
        raise SettingError(f"{problem}: start from a smaller train.lr")
    raise SettingError("no trial ended in time: give more --minutes")


def _result(
    prepared: PreparedSearch, budget: Budget, trials: list[Trial], stopped: int, seconds: float
) -> TuningResult:
    finished = [trial for trial in trials if trial.state == "finished"]
    best = min(finished, key=lambda trial: (trial.score, trial.number))
    setup, given = prepared.setup, prepared.request.settings
    # the preset is left to the training, which may have another length
    base = with_preset(prepared.original, {}, setup.recipe.train.length)[0]
    paths = (path.removeprefix("model.").removeprefix("train.") for path, _ in leaves(given))
    names = {path.partition(".")[0] for path in paths}.union(prepared.space)
    settings = _different(base, change_recipe(setup.recipe, best.change), names)
    return TuningResult(
        request=dataclasses.replace(prepared.request, settings=settings),
        given=given,
        data_name=setup.training.name,
        trials=trials,
        best=best.number,
        images=budget.images,
        samples=setup.samples,
        real=prepared.real,
        seconds=seconds,
        stopped=stopped,
        versions=versions() | {"optuna": importlib.metadata.version("optuna")},
    )


def _different(base: Recipe, best: Recipe, names: set[str]) -> dict[str, dict[str, Any]]:
    """Settings {"model": {...}, "train": {...}} that turn `base` into `best`.

    names: settings to include even if they are equal.
    """
    before, different = settings_of(base), dict[str, dict[str, Any]]()
    for part, values in settings_of(best).items():
        for name, value in values.items():
            if value is not None and (value != before[part].get(name) or name in names):
                different.setdefault(part, {})[name] = value
    return different
