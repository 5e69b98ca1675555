"""A generator as one .onnx file, which is compared with torch before it takes its name."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganvas.errors import MissingExtraError, RunError
from ganvas.export.images_of import (
    MAX_DIFFERENCE,
    TRACED,
    GeneratorInputs,
    ImagesOf,
    inputs_of,
    largest_difference,
)
from ganvas.sampling.model_card import ModelCard
from ganvas.sampling.onnx_sampler import CARD_KEY, IMAGES, LABEL, LATENT, OnnxSampler
from ganvas.sampling.sampler import Sampler
from ganvas.system import files

OPSET = 18  # the oldest that the exporter writes without converting


def write_onnx(sampler: Sampler, card: ModelCard, path: Path) -> int:
    """Write a generator and its card, whole or not at all.

    Inputs are latent float32 (N, z_dim) and, of a conditional generator, label int64 (N,), for any
    N; the output is images uint8 (N, H, W, C).

    Returns the largest difference from torch's images, in levels of 255.
    Raises RunError for a generator that ONNX cannot express, naming the operator, and for one whose
    images differ by more than rounding; MissingExtraError without the packages of ganvas[export].
    """
    furthest = 0
    # Optimisation has folded BatchNorm wrongly (pytorch #166797, #169178).
    for optimise in (True, False):
        graph = _graph(sampler, card, optimise)
        furthest = largest_difference(sampler, _runner(graph))
        if furthest <= MAX_DIFFERENCE:
            files.write(path, graph)
            return furthest
    raise RunError(
        f"onnxruntime makes other images of this generator than torch, by {furthest} of 255: it"
        " cannot be exported to ONNX"
    )


def _graph(sampler: Sampler, card: ModelCard, optimise: bool) -> bytes:
    """Return a graph with its card, as the bytes of a file."""
    onnx = _onnx()
    names = [LATENT, LABEL] if card.conditional else [LATENT]
    batch = torch.export.Dim("batch")
    module = ImagesOf(sampler.gan)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's, about its own code
            program = torch.onnx.export(
                module,
                inputs_of(sampler, TRACED),
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in names),
                input_names=names,
                output_names=[IMAGES],
                opset_version=OPSET,
                optimize=optimise,
                verbose=False,
            )
    # what a generator's own code raises while it is traced, too
    except Exception as error:
        raise RunError(f"this generator cannot be exported to ONNX: {_reason(error)}") from None
    assert program is not None
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise RunError(
            "this generator makes a fixed number of images, which its code takes for a constant:"
            " write z.shape[0] instead of len(z)"
        )
    _strip(model.graph)
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    model.metadata_props.add(key=CARD_KEY, value=card.to_json())
    content: bytes = model.SerializeToString()
    return content


def _runner(graph: bytes) -> Callable[[GeneratorInputs], NDArray[np.uint8]]:
    """Return the function by which onnxruntime makes images of inputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generator.onnx")
        path.write_bytes(graph)
        exported = OnnxSampler(path)

    def make(inputs: GeneratorInputs) -> NDArray[np.uint8]:
        z, *labels = inputs
        return exported.generate(z.numpy(), labels[0].tolist() if labels else None)

    return make


def _strip(graph: Any) -> None:
    """Remove what the exporter notes about code and folders of this machine."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ModuleNotFoundError as error:
        what = f"exporting to ONNX needs {error.name}, which is not installed"
        raise MissingExtraError(f"{what}: pip install 'ganvas[export]'") from None
    assert onnxruntime is not None
    assert onnxscript is not None
    return onnx


def _reason(error: BaseException) -> str:
    """Return the operator that an error of the exporter or of its causes names, else its text."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for each in reversed(causes):
        if match := re.search(r"(?:aten|prims)\.\w+", str(each)):
            return f"it has no operator for {match[0]}"
    text = " ".join(str(causes[-1]).split())[:200]
    return f"{type(causes[-1]).__name__}: {text}"
