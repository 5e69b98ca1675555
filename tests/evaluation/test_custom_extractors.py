"""Users' functions, modules and other callables as extractors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ganvas
from ganvas.errors import DataError, MetricError
from ganvas.evaluation import extractors, metrics
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.recipe import ImageSpec
from helpers.common import noise_images


def noise(count: int, channels: Any = 1) -> Tensor:
    return noise_images(ImageSpec(height=12, width=12, channels=channels), count).images


class ToFloat(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float()


def means(images: Tensor) -> Tensor:
    return images.double().mean((2, 3))


def test_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "CUSTOM_CHUNK", 7)
    images = noise(20, channels=3)
    extractor = Extractor.of(means)
    features, probabilities = extractor(images)
    assert features.dtype == torch.float32
    assert torch.allclose(features, images.float().mean((2, 3)))
    assert probabilities is None
    assert (extractor.name, extractor.spec, extractor.classes) == ("means", None, ())
    with pytest.raises(DataError, match="takes images as uint8"):
        extractor(images.float())
    with pytest.raises(DataError, match="takes images as uint8"):
        extractor(images[:0])


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.register_buffer("by", torch.tensor(by))

    def forward(self, images: Tensor) -> Tensor:
        return images.float() * self.by


class Shifted(Scaled):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() + self.by


class Columns:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().flatten(1)[:, : self.number]


def columns(images: Tensor, number: int = 5) -> Tensor:
    return images.float().flatten(1)[:, :number]


class TestIdentity:
    def test_of_a_module_its_weights_and_the_source_of_its_parts(self) -> None:
        def network(seed: int) -> nn.Module:
            torch.manual_seed(seed)
            return nn.Sequential(ToFloat(), nn.Flatten(), nn.Linear(144, 5), nn.Dropout(0.5))

        one, same, other = (Extractor.of(network(seed), name="mine") for seed in (0, 0, 1))
        assert one.sha256 == same.sha256 != other.sha256
        images = noise(9)
        assert torch.equal(one(images).features, one(images).features)  # no dropout
        assert not one(images).features.requires_grad
        hashes = [
            Extractor.of(nn.Sequential(layer, nn.Flatten())).sha256
            for layer in (Scaled(1), Scaled(2), Shifted(1))
        ]
        assert len(set(hashes)) == 3
        assert Extractor.of(nn.Sequential(Scaled(1), nn.Flatten())).sha256 == hashes[0]

    def test_of_others_their_source_and_plain_values(self) -> None:
        functions = [
            means,
            columns,
            partial(columns, number=6),
            partial(columns, number=7),
            Columns(5),
            Columns(6),
            Columns(5).__call__,
            torch.flatten,
            torch.ravel,
            lambda images: images.float().flatten(1),
            lambda images: images.float().flatten(1) * 2,
        ]
        hashes = [Extractor.of(function).sha256 for function in functions]
        assert len(set(hashes)) == len(hashes)
        assert Extractor.of(partial(columns, number=6)).sha256 == hashes[2]
        assert Extractor.of(Columns(5)).sha256 == hashes[4]

    def test_a_given_hash_wins(self) -> None:
        extractor = Extractor.of(means, sha256="mine")
        assert (extractor.sha256, extractor.cacheable) == ("mine", True)
        assert ganvas.Extractor is Extractor
        assert not Extractor.of(means).cacheable


def test_one_with_classes() -> None:
    def features(images: Tensor) -> Features:
        return Features(means(images), torch.full((len(images), 2), 0.5))

    given = Extractor.of(features, classes=("a", "b"))(noise(6))
    assert given.probabilities is not None
    assert given.probabilities.shape == (6, 2)
    with pytest.raises(DataError, match="has 0 classes, but gives their probabilities"):
        Extractor.of(features)(noise(6))
    with pytest.raises(DataError, match=r"shape \(6, 2\) for 6 images: expected an array \(6, 3\)"):
        Extractor.of(features, classes=("a", "b", "c"))(noise(6))
    with pytest.raises(DataError, match="has 1 classes, but gives no probabilities"):
        Extractor.of(means, classes=("a",))(noise(6))


def test_numpy_arrays_will_do_and_wrong_shapes_are_named() -> None:
    assert Extractor.of(lambda x: np.asarray(x.flatten(1)))(noise(6)).features.shape == (6, 144)
    for wrong, shape in (
        (lambda x: x.float(), (6, 1, 12, 12)),
        (lambda x: x[:3].flatten(1), (3, 144)),
    ):
        with pytest.raises(DataError) as caught:
            Extractor.of(wrong)(noise(6))
        assert f"shape {shape} for 6 images: expected an array (6, D)" in str(caught.value)


def test_lists_of_rows_and_reversed_arrays_will_do() -> None:
    images = noise(6)
    plain = images.float().mean((2, 3))
    assert torch.equal(Extractor.of(lambda x: list(x.float().mean((2, 3))))(images).features, plain)
    turned = Extractor.of(lambda x: x.flatten(1).numpy()[:, ::-1])(images).features
    assert torch.equal(turned, images.float().flatten(1).flip(1))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: None, r"gave None for 6 images: expected an array \(6, D\)"),
        (lambda x: ["a"] * len(x), "gave a list that is no array of numbers for 6 images"),
        (lambda x: [[1.0], [1.0, 2.0]] * 3, "gave a list that is no array of numbers for 6 images"),
        (lambda x: x.flatten(1) * 1j, "gave complex numbers for 6 images"),
        (lambda x: x.flatten(1)[:, :0], r"gave no features at all, an array of the shape \(6, 0\)"),
    ],
)
def test_output_that_is_no_array_of_numbers_is_one_line(
    function: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Extractor.of(function)(noise(6))


def test_as_many_features_of_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "CUSTOM_CHUNK", 4)
    with pytest.raises(DataError, match="gave 2 and 4 features an image: expected the same number"):
        Extractor.of(lambda x: x.flatten(1)[:, : len(x)])(noise(6))


def test_features_that_are_not_finite_are_left_to_the_metrics() -> None:
    extractor = Extractor.of(lambda x: x.float().flatten(1)[:, :3] / 0)
    with pytest.raises(MetricError, match="features of the real images are not finite"):
        metrics.frechet(extractor(noise(9)).features, extractor(noise(9)).features)


def test_images_of_another_spec_are_refused() -> None:
    extractor = Extractor.of(means, spec=ImageSpec(height=12, width=12, channels=3))
    with pytest.raises(DataError, match="means takes images of 12x12 RGB, these are 12x12 grey"):
        extractor(noise(4))
