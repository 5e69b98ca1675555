"""A generator as a program of torch.export: one .pt2 file, which torch runs without ganvas."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganvas.errors import RunError
from ganvas.export.images_of import (
    MAX_DIFFERENCE,
    TRACED,
    GeneratorInputs,
    ImagesOf,
    inputs_of,
    largest_difference,
)
from ganvas.sampling.model_card import ModelCard
from ganvas.sampling.onnx_sampler import CARD_KEY
from ganvas.sampling.sampler import Sampler
from ganvas.system import files


def write_program(sampler: Sampler, card: ModelCard, path: Path) -> int:
    """Write a generator's program, with its card among the extra files, whole or not at all.

    Arguments and result are those of `ImagesOf`.
    Returns the largest difference from torch's images, in levels of 255.
    Raises RunError for a generator that torch.export cannot trace, or that it changes.
    """
    batch = torch.export.Dim("batch")
    inputs = inputs_of(sampler, TRACED)
    shapes = tuple({0: batch} for _ in inputs)
    try:
        with torch.no_grad():
            module = ImagesOf(sampler.gan)
            program = torch.export.export(module, inputs, dynamic_shapes=shapes)
    # what a generator's own code raises while it is traced, too
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"torch.export cannot trace this generator: {reason}") from None
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that lie channels_last
        torch.export.save(program, buffer, extra_files={CARD_KEY: card.to_json()})
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()

    def make(inputs: GeneratorInputs) -> NDArray[np.uint8]:
        with torch.inference_mode():
            images: NDArray[np.uint8] = loaded(*inputs).numpy()
        return images

    if (furthest := largest_difference(sampler, make)) > MAX_DIFFERENCE:
        raise RunError(f"torch.export makes other images of this generator, by {furthest} of 255")
    files.write(path, buffer.getvalue())
    return furthest
