"""`ganvas sample --labels`: which classes are generated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvas import gans
from ganvas.errors import SettingError
from ganvas.recipe import ImageSpec
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.sampling.samples import parse_labels, sample


def made(gan: str, spec: ImageSpec, seed: int = 0) -> Sampler:
    """A Sampler of an untrained generator."""
    file = gans.load_gan(gan)
    return Sampler(file.build(file.recipes["tiny"].model, spec, seed), spec.classes)


class TestLabels:
    DIGITS = tuple("0123456789")

    @pytest.mark.parametrize(
        ("text", "classes", "expected"),
        [
            ("20231223", DIGITS, [2, 0, 2, 3, 1, 2, 2, 3]),
            ("7", DIGITS, [7]),
            ("1,0,1", DIGITS, [1, 0, 1]),
            ("cat,dog,cat", ("cat", "dog"), [0, 1, 0]),
            (" cat , dog", ("cat", "dog"), [0, 1]),
            ("dog", ("cat", "dog"), [1]),
            ("101", ("cat", "dog"), [1, 0, 1]),  # by index, one a character
            ("1,cat", ("cat", "dog"), [1, 0]),
            ("12", ("12", "1", "2"), [0]),  # a class's name as a whole comes first
            ("21", ("12", "1", "2"), [2, 1]),  # names come before indices
            ("11,3", tuple(f"k{k}" for k in range(12)), [11, 3]),
            ("ba", ("a", "b"), [1, 0]),
            ("balanced", ("balanced", "other"), [0]),
            ("dog, small", ("cat", "dog, small"), [1]),
        ],
    )
    def test_reading(self, text: str, classes: tuple[str, ...], expected: list[int]) -> None:
        assert parse_labels(text, classes) == expected

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=50))
    def test_any_sequence_of_digits_and_its_form_with_commas(self, sequence: list[int]) -> None:
        assert parse_labels("".join(map(str, sequence)), self.DIGITS) == sequence
        if len(sequence) > 1:
            assert parse_labels(",".join(map(str, sequence)), self.DIGITS) == sequence

    @pytest.mark.parametrize(
        ("text", "classes", "message"),
        [
            ("12x", DIGITS, "no class 'x'"),
            ("cat,dgo", ("cat", "dog"), "no class 'dgo': did you mean dog?"),
            ("catdog", ("cat", "dog"), "no class 'catdog': did you mean dog?"),
            ("bird", ("cat", "dog"), "no class 'bird': choose one of: cat, dog"),
            (" dog", ("cat", "dog"), "no class ' dog': did you mean dog?"),
            ("DOG", ("cat", "dog"), "no class 'DOG': did you mean dog?"),
            ("1,2", ("cat", "dog"), "no class '2'"),
            ("", DIGITS, "empty"),
            ("1,", DIGITS, "no class ''"),
            ("-1", DIGITS, "no class '-'"),
        ],
    )
    def test_unknown_classes(self, text: str, classes: tuple[str, ...], message: str) -> None:
        with pytest.raises(SettingError) as error:
            parse_labels(text, classes)
        assert message in str(error.value)

    @given(st.integers(1, 45))
    def test_n_goes_through_the_classes_balanced_or_not(self, n: int) -> None:
        sampler = made("cgan", ImageSpec(height=2, width=2, channels=1, classes=("a", "b", "c")))
        for labels in (None, "balanced"):
            samples = sample(sampler, n=n, labels=labels)
            assert samples.labels is not None
            assert samples.labels.tolist() == [k % 3 for k in range(n)]
            counts = np.bincount(samples.labels, minlength=3)
            assert counts.max() - counts.min() <= 1

    def test_without_n_balanced_gives_as_many_of_every_class(self, tiny_run: Run) -> None:
        labels = tiny_run.sample(labels="balanced").labels
        assert labels is not None
        assert len(set(np.bincount(labels, minlength=10))) == 1

    def test_one_image_is_made_for_each_label(self, tiny_run: Run) -> None:
        assert len(tiny_run.sample(labels="123", n=3).images) == 3
        with pytest.raises(SettingError, match="--n 4 with 3 labels"):
            tiny_run.sample(labels="123", n=4)

    @pytest.mark.parametrize("labels", ["123", "balanced", "", "cat,dog"])
    def test_an_unconditional_generator_has_no_labels(
        self, unconditional_run: Run, labels: str
    ) -> None:
        with pytest.raises(SettingError, match="unconditional"):
            unconditional_run.sample(labels=labels)
        assert unconditional_run.sample(n=3).labels is None
