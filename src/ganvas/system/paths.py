"""Where ganvas keeps what it fetches."""

from __future__ import annotations

import os
from pathlib import Path

from ganvas.errors import SettingError


def expanded(path: str) -> str:
    """A path with its ~ or ~NAME as the home folder it stands for. Raises SettingError where there
    is none."""
    whole = os.path.expanduser(path)
    if path.startswith("~") and whole == path:
        raise SettingError(
            f"{path}: no home folder {path.split('/')[0]} is known: write the whole path"
        )
    return whole


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/ganvas`, or `~/.cache/ganvas` where that is unset or not absolute. It is not
    created here.

    Raises SettingError where there is no home folder either.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "ganvas"
    try:
        return Path(expanded("~/.cache")) / "ganvas"
    except SettingError:
        raise SettingError(
            "no home folder is known to keep data in: set HOME, XDG_CACHE_HOME or --data-dir"
        ) from None


def data_root(given: Path | None = None) -> Path:
    """Where the named data sets lie: `given`, else `$GANVAS_DATA`, else `cache_dir()/data`. It is
    not created here."""
    chosen = given or os.environ.get("GANVAS_DATA")
    return Path(expanded(os.fspath(chosen))) if chosen else cache_dir() / "data"
