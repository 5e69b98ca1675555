"""The two sides of a judgement: what is judged, and the real images that it is judged against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ganvas import data as sources
from ganvas.data.dataset import Dataset
from ganvas.data.load import Reading
from ganvas.errors import DataError, RunError, SettingError
from ganvas.recipe import KINDS
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.runs.weights import locate_generator, open_generator
from ganvas.sampling.sampler import Sampler
from ganvas.system import seeding
from ganvas.system.text import count, first_few


@dataclass(frozen=True)
class Generated:
    """What is judged: a generator (`sampler` and `card`, and `run` where it is one's) or `images`
    that are there already."""

    name: str
    kind: Literal["run", "generator", "images"]
    images: Dataset | None = None
    sampler: Sampler | None = None
    card: Card | None = None
    run: Run | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        if self.images is not None:
            return self.images.channels, self.images.height, self.images.width
        assert self.card is not None
        return self.card.image.channels, self.card.image.height, self.card.image.width

    @property
    def classes(self) -> tuple[str, ...]:
        """() where images come without labels."""
        if self.images is not None:
            return self.images.classes
        assert self.sampler is not None
        return self.sampler.classes

    def take(
        self, n: int, seed: int, shares: Tensor | None = None, part: int = 0, least: int = 0
    ) -> Dataset:
        """n images: a generator's first n of the seed that is `part` after this one, or n of the
        images that are there, by chance, from the place on where so many parts of `least` end; all
        where they are fewer, shuffled, for they may come sorted and a part of them is to stand for
        all.

        shares: (K,) how often a conditional generator is asked for each class; else for each as
        often.
        """
        if self.images is not None:
            rows = torch.randperm(len(self.images), generator=seeding.generator(seed, "judged", 0))
            return self.images.rows(rows.roll(-part * least)[:n])
        assert self.sampler is not None
        classes = self.sampler.classes
        wanted = (
            spread_labels(n, torch.ones(len(classes)) if shares is None else shares)
            if classes
            else None
        )
        images = self.sampler(
            range(n),
            seed=seed + part,
            labels=None if wanted is None else wanted.tolist(),
            strict=True,
        )
        return Dataset(self.name, images.permute(0, 3, 1, 2).contiguous(), wanted, classes)


def spread_labels(n: int, shares: Tensor) -> Tensor:
    """n labels, int64, in the proportions of `shares` (K,), each class as evenly spread as can be:
    for equal shares 0, 1, ..., K - 1, and so on, as `ganvas sample` goes through the classes."""
    part = shares.double() / shares.double().sum()
    labels = torch.arange(len(part)).repeat_interleave((part * n).ceil().long() + 1)
    labels = labels[part[labels] > 0]
    first = torch.searchsorted(labels, labels)  # where each label's own begin
    due = (torch.arange(len(labels)) - first + 0.5) / part[labels]
    return labels[due.argsort(stable=True)[:n]]


def open_generated(
    what: Run | Dataset | str | os.PathLike[str],
    reading: Reading,
    *,
    gan: str | None = None,
    device: str = "cpu",
) -> Generated:
    """A run, a run's directory, an exported generator, one that comes with the package, by its
    name, or images: a
    `Dataset`, a folder, .zip, .npz, IDX or a set's name.

    Raises RunError for what is missing or damaged, DataError for images that cannot be read.
    """
    if isinstance(what, Run):
        return _of_run(Run(what.path, what.card, gan or what.gan), device)
    if isinstance(what, Dataset):
        _refuse_of_generators(gan, device)
        return Generated(what.name, "images", images=what)
    # a folder of pictures is judged itself
    path = Path(what) if Path(what).exists() else locate_generator(Path(what))
    is_run = any(
        (path / name).exists() for name in ("recipe.json", "generator.safetensors", "state.pt")
    )
    if is_run:
        return _of_run(Run.open(path, gan=gan), device)
    if path.suffix == ".safetensors":
        sampler, card = open_generator(path, gan, device)
        return Generated(str(what), "generator", sampler=_finite(sampler, str(what)), card=card)
    _refuse_of_generators(gan, device)
    if not path.exists() and str(what) not in sources.NAMES:
        raise RunError(
            f"no {what}: give a run's directory, a generator.safetensors, or images (.npz, .zip or"
            " a folder)"
        )
    return Generated(str(what), "images", images=reading.load(what))


def _refuse_of_generators(gan: str | None, device: str) -> None:
    for option, value, usual in (("--gan", gan, None), ("--device", device, "cpu")):
        if value != usual:
            raise SettingError(f"{option} {value} does nothing for images: leave it out")


def _of_run(run: Run, device: str) -> Generated:
    sampler, card = run.generator(device)
    return Generated(
        str(run.path), "run", sampler=_finite(sampler, str(run.path)), card=card, run=run
    )


def _finite(sampler: Sampler, name: str) -> Sampler:
    """Pixels made of NaN would be black, and nobody would know."""
    for tensor in sampler.gan.generator.state_dict().values():
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(
                f"{name}: the generator's weights are not finite, its training diverged; train it"
                " anew"
            )
    return sampler


@dataclass(frozen=True)
class Real:
    """The real images.

    real: what is judged against: the held-out part, `split` "test"; all, "train", where nothing is
    held out; or other images, "against". training, held_out: the parts of the data, where they are
    known.
    """

    real: Dataset
    split: Literal["test", "train", "against"]
    training: Dataset | None
    held_out: Dataset | None
    notes: tuple[str, ...]

    @property
    def like(self) -> Dataset:
        """The images that an extractor is chosen for and trained on, and whose class names count."""
        return self.training or self.real

    def floor(self, n: int) -> tuple[Dataset, Dataset]:
        """(real, in place of generated) images for the floor: n training images by chance against
        the held-out ones, or one half of the images against the other where there are no two parts.
        """
        if self.split == "test":
            assert self.training is not None
            rows = torch.randperm(len(self.training), generator=seeding.generator(0, "floor", 0))[
                :n
            ]
            return self.real, self.training.rows(rows)
        rows = torch.randperm(len(self.real), generator=seeding.generator(0, "floor", 0))
        half = len(rows) // 2
        return self.real.rows(rows[half:]), self.real.rows(rows[:half][:n])


def open_real(
    source: Generated,
    data: str | os.PathLike[str] | None,
    against: Dataset | str | os.PathLike[str] | None,
    reading: Reading,
) -> Real:
    """The real side of a source: `data` or, without it, a generator's own data; or the images
    `against`.

    Raises SettingError where nothing is named, DataError for what cannot be read.
    """
    notes: list[str] = []
    training = held_out = None
    if data is not None or source.card is not None:
        try:
            training, held_out, notes = _parts(source, data, reading)
        except DataError as error:
            if data is not None or against is None:
                raise
            notes.append(f"{error}; so the images of --against stand in for the training images")
    if against is not None:
        other = (
            against
            if isinstance(against, Dataset)
            else reading.load(against, native=source.shape[1:])
        )
        if isinstance(against, str) and against in sources.NAMES:
            notes.append(
                f"--against {against} takes its training part: --data {against} judges by the"
                " held-out one"
            )
        return Real(_widened(other, source.shape[0]), "against", training, held_out, tuple(notes))
    if training is None:
        raise SettingError(
            f"{source.name} holds images: say by --data or --against which real ones to judge"
            " them by"
        )
    return real_from(training, held_out, notes)


def real_from(training: Dataset, held_out: Dataset | None, notes: Sequence[str] = ()) -> Real:
    """The real side from the parts of a data set: what is held out, or all where nothing is. notes:
    more to say of it."""
    if held_out is not None:
        return Real(held_out, "test", training, held_out, tuple(notes))
    note = (
        f"{training.name} has no held-out part: judged by the training images themselves, where a"
        " copy looks perfect; put some into test/ and the rest into train/"
    )
    return Real(training, "train", training, None, (*notes, note))


def _parts(
    source: Generated, data: str | os.PathLike[str] | None, reading: Reading
) -> tuple[Dataset, Dataset | None, list[str]]:
    """The training and the held-out part, and notes."""
    notes: list[str] = []
    what, native = data, source.shape[1:]
    if data is None:
        assert source.card is not None
        own = source.card.data
        what = own.what
        reading = replace(
            reading,
            size=reading.size or own.size,
            fit=reading.fit or own.fit,
            channels=reading.channels or own.channels,
        )
    assert what is not None
    try:
        training = reading.load(what, native=native)
    except DataError as error:
        if data is not None:
            raise
        raise DataError(
            f"the data that {source.name} was trained on cannot be read ({error}); say by --data"
            " where they are now"
        ) from None
    if (
        data is None
        and source.card is not None
        and training.fingerprint != source.card.data.fingerprint
    ):
        notes.append(f"{what} is not as it was in training: other images, labels or classes")
    return training, reading.held_out(what, training), notes


def with_real_form(source: Generated, reality: Real) -> Generated:
    """The source with its images in the form of the real ones: grey as RGB where these are, labels
    by their class names.

    Raises DataError where one cannot become the other without loss.
    """
    images = source.images
    if images is not None:
        images = _named(_widened(images, reality.real.channels), reality.like.classes)
        source = replace(source, images=images)
    for real in (reality.real, reality.like):
        _refuse_other_shape(source, real)
    return source


def _refuse_other_shape(source: Generated, real: Dataset) -> None:
    channels, height, width = source.shape
    if (height, width) != (real.height, real.width):
        raise DataError(
            f"{source.name} holds images of {height}x{width}, {real.name} of"
            f" {real.height}x{real.width}: both sides need one size; --size HxW brings pictures"
            " to it"
        )
    if channels != real.channels:
        raise DataError(
            f"{source.name} holds {KINDS[channels]} images, {real.name} {KINDS[real.channels]}"
            " ones: both sides need one number of channels; --channels brings pictures to it"
        )


def _widened(dataset: Dataset, channels: int) -> Dataset:
    """Grey as RGB, opaque as RGBA: nothing is lost. More channels than asked for stay."""
    own, images = dataset.channels, dataset.images
    if own >= channels:
        return dataset
    if own == 1:
        images = images.repeat(1, 3, 1, 1)
    if channels == 4:
        images = torch.cat([images, torch.full_like(images[:, :1], 255)], 1)
    note = (
        f"{count(len(dataset), KINDS[own] + ' image')} of {dataset.name} widened to"
        f" {KINDS[channels]}"
    )
    return replace(dataset, images=images, notes=(*dataset.notes, note))


def _named(images: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Class numbers, as a .npz without names has them, get the real images' class names."""
    numbers = images.classes == tuple(map(str, range(len(images.classes))))
    if not classes or not numbers or set(images.classes) <= set(classes):
        return images
    if len(images.classes) > len(classes):
        raise DataError(
            f"{images.name}: labels run up to {len(images.classes) - 1}, expected 0 to"
            f" {len(classes) - 1}: the real images have the classes {first_few(classes)}"
        )
    first = ", ".join(f"{number} is {name}" for number, name in enumerate(classes[:2]))
    note = f"labels of {images.name} are read as numbers of the classes: {first}"
    return replace(images, classes=classes, notes=(*images.notes, note))
