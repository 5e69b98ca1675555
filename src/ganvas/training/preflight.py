"""Whether a training can be: networks that fit the images and the settings, and steps that fit into
memory."""

from __future__ import annotations

from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganvas.errors import SettingError
from ganvas.gan import Gan, GanFile
from ganvas.recipe import ImageSpec, Recipe, TrainConfig
from ganvas.training import distributed, learner

SMALL_SIDE = 64  # pixels a side that every machine can train on


def networks(file: GanFile, recipe: Recipe, spec: ImageSpec, device: str = "cpu") -> Gan:
    """Both networks, once it is clear that they can be trained. Raises SettingError where they, or
    the batch, cannot."""
    train = recipe.train
    gan = file.build(recipe.model, spec)
    _refuse_large(file, recipe, spec, device)
    file.check(gan, spec)
    learner.check_learnable(gan, train)
    for setting in ("batch", "g_batch"):
        if getattr(train, setting) == 1 and not takes_one(gan, spec):
            raise SettingError(
                f"train.{setting}=1: the BatchNorm of this GAN needs batches of 2 or more"
            )
    return gan


def _refuse_large(file: GanFile, recipe: Recipe, spec: ImageSpec, device: str) -> None:
    """Raises SettingError for images, or what a step makes of them, that no memory here holds: such
    a process is killed without a word."""
    train = recipe.train
    needed = max(train.batch, train.g_batch or 1, train.sheet_rows * train.sheet_columns)
    needed *= spec.height * spec.width * spec.channels * 4
    if needed > psutil.virtual_memory().total:
        raise SettingError(
            f"train.batch={train.batch} or the sheet of {train.sheet_rows}x{train.sheet_columns}"
            f" would take {needed / 1e9:,.0f} GB of {spec}: make them smaller"
        )
    needed, there = (
        step_bytes(file, recipe.model, train, spec) // distributed.machines(),
        _memory(device),
    )
    if needed > there:
        smaller = (
            f"the images smaller, with --size {SMALL_SIDE}, or "
            if max(spec.height, spec.width) > SMALL_SIDE
            else ""
        )
        raise SettingError(
            f"training on {spec} in batches of {train.batch} takes {needed / 1e9:,.0f} GB of memory"
            f" or more, there are {there / 1e9:,.0f} GB: make {smaller}train.batch smaller"
        )


def _memory(device: str) -> int:
    """Bytes that trainings on this machine's device, or all devices of the kind, can have."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory * torch.cuda.device_count()
    return int(psutil.virtual_memory().total)


class _Results(TorchDispatchMode):
    """Sums the bytes of all that operations make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(
                t.numel() * t.element_size() for t in tree_leaves(out) if isinstance(t, Tensor)
            )
        return out


def step_bytes(file: GanFile, model: Any, train: TrainConfig, spec: ImageSpec) -> int:
    """Bytes that a step takes at the least, besides the networks: what layers make in G's pass and
    in D's two.

    Measured, steps take 1.3 to 3 times as much. No number is computed for it (torch's meta device);
    0 for networks that cannot be run so.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            gan = file.builder(model, spec)
            gan.generator.eval()  # BatchNorm, in training, refuses batches of one
            gan.discriminator.eval()
            batch = max(train.batch, train.g_batch or 1)
            labels = torch.zeros(batch, dtype=torch.int64) if gan.conditional else None
            with _Results() as made:
                images = gan.make(torch.empty(batch, gan.z_dim), labels)
            with _Results() as judged:
                gan.judge(images, labels)
    # of a user's file, which may do anything: what is wrong with it, its check says
    except Exception:
        return 0
    return int(made.total + 2 * judged.total)


def takes_one(gan: Gan, spec: ImageSpec) -> bool:
    """Whether both networks train on batches of one image: BatchNorm has nothing to divide by where
    it meets one value."""
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
