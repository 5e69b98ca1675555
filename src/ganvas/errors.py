"""What can go wrong through no fault of ours, as one tree.

    GanvasError           anything a person can put right; the command line prints it in one line
    and exits 2
    ├── DataError         pictures, labels, archives and data sets that cannot be read or do not fit
    ├── SettingError      an unknown or impossible recipe, setting, class or option value
    ├── RunError          a run directory or model file that is missing, damaged, in use or cannot
    be written
    ├── MetricError       samples that a figure would mean nothing for
    └── MissingExtraError an optional part of ganvas that is not installed

Every message is one line: what was got, what was expected, what to do. A bug of ours is not in this
tree and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "GanvasError",
    "MetricError",
    "MissingExtraError",
    "RunError",
    "SettingError",
    "nearest",
]


class GanvasError(Exception):
    """Base of everything that a user can cause and mend."""


class DataError(GanvasError):
    """Pictures, labels, archives and data sets that cannot be read or do not fit."""


class SettingError(GanvasError):
    """An unknown or impossible recipe, setting, class or option value."""


class RunError(GanvasError):
    """A run directory or model file that is missing, damaged, in use or cannot be written."""


class MetricError(GanvasError):
    """Samples that a figure would mean nothing for: too few, not finite, of another kind."""


class MissingExtraError(GanvasError):
    """An optional part of ganvas that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error line: the known name closest to `name`, or all (the first 100) when
    none is close."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:  # capitals or none: a difference that a person hardly sees
        lower = {each.lower(): each for each in known}
        close = [
            lower[each] for each in difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
        ]
    more = f" and {len(known) - 100:,} more" if len(known) > 100 else ""
    return (
        f"did you mean {close[0]}?" if close else f"choose one of: {', '.join(known[:100])}{more}"
    )
