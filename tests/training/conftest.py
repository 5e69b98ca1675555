"""Fixtures of tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganvas.evaluation import extractors
from ganvas.training import validation
from helpers.judged import Pooled


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Pooled:
    """Let evaluations take few images, and features that cost nothing."""
    pooled = Pooled()
    monkeypatch.setattr(extractors, "find_extractor", lambda *_, **__: pooled.extractor())
    monkeypatch.setattr(validation, "VALIDATION_IMAGES", 200)
    return pooled
