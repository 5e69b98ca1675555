"""A generator's weights as a file with its card: written, found, read and checked."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganvas.errors import RunError
from ganvas.runs.card import Card
from ganvas.sampling.sampler import Sampler


def weights_sha256(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names, kinds, shapes and bytes: by it a single bit turned over is noticed."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def flatten_networks(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of several networks in one, as "generator/layers.0.weight"."""
    return {
        f"{network}/{name}": tensor
        for network, own in networks.items()
        for name, tensor in own.items()
    }


def split_networks(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What `flatten_networks` has joined, by network."""
    networks: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        network, _, own = name.partition("/")
        networks.setdefault(network, {})[own] = tensor
    return networks


def read_weights(path: Path) -> tuple[dict[str, Tensor], Card]:
    """The tensors of a safetensors file that ganvas wrote, and its card. Raises RunError when it is
    missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        known = ", ".join(shipped_generators())
        raise RunError(
            f"no file {path}: give a run's directory, a generator.safetensors, or {known}"
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"{path} is damaged or no safetensors file ({error}): train again or restore it"
        ) from None
    if "ganvas" not in metadata:
        raise RunError(
            f"{path} holds no ganvas card: expected a generator.safetensors that ganvas wrote"
        )
    card = Card.from_json(metadata["ganvas"], str(path))
    # files of earlier versions have none
    if card.weights_sha256 and card.weights_sha256 != weights_sha256(tensors):
        raise RunError(
            f"{path} is damaged (the checksum of its weights is wrong): train again or restore it"
        )
    return tensors, card


def shipped_generators() -> dict[str, Path]:
    """The generators that come with the package, by name."""
    return {
        path.stem: path
        for path in sorted(
            (Path(__file__).parent.parent / "assets" / "generators").glob("*.safetensors")
        )
    }


def locate_generator(source: Path) -> Path:
    """What a user names: a file or a run's directory, or else a generator that comes with the
    package."""
    mine = source.is_file() or (source / "recipe.json").exists()
    return source if mine else shipped_generators().get(str(source), source)


def open_generator(path: Path, gan: str | None = None, device: str = "cpu") -> tuple[Sampler, Card]:
    """A Sampler from a generator.safetensors, whose card says what it is. No code comes from the
    file.

    gan: path of the user's own GAN file, where the generator is not a built-in's. One that was
    changed since training is used as long as the weights fit it, with a note on stderr.
    Raises RunError when the file is missing, damaged or not ganvas's.
    """
    tensors, card = read_weights(path)
    file_of_gan = card.gan_file(gan)
    changed = gan is not None and file_of_gan.sha256 != card.gan_sha256
    if changed:
        print(
            f"note: {gan} is not as it was in training: images may differ from the run's",
            file=sys.stderr,
        )
    try:
        built = file_of_gan.restore(card.settings(file_of_gan).model, card.image, tensors)
    except (RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        if changed:
            raise RunError(
                f"{path} does not fit {gan} as it is now ({reason}): give it as it was in training"
            ) from None
        raise RunError(f"{path} does not fit its own card ({reason}): it is damaged") from None
    return Sampler(built, card.image.classes, device), card
