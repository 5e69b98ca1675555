"""HDF5 files: usual names, parts, two files that belong together, and hostile ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 9, 8, 3), np.uint8)
IMAGES[0, 0, 0] = [255, 0, 1]
LABELS = np.array([0, 2, 1, 2, 0, 1], np.int64)


def h5(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=array, compression=None)
    return path


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
@pytest.mark.parametrize("names", [("images", "labels"), ("X", "y"), ("data__x", "data__y")])
def test_images_and_labels_by_usual_names(
    tmp_path: Path, suffix: str, names: tuple[str, str]
) -> None:
    source = h5(tmp_path / f"a{suffix}", **dict(zip(names, (IMAGES, LABELS), strict=True)))
    data = load_dataset(source)
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), IMAGES)
    assert data.labels is not None
    assert (data.labels.tolist(), data.classes) == (LABELS.tolist(), ("0", "1", "2"))


def test_groups_of_two_parts(tmp_path: Path) -> None:
    source = h5(
        tmp_path / "a.h5",
        train__images=IMAGES,
        train__labels=LABELS,
        test__images=IMAGES[:2],
        test__labels=LABELS[:2],
    )
    assert (len(load_dataset(source)), len(load_dataset(source, split="test"))) == (6, 2)


def test_names_of_classes_as_strings_of_any_length(tmp_path: Path) -> None:
    names = np.array([b"non-cat", b"cat", b"dog"])
    for stored in (names, names.astype(object)):
        source = h5(tmp_path / "a.h5", train_set_x=IMAGES, train_set_y=LABELS, list_classes=stored)
        assert load_dataset(source).classes == ("non-cat", "cat", "dog")


def test_pcam_has_images_and_labels_in_two_files(tmp_path: Path) -> None:
    name = "camelyonpatch_level_2_split"
    for part, n in (("train", 6), ("valid", 3), ("test", 2)):
        h5(tmp_path / f"{name}_{part}_x.h5", x=IMAGES[:n])
        h5(tmp_path / f"{name}_{part}_y.h5", y=(LABELS[:n] > 0).reshape(n, 1, 1, 1))
    data = load_dataset(tmp_path / f"{name}_train_x.h5")
    assert data.labels is not None
    assert data.labels.tolist() == (LABELS > 0).tolist()
    assert f"{name}_train_y.h5 beside it holds the labels" in data.notes
    assert (len(load_dataset(tmp_path)), len(load_dataset(tmp_path, split="test"))) == (6, 2)
    assert load_dataset(tmp_path, split="test").classes == ("0", "1")


def test_an_array_within_groups_is_chosen_by_path(tmp_path: Path) -> None:
    source = h5(tmp_path / "a.h5", g__left=IMAGES, g__right=IMAGES[:3], y=LABELS)
    with pytest.raises(DataError, match=r"g/left \(6, 9, 8, 3\) uint8, g/right .*:g/left"):
        load_dataset(source)
    assert len(load_dataset(f"{source}:g/right")) == 3
    assert load_dataset(f"{source}:g/left").classes == ("0", "1", "2")


def linked(path: Path) -> Path:
    h5(path / "secret.h5", images=IMAGES)
    with h5py.File(path / "a.h5", "w") as file:
        file["images"] = h5py.ExternalLink("secret.h5", "images")
        file["soft"] = h5py.SoftLink("/nowhere")
    return path / "a.h5"


def virtual(path: Path) -> Path:
    h5(path / "secret.h5", images=IMAGES)
    layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
    layout[:] = h5py.VirtualSource(path / "secret.h5", "images", IMAGES.shape)
    with h5py.File(path / "a.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    return path / "a.h5"


def external(path: Path) -> Path:
    (path / "raw.bin").write_bytes(IMAGES.tobytes())
    with h5py.File(path / "a.h5", "w") as file:
        size = IMAGES.nbytes
        file.create_dataset(
            "images", IMAGES.shape, np.uint8, external=[(str(path / "raw.bin"), 0, size)]
        )
    return path / "a.h5"


def references(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file["x"] = [1, 2]
        file.create_dataset("images", data=[[[file["x"].ref]]], dtype=h5py.ref_dtype)
    return path / "a.h5"


def claim(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("images", (10**6, 1000, 1000), np.uint8, chunks=(1, 1000, 1000))
    return path / "a.h5"


def bomb(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        zeros = np.zeros((30, 1024, 1024), np.uint8)
        file.create_dataset("images", data=zeros, compression="gzip")
    return path / "a.h5"


HOSTILE = {
    linked: "holds nothing",
    virtual: "images lies in other files",
    external: "images lies in other files",
    references: "images holds object values",
    claim: "needs 1,000 GB|expands more than",
    bomb: "images expands more than 250-fold",
}


@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_files_are_one_line(tmp_path: Path, make: Any) -> None:
    with pytest.raises(DataError, match=HOSTILE[make]) as caught:
        load_dataset(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_groups_that_hold_themselves_are_read_once(tmp_path: Path) -> None:
    source = h5(tmp_path / "a.h5", g__images=IMAGES)
    with h5py.File(source, "r+") as file:
        for name in "abcdef":
            file["g"][name] = file["g"]
            file[name] = file["/"]
    assert len(load_dataset(source)) == 6


def test_groups_without_end_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("/".join("g" * 30))
    with pytest.raises(DataError, match="more than 8 groups within each other"):
        load_dataset(tmp_path / "a.h5")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.95])
def test_a_damaged_h5_is_one_line(tmp_path: Path, keep: float) -> None:
    source = h5(tmp_path / "a.h5", images=IMAGES, labels=LABELS)
    whole = source.read_bytes()
    source.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"a\.h5 is damaged or no HDF5 file") as caught:
        load_dataset(source)
    assert "\n" not in str(caught.value)
