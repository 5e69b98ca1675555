"""The Inception network that published FIDs are taken with, as torch-fidelity ports it. Needs the
extra `inception`.

torch-fidelity would unpickle its weights without restraint. Here they are read as tensors alone,
and then handed to it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import socket
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ganvas.errors import MissingExtraError, RunError

INCEPTION_CHUNK = 50  # images at a time
INCEPTION_CLASSES = 1008
RESIZE = "bilinear 299x299, as TensorFlow 1 does"


def version() -> str:
    """torch-fidelity's, whose code makes features of the weights: another may make others."""
    return importlib.metadata.version("torch-fidelity")


def load_inception(path: Path | None) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network and its weights, from a file or from where torch-fidelity has them fetched (91
    MB, once).

    Raises MissingExtraError without torch-fidelity, RunError for a file that is no such network's,
    or no network to fetch it.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        raise MissingExtraError("inception needs torch-fidelity: pip install 'ganvas[inception]'")
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    state = _fetched(theirs.URL_INCEPTION_V3) if path is None else _read(path)
    try:
        with (
            patch.object(theirs, "load_state_dict_from_url", lambda *_, **__: state),
            torch.random.fork_rng(devices=[]),
        ):
            network = theirs.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise RunError(
            f"{path or 'what was fetched'} holds no weights of torch-fidelity's Inception: {reason}"
        ) from None
    return network.eval(), state


def _fetched(url: str) -> Any:
    patience = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(30)
        return torch.hub.load_state_dict_from_url(
            url, weights_only=True, check_hash=True, progress=False
        )
    except Exception as error:  # whatever the network, the disk or a damaged file raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise RunError(
            f"Inception's weights cannot be fetched ({reason}): give their file, as inception:PATH,"
            " or take an extractor that needs no network, such as self"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)


def _read(path: Path) -> Any:
    """A file of tensors, of torch's or safetensors' making. Nothing else is unpickled."""
    if not path.is_file():
        raise RunError(
            f"there is no file {path}: give the path of Inception's weights, as inception:PATH"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # pickle, zip, safetensors and torch each have errors of their own for what is none
    except Exception as error:
        raise RunError(f"{path} is no file of weights ({type(error).__name__})") from None


@torch.inference_mode()
def judge(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 (N, C, H, W), C 1 or 3 -> features (N, 2048), class probabilities (N, 1008)."""
    features, probabilities = [], []
    for part in images.split(INCEPTION_CHUNK):
        feature, logits = network(part.expand(-1, 3, -1, -1))
        features.append(feature)
        probabilities.append(logits.softmax(1))
    return torch.cat(features), torch.cat(probabilities)
