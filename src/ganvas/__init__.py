"""ganvas: train, judge and sample generative adversarial networks on your own images.

import ganvas
run = ganvas.train("r3gan/digits", minutes=4)
run.sample(labels="20231223").save("result.png")

run = ganvas.Run.open("runs/0001-r3gan-digits-mnist-5k")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ganvas.version import __version__

if TYPE_CHECKING:
    from ganvas.evaluation.evaluate import evaluate
    from ganvas.evaluation.extractors import Extractor
    from ganvas.launch.launch import train
    from ganvas.runs.run import Run
    from ganvas.sampling.walks import Walk
    from ganvas.views.inspect_data import inspect_data

__all__ = ["Extractor", "Run", "Walk", "__version__", "evaluate", "inspect_data", "train"]

# Imported at first use: `import ganvas` must not import torch, so that `ganvas --help` is instant.
_MODULES = {
    "Extractor": "ganvas.evaluation.extractors",
    "Run": "ganvas.runs.run",
    "Walk": "ganvas.sampling.walks",
    "evaluate": "ganvas.evaluation.evaluate",
    "inspect_data": "ganvas.views.inspect_data",
    "train": "ganvas.launch.launch",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ganvas' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)
