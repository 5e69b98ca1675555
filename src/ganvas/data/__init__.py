"""Data sets as uint8 tensors with optional labels.

`load_dataset` reads a data set by name or path, `count_dataset` tells what is in it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganvas.data.catalogue import MIRRORED, NAMES
    from ganvas.data.dataset import Dataset
    from ganvas.data.inspect import Inspection, count_dataset
    from ganvas.data.load import load_dataset

__all__ = ["MIRRORED", "NAMES", "Dataset", "Inspection", "count_dataset", "load_dataset"]

# Imported at first use: the options of commands must not import torch.
_MODULES = {
    "MIRRORED": "catalogue",
    "NAMES": "catalogue",
    "Dataset": "dataset",
    "Inspection": "inspect",
    "count_dataset": "inspect",
    "load_dataset": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ganvas.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ganvas.data.{_MODULES[name]}"), name)
