"""DCGAN (Radford et al. 2015, arXiv 1511.06434): convolutions with stride, and BatchNorm.

`dcgan/64`          width 128, cosine learning rate 2e-3 -> 2e-5, set once per epoch
`dcgan/repository`  as in the repository of the tutorial: width 64, quadratic warm-up over 3 of 500
                    epochs, the last 15 held at 2e-5

The paper's own choice, a constant 2e-4, is `--set lr=2e-4`. The tutorial's text draws BatchNorm's
initial gain from N(0.1, 0.02), a slip against the paper; here it is N(1, 0.02). Images may have any
height and width from 16 up, where the tutorial's code fails unless both are multiples of 16: after
each transposed convolution G crops to the next size (`Generator.sizes`), and D's last layer fits
the size that its convolutions make.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ganvas import objectives
from ganvas.errors import SettingError
from ganvas.gan import Gan
from ganvas.layers.convolutions import Double, Halve
from ganvas.recipe import ImageSpec, Positive, Recipe, Schedule, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of both networks.

    z_dim: values of a latent.
    width: channels of the layer next to the image; each further layer has twice as many.
    """

    z_dim: Positive = 100
    width: Positive = 128


class Generator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        # (H, W) halved 4, 3, 2, 1 and 0 times, rounded up: the size after each layer.
        self.sizes = [(-(-spec.height // 2**k), -(-spec.width // 2**k)) for k in (4, 3, 2, 1, 0)]
        w, (height, width) = config.width, self.sizes[0]
        widths = [8 * w, 4 * w, 2 * w, w, spec.channels]
        self.first = nn.Linear(config.z_dim, widths[0] * height * width)
        self.first_norm = _norm(widths[0])
        self.ups = nn.ModuleList(Double(a, b) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList([*map(_norm, widths[1:-1]), nn.Tanh()])

    def forward(self, z: Tensor) -> Tensor:
        """z (N, z_dim) -> images (N, C, H, W) in [-1, 1]."""
        x = self.first_norm(self.first(z).view(z.shape[0], -1, *self.sizes[0]))
        for up, norm, (height, width) in zip(self.ups, self.norms, self.sizes[1:], strict=True):
            # Cropped before BatchNorm, so that its statistics are those of the pixels that remain.
            x = norm(up(x)[:, :, :height, :width])
        images: Tensor = x
        return images


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Discriminator(nn.Module):
    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        d = config.width
        layers: list[nn.Module] = [Halve(spec.channels, d), nn.LeakyReLU(0.2, inplace=True)]
        for w in (d, 2 * d, 4 * d):
            layers += [Halve(w, 2 * w), nn.BatchNorm2d(2 * w), nn.LeakyReLU(0.2, inplace=True)]
        layers += [nn.Flatten(), nn.Linear(8 * d * (spec.height // 16) * (spec.width // 16), 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N,)."""
        logits: Tensor = self.layers(images).squeeze(1)
        return logits


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        # The biases of D's convolutions stay as PyTorch makes them.
        if not isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build(config: Config, spec: ImageSpec) -> Gan:
    """Build both networks. Raises SettingError for sides under 16 pixels."""
    if min(spec.height, spec.width) < 16:
        raise SettingError(
            f"DCGAN halves images four times and these are {spec.height}x{spec.width}: "
            "use --size 16 or more, or an mlp recipe"
        )
    g, d = Generator(config, spec), Discriminator(config, spec)
    g.apply(_initialise)
    d.apply(_initialise)
    return Gan(g, d, objectives.minimax, config.z_dim, joint=False)


_COSINE = Schedule(start=2e-3, end=2e-5, shape="cosine", per="epoch")
_WARM = replace(_COSINE, warmup=3 / 500, warmup_from=2e-4, hold=15 / 500)


_TRAIN = TrainConfig(
    batch=64,
    length="500 epochs",
    lr=_COSINE,
    betas=(0.5, 0.999),
    log="50 steps",
    sheet="50 steps",
    weights="10 epochs",
    sheet_rows=5,
    sheet_columns=5,
)


RECIPES = {
    "64": Recipe(
        summary="DCGAN for pictures of any size from 16 pixels up, width 128",
        model=Config(),
        train=_TRAIN,
        native=ImageSpec(height=64, width=64, channels=3),
    ),
    "repository": Recipe(
        summary="DCGAN as its source's repository trains it: width 64, warm-up and a held end",
        model=Config(width=64),
        train=replace(_TRAIN, lr=_WARM),
        native=ImageSpec(height=64, width=64, channels=3),
    ),
    "tiny": Recipe(
        summary="a few channels, to try things out in a second",
        model=Config(z_dim=8, width=4),
        train=TrainConfig(
            batch=8,
            length="128 images",
            lr=_COSINE,
            betas=(0.5, 0.999),
            log="2 steps",
            sheet="48 images",
            sheet_rows=2,
            sheet_columns=4,
        ),
        native=ImageSpec(height=16, width=16, channels=3),
    ),
}
