"""`ganvas env`: facts about this installation and machine, for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import psutil
import torch

from ganvas.system.machine import cores
from ganvas.system.paths import cache_dir
from ganvas.version import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "safetensors",
    "msgspec",
    "cyclopts",
    "rich",
    "Pillow",
    "mlxtend",
    "tensorboard",
)


def describe() -> dict[str, str | int | float]:
    """Return versions, processor, memory, devices and folders by their names."""
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "ganvas": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": cuda,
        "mps": str(torch.backends.mps.is_available()),
        "cache": str(cache_dir()),
        "GANVAS_DATA": os.environ.get("GANVAS_DATA", "not set"),
    }
