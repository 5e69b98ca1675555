"""Fixtures of the tests of data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.sets import zipped


@pytest.fixture(params=[lambda folder: folder, zipped], ids=["folder", "zip"])
def packed(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """A folder as it is, then zipped: what a test expects holds for both."""
    return request.param  # type: ignore[no-any-return]
