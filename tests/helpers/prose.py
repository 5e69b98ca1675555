"""Phrases that no document, docstring, comment or message of ganvas contains."""

from __future__ import annotations

import re

BANNED = re.compile(r"so many|is said|is told|that are none", re.IGNORECASE)
