"""All that a user can cause and mend, as one tree of exceptions.

    GanvasError           base of all; the command line prints it in one line and exits 2
    ├── DataError         images, labels, archives or data sets that cannot be read or do not fit
    ├── SettingError      an unknown or impossible recipe, setting, class or option value
    ├── RunError          a run or model file that is missing, damaged, in use or not writable
    ├── MetricError       samples for which a metric means nothing
    └── MissingExtraError an optional dependency that is not installed

Every message is one line: what was given, what was expected, what to do. A bug of ganvas's own is
not in this tree and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GanvasError(Exception):
    """Base of all errors that a user can cause and mend."""


class DataError(GanvasError):
    """Images, labels, archives or data sets that cannot be read or do not fit."""


class SettingError(GanvasError):
    """An unknown or impossible recipe, setting, class or option value."""


class RunError(GanvasError):
    """A run directory or model file that is missing, damaged, in use or not writable."""


class MetricError(GanvasError):
    """Samples for which a metric means nothing: too few, not finite, of another kind."""


class MissingExtraError(GanvasError):
    """An optional dependency that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to end an error line with: the known name closest to `name`, or all known names (the
    first 100) if none is close."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close:  # perhaps only the case differs
        lower = {each.lower(): each for each in known}
        close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
        close = [lower[each] for each in close]
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(known) - 100:,} more" if len(known) > 100 else ""
    return f"choose one of: {', '.join(known[:100])}{more}"
