"""With every extractor, faults of generated images move each score the right way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float, to_uint8
from ganvas.evaluation import extractor_files, extractors, metrics
from ganvas.evaluation.extractors import Extractor

COLOURS = torch.tensor(
    [[230, 60, 60], [60, 200, 60], [70, 70, 230], [220, 220, 60], [200, 60, 220], [60, 220, 220]]
)


def drawn(count: int, seed: int, side: int = 20) -> Dataset:
    """Discs and bars, each kind in three colours, on grey: six classes."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images = (
        torch.randint(20, 60, (count, 1, 1, 1), generator=rng)
        .expand(-1, 3, side, side)
        .contiguous()
    )
    for k in range(count):
        row, column, size = (
            torch.rand(3, generator=rng) * 0.25 * side + torch.tensor([7.0, 7.0, 3.0])
        ).tolist()
        disc = (y - row) ** 2 + (x - column) ** 2 < size**2
        shape = disc if k % 2 else ((y - row).abs() < size / 2) & ((x - column).abs() < size * 1.5)
        colour = COLOURS[k % 6] + torch.randint(-15, 16, (3,), generator=rng)
        images[k] = torch.where(shape, colour.view(3, 1, 1), images[k])
    images += torch.randint(-6, 7, images.shape, generator=rng)
    return Dataset(
        "drawn", images.clamp(0, 255).to(torch.uint8), torch.arange(count) % 6, tuple("abcdef")
    )


@dataclass(frozen=True)
class Case:
    """An extractor, real images, and as many others of their kind, as of a perfect generator."""

    extractor: Extractor
    real: Tensor
    perfect: Tensor
    labels: Tensor  # of the perfect ones

    @cached_property
    def seen(self) -> Tensor:
        return self.extractor(self.real).features

    @cached_property
    def of_perfect(self) -> dict[str, float]:
        return self.scores(self.perfect)

    def scores(self, images: Tensor) -> dict[str, float]:
        real, fake = self.seen, self.extractor(images).features
        return {"fid": metrics.frechet(real, fake), **metrics.prdc(real, fake)._asdict()}


def patches(images: Tensor) -> Tensor:
    """Means and spreads of patches: a simple function of a user."""
    means, squares = (avg_pool2d((images.float() / 255) ** power, 4).flatten(1) for power in (1, 2))
    return torch.cat([means, (squares - means**2).clamp(min=0).sqrt()], 1)


@pytest.fixture(
    scope="module",
    params=[
        "digits",
        "self on digits",
        "classifier on drawn",
        "self on drawn",
        "a function on drawn",
    ],
)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    name, _, source = request.param.partition(" on ")
    if source == "drawn":
        training, real, perfect = drawn(600, seed=0), drawn(600, seed=1), drawn(600, seed=2)
    else:
        everything, real = (
            data.load_dataset("mnist-5k"),
            data.load_dataset("mnist-5k", split="test"),
        )
        assert everything.labels is not None
        parts = (slice(None, 3000), slice(3000, None))
        training, perfect = (
            Dataset("digits", everything.images[p], everything.labels[p], real.classes)
            for p in parts
        )
    assert perfect.labels is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(extractor_files, "ENCODER_STEPS", 200)
        patch.setattr(extractor_files, "EPOCHS", 10)
        patch.setattr(extractor_files, "MIN_CLASSIFIER_STEPS", 60)
        extractor = (
            Extractor.of(patches)
            if name == "a function"
            else extractors.find_extractor(name, training)
        )
        yield Case(extractor, real.images, perfect.images, perfect.labels)


def blurred(images: Tensor, sigma: float) -> Tensor:
    distances = torch.arange(-5.0, 6) ** 2
    line = torch.exp(-distances / (2 * sigma**2))
    kernel = (line / line.sum()).outer(line / line.sum()).expand(images.shape[1], 1, 11, 11)
    changed = conv2d(
        pad(to_float(images), (5, 5, 5, 5), mode="replicate"), kernel, groups=images.shape[1]
    )
    return to_uint8(changed).permute(0, 3, 1, 2)


def noisy(images: Tensor, strength: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    return to_uint8(to_float(images) + strength * noise).permute(0, 3, 1, 2)


@pytest.mark.long
class TestMeaning:
    def test_the_same_images_have_a_distance_of_0_and_everything_covered(self, case: Case) -> None:
        same = case.scores(case.real)
        assert same["fid"] == pytest.approx(0, abs=1e-4)
        assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)

    def test_a_perfect_generator_is_nearly_as_good(self, case: Case) -> None:
        perfect = case.of_perfect
        assert perfect["fid"] < case.scores(noisy(case.perfect, 0.3))["fid"] / 3
        assert min(perfect["precision"], perfect["recall"]) > 0.8
        assert perfect["coverage"] > 0.7

    @pytest.mark.parametrize("change", [blurred, noisy])
    def test_blur_and_noise_are_the_worse_the_stronger(self, case: Case, change: object) -> None:
        strengths = (0.7, 1.2, 2.0, 3.0) if change is blurred else (0.1, 0.2, 0.4, 0.8)
        scores = [
            case.of_perfect,
            *(case.scores(change(case.perfect, s)) for s in strengths),
        ]  # type: ignore[operator]
        distances = [each["fid"] for each in scores]
        assert distances == sorted(distances), distances
        assert distances[-1] > 5 * distances[0]
        assert scores[-1]["precision"] < scores[0]["precision"] - 0.1
        assert scores[-1]["coverage"] < scores[0]["coverage"] - 0.1

    def test_a_shift_of_brightness_or_colour_is_seen(self, case: Case) -> None:
        shift = torch.tensor([0.2, 0.0, -0.2] if case.real.shape[1] == 3 else [0.2]).view(-1, 1, 1)
        shifted = to_uint8(to_float(case.perfect) + shift).permute(0, 3, 1, 2)
        assert case.scores(shifted)["fid"] > 5 * case.of_perfect["fid"]

    def test_one_mode_dropped_is_seen_in_what_measures_diversity(self, case: Case) -> None:
        perfect, dropped = case.of_perfect, case.scores(case.perfect[case.labels != 0])
        assert dropped["fid"] > 1.3 * perfect["fid"]
        assert dropped["coverage"] < perfect["coverage"] - 0.03
        assert dropped["precision"] > perfect["precision"] - 0.03

    def test_a_collapse_to_few_modes_loses_recall_and_coverage_and_keeps_precision(
        self, case: Case
    ) -> None:
        perfect, collapsed = case.of_perfect, case.scores(case.perfect[case.labels < 3])
        assert collapsed["recall"] < perfect["recall"] - 0.1
        assert collapsed["coverage"] < perfect["coverage"] - 0.2
        assert collapsed["precision"] > perfect["precision"] - 0.05
        assert collapsed["fid"] > 3 * perfect["fid"]

    def test_the_same_few_images_again_and_again_lose_recall_and_coverage(self, case: Case) -> None:
        perfect, few = case.of_perfect, case.scores(case.perfect[:20].repeat(30, 1, 1, 1))
        assert few["recall"] < 0.1
        assert few["coverage"] < 0.3
        assert few["precision"] > 0.7
        assert few["fid"] > 3 * perfect["fid"]
