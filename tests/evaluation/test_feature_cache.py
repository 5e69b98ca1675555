"""Features of real images are cached by content, and only if an extractor's hash says all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganvas.data.dataset import Dataset
from ganvas.evaluation.extractors import Extractor
from helpers.judged import Pooled, evaluate_images, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")


def test_features_of_real_images_are_cached_by_content(
    held_out: Dataset, training: Dataset, tmp_path: Path, cache: Path
) -> None:
    one, two, made = Pooled(), Pooled(), training.images[:100]
    first = evaluate_images(made, extractor=one.extractor("a" * 64))
    assert one.seen == [1000, 100, 100]  # real, generated, floor
    renamed = npz(tmp_path / "renamed.npz", held_out.images)
    evaluate_images(made, data=None, against=renamed, extractor=two.extractor("a" * 64))
    assert two.seen == [100, 500, 100]  # only the halves of its floor are new
    again = Pooled()
    assert evaluate_images(made, extractor=again.extractor("a" * 64)) == first
    assert again.seen == [100]
    other = Pooled()
    evaluate_images(made, extractor=other.extractor("b" * 64))
    assert other.seen == [1000, 100, 100]


def test_those_of_a_users_function_are_cached_only_under_a_given_hash(
    training: Dataset, tmp_path: Path
) -> None:
    """A function may depend on more than its source shows."""
    made, pooled = training.images[:100], Pooled()

    def features(images: torch.Tensor) -> torch.Tensor:
        return pooled(images).features

    for given, number in (
        (features, 2 * 1200),
        (Extractor.of(features), 2 * 1200),
        (Extractor.of(features, sha256="c" * 64), 1200 + 100),
    ):
        pooled.seen.clear()
        for _ in range(2):
            evaluate_images(made, extractor=given)
        assert sum(pooled.seen) == number  # real images, generated ones, and the floor's


def test_a_damaged_cache_is_replaced_and_a_disk_that_refuses_is_ignored(
    training: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    made, good = training.images[:100], Pooled()
    first = evaluate_images(made, extractor=good.extractor())
    for file in (tmp_path / "own" / "ganvas" / "features").iterdir():
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
    again = Pooled()
    assert evaluate_images(made, extractor=again.extractor()) == first
    assert again.seen == good.seen
    for file in (tmp_path / "own" / "ganvas" / "features").iterdir():
        file.write_bytes(b"no tensors")
    assert evaluate_images(made, extractor=Pooled().extractor()) == first
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert evaluate_images(made, extractor=Pooled().extractor()) == first
