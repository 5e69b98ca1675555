"""The machine: CPU cores and threads, devices, memory. Results depend on the thread count."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from ganvas.errors import SettingError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's number of threads, and restore it at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(name: str) -> str:
    """Resolve "auto", "cpu", "cuda" or "mps". Raises SettingError if the device is missing."""
    mps = torch.backends.mps.is_available()
    available = {"cuda": torch.cuda.is_available(), "mps": mps, "cpu": True}
    if name == "auto":
        return next(device for device, here in available.items() if here)
    if name not in available:
        raise SettingError(f"--device {name}: expected auto, cpu, cuda or mps")
    if not available[name]:
        raise SettingError(f"--device {name}: this machine (or its torch) has none; use auto")
    return name


class OtherLoad:
    """Measures how busy other processes keep the cores of this one, from its making on."""

    def __init__(self) -> None:
        self.began = self._clocks()

    def cores(self) -> float:
        """Return the mean number of cores that others used."""
        (wall, busy, own), (wall0, busy0, own0) = self._clocks(), self.began
        return max(0.0, (busy - busy0) - (own - own0)) / max(wall - wall0, 1e-3)

    @staticmethod
    def _clocks() -> tuple[float, float, float]:
        """Seconds of the clock, of all work on the cores, and of this process's."""
        every = psutil.cpu_times(percpu=True)
        here = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(every))
        idle = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is in user, too
        busy = sum(
            seconds
            for i in here
            if i < len(every)
            for name, seconds in every[i]._asdict().items()
            if name not in idle
        )
        own = psutil.Process().cpu_times()
        return time.monotonic(), busy, own.user + own.system


def peak_rss_mb() -> float:
    """Peak memory of this process so far, in MB (10^6 bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if os.uname().sysname == "Darwin" else peak * 1024 / 1e6


def prepare_cpu() -> None:
    """Make training faster in this process. Call it before the first parallel work.

    Denormals are flushed to zero, in this thread and later ones: activations and moments of that
    size slow a CPU down many times. With glibc, freed memory is kept for the next step instead of
    returned: fresh pages cost a tenth of a small convolutional step.
    """
    torch.set_flush_denormal(True)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_TOP_PAD, 1 << 24)
