"""Images as one uint8 tensor with optional labels, from wherever they lie.

`load()` reads a name or a path (embedded digits, torchvision's sets, IDX, folders, zips, npz) into
a `Dataset`;
`inspect()` counts what is in it.
"""

from ganvas.data.catalogue import MIRRORED, NAMES
from ganvas.data.dataset import Dataset
from ganvas.data.inspect import Inspection, inspect
from ganvas.data.load import load, load_held_out
from ganvas.system.paths import cache_dir

__all__ = [
    "MIRRORED",
    "NAMES",
    "Dataset",
    "Inspection",
    "cache_dir",
    "inspect",
    "load",
    "load_held_out",
]
