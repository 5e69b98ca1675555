"""The mark that ganvas puts into its sheets and figures, so that they are never taken for data."""

from __future__ import annotations

SHEET_MARK = {"Software": "ganvas"}  # text of a PNG
GIF_COMMENT = b"Software: ganvas"

# Bytes at a file's start that hold the mark: after a PNG's header, or after a GIF's palette.
HEADS = {".png": 256, ".gif": 1024}


def is_marked(head: bytes) -> bool:
    """Return True if the first bytes of a PNG or GIF say that ganvas made it."""
    return b"tEXtSoftware\0ganvas" in head or GIF_COMMENT in head
