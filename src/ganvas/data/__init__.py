"""Data sets as uint8 tensors with optional labels.

`load_dataset` reads a data set by name or path, `count_dataset` tells what is in it.
"""

from ganvas.data.catalogue import MIRRORED, NAMES
from ganvas.data.dataset import Dataset
from ganvas.data.inspect import Inspection, count_dataset
from ganvas.data.load import load_dataset

__all__ = ["MIRRORED", "NAMES", "Dataset", "Inspection", "count_dataset", "load_dataset"]
