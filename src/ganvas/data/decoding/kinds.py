"""Kinds of files that images come from, and which of them lose something of the pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# kinds whose pixels are not those that were stored
LOSSY = frozenset({"JPEG", "lossy WebP", "AVIF", "HEIC", "JPEG in TIFF"})
MIN_LOSSY = 1.0  # percent of the files that must be lossy to count


def describe_files(kinds: Iterable[str]) -> str:
    """The kinds of files with their shares, most frequent first: "PNG", "JPEG 92.0%, PNG 8.0%"."""
    counted = Counter(kinds)
    total = counted.total()
    if len(counted) < 2:
        return next(iter(counted), "array")
    return ", ".join(f"{kind} {number / total:.1%}" for kind, number in counted.most_common())


def lossy_kinds(files: str) -> str:
    """The lossy kinds among files as `describe_files` writes them; "" if none count."""
    kinds = []
    for part in files.split(", "):
        kind, _, share = part.rpartition(" ") if part.endswith("%") else (part, "", "100%")
        if kind in LOSSY and float(share.rstrip("%")) >= MIN_LOSSY:
            kinds.append(kind)
    return " and ".join(sorted(kinds))
