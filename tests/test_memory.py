"""What would not fit into memory is refused before any of it is allocated."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from ganvas import launch
from ganvas.errors import SettingError
from ganvas.measure import peak_rss_mb


@pytest.mark.parametrize("settings", [{"z_dim": 2**31 - 1}, {"g_widths": [10**6, 10**6]}])
def test_networks_larger_than_memory(settings: dict[str, object]) -> None:
    before = peak_rss_mb()
    with pytest.raises(SettingError, match=r"parameters need .* GB to train, this machine has .* of memory"):
        launch.train("mlp/relu", settings=settings, images=16, threads=1, quiet=True)
    assert peak_rss_mb() - before < 1000


def test_a_batch_larger_than_memory() -> None:
    with pytest.raises(SettingError, match=r"train\.batch=2000000000 .* would take 6,272 GB of 28x28 grey"):
        launch.train("mlp/relu", settings={"batch": 2_000_000_000}, images=16, threads=1, quiet=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_a_steps_memory_is_kept_for_the_next_one() -> None:
    """Fresh pages from the system cost a tenth of a small convolutional step."""
    script = """
import resource, torch
from ganvas.measure import prepare_cpu
prepare_cpu()
def step(): return [torch.ones(n * 100_000) for n in range(1, 20)]  # up to 7.6 MB each
for _ in range(5): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert float(said) < 100  # pages a step, of 18,500 that it writes to
