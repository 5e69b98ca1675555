"""CPU threads: how many this process may use, and as many as wanted for a while. Results depend on
the number to the bit."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from ganvas.errors import SettingError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


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
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if name not in available:
        raise SettingError(f"--device {name}: expected auto, cpu, cuda or mps")
    if not available[name]:
        raise SettingError(
            f"--device {name}: this machine (or its torch) has none; use --device auto"
        )
    return name


def peak_rss_mb() -> float:
    """The most memory that this process has held so far, in MB (10^6 bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if os.uname().sysname == "Darwin" else peak * 1024 / 1e6


def prepare_cpu() -> None:
    """Two settings of this process that training is faster with.

    Denormals count as zero: activations and moments of such size slow a CPU down many times. It
    holds for this thread and those started later, so it comes before the first parallel work. Freed
    memory is kept (with glibc) instead of given back: every step asks for the same again, and fresh
    pages cost a tenth of a small convolutional step.
    """
    torch.set_flush_denormal(True)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in (
            (M_MMAP_THRESHOLD, 1 << 25),
            (M_TRIM_THRESHOLD, (1 << 31) - 1),
            (M_TOP_PAD, 1 << 24),
        ):
            mallopt(option, value)
