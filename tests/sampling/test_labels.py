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
            ("3x4", DIGITS, [3, 3, 3, 3]),
            ("3x2,7 x 3,1", DIGITS, [3, 3, 7, 7, 7, 1]),
            ("dogx2,1x2", ("cat", "dog"), [1, 1, 1, 1]),
            ("dogx2", ("cat", "dog"), [1, 1]),
            ("2x4", ("2", "2x4"), [1]),  # a name with an x
            ("2x4x3,2x3", ("2", "2x4"), [1, 1, 1, 0, 0, 0]),
            ("ax1", ("a", "x", "b"), [0, 1, 1]),  # x is a class
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
            ("12x50", DIGITS, "no class '12'"),
            ("dgox50,cat", ("cat", "dog"), "no class 'dgo': did you mean dog?"),
            ("3x0,4", DIGITS, "--labels 3x0,4: expected 1 to 10,000,000 images"),
            ("3x999999999", DIGITS, "expected 1 to 10,000,000 images"),
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

    @pytest.mark.parametrize(
        ("labels", "n", "expected", "columns"),
        [
            ("123", None, [1, 2, 3], 3),
            ("123", 3, [1, 2, 3], 3),
            ("123", 6, [1, 2, 3, 1, 2, 3], 3),
            ("3", 100, [3] * 100, 10),
            ("3x5,7x5", None, [3] * 5 + [7] * 5, 4),
            ("3x2,7", 6, [3, 3, 7, 3, 3, 7], 3),
        ],
    )
    def test_labels_are_repeated_to_n(
        self, labels: str, n: int | None, expected: list[int], columns: int, tiny_run: Run
    ) -> None:
        samples = tiny_run.sample(labels=labels, n=n)
        assert samples.labels is not None
        assert (samples.labels.tolist(), samples.columns) == (expected, columns)

    @pytest.mark.parametrize(("n", "enough"), [(4, 6), (2, 3)])
    def test_n_must_hold_all_labels(self, n: int, enough: int, tiny_run: Run) -> None:
        message = f"--n {n} with 3 labels, which are repeated: give {enough}, or"
        with pytest.raises(SettingError, match=message):
            tiny_run.sample(labels="123", n=n)

    @pytest.mark.parametrize("labels", ["123", "balanced", "", "cat,dog"])
    def test_an_unconditional_generator_has_no_labels(
        self, unconditional_run: Run, labels: str
    ) -> None:
        with pytest.raises(SettingError, match="unconditional"):
            unconditional_run.sample(labels=labels)
        assert unconditional_run.sample(n=3).labels is None
