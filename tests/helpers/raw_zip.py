"""Zips whose names are bytes, as old Windows packs them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path


def raw_zip(path: Path, content: Mapping[bytes, bytes], flags: int = 0) -> Path:
    """Write files, not compressed, under names that are not marked as UTF-8."""
    body, directory = b"", b""
    for name, data in content.items():
        fields = struct.pack(
            "<HHHHHIIIHH", 20, flags, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(name), 0
        )
        tail = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields + tail + name
        body += b"PK\x03\x04" + fields + name + data
    end = struct.pack("<HHHHIIH", 0, 0, len(content), len(content), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path
