"""`ganvas evaluate`: a generator or images against real images, under a protocol that goes with
every figure."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.load import Reading
from ganvas.errors import MetricError, RunError, SettingError
from ganvas.evaluation import copies as copying
from ganvas.evaluation import extractors, history, inputs, metrics, scores, stacks
from ganvas.evaluation import gan_train as teaching
from ganvas.evaluation.extractors import MIN_ACCURACY, Extractor
from ganvas.evaluation.history import K
from ganvas.evaluation.inputs import Generated, Real
from ganvas.evaluation.result import (
    Copies,
    EvaluationResult,
    GanTrain,
    Protocol,
    RepeatOptions,
    Scores,
    mean_and_spread,
)
from ganvas.evaluation.scores import MIN_IMAGES, FeatureSet
from ganvas.recipe import Channels, Fit
from ganvas.runs.card import Card, versions
from ganvas.runs.run import Run
from ganvas.runs.weights import weights_sha256
from ganvas.sampling import sheets
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.samples import MAX_SAMPLES, raise_if_too_many
from ganvas.system import files
from ganvas.system.machine import cores, threads
from ganvas.system.progress import Progress
from ganvas.system.text import count, first_few, readable

FEWER_HIGHER = "; the fewer images, the higher the FID"
Tell = Callable[[str], None]


def evaluate(
    source: Run | Dataset | str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    against: Dataset | str | os.PathLike[str] | None = None,
    n: int = 10_000,
    extractor: Extractor | Callable[[Tensor], Any] | str | None = None,
    seeds: int = 1,
    seed: int = 0,
    prdc_n: int = 2000,
    k: int = K,
    gan_train: bool = False,
    copies: bool = False,
    gan: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    fit: Fit | None = None,
    channels: Channels | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    out: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> EvaluationResult:
    """Judge a run, an exported generator or a set of images by real images, and say under which
    protocol.

    source: a `Run` or its directory, a generator.safetensors, or images (a `Dataset`, a folder,
    .zip, .npz, a set's name).
    data: the real images' name or path; a run's own by default. Its held-out part is what is judged
    against.
    against: judge against these images instead. n: generated images, all where a set has fewer.
    extractor: a name (see `ganvas.evaluation.extractors.find_extractor`), an `Extractor`, or any object that
    maps uint8 images (N, C, H, W) to features (N, D). seeds: how many samplings, from `seed` on.
    prdc_n, k: of precision, recall, density and coverage. gan_train, copies: do these too (see
    those modules).
    out: where the sheet of closest pairs is written; without it copies.png, in the run's directory
    where there is one.
    size, fit, channels, data_dir: how pictures are read (see `ganvas.data.load_dataset`).

    A run's verdict is also added to its metrics.jsonl. Raises a GanvasError for anything that
    cannot be.
    """
    _check(n, seeds, seed, prdc_n, k)
    if out is not None:
        files.refuse_ending(Path(out), "the sheet of the closest pairs is a picture", ".png")
    asked = history.repeat_options(
        data=data,
        against=against,
        n=n,
        prdc_n=prdc_n,
        seed=seed,
        seeds=seeds,
        extractor=extractor,
        k=k,
        size=size,
        fit=fit,
        channels=channels,
        data_dir=data_dir,
        device=None if device == "cpu" else device,
        flags={"gan_train": gan_train, "copies": copies},
    )
    tell = Progress(quiet=quiet).say
    reading = Reading(size, fit, channels, None if data_dir is None else Path(data_dir))
    opened = inputs.open_generated(
        source, reading, gan=None if gan is None else os.fspath(gan), device=device
    )
    reality = inputs.open_real(opened, data, against, reading)
    opened = inputs.with_real_form(opened, reality)
    _refuse(opened, reality, n, seeds, seed, gan_train, copies)
    if extractor is None or isinstance(extractor, str):
        extractor = _find(extractor, reality.like, reading, tell)
    judge = extractor if isinstance(extractor, Extractor) else Extractor.of(extractor)
    resize = _resize(opened, reality, judge)
    judgement = _Judgement(
        opened,
        reality,
        judge,
        n,
        seeds,
        seed,
        prdc_n,
        k,
        resize,
        tell,
        asked,
        most_modes=stacks.MODES_N,
    )
    with threads(cores()):  # as during training, or the last digits differ
        verdict, fakes = judgement.verdict()
        if gan_train:
            verdict = replace(verdict, gan_train=judgement.gan_train(fakes))
    if copies:
        found, notes = judgement.copies(fakes, None if out is None else Path(out))
        verdict = replace(verdict, copies=found, notes=(*verdict.notes, *notes))
    return verdict if opened.run is None else _saved(opened.run, verdict)


def while_training(
    card: Card, dataset: Dataset, *, n: int, data_dir: Path | None, tell: Tell
) -> Callable[[Sampler], EvaluationResult]:
    """A function that judges the generator of a training by the held-out part of its data, with n
    generated images.

    card: of the run. dataset: what it is trained on. The extractor, the real side and the floor are
    made now, once.
    Raises a GanvasError where such images cannot be judged.
    """
    reading = Reading(card.data.size, card.data.fit, card.data.channels, data_dir)
    reality = inputs.real_from(dataset, reading.held_out(card.data.what, dataset))
    extractor = _find(None, reality.like, reading, tell)
    source = Generated(card.recipe, "run", card=card)
    asked = history.repeat_options(n=n, prdc_n=n, seed=0, seeds=1, data_dir=data_dir)
    if stacks.are_stacks(reality.real):
        asked = replace(
            asked,
            hindrance=(
                f"it counted modes among {n:,} images, ganvas evaluate does among"
                f" {stacks.MODES_N:,}"
            ),
        )
    judgement = _Judgement(
        source, reality, extractor, n, 1, 0, n, K, extractor.resize, tell, asked, most_modes=n
    )
    for note in (*reality.notes, *extractor.notes):
        tell(note)
    with threads(cores()):
        real = judgement.side(reality.real, real=True)
        floor = judgement.floor(real, n)
    judgement.tell = lambda text: None

    def judge(sampler: Sampler) -> EvaluationResult:
        weights = {
            name: t.detach().cpu().contiguous()
            for name, t in sampler.gan.generator.state_dict().items()
        }
        own = replace(card, weights_sha256=weights_sha256(weights))
        with threads(cores()):
            return replace(judgement, source=replace(source, sampler=sampler, card=own)).verdict(
                real, floor
            )[0]

    return judge


def _check(n: int, seeds: int, seed: int, prdc_n: int, k: int) -> None:
    for option, value, least, most in (
        ("--n", n, 1, MAX_SAMPLES),
        ("--seeds", seeds, 1, 1000),
        ("--seed", seed, 0, 2**63),
        ("k", k, 1, 1000),
        ("--prdc-n", prdc_n, k + 1, MAX_SAMPLES),
    ):
        if not least <= value <= most:
            raise SettingError(f"{option} {value}: expected {least} to {most}")


def _refuse(
    source: Generated, reality: Real, n: int, seeds: int, seed: int, gan_train: bool, copies: bool
) -> None:
    """Say what cannot be asked of these two sides, before any work."""
    judged = n if source.images is None else min(n, len(source.images))
    for side, found in (("judged", judged), ("real", len(reality.real))):
        if found < 2:
            raise MetricError(
                f"{found} {side} image: figures are of sets, give 2 or more on each side"
            )
    if source.images is not None and n >= len(source.images):
        for option, value, usual in (("--seeds", seeds, 1), ("--seed", seed, 0)):
            if value != usual:
                raise SettingError(
                    f"{option} {value}: all images of {source.name} are judged, which no seed"
                    " changes; leave it out"
                )
    if source.images is not None and seeds * n > len(source.images) > n:
        raise SettingError(
            f"--seeds {seeds} takes {seeds} parts of {n:,}, and {source.name} holds"
            f" {len(source.images):,} images: give --n {max(2, len(source.images) // seeds)} or"
            " less"
        )
    if copies and reality.training is None:
        raise SettingError("--copies needs training images: name them by --data")
    if gan_train:
        _refuse_gan_train(source, reality)


def _refuse_gan_train(source: Generated, reality: Real) -> None:
    """Raises SettingError where a classifier cannot learn from one side and be tested on the other."""
    training, held_out = reality.training, reality.held_out
    if training is None:
        raise SettingError("--gan-train needs training images: name them by --data")
    if held_out is None:
        raise SettingError(
            f"--gan-train is tried on held-out images, and {training.name} has none: leave it out"
        )
    parts = {
        source.name: source.classes,
        "the training images": training.classes,
        "the held-out images": held_out.classes,
    }
    for name, classes in parts.items():
        if not classes:
            raise SettingError(
                f"--gan-train needs labels, and {name} have none: leave it out, or name data by"
                " --data"
            )
    if len(training.classes) < 2:
        raise SettingError(
            "--gan-train needs two classes or more, the training images have one: leave it out"
        )
    if strangers := set(source.classes) - set(training.classes):
        raise SettingError(
            f"--gan-train: the training images have no class {first_few(sorted(strangers))}; leave"
            " it out"
        )


def _find(name: str | None, like: Dataset, reading: Reading, tell: Tell) -> Extractor:
    """The extractor of this name, or the one for such images: for stacks of digits that of digits,
    for each channel."""
    if name in (None, "digits") and stacks.are_stacks(like):
        digits = extractors.find_extractor(
            "digits", stacks.first_channels(like), data_dir=reading.data_dir, tell=tell
        )
        return stacks.extractor_of(digits)
    return extractors.find_extractor(name, like, data_dir=reading.data_dir, tell=tell)


def _resize(source: Generated, reality: Real, judge: Extractor) -> str:
    """What is done to the images of both sides before features are taken, as far as it loses
    anything."""
    done = list(source.images.altered) if source.images else []
    done += [f"real ones {what}" for what in reality.real.altered]
    if judge.resize != "none":
        done.append(judge.resize)
    return ", ".join(done) or "none"


@dataclass
class _Judgement:
    """One call of `evaluate()`, with everything found and read."""

    source: Generated
    reality: Real
    judge: Extractor
    n: int
    seeds: int
    seed: int
    prdc_n: int
    k: int
    resize: str
    tell: Tell
    asked: RepeatOptions
    most_modes: int

    def verdict(
        self, real: FeatureSet | None = None, floor: tuple[Scores, list[str]] | None = None
    ) -> tuple[EvaluationResult, Dataset]:
        """All but GAN-train and copies, and the images of the first seed. real, floor: where they
        are there already."""
        real = real or self.side(self.reality.real, real=True)
        self._refuse_too_many(real)
        first: Dataset | None = None
        each: list[Scores] = []
        notes: list[str] = []
        for seed in range(self.seed, self.seed + self.seeds):
            found, fakes, said = self._of_seed(real, seed)
            each.append(found)
            notes += said
            first = first or fakes
        assert first is not None
        means, spread = mean_and_spread(each)
        least, of_floor = floor or self.floor(real, len(first))
        of_floor = [note for note in of_floor if note.removeprefix("floor: ") not in notes]
        accuracy = _accuracy(real)
        verdict = EvaluationResult(
            **{name: getattr(means, name) for name in Scores.__dataclass_fields__},
            source=self.source.name,
            kind=self.source.kind,
            floor=least,
            spread=spread,
            seeds=self.seeds,
            real_accuracy=accuracy,
            protocol=self._protocol(len(first)),
            notes=tuple(dict.fromkeys([*self._notes(accuracy), *notes, *of_floor])),
            weights_sha256="" if self.source.card is None else self.source.card.weights_sha256,
            asked=self.asked,
        )
        return verdict, first

    def side(self, dataset: Dataset, real: bool = False) -> FeatureSet:
        """real: features are kept, where the extractor's hash tells all that they depend on."""
        self.tell(f"{self.judge.name} looks at {count(len(dataset), 'image')} of {dataset.name}")
        return scores.extract(dataset, self.judge, cached=real and self.judge.certain)

    def _refuse_too_many(self, real: FeatureSet) -> None:
        """Say before an hour's work that what it makes would not fit into memory."""
        if self.source.sampler is not None:
            columns = real.features.shape[1] + len(self.judge.classes)
            raise_if_too_many(
                self.source.sampler, max(self.n, self._modes_n or 0), more=12 * columns
            )

    def _of_seed(self, real: FeatureSet, seed: int) -> tuple[Scores, Dataset, list[str]]:
        """Figures, the images judged, and notes."""
        if self.source.sampler is not None:
            self.tell(
                f"sampling {count(max(self.n, self._modes_n or 0), 'image')} with seed {seed}"
            )
        most = max(self.n, self._modes_n or 0)
        many = self.source.take(
            most, self.seed, self._shares(), part=seed - self.seed, least=self.n
        )
        fakes = many if len(many) <= self.n else many.rows(torch.arange(self.n))
        judged = self.side(many)
        fake = (
            judged
            if fakes is many
            else FeatureSet(*(None if t is None else t[: self.n] for t in judged))  # type: ignore[arg-type]
        )
        found, said = scores.compute_scores(
            real, fake, self.judge.classes, prdc_n=self.prdc_n, k=self.k
        )
        notes = [note for note in (scores.same_images_note("generated", fakes.images),) if note]
        if self._modes_n:
            assert judged.probabilities is not None
            numbers = judged.probabilities[: self._modes_n].argmax(1)
            hit, kl = metrics.modes(numbers, len(self.judge.classes))
            found = replace(found, modes=hit, reverse_kl=kl)
        return found, fakes, [*notes, *said]

    def floor(self, whole: FeatureSet, n: int) -> tuple[Scores, list[str]]:
        """whole: the real side as the generated one is judged against it."""
        real, stand_in = self.reality.floor(n)
        if min(len(real), len(stand_in)) < 2:
            few = (
                f"{count(len(real), 'real image')} and {len(stand_in)} in place of generated ones"
                " are too few"
            )
            return Scores(), [f"no floor: {few}"]
        one = whole if real is self.reality.real else self.side(real, real=True)
        other = self.side(stand_in, real=True)
        found, said = scores.compute_scores(
            one, other, self.judge.classes, prdc_n=self.prdc_n, k=self.k
        )
        notes = [f"floor: {note}" for note in said]
        if self.reality.split != "test":
            notes.append(
                f"floor: {len(stand_in):,} of the real images against {len(real):,} others, by"
                f" chance{FEWER_HIGHER}"
            )
        elif len(stand_in) < n:
            few = count(len(stand_in), "training image")
            notes.append(f"floor: there are only {few}, fewer than the {n:,} judged{FEWER_HIGHER}")
        if self.judge.knows(
            self.reality.like if self.reality.split == "test" else self.reality.real
        ):
            notes.append(
                f"floor: {self.judge.name} learned from the very images that stand in for generated"
                " ones: a perfect generator may have a lower FID than this floor, and need not"
                " reach its label accuracy"
            )
        if self._modes_n:
            hit, kl = metrics.perfect_modes(self._modes_n, len(self.judge.classes))
            found = replace(found, modes=hit, reverse_kl=kl)
            notes.append("floor: modes and reverse_kl are those of a perfect sampler, simulated")
        return found, notes

    @property
    def _modes_n(self) -> int | None:
        """How many images' modes are counted, where there are modes to count."""
        if self.judge.classes != stacks.STACK_CLASSES or not stacks.are_stacks(self.reality.real):
            return None
        return (
            self.most_modes
            if self.source.images is None
            else min(self.most_modes, len(self.source.images))
        )

    def _shares(self) -> torch.Tensor | None:
        """How often a class occurs among the training images: so often a generator is asked for it."""
        training = self.reality.training
        if training is None or training.labels is None or training.classes != self.source.classes:
            return None
        return torch.bincount(training.labels, minlength=len(training.classes))

    def _protocol(self, n_fake: int) -> Protocol:
        real = self.reality.real
        equal = (
            self.source.sampler is not None and bool(self.source.classes) and self._shares() is None
        )
        return Protocol(
            extractor=self.judge.name,
            extractor_sha256=self.judge.sha256,
            n_real=len(real),
            n_fake=n_fake,
            n_prdc=min(self.prdc_n, len(real), n_fake),
            k=self.k,
            n_modes=self._modes_n,
            split=self.reality.split,
            resize=self.resize,
            data=real.name,
            real_sha256=real.fingerprint,
            seed=self.seed,
            asked_classes="equal" if equal else "",
            versions=versions(),
        )

    def _notes(self, real_accuracy: float | None) -> list[str]:
        """What the figures rest on."""
        real, source, judge = self.reality.real, self.source, self.judge
        notes = [
            *self.reality.notes,
            *(self.reality.training or real).notes,
            *real.notes,
            *judge.notes,
        ]
        notes += [] if source.images is None else source.images.notes
        if self.reality.split != "test" and judge.knows(real):
            notes.append(
                f"{judge.name} learned from the images judged against: other real images would"
                " differ from them, too"
            )
        if len(real) < MIN_IMAGES:
            notes.append(f"{count(len(real), 'real image')} only: figures are rough")
        if note := scores.same_images_note("real", real.images):
            notes.append(note)
        if not judge.classes:
            notes.append(
                f"{judge.name} knows no classes: no inception_score, class_kl or label_accuracy"
            )
        elif source.classes and not set(source.classes) <= set(judge.classes):
            strange = ", ".join(sorted(set(source.classes) - set(judge.classes)))[:100]
            notes.append(
                f"no label_accuracy: {judge.name} does not know the images' classes {strange}"
            )
        if real_accuracy is not None and real_accuracy < MIN_ACCURACY:
            notes.append(
                f"{judge.name} names only {real_accuracy:.1%} of the real images rightly: what it"
                " says of classes means little; choose another --extractor"
            )
        return notes

    def gan_train(self, fakes: Dataset) -> GanTrain:
        training, held_out = self.reality.training, self.reality.held_out
        assert training is not None
        assert held_out is not None
        named = replace(
            fakes, labels=scores.labels_in(fakes, training.classes), classes=training.classes
        )
        return teaching.gan_train(named, training, held_out, self.tell)

    def copies(self, fakes: Dataset, out: Path | None) -> tuple[Copies, list[str]]:
        """The copy check and its notes, with its sheet written; where the disk refuses that, the
        rest is not lost."""
        training, held_out, run = self.reality.training, self.reality.held_out, self.source.run
        assert training is not None
        self.tell(f"looking for copies among {count(len(training), 'training image')}")
        flip = self.source.card is not None and self.source.card.data.flip
        others = None if held_out is None else held_out.images
        found = copying.check_copies(fakes.images, training.images, others, flip=flip)
        near = training.images[found.training]
        images = (
            fakes.images[found.fakes],
            torch.where(found.mirrored[:, None, None, None], near.flip(3), near),
        )
        path = out or (Path("copies.png") if run is None else run.closest_file)
        generated, nearest = (part.permute(0, 2, 3, 1) for part in images)
        try:
            sheets.save_pairs(
                path,
                generated.numpy(),
                nearest.numpy(),
                f"closest pairs among {count(len(fakes), 'image')}: left generated, right the"
                " nearest training image",
            )
        except RunError as error:
            return found.copies, [*found.notes, f"no sheet of the closest pairs: {error}"]
        return replace(found.copies, sheet=readable(path)), list(found.notes)


def _accuracy(side: FeatureSet) -> float | None:
    if side.labels is None or side.probabilities is None:
        return None
    return float((side.probabilities.argmax(1) == side.labels).double().mean())


def must_learn(dataset: Dataset) -> bool:
    """Whether an extractor has yet to be trained before images like these are judged: minutes of
    work."""
    return not stacks.are_stacks(dataset) and not extractors.is_available(dataset)


def _saved(run: Run, verdict: EvaluationResult) -> EvaluationResult:
    """The verdict, added to the run's metrics.jsonl, or with a note where the disk refuses: the
    work is not lost."""
    try:
        run.append_metrics(verdict.to_json())
    except RunError as error:
        return replace(verdict, notes=(*verdict.notes, f"not kept with the run: {error}"))
    return verdict
