"""Sampler: which image belongs to a seed and an index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganvas.errors import SettingError
from ganvas.runs.run import Run
from ganvas.sampling import sampler as sampler_module
from ganvas.sampling.sampler import latents
from ganvas.sampling.samples import sample


class TestLatents:
    @given(
        st.integers(0, 2**64 - 1),
        st.lists(st.integers(0, 10**9), min_size=1, max_size=9),
        st.integers(1, 40),
    )
    def test_each_depends_on_its_seed_and_index_alone(
        self, seed: int, indices: list[int], z_dim: int
    ) -> None:
        together = latents(indices, seed, z_dim)
        assert together.shape == (len(indices), z_dim)
        assert together.dtype == torch.float32
        for row, index in zip(together, indices, strict=True):
            assert torch.equal(row, latents([index], seed, z_dim)[0])

    def test_they_are_what_they_were(self) -> None:
        """Pinned bits: a seed gives the same image in every version."""
        expected = np.random.Generator(np.random.Philox(key=np.array([3, 5], np.uint64)))
        assert (
            latents([5], 3, 7).numpy().tobytes()
            == expected.standard_normal(7, np.float32).tobytes()
        )
        assert latents([0], 0, 3)[0].tolist() == pytest.approx(
            latents([0, 1], 0, 3)[0].tolist(), abs=0
        )

    def test_other_seeds_and_indices_are_independent_standard_normals(self) -> None:
        z = torch.cat([latents(range(500), seed, 20) for seed in (0, 1, 2**63, 2**64 - 1)])
        assert len({row.numpy().tobytes() for row in z}) == 2000
        assert z.mean().abs() < 0.02
        assert z.std().item() == pytest.approx(1, abs=0.02)
        assert np.abs(np.corrcoef(z.numpy().T) - np.eye(20)).max() < 0.1

    @pytest.mark.parametrize("seed", [-1, 2**64])
    def test_seeds_out_of_range(self, seed: int) -> None:
        with pytest.raises(SettingError, match=str(seed)):
            latents([0], seed, 3)


class TestKeyedImages:
    def test_image_k_of_a_seed_is_the_same_whatever_is_made_beside_it(
        self, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sampler = tiny_run.sampler()
        whole = sampler(range(150), seed=4).int()
        for chunk in (1, 7, 150):
            monkeypatch.setattr(sampler_module, "SAMPLING_CHUNK", chunk)
            assert (sampler(range(150), seed=4).int() - whole).abs().max() <= 1
        assert (sampler([149, 3, 64], seed=4).int() - whole[[149, 3, 64]]).abs().max() <= 1
        assert (sampler(range(20), seed=4).int() - whole[:20]).abs().max() <= 1
        assert not torch.equal(sampler(range(150), seed=5).int(), whole)

    def test_repetition_is_equal_to_the_bit(self, tiny_run: Run) -> None:
        torch.manual_seed(1)
        one = tiny_run.sample(n=30, seed=2).images
        torch.manual_seed(2)
        np.testing.assert_array_equal(one, tiny_run.sample(n=30, seed=2).images)

    def test_batch_statistics_do_not_enter_and_the_mode_is_left_as_it_was(
        self, tiny_run: Run
    ) -> None:
        sampler = tiny_run.sampler()
        for training in (True, False):
            sampler.gan.generator.train(training)
            before = {
                name: value.clone() for name, value in sampler.gan.generator.state_dict().items()
            }
            sampler(range(5))
            assert sampler.gan.generator.training is training
            after = sampler.gan.generator.state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)

    def test_without_labels_image_k_shows_class_k_modulo_the_classes(self, tiny_run: Run) -> None:
        sampler = tiny_run.sampler()
        indices = [3, 14, 9, 20]
        assert torch.equal(sampler(indices), sampler(indices, labels=[3, 4, 9, 0]))
        assert not torch.equal(sampler(indices), sampler(indices, labels=[4, 4, 4, 4]))

    def test_the_requested_class_reaches_the_generator(self, tiny_run: Run) -> None:
        sampler, wanted = tiny_run.sampler(), [2, 0, 2, 3]
        z = latents(range(4), 0, sampler.gan.z_dim)
        with torch.inference_mode():
            images = sampler.gan.generator.eval()(z, torch.tensor(wanted))
        expected = images.permute(0, 2, 3, 1).add(1).mul(127.5).round().clamp(0, 255).byte()
        assert np.array_equal(sample(sampler, labels="2023").images, expected.numpy())
