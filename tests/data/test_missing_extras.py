"""Formats that need a library of an extra: one line names the extra where it is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ganvas.data import load_dataset
from ganvas.errors import DataError, MissingExtraError


@pytest.mark.parametrize(
    ("module", "file", "extra"),
    [
        ("py7zr", "a.7z", "archives"),
        ("scipy.io", "a.mat", "matlab"),
        ("h5py", "a.h5", "hdf5"),
        ("pyarrow", "a.parquet", "hub"),
    ],
)
def test_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, file: str, extra: str
) -> None:
    savemat(tmp_path / file, {"images": np.zeros((2, 8, 8))}, appendmat=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{file} needs .*pip install 'ganvas\[{extra}\]'"):
        load_dataset(tmp_path / file)


def test_a_folder_of_scans_says_what_to_do(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(b"DICM")
    words = r"holds no pictures, but a\.dcm, b\.dcm: convert it to a folder of PNG files"
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path)
