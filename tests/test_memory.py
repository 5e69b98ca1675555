"""What would not fit into memory is refused before any of it is allocated."""

from __future__ import annotations

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
