"""Whatever a user can get wrong: one line on stderr, exit code 2, no traceback, nothing half-written or lost."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import files, inspecting, launch, training
from ganvas.errors import GanvasError, RunError
from ganvas.run import Run
from ganvas.sample import open_generator

TRAIN = ("train", "cgan/tiny", "--images", "32", "--threads", "1")


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """An answer takes no time: a test that would go on for ever fails."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("a bad input was worked on for long"))
    signal.setitimer(signal.ITIMER_REAL, 150, 1)  # again each second, should a callback of C++ swallow it
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def png(width: int = 8, height: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is much larger."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def idx(magic: int, *shape: int, content: int | None = None) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + b"\0" * (
        int(np.prod(shape)) if content is None else content
    )


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


IMAGES = np.zeros((4, 8, 8, 1), np.uint8)

# what --data names, the files to make, and a word of the answer
BAD_DATA: dict[str, tuple[str, dict[str, bytes], str]] = {
    "missing folder": ("nowhere/", {}, "nowhere"),
    "missing name": ("mnits-5k", {}, "did you mean mnist-5k?"),
    "empty folder": ("d", {"d/.keep": b""}, "d"),
    "a text file": ("d.txt", {"d.txt": b"hello"}, "d.txt"),
    "text called png": ("d", {"d/a/1.png": b"hello", "d/b/2.png": b"hello"}, "png"),
    "truncated png": ("d", {"d/a/1.png": png()[:-30], "d/b/2.png": png()[:40]}, "png"),
    "png bomb": ("d", {"d/a/1.png": bomb(12_000, 12_000), "d/b/2.png": bomb(12_000, 12_000)}, "png"),
    "idx with wrong magic": ("d", {"d/train-images-idx3-ubyte": idx(0x0802, 2, 8, 8)}, "idx3"),
    "idx too short": ("d", {"d/train-images-idx3-ubyte": idx(0x0803, 2, 8, 8, content=100)}, "idx3"),
    "idx said to be huge": ("d", {"d/train-images-idx3-ubyte": idx(0x0803, 2**31, 2**15, 2**15, content=100)}, "idx3"),
    "npz of objects": ("d.npz", {"d.npz": npz(images=np.array([{}, None], object))}, "d.npz"),
    "npz without images": ("d.npz", {"d.npz": npz(a=IMAGES)}, "images"),
    "npz of floats": ("d.npz", {"d.npz": npz(images=IMAGES.astype(float))}, "d.npz"),
    "npz with too few labels": ("d.npz", {"d.npz": npz(images=IMAGES, labels=np.zeros(3, np.int64))}, "d.npz"),
    "damaged npz": ("d.npz", {"d.npz": npz(images=IMAGES)[:200]}, "d.npz"),
    "zip with ../": ("d.zip", {"d.zip": zipped(**{"../evil.png": png(), "a.png": png()})}, "evil"),
    "zip with /": ("d.zip", {"d.zip": zipped(**{"/tmp/evil.png": png()})}, "evil"),
    "damaged zip": ("d.zip", {"d.zip": zipped(a=png())[:60]}, "d.zip"),
    "labels for other files": ("d", {"d/1.png": png(), "d/labels.csv": b"file,label\n2.png,a\n"}, "1.png"),
    "a file without label": (
        "d",
        {"d/1.png": png(), "d/2.png": png(), "d/labels.csv": b"file,label\n2.png,a\n"},
        "1.png",
    ),
    "labels of one column": ("d", {"d/1.png": png(), "d/labels.csv": b"1.png\n"}, "labels.csv"),
    "no labels for a conditional GAN": ("d", {"d/1.png": png(), "d/2.png": png()}, "needs labels"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]) -> None:
    what, contents, word = BAD_DATA[case]
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = tree(tmp_path)
    assert word in cli_run(*TRAIN, "--data", what).error
    assert word in cli_run(*TRAIN, "--data", what, "--out", "new").error
    assert tree(tmp_path) == before
    if case != "no labels for a conditional GAN":
        assert word in cli_run("data", "inspect", what).error
        assert word in cli_run("show", "cgan/tiny", "--data", what).error
        assert tree(tmp_path) == before


# options of train, and a word of the answer
BAD_OPTIONS: list[tuple[str, str]] = [
    ("cgan/tyni", "did you mean cgan/tiny?"),
    ("nonsense", "unknown recipe"),
    ("gone.py", "no GAN file"),
    ("cgan/tiny:x", "unknown recipe"),
    ("--set bacth=3", "did you mean batch?"),
    ("--set train.bacth=3", "did you mean train.batch?"),
    ("--set model.zdim=3", "did you mean model.z_dim?"),
    ("--set modle.z_dim=3", "did you mean model.z_dim?"),
    ("--data=", "--data"),
    ("--set lr", "path=value"),
    ("--set =3", "path=value"),
    ("--set batch=0", "batch"),
    ("--set batch=1.5", "batch"),
    ("--set batch=many", "batch"),
    ("--set batch=nan", "batch"),
    ("--set batch=99999999999999999999", "batch"),
    ("--set batch=100000000000", "batch"),
    ("--set batch=1", "batch"),  # BatchNorm needs two
    ("--set z_dim=100000000000", "z_dim"),
    ("--set g_widths=[100000000,100000000]", "parameters"),
    ("--set lr=nan", "lr"),
    ("--set lr=inf", "lr"),
    ("--set lr=-1", "lr"),
    ("--set train.lr.start=nan", "lr"),
    ("--set train.lr.strat=1", "start"),
    ("--set train.lr.shape=round", "lr"),
    ("--set betas=[0.5,1]", "betas"),
    ("--set betas=[nan,0.9]", "betas"),
    ("--set order=both", "order"),
    ("--set length=soon", "soon"),
    ("--set length=1e999", "length"),
    ("--set log=never", "never"),
    ("--set sheet='1 minutes'", "sheet"),
    ("--set sheet_name=../x", "sheet_name"),
    ("--set sheet_name={x}", "sheet_name"),
    ('--set sheet_name="a\\u0000b"', "sheet_name"),
    ("--set sheet_rows=100000", "sheet"),
    ("--images 0", "--images"),
    ("--images -5", "--images"),
    ("--images nan", "--images"),
    ("--images inf", "--images"),
    ("--images 1e30", "images"),
    ("--epochs 0", "--epochs"),
    ("--epochs -1", "--epochs"),
    ("--epochs 1e300", "epochs"),
    ("--minutes 0.0001", "--minutes"),
    ("--minutes 0", "--minutes"),
    ("--minutes 1e300", "minutes"),
    ("--images 5 --epochs 5", "--images and --epochs"),
    ("--images 5 --minutes 5", "--images and --minutes"),
    ("--seed -1", "--seed"),
    ("--seed 99999999999999999999", "--seed"),
    ("--seed 1.5", "--seed"),
    ("--threads 0", "--threads"),
    ("--threads -2", "--threads"),
    ("--threads 99999999999", "--threads"),
    ("--processes 3", "--processes 3"),
    ("--processes 0", "--processes"),
    ("--size -1", "--size"),
    ("--size 0", "--size"),
    ("--size 8x", "--size"),
    ("--size 8x-8", "--size"),
    ("--size 99999999x99999999", "size"),
    ("--channels 2", "--channels"),
    ("--fit squeeze", "--fit"),
    ("--device tpu", "--device"),
    ("--precision 8", "--precision"),
    ("--config gone.toml", "gone.toml"),
    ("--data-dir gone --data mnist-5k --out file.txt/run", "file.txt"),
    ("--out file.txt", "file.txt"),
    ("--out full", "full"),
    ("--out full --fresh", "full"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "word"), BAD_OPTIONS, ids=[options for options, _ in BAD_OPTIONS])
def test_bad_options(
    options: str, word: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
) -> None:
    (tmp_path / "file.txt").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    before = tree(tmp_path)
    words = options.replace("'1 minutes'", "1_minutes").split()
    recipe = () if not options.startswith("--") else ("cgan/tiny",)
    assert word in cli_run("train", *recipe, *[w.replace("_minutes", " minutes") for w in words]).error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("word", ["--threads", "--seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_bad_bench_options(word: str, value: str, cli_run: Callable[..., Any]) -> None:
    assert word in cli_run("bench", "mlp/tiny", word, value).error


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("images = 0", "images"),
        ("images = 'x'", "images"),
        ("images = nan", "images"),
        ("seed = -1", "seed"),
        ("seed = 1.5", "seed"),
        ("imagse = 3", "images?"),
        ("out = 'x'", "unknown setting"),
        ("settings = {}", "settings"),
        ("images = 1\nepochs = 1", "--images and --epochs"),
        ("size = [8]", "size"),
        ("size = [8, -8]", "size"),
        ("[train]\nbacth = 3", "batch?"),
        ("[train]\nbatch = -3", "train.batch"),
        ("[model]\nz_dim = 'x'", "model.z_dim"),
        ("[modle]\nz_dim = 3", "modle"),
        ("model = 3", "model"),
        ("train = [1]", "train"),
        ("data = 3", "data"),
        ("[[[", "TOML"),
        ("\x00", "TOML"),
    ],
)
def test_bad_config(
    content: str, word: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
) -> None:
    (tmp_path / "my.toml").write_text(content)
    before = tree(tmp_path)
    assert word in cli_run("train", "cgan/tiny", "--config", "my.toml").error
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"[" * 50_000, b"\xff\xfe", b'{"format": 99}', b'{"format": "x"}', b"null"]
)
def test_bad_card_as_config(content: bytes, cli_run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "my.json").write_bytes(content)
    assert "my.json" in cli_run("train", "cgan/tiny", "--config", "my.json").error
    assert [entry.name for entry in tmp_path.iterdir()] == ["my.json"]


BAD_SAMPLES: list[tuple[str, str]] = [
    ("--n 0", "--n"),
    ("--n -1", "--n"),
    ("--n 1.5", "--n"),
    ("--n 99999999999", "--n"),
    ("--columns 0", "--columns"),
    ("--scale 0", "--scale"),
    ("--scale -1", "--scale"),
    ("--scale 1000000", "--scale"),
    ("--seed -1", "seed"),
    ("--seed 18446744073709551616", "seed"),
    ("--labels 12x", "no class 'x'"),
    ("--labels 1,12", "no class '12'"),
    ("--labels=", "--labels"),
    ("--labels 12 --n 3", "--n 3"),
    ("--device tpu", "--device"),
    ("--out x.jpg", ".jpg"),
    ("--out x.npy", ".npy"),
    ("--out x.npz --columns 3", "--columns 3"),
    ("--out x.zip --scale 2", "--scale 2"),
    ("--out x --scale 4", "--scale 4"),
    ("--out full", "not empty"),
    ("--out .", "not empty"),
    ("--out file.txt/x.png", "file.txt/x.png"),
    ("--out file", "file"),
    ("--out file/x.png", "file/x.png"),
    ("--gan full/mine", "--gan"),  # a built-in's networks need no file, and it is not silently passed over
]


@pytest.mark.parametrize(("options", "word"), BAD_SAMPLES, ids=[options for options, _ in BAD_SAMPLES])
def test_bad_samples(
    options: str, word: str, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
) -> None:
    for name in ("file.txt", "file", "full/mine", "result.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    assert word in cli_run("sample", tiny_run.path, *options.split()).error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("option", ["--fit pad", "--data-dir folder"])
@pytest.mark.parametrize("verb", ["show", "bench"])
def test_how_to_read_pictures_is_not_passed_over_where_there_are_none(
    verb: str, option: str, cli_run: Callable[..., Any]
) -> None:
    assert option in cli_run(verb, "mlp/tiny", *option.split()).error


@pytest.mark.parametrize("out", ["x.jpg", "x", "x.png.gif"])
def test_the_sheet_of_a_data_set_is_a_png(
    out: str, cli_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting.data, "inspect", lambda *_, **__: pytest.fail("pictures were read"))
    assert f"--out {out}: the sheet is a PNG" in cli_run("data", "inspect", "mnist-5k", "--out", out).error
    assert list(tmp_path.iterdir()) == []


class TestNoRun:
    @pytest.mark.parametrize("source", ["gone", "empty", "folder", "file.txt", "folder/recipe.json", "."])
    def test_what_is_no_run_is_not_sampled(
        self, source: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
    ) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "recipe.json").write_text("{}")
        (tmp_path / "file.txt").write_text("mine")
        before = tree(tmp_path)
        assert source in cli_run("sample", source).error
        assert tree(tmp_path) == before

    def test_a_safetensors_file_of_others(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        import safetensors.torch

        safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "g.safetensors")
        assert "no ganvas card" in cli_run("sample", "g.safetensors").error
        safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "g.safetensors", {"ganvas": "{}"})
        assert "g.safetensors" in cli_run("sample", "g.safetensors").error

    def test_weights_that_do_not_fit_their_card(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        import safetensors.torch

        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        for wrong in (
            {name: value for name, value in tensors.items() if name != "embedding.weight"},
            tensors | {"more": torch.zeros(1)},
            tensors | {"embedding.weight": torch.zeros(3, 3)},
        ):
            safetensors.torch.save_file(wrong, tmp_path / "g.safetensors", {"ganvas": tiny_run.card.to_json()})
            assert "does not fit its own card" in cli_run("sample", "g.safetensors").error

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("format", 2), ("gan", "nope"), ("gan", "../../x"), ("model.z_dim", -1), ("model.z_dim", 10**12),
            ("model.g_widths", "x"), ("model.more", 1), ("image.height", 0), ("image.channels", 2), ("image.classes", []),
            ("train.batch", 0), ("train.lr", "x"), ("seed", "x"), ("plan", None), ("data", 3),
        ],
    )  # fmt: skip
    def test_a_card_with_a_wrong_value(
        self, path: str, value: Any, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        import safetensors.torch

        card = json.loads(tiny_run.card.to_json())
        *branch, leaf = path.split(".")
        (card[branch[0]] if branch else card)[leaf] = value
        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        safetensors.torch.save_file(tensors, tmp_path / "g.safetensors", {"ganvas": json.dumps(card)})
        assert len(cli_run("sample", "g.safetensors").error) > 20
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "recipe.json").write_text(json.dumps(card))
        shutil.copy(tiny_run.path / "state.pt", tmp_path / "run")
        assert len(cli_run("train", "--out", "run").error) > 20

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("plan.batch", 0), ("plan.epoch", 0), ("plan.images", -5),
            ("plan.revisions", [[0, 0], [-5, 3]]), ("seed", -1), ("threads", 0), ("threads", -1), ("threads", 10**12),
            ("processes", 0), ("processes", -1), ("precision", "64"), ("device", "tpu"), ("device", ""),
            ("data.size", [0, 0]), ("data.size", [-3, 8]), ("data.channels", 2), ("data.fit", "x"),
        ],
    )  # fmt: skip
    def test_a_runs_card_with_an_impossible_value(
        self, path: str, value: Any, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:  # fmt: skip
        run = copy(half_run)
        card = json.loads(half_run.card.to_json())
        *branch, leaf = path.split(".")
        (card[branch[0]] if branch else card)[leaf] = value
        (run / "recipe.json").write_text(json.dumps(card))
        before = tree(run)
        assert len(cli_run("train", "--out", run).error) > 20
        assert tree(run) == before


def damaged(content: bytes, seed: int) -> bytes:
    """One of the ways in which a file goes bad: cut short, emptied, overwritten, or single bits turned over."""
    rng = random.Random(seed)
    kind = seed % 5
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind == 1:
        return rng.randbytes(rng.choice([0, 1, 100, len(content)]))
    changed = bytearray(content)
    for _ in range([1, 5, 100][kind - 2]):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    if kind == 2:  # in the beginning, where headers and names are
        changed = bytearray(content)
        changed[rng.randrange(min(len(changed), 2000))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


class TestDamage:
    """A file may be damaged in a way that cannot be seen. Then the command works; else it says so in one line."""

    @pytest.mark.parametrize("seed", range(30))
    def test_generator(self, seed: int, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        content = damaged(tiny_run.generator_file.read_bytes(), seed)
        (tmp_path / "g.safetensors").write_bytes(content)
        done = cli_run("sample", "g.safetensors", "--labels", "12")
        if done.code:
            assert "g.safetensors" in done.error or "generator" in done.error
            assert not (tmp_path / "result.png").exists()

    def test_a_single_bit_of_any_tensor_is_noticed(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any], tree: Callable[[Path], Any]
    ) -> None:
        path = copy(half_run)
        state, generator = (path / "state.pt").read_bytes(), (path / "generator.safetensors").read_bytes()
        with zipfile.ZipFile(path / "state.pt") as archive:
            contents = [archive.read(name) for name in archive.namelist() if "/data/" in name]
        assert len(contents) > 30
        for content in contents:
            place = state.index(content) + len(content) // 2
            (path / "state.pt").write_bytes(flipped(state, place))
            with pytest.raises(RunError, match=r"state\.pt is damaged"):
                Run.open(path).load_state()
        before = tree(path)
        assert "state.pt is damaged" in cli_run("train", "--out", path).error
        assert tree(path) == before
        (header,) = struct.unpack_from("<Q", generator)
        for entry in json.loads(generator[8 : 8 + header]).values():
            if "data_offsets" in entry:
                place = 8 + header + sum(entry["data_offsets"]) // 2
                (path / "generator.safetensors").write_bytes(flipped(generator, place))
                assert "generator.safetensors is damaged" in cli_run("sample", path).error

    def test_a_generator_without_a_checksum_is_opened(self, tiny_run: Run, tmp_path: Path) -> None:
        """As earlier versions wrote it."""
        import safetensors.torch

        card = json.loads(tiny_run.card.to_json())
        del card["weights_sha256"]
        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        safetensors.torch.save_file(tensors, tmp_path / "g.safetensors", {"ganvas": json.dumps(card)})
        images = open_generator(tmp_path / "g.safetensors")[0](range(3))
        assert torch.equal(images, tiny_run.sampler()(range(3)))

    @pytest.mark.parametrize("name", ["state.pt", "recipe.json", "log.jsonl"])
    @pytest.mark.parametrize("seed", range(20))
    def test_run(
        self, seed: int, name: str, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        tree: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(Run, "save_losses", lambda *_: None)  # slow, and not of interest here
        path = copy(half_run)
        (path / name).write_bytes(damaged((path / name).read_bytes(), seed))
        before = tree(path)
        command = ("train", "cgan/tiny", "--images", "320", "--seed", "7", "--threads", "1", "--out", path)
        done = cli_run(*command)
        if (
            done.code and "no longer finite" not in done.error
        ):  # a number may become infinite, a card another training's
            assert str(path) in done.error or name == "recipe.json"
            assert tree(path) == before

    @pytest.mark.parametrize("name", ["state.pt", "recipe.json", "log.jsonl"])
    def test_fresh_helps_as_the_message_says(
        self, name: str, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        path = copy(half_run)
        (path / name).write_bytes(b"\xff\xfe\n\n")
        message = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7", "--out", path).error
        assert name in message
        assert "--fresh" in message
        assert cli_run(*TRAIN, "--out", path, "--fresh").code == 0
        assert (tmp_path / "run.1" / name).read_bytes() == b"\xff\xfe\n\n"

    @pytest.mark.parametrize(
        "line",
        [
            '{"images": 16}',
            "{}",
            "[]",
            "3",
            '"x"',
            '{"images": "x"}',
            '{"images": null}',
            "\ufffd",
            "NaN",
            "[" * 20_000,
        ],
    )
    def test_log_lines_that_are_json_but_no_lines_of_ours(
        self,
        line: str,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        (path / "log.jsonl").write_text(line + "\n" + (path / "log.jsonl").read_text())
        before = tree(path)
        assert "log.jsonl" in cli_run("train", "--out", path).error
        assert tree(path) == before

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.clear(),
            lambda s: s.pop("learner"),
            lambda s: s.pop("record"),
            lambda s: s["learner"].pop("generator"),
            lambda s: s["learner"]["generator"].popitem(),
            lambda s: s["learner"]["d_optimizer"]["state"][0].update(exp_avg=torch.zeros(3)),
            lambda s: s["learner"]["d_optimizer"]["param_groups"].clear(),
            lambda s: s["record"].update(sheets=3),
            lambda s: s["record"].update(sums=torch.zeros(2)),
            lambda s: s.update(images_seen="x"),
            lambda s: s.update(images_seen=7),
            lambda s: s.update(images_seen=-16),
            lambda s: s.update(format=99),
        ],
    )
    def test_a_state_of_the_wrong_shape(
        self, change: Callable[[Any], Any], half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:  # fmt: skip
        path = copy(half_run)
        state = torch.load(path / "state.pt", weights_only=True)
        change(state)
        torch.save(state, path / "state.pt")
        before = tree(path)
        assert "state.pt" in cli_run("train", "--out", path).error
        assert tree(path) == before

    @pytest.mark.parametrize("name", ["recipe.json", "log.jsonl"])
    def test_a_file_that_may_not_be_read(
        self, name: str, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        path, opened = copy(half_run), io.open

        def refuse(file: Any, *more: Any, **options: Any) -> Any:
            if str(file) == str(path / name):
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(file, *more, **options)

        monkeypatch.setattr(io, "open", refuse)  # pathlib's
        assert cli_run("train", "--out", path).error == f"ganvas: cannot read {path / name}: Permission denied"

    def test_a_state_that_would_run_code(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(path / "ran"),)

        path = copy(half_run)
        torch.save({"format": 1, "images_seen": Evil()}, path / "state.pt")
        assert "state.pt is damaged" in cli_run("train", "--out", path).error
        assert not (path / "ran").exists()


class TestOtherRun:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--seed", "8"), ["seed=7, not 8"]),
            (("--images", "336"), ["train.length=320 images, not 336 images"]),
            (("--set", "batch=8", "lr=0.5"), ["train.batch=16, not 8", "train.lr=0.001, not 0.5"]),
            (("--set", "g_widths=[16,17]"), ["model.g_widths=[16, 16], not [16, 17]"]),
            (("--threads", "2"), ["threads=1, not 2"]),
            (("--size", "14"), ["data="]),
            (("--precision", "bf16"), ["precision=32, not bf16"]),
            (("mlp/tiny",), ["recipe=cgan/tiny, not mlp/tiny"]),
        ],
    )
    def test_changed_settings_are_named(
        self, options: tuple[str, ...], words: list[str], half_run: Run, copy: Callable[[Run], Path],
        cli_run: Callable[..., Any], tree: Callable[[Path], Any],
    ) -> None:  # fmt: skip
        path = copy(half_run)
        before = tree(path)
        defaults = {"--images": "320", "--seed": "7"}
        flat = [w for name, value in defaults.items() if name not in options for w in (name, value)]
        recipe = () if options[0] == "mlp/tiny" else ("cgan/tiny",)
        message = cli_run("train", *recipe, *options, *flat, "--out", path).error
        assert all(word in message for word in words), message
        assert "--fresh" in message
        assert tree(path) == before

    def test_changed_data_are_noticed(
        self,
        pictures: Path,
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
        tree: Callable[[Path], Any],
    ) -> None:
        stop_after(2)
        command = ("train", "cgan/tiny", "--data", pictures, "--images", "64", "--threads", "1", "--out", "run")
        assert cli_run(*command).code == 130
        before = tree(Path("run"))
        shutil.copy(pictures / "cat" / "01.png", pictures / "cat" / "00.png")
        for again in (command, ("train", "--out", "run")):
            assert "data=" in cli_run(*again).error
        assert tree(Path("run")) == before
        shutil.rmtree(pictures)
        assert "pictures" in cli_run("train", "--out", "run").error

    def test_two_trainings_in_one_directory(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any], tree: Callable[[Path], Any]
    ) -> None:
        path = copy(half_run)
        with Run.open(path).locked():
            before = tree(path)
            assert "another training is writing" in cli_run("train", "--out", path).error
            assert "another training is writing" in cli_run(*TRAIN, "--out", path, "--fresh").error
            assert tree(path) == before
        assert cli_run("train", "--out", path).code == 0

    def test_two_processes_in_one_directory(self, environment: dict[str, str], tmp_path: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "ganvas",
            "train",
            "cgan/tiny",
            "--epochs",
            "1000",
            "--threads",
            "1",
            "--out",
            "run",
        ]
        first = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            assert first.stderr is not None
            assert any(line.startswith("new run") for line in first.stderr)
            second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
            first.send_signal(signal.SIGINT)
            first.communicate(timeout=60)
        finally:
            first.kill()
        assert (first.returncode, second.returncode, second.stdout) == (130, 2, "")
        assert "Traceback" not in second.stderr
        assert "another training is writing" in second.stderr
        assert Run.open(tmp_path / "run").load_state() is not None


class TestNotFinite:
    def test_it_stops_with_one_line_and_keeps_the_last_good_state(
        self,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tiny_run: Run,
    ) -> None:
        path = copy(half_run)
        before = (path / "state.pt").read_bytes(), (path / "generator.safetensors").read_bytes()
        with monkeypatch.context() as patch:
            step = training.take_step

            def broken(learner: Any, batches: Any, seen: int) -> Any:
                if seen == 240:
                    with torch.no_grad():
                        learner.d_parameters[0].fill_(torch.nan)
                return step(learner, batches, seen)

            patch.setattr(training, "take_step", broken)
            patch.setattr(training, "SAVE_SECONDS", 1e9)
            message = cli_run("train", "--out", path).error
        assert "no longer finite" in message
        assert "lr=" in message
        assert ((path / "state.pt").read_bytes(), (path / "generator.safetensors").read_bytes()) == before
        assert cli_run("train", "--out", path).code == 0  # it was the test's doing: so it goes on
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()

    @pytest.mark.parametrize("stop", [False, True])
    def test_what_is_not_finite_is_never_saved(
        self, stop: bool, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch, stop_after: Callable[[int], None],
    ) -> None:  # fmt: skip
        """Not within an interval of the log, nor by Ctrl-C, nor when the weights are spoilt and no loss has shown it."""
        path = copy(half_run)
        step = training.take_step

        def broken(learner: Any, batches: Any, seen: int) -> Any:
            figures = step(learner, batches, seen)
            if seen == 144:
                with torch.no_grad():
                    learner.g_parameters[0].fill_(torch.inf)
            return figures

        monkeypatch.setattr(training, "take_step", broken)
        monkeypatch.setattr(training, "SAVE_SECONDS", 1e9 if stop else -1)
        if stop:
            stop_after(1)
        assert "finite" in cli_run("train", "--out", path).error
        for tensor in torch.load(path / "state.pt", weights_only=True)["learner"]["generator"].values():
            assert torch.isfinite(tensor).all()

    def test_an_absurd_learning_rate(self, cli_run: Callable[..., Any]) -> None:
        message = cli_run("train", "cgan/tiny", "--set", "lr=1e30", "--images", "3200", "--threads", "1").error
        assert "no longer finite" in message
        assert "ganvas:" in message


DISK = {errno.ENOSPC: "the disk is full", errno.EROFS: "read-only", errno.EACCES: "permission denied"}


class TestDisk:
    @pytest.mark.parametrize("number", DISK)
    @pytest.mark.parametrize("function", ["replace", "fsync"])
    def test_a_save_that_fails_leaves_the_state_before(
        self, number: int, function: str, half_run: Run, tiny_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch, tree: Callable[[Path], Any],
    ) -> None:  # fmt: skip
        path = copy(half_run)
        before = tree(path)

        def refuse(*_: Any) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(files.os, function, refuse)
            patch.setattr(training, "SAVE_SECONDS", -1)
            message = cli_run("train", "--out", path).error
        assert DISK[number] in message
        assert str(path) in message
        after = tree(path)
        for name in ("state.pt", "generator.safetensors", "recipe.json"):
            assert after[name] == before[name]
        assert [name for name in after if name.endswith(".tmp")] == []
        assert cli_run("train", "--out", path).code == 0
        assert (path / "state.pt").stat().st_size == (tiny_run.path / "state.pt").stat().st_size
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()
        assert [{**line, "seconds": 0} for line in Run.open(path).read_log()] == [
            {**line, "seconds": 0} for line in tiny_run.read_log()
        ]

    @pytest.mark.parametrize("place", ["state.pt", "generator.safetensors", "log.jsonl", "samples", "progress.png", "losses.png",
                                       "neighbours.png", "events.out"])  # fmt: skip
    def test_each_file_that_cannot_be_written(
        self, place: str, half_run: Run, tiny_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        path = copy(half_run)
        opened = io.open

        def refuse(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if place in str(file) and str(path) in str(file) and ("w" in mode or "a" in mode):
                raise OSError(errno.ENOSPC, "No space left on device")
            return opened(file, mode, *more, **options)

        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", refuse)
            patch.setattr(io, "open", refuse)  # TensorBoard's
            message = cli_run("train", "--out", path).error
        assert "cannot write" in message
        assert "the disk is full" in message
        assert Run.open(path).load_state() is not None
        assert cli_run("train", "--out", path).code == 0
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()

    @pytest.mark.parametrize("number", DISK)
    def test_a_run_that_cannot_be_made_leaves_nothing(
        self, number: int, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(number, os.strerror(number))

        for function in ("replace", "fsync", "mkdir"):
            with monkeypatch.context() as patch:
                patch.setattr(os, function, refuse)
                for out in ((), ("--out", "mine")):
                    assert DISK[number] in cli_run(*TRAIN, *out).error
            assert [str(found) for found in tmp_path.rglob("*") if found.name != "runs"] == [], function

    @pytest.mark.parametrize("limit", [0, 3_000, 60_000, 200_000])
    def test_a_limit_on_the_size_of_files(
        self, limit: int, half_run: Run, tiny_run: Run, copy: Callable[[Run], Path], ganvas_cli: Callable[..., Any],
        cli_run: Callable[..., Any], tree: Callable[[Path], Any],
    ) -> None:  # fmt: skip
        """As the system refuses it, in a process of its own: state.pt has 345 kB, the generator 59, the log 2."""
        path = copy(half_run)
        before = tree(path)
        limited = ganvas_cli(
            "train", "--out", path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        )
        assert "may not grow so large" in limited.error
        after = tree(path)
        assert after["state.pt"] == before["state.pt"]
        Run.open(path).sample(n=2)  # from the generator before, or a newer one where that could be written
        assert [name for name in after if name.endswith(".tmp")] == []
        assert cli_run("train", "--out", path).code == 0
        assert (path / "generator.safetensors").read_bytes() == tiny_run.generator_file.read_bytes()

    def test_other_commands(
        self, tiny_run: Run, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(os, "replace", refuse)
        for words in (("sample", tiny_run.path), ("sample", tiny_run.path, "--n", "3", "--out", "folder"),
                      ("data", "inspect", "mnist-5k", "--recipe", "cgan/tiny")):  # fmt: skip
            assert "read-only" in cli_run(*words).error
            assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_stands_in_the_way(
        self, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
    ) -> None:
        (tmp_path / "inspect.png").mkdir()
        (tmp_path / "inspect.png" / "mine").touch()
        before = tree(tmp_path)
        for out in ("inspect.png", ".", "..", "/"):
            assert "ganvas: " in cli_run("data", "inspect", "mnist-5k", "--recipe", "cgan/tiny", "--out", out).error
        assert tree(tmp_path) == before

    def test_fresh_in_the_folder_where_one_stands(
        self, half_run: Run, cli_run: Callable[..., Any], copy: Callable[[Run], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = copy(half_run)
        monkeypatch.chdir(path)
        done = cli_run(*TRAIN, "--out", ".", "--fresh")
        assert done.code == 2 or Run.open(path).finished
        assert "Traceback" not in done.err


def test_the_library_raises_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanvasError, match="did you mean cgan/tiny"):
        launch.train("cgan/tyni", quiet=True)
    with pytest.raises(GanvasError, match=r"did you mean train\.batch"):
        launch.train("cgan/tiny", settings={"train.bacth": 3}, quiet=True)
    with pytest.raises(GanvasError, match="device"):
        launch.train("cgan/tiny", device="tpu", images=16.0, threads=1, quiet=True)
    with pytest.raises(GanvasError, match="precision"):
        launch.train("cgan/tiny", precision="64", images=16.0, threads=1, quiet=True)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no run gone: "):
        Run.open("gone")
    with pytest.raises(RunError):
        Run.open(tmp_path)
    assert list(tmp_path.iterdir()) == []
