"""Images as one uint8 tensor with optional labels, from wherever they lie.

`load_dataset()` reads a name or a path (embedded digits, torchvision's sets, IDX, folders, zips, npz) into
a `Dataset`;
`count_dataset()` counts what is in it.
"""

from ganvas.data.catalogue import MIRRORED, NAMES
from ganvas.data.dataset import Dataset
from ganvas.data.inspect import Inspection, count_dataset
from ganvas.data.load import load_dataset, load_held_out
from ganvas.system.paths import cache_dir

__all__ = [
    "MIRRORED",
    "NAMES",
    "Dataset",
    "Inspection",
    "cache_dir",
    "count_dataset",
    "load_dataset",
    "load_held_out",
]
