"""From a request to networks: all that a training needs before it begins, and the checks on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganvas import gans
from ganvas.data.dataset import Dataset
from ganvas.errors import SettingError
from ganvas.gan import Gan, GanFile, Seeing
from ganvas.overrides import override, resolve_gamma, with_preset
from ganvas.recipe import ImageSpec, Interval, Recipe, TrainConfig
from ganvas.runs.request import LENGTH_SETTINGS, Request
from ganvas.system.machine import cores
from ganvas.system.schema import leaves
from ganvas.system.text import first_few
from ganvas.training import augment, distributed, learner

SMALL_SIDE = 64  # pixels per side that every machine can train on
# Images a second that projected/images sees on one of two cores, by their longer side: 18, 26 and
# 37 were measured with AVX-512 and bf16, 10, 16 and 28 with AVX2 (docs/log.md).
CORE_RATES = {128: 10, 96: 20, SMALL_SIDE: 30}
# Four times as many as it took for sprites of 64x64 that are recognised (docs/log.md): larger
# pictures have more to be learned.
IMAGES_TO_LEARN = 150_000


@dataclass(frozen=True)
class Prepared:
    """A recipe matched with images, and the networks for them.

    name: the recipe's full name.
    original: the recipe as its file has it.
    recipe: the recipe as requested, with gamma resolved for the images.
    dataset: the images; None if none were requested, and `spec` is the recipe's native one.
    gan: the networks with the initial weights of the request's seed. No layer has run yet: a
        training can begin with them.
    device: the device to train on; "" if nothing is to be trained.
    notes: lines for the user.
    """

    name: str
    file: GanFile
    original: Recipe
    recipe: Recipe
    spec: ImageSpec
    dataset: Dataset | None
    gan: Gan
    device: str
    notes: list[str]

    def throwaway(self) -> Gan:
        """Build a copy of the networks whose weights, and whose layers' state, do not matter."""
        return self.file.build(self.recipe.model, self.spec)


def prepare(
    request: Request, device: str = "", *, preset: bool = True, dataset: Dataset | None = None
) -> Prepared:
    """Find the recipe, change its settings, read the images, and build the networks for them.

    device: the device to train on. If given, the networks are checked: see `networks`.
    preset: apply the recipe's preset for the request's length.
    dataset: the images of `request.data`, if they have been read already.

    Raises a GanvasError for anything in the request that is impossible.
    """
    if dataset is None and request.data is not None:
        dataset = request.reading.load(request.data, **sides_to_read(request, device))
    name, file, original = gans.find_recipe(recipe_for(request, dataset))
    native, notes = original.native, []
    if preset and not request.plan:
        recipe, note = with_preset(original, request.settings, request.length, device)
        notes.append(note)
    else:  # a run's plan comes with all settings of that run
        recipe = override(original, request.settings)
    if dataset is not None:
        notes += dataset.notes
    spec = ImageSpec.of(dataset) if dataset is not None else _native_spec(request, native)
    recipe, note = resolve_gamma(recipe, spec)
    gan = networks(file, recipe, spec, device, request.seed or 0)
    prepared = Prepared(name, file, original, recipe, spec, dataset, gan, device, notes)
    notes += [note, *_training_notes(prepared, request.precision)]
    notes[:] = filter(None, notes)
    return prepared


class SidesToRead(TypedDict):
    """The sizes of images whose size nobody asked for, as arguments of `Reading.load`."""

    native: tuple[int, int]
    side: int


def recipe_for(request: Request, dataset: Dataset | None = None) -> str:
    """Return the recipe of a request, or else the default one for its images, if they are read."""
    sides = None if dataset is None else (dataset.height, dataset.width)
    return request.recipe or gans.default_recipe(request.data, sides)


def sides_to_read(request: Request, device: str) -> SidesToRead:
    """Return the size of mixed images, and the longer side of large ones.

    Raises SettingError for settings that the request's recipe does not have.
    """
    original, changes = gans.find_recipe(recipe_for(request))[2], request.settings
    if request.recipe is None:
        # The others may be of a recipe that is taken only once the images' size is known.
        changes = {name: value for name, value in leaves(changes) if name in LENGTH_SETTINGS}
    native, length = original.native, override(original, changes).train.length
    side = trainable_side(native, request.length or length, device)
    return {"native": (native.height, native.width), "side": side}


def trainable_side(native: ImageSpec, length: str, device: str) -> int:
    """Return the longer side to which large pictures are brought if no size is asked for.

    It is the largest of CORE_RATES at which this machine sees IMAGES_TO_LEARN in the time planned,
    or the recipe's own if that is larger. It follows from the number of cores alone, so that a run
    which is resumed has the same.

    native: the images that the recipe is made for.
    length: of the training. What is no time counts as an hour.
    device: the device to train on; GPUs can train the largest.
    """
    interval = Interval.parse(length)
    seconds = 60 * (interval.amount if interval.unit == "minutes" else 60)
    fast = device not in ("", "cpu")
    enough = (
        side
        for side, rate in CORE_RATES.items()
        if fast or rate * cores() * seconds >= IMAGES_TO_LEARN
    )
    return max(native.height, native.width, next(enough, SMALL_SIDE))


def _native_spec(request: Request, native: ImageSpec) -> ImageSpec:
    """The recipe's own images, in the size and channels of the request."""
    for option, value in (("--fit", request.fit), ("--data-dir", request.data_dir)):
        if value is not None:
            raise SettingError(
                f"{option} {value} does nothing without --data: name the data, or leave it out"
            )
    height, width = request.size or (native.height, native.width)
    channels = request.channels or native.channels
    return dataclasses.replace(native, height=height, width=width, channels=channels)


def _training_notes(prepared: Prepared, precision: str | None) -> list[str]:
    """Notes on how these images are trained on."""
    dataset, gan, train = prepared.dataset, prepared.gan, prepared.recipe.train
    notes = []
    if dataset is not None:
        if train.augment == "adaptive":
            notes.append(augment.explained(augment.kinds_for(dataset.images), len(dataset)))
        if gan.conditional and (empty := dataset.empty_classes):
            notes.append(f"no image of {dataset.name} is of class {first_few(empty)}: not learned")
        if prepared.original.native.classes and not dataset.classes and not gan.conditional:
            without = f"{prepared.name} is trained without, and cannot be asked for a class"
            notes.append(f"{dataset.name} has no labels: {without}")
    if why := learner.why_apart(gan, train, precision or train.precision):
        notes.append(f"train.order='together': {why}; D is trained first, then G")
    return notes


def networks(file: GanFile, recipe: Recipe, spec: ImageSpec, device: str, seed: int) -> Gan:
    """Build both networks and, if `device` is given, check that they can be trained on it.

    The networks that are returned have not run yet.

    Raises SettingError if they, or the batch, cannot be trained on `device`; MissingExtraError or
    RunError if a frozen network that D sees through is missing or damaged.
    """
    train = recipe.train
    gan = file.build(recipe.model, spec, seed)
    if not device:
        return gan
    _refuse_large(file, recipe, spec, device)
    # Checks that run layers get throwaway copies, since a layer may keep state: the networks that
    # are returned are trained from their initial state.
    if file.sha256:
        file.check(file.build(recipe.model, spec), spec)
    learner.check_learnable(gan, train)
    for setting in ("batch", "g_batch"):
        if getattr(train, setting) == 1 and not takes_one(file.build(recipe.model, spec), spec):
            raise SettingError(
                f"train.{setting}=1: the BatchNorm of this GAN needs batches of 2 or more"
            )
    if isinstance(gan.discriminator, Seeing):
        # The frozen network's weights may be missing: say so before a run's directory is made.
        with torch.no_grad():
            gan.discriminator.see(torch.zeros(1, spec.channels, spec.height, spec.width))
    return gan


def _refuse_large(file: GanFile, recipe: Recipe, spec: ImageSpec, device: str) -> None:
    """Raise SettingError for a step that does not fit into memory.

    Such a process would be killed without a message.
    """
    train = recipe.train
    needed = max(train.batch, train.g_batch or 1, train.sheet_rows * train.sheet_columns)
    needed *= spec.height * spec.width * spec.channels * 4
    if needed > psutil.virtual_memory().total:
        raise SettingError(
            f"train.batch={train.batch} or the sheet of {train.sheet_rows}x{train.sheet_columns}"
            f" would take {needed / 1e9:,.0f} GB of {spec}: make them smaller"
        )
    needed = step_bytes(file, recipe.model, train, spec) // distributed.machines()
    available = _memory(device)
    if needed > available:
        size = f"--size {SMALL_SIDE} or " if max(spec.height, spec.width) > SMALL_SIDE else ""
        raise SettingError(
            f"training on {spec} in batches of {train.batch} takes at least {needed / 1e9:,.0f} GB"
            f" of memory, this machine has {available / 1e9:,.0f} GB: use {size}a smaller batch"
        )


def _memory(device: str) -> int:
    """Bytes of memory that trainings on this kind of device can use, on this whole machine."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory * torch.cuda.device_count()
    return int(psutil.virtual_memory().total)


class Tally(TorchDispatchMode):
    """Sums a measure of all of torch's operations in its context.

    measure: (operation, arguments, options, result) -> the measure of one operation.
    total: the sum.
    """

    def __init__(self, measure: Callable[..., int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.measure, self.total = measure, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.total += self.measure(func, args, kwargs or {}, out)
        return out


def _new_bytes(operation: Any, arguments: Any, options: Any, result: Any) -> int:
    """The bytes of the tensors that an operation returns; 0 for views."""
    made = [] if operation.is_view else tree_leaves(result)
    return sum(t.numel() * t.element_size() for t in made if isinstance(t, Tensor))


def step_bytes(file: GanFile, model: Any, train: TrainConfig, spec: ImageSpec) -> int:
    """A lower bound on a step's memory in bytes, without the networks' weights.

    Counts the outputs of all layers in one pass of G and two of D; real steps take 1.3 to 3 times
    as much. Runs on torch's meta device, without computing. 0 for networks that cannot run there.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            gan = file.builder(model, spec)
            gan.generator.eval()  # BatchNorm, in training, refuses batches of one
            gan.discriminator.eval()
            batch = max(train.batch, train.g_batch or 1)
            labels = torch.zeros(batch, dtype=torch.int64) if gan.conditional else None
            with Tally(_new_bytes) as made:
                images = gan.make(torch.empty(batch, gan.z_dim), labels)
            with Tally(_new_bytes) as judged:
                gan.judge(images, labels)
    # a user's file may raise anything; what is wrong with it is reported by its check
    except Exception:
        return 0
    return int(made.total + 2 * judged.total)


def takes_one(gan: Gan, spec: ImageSpec) -> bool:
    """Return True if both networks train on batches of one image.

    BatchNorm cannot where a channel has a single value. Changes BatchNorm's running statistics.
    """
    labels = torch.zeros(1, dtype=torch.int64) if gan.conditional else None
    images = torch.zeros(1, spec.channels, spec.height, spec.width)
    gan.generator.train()
    gan.discriminator.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            gan.make(torch.zeros(1, gan.z_dim), labels)
            gan.judge(images, labels)
        except ValueError:
            return False
    return True
