"""Whatever a user can get wrong: one line on stderr, exit code 2, no traceback, nothing
half-written or lost."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import data
from ganvas.errors import GanvasError, RunError
from ganvas.launch import launch
from ganvas.runs.run import Run
from ganvas.training.batches import Batches
from ganvas.training.learner import Learner
from ganvas.views import inspect_data
from helpers.common import MY_GAN, TRAIN

pytestmark = pytest.mark.usefixtures("bounded")


def png(width: int = 8, height: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is much larger."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
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
    "a name too long": ("x" * 300, {}, "File name too long"),
    "missing name": ("mnits-5k", {}, "did you mean mnist-5k?"),
    "empty folder": ("d", {"d/.keep": b""}, "d"),
    "a text file": ("d.txt", {"d.txt": b"hello"}, "d.txt"),
    "text called png": ("d", {"d/a/1.png": b"hello", "d/b/2.png": b"hello"}, "png"),
    "truncated png": ("d", {"d/a/1.png": png()[:-30], "d/b/2.png": png()[:40]}, "png"),
    "png bomb": (
        "d",
        {"d/a/1.png": bomb(12_000, 12_000), "d/b/2.png": bomb(12_000, 12_000)},
        "png",
    ),
    "idx with wrong magic": ("d", {"d/train-images-idx3-ubyte": idx(0x0802, 2, 8, 8)}, "idx3"),
    "idx too short": (
        "d",
        {"d/train-images-idx3-ubyte": idx(0x0803, 2, 8, 8, content=100)},
        "idx3",
    ),
    "idx said to be huge": (
        "d",
        {"d/train-images-idx3-ubyte": idx(0x0803, 2**31, 2**15, 2**15, content=100)},
        "idx3",
    ),
    "npz of objects": ("d.npz", {"d.npz": npz(images=np.array([{}, None], object))}, "d.npz"),
    "npz without images": ("d.npz", {"d.npz": npz(a=IMAGES)}, "images"),
    "npz of floats": ("d.npz", {"d.npz": npz(images=IMAGES.astype(float))}, "d.npz"),
    "npz with too few labels": (
        "d.npz",
        {"d.npz": npz(images=IMAGES, labels=np.zeros(3, np.int64))},
        "d.npz",
    ),
    "damaged npz": ("d.npz", {"d.npz": npz(images=IMAGES)[:200]}, "d.npz"),
    "zip with ../": ("d.zip", {"d.zip": zipped(**{"../evil.png": png(), "a.png": png()})}, "evil"),
    "zip with /": ("d.zip", {"d.zip": zipped(**{"/tmp/evil.png": png()})}, "evil"),
    "damaged zip": ("d.zip", {"d.zip": zipped(a=png())[:60]}, "d.zip"),
    "labels for other files": (
        "d",
        {"d/1.png": png(), "d/labels.csv": b"file,label\n2.png,a\n"},
        "1.png",
    ),
    "a file without label": (
        "d",
        {"d/1.png": png(), "d/2.png": png(), "d/labels.csv": b"file,label\n2.png,a\n"},
        "1.png",
    ),
    "labels of one column": ("d", {"d/1.png": png(), "d/labels.csv": b"1.png\n"}, "labels.csv"),
    "no labels for a conditional GAN": (
        "d",
        {"d/1.png": png(), "d/2.png": png()},
        (
            "needs labels and these images have none: give a folder per class or a labels.csv, "
            "or use an unconditional recipe such as r3gan/images"
        ),
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(
    case: str, cli_run: Callable[..., Any], tmp_path: Path, tree: Callable[[Path], Any]
) -> None:
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


def test_the_home_folder_is_read_as_any_other(
    cli_run: Callable[..., Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the shell leaves ~ as it is; and a folder of one's own is never trained with a
    recipe for digits."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
    (tmp_path / "my.toml").write_text(
        'data = "~/pictures"\nimages = 8\nthreads = 1\nprecision = "32"\n'
    )
    assert cli_run("train", "--data=~/pictures", "--config", "my.toml", "--out", "one").code == 0
    assert cli_run("train", "--config", "my.toml", "--out", "two").code == 0
    for card in (Run.open(tmp_path / name).card for name in ("one", "two")):
        assert (card.recipe, card.data.what, card.data.images) == (
            "r3gan/images",
            str(pictures),
            12,
        )
    for words in (
        "train --data=~nosuch/x",
        "train --from=~nosuch/x",
        "data inspect ~nosuch/x",
        "train cgan/tiny --data mnist --data-dir ~nosuch/x",
    ):
        assert "~nosuch/x: no home folder ~nosuch is known" in cli_run(*words.split()).error


def test_without_a_home_folder(
    cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    # as where the user's number has no name
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert "set HOME, XDG_CACHE_HOME" in cli_run(*TRAIN, "--data", "mnist").error
    assert cli_run("data", "inspect", "mnist-5k", "--recipe", "mlp/tiny").code == 0  # it needs none


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
    ("--set batch=1", "train.batch=1"),  # BatchNorm needs two
    ("--set g_batch=1", "train.g_batch=1"),
    # BatchNorm2d, too, where its layer is of one pixel
    ("dcgan/tiny --size 16 --set batch=1", "train.batch=1"),
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
    ("--set length=1e12minutes", "expected at most 527,040"),
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
    ("--minutes 5 --set length=1_epoch", "--minutes and the setting length both set the length"),
    (
        "--images 5 --set train.length=1_epoch",
        "--images and the setting length both set the length",
    ),
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
    ("--out " + "x" * 300, "x/recipe.json: File name too long"),
    ("--out full --fresh", "full"),
]


@pytest.mark.parametrize(
    ("options", "word"), BAD_OPTIONS, ids=[options for options, _ in BAD_OPTIONS]
)
def test_bad_options(
    options: str,
    word: str,
    cli_run: Callable[..., Any],
    tmp_path: Path,
    tree: Callable[[Path], Any],
) -> None:
    (tmp_path / "file.txt").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    before = tree(tmp_path)
    words = options.replace("'1 minutes'", "1_minutes").split()
    recipe = () if not options.startswith("--") else ("cgan/tiny",)
    assert (
        word
        in cli_run(
            "train", *recipe, *[re.sub("1_(minutes|epoch)", r"1 \1", w) for w in words]
        ).error
    )
    assert tree(tmp_path) == before


@pytest.mark.parametrize("word", ["--threads", "--seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_bad_bench_options(word: str, value: str, cli_run: Callable[..., Any]) -> None:
    assert word in cli_run("bench", "mlp/tiny", word, value).error


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("bench mlp/tiny --threads 4097", "--threads 4097: expected at most 4,096"),
        (
            "extractor mnist-5k --out x.safetensors --threads 4097",
            "--threads 4097: expected at most 4,096",
        ),
        ("bench dcgan/tiny --size 16 --set batch=1", "train.batch=1"),
        ("bench cgan/tiny --set batch=1000000000", "GB"),
        ("bench wrong.py", "expected (2, 1, 8, 8)"),
    ],
)
def test_other_verbs_refuse_what_train_does(
    words: str, word: str, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "wrong.py").write_text(MY_GAN.replace("view(-1, *self.shape)", "view(-1, 64)"))
    assert word in cli_run(*words.split()).error


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
        ("images = 1\n[train]\nlength = '1 epoch'", "--images and the setting length"),
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
    content: str,
    word: str,
    cli_run: Callable[..., Any],
    tmp_path: Path,
    tree: Callable[[Path], Any],
) -> None:
    (tmp_path / "my.toml").write_text(content)
    before = tree(tmp_path)
    assert word in cli_run("train", "cgan/tiny", "--config", "my.toml").error
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"[" * 50_000, b"\xff\xfe", b'{"format": 99}', b'{"format": "x"}', b"null"],
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
    # a built-in's networks need no file, and it is not silently passed over
    ("--gan full/mine", "--gan"),
]


@pytest.mark.parametrize(
    ("options", "word"), BAD_SAMPLES, ids=[options for options, _ in BAD_SAMPLES]
)
def test_bad_samples(
    options: str,
    word: str,
    tiny_run: Run,
    cli_run: Callable[..., Any],
    tmp_path: Path,
    tree: Callable[[Path], Any],
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
    monkeypatch.setattr(
        inspect_data.data, "inspect", lambda *_, **__: pytest.fail("pictures were read")
    )
    assert (
        f"--out {out}: the sheet is a PNG"
        in cli_run("data", "inspect", "mnist-5k", "--out", out).error
    )
    assert list(tmp_path.iterdir()) == []


def test_the_library_raises_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize(("recipe", "side"), [("r3gan/images", 16), ("r3gan/digits", 28)])
def test_five_pictures_are_trained_on_with_a_notice(
    recipe: str, side: int, cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "five").mkdir()
    for k in range(5):
        pixels = np.random.default_rng(k).integers(
            256, size=(side, side, 3 if side == 16 else 1), dtype=np.uint8
        )
        Image.fromarray(pixels.squeeze()).save(tmp_path / "five" / f"{k}.png")
    settings = ("--set", "width=4", "batch=8", "log='100 images'")
    options = (*settings, "--images", "3000", "--threads", "1", "--precision", "32", "--out", "run")
    done = cli_run("train", recipe, "--data", "five", "--size", side, *options)
    assert done.code == 0, done.err
    assert "as there are 5 images, fewer than 20,000; the probability climbs to 0.8" in done.err
    told = [line for line in done.err.splitlines() if line.startswith("doctor: ")]
    assert [line.split(": ")[1] for line in told] == ["starving on tiny data"]
    assert Run.open("run").finished
    assert cli_run("sample", "run", "--n", "2", "--out", "two.npz").code == 0


def test_a_few_steps_are_told_to_be_too_few(cli_run: Callable[..., Any], tmp_path: Path) -> None:
    """Of a recipe that counts in epochs, five images are over before anything is learned."""
    np.savez(
        tmp_path / "five.npz",
        images=np.random.default_rng(0).integers(256, size=(5, 28, 28), dtype=np.uint8),
    )
    options = ("--data", "five.npz", "--threads", "1")
    done = cli_run("train", "mlp/relu", *options, "--out", "run")
    assert done.code == 0, done.err
    assert (
        "50 epochs of 5 images are 16 steps, too few to learn from: give --minutes or --images"
        in done.err
    )
    assert (
        "too few to learn from"
        not in cli_run("train", "mlp/relu", *options, "--images", "80", "--out", "asked").err
    )


def test_classes_without_images_are_told_of_and_never_asked_for(
    cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(256, size=(20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "two.npz", images=images, labels=np.tile([3, 8], 10))
    done = cli_run(
        "train",
        "cgan/tiny",
        "--data",
        "two.npz",
        "--images",
        "64",
        "--threads",
        "1",
        "--out",
        "run",
    )
    assert "no image of two.npz is of class 0, 1, 2, 4, 5, 6, 7: not learned" in done.err
    dataset, card = data.load_dataset("two.npz"), Run.open("run").card
    file = card.gan_file()
    recipe = card.settings(file)
    gan = file.build(recipe.model, card.image)
    learner = Learner(gan, recipe.train, len(dataset), torch.device("cpu"))
    batches = Batches(dataset, learner, seed=0)
    asked = torch.cat([batches.at(seen).d_labels for seen in range(0, 320, 16)])
    assert set(asked.tolist()) == {3, 8}
