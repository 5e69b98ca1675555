"""Fixtures for tests of extractors."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganvas.evaluation import extractor_files


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and no data sets of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GANVAS_DATA", raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a few steps: what comes of them does not matter."""
    monkeypatch.setattr(extractor_files, "ENCODER_STEPS", 3)
    monkeypatch.setattr(extractor_files, "EPOCHS", 1)
    monkeypatch.setattr(extractor_files, "MIN_CLASSIFIER_STEPS", 3)
