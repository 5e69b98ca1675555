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
        """
        if self.gan.conditional and labels is None:
            labels = [int(index) % len(self.classes) for index in indices]
        images = []
        for start in range(0, len(indices), SAMPLING_CHUNK):
            chunk = slice(start, start + SAMPLING_CHUNK)
            z = latents(indices[chunk], seed, self.z_dim, self.draw)
            which = f"images {start} to {start + len(z) - 1} of seed {seed}" if strict else ""
            chosen = None if labels is None else labels[chunk]
            images.append(self.generate(z, chosen, checked_as=which))
        return torch.cat(images)

    @property
    def z_dim(self) -> int:
        """Values of a latent."""
        return self.gan.z_dim

    @torch.inference_mode()
    def generate(
        self, z: NDArray[np.float32], labels: Sequence[int] | None = None, *, checked_as: str = ""
    ) -> Tensor:
        """Images uint8 (N, H, W, C) on the CPU of latents (N, z_dim) and class indices (N,).

        checked_as: a name of these images, for the RunError that NaN or infinite pixels then raise.
            They are black otherwise.
        The generator keeps its mode (training or evaluation).
        """
        generator = self.gan.generator
        was_training = generator.training
        generator.eval()
        y = None if labels is None else torch.tensor(labels, device=self.device)
        fakes = self.gan.make(torch.from_numpy(z).to(self.device), y)
        generator.train(was_training)
        if checked_as and not bool(fakes.isfinite().all()):
            raise RunError(
                f"the generator gives pixels that are no numbers, among {checked_as}: its training"
                " diverged, or its layers overflow; train it anew"
            )
        return to_uint8(fakes)
