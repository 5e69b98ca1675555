"""Options that are wrong: one line on stderr, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.errors import GanvasError, RunError
from ganvas.launch import launch
from ganvas.runs.run import Run
from ganvas.views import inspect_data
from helpers.common import MY_GAN

pytestmark = pytest.mark.usefixtures("bounded")


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
def test_other_commands_refuse_what_train_does(
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
def test_options_of_reading_are_refused_without_data(
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
