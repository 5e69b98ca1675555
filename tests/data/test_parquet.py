"""Parquet files and saved data sets of Hugging Face."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganvas.data import count_dataset, load_dataset
from ganvas.errors import DataError
from helpers.sets import read_classes, zipped

NAMES = ["cat", "dog", "emu"]
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": NAMES, "_type": "ClassLabel"},
}


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "PNG")
    return file.getvalue()


def table(
    values: Sequence[int],
    labels: Sequence[Any] | None,
    *,
    features: dict[str, Any] | None = None,
    image: str = "image",
    label: str = "label",
    **more: Sequence[Any],
) -> pa.Table:
    columns: dict[str, Any] = {image: [{"bytes": png(v), "path": f"{v}.png"} for v in values]}
    if labels is not None:
        columns[label] = labels
    made = pa.table(columns | more)
    if features is None:
        return made
    return made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def parquet(path: Path, *arguments: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(*arguments, **options), path)
    return path


def saved(folder: Path, values: Sequence[int], labels: Sequence[int], shards: int = 1) -> Path:
    """A folder as `save_to_disk` writes it."""
    folder.mkdir(parents=True)
    files = [f"data-{i:05}-of-{shards:05}.arrow" for i in range(shards)]
    for i, file in enumerate(files):
        part = table(values[i::shards], labels[i::shards])
        with (
            pa.OSFile(str(folder / file), "wb") as sink,
            pa.ipc.new_stream(sink, part.schema) as writer,
        ):
            writer.write_table(part)
    state = {"_data_files": [{"filename": file} for file in files], "_split": folder.name}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return folder


def test_one_file_with_names_of_classes(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", [0, 1, 2], [2, 0, 2], features=FEATURES)
    assert read_classes(source) == ([0, 1, 2], ["emu", "cat", "emu"])
    assert load_dataset(source).classes == ("cat", "dog", "emu")
    assert load_dataset(source).notes == ()


def test_files_of_two_parts(tmp_path: Path) -> None:
    data = tmp_path / "set" / "data"
    parquet(data / "train-00000-of-00002.parquet", [0, 1], [0, 1], features=FEATURES)
    parquet(data / "train-00001-of-00002.parquet", [2], [2], features=FEATURES)
    parquet(data / "validation-00000-of-00001.parquet", [3, 4], [1, 1], features=FEATURES)
    (tmp_path / "set" / "README.md").write_text("about")
    for source in (tmp_path / "set", zipped(tmp_path / "set")):
        assert read_classes(source) == ([0, 1, 2], ["cat", "dog", "emu"])
        assert read_classes(source, "test") == ([3, 4], ["dog", "dog"])
        assert "data/validation-00000-of-00001.parquet is held out" in load_dataset(source).notes
    parquet(data / "test-00000-of-00001.parquet", [5], [-1], features=FEATURES)
    assert read_classes(tmp_path / "set", "test") == ([5], None)
    assert read_classes(tmp_path / "set") == ([0, 1, 2], ["cat", "dog", "emu"])


def test_other_names_of_columns(tmp_path: Path) -> None:
    source = parquet(
        tmp_path / "a.parquet", [0, 1], [3, 5], image="img", label="fine_label", coarse_label=[1, 0]
    )
    assert read_classes(source) == ([0, 1], ["3", "5"])
    assert load_dataset(source).notes == (
        "classes are read from column fine_label",
        "columns not used: coarse_label",
    )
    assert load_dataset(source, label_column="coarse_label").classes == ("0", "1")
    with pytest.raises(DataError, match="--label-column coarse: did you mean coarse_label"):
        load_dataset(source, label_column="coarse")


def test_labels_that_are_words_and_pictures_that_are_bytes(tmp_path: Path) -> None:
    made = pa.table({"image": [png(0), png(1)], "class": ["dog", "cat"]})
    pq.write_table(made, tmp_path / "a.parquet")
    assert read_classes(tmp_path / "a.parquet") == ([0, 1], ["dog", "cat"])


@pytest.mark.parametrize("shards", [1, 2])
def test_a_saved_data_set(tmp_path: Path, shards: int) -> None:
    source = saved(tmp_path / "set", [0, 1, 2, 3], [0, 1, 2, 1], shards)
    values, labels = read_classes(source)
    assert labels is not None
    assert dict(zip(values, labels, strict=True)) == {0: "cat", 1: "dog", 2: "emu", 3: "dog"}


def test_a_saved_dictionary_of_data_sets(tmp_path: Path) -> None:
    saved(tmp_path / "train", [0, 1], [0, 2])
    saved(tmp_path / "test", [2], [1])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert read_classes(tmp_path) == ([0, 1], ["cat", "emu"])
    assert read_classes(tmp_path, "test") == ([2], ["dog"])


def test_several_sets_of_one_folder_are_not_mixed(tmp_path: Path) -> None:
    parquet(tmp_path / "plain" / "train-0.parquet", [0], [0])
    parquet(tmp_path / "other" / "train-0.parquet", [1], [0])
    with pytest.raises(DataError, match=r"holds several sets \(other, plain\): give the folder"):
        load_dataset(tmp_path)
    assert read_classes(Path(f"{tmp_path}:plain")) == ([0], ["0"])


def test_pictures_kept_elsewhere_are_unreadable(tmp_path: Path) -> None:
    images = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": png(1), "path": None}]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    ((name, reason),) = count_dataset(tmp_path / "a.parquet").unreadable_files
    assert (name, reason) == ("0", "it names a file and holds no picture")


def test_a_state_that_names_files_outside_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "set", [0, 1], [0, 1])
    (tmp_path / "secret.arrow").write_bytes((source / "data-00000-of-00001.arrow").read_bytes())
    (source / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    with pytest.raises(DataError, match=r"lacks \.\./secret\.arrow, which state\.json names"):
        load_dataset(source)
    (source / "state.json").write_text('{"_indices_data_files": [{"filename": "x"}]}')
    with pytest.raises(DataError, match="has indices: save it again after flatten_indices"):
        load_dataset(source)


def test_tables_without_pictures_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "a.parquet")
    words = "has no one column of pictures: it has text string, label int64"
    with pytest.raises(DataError, match=words):
        load_dataset(tmp_path / "a.parquet")


def test_parquet_bombs_are_refused(tmp_path: Path) -> None:
    made = pa.table({"image": [bytes(2**20) for _ in range(40)]})
    pq.write_table(made, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="expands more than 250-fold"):
        load_dataset(tmp_path / "a.parquet")


@pytest.mark.parametrize("cut", [0, 3, 20, 0.3, 0.6, 0.97])
def test_damaged_tables_are_one_line(tmp_path: Path, cut: float) -> None:
    folder = saved(tmp_path / "set", [0, 1], [0, 1])
    source = parquet(tmp_path / "a.parquet", list(range(30)), [0] * 30)
    for path in (folder / "data-00000-of-00001.arrow", source):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(cut * len(whole)) if 0 < cut < 1 else int(cut)])
    for what in (folder, source):
        with pytest.raises(DataError, match="is damaged or no parquet") as caught:
            load_dataset(what)
        assert "\n" not in str(caught.value)


def test_offsets_that_lead_outside_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    source = saved(tmp_path / "set", [0, 1], [0, 1])
    made = pa.record_batch({"image": [b"abcdefgh", b"ijklmnop"]})
    file = source / "data-00000-of-00001.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_batch(made)
    offsets, wild = struct.pack("<3i", 0, 8, 16), struct.pack("<3i", 0, 2**30, 2**31 - 1)
    assert file.read_bytes().count(offsets) == 1
    file.write_bytes(file.read_bytes().replace(offsets, wild))
    with pytest.raises(DataError, match=r"is damaged or no parquet \(.*offset"):
        load_dataset(source)


def test_garbage_in_metadata_is_passed_over(tmp_path: Path) -> None:
    for garbage in ("[", '{"info": 3}', '{"info": {"features": []}}', "[" * 100_000):
        made = table([0, 1], [1, 0]).replace_schema_metadata({"huggingface": garbage})
        pq.write_table(made, tmp_path / "a.parquet")
        assert read_classes(tmp_path / "a.parquet") == ([0, 1], ["1", "0"])
