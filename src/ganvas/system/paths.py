"""Folders of downloads and caches, and ~ in paths."""

from __future__ import annotations

import os
from pathlib import Path

from ganvas.errors import SettingError


def expanded(path: str) -> str:
    """Expand ~ or ~NAME in a path. Raises SettingError if that home folder is unknown."""
    whole = os.path.expanduser(path)
    if path.startswith("~") and whole == path:
        home = path.split("/")[0]
        raise SettingError(f"{path}: no home folder {home} is known: write the whole path")
    return whole


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/ganvas`, or `~/.cache/ganvas` if that is unset or relative. Not created.

    Raises SettingError if the home folder is unknown too.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "ganvas"
    try:
        return Path(expanded("~/.cache")) / "ganvas"
    except SettingError:
        remedy = "set HOME, XDG_CACHE_HOME or --data-dir"
        raise SettingError(f"no home folder is known to keep data in: {remedy}") from None


def data_root(given: Path | None = None) -> Path:
    """The folder of named data sets: `given`, `$GANVAS_DATA` or `cache_dir()/data`. Not created."""
    chosen = given or os.environ.get("GANVAS_DATA")
    return Path(expanded(os.fspath(chosen))) if chosen else cache_dir() / "data"
