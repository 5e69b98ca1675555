"""From a generator to images: seeds and labels in, uint8 out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganvas.data.pixels import to_uint8
from ganvas.errors import RunError, SettingError
from ganvas.gan import Gan

SAMPLING_CHUNK = 64  # images made at a time


def latents(indices: Sequence[int] | NDArray[np.int64], seed: int, z_dim: int) -> Tensor:
    """Latents float32 (N, z_dim), N(0, 1): each from a Philox generator of its own, keyed by (seed,
    index).

    So image k of a seed has the same latent, to the bit, whatever the batch, the device or the
    runtime.
    Raises SettingError unless 0 <= seed < 2**64.
    """
    if not 0 <= seed < 2**64:
        raise SettingError(f"seed {seed}: expected a whole number from 0 to 2**64 - 1")
    z = np.empty((len(indices), z_dim), np.float32)
    for row, index in zip(z, indices, strict=True):
        key = np.array([seed, index], np.uint64)
        np.random.Generator(np.random.Philox(key=key)).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(z)


class Sampler:
    """A generator, ready to be asked for images. Runs in inference mode and 32-bit floats."""

    def __init__(
        self, gan: Gan, classes: tuple[str, ...], device: str | torch.device = "cpu"
    ) -> None:
        self.gan, self.classes, self.device = (
            gan,
            classes if gan.conditional else (),
            torch.device(device),
        )
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
        """Images uint8 (N, H, W, C) on the CPU for the given indices of a seed.

        labels: one class index an image, for a conditional generator; without them image k shows
        class k modulo K.
        strict: raise RunError for a pixel that is no number, which else is black.
        The generator's mode (training or inference) is as before afterwards.
        """
        if self.gan.conditional and labels is None:
            labels = [int(index) % len(self.classes) for index in indices]
        was_training = self.gan.generator.training
        self.gan.generator.eval()
        images = []
        for start in range(0, len(indices), SAMPLING_CHUNK):
            z = latents(indices[start : start + SAMPLING_CHUNK], seed, self.gan.z_dim).to(
                self.device
            )
            y = (
                None
                if labels is None
                else torch.tensor(labels[start : start + SAMPLING_CHUNK], device=self.device)
            )
            made = self.gan.make(z, y)
            if strict and not bool(made.isfinite().all()):
                raise RunError(
                    f"the generator gives pixels that are no numbers, among images {start} to"
                    f" {start + len(z) - 1} of seed {seed}: its training diverged, or its layers"
                    " overflow; train it anew"
                )
            images.append(to_uint8(made))
        self.gan.generator.train(was_training)
        return torch.cat(images)
