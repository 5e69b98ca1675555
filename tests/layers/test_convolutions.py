"""Convolutions computed as products equal torch's, in values and gradients of both orders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganvas.layers import convolutions
from ganvas.layers.convolutions import Double, Halve

SIZES = [(8, 8), (7, 9), (5, 6), (4, 4), (3, 3), (2, 3), (2, 2)]


def results(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """Output, its gradients by images and weights, and the gradients of the squared slope by the
    weights."""
    images = images.clone().requires_grad_()
    out = layer(images)
    mix = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    first = torch.autograd.grad(
        (out.sin() * mix).sum(), [images, *layer.parameters()], create_graph=True
    )
    second = torch.autograd.grad(first[0].square().sum(), [images, *layer.parameters()])
    return [out, *first, *second]


def torchs(layer: Halve | Double, bias: bool = True) -> nn.Module:
    kind = nn.Conv2d if isinstance(layer, Halve) else nn.ConvTranspose2d
    plain = kind(layer.in_channels, layer.out_channels, 4, 2, 1, bias=bias).double()
    plain.load_state_dict(layer.state_dict())
    return plain


@pytest.mark.parametrize("kind", [Halve, Double])
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [(3, 5), (5, 3)])
def test_a_product_is_the_convolution(
    kind: type[Halve | Double],
    height: int,
    width: int,
    channels: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    layer = kind(*channels).double()
    images = torch.randn(4, channels[0], height, width, dtype=torch.float64)
    expected = results(torchs(layer), images)

    def refuse(*_: object) -> Tensor:
        raise AssertionError("torch's own convolution")

    monkeypatch.setattr(convolutions, "SMALL_IMAGE", 100)
    monkeypatch.setattr(kind.__bases__[0], "forward", refuse)
    for result, wanted in zip(results(layer, images), expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "side", "after"), [(Halve, 10, 8), (Double, 5, 8)])
def test_larger_images_are_left_to_torch(kind: type[Halve | Double], side: int, after: int) -> None:
    layer = kind(3, after).double()
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    assert all(
        torch.equal(a, b)
        for a, b in zip(results(layer, images), results(torchs(layer), images), strict=True)
    )


@pytest.mark.parametrize(("kind", "side"), [(Halve, 8), (Double, 4)])
def test_dtype_layout_and_names_are_torchs(kind: type[Halve | Double], side: int) -> None:
    layer = kind(4, 6)
    assert list(layer.state_dict()) == ["weight", "bias"]
    images = torch.randn(2, 4, side, side).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(images).dtype == torch.bfloat16
    out = layer(images)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
