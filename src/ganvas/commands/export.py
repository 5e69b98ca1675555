"""`ganvas export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganvas.commands.options import GanOption

if TYPE_CHECKING:
    from ganvas.export.export import Exported


def export(
    source: Path,
    /,
    *,
    to: Literal["onnx", "html", "torch-export", "safetensors"] = "onnx",
    out: Path | None = None,
    licence: str = "",
    gan: GanOption = None,
) -> None:
    """Write a trained generator to a file that other tools read.

    Parameters
    ----------
    source
        A run's directory, a generator.safetensors, or digits, a generator that comes with ganvas.
    to
        onnx, for onnxruntime in any language; html, a page that makes images in any browser;
        torch-export, for torch without ganvas; safetensors, the weights and their card.
    out
        The file. Default: the source's name with the format's ending.
    licence
        Licence of the weights, for the file's card, such as apache-2.0.
    """
    from ganvas.export.export import export as write

    exported: Exported = write(source, to, out, gan=gan, licence=licence)
    for note in exported.notes:
        print(f"note: {note}", file=sys.stderr)
    print(exported.path)
    if exported.difference is not None:
        print(f"largest difference from torch: {exported.difference} of 255")
