"""OnnxSampler: files that it runs, and files that it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ganvas.errors import MissingExtraError, RunError
from ganvas.sampling.onnx_sampler import OnnxSampler
from helpers.common import hide_package

CARD: dict[str, Any] = {
    "format": 1, "recipe": "some/tiny", "z_dim": 4, "conditional": False, "latent_draw": 2,
    "image": {"height": 1, "width": 4, "channels": 1, "classes": []},
    "data": "some", "data_images": 3,
}  # fmt: skip


def graph_of(
    card: dict[str, Any] | None,
    *,
    domain: str = "",
    operator: str = "Identity",
    elsewhere: str = "",
    batch: Any = "batch",
) -> bytes:
    """Return a graph that makes 1x4 grey pixels of a latent of 4 values, with weights of its own or
    in another file."""
    weights = helper.make_tensor(
        "w", TensorProto.FLOAT, [4], np.ones(4, np.float32).tobytes(), True
    )
    if elsewhere:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=elsewhere)
    nodes = [
        helper.make_node(operator, ["latent"], ["same"], domain=domain),
        helper.make_node("Mul", ["same", "w"], ["more"]),
        helper.make_node("Cast", ["more"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [-1, 1, 4, 1])
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 1, 4, 1])],
        [weights, shape],
    )
    opsets = [helper.make_opsetid("", 18)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if card is not None:
        model.metadata_props.add(key="ganvas", value=json.dumps(card))
    content: bytes = model.SerializeToString()
    return content


def test_a_graph_runs_in_batches_of_any_number(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(graph_of(CARD))
    sampler = OnnxSampler(tmp_path / "g.onnx")
    whole = sampler(range(130), seed=3)
    assert whole.shape == (130, 1, 4, 1)
    np.testing.assert_array_equal(sampler([129, 3], seed=3), whole[[129, 3]])


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is damaged"),
    "no ONNX": (b"PK\x03\x04 something else", "is damaged"),
    "cut short": (graph_of(CARD)[:150], "is damaged"),
    "without a card": (graph_of(None), "holds no ganvas card"),
    "of a newer format": (graph_of(CARD | {"format": 2}), "upgrade ganvas"),
    "of a newer draw": (graph_of(CARD | {"latent_draw": 3}), "upgrade ganvas"),
    "with a damaged card": (graph_of(CARD | {"z_dim": "x"}), "is damaged or not ganvas's"),
    "of another latent": (graph_of(CARD | {"z_dim": 5}), "does not fit its own card"),
    "without its label": (graph_of(CARD | {"conditional": True}), "does not fit its own card"),
    "of other images": (
        graph_of(CARD | {"image": CARD["image"] | {"width": 5}}), "does not fit its own card"
    ),
    "of a fixed batch": (graph_of(CARD, batch=2), "does not fit its own card"),
    "with an operator of its own": (
        graph_of(CARD, domain="evil", operator="Run"), "no graph that stands alone"
    ),
    "with an unknown operator": (graph_of(CARD, operator="Rung"), "no graph that stands alone"),
    "with data elsewhere": (
        graph_of(CARD, elsewhere="../secret.bin"), "no graph that stands alone"
    ),
    "with data beside it": (graph_of(CARD, elsewhere="beside.bin"), "no graph that stands alone"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_strangers_are_refused_in_one_line(
    kind: str, tmp_path: Path, cli_run: Callable[..., Any]
) -> None:
    content, words = FOREIGN[kind]
    for folder in (tmp_path, tmp_path.parent):
        for name in ("secret.bin", "beside.bin"):
            (folder / name).write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "g.onnx").write_bytes(content)
    message = cli_run("sample", "g.onnx", "--out", "a.png").error
    assert words in message
    assert "g.onnx" in message
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--labels 3", "this generator is unconditional"),
        ("--n 0", "--n 0: expected 1"),
        ("--gan my.py", "g.onnx holds its networks"),
        ("--device cuda", "runs on the CPU"),
        ("--out a.jpg", "unknown ending .jpg"),
        ("--seed -1", "expected a whole number"),
    ],
)
def test_wrong_arguments(
    arguments: str, words: str, tmp_path: Path, cli_run: Callable[..., Any]
) -> None:
    (tmp_path / "g.onnx").write_bytes(graph_of(CARD))
    assert words in cli_run("sample", "g.onnx", *arguments.split()).error
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]


def test_a_missing_file_and_a_missing_onnxruntime_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match=r"no file .*g\.onnx: give an \.onnx of ganvas export"):
        OnnxSampler(tmp_path / "g.onnx")
    (tmp_path / "g.onnx").write_bytes(graph_of(CARD))
    hide_package(monkeypatch, "onnxruntime")
    with pytest.raises(MissingExtraError, match=r"pip install 'ganvas\[export\]'"):
        OnnxSampler(tmp_path / "g.onnx")
