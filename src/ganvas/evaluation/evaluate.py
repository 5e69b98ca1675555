"""`ganvas evaluate`: scores of a generator, or of images, against real images."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.data.reading import Reading
from ganvas.errors import RunError
from ganvas.evaluation import classifier, extractors, history, inputs
from ganvas.evaluation.comparison import Comparison
from ganvas.evaluation.copies import check_copies, save_closest
from ganvas.evaluation.extractors import Extractor
from ganvas.evaluation.inputs import Generated, Real
from ganvas.evaluation.result import (
    EvaluationArguments,
    EvaluationResult,
    EvaluationSettings,
    RepeatOptions,
    Scores,
    mean_and_spread,
)
from ganvas.evaluation.scores import FeatureSet, labels_in
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.runs.weights import weights_sha256
from ganvas.sampling.sampler import Sampler
from ganvas.system import files
from ganvas.system.machine import cores, threads
from ganvas.system.progress import Progress, Say
from ganvas.system.text import count, readable


def evaluate(
    source: Run | Dataset | str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    against: Dataset | str | os.PathLike[str] | None = None,
    extractor: Extractor | Callable[[Tensor], Any] | str | None = None,
    gan_train: bool = False,
    copies: bool = False,
    gan: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    out: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **options: Unpack[EvaluationArguments],
) -> EvaluationResult:
    """Score generated images against real ones. A run's result is added to its metrics.jsonl.

    source: a `Run` or its directory, a generator.safetensors, or images (a `Dataset`, or
        whatever `load_dataset` reads).
    data: the real images, by name or path; a run's own by default. Its held-out part is used.
    against: compare with these images instead.
    extractor: a name (see `find_extractor`), an `Extractor`, or any function or module that maps
        uint8 images (N, C, H, W) to features (N, D).
    gan_train, copies: add these checks (see `classifier.gan_train` and `copies.check_copies`).
    gan, device: path of the user's GAN file, if the GAN is not built in; where the generator runs.
    out: path of the sheet of closest pairs; by default copies.png, in the run's directory if any.
    quiet: show no progress.
    options: n, seeds, seed, prdc_n, k of `EvaluationSettings`; those of `ReadOptions` and
        data_dir, for pictures.

    Raises a GanvasError for input that cannot be evaluated.
    """
    settings, reading = _parse(options, out)
    given = asdict(settings) | asdict(reading)
    given |= {"data": data, "against": against, "extractor": extractor, "device": device}
    repeat = history.repeat_options({"gan_train": gan_train, "copies": copies}, **given)
    tell = Progress(quiet=quiet).say

    # Inputs
    generated = inputs.open_generated(source, reading, gan=gan, device=device)
    real = inputs.open_real(generated, data, against, reading)
    generated = inputs.with_real_form(generated, real)
    inputs.raise_if_impossible(generated, real, settings, gan_train, copies)

    # Extractor
    chosen = extractors.find_extractor(extractor, real.like, data_dir=reading.data_dir, tell=tell)

    # Features, scores, floor, result
    resize, modes_n = _changes(generated, real, chosen), extractors.MODES_N
    comparison = Comparison(generated, real, chosen, settings, resize, modes_n, tell)
    with threads(cores()):  # as during training: the last digits depend on it
        real_features = comparison.extract(real.images, real=True)
        result, fakes, features = _result(comparison, repeat, real_features)
        result = _with_gan_train(result, real, fakes, tell) if gan_train else result
    result = _with_copies(result, comparison, fakes, features, out) if copies else result
    if generated.run is not None:
        try:
            generated.run.append_metrics(result.to_json())
        except RunError as error:
            result = replace(result, notes=(*result.notes, f"not kept with the run: {error}"))
    return result


def _parse(
    options: EvaluationArguments, out: str | os.PathLike[str] | None
) -> tuple[EvaluationSettings, Reading]:
    """Check the options of `evaluate`. Raises SettingError, or TypeError for an unknown name."""
    if unknown := sorted(options.keys() - EvaluationArguments.__annotations__.keys()):
        raise TypeError(f"evaluate() has no argument {unknown[0]}")
    values: dict[str, Any] = {**options}
    numbers = {f.name: values.pop(f.name) for f in fields(EvaluationSettings) if f.name in values}
    if values.get("data_dir") is not None:
        values["data_dir"] = Path(values["data_dir"])
    settings = EvaluationSettings(**numbers)
    inputs.raise_if_out_of_range(settings)
    if out is not None:
        files.refuse_ending(Path(out), "the sheet of the closest pairs is a picture", ".png")
    return settings, Reading(**values)


def _result(
    comparison: Comparison,
    repeat: RepeatOptions,
    real_features: FeatureSet,
    floor: tuple[Scores, list[str]] | None = None,
) -> tuple[EvaluationResult, Dataset, FeatureSet]:
    """Score all seeds. Returns the result, and the images of the first seed with their features.

    floor: `Comparison.compute_floor`'s result; computed here if None.
    """
    # Scores of each seed; only the images of the first seed are kept in memory
    settings, generated = comparison.settings, comparison.generated
    scores, fakes, features, notes = comparison.score_seed(real_features, settings.seed)
    each = [scores]
    for k in range(1, settings.seeds):
        scores, _, _, caveats = comparison.score_seed(real_features, settings.seed + k)
        each.append(scores)
        notes += caveats
    means, spread = mean_and_spread(each)

    # Floor, and notes, each once
    floor_scores, floor_notes = floor or comparison.compute_floor(real_features, len(fakes))
    correct = real_features.correct
    real_accuracy = None if correct is None else float(correct.mean())
    floor_notes = [note for note in floor_notes if note.removeprefix("floor: ") not in notes]
    notes = [*comparison.caveats(real_accuracy), *notes, *floor_notes]

    result = EvaluationResult(
        **vars(means),
        source=generated.name,
        kind=generated.kind,
        floor=floor_scores,
        spread=spread,
        seeds=settings.seeds,
        real_accuracy=real_accuracy,
        protocol=comparison.protocol(len(fakes)),
        notes=tuple(dict.fromkeys(notes)),
        weights_sha256="" if generated.card is None else generated.card.weights_sha256,
        asked=repeat,
    )
    return result, fakes, features


def while_training(
    card: Card, dataset: Dataset, *, n: int, data_dir: Path | None, tell: Say
) -> Callable[[Sampler], EvaluationResult]:
    """Prepare to evaluate a generator repeatedly while it is trained.

    The extractor, the features of the real images and the floor are made now, once.

    card: of the run.
    dataset: the training images; their held-out part is what the scores compare with.
    n: generated images.
    data_dir: where named data sets are.
    tell: gets lines of progress and caveats.

    Returns a function from the generator's sampler to the result. Raises a GanvasError if such
    images cannot be evaluated.
    """
    # Inputs
    settings = EvaluationSettings(n=n, prdc_n=n)
    repeat = history.repeat_options(**asdict(settings), data_dir=data_dir)
    reading = card.data.reading(data_dir)
    real = inputs.real_from(dataset, reading.held_out(card.data.what, dataset))
    generated = Generated(card.recipe, "run", spec=card.image, card=card)
    if extractors.is_stacked(real.images):
        counted = f"it counted modes among {n:,} images"
        hindrance = f"{counted}, ganvas evaluate does among {extractors.MODES_N:,}"
        repeat = replace(repeat, hindrance=hindrance)

    # Extractor
    extractor = extractors.find_extractor(None, real.like, data_dir=data_dir, tell=tell)
    for note in (*real.notes, *extractor.notes):
        tell(note)

    # Features and floor
    comparison = Comparison(generated, real, extractor, settings, extractor.resize, n, tell)
    with threads(cores()):
        real_features = comparison.extract(real.images, real=True)
        floor = comparison.compute_floor(real_features, n)
    comparison = replace(comparison, tell=lambda text: None)

    def evaluate_sampler(sampler: Sampler) -> EvaluationResult:
        state = sampler.gan.generator.state_dict().items()
        weights = {name: tensor.detach().cpu() for name, tensor in state}
        now = replace(card, weights_sha256=weights_sha256(weights))
        current = replace(comparison, generated=replace(generated, sampler=sampler, card=now))
        with threads(cores()):
            return _result(current, repeat, real_features, floor)[0]

    return evaluate_sampler


def must_learn(dataset: Dataset) -> bool:
    """Return True if an extractor for such images has yet to be trained, which takes minutes."""
    return not extractors.is_available(dataset)


def _changes(generated: Generated, real: Real, extractor: Extractor) -> str:
    """Lossy changes to images before features are extracted, for the protocol."""
    changes = list(generated.images.altered) if generated.images else []
    changes += [f"real ones {change}" for change in real.images.altered]
    changes += [extractor.resize] * (extractor.resize != "none")
    return ", ".join(changes) or "none"


def _with_gan_train(
    result: EvaluationResult, real: Real, fakes: Dataset, tell: Say
) -> EvaluationResult:
    training, held_out = real.training, real.held_out
    assert training is not None
    assert held_out is not None
    labels = labels_in(fakes, training.classes)
    fakes = replace(fakes, labels=labels, classes=training.classes)
    return replace(result, gan_train=classifier.gan_train(fakes, training, held_out, tell))


def _with_copies(
    result: EvaluationResult,
    comparison: Comparison,
    fakes: Dataset,
    features: FeatureSet,
    out: str | os.PathLike[str] | None,
) -> EvaluationResult:
    """Add the copy check and write its sheet, or a note if the disk refuses it.

    features: of `fakes`.
    """
    generated, real = comparison.generated, comparison.real
    assert real.training is not None
    training = real.training.images
    comparison.tell(f"looking for copies among {count(len(training), 'training image')}")
    flip = generated.card is not None and generated.card.data.flip
    held_out = None if real.held_out is None else real.held_out.images
    seen = comparison.copy_features(features) if comparison.extractor.finds_copies else None
    check = check_copies(fakes.images, training, held_out, flip=flip, features=seen)
    copies, notes = check.copies, check.notes
    path = Path(out or (generated.run.closest_file if generated.run else "copies.png"))
    try:
        save_closest(path, check, fakes.images, training)
        copies = replace(copies, sheet=readable(path))
    except RunError as error:
        notes = (*notes, f"no sheet of the closest pairs: {error}")
    return replace(result, copies=copies, notes=(*result.notes, *notes))
