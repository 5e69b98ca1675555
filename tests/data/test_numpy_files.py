"""NumPy's .npz and .npy: which arrays are images and labels, and in which layout."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ganvas.data import load_dataset
from ganvas.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (6, 5, 4), np.uint8)
LABELS = np.array([0, 2, 1, 2, 0, 1], np.uint8)


def npz(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path / "a.npz", **arrays)  # type: ignore[arg-type]
    return path / "a.npz"


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 1), (6, 5, 4, 3), (6, 5, 4, 4)])
def test_npz_images_of_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = RNG.integers(0, 255, shape, np.uint8)
    data = load_dataset(npz(tmp_path, images=images))
    assert np.array_equal(data.images.numpy(), np.moveaxis(images.reshape(6, 5, 4, -1), 3, 1))
    assert (data.labels, data.notes) == (None, ())


def test_npz_labels_and_classes(tmp_path: Path) -> None:
    data = load_dataset(npz(tmp_path, images=IMAGES, labels=LABELS, classes=["cat", "dog", "emu"]))
    assert data.classes == ("cat", "dog", "emu")
    assert data.labels is not None
    assert data.labels.tolist() == LABELS.tolist()
    assert load_dataset(npz(tmp_path, images=IMAGES, labels=LABELS)).classes == ("0", "1", "2")


def test_npz_other_arrays_are_named(tmp_path: Path) -> None:
    assert load_dataset(npz(tmp_path, images=IMAGES, z=LABELS, w=LABELS)).notes == (
        "arrays not used: w, z",
    )


def test_an_npz_without_names(tmp_path: Path) -> None:
    """As np.savez(FILE, images, labels) and many samplers write it."""
    np.savez(tmp_path / "a.npz", IMAGES, LABELS)
    np.savez(tmp_path / "named.npz", images=IMAGES, labels=LABELS)
    named, unnamed = load_dataset(tmp_path / "named.npz"), load_dataset(tmp_path / "a.npz")
    assert unnamed.notes == ("arr_0 is read as images, arr_1 is read as labels",)
    assert (unnamed.fingerprint, unnamed.classes) == (named.fingerprint, named.classes)
    np.savez(tmp_path / "a.npz", IMAGES, LABELS / 2)
    assert load_dataset(tmp_path / "a.npz").labels is None
    assert load_dataset(tmp_path / "a.npz").notes == (
        "arr_0 is read as images",
        "arrays not used: arr_1",
    )


def test_npz_channels_follow_the_pixels(tmp_path: Path) -> None:
    grey = np.repeat(IMAGES[..., None], 4, axis=3)
    grey[..., 3] = 255
    data = load_dataset(npz(tmp_path, images=grey))
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    both = (
        "an alpha channel that is opaque everywhere and colour channels that are equal everywhere"
    )
    assert data.notes == (f"{both} left out: 1 channel",)
    grey[0, 0, 0, 3] = 254
    assert load_dataset(npz(tmp_path, images=grey)).channels == 4
    assert (
        load_dataset(npz(tmp_path, images=grey), channels=3).notes[0]
        == "1 transparent picture composited on white"
    )
    assert load_dataset(npz(tmp_path, images=IMAGES), channels=4).images[
        :, 3
    ].unique().tolist() == [255]


REFUSED = {
    "complex": ({"images": IMAGES * 1j}, "images are complex128, expected numbers"),
    "two channels": (
        {"images": np.zeros((6, 9, 9, 2), np.uint8)},
        r"images are \(6, 9, 9, 2\), expected \(N, H, W\) or \(N, H, W, C\)",
    ),
    "one picture": ({"images": np.zeros((64, 64, 3), np.uint8)}, r"one picture \(H, W, C\)"),
    "no square": ({"images": np.zeros((6, 700), np.uint8)}, "rows of 700 values are no square"),
    "no images": (
        {"q": LABELS},
        r"does not tell which array holds the images; it holds q \(6,\) uint8: name it, as .*:NAME",
    ),
    "two of a kind": (
        {"a": IMAGES, "b": IMAGES},
        r"it holds a \(6, 5, 4\) uint8, b \(6, 5, 4\) uint8: name it, as .*a\.npz:a",
    ),
    "none": ({"images": IMAGES[:0]}, "holds no images"),
    "label count": (
        {"images": IMAGES, "labels": LABELS[:5]},
        r"labels are uint8 \(5,\), expected 6 integers",
    ),
    "label floats": ({"images": IMAGES, "labels": LABELS / 2}, r"labels are float64 \(6,\)"),
    "too few classes": (
        {"images": IMAGES, "labels": LABELS, "classes": ["a", "b"]},
        "labels run from 0 to 2",
    ),
    "negative": ({"images": IMAGES, "labels": LABELS.astype(int) - 1}, "labels run from -1 to 1"),
    "wild labels": (
        {"images": IMAGES, "labels": LABELS.astype(int) * 10**9},
        "labels run up to 2,000,000,000",
    ),
    "classes alone": ({"images": IMAGES, "classes": ["a"]}, "holds classes and no labels"),
    "odd classes": (
        {"images": IMAGES, "labels": LABELS, "classes": [1, 2, 3]},
        "expected one string per class",
    ),
    "twice": ({"images": IMAGES, "labels": LABELS, "classes": ["a", "b", "a"]}, "more than once"),
    "objects": ({"images": np.array([IMAGES, None], object)}, "Object arrays cannot be loaded"),
    "object labels": (
        {"images": IMAGES, "labels": LABELS.astype(object)},
        "Object arrays cannot be loaded",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_npz_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    arrays, words = REFUSED[kind]
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(npz(tmp_path, **arrays))
    assert str(caught.value).count("\n") == 0
    assert "a.npz" in str(caught.value)


def test_npz_has_no_held_out_part(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.npz has no held-out part"):
        load_dataset(npz(tmp_path, images=IMAGES), split="test")


def test_damaged_npz(tmp_path: Path) -> None:
    path = npz(tmp_path, images=IMAGES)
    whole = path.read_bytes()
    for body in (b"", b"text", whole[:60], whole[:70] + b"xxxx" + whole[74:]):
        path.write_bytes(body)
        with pytest.raises(DataError, match=r"a\.npz (is not a readable zip|cannot be read)"):
            load_dataset(path)


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    for name in ("images", "images.npy"):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr(name, b"no array")
        with pytest.raises(DataError, match=r"a\.npz cannot be read"):
            load_dataset(tmp_path / "a.npz")
    path = tmp_path / "a.npz"
    # large enough that its checksum is compared at its end
    np.savez(path, images=np.zeros((20, 30, 30), np.uint8))
    whole = path.read_bytes()
    assert whole.count(b"(20, 30, 30)") == 1
    for damaged in (b"(20, 30, 30 ", b"'20, 30, 30)", b"\n20, 30, 30)"):
        path.write_bytes(whole.replace(b"(20, 30, 30)", damaged))
        with pytest.raises(DataError, match=r"a\.npz cannot be read"):
            load_dataset(path)


def test_an_npz_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    head = io.BytesIO()
    shape = (10**6, 10**4, 10**3)
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", head.getvalue() + bytes(100))
    with pytest.raises(DataError, match=r"a\.npz cannot be read"):
        load_dataset(tmp_path / "a.npz")


def test_npz_bombs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images\.npy expands more than 250-fold"):
        load_dataset(npz(tmp_path, images=np.zeros((20, 1024, 1024), np.uint8)))


# Layouts


@pytest.mark.parametrize(
    "stored",
    [
        lambda images: images.transpose(0, 3, 1, 2),
        lambda images: np.asfortranarray(images),
        lambda images: images.astype(">u2"),
    ],
    ids=["channels first", "columns first", "big-endian"],
)
def test_other_layouts_of_the_same_images(tmp_path: Path, stored: object) -> None:
    images = RNG.integers(0, 256, (6, 9, 8, 3), np.uint8)
    images[0, 0, 0] = 255
    np.savez(tmp_path / "a.npz", images=stored(images))  # type: ignore[operator]
    data = load_dataset(tmp_path / "a.npz")
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), images)


def test_rows_of_values_become_squares(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (6, 28, 28), np.uint8)
    np.save(tmp_path / "a.npy", images.reshape(6, 784))
    data = load_dataset(tmp_path / "a.npy")
    assert np.array_equal(data.images[:, 0].numpy(), images)
    assert "a (6, 784) is read as grey images of 28x28" in data.notes
    np.save(tmp_path / "a.npy", images)
    assert np.array_equal(load_dataset(tmp_path / "a.npy").images[:, 0].numpy(), images)


def test_bits_and_fractions_find_their_range(tmp_path: Path) -> None:
    for images in (IMAGES > 100, (IMAGES > 100) / 1.0, (IMAGES > 100) * 2.0 - 1):
        np.savez(tmp_path / "a.npz", images=images)
        data = load_dataset(tmp_path / "a.npz")
        assert np.array_equal(data.images[:, 0].numpy(), (IMAGES > 100) * np.uint8(255))


# Parts, and names


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        (("x_train", "y_train", "x_test", "y_test"), True),
        (("X_train", "Y_train", "X_val", "Y_val"), True),
        (("train_images", "train_labels", "test_images", "test_labels"), True),
        (("train_data", "train_targets", "valid_data", "valid_targets"), True),
        (("XTrain", "YTrain", "XTest", "YTest"), True),
        (("trainX", "trainY", "testX", "testY"), True),
        (("xtrain", "ytrain", "xtest", "ytest"), True),
        (("Xtr", "Ytr", "Xte", "Yte"), True),
        (("X", "y", "unused", "also"), False),
        (("image", "label", "z", "w"), False),
    ],
)
def test_usual_names_of_parts(tmp_path: Path, names: tuple[str, ...], held_out: bool) -> None:
    values = IMAGES, LABELS[:, None], IMAGES[:2] + 1, LABELS[:2, None]
    source = npz(tmp_path, **dict(zip(names, values, strict=True)))
    data = load_dataset(source)
    assert np.array_equal(data.images[:, 0].numpy(), IMAGES)
    assert data.labels is not None
    assert (data.labels.tolist(), data.classes) == (LABELS.tolist(), ("0", "1", "2"))
    assert f"{names[0]} is read as images" in data.notes[0]
    if held_out:
        test = load_dataset(source, split="test")
        assert np.array_equal(test.images[:, 0].numpy(), IMAGES[:2] + 1)
        assert test.classes == data.classes
    else:
        with pytest.raises(DataError, match="has no held-out part: add arrays x_test and y_test"):
            load_dataset(source, split="test")


def test_medmnist_holds_out_test_and_names_the_rest(tmp_path: Path) -> None:
    arrays = {}
    for part, n in (("train", 6), ("val", 3), ("test", 2)):
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = IMAGES[:n], LABELS[:n, None]
    source = npz(tmp_path, **arrays)
    assert len(load_dataset(source, split="test")) == 2
    assert "arrays not used: val_images, val_labels" in load_dataset(source).notes


def test_held_out_images_may_lack_labels(tmp_path: Path) -> None:
    source = npz(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2])
    assert load_dataset(source).classes == ("0", "1", "2")
    assert load_dataset(source, split="test").labels is None


def test_an_array_is_chosen_by_name(tmp_path: Path) -> None:
    source = npz(tmp_path, faces=IMAGES, masks=IMAGES[:3], labels=LABELS)
    with pytest.raises(DataError, match=r"name it, as .*a\.npz:faces"):
        load_dataset(source)
    data = load_dataset(f"{source}:faces")
    assert (len(data), data.classes) == (6, ("0", "1", "2"))
    assert (len(load_dataset(f"{source}:masks")), load_dataset(f"{source}:masks").labels) == (
        3,
        None,
    )
    with pytest.raises(DataError, match=r"holds no array face: did you mean faces\?"):
        load_dataset(f"{source}:face")


def test_a_label_column_names_an_array(tmp_path: Path) -> None:
    source = npz(tmp_path, images=IMAGES, fine_labels=LABELS, coarse_labels=LABELS // 2)
    assert load_dataset(source).classes == ("0", "1", "2")
    assert load_dataset(source, label_column="coarse_labels").classes == ("0", "1")
    with pytest.raises(DataError, match="--label-column coarse: did you mean coarse_labels"):
        load_dataset(source, label_column="coarse")


# Files beside each other


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("x_train", "y_train"), ("data", "targets"), ("X", "y")],
)
def test_labels_beside_a_file_of_images(tmp_path: Path, images: str, labels: str) -> None:
    np.save(tmp_path / f"{images}.npy", IMAGES)
    np.save(tmp_path / f"{labels}.npy", LABELS)
    for source in (tmp_path / f"{images}.npy", tmp_path):
        data = load_dataset(source)
        assert data.labels is not None
        assert (data.labels.tolist(), len(data)) == (LABELS.tolist(), 6)
        assert (f"{labels}.npy beside it holds the labels" in data.notes) == (source != tmp_path)


def test_labels_of_another_part_are_not_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "x_train.npy", IMAGES)
    np.save(tmp_path / "y_test.npy", LABELS)
    assert load_dataset(tmp_path / "x_train.npy").labels is None


def test_a_folder_or_zip_of_arrays_has_both_parts(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, array in (("x_train", IMAGES), ("y_train", LABELS), ("x_test", IMAGES[:2])):
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "y_test.npy", LABELS[:2])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"deep/{file.name}")
    for source in (folder, tmp_path / "set.zip"):
        assert len(load_dataset(source)) == 6
        assert len(load_dataset(source, split="test")) == 2
        assert load_dataset(source).classes == load_dataset(source, split="test").classes


def test_npz_files_of_two_parts(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    np.savez(tmp_path / "test.npz", images=IMAGES[:2], labels=LABELS[:2])
    assert (len(load_dataset(tmp_path)), len(load_dataset(tmp_path, split="test"))) == (6, 2)


def test_quickdraw_has_a_class_for_each_file(tmp_path: Path) -> None:
    drawings = RNG.integers(0, 256, (5, 784), np.uint8)
    np.save(tmp_path / "full_numpy_bitmap_cat.npy", drawings[:3])
    np.save(tmp_path / "full_numpy_bitmap_hot dog.npy", drawings[3:])
    data = load_dataset(tmp_path)
    assert data.labels is not None
    assert (data.labels.tolist(), data.classes) == ([0, 0, 0, 1, 1], ("cat", "hot dog"))
    assert np.array_equal(data.images.reshape(5, 784).numpy(), drawings)
    assert "each of 2 files is a class: cat 3, hot dog 2" in data.notes


# Damage


@pytest.mark.parametrize("kind", ["objects", "claim", "cut", "text"])
def test_a_damaged_npy_is_one_line(tmp_path: Path, kind: str) -> None:
    file, path = io.BytesIO(), tmp_path / "a.npy"
    np.save(file, np.array([None, 1]) if kind == "objects" else IMAGES)
    whole = file.getvalue()
    path.write_bytes(
        {
            "objects": whole,
            "claim": whole.replace(b"(6, 5, 4)", b"(6, 5,99)"),
            "cut": whole[:-3],
            "text": b"no array",
        }[kind]
    )
    with pytest.raises(DataError, match=r"a\.npy(: a holds Python objects| cannot be read)"):
        load_dataset(path)
