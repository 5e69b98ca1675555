"""Weights in safetensors files, each with a card: written, found, read and checked."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganvas.errors import RunError
from ganvas.runs.card import CARD_FORMAT, Card
from ganvas.sampling.sampler import Sampler
from ganvas.system import files
from ganvas.system.schema import parse_card


class _HasChecksum(Protocol):
    @property
    def weights_sha256(self) -> str: ...


CheckedCard = TypeVar("CheckedCard", bound=_HasChecksum)


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bytes: any flipped bit changes it."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def flatten_networks(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Merge the weights of several networks into one dictionary, as "generator/layers.0.weight"."""
    return {
        f"{network}/{name}": tensor
        for network, weights in networks.items()
        for name, tensor in weights.items()
    }


def split_networks(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Undo `flatten_networks`: the weights of each network."""
    networks: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        network, _, name = key.partition("/")
        networks.setdefault(network, {})[name] = tensor
    return networks


def write_safetensors(path: Path, tensors: dict[str, Tensor], card: str) -> None:
    """Write tensors and their card (JSON), whole or not at all; equal input gives equal bytes.

    Raises RunError when the disk refuses.
    """
    # one entry of metadata: safetensors keeps no order of several
    files.write(path, safetensors.torch.save(tensors, {"ganvas": card}))


def read_safetensors(
    path: Path, kind: type[CheckedCard], newest: int, expected: str
) -> tuple[dict[str, Tensor], CheckedCard]:
    """Read and check a file of `write_safetensors`: its tensors and its card.

    kind: the card's dataclass, with the tensors' checksum as `weights_sha256` ("": not checked).
    newest: the latest card format that this ganvas reads.
    expected: what the user should give instead, for messages.

    Raises RunError for a file that is missing, damaged, without a card or of a newer format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise RunError(f"no file {path}: give {expected}") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or no safetensors file ({error}): restore it") from None
    if "ganvas" not in metadata:
        raise RunError(f"{path} holds no ganvas card: give {expected}")
    card = parse_card(metadata["ganvas"], kind, newest, str(path))
    if card.weights_sha256 and card.weights_sha256 != weights_sha256(tensors):
        raise RunError(f"{path} is damaged (the checksum of its weights is wrong): restore it")
    return tensors, card


def read_weights(path: Path) -> tuple[dict[str, Tensor], Card]:
    """Read a generator.safetensors: its tensors and card. Raises RunError as `read_safetensors`."""
    known = ", ".join(shipped_generators())
    expected = f"a run's directory, a generator.safetensors that ganvas wrote, or {known}"
    return read_safetensors(path, Card, CARD_FORMAT, expected)


def shipped_generators() -> dict[str, Path]:
    """Paths of the generators that come with the package, by name."""
    folder = Path(__file__).parent.parent / "assets" / "generators"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def locate_generator(source: Path) -> Path:
    """The file or run directory at `source`, else the shipped generator of this name."""
    mine = source.is_file() or (source / "recipe.json").exists()
    return source if mine else shipped_generators().get(str(source), source)


def open_generator(path: Path, gan: str | None = None, device: str = "cpu") -> tuple[Sampler, Card]:
    """Restore the generator of a generator.safetensors. The file holds no code.

    gan: path of the user's GAN file, unless the generator is a built-in's. If that file changed
        since training, it is used as long as the weights fit, with a note on stderr.
    device: where the generator runs.

    Raises RunError when the file is missing, damaged or not ganvas's.
    """
    tensors, card = read_weights(path)
    file = card.gan_file(gan)
    changed = gan is not None and file.sha256 != card.gan_sha256
    if changed:
        note = f"note: {gan} is not as it was in training: images may differ from the run's"
        print(note, file=sys.stderr)
    try:
        built = file.restore(card.settings(file).model, card.image, tensors)
    except (RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        if changed:
            remedy = "give it as it was in training"
            raise RunError(f"{path} does not fit {gan} as it is now ({reason}): {remedy}") from None
        raise RunError(f"{path} does not fit its own card ({reason}): it is damaged") from None
    return Sampler(built, card.image.classes, device, card.latent_draw), card
