"""Where networks run: the devices that are there."""

from __future__ import annotations

import torch

from ganvas.errors import SettingError


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
