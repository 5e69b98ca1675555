"""Metrics: closed forms, agreement with other implementations, and what moves them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ganvas.errors import MetricError
from ganvas.evaluation import metrics

pytestmark = pytest.mark.usefixtures("steady")

CLOSE = 1e-3  # the most that others may differ, relatively


def normal(
    count: int, width: int = 8, seed: int = 0, shift: float = 0.0, scale: float = 1.0
) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=rng) * scale + shift


def mixture(count: int, modes: int, seed: int, width: int = 8) -> Tensor:
    """Samples around the first `modes` of ten centres, in turn."""
    centres = normal(10, width, seed=99, scale=6)
    return centres[torch.arange(count) % modes] + normal(count, width, seed)


def whitened(features: Tensor) -> Tensor:
    """The same number of samples with mean 0 and covariance 1 exactly."""
    centred = features.double() - features.double().mean(0)
    factor = torch.linalg.cholesky(torch.cov(centred.T))
    return torch.linalg.solve_triangular(factor, centred.T, upper=False).T


class TestClosedForms:
    def test_frechet_of_gaussians_with_known_moments(self) -> None:
        real, fake = whitened(normal(300, seed=1)), whitened(normal(400, seed=2))
        scale = torch.arange(1, 9).double()
        assert metrics.frechet(real, fake) == pytest.approx(0, abs=1e-10)
        assert metrics.frechet(real, fake + 3) == pytest.approx(8 * 9)
        assert metrics.frechet(real, fake * scale) == pytest.approx(
            float((scale - 1).square().sum())
        )
        turn = torch.linalg.qr(normal(8, 8, seed=3).double()).Q  # covariances that do not commute
        one, two = real * scale @ turn, fake * scale.flip(0)
        c1, c2 = turn.T @ torch.diag(scale**2) @ turn, torch.diag(scale.flip(0) ** 2)
        roots = torch.linalg.eigvals(c1 @ c2).real.sqrt().sum()
        assert metrics.frechet(one, two) == pytest.approx(
            float(c1.trace() + c2.trace() - 2 * roots), rel=1e-9
        )

    def test_frechet_is_symmetric_and_0_for_the_same_samples(self) -> None:
        real, fake = normal(200), normal(300, seed=1, scale=2)
        assert metrics.frechet(real, fake) == pytest.approx(metrics.frechet(fake, real))
        assert metrics.frechet(real, real) == pytest.approx(0, abs=1e-9)

    def test_kids_spread_is_that_of_its_subsets(self) -> None:
        real, fake = normal(100, seed=0), normal(100, seed=1)
        one = metrics.kid(real, fake, subsets=1, size=50)
        two = metrics.kid(real, fake, subsets=2, size=50)
        assert one.std == 0
        other = 2 * two.mean - one.mean
        assert two.std == pytest.approx(abs(one.mean - other) / 2)
        assert two.std > 0

    def test_kid_is_unbiased(self) -> None:
        """Samples of one distribution give 0 on average, some below: a biased estimate would be
        above 0 throughout."""
        values = [
            metrics.kid(normal(100, seed=2 * s), normal(100, seed=2 * s + 1), subsets=1).mean
            for s in range(60)
        ]
        assert min(values) < 0 < max(values)
        assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(60)

    def test_inception_score_lies_between_1_and_the_number_of_classes(self) -> None:
        sure, unsure = torch.eye(10).repeat(20, 1), torch.full((200, 10), 0.1)
        assert metrics.inception_score(sure) == pytest.approx((10, 0))
        assert metrics.inception_score(unsure) == pytest.approx((1, 0))
        # one class alone
        assert metrics.inception_score(torch.eye(10)[:1].repeat(200, 1)).mean == pytest.approx(1)

    def test_histogram_kl(self) -> None:
        even = torch.ones(4)
        assert metrics.histogram_kl(torch.arange(40) % 4, even) == pytest.approx(0)
        assert metrics.histogram_kl(torch.arange(40) % 2, even) == pytest.approx(math.log(2))
        assert metrics.histogram_kl(torch.zeros(7, dtype=torch.int64), even) == pytest.approx(
            math.log(4)
        )
        assert metrics.histogram_kl(torch.tensor([0, 1]), torch.tensor([1.0, 0.0])) == math.inf


class TestOthers:
    """Agreement with torch-fidelity, torchmetrics and prdc on the same features."""

    @pytest.fixture
    def pair(self) -> tuple[Tensor, Tensor]:
        return mixture(700, 10, seed=1), mixture(600, 8, seed=2) * 1.1

    def test_frechet(self, pair: tuple[Tensor, Tensor]) -> None:
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        theirs = fid_statistics_to_metric(*map(fid_features_to_statistics, pair), verbose=False)
        mine = metrics.frechet(*pair)
        assert mine == pytest.approx(theirs["frechet_inception_distance"], rel=CLOSE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchmetrics.image.fid import FrechetInceptionDistance

            class Features(torch.nn.Module):
                num_features = 8

                def forward(self, x: Tensor) -> Tensor:
                    return x

            fid = FrechetInceptionDistance(feature=Features(), input_img_size=(8,)).double()
            fid.set_dtype(torch.float64)
            fid.update(pair[0].double(), real=True)
            fid.update(pair[1].double(), real=False)
            assert mine == pytest.approx(float(fid.compute()), rel=CLOSE)

    def test_kid(self, pair: tuple[Tensor, Tensor]) -> None:
        from torch_fidelity.metric_kid import kid_features_to_metric

        real, fake = pair[0][:600], pair[1]  # one subset of all samples: nothing is left to chance
        theirs = kid_features_to_metric(
            real.double(), fake.double(), kid_subsets=1, kid_subset_size=600, verbose=False
        )
        assert metrics.kid(real, fake, subsets=1, size=600).mean == pytest.approx(
            theirs["kernel_inception_distance_mean"], rel=CLOSE
        )

    @pytest.mark.parametrize("k", [3, 5])
    def test_prdc(
        self, pair: tuple[Tensor, Tensor], k: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from prdc import compute_prdc
        from torch_fidelity.metric_prc import prc_features_to_metric

        monkeypatch.setattr(metrics, "DISTANCE_BLOCK", 64 * 700)
        real, fake = pair
        mine = metrics.prdc(real, fake, k)
        theirs = compute_prdc(
            real_features=real.double().numpy(), fake_features=fake.double().numpy(), nearest_k=k
        )
        assert mine._asdict() == pytest.approx(theirs, rel=CLOSE)
        others = prc_features_to_metric(
            fake.double(),
            real.double(),
            prc_neighborhood=k,
            prc_batch_size=100,
            save_cpu_ram=False,
            verbose=False,
        )
        assert (mine.precision, mine.recall) == pytest.approx(
            (others["precision"], others["recall"]), rel=CLOSE
        )

    def test_inception_score(self) -> None:
        from torch_fidelity.metric_isc import isc_features_to_metric

        logits = normal(500, 10, seed=4, scale=3)
        theirs = isc_features_to_metric(logits, splits=10, shuffle=False)
        mine = metrics.inception_score(logits.double().softmax(1), splits=10)
        assert mine == pytest.approx(
            (theirs["inception_score_mean"], theirs["inception_score_std"]), rel=CLOSE
        )


def scores(real: Tensor, fake: Tensor) -> dict[str, float]:
    return {
        "frechet": metrics.frechet(real, fake),
        "kid": metrics.kid(real, fake, subsets=10, size=300).mean,
        **metrics.prdc(real, fake)._asdict(),
    }


class TestMeaning:
    REAL = mixture(1000, 10, seed=1)
    GOOD = mixture(1000, 10, seed=2)

    def test_samples_of_the_same_kind_are_at_the_floor(self) -> None:
        good = scores(self.REAL, self.GOOD)
        assert good["frechet"] < 0.5
        assert abs(good["kid"]) < 0.05 * scores(self.REAL, mixture(1000, 3, seed=2))["kid"]
        assert min(good["precision"], good["recall"], good["coverage"]) > 0.85
        assert good["density"] == pytest.approx(1, abs=0.1)

    def test_a_collapse_to_few_modes_keeps_precision_and_loses_recall_and_coverage(self) -> None:
        collapsed, good = (
            scores(self.REAL, mixture(1000, 3, seed=2)),
            scores(self.REAL, self.GOOD),
        )
        assert collapsed["precision"] > 0.85
        assert collapsed["recall"] < 0.4
        assert collapsed["coverage"] < 0.4
        assert collapsed["frechet"] > 10 * good["frechet"]

    def test_one_mode_dropped_is_seen(self) -> None:
        dropped, good = scores(self.REAL, mixture(1000, 9, seed=2)), scores(self.REAL, self.GOOD)
        assert dropped["precision"] > 0.85
        assert dropped["coverage"] < good["coverage"] - 0.05
        assert dropped["frechet"] > 2 * good["frechet"]
        assert dropped["kid"] > good["kid"]

    def test_noise_loses_precision_before_recall(self) -> None:
        noisy = scores(self.REAL, self.GOOD + normal(1000, seed=5, scale=3))
        assert noisy["precision"] < 0.3
        assert noisy["recall"] > 0.8
        assert noisy["density"] < 0.4

    def test_blur_towards_the_means_keeps_precision_and_loses_recall(self) -> None:
        centres = self.REAL.view(100, 10, 8).mean(0)
        blurred = scores(
            self.REAL, (self.GOOD.view(100, 10, 8) * 0.2 + centres * 0.8).reshape(1000, 8)
        )
        assert blurred["precision"] > 0.95
        assert blurred["recall"] < 0.5

    def test_identical_sets_have_a_distance_of_0_and_everything_covered(self) -> None:
        same = scores(self.REAL, self.REAL)
        assert same["frechet"] == pytest.approx(0, abs=1e-8)
        assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)


def test_neighbours_are_found_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No matrix of more than BLOCK distances is made, and the blocks do not show in the result."""
    real, fake = mixture(500, 10, seed=1), mixture(430, 7, seed=2)
    whole = metrics.prdc(real, fake)
    monkeypatch.setattr(metrics, "DISTANCE_BLOCK", 37 * 430)
    largest = 0
    distances = metrics._distances

    def noting(a: Tensor, b: Tensor) -> object:
        nonlocal largest
        for rows in distances(a, b):
            largest = max(largest, rows.numel())
            yield rows

    monkeypatch.setattr(metrics, "_distances", noting)
    assert metrics.prdc(real, fake) == whole
    assert 36 * 430 < largest <= 37 * 430


def test_kernels_are_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = mixture(300, 10, seed=1), mixture(280, 7, seed=2)
    whole = metrics.kid(real, fake, subsets=2, size=280)
    monkeypatch.setattr(metrics, "DISTANCE_BLOCK", 37 * 280)
    assert metrics.kid(real, fake, subsets=2, size=280).mean == pytest.approx(whole.mean, rel=1e-9)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (
            lambda: metrics.frechet(normal(8), normal(100)),
            r"8 real images for 8 features: the covariance is singular",
        ),
        (
            lambda: metrics.frechet(normal(100), normal(5)),
            r"5 generated images for 8 features.*give more than 8",
        ),
        (lambda: metrics.frechet(normal(100), normal(100, 9)), r"8 real and 9 generated features"),
        (
            lambda: metrics.frechet(normal(100), normal(100) / 0),
            r"features of the generated images are not finite",
        ),
        (lambda: metrics.prdc(normal(5), normal(100)), r"5 real images: .* k = 5 need at least 6"),
        (lambda: metrics.kid(normal(1), normal(100)), r"real features have the shape \(1, 8\)"),
        (lambda: metrics.kid(normal(9, 0), normal(9, 0)), r"real features have the shape \(9, 0\)"),
        (lambda: metrics.histogram_kl(torch.tensor([4]), torch.ones(4)), r"from 0 to 3"),
        (
            lambda: metrics.histogram_kl(torch.tensor([], dtype=torch.int64), torch.ones(4)),
            r"expected at least one label",
        ),
    ],
)
def test_meaningless_input_is_refused(measure: Callable[[], object], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        measure()


def test_a_block_of_distances_stays_small_whatever_the_number_of_samples() -> None:
    """60,000 against 60,000 would be 29 GB at once."""
    features = normal(60_000, 4)
    rows = next(metrics._distances(features, features))
    assert rows.numel() * rows.element_size() <= 64 * 2**20
    assert len(rows) > 100


class TestModes:
    def test_direct_computation(self) -> None:
        labels = torch.tensor([0, 0, 0, 1, 1, 4])
        direct = sum(p * math.log(p * 10) for p in (3 / 6, 2 / 6, 1 / 6))
        assert metrics.modes(labels, 10) == (3, pytest.approx(direct))
        assert metrics.modes(torch.arange(2000) % 1000, 1000) == (1000, pytest.approx(0))
        assert metrics.modes(torch.zeros(50, dtype=torch.int64), 1000) == (
            1,
            pytest.approx(math.log(1000)),
        )

    @pytest.mark.parametrize(("samples", "known"), [(26_000, 0.019), (10_000, 0.051)])
    def test_a_perfect_sampler(self, samples: int, known: float) -> None:
        hit, reverse_kl = metrics.perfect_modes(samples, 1000)
        assert reverse_kl == pytest.approx(known, abs=6e-4)
        assert hit == pytest.approx(1000, abs=0.2)
        assert metrics.perfect_modes(samples, 1000) == (hit, reverse_kl)

    def test_labels_beyond_the_modes_are_refused(self) -> None:
        with pytest.raises(MetricError, match="from 0 to 9"):
            metrics.modes(torch.tensor([10]), 10)
