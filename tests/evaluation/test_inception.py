"""torch-fidelity's Inception with random weights: read safely, and the same features."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save_file

from ganvas.data.dataset import Dataset
from ganvas.errors import DataError, GanvasError, MissingExtraError, RunError
from ganvas.evaluation import extractors, inception


def images(channels: int, count: int = 2, side: int = 16) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, side, side), generator=rng).to(torch.uint8)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """torch-fidelity's own network with its initial weights instead of a file's."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    chosen = theirs.FeatureExtractorInceptionV3
    with patch.object(chosen, "load_state_dict"), patch.object(theirs, "load_state_dict_from_url"):
        return chosen("inception", ["2048", "logits_unbiased"])


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_features_are_torch_fidelitys(
    network: torch.nn.Module, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = extractors.find_extractor(f"inception:{weights}", Dataset("rgb", images(3)))
    features, probabilities = extractor(images(3))
    with torch.inference_mode():
        expected, logits = network(images(3))
    assert torch.equal(features, expected)
    assert probabilities is not None
    assert torch.equal(probabilities, logits.softmax(1))
    assert (features.shape, probabilities.shape) == ((2, 2048), (2, 1008))
    assert extractor.name == "inception"
    assert extractor.spec is None
    assert "299x299" in extractor.resize
    save_file(network.state_dict(), tmp_path / "inception.safetensors")
    other = extractors.find_extractor(
        f"inception:{tmp_path / 'inception.safetensors'}", Dataset("grey", images(1))
    )
    assert other.sha256 == extractor.sha256
    # its code may make other features of the same weights
    monkeypatch.setattr(inception, "version", lambda: "9.9")
    assert (
        extractors.find_extractor(f"inception:{weights}", Dataset("rgb", images(3))).sha256
        != extractor.sha256
    )
    grey = images(1)
    assert torch.equal(other(grey).features, extractor(grey.expand(-1, 3, -1, -1)).features)


def test_other_files_are_one_line_and_nothing_is_unpickled(tmp_path: Path) -> None:
    class Wicked:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "touched",)

    (tmp_path / "wicked.pth").write_bytes(pickle.dumps(Wicked()))
    torch.save({"a": Wicked()}, tmp_path / "wicked2.pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "others.pth")
    torch.save([1], tmp_path / "list.pth")
    save_file({"a": torch.ones(2)}, tmp_path / "others.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    rgb = Dataset("rgb", images(3))
    for path in [*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "nothing.pth"]:
        with pytest.raises(RunError) as caught:
            extractors.find_extractor(f"inception:{path}", rgb)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    assert not (tmp_path / "touched").exists()


def test_without_the_extra_or_a_network_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for call in (
        inception.load_inception,
        lambda _: extractors.find_extractor("inception", Dataset("rgb", images(3))),
    ):
        with pytest.raises(
            GanvasError,
            match=r"cannot be fetched \(.*no network here.*\): give their file, as inception:PATH",
        ):
            call(None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ganvas\[inception\]'"):
        extractors.find_extractor("inception", Dataset("rgb", images(3)))


def test_transparent_images_are_refused_at_once() -> None:
    with pytest.raises(DataError, match="inception takes grey or RGB images, these are RGBA"):
        extractors.find_extractor("inception", Dataset("rgba", images(4)))
