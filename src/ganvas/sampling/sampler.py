"""Sampler: uint8 images from a generator, for seeds and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data.pixels import to_uint8
from ganvas.errors import RunError
from ganvas.gan import Gan
from ganvas.sampling.latents import LATENT_DRAW, latents

SAMPLING_CHUNK = 64  # images per batch


class Sampler:
    """A generator as a function from indices to images, in inference mode and 32-bit floats.

    classes: names of the classes, if the generator is conditional; () otherwise.
    draw: version of the draw of latents (see `ganvas.sampling.latents`).
    """

    def __init__(
        self,
        gan: Gan,
        classes: tuple[str, ...],
        device: str | torch.device = "cpu",
        draw: int = LATENT_DRAW,
    ) -> None:
        self.gan, self.draw = gan, draw
        self.classes = classes if gan.conditional else ()
        self.device = torch.device(device)
        gan.generator.to(self.device)

    @torch.inference_mode()
    def __call__(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        strict: bool = False,
    ) -> Tensor:
        """Images uint8 (N, H, W, C) on the CPU, one for each index of `seed`.

        labels: a class index for each image of a conditional generator. Default: index modulo the
            number of classes.
        strict: raise RunError for NaN or infinite pixels, which are black otherwise.
        The generator keeps its mode (training or evaluation).
        """
        if self.gan.conditional and labels is None:
            labels = [int(index) % len(self.classes) for index in indices]
        was_training = self.gan.generator.training
        self.gan.generator.eval()
        images = []
        for start in range(0, len(indices), SAMPLING_CHUNK):
            chunk = slice(start, start + SAMPLING_CHUNK)
            drawn = latents(indices[chunk], seed, self.gan.z_dim, self.draw)
            z = torch.from_numpy(drawn).to(self.device)
            y = None if labels is None else torch.tensor(labels[chunk], device=self.device)
            fakes = self.gan.make(z, y)
            if strict and not bool(fakes.isfinite().all()):
                which = f"images {start} to {start + len(z) - 1} of seed {seed}"
                raise RunError(
                    f"the generator gives pixels that are no numbers, among {which}: its training"
                    " diverged, or its layers overflow; train it anew"
                )
            images.append(to_uint8(fakes))
        self.gan.generator.train(was_training)
        return torch.cat(images)
