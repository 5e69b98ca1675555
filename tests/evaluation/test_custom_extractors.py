"""Objects of the user's that images are judged by: functions, modules and whatever else can be
called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

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
    judge = Extractor.of(means)
    features, probabilities = judge(images)
    assert features.dtype == torch.float32
    assert torch.allclose(features, images.float().mean((2, 3)))
    assert probabilities is None
    assert (judge.name, judge.spec, judge.classes) == ("means", None, ())
    with pytest.raises(DataError, match="takes images as uint8"):
        judge(images.float())
    with pytest.raises(DataError, match="takes images as uint8"):
        judge(images[:0])


def test_a_module_is_known_by_its_weights() -> None:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(ToFloat(), nn.Flatten(), nn.Linear(144, 5), nn.Dropout(0.5))

    one, same, other = (Extractor.of(network(seed), name="mine") for seed in (0, 0, 1))
    assert one.sha256 == same.sha256 != other.sha256
    images = noise(9)
    assert torch.equal(one(images).features, one(images).features)  # no dropout
    assert not one(images).features.requires_grad


def test_others_are_known_by_their_source_and_what_they_hold() -> None:
    def scaled(by: float) -> Callable[[Tensor], Tensor]:
        return lambda images: images.float().flatten(1) * by

    class Held:
        def __init__(self, by: Any) -> None:
            self.by = by

        def __call__(self, images: Tensor) -> Tensor:
            return images.float().flatten(1) * self.by

    judges = [
        scaled(1),
        scaled(2),
        means,
        Held(1),
        Held(2),
        Held(np.ones(144)),
        Held(torch.zeros(144)),
        Held(1).__call__,
        partial(scaled(1)),
        partial(scaled(2)),
        Held({"a": 1}),
        Held([2, 1]),
    ]
    hashes = [Extractor.of(judge).sha256 for judge in judges]
    assert len(set(hashes)) == len(hashes)
    assert Extractor.of(scaled(1)).sha256 == hashes[0]
    circular = Held(1)
    circular.by = circular
    assert Extractor.of(circular).sha256 not in hashes
    assert Extractor.of(Held(np.ones(144))).sha256 == hashes[5]
    assert Extractor.of(Held(1), sha256="mine").sha256 == "mine"


def typed_in(text: str) -> Any:
    """What a prompt makes of a definition of `judge`, whose text Python does not keep."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(text, space)
    return space["judge"]


def test_what_has_no_text_of_its_own_is_known_by_what_it_was_compiled_to() -> None:
    method = (
        "class Kind:\n    columns = {}\n    {}\n    def __call__(self, x): return x[:,"
        " :self.columns]\njudge = Kind()"
    )
    shapes = "@property\n    def shape(self): return {}"
    judges = [
        *(typed_in(f"def judge(x): return x.float().flatten(1)[:, :{k}]") for k in (32, 64)),
        typed_in("def judge(x): return x.double().flatten(1)[:, :32]"),
        typed_in("def judge(x): return [y[:32] for y in x]"),
        typed_in("def judge(x): return [y[:64] for y in x]"),
        *(
            typed_in(method.format(columns, shapes.format(side)))
            for columns, side in ((32, 8), (64, 8), (32, 9))
        ),
        *(lambda x: x.float().flatten(1), lambda x: x.float().flatten(1) * 2),
    ]
    hashes = [Extractor.of(judge).sha256 for judge in judges]
    assert len(set(hashes)) == len(hashes)
    assert (
        Extractor.of(typed_in("def judge(x): return x.float().flatten(1)[:, :32]")).sha256
        == hashes[0]
    )


SCALE: Any = 1.0


def scale(images: Tensor) -> Tensor:
    return images.float() * SCALE


def by_a_global(images: Tensor) -> Tensor:
    return scale(images).flatten(1)


class Scaled(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by
        self.register_buffer("unsaved", torch.tensor(by), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.float() * self.by


class Shifted(Scaled):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() + self.by


def test_globals_count_and_what_modules_hold_beside_their_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def identity(judge: Any) -> str:
        return Extractor.of(judge).sha256

    seen = [identity(by_a_global)]
    for value in (2.0, nn.Linear(2, 2), nn.Linear(2, 2)):
        monkeypatch.setitem(globals(), "SCALE", value)
        seen.append(identity(by_a_global))
    seen += [
        identity(nn.Sequential(layer, nn.Flatten())) for layer in (Scaled(1), Scaled(2), Shifted(1))
    ]
    assert len(set(seen)) == len(seen)
    assert identity(nn.Sequential(Scaled(1), nn.Flatten())) == seen[4]
    assert identity(by_a_global) == seen[3]
    arrays = [
        np.array(["cat", "dog"]),
        np.array(["cat", "cow"]),
        np.array([None, 1.5], object),
        np.eye(3)[:, ::-1],
    ]
    told = [
        identity(partial(means, array))
        for array in [*arrays, np.eye(3), np.eye(3, dtype=np.float32)]
    ]
    assert len(set(told)) == 6
    assert identity(partial(means, np.array(["cat", "dog"]))) == told[0]
    assert identity(partial(means, np.random.default_rng(0))) == identity(
        partial(means, np.random.default_rng(0))
    )
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert len(identity(partial(means, deep))) == 64


def test_one_with_classes() -> None:
    def judge(images: Tensor) -> Features:
        return Features(means(images), torch.full((len(images), 2), 0.5))

    given = Extractor.of(judge, classes=("a", "b"))(noise(6))
    assert given.probabilities is not None
    assert given.probabilities.shape == (6, 2)
    with pytest.raises(DataError, match="has 0 classes, but gives their probabilities"):
        Extractor.of(judge)(noise(6))
    with pytest.raises(DataError, match=r"shape \(6, 2\) for 6 images: expected \(6, 3\)"):
        Extractor.of(judge, classes=("a", "b", "c"))(noise(6))
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
        assert f"shape {shape} for 6 images: expected (6, D)" in str(caught.value)


def test_lists_of_rows_and_reversed_arrays_will_do() -> None:
    images = noise(6)
    plain = images.float().mean((2, 3))
    assert torch.equal(Extractor.of(lambda x: list(x.float().mean((2, 3))))(images).features, plain)
    turned = Extractor.of(lambda x: x.flatten(1).numpy()[:, ::-1])(images).features
    assert torch.equal(turned, images.float().flatten(1).flip(1))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (lambda x: None, r"gave None for 6 images: expected features as an array \(6, D\)"),
        (lambda x: ["a"] * len(x), "gave a list that is no array of numbers for 6 images"),
        (lambda x: [[1.0], [1.0, 2.0]] * 3, "gave a list that is no array of numbers for 6 images"),
        (lambda x: x.flatten(1) * 1j, "gave complex numbers for 6 images"),
        (lambda x: x.flatten(1)[:, :0], r"gave no features at all, an array of the shape \(6, 0\)"),
    ],
)
def test_what_is_no_array_of_numbers_is_one_line(judge: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Extractor.of(judge)(noise(6))


def test_as_many_features_of_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "CUSTOM_CHUNK", 4)
    with pytest.raises(DataError, match="gave 2 and 4 features an image: expected the same number"):
        Extractor.of(lambda x: x.flatten(1)[:, : len(x)])(noise(6))


def test_features_that_are_not_finite_are_left_to_the_figures() -> None:
    judge = Extractor.of(lambda x: x.float().flatten(1)[:, :3] / 0)
    with pytest.raises(MetricError, match="features of the real images are not finite"):
        metrics.frechet(judge(noise(9)).features, judge(noise(9)).features)


def test_a_spec_is_held() -> None:
    judge = Extractor.of(means, spec=ImageSpec(height=12, width=12, channels=3))
    with pytest.raises(DataError, match="means takes images of 12x12 RGB, these are 12x12 grey"):
        judge(noise(4))
