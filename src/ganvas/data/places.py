"""Where ganvas keeps what it fetches."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/ganvas`, or `~/.cache/ganvas` where that is unset or not absolute. It is not created here."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "ganvas"


def data_root(given: Path | None = None) -> Path:
    """Where the named data sets lie: `given`, else `$GANVAS_DATA`, else `cache_dir()/data`. It is not created here."""
    chosen = given or os.environ.get("GANVAS_DATA")
    return Path(chosen).expanduser() if chosen else cache_dir() / "data"
