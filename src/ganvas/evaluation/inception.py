"""The Inception network of published FIDs, as torch-fidelity ports it. Needs the extra `inception`.

torch-fidelity unpickles its weights without restriction. Here they are read as tensors only, and
handed to it saved anew.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import socket
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ganvas.errors import MissingExtraError, RunError

INCEPTION_CHUNK = 50  # images at a time
INCEPTION_CLASSES = 1008
RESIZE = "bilinear 299x299, as TensorFlow 1 does"


def version() -> str:
    """Version of torch-fidelity; features depend on its code as well as on the weights."""
    return importlib.metadata.version("torch-fidelity")


def load_inception(path: Path | None) -> tuple[nn.Module, dict[str, Tensor]]:
    """Load the network and its weights from `path`, or fetch them (91 MB, once) if it is None.

    Raises MissingExtraError without torch-fidelity, RunError for a file that does not hold this
    network or if the download fails.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        raise MissingExtraError("inception needs torch-fidelity: pip install 'ganvas[inception]'")
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    weights = _fetched(theirs.URL_INCEPTION_V3) if path is None else _read(path)
    # it unpickles what it is given: only tensors that were read safely, in memory
    safe = io.BytesIO()
    torch.save(weights, safe)
    safe.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):
            network = theirs.FeatureExtractorInceptionV3(
                "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
            )
    except (RuntimeError, TypeError, AttributeError) as error:
        what = f"no weights of torch-fidelity's Inception: {' '.join(str(error).split())[:150]}"
        raise RunError(f"{path or 'the downloaded file'} holds {what}") from None
    return network.eval(), weights


def _fetched(url: str) -> Any:
    patience = socket.getdefaulttimeout()
    options: dict[str, Any] = {"weights_only": True, "check_hash": True, "progress": False}
    try:
        socket.setdefaulttimeout(30)
        return torch.hub.load_state_dict_from_url(url, **options)
    except Exception as error:  # of the network, the disk or a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        other = "give their file, as inception:PATH, or use another extractor, such as self"
        raise RunError(f"Inception's weights cannot be fetched ({reason}): {other}") from None
    finally:
        socket.setdefaulttimeout(patience)


def _read(path: Path) -> Any:
    """Read tensors that torch or safetensors saved. Nothing else is unpickled."""
    if not path.is_file():
        raise RunError(f"no file {path}: give the path of Inception's weights, as inception:PATH")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip, safetensors and torch each raise their own
        kind, expected = type(error).__name__, "give one that torch or safetensors saved"
        raise RunError(f"{path} is not a file of weights ({kind}): {expected}") from None


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 (N, C, H, W), C 1 or 3 -> features (N, 2048) and class probabilities (N, 1008)."""
    parts = (network(part.expand(-1, 3, -1, -1)) for part in images.split(INCEPTION_CHUNK))
    features, logits = (torch.cat(each) for each in zip(*parts, strict=True))
    return features, logits.softmax(1)
