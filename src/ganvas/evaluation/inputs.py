"""Inputs of an evaluation: generated images, and the real images that they are compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ganvas.data.catalogue import NAMES
from ganvas.data.dataset import Dataset
from ganvas.data.kinds import split_member
from ganvas.data.reading import Reading
from ganvas.errors import DataError, MetricError, RunError, SettingError
from ganvas.evaluation.result import EvaluationSettings
from ganvas.recipe import KINDS, ImageSpec
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.runs.weights import locate_generator, open_generator
from ganvas.sampling.onnx_sampler import OnnxSampler
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.samples import MAX_SAMPLES, ImageMaker
from ganvas.system import seeding
from ganvas.system.text import count, first_few


@dataclass(frozen=True)
class Generated:
    """Generated images: a generator, or `images`.

    sampler, spec: of a generator, also an exported one.
    card: of a generator that is no export.
    data: name of the data set that an exported one was trained on, if ganvas knows it.
    """

    name: str
    kind: Literal["run", "generator", "images"]
    images: Dataset | None = None
    sampler: ImageMaker | None = None
    spec: ImageSpec | None = None
    card: Card | None = None
    data: str | None = None
    run: Run | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        if self.images is not None:
            return self.images.channels, self.images.height, self.images.width
        assert self.spec is not None
        return self.spec.channels, self.spec.height, self.spec.width

    @property
    def files(self) -> str:
        """The kinds of files that the images came from; "generator" for none."""
        return "generator" if self.images is None else self.images.files

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; () for images without labels."""
        if self.images is not None:
            return self.images.classes
        assert self.sampler is not None
        return self.sampler.classes

    def take(
        self, n: int, seed: int, shares: Tensor | None = None, part: int = 0, least: int = 0
    ) -> Dataset:
        """Take n images.

        Of a generator: images 0 to n - 1 of `seed + part`. Of a set: n at random, or all, shuffled,
        if it holds fewer; parts of `least` images have none in common.

        shares: (K,) proportions of a conditional generator's classes; equal by default.
        """
        if self.images is not None:
            rows = torch.randperm(len(self.images), generator=seeding.generator(seed, "judged", 0))
            return self.images.rows(rows.roll(-part * least)[:n])
        assert self.sampler is not None
        classes, labels, given = self.sampler.classes, None, None
        if classes:
            labels = spread_labels(n, torch.ones(len(classes)) if shares is None else shares)
            given = labels.tolist()
        made = self.sampler(range(n), seed=seed + part, labels=given, strict=True)
        images = torch.as_tensor(made)
        return Dataset(self.name, images.permute(0, 3, 1, 2).contiguous(), labels, classes)


@dataclass(frozen=True)
class Real:
    """Real images.

    images: those compared with.
    split: which they are: "test", the held-out part; "train", all, if nothing is held out;
        "against", any others.
    training, held_out: parts of the generator's data, if known.
    notes: caveats.
    """

    images: Dataset
    split: Literal["test", "train", "against"]
    training: Dataset | None
    held_out: Dataset | None
    notes: tuple[str, ...]

    @property
    def like(self) -> Dataset:
        """The images that an extractor is chosen for and trained on, and whose classes count."""
        return self.training or self.images

    def floor(self, n: int) -> tuple[Dataset, Dataset]:
        """Images for the floor: real ones, and others in place of generated ones.

        These are n random training images against the held-out ones, or two halves of `images`.
        """
        source = self.like if self.split == "test" else self.images
        rows = torch.randperm(len(source), generator=seeding.generator(0, "floor", 0))
        if self.split == "test":
            return self.images, source.rows(rows[:n])
        half = len(rows) // 2
        return source.rows(rows[half:]), source.rows(rows[:half][:n])


def spread_labels(n: int, shares: Tensor) -> Tensor:
    """n labels, int64, in the proportions `shares` (K,), each class spread as evenly as possible.

    Equal shares give 0, 1, ..., K - 1, 0, ..., as `ganvas sample` goes through the classes.
    """
    part = shares.double() / shares.double().sum()
    labels = torch.arange(len(part)).repeat_interleave((part * n).ceil().long() + 1)
    labels = labels[part[labels] > 0]
    first = torch.searchsorted(labels, labels)  # position of each class's first label
    due = (torch.arange(len(labels)) - first + 0.5) / part[labels]
    return labels[due.argsort(stable=True)[:n]]


def open_generated(
    source: Run | Dataset | str | os.PathLike[str],
    reading: Reading,
    *,
    gan: str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> Generated:
    """Open a run, a generator, or images.

    source: a `Run` or its directory, a generator.safetensors, an .onnx of `ganvas export`, the name
        of a shipped generator, or images: a `Dataset`, any path that `load_dataset` reads, or a
        data set's name.
    gan: the user's GAN file, of a generator.
    device: of a generator.

    Raises RunError for what is missing or damaged, DataError for images that cannot be read.
    """
    gan = None if gan is None else os.fspath(gan)
    if isinstance(source, Run):
        return _of_run(Run(source.path, source.card, gan or source.gan), device)
    if not isinstance(source, Dataset):
        # a folder of pictures wins over a shipped generator of the same name
        path = Path(source) if Path(source).exists() else locate_generator(Path(source))
        parts = ("recipe.json", "generator.safetensors", "state.pt")
        if any((path / file).exists() for file in parts):
            return _of_run(Run.open(path, gan=gan), device)
        if path.suffix == ".safetensors":
            return _checked(str(source), *open_generator(path, gan, device))
    onnx = not isinstance(source, Dataset) and path.suffix.lower() == ".onnx"
    for option, value, usual in (("--gan", gan, None), ("--device", device, "cpu")):
        if value != usual:
            what = "an .onnx" if onnx else "images"
            raise SettingError(f"{option} {value} does nothing for {what}: leave it out")
    if isinstance(source, Dataset):
        return Generated(source.name, "images", images=source)
    if onnx:
        exported = OnnxSampler(path)
        spec, trained_on = exported.card.image, exported.card.data
        data = trained_on if trained_on in NAMES else None
        return Generated(str(source), "generator", sampler=exported, spec=spec, data=data)
    if not Path(split_member(path)[0]).exists() and str(source) not in NAMES:
        files = "a generator.safetensors, or an .onnx; or images (.npz, .zip or a folder)"
        accepted = f"a run's directory, {files}"
        raise RunError(f"{source} does not exist: give {accepted}")
    return Generated(str(source), "images", images=reading.load(source))


def _of_run(run: Run, device: str) -> Generated:
    return replace(_checked(str(run.path), *run.generator(device)), kind="run", run=run)


def _checked(name: str, sampler: Sampler, card: Card) -> Generated:
    """Return a generator. Raises RunError if its weights are not finite."""
    weights = sampler.gan.generator.state_dict().values()
    # such a generator gives black images
    if not all(torch.isfinite(each).all() for each in weights):
        diverged = "the generator's weights are not finite, its training diverged; train it anew"
        raise RunError(f"{name}: {diverged}")
    return Generated(name, "generator", sampler=sampler, spec=card.image, card=card)


def open_real(
    generated: Generated,
    data: str | os.PathLike[str] | None,
    against: Dataset | str | os.PathLike[str] | None,
    reading: Reading,
) -> Real:
    """Open the real images.

    data: name or path of a data set; by default, of a generator, its own.
    against: other images to compare with.

    Raises SettingError if nothing is named, DataError for what cannot be read.
    """
    notes: list[str] = []
    training = held_out = None
    data = data or generated.data
    if generated.card is not None and reading.fit is None:
        reading = replace(reading, fit=generated.card.data.fit)
    if data is not None or generated.card is not None:
        try:
            training, held_out, notes = _parts(generated, data, reading)
        except DataError as error:
            if data is not None or against is None:
                raise
            notes.append(f"{error}; so the images of --against stand in for the training images")
    if against is not None:
        if isinstance(against, str) and against in NAMES:
            held = f"--data {against} compares with the held-out one"
            notes.append(f"--against {against} takes its training part: {held}")
        if not isinstance(against, Dataset):
            against = reading.load(against, native=generated.shape[1:])
        other = _widened(against, generated.shape[0])
        return Real(other, "against", training, held_out, tuple(notes))
    if training is None:
        what = "say by --data or --against which real ones to compare them with"
        holds = "holds images" if generated.images is not None else "does not know its data"
        raise SettingError(f"{generated.name} {holds}: {what}")
    return real_from(training, held_out, notes)


def real_from(training: Dataset, held_out: Dataset | None, notes: Sequence[str] = ()) -> Real:
    """Real images of a data set: its held-out part, or all if it has none."""
    if held_out is not None:
        return Real(held_out, "test", training, held_out, tuple(notes))
    note = (
        f"{training.name} has no held-out part: images are compared with the training images"
        " themselves, where a copy looks perfect; put some into test/ and the rest into train/"
    )
    return Real(training, "train", training, None, (*notes, note))


def _parts(
    generated: Generated, data: str | os.PathLike[str] | None, reading: Reading
) -> tuple[Dataset, Dataset | None, list[str]]:
    """Training part, held-out part, and notes."""
    native = generated.shape[1:]
    if data is not None:
        training = reading.load(data, native=native)
        return training, reading.held_out(data, training), []
    assert generated.card is not None
    card = generated.card.data
    given = {name: value for name, value in vars(reading).items() if value is not None}
    reading = replace(card.reading(reading.data_dir), **given)
    try:
        training = reading.load(card.what, native=native)
    except DataError as error:
        what = f"the data that {generated.name} was trained on cannot be read ({error})"
        raise DataError(f"{what}; say by --data where they are now") from None
    note = f"{card.what} is not as it was in training: other images, labels or classes"
    notes = [note] * (training.fingerprint != card.fingerprint)
    return training, reading.held_out(card.what, training), notes


def with_real_form(generated: Generated, real: Real) -> Generated:
    """Bring generated images into the form of the real ones: grey to RGB, labels by class name.

    Raises DataError if that would lose something.
    """
    images = generated.images
    if images is not None:
        images = _named(_widened(images, real.images.channels), real.like.classes)
        generated = replace(generated, images=images)
    channels, height, width = generated.shape
    for other in (real.images, real.like):
        if (height, width) != (other.height, other.width):
            sizes = f"images of {height}x{width}, {other.name} of {other.height}x{other.width}"
            raise DataError(f"{generated.name} holds {sizes}: make them one size by --size HxW")
        if channels != other.channels:
            kinds = f"{KINDS[channels]} images, {other.name} {KINDS[other.channels]} ones"
            need = "they need one number of channels, by --channels"
            raise DataError(f"{generated.name} holds {kinds}: {need}")
    return generated


def _widened(dataset: Dataset, channels: int) -> Dataset:
    """Turn grey to RGB and opaque to RGBA, without loss; more channels than these stay."""
    narrow, images = dataset.channels, dataset.images
    if narrow >= channels:
        return dataset
    if narrow == 1:
        images = images.repeat(1, 3, 1, 1)
    if channels == 4:
        images = torch.cat([images, torch.full_like(images[:, :1], 255)], 1)
    made = count(len(dataset), f"{KINDS[narrow]} image")
    note = f"{made} of {dataset.name} widened to {KINDS[channels]}"
    return replace(dataset, images=images, notes=(*dataset.notes, note))


def _named(images: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Give class numbers, as in a .npz without names, the real images' class names."""
    numbers = images.classes == tuple(map(str, range(len(images.classes))))
    if not classes or not numbers or set(images.classes) <= set(classes):
        return images
    if (n := len(images.classes)) > len(classes):
        expected = f"0 to {len(classes) - 1} for the real images' classes {first_few(classes)}"
        raise DataError(f"{images.name}: labels run up to {n - 1}, expected {expected}")
    first = ", ".join(f"{number} is {name}" for number, name in enumerate(classes[:2]))
    note = f"labels of {images.name} are read as numbers of the classes: {first}"
    return replace(images, classes=classes, notes=(*images.notes, note))


def raise_if_out_of_range(settings: EvaluationSettings) -> None:
    """Raise SettingError for numbers that no evaluation takes."""
    for option, value, least, most in (
        ("--n", settings.n, 1, MAX_SAMPLES),
        ("--seeds", settings.seeds, 1, 1000),
        ("--seed", settings.seed, 0, 2**63),
        ("k", settings.k, 1, 1000),
        ("--prdc-n", settings.prdc_n, settings.k + 1, MAX_SAMPLES),
    ):
        if not least <= value <= most:
            raise SettingError(f"{option} {value}: expected {least} to {most}")


def raise_if_impossible(
    generated: Generated, real: Real, settings: EvaluationSettings, gan_train: bool, copies: bool
) -> None:
    """Raise, before any work, if these images cannot be compared in this way."""
    n, seeds, images = settings.n, settings.seeds, generated.images
    taken = n if images is None else min(n, len(images))
    for kind, number in (("generated", taken), ("real", len(real.images))):
        if number < 2:
            raise MetricError(f"{number} {kind} image: scores compare sets, give at least 2 images")
    if images is not None and n >= len(images):
        for option, value, usual in (("--seeds", seeds, 1), ("--seed", settings.seed, 0)):
            if value != usual:
                used = f"all images of {generated.name} are used, which no seed changes"
                raise SettingError(f"{option} {value}: {used}; leave it out")
    elif images is not None and seeds * n > len(images):
        held = f"{generated.name} holds {len(images):,} images"
        less = f"give --n {max(2, len(images) // seeds)} or less"
        raise SettingError(f"--seeds {seeds} takes {seeds} parts of {n:,}, and {held}: {less}")
    if copies and real.training is None:
        raise SettingError("--copies needs training images: name them by --data")
    if gan_train:
        _raise_if_no_gan_train(generated, real)


def _raise_if_no_gan_train(generated: Generated, real: Real) -> None:
    training, held_out = real.training, real.held_out
    if training is None:
        raise SettingError("--gan-train needs training images: name them by --data")
    if held_out is None:
        none = f"held-out images, and {training.name} has none"
        raise SettingError(f"--gan-train is tested on {none}: leave it out")
    named: dict[str, Generated | Dataset] = {generated.name: generated}
    named |= {"the training images": training, "the held-out images": held_out}
    for name, labelled in named.items():
        if not labelled.classes:
            none = f"labels, and {name} have none"
            raise SettingError(f"--gan-train needs {none}: leave it out, or name data by --data")
    if len(training.classes) < 2:
        raise SettingError("--gan-train needs two classes, training images have one: leave it out")
    if unknown := set(generated.classes) - set(training.classes):
        classes = first_few(sorted(unknown))
        raise SettingError(f"--gan-train: training images have no class {classes}: leave it out")
