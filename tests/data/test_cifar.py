"""CIFAR's pickled batches: read as torchvision reads them, without unpickling."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas.data import load_dataset
from ganvas.data.formats import pickled
from ganvas.data.formats.pickled import plain_pickle
from ganvas.errors import DataError
from helpers.sets import zipped

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 256, (6, 3072), np.uint8)


def python_2(content: dict[str, Any]) -> bytes:
    """A batch as Python 2 pickled it: protocol 2, byte strings, NumPy's old module names."""

    def text(value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"M" + struct.pack("<H", value) if value > 255 else b"K" + bytes([value])

    def array(value: Any) -> bytes:
        dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"".join(number(n) for n in value.shape) + b"\x86"
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        made += text(b"b") + b"\x87R(K\x01" + shape + dtype + b"\x89"
        return made + text(value.tobytes()) + b"tb"

    def encoded(value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, list):
            return b"](" + b"".join(map(encoded, value)) + b"e"
        return number(value) if isinstance(value, int) else text(value.encode())

    items = b"".join(text(key.encode()) + encoded(value) for key, value in content.items())
    return b"\x80\x02}q\x01(" + items + b"u."


def cifar_10(folder: Path, pickled: Any = python_2) -> Path:
    folder.mkdir()
    names = ["airplane", "automobile", "bird"]
    for place, name in enumerate(("data_batch_2", "data_batch_1", "test_batch")):
        rows = ROWS[2 * place : 2 * place + 2]
        batch = {"batch_label": name, "labels": [place, 2], "data": rows, "filenames": ["a", "b"]}
        (folder / name).write_bytes(pickled(batch))
    meta = {"num_cases_per_batch": 2, "label_names": names, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickled(meta))
    (folder / "readme.html").write_text("about")
    return folder


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "python 2"])
@pytest.mark.parametrize("pack", ["folder", "zip", "tar.gz"])
def test_cifar_10_as_it_is_distributed(tmp_path: Path, protocol: Any, pack: str) -> None:
    dump = python_2 if protocol == "python 2" else lambda each: pickle.dumps(each, protocol)
    source = cifar_10(tmp_path / "cifar-10-batches-py", dump)
    if pack == "zip":
        source = zipped(source)
    elif pack == "tar.gz":
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
            tar.add(source, source.name)
        source = tmp_path / "cifar-10-python.tar.gz"
    train, test = load_dataset(source), load_dataset(source, split="test")
    in_order = np.concatenate([ROWS[2:4], ROWS[:2]])  # data_batch_1 comes first
    assert np.array_equal(train.images.reshape(4, 3072).numpy(), in_order)
    assert np.array_equal(test.images.reshape(2, 3072).numpy(), ROWS[4:])
    assert train.labels is not None
    assert train.labels.tolist() == [1, 2, 0, 2]
    assert train.classes == test.classes == ("airplane", "automobile", "bird")


def test_the_tests_own_python_2_is_what_pickle_reads() -> None:
    batch = {"labels": [1, 300], "data": ROWS[:2]}
    read = pickle.loads(python_2(batch), encoding="latin1")
    mine = plain_pickle(python_2(batch))
    assert read["labels"] == mine["labels"] == [1, 300]
    assert np.array_equal(read["data"], mine["data"])


def test_cifar_100_has_fine_and_coarse_classes(tmp_path: Path) -> None:
    for name in ("train", "test"):
        batch = {"data": ROWS[:3], "fine_labels": [0, 1, 2], "coarse_labels": [0, 1, 1]}
        (tmp_path / name).write_bytes(python_2(batch))
    meta = {"fine_label_names": ["apple", "bee", "ant"], "coarse_label_names": ["fruit", "insect"]}
    (tmp_path / "meta").write_bytes(python_2(meta))
    data = load_dataset(tmp_path)
    assert data.classes == ("apple", "bee", "ant")
    assert "classes are read from fine_labels" in data.notes
    assert load_dataset(tmp_path, label_column="coarse_labels").classes == ("fruit", "insect")
    assert len(load_dataset(tmp_path, split="test")) == 3


def test_binary_versions(tmp_path: Path) -> None:
    ten, hundred = tmp_path / "cifar-10-batches-bin", tmp_path / "cifar-100-binary"
    ten.mkdir()
    hundred.mkdir()
    one = np.array([[0], [2], [1]], np.uint8)
    (ten / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    (hundred / "fine_label_names.txt").write_text("apple\nbee\nant\n")
    (hundred / "coarse_label_names.txt").write_text("fruit\ninsect\n")
    for folder, file, labels in (
        (ten, "data_batch_1.bin", one),
        (ten, "test_batch.bin", one),
        (hundred, "train.bin", np.hstack([one > 0, one])),
        (hundred, "test.bin", np.hstack([one > 0, one])),
    ):
        (folder / file).write_bytes(np.hstack([labels.astype(np.uint8), ROWS[:3]]).tobytes())
    data = load_dataset(ten)
    assert data.labels is not None
    assert np.array_equal(data.images.reshape(3, 3072).numpy(), ROWS[:3])
    assert (data.labels.tolist(), data.classes) == ([0, 2, 1], ("airplane", "automobile", "bird"))
    assert load_dataset(hundred, split="test").classes == ("apple", "bee", "ant")
    coarse = load_dataset(hundred, label_column="coarse_labels")
    assert coarse.labels is not None
    assert (coarse.labels.tolist(), coarse.classes) == ([0, 1, 1], ("fruit", "insect"))
    (ten / "data_batch_1.bin").write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match=r"data_batch_1\.bin is no plain batch of CIFAR"):
        load_dataset(ten)


class Attack:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def hostile() -> dict[str, bytes]:
    import os

    batch = pickle.dumps({"data": ROWS, "labels": [0] * 6}, 2)
    return {
        "a call": pickle.dumps({"data": Attack(os.system, "touch hacked"), "labels": []}),
        "print": pickle.dumps(Attack(print, "hacked")),
        "an instance": pickle.dumps({"data": io.BytesIO(b"x")}),
        "a set": pickle.dumps({1, 2}),
        "a persistent id": b"\x80\x02Phacked\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "a string evaluated": b"S'a'\n.",
        "an old call": b"(S'touch hacked'\nios\nsystem\n.",
        "no pickle": b"text",
        "nothing": b"",
        "cut": batch[: len(batch) // 2],
        "a claim": b"\x80\x02X\xff\xff\xff\x7fabc.",
        "another shape": batch.replace(b"K\x06M\x00\x0c", b"K\x07M\x00\x0c"),
        "objects": pickle.dumps({"data": np.array([None, {}]), "labels": [0, 0]}),
        "numbers alone": pickle.dumps({"data": [1, 2], "labels": [0, 0]}),
        "an empty stack": b"\x80\x02R.",
        "marks": b"\x80\x02" + b"(" * 100 + b".",
        "a state for nothing": b"\x80\x02}}b.",
    }


@pytest.mark.parametrize("kind", hostile())
def test_whatever_else_a_pickle_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "load", None)
    folder = cifar_10(tmp_path / "cifar")
    (folder / "data_batch_1").write_bytes(hostile()[kind])
    with pytest.raises(DataError, match="data_batch_1 is no plain batch of CIFAR") as caught:
        load_dataset(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "hacked").exists()


def test_more_instructions_than_any_batch_has_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pickled, "MAX_STEPS", 50)
    with pytest.raises(ValueError, match="more than 50 instructions"):
        plain_pickle(b"\x80\x02" + b"}" * 100 + b".")


def test_batches_of_other_rows_are_refused(tmp_path: Path) -> None:
    folder = cifar_10(tmp_path / "cifar")
    (folder / "data_batch_1").write_bytes(python_2({"data": ROWS[:2, :100], "labels": [0, 1]}))
    with pytest.raises(DataError, match=r"has batches of rows .*, expected \(N, 3072\)"):
        load_dataset(folder)
    (folder / "data_batch_1").write_bytes(python_2({"data": ROWS[:2], "labels": [0]}))
    with pytest.raises(DataError, match="a batch of 2 images with other labels"):
        load_dataset(folder)
