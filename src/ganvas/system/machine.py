"""CPU threads: how many this process may use, and as many as wanted for a while. Results depend on the number to the bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ganvas.errors import SettingError


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch work on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(name: str) -> str:
    """ "auto", "cpu", "cuda" or "mps" as a device that is there. Raises SettingError."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if name not in available:
        raise SettingError(f"--device {name}: expected auto, cpu, cuda or mps")
    if not available[name]:
        raise SettingError(f"--device {name}: this machine (or its torch) has none; use --device auto")
    return name
