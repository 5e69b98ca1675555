"""From words to a run: what to train, on what, where, for how long; then training, in one process
or several."""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from ganvas import data, gans
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.gan import Gan, GanFile
from ganvas.launch.resume import differences_from, unfinished
from ganvas.launch.warm_start import WarmStart, check_fit, resumed, warm_start_of
from ganvas.launch.workers import follow
from ganvas.overrides import override, resolve_gamma, with_preset
from ganvas.plan import MAX_PLAN_IMAGES, Plan
from ganvas.recipe import ImageSpec, Interval, Recipe, TrainConfig, settings
from ganvas.runs.card import Card, DataCard, versions
from ganvas.runs.folder import RUNS, numbered_runs, set_aside
from ganvas.runs.request import MAX_MINUTES, Request, complete, merge, read_config, request_of_run
from ganvas.runs.run import Run, refuse_foreign
from ganvas.system import files
from ganvas.system.machine import cores, pick_device, prepare_cpu
from ganvas.system.machine import threads as threads_of
from ganvas.system.progress import Progress, duration
from ganvas.system.text import first_few
from ganvas.training import augment, distributed, learner, validation
from ganvas.training.benchmark import MAX_MEASURING_SECONDS, MEASURING_SHARE, choose
from ganvas.training.loop import train_run as train_run
from ganvas.training.preflight import networks
from ganvas.training.validation import Validation

FINISH_SECONDS = 3.0  # kept back from --minutes for the last pictures, saving and leaving
# bytes of images a second, at least, that are looked through for the last pictures' nearest
# neighbours
NEAREST_RATE = 3e8
MIN_LEARNING_STEPS = 100  # in which nothing is learned
MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS = 1.0, 20  # of training, below which a budget is refused


def train(
    recipe: str | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    images: float | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    out: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    channels: Literal[1, 3, 4] | None = None,
    flip: bool | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    precision: Literal["32", "bf16", "fp16"] | None = None,
    threads: int | None = None,
    processes: int | None = None,
    evaluate_every: str | None = None,
    from_: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    started: float | None = None,
) -> Run:
    """Train a GAN, or go on with a run that is not finished, and return the run.

    recipe: a name ("r3gan/digits") or a GAN file ("my_gan.py", "my_gan.py:tiny"). data: a name or a
    path.
    images, epochs, minutes: the length (one of them), instead of the recipe's; minutes are wall
    time since `started` (time.time(), by default now). settings: {"train.batch": 32, ...}. config:
    a TOML file or a run's recipe.json.
    evaluate_every: judge the generator on the way: "20k images", "1 epoch", "500 steps", "auto"
    (for less than 10% of training time) or "never"; what is left unsaid is as it was for a run that
    is gone on with, else never.
    from_: a run's directory or a generator.safetensors whose weights to start from, in a new run;
    on that run's data unless others are given.
    out: the run's directory; without it, the newest unfinished run of the same request, or the next
    number under runs/.
    fresh: never go on with an earlier run; with `out` and no recipe, make the request of the run
    there once more.

    Raises a GanvasError for anything in the request that cannot be; KeyboardInterrupt after Ctrl-C
    and SystemExit(143) after SIGTERM, both with the state saved.
    """
    started = time.time() if started is None else started
    prepare_cpu()
    own = Request(
        recipe=recipe,
        data=None if data is None else os.fspath(data),
        images=images,
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        size=size,
        fit=fit,
        channels=channels,
        flip=flip,
        device=device,
        precision=precision,
        threads=threads,
        processes=processes,
        evaluate_every=evaluate_every,
        settings=settings or {},
        from_=None if from_ is None else os.fspath(from_),
    )
    request = own if config is None else merge(read_config(Path(config), recipe), own)
    progress = Progress(verbose=verbose, quiet=quiet)
    with threads_of(torch.get_num_threads()):  # the caller's own, to come back to
        return _Launch(
            request, Path(out) if out is not None else None, data_dir, fresh, progress, started
        ).run()


class _Launch:
    """One call of `train()`: finds or makes the run, then trains it."""

    def __init__(
        self,
        request: Request,
        out: Path | None,
        data_dir: str | os.PathLike[str] | None,
        fresh: bool,
        progress: Progress,
        started: float,
    ) -> None:
        self.request, self.out, self.fresh, self.progress, self.started = (
            request,
            out,
            fresh,
            progress,
            started,
        )
        self.data_dir = None if data_dir is None else Path(data_dir)
        self.gan_path = gans.split_path(request.recipe or "")[0] or None
        self.start: WarmStart | None = None
        self.evaluation: Validation | None = None

    def run(self) -> Run:
        world = distributed.torchrun_world()
        # the first process finds or makes the run, and tells the others
        if world is not None and world.rank > 0:
            return follow(world, self.gan_path, self.data_dir)
        existing = began = None
        if self.out is not None and (self.out / "recipe.json").exists() and self.fresh:
            self._repeat(self.out)
        elif self.out is not None and (self.out / "recipe.json").exists():
            existing = Run.open(self.out)
            existing.load_state()  # damage is told before differences
            existing.read_log()
            self._refuse_another(existing)
            self.request, began = resumed(complete(self.request, existing.card), existing)
        asked = self.request
        self.request, self.start, origin = warm_start_of(asked, began)
        if self.request.data != asked.data:
            self.progress.say(f"no --data: on that of {asked.from_}, {self.request.data}")
        name, file, recipe = gans.find_recipe(
            self.request.recipe or gans.default_recipe(self.request.data)
        )
        self.request = dataclasses.replace(
            self.request, data=self.request.data or gans.default_data(name)
        )
        if not existing and self.out is not None and self.out.is_dir() and not self.fresh:
            refuse_foreign(self.out)
        recipe = self._wanted(recipe)
        dataset = self._load(recipe.native)
        self._refuse_no_repeat(dataset, file)
        spec = ImageSpec.of(dataset)
        recipe, *said = resolve_gamma(recipe, spec)
        if recipe.train.augment == "adaptive":
            said.append(augment.explained(augment.kinds_for(dataset.images), len(dataset)))
        device = pick_device(self.request.device or "auto")
        gan = networks(file, recipe, spec, device)  # says now why it cannot
        if recipe.native.classes and not spec.classes and not gan.conditional:
            said.append(
                f"{dataset.name} has no labels: {name} is trained without, and cannot be asked for"
                " a class"
            )
        if gan.conditional and (empty := dataset.empty_classes):
            said.append(
                f"no image of {dataset.name} is of class {first_few(empty)}: it is not learned"
            )
        if why := learner.why_apart(
            gan, recipe.train, self.request.precision or recipe.train.precision
        ):
            said.append(f"train.order='together': {why}; D is trained first, then G")
        if self.request.length is None:
            said.append(too_few(recipe.train, len(dataset)))
        for line in filter(None, said):
            self.progress.say(line)
        if self.start:
            check_fit(self.start, file.name, recipe, spec, gan)
        wanted = dataclasses.replace(
            self._card(name, file, recipe, spec, dataset, device), started_from=origin
        )
        if existing:
            if unlike := differences_from(existing, wanted, file):
                raise SettingError(
                    f"{existing.path} was made with {'; '.join(unlike)}: give the same, another"
                    " --out, or --fresh"
                )
            return self._resume(existing, file, dataset, gan)
        if (
            self.out is None
            and not self.fresh
            and (earlier := unfinished(wanted, file, self.request, self.progress.say))
        ):
            return self._resume(earlier, file, dataset, gan)
        return self._start(wanted, file, recipe, spec, dataset, gan)

    def _wanted(self, recipe: Recipe) -> Recipe:
        """The recipe with what was asked for: its length, the preset for that, and settings, which
        come before both."""
        if self.request.plan:  # it has its settings from the run that it repeats
            return override(recipe, self.request.settings)
        recipe, said = with_preset(recipe, self.request.settings, self.request.length)
        if said:
            self.progress.say(said)
        return recipe

    def _refuse_another(self, existing: Run) -> None:
        """Raises SettingError where a recipe is named that a run is not of: before its settings are
        held against those."""
        name = self.request.recipe and gans.find_recipe(self.request.recipe)[0]
        if name not in (None, existing.card.recipe):
            raise SettingError(
                f"{existing.path} was made with recipe={existing.card.recipe}, not {name}: give the"
                " same, another --out, or --fresh"
            )

    def _refuse_no_repeat(self, dataset: Dataset, file: GanFile) -> None:
        """Raises SettingError where a run is to be repeated on other images than it saw; says what
        else may change bits."""
        card = self.request.repeats
        if card is None or self.request.plan is None:
            return
        if dataset.fingerprint != card.data.fingerprint:
            raise SettingError(
                f"the run to be repeated saw other images, labels or classes than {dataset.name}"
                " holds now: give those, or a length such as --minutes, to train on these by its"
                " settings"
            )
        changed = [] if file.sha256 == card.gan_sha256 else [file.name]
        changed += [
            name for name, version in versions().items() if card.versions.get(name) != version
        ]
        if changed:
            self.progress.say(
                f"no repeat to the bit, as {', '.join(changed)} changed since that run"
            )

    def _repeat(self, path: Path) -> None:
        """--fresh alone asks for the same once more: what it leaves unsaid is taken from the run
        that stands there."""
        if self.request.recipe is None:
            stored = request_of_run(Run.open(path).card, None, str(path), path)
            self.request = dataclasses.replace(merge(stored, self.request), plan=None)

    def _load(self, native: ImageSpec) -> Dataset:
        request = self.request
        dataset = data.load_dataset(
            str(request.data),
            size=request.size,
            native=(native.height, native.width),
            fit=request.fit or "crop",
            channels=request.channels,
            data_dir=self.data_dir,
        )
        for note in dataset.notes:
            self.progress.say(note)
        return dataset

    def _card(
        self,
        name: str,
        file: GanFile,
        recipe: Recipe,
        spec: ImageSpec,
        dataset: Dataset,
        device: str,
    ) -> Card:
        """The run's card, but for the thread count and a length in minutes, which are yet to be
        measured."""
        request, train = self.request, recipe.train
        processes = request.processes or 1
        world = distributed.torchrun_world()
        if world is not None:
            if request.processes not in (None, world.size):
                raise SettingError(
                    f"--processes {processes}: torchrun has started {world.size}; give both the"
                    " same"
                )
            processes = world.size
        if processes > 1 and device == "mps":
            raise SettingError(
                f"--processes {processes}: mps trains in one; leave it out, or use --device cpu"
            )
        if train.batch % processes or (train.g_batch or train.batch) % processes:
            raise SettingError(
                f"--processes {processes} does not divide the batch of {train.batch}: set"
                " train.batch to a multiple"
            )
        length = Interval.parse(train.length)
        total = (
            0
            if length.unit == "minutes"
            else max(1, round(length.images(train.batch, len(dataset))))
        )
        if length.unit == "minutes" and length.amount > MAX_MINUTES:
            raise SettingError(f"a length of {length}: expected at most {MAX_MINUTES:,}, a year")
        if total > MAX_PLAN_IMAGES:
            raise SettingError(
                f"{length} are {total:.3g} images, more than can ever be seen: expected at most"
                f" {MAX_PLAN_IMAGES:.0e}"
            )
        if (
            processes > 1
            and device == "cuda"
            and world is None
            and processes > torch.cuda.device_count()
        ):
            raise SettingError(
                f"--processes {processes}: this machine has {torch.cuda.device_count()} CUDA"
                " devices"
            )
        what, plain = str(request.data), settings(recipe)
        return Card(
            recipe=name,
            gan=file.name,
            gan_sha256=file.sha256,
            model=plain["model"],
            train=plain["train"],
            image=spec,
            data=DataCard(
                what=(
                    os.path.abspath(what)
                    if os.path.exists(what) and what not in data.NAMES
                    else what
                ),
                name=dataset.name,
                images=len(dataset),
                fingerprint=dataset.fingerprint,
                size=request.size,
                fit=request.fit or "crop",
                channels=request.channels,
                flip=bool(request.flip),
            ),
            seed=request.seed or 0,
            threads=request.threads or 0,
            processes=processes,
            device=device,
            precision=request.precision or ("32" if train.precision == "32" else ""),
            plan=request.plan
            or Plan(images=total, batch=train.batch, epoch=len(dataset), requested=train.length),
            evaluate_every=None if request.evaluate_every == "never" else request.evaluate_every,
            versions=versions(),
        )

    def _start(
        self, card: Card, file: GanFile, recipe: Recipe, spec: ImageSpec, dataset: Dataset, gan: Gan
    ) -> Run:
        """A new run: measure what is to be measured, make the directory, train."""
        left = None if card.plan.images else self._left(card)
        self.evaluation = validation.prepare_validation(
            card, dataset, gan, self.data_dir, self.progress.say, left
        )
        card, deadline = self._measured(card, file, recipe, spec, dataset)
        run = self._directory(card)
        with run.locked():
            self._announce(run, f"new run: {run.path}")
            return self._train(run, file, dataset, deadline)

    def _left(self, card: Card) -> float:
        """Seconds of a length in minutes that training may still take."""
        return (
            self.started
            + Interval.parse(card.train["length"]).amount * 60
            - finishing(card)
            - time.time()
        )

    def _measured(
        self, card: Card, file: GanFile, recipe: Recipe, spec: ImageSpec, dataset: Dataset
    ) -> tuple[Card, float | None]:
        """The card with all that is measured; of a length in minutes with its plan, and
        time.monotonic() at its end.

        What it is measured on, networks and a copy of the data, is given back before a training
        begins.
        """
        by_clock = not card.plan.images
        if card.threads and card.precision and not by_clock:
            return card, None
        before = time.time()
        _, threads, precision, seconds = choose(
            file,
            recipe,
            spec,
            dataset,
            card.device,
            threads=card.threads,
            precision=card.precision,
            most=max(1, cores() // card.processes),
            seconds=MEASURING_SHARE * max(0.0, self._left(card))
            if by_clock
            else MAX_MEASURING_SECONDS,
        )
        card = dataclasses.replace(card, threads=threads, precision=precision)  # type: ignore[arg-type]
        if not by_clock:
            return card, None
        left = self._left(card)
        if left < max(MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS * seconds):
            raise SettingError(too_short(card, before - self.started, seconds))
        deadline = time.monotonic() + left
        self.evaluation = validation.within(left, self.evaluation)
        if self.evaluation:
            left -= self.evaluation.reserve(left, card.plan.batch / seconds)
        images = max(1, int(left / seconds)) * card.plan.batch
        return (
            dataclasses.replace(card, plan=dataclasses.replace(card.plan, images=images)),
            deadline,
        )

    def _directory(self, card: Card) -> Run:
        if self.out is not None:
            if self.out.exists() and self.fresh and (self.out / "recipe.json").exists():
                with Run(self.out, card).locked():
                    kept = set_aside(self.out)
                self.progress.say(f"the earlier run is kept as {kept}")
            return Run.create(self.out, card, self.gan_path)
        label = card.recipe.replace("/", "-").replace(":", "-").replace(".py", "")
        label = "".join(
            c if c.isalnum() or c in "-_." else "-" for c in f"{label}-{card.data.name}"
        )
        with files.writing(RUNS):
            RUNS.mkdir(exist_ok=True)
            while True:
                newest = next(iter(numbered_runs()), (0, RUNS))[0]
                path = RUNS / f"{newest + 1:04d}-{label}"
                try:
                    path.mkdir()
                except FileExistsError:  # another training took the number
                    continue
                return Run.create(path, card, self.gan_path, made=True)

    def _resume(self, run: Run, file: GanFile, dataset: Dataset, gan: Gan) -> Run:
        run.gan = self.gan_path
        with run.locked():
            if run.finished:
                self.progress.say(
                    f"{run.path} is finished: {run.card.plan.total:,} images seen; --fresh starts"
                    " anew"
                )
                if distributed.torchrun_world():  # the others wait to be told
                    with distributed.together(
                        run.card.processes, run.card.device, follow, ()
                    ) as world:
                        world.broadcast([str(run.path), "finished"])
                return run
            seen = (run.load_state() or {"images_seen": 0})["images_seen"]
            if (asked := self.request.evaluate_every) is not None:
                run.save_card(
                    dataclasses.replace(
                        run.card, evaluate_every=None if asked == "never" else asked
                    )
                )
            self._announce(
                run, f"going on with {run.path} after {seen:,} of {run.card.plan.total:,} images"
            )
            self.evaluation = validation.prepare_validation(
                run.card, dataset, gan, self.data_dir, self.progress.say
            )
            return self._train(run, file, dataset, None)

    def _announce(self, run: Run, first: str) -> None:
        card = run.card
        self.progress.say(first)
        self.progress.say(
            f"{card.recipe} on {card.data.name}: {card.data.images:,} images of {card.image};"
            f" {card.plan.total:,} to see ({card.plan.requested}), batches of {card.plan.batch},"
            f" seed {card.seed}, {card.device}, {card.threads}"
            f" thread{'s' if card.threads > 1 else ''}"
            + (f", {card.precision}" if card.precision != "32" else "")
            + (f", {card.processes} processes" if card.processes > 1 else "")
        )
        if self.start:
            anew = (
                "" if "discriminator" in self.start.networks else "; the discriminator starts anew"
            )
            self.progress.say(f"from the weights of {self.start.origin.path}{anew}")

    def _train(self, run: Run, file: GanFile, dataset: Dataset, deadline: float | None) -> Run:
        files.sweep(run.path)
        if self.start:
            run.save_start(self.start.networks, self.start.card)
        arguments = (self.gan_path, self.data_dir)
        try:
            with distributed.together(
                run.card.processes, run.card.device, follow, arguments
            ) as world:
                world.broadcast([str(run.path), ""])
                world.raise_if_any("")
                stopped = train_run(
                    run,
                    file,
                    dataset,
                    progress=self.progress,
                    world=world,
                    deadline=deadline,
                    evaluation=self.evaluation,
                    held_out=run.card.held_out(self.data_dir, self.progress.say),
                    data_dir=self.data_dir,
                )
        finally:
            self.progress.end()
        if stopped:
            named = [self.request.recipe] if self.request.recipe and self.gan_path else []
            options = ["--data-dir", str(self.data_dir)] if self.data_dir else []
            again = shlex.join(["ganvas", "train", *named, "--out", str(run.path), *options])
            self.progress.say(f"stopped and saved; to go on: {again}")
            raise KeyboardInterrupt if stopped == signal.SIGINT else SystemExit(128 + stopped)
        if self.evaluation and self.evaluation.best:
            fid, images = self.evaluation.best
            self.progress.say(f"best: FID {fid:.3g} at {images:,} images, {run.best_file}")
        took = duration(time.time() - self.started)
        look = shlex.join(
            [
                "ganvas",
                "sample",
                str(run.path),
                *(["--gan", self.gan_path] if self.gan_path else []),
            ]
        )
        self.progress.say(f"done in {took}; look at {run.path}, or: {look}")
        return run


def too_few(train: TrainConfig, images: int) -> str:
    """What is said of a length in epochs that is over before anything is learned; "" of any other."""
    length = Interval.parse(train.length)
    steps = (
        math.ceil(length.images(train.batch, images) / train.batch)
        if length.unit == "epochs"
        else MIN_LEARNING_STEPS
    )
    if steps >= MIN_LEARNING_STEPS:
        return ""
    return (
        f"{length} of {images:,} images are {steps} steps, too few to learn from: give --minutes or"
        " --images"
    )


def finishing(card: Card) -> float:
    """Seconds that are kept back from a length in minutes for what comes after training."""
    image = card.image.channels * card.image.height * card.image.width
    return FINISH_SECONDS + card.data.images * image * (1 + card.data.flip) / NEAREST_RATE


def too_short(card: Card, before: float, seconds: float) -> str:
    """Why a length in minutes is refused, and which would do.

    before: seconds until a step was measured. seconds: of a step.
    """
    least = max(MIN_TRAINING_SECONDS, MIN_TRAINING_STEPS * seconds)
    # The next start may take longer than this one, and with more time more of it is measured for,
    # and for a step longer.
    enough = (
        math.ceil((1.5 * before + finishing(card) + least + seconds) / (1 - MEASURING_SHARE) / 6)
        / 10
    )
    why, cure = "starting and finishing take most of it here", ""
    if least > MIN_TRAINING_SECONDS:
        why = (
            f"a step of {card.recipe} on {card.image} takes {seconds:.2g} s here, and {MIN_TRAINING_STEPS}"
            " are the least"
        )
        cure = ", or make the images smaller with --size"
    return (
        f"--minutes {card.plan.requested.split()[0]} is too short: {why}; give at least"
        f" {enough:g}{cure}"
    )
