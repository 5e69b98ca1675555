"""Sampler: which image belongs to a seed and an index."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganvas.runs.run import Run
from ganvas.sampling import sampler as sampler_module
from ganvas.sampling.latents import latents
from ganvas.sampling.samples import sample


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
        z = torch.from_numpy(latents(range(4), 0, sampler.gan.z_dim))
        with torch.inference_mode():
            images = sampler.gan.generator.eval()(z, torch.tensor(wanted))
        expected = images.permute(0, 2, 3, 1).add(1).mul(127.5).round().clamp(0, 255).byte()
        assert np.array_equal(sample(sampler, labels="2023").images, expected.numpy())
