"""Latents: which numbers belong to a seed and an index, in every version of the draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvas.errors import SettingError
from ganvas.sampling.latents import LATENT_DRAW, latents, philox

WORD = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("draw", [1, LATENT_DRAW])
@given(WORD, st.lists(WORD, min_size=1, max_size=9), st.integers(1, 40))
def test_each_depends_on_its_seed_and_index_alone(
    draw: int, seed: int, indices: list[int], z_dim: int
) -> None:
    together = latents(indices, seed, z_dim, draw)
    assert together.shape == (len(indices), z_dim)
    assert together.dtype == np.float32
    for row, index in zip(together, indices, strict=True):
        np.testing.assert_array_equal(row, latents([index], seed, z_dim, draw)[0])


@given(WORD, WORD, WORD)
def test_words_are_those_of_numpys_philox(block: int, seed: int, index: int) -> None:
    words = philox(*_words(block), (_words(seed)[0], _words(index)[0]))
    # NumPy's generator adds one to its counter of 256 bits before it makes words of it.
    before = (block - 1) % 2**256
    counter = np.array([before >> (64 * k) & (2**64 - 1) for k in range(4)], np.uint64)
    theirs = np.random.Philox(counter=counter, key=np.array([seed, index], np.uint64))
    assert [int(word[0]) for word in words] == theirs.random_raw(4).tolist()


def test_words_are_the_known_answer_of_the_paper_s_code() -> None:
    words = philox(*_words(0), (_words(0)[0], _words(0)[0]))
    known = "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"
    assert " ".join(f"{int(word[0]):x}" for word in words) == known


def test_golden_numbers_stay() -> None:
    """Golden numbers: a seed gives the same image in every version and language."""
    golden = {
        (0, 0): [1.3643420934677124, -1.7368866205215454, -0.583238422870636, 0.022785961627960205],
        (0, 1): [0.682744026184082, -0.7205168008804321, 1.198094129562378, -2.0352065563201904],
        (3, 5): [1.5749610662460327, -0.5698168873786926, -0.535033643245697, 0.9809076189994812,
                 -1.0822490453720093, 1.9143444299697876],
        (2**64 - 1, 2**64 - 1): [-1.3077281713485718, 0.9592908024787903],
    }  # fmt: skip
    for (seed, index), values in golden.items():
        np.testing.assert_array_max_ulp(
            latents([index], seed, len(values))[0], np.array(values, np.float32), 1
        )


def test_the_first_draw_is_numpys() -> None:
    generator = np.random.Generator(np.random.Philox(key=np.array([3, 5], np.uint64)))
    expected = generator.standard_normal(7, np.float32)
    np.testing.assert_array_equal(latents([5], 3, 7, draw=1)[0], expected)


@pytest.mark.parametrize("draw", [1, LATENT_DRAW])
def test_other_seeds_and_indices_are_independent_standard_normals(draw: int) -> None:
    seeds = (0, 1, 2**63, 2**64 - 1)
    z = np.concatenate([latents(range(500), seed, 20, draw) for seed in seeds])
    assert len({row.tobytes() for row in z}) == 2000
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1, abs=0.02)
    assert (z**4).mean() == pytest.approx(3, abs=0.2)  # as normal numbers have it
    assert np.abs(np.corrcoef(z.T) - np.eye(20)).max() < 0.1


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(SettingError, match=str(seed)):
        latents([0], seed, 3)


def _words(*values: int) -> list[np.ndarray]:
    return [np.array([value], np.uint64) for value in values]
