"""The commands of README.md and of the pages in docs/ run as written, shortened by settings alone;
both languages say the same."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvas.launch.launch
from ganvas import cli, data
from ganvas.runs.run import Run
from ganvas.training import benchmark
from ganvas.views import demo

ROOT = Path(__file__).parents[2]
README, CHINESE = (ROOT / name for name in ("README.md", "README.zh-CN.md"))
HISTORY = (ROOT / "docs/log.md", ROOT / "docs/figures.md")  # hours of commands, made once
PAGES = [README, *(page for page in sorted((ROOT / "docs").glob("*.md")) if page not in HISTORY)]

# What stands for a user's own names, besides RUN.
PLACEHOLDERS = {
    "PHOTOS": "photos/",
    "pets/": "photos/",
    "RECIPE": "r3gan/tiny",
    "DATASET": "mnist-5k",
}
# Options that shorten a command, unless it has them.
SHORT = {
    "evaluate": {"--n": "300", "--prdc-n": "100"},
    "bench": {"--seconds": "0.1"},
    "tune": {"--trials": "2", "--images": "64"},
    "demo": {"--steps": "5"},
    "extractor": {"--epochs": "0.05"},
}
LENGTHS = {"--minutes", "--epochs"}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training ends after its first step, and timings are rough; nothing else of a command is
    changed."""
    monkeypatch.setattr(benchmark, "choose", partial(benchmark.choose, seconds=0.0))
    peak = benchmark.matmul_macs_per_second
    monkeypatch.setattr(benchmark, "matmul_macs_per_second", partial(peak, size=128))
    monkeypatch.setattr(demo, "MAX_FRAMES", 2)
    train = ganvas.launch.launch.train

    def short(*arguments: Any, **options: Any) -> Any:
        settings = {**(options.get("settings") or {}), "train.batch": 4, "train.sheet_rows": 1}
        return train(
            *arguments,
            **options
            | {
                "images": 1,
                "epochs": None,
                "minutes": None,
                "threads": 1,
                "precision": "32",
                "settings": settings,
            },
        )

    monkeypatch.setattr(ganvas.launch.launch, "train", short)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the documents mention: photos/, my_gan.py, my.toml and MNIST in the data
    folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for k in range(60):
        Image.fromarray(rng.integers(0, 256, (24, 28, 3), np.uint8)).save(
            tmp_path / "photos" / f"{k}.png"
        )
    (tmp_path / "my_gan.py").write_text(
        next(block for block in blocks(README, "python") if "def build" in block)
    )
    (tmp_path / "my.toml").write_text(blocks(ROOT / "docs/recipes.md", "toml")[0])
    digits = data.load_dataset("mnist-5k")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = digits.images[:200].numpy().tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            np.array([2051, 200, 28, 28], ">i4").tobytes() + images
        )
        assert digits.labels is not None
        labels = digits.labels[:200].numpy().astype(np.uint8).tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            np.array([2049, 200], ">i4").tobytes() + labels
        )
    monkeypatch.setenv("GANVAS_DATA", str(tmp_path / "data"))
    return tmp_path


def commands_of(page: Path) -> list[list[str]]:
    """The ganvas commands of a page, each as its words after "ganvas": the lines of its sh blocks,
    and its inline code with more than a verb."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    inline = [code.replace("\n", " ") for code in re.findall(r"`(ganvas [^`]+)`", page.read_text())]
    commands = []
    for line in [*lines, *inline]:
        if call := re.search(r"(?:^|-m )ganvas (.*)", line):
            words = shlex.split(call[1].partition(" > ")[0], comments=True)
            if line in lines or len(words) > 1 or words[0] in ("recipes", "runs", "env"):
                commands.append(words)
    return commands


def shorter(words: list[str]) -> list[str]:
    """A command that ends within seconds; `shortened` does so for trainings."""
    options = SHORT.get(words[0], {})
    if words[0] == "tune":
        words = [
            word
            for before, word in zip(["", *words], words, strict=False)
            if not LENGTHS & {before, word}
        ]
    extra = [part for name, value in options.items() if name not in words for part in (name, value)]
    return [*words, *extra]


@pytest.mark.long
def test_every_ganvas_command_runs(
    desk: Path, shortened: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(*words: str) -> str:
        assert cli.run(["train", *words]) == 0
        return capsys.readouterr().out.strip()

    run, own_run = trained("cgan/digits"), trained("my_gan.py")
    pictures = ("--data", "photos", "--size", "16", "--set", "width=4")
    trained(*pictures, "--out", "runs/0001-projected-images-photos")
    commands = [tuple(words) for page in PAGES for words in commands_of(page)]
    assert len(set(commands)) > 30
    for command in dict.fromkeys(commands):
        # forms, not commands
        if {"...", "cat,dog,cat"} & set(command):
            continue
        named = {"RUN": own_run if "--gan" in command else run, "OTHER_RUN": run} | PLACEHOLDERS
        words = [re.sub(r"^RUN/", f"{run}/", named.get(word, word)) for word in command]
        assert cli.run(shorter(words)) == 0, f"{words}: {capsys.readouterr().err}"


@pytest.mark.long
def test_the_python_example_runs(desk: Path, shortened: None) -> None:
    example = next(block for block in blocks(README, "python") if "import ganvas" in block)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    with Image.open("result.png") as result:
        assert result.size == (8 * 28 * 4, 28 * 4)
    assert names["images"].shape == (100, 28, 28, 1)


def test_the_example_of_walks_runs(desk: Path, tiny_run: Run) -> None:
    (example,) = blocks(ROOT / "docs/sampling.md", "python")
    exec(compile(example.replace("RUN", str(tiny_run.path)), "sampling.md", "exec"), {})
    for name, sides in (("way.gif", (4 * 112, 112)), ("around.png", (4 * 112, 4 * 112))):
        with Image.open(name) as result:
            assert result.size == sides


@pytest.mark.long
def test_the_example_without_ganvas_runs(desk: Path) -> None:
    (example,) = blocks(ROOT / "docs/export.md", "python")
    assert "ganvas." not in example
    assert cli.run(["export", "digits"]) == 0
    exec(compile(example, "export.md", "exec"), {})
    with Image.open("2023.png") as result:
        assert result.size == (4 * 28, 28)


def test_the_first_block_is_the_two_commands_and_make_knows_them() -> None:
    first = re.search(r"^```sh\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert first is not None
    assert first[1].splitlines() == ["make digits", "make test"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for command, expected in (
        ("make digits DIGITS=77", "--labels 77 --out result.png"),
        ("make test", "-m pytest"),
    ):
        dry = subprocess.run(
            [*command.split(), "-n"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert expected in dry.stdout


def test_both_languages_have_the_same_commands_pictures_and_sections() -> None:
    english, chinese = README.read_text(), CHINESE.read_text()
    for pattern in (r"^```\w*\n.*?^```$", r"!\[.*?\]\((.*?)\)", r"^(#+) ", r"^\|.*\|$"):
        flags = re.MULTILINE | re.DOTALL if "```" in pattern else re.MULTILINE
        found = [re.findall(pattern, text, flags) for text in (english, chinese)]
        if pattern.startswith(r"^\|"):
            found = [[row.count("|") for row in rows] for rows in found]
        assert found[0]
        assert found[0] == found[1]
    links = [sorted(re.findall(r"\]\(([\w/.-]+)\)", text)) for text in (english, chinese)]
    assert [link for link in links[0] if "README" not in link] == [
        link for link in links[1] if "README" not in link
    ]


@pytest.mark.parametrize("path", [README, CHINESE])
def test_the_readme_is_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 160
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_a_runs_files_are_all_named() -> None:
    files = re.findall(r"^    ([\w.]+/?)  ", Run.__doc__ or "", re.MULTILINE)
    assert len(files) >= 15
    page = (ROOT / "docs/training.md").read_text()
    assert [file for file in files if f"`{file}`" not in page] == []
