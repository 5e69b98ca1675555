"""ImagesOf: a generator as the module that is exported, from latents and labels to uint8 images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganvas.data.pixels import to_uint8
from ganvas.errors import RunError
from ganvas.gan import Gan
from ganvas.sampling.latents import latents
from ganvas.sampling.sampler import Sampler

TRACED = 2  # images of the example batch; exporters take one for a constant
COMPARED_BATCHES = (1, 3, 64)  # batches in which an export is compared with torch
MAX_DIFFERENCE = 1  # of 255, which rounding may cause


class ImagesOf(nn.Module):
    """A copy of a generator that rounds its images to uint8 (N, H, W, C).

    Norms of its weights, such as spectral normalisation, are computed once and for all.
    """

    def __init__(self, gan: Gan) -> None:
        super().__init__()
        self.generator = copy.deepcopy(gan.generator).cpu().eval().requires_grad_(False)
        for module in self.generator.modules():
            _fold_norms(module)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """latent float32 (N, z_dim), label int64 (N,) if conditional -> uint8 (N, H, W, C)."""
        given = (latent,) if label is None else (latent, label)
        images: Tensor = self.generator(*given)
        scaled = images.to(torch.float32).add(1).mul(127.5).round().clamp(0, 255)
        return scaled.to(torch.uint8).permute(0, 2, 3, 1)


def _fold_norms(module: nn.Module) -> None:
    """Replace parametrised weights, such as those under spectral normalisation, by their values.

    `parametrize.remove_parametrizations` would take the weights of the original, too: a copy has
    its class, from which that function deletes them.
    """
    if parametrize.is_parametrized(module):
        names = list(module.parametrizations)  # type: ignore[arg-type]
        values = {name: getattr(module, name).detach().clone() for name in names}
        del module.parametrizations
        module.__class__ = module.__class__.__bases__[0]
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))


# latents (N, z_dim) and, of a conditional generator, labels (N,)
GeneratorInputs = tuple[Tensor, ...]


def inputs_of(sampler: Sampler, count: int) -> GeneratorInputs:
    """Return the latents of images 0 to count - 1 of seed 0, and labels that go through the
    classes."""
    z = torch.from_numpy(latents(range(count), 0, sampler.gan.z_dim, sampler.draw))
    return (z, torch.arange(count) % len(sampler.classes)) if sampler.classes else (z,)


def expected_images(sampler: Sampler, inputs: GeneratorInputs) -> NDArray[np.uint8]:
    """Return the images that torch makes of some inputs.

    Raises RunError for a generator whose pixels are no numbers.
    """
    generator = sampler.gan.generator.cpu().eval()
    with torch.inference_mode():
        images = generator(*inputs)
    if not bool(images.isfinite().all()):
        raise RunError("the generator gives pixels that are no numbers: its training diverged")
    made: NDArray[np.uint8] = to_uint8(images).numpy()
    return made


def largest_difference(
    sampler: Sampler, make: Callable[[GeneratorInputs], NDArray[np.uint8]]
) -> int:
    """Return the largest difference, over COMPARED_BATCHES, of what `make` gives from torch's
    images; 256 for other shapes or types."""
    differences = []
    for count in COMPARED_BATCHES:
        inputs = inputs_of(sampler, count)
        made, expected = make(inputs), expected_images(sampler, inputs)
        if made.shape != expected.shape or made.dtype != expected.dtype:
            return 256
        differences.append(int(np.abs(made.astype(np.int16) - expected).max()))
    return max(differences)
