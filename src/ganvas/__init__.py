"""ganvas: train, judge and sample generative adversarial networks on your own images.

import ganvas
run = ganvas.train("r3gan/digits", minutes=4)
run.sample(labels="20231223").save("result.png")

run = ganvas.Run.open("runs/0001-r3gan-digits-mnist-5k")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganvas.version import __version__

if TYPE_CHECKING:
    from ganvas.evaluation.evaluate import evaluate
    from ganvas.evaluation.extractors import Extractor
    from ganvas.launch.launch import train
    from ganvas.runs.run import Run

__all__ = ["Extractor", "Run", "__version__", "evaluate", "train"]


def __getattr__(name: str) -> Any:
    # `import ganvas` must not import torch: `ganvas --help` is to be instant.
    if name == "train":
        from ganvas.launch.launch import train

        return train
    if name == "evaluate":
        from ganvas.evaluation.evaluate import evaluate

        return evaluate
    if name == "Extractor":
        from ganvas.evaluation.extractors import Extractor

        return Extractor
    if name == "Run":
        from ganvas.runs.run import Run

        return Run
    raise AttributeError(f"module 'ganvas' has no attribute '{name}'")
