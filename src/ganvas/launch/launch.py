"""Start a training: prepare it, find or make its run, train it in one or several processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from ganvas import gans
from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, GanvasError, RunError, SettingError, nearest
from ganvas.gan import GanFile
from ganvas.launch.job import Job, measure, prepare_job, seconds_left
from ganvas.launch.resume import differences_from, lengthened, unfinished
from ganvas.launch.warm_start import resumed
from ganvas.recipe import Interval
from ganvas.runs.card import Card, StartedFrom
from ganvas.runs.folder import make_numbered, set_aside
from ganvas.runs.request import Request, complete, merge, read_config, request_of_run
from ganvas.runs.run import Run, refuse_foreign
from ganvas.runs.train_options import TrainArguments
from ganvas.system import files
from ganvas.system.machine import prepare_cpu
from ganvas.system.machine import threads as threads_of
from ganvas.system.progress import Progress, duration
from ganvas.system.text import command, count
from ganvas.training import distributed
from ganvas.training.distributed import World
from ganvas.training.loop import train_run
from ganvas.training.validation import Validation, prepare_validation


def train(
    recipe: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    fresh: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    started: float | None = None,
    **options: Unpack[TrainArguments],
) -> Run:
    """Train a GAN, or resume an unfinished run, and return the run.

    recipe: a name ("r3gan/digits") or a GAN file ("my_gan.py", "my_gan.py:tiny").
    out: the run's directory. By default the newest unfinished run of the same request, else the
        next number under runs/. A finished run goes on if a greater length is given.
    config: a TOML file with options, or a run's recipe.json, to repeat that run.
    settings: changes of the recipe, such as {"train.batch": 32}.
    fresh: never resume. With `out` and no recipe, repeat the run there.
    quiet, verbose: print nothing, or every line of the log.
    started: time.time() from which `minutes` count; by default now.
    options: those of `ganvas train`:
        data: a data set's name or a path.
        images, epochs, minutes: the length; at most one of them.
        seed, device, precision, threads, processes: of the training.
        size, fit, channels, range, label_column, zip_encoding, pages, frames, max_megapixels,
            data_dir: how images are read (see `ReadOptions`); size is (H, W) or one number.
        flip: mirror half of the images.
        evaluate_every: "20k images", "1 epoch", "500 steps", "auto" or "never".
        from_: a run's directory or a generator.safetensors, to start from its weights.

    Raises a GanvasError for anything in the request that is impossible; KeyboardInterrupt after
    Ctrl-C and SystemExit(143) after SIGTERM, both with the state saved.
    """
    for name in options:
        if name not in TrainArguments.__annotations__:
            hint = nearest(name, TrainArguments.__annotations__)
            raise TypeError(f"train() has no argument {name}: {hint}")
    started = time.time() if started is None else started
    prepare_cpu()
    request = Request.of(recipe=recipe, settings=settings or {}, **options)
    if config is not None:
        request = merge(read_config(Path(config), recipe), request)
    progress = Progress(verbose=verbose, quiet=quiet)
    call = _Call(None if out is None else Path(out), fresh, started, progress)
    with threads_of(torch.get_num_threads()):  # restores the caller's number afterwards
        world = distributed.torchrun_world()
        # the first process finds or makes the run, and tells the others
        if world is not None and world.rank > 0:
            gan_path = gans.split_path(request.recipe or "")[0] or None
            return follow(world, gan_path, request.data_dir)
        request, run, began = _run_in_out(request, call)
        job = prepare_job(request, began, call.progress.say)
        longer = _lengthened(run, job) if run else None
        if call.out is None and not fresh:
            run = unfinished(job.card, job.prepared.file, job.request, call.progress.say)
        return _begin(job, call) if run is None else _resume(run, job, call, longer)


@dataclass(frozen=True)
class _Call:
    """The arguments of `train()` that are not part of a request."""

    out: Path | None
    fresh: bool
    started: float
    progress: Progress


def _run_in_out(request: Request, call: _Call) -> tuple[Request, Run | None, StartedFrom | None]:
    """Open the run in --out, and complete the request from it.

    Returns the request, the run (None if a new one is wanted), and what the run started from.
    """
    out = call.out
    if out is None or not (out / "recipe.json").exists():
        if out is not None and out.is_dir() and not call.fresh:
            refuse_foreign(out)
        return request, None, None
    if call.fresh:
        if request.recipe is None:  # repeat the run, but plan anew
            stored = request_of_run(Run.open(out).card, None, str(out), out)
            request = dataclasses.replace(merge(stored, request), plan=None)
        return request, None, None
    run = Run.open(out)
    run.load_state()  # damage is reported before differences
    run.read_log()
    # a wrong recipe is reported before its settings are compared
    name = request.recipe and gans.find_recipe(request.recipe)[0]
    if name not in (None, run.card.recipe):
        raise _made_otherwise(run, f"recipe={run.card.recipe}, not {name}")
    what = run.card.data.what
    if request.data is None and os.path.isabs(what) and not os.path.exists(what):
        raise DataError(f"{out} was trained on {what}, which is gone: give its images with --data")
    request, began = resumed(complete(request, run.card), run)
    return request, run, began


def _lengthened(run: Run, job: Job) -> Card | None:
    """The card with which a finished run goes on, None if it has the length that is requested.

    Raises SettingError for any other difference from the request.
    """
    run.gan, file = job.gan_path, job.prepared.file
    if not (unlike := differences_from(run, job.card, file)):
        return None
    if longer := lengthened(run, job.card, file):
        return longer
    raise _made_otherwise(run, "; ".join(unlike))


def _made_otherwise(run: Run, difference: str) -> SettingError:
    return SettingError(
        f"{run.path} was made with {difference}: give the same, another --out, or --fresh"
    )


def _begin(job: Job, call: _Call) -> Run:
    """Measure what the card leaves open, make the run's directory, and train."""
    left = None if job.card.plan.images else seconds_left(job.card, call.started)
    evaluation = _validation(job, job.card, call, left)
    card, deadline, evaluation = measure(job.card, job.prepared, evaluation, call.started)
    run = _new_run(card, job.gan_path, call)
    try:
        with run.locked():
            _announce(run, job, call, f"new run: {run.path}")
            return _train(run, job, call, evaluation, deadline)
    except RunError:  # such as of another process that cannot start
        run.remove_if_empty()
        raise


def _validation(job: Job, card: Card, call: _Call, left: float | None = None) -> Validation | None:
    """Prepare evaluations during training. left: seconds for these and the training."""
    if card.evaluate_every is None:
        return None
    # throwaway networks: an evaluation is timed with them, and layers may keep state from it
    gan, data_dir = job.prepared.throwaway(), job.request.data_dir
    return prepare_validation(card, job.dataset, gan, data_dir, call.progress.say, left)


def _new_run(card: Card, gan_path: str | None, call: _Call) -> Run:
    if call.out is None:
        recipe = card.recipe.replace(".py", "")
        return Run.create(make_numbered(f"{recipe}-{card.data.name}"), card, gan_path, made=True)
    if call.fresh and (call.out / "recipe.json").exists():
        with Run(call.out, card).locked():
            kept = set_aside(call.out)
        call.progress.say(f"the earlier run is kept as {kept}")
    return Run.create(call.out, card, gan_path)


def _resume(run: Run, job: Job, call: _Call, longer: Card | None) -> Run:
    """Train a run from its saved state to its end.

    longer: the card of a finished run that is to go on.
    """
    run.gan, left = job.gan_path, None
    with run.locked():
        state = run.load_state() or {"images_seen": 0, "seconds": 0.0}
        if longer:
            run.save_card(longer)
            if Interval.parse(longer.plan.requested).unit == "minutes":
                left = seconds_left(longer, call.started - state["seconds"])
        total = run.card.plan.total
        if run.finished:
            call.progress.say(f"{run.path} is finished: {total:,} images seen; --fresh starts anew")
            if world := distributed.torchrun_world():  # the other processes wait for this
                distributed.join_group(world)
                world.broadcast([str(run.path), "finished"])
                distributed.leave_group()
            return run
        if (every := job.request.evaluate_every) is not None:
            every = None if every == "never" else every
            run.save_card(dataclasses.replace(run.card, evaluate_every=every))
        seen = state["images_seen"]
        _announce(run, job, call, f"resuming {run.path} after {seen:,} of {total:,} images")
        deadline = None if left is None else time.monotonic() + left
        return _train(run, job, call, _validation(job, run.card, call, left), deadline)


def _announce(run: Run, job: Job, call: _Call, first: str) -> None:
    card = run.card
    precision = "" if card.precision == "32" else f", {card.precision}"
    processes = f", {card.processes} processes" if card.processes > 1 else ""
    call.progress.say(first)
    call.progress.say(
        f"{card.recipe} on {card.data.name}: {card.data.images:,} images of {card.image};"
        f" {card.plan.total:,} to see ({card.plan.requested}), batches of {card.plan.batch}, seed"
        f" {card.seed}, {card.device}, {count(card.threads, 'thread')}{precision}{processes}"
    )
    if start := job.start:
        anew = "" if "discriminator" in start.networks else "; the discriminator starts anew"
        call.progress.say(f"from the weights of {start.origin.path}{anew}")


def _train(
    run: Run, job: Job, call: _Call, evaluation: Validation | None, deadline: float | None
) -> Run:
    """Train a locked run, in as many processes as it has, and tell the user what to do next.

    deadline: time.monotonic() at which to be done.
    """
    say, data_dir, gan_path = call.progress.say, job.request.data_dir, job.gan_path
    files.sweep(run.path)
    if job.start:
        run.save_start(job.start.networks, job.start.card)
    shared = (run.card.processes, run.card.device, follow, (gan_path, data_dir))
    try:
        with distributed.together(*shared) as world:
            world.broadcast([str(run.path), ""])
            world.raise_if_any("")
            stopped = train_run(
                run,
                job.prepared.file,
                job.dataset,
                gan=job.prepared.gan,
                progress=call.progress,
                world=world,
                deadline=deadline,
                evaluation=evaluation,
                data_dir=data_dir,
            )
    finally:
        call.progress.end()
    if stopped:
        named = job.request.recipe if gan_path else None
        again = command("train", named, out=run.path, data_dir=data_dir)
        say(f"stopped and saved; to resume: {again}")
        raise KeyboardInterrupt if stopped == signal.SIGINT else SystemExit(128 + stopped)
    if evaluation and evaluation.best:
        fid, images = evaluation.best
        say(f"best: FID {fid:.3g} at {images:,} images, {run.best_file}")
    look = command("sample", run.path, gan=gan_path)
    say(f"done in {duration(time.time() - call.started)}; look at {run.path}, or: {look}")
    return run


def follow(world: World, gan: str | None, data_dir: Path | None) -> Run:
    """Be one of the other processes of a training; the first one names the run, on a shared disk.

    Raises RunError, here and in the first process, if this one lacks the run, or has another GAN
    file or other data.
    """
    prepare_cpu()
    distributed.join_group(world)
    path, finished = world.broadcast(["", ""])
    if not finished:
        problem = ""
        try:
            run, file, dataset = open_same(path, gan, data_dir)
        except GanvasError as error:
            problem = str(error)
        world.raise_if_any(problem)
        distributed.take_device(world, run.card.device)
        train_run(run, file, dataset, progress=Progress(quiet=True), world=world)
    distributed.leave_group()
    return Run.open(path, gan=gan)


def open_same(path: str, gan: str | None, data_dir: Path | None) -> tuple[Run, GanFile, Dataset]:
    """Open a run with its GAN file and data.

    Raises RunError if these are not the same here as in the first process.
    """
    run = Run.open(path, gan=gan)
    file, dataset = run.card.gan_file(gan), run.card.dataset(data_dir)
    if file.sha256 != run.card.gan_sha256:
        raise RunError(f"{gan} is another file here than where the run was made: copy it")
    if dataset.fingerprint != run.card.data.fingerprint:
        raise RunError(
            f"{dataset.name} holds other images here than where the run was made: copy them"
        )
    return run, file, dataset
