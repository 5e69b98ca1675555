"""Starting a training from trained weights: of a run, or of a generator.safetensors."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ganvas import gans
from ganvas.errors import RunError, SettingError
from ganvas.recipe import settings
from ganvas.runs.card import START_FILE, Card, StartedFrom
from ganvas.runs.request import Request, with_data
from ganvas.runs.run import Run
from ganvas.runs.weights import (
    flatten_networks,
    locate_generator,
    read_weights,
    split_networks,
    weights_sha256,
)
from ganvas.system.schema import differences, leaves
from ganvas.system.text import command, is_utf8, not_utf8
from ganvas.training.preflight import Prepared

NETWORKS = ("generator", "discriminator", "average")


@dataclass(frozen=True)
class WarmStart:
    """Weights to start from.

    networks: state dicts by names of NETWORKS. From a run, both networks as last trained and the
        average if it has one; from a file, the generator alone.
    card: of the run or file.
    origin: its path, and the hash of the weights.
    """

    networks: dict[str, dict[str, Tensor]]
    card: Card
    origin: StartedFrom


def read_start(path: Path) -> WarmStart:
    """Read the weights of a run's directory, a generator.safetensors or a start.safetensors.

    Nothing in them is run as code. Raises RunError if they are missing, damaged or not finite.
    """
    if path.is_dir():
        networks, card = _of_run(path)
    else:
        tensors, card = read_weights(path)
        networks = split_networks(tensors)
        if not set(networks) <= set(NETWORKS):
            networks = {"generator": tensors}
    weights = flatten_networks(networks)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise RunError(f"--from {path}: the weights contain NaN or infinity; give other weights")
    origin = StartedFrom(path=os.path.abspath(path), sha256=weights_sha256(weights))
    return WarmStart(networks, card, origin)


def _of_run(path: Path) -> tuple[dict[str, dict[str, Tensor]], Card]:
    run = Run.open(path)
    state = run.load_state()
    if state is None:
        problem = "this run has saved no weights yet: train it on, or start from another"
        if run.generator_file.exists():
            problem = f"its state.pt is missing: give {run.generator_file}, its generator alone"
        raise RunError(f"--from {path}: {problem}")
    try:
        networks = {network: dict(state["learner"][network]) for network in NETWORKS}
    except (KeyError, TypeError, ValueError):
        raise RunError(f"--from {path}: its state.pt is damaged: restore it") from None
    return {network: weights for network, weights in networks.items() if weights}, run.card


def resumed(request: Request, run: Run) -> tuple[Request, StartedFrom | None]:
    """Return the request to resume a run, and what that was started from.

    Of a run that was killed before it had its own copy of those weights, the request gets `from_`,
    to read them again, and the second result is None.
    """
    began = run.card.started_from
    if began is None or (run.path / START_FILE).exists() or run.load_state() is not None:
        return request, began
    return dataclasses.replace(request, from_=request.from_ or began.path, started_from=began), None


def warm_start_of(
    request: Request, began: StartedFrom | None
) -> tuple[Request, WarmStart | None, StartedFrom | None]:
    """Read the weights of --from, and fill in the request from their card.

    Without a recipe the request takes that of the weights, with its networks; without data, those
    of the run.

    request: one with `from_`.
    began: what the run to resume was started from. It is not read again, as the run has a copy.

    Returns the request, the weights (None if the run has a copy), and their origin. Raises RunError
    for weights that cannot be read, SettingError if a repeat finds other weights.
    """
    assert request.from_ is not None
    source = locate_generator(Path(request.from_))
    path = os.path.abspath(source)
    if not is_utf8(path):
        raise SettingError(f"--from {not_utf8(str(source))}")
    if began and began.path == path:
        return request, None, began
    start = read_start(source)
    if request.started_from and request.started_from.sha256 != start.origin.sha256:
        raise SettingError(
            f"the run to be repeated was started from {request.from_}, which holds other weights"
            " now: give those of then with --from, such as the run's own start.safetensors"
        )
    if request.recipe in (None, start.card.recipe):
        if request.recipe is None and start.card.gan.endswith(".py"):
            train = command("train", f"PATH/{start.card.recipe}")
            raise SettingError(
                f"--from {request.from_} is of a GAN in a file of yours: name it, {train} ..."
            )
        stored = {"model": start.card.model, **_rates(start.card)}
        changes = stored | dict(leaves(request.settings))
        request = dataclasses.replace(request, recipe=start.card.recipe, settings=changes)
    if request.data is None and source.is_dir():
        request = with_data(request, start.card)
    return request, start, request.started_from or start.origin


def _rates(card: Card) -> dict[str, Any]:
    """The training settings of the preset with the card's network settings; {} if none has them."""
    if card.gan.endswith(".py"):
        return {}
    stored = dict(leaves({"model": card.model}))
    for preset in gans.find_recipe(card.recipe)[2].presets.values():
        networks = {name: value for name, value in preset.items() if name.startswith("model.")}
        if networks and networks.items() <= stored.items():
            return {name: value for name, value in preset.items() if name.startswith("train.")}
    return {}


def check_fit(start: WarmStart, prepared: Prepared) -> None:
    """Load the weights into the networks. Raises SettingError, naming the difference, on misfit."""
    card, path, gan = start.card, start.origin.path, prepared.gan
    if card.gan != prepared.file.name:
        raise SettingError(
            f"--from {path} holds a GAN of {card.gan}, not of {prepared.file.name}: name one of its"
            " recipes"
        )
    try:
        for network, module in (("generator", gan.generator), ("discriminator", gan.discriminator)):
            if network in start.networks:
                module.load_state_dict(start.networks[network])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        unknown = f"does not fit these networks ({reason}): start from another"
        raise SettingError(f"--from {path} {_difference(card, prepared) or unknown}") from None


def _difference(card: Card, prepared: Prepared) -> str:
    """The known reason why weights do not fit, and the cure; "" for an unknown one."""
    recipe, spec, gan = prepared.recipe, prepared.spec, prepared.gan
    old, new = (str(image).partition(",")[0] for image in (card.image, spec))
    if old != new:
        cure = "name others with --data, or convert these with --size and --channels"
        return f"is of images of {old}, these are {new}: {cure}"
    if different := differences({"model": card.model}, {"model": settings(recipe)["model"]}):
        return f"has {'; '.join(different)}: leave the recipe out, or --set the same"
    # with equal settings, only classes can make networks differ
    classes, wanted = len(card.image.classes), len(spec.classes)
    if gan.conditional and not classes:
        unused = hasattr(recipe.model, "labels")
        cure = "--set labels=false leaves them unused" if unused else "start from another"
        return f"was trained without labels, these images have {wanted} classes: {cure}"
    if gan.conditional and classes != wanted:
        return f"has {classes} classes, these images have {wanted}: it needs as many"
    if not gan.conditional and classes and not wanted:
        return f"has {classes} classes, these images have no labels: give them {classes}"
    return ""
