"""The README's commands run as they stand there, shortened by settings alone; both languages say
the same."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvas.launch.launch
from ganvas import cli, data
from ganvas.runs.run import Run

ROOT = Path(__file__).parents[2]
README, CHINESE = (ROOT / name for name in ("README.md", "README.zh-CN.md"))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training ends after its first step; nothing else of a command is changed."""
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
                "settings": settings,
            },
        )

    monkeypatch.setattr(ganvas.launch.launch, "train", short)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README speaks of: photos/, my_gan.py, MNIST in the data folder, and a
    run."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for k in range(12):
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8)).save(
            tmp_path / "photos" / f"{k}.png"
        )
    (tmp_path / "my_gan.py").write_text(
        next(block for block in blocks(README, "python") if "def build" in block)
    )
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


def ganvas_commands() -> list[list[str]]:
    lines = "\n".join(blocks(README, "sh")).splitlines()
    table = re.findall(r"`(ganvas [^`]*)`", README.read_text())
    commands = [shlex.split(line) for line in [*lines, *table] if line.startswith("ganvas ")]
    return [command[1:] for command in commands]


@pytest.mark.long
def test_every_ganvas_command_runs(
    desk: Path, shortened: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["train", "cgan/digits"]) == 0
    run = capsys.readouterr().out.strip()
    assert cli.run(["train", "my_gan.py"]) == 0
    own_run = capsys.readouterr().out.strip()
    assert (
        cli.run(
            [
                "train",
                "--data",
                "photos",
                "--size",
                "16",
                "--set",
                "width=4",
                "--out",
                "runs/0001-r3gan-images-photos",
            ]
        )
        == 0
    )
    commands = ganvas_commands()
    assert len(commands) > 15
    for command in commands:
        words = [
            {"PHOTOS": "photos/", "RUN": own_run if "--gan" in command else run}.get(word, word)
            for word in command
        ]
        # forms, not commands
        if "RECIPE" in words or words == ["train", "..."] or "cat,dog,cat" in words:
            continue
        assert cli.run(words) == 0, f"{words}: {capsys.readouterr().err}"


@pytest.mark.long
def test_the_python_example_runs(desk: Path, shortened: None) -> None:
    example = next(block for block in blocks(README, "python") if "import ganvas" in block)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    with Image.open("result.png") as result:
        assert result.size == (8 * 28 * 4, 28 * 4)
    assert names["images"].shape == (100, 28, 28, 1)


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


def test_what_the_readme_links_to_is_there() -> None:
    for path in (README, CHINESE, ROOT / "ARCHITECTURE.md"):
        for link in re.findall(r"\]\(([\w/.-]+)\)", path.read_text()):
            assert (ROOT / link).exists(), f"{path.name}: {link}"


def imported(file: Path) -> set[str]:
    """The parts of ganvas that a file imports."""
    found = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
    ]
    inside = {
        node.module.split(".")[1]
        for node in found
        if node.module and node.module.startswith("ganvas.")
    }
    return inside | {
        alias.name for node in found if node.module == "ganvas" for alias in node.names
    }


def test_the_architectures_list_is_whole_and_imports_point_upwards_in_it() -> None:
    package = ROOT / "src" / "ganvas"
    listing = (
        (ROOT / "ARCHITECTURE.md")
        .read_text()
        .partition("    src/ganvas/\n")[2]
        .partition("\n\n")[0]
    )
    heads = [
        re.findall(r"(\w+)(?:\.py|/)", line.strip().partition("  ")[0])
        for line in listing.splitlines()
    ]
    place = {name: line for line, names in enumerate(heads) for name in names}
    files = {path.stem: [path] for path in package.glob("[a-z]*.py")}
    files |= {path.name: list(path.rglob("*.py")) for path in package.glob("[a-z]*/")}
    assert place.keys() == files.keys() - {"page"}  # which report.py's line speaks of
    for name, line in place.items():
        below = {
            other for file in files[name] for other in imported(file) if place.get(other, -1) > line
        }
        assert not below, f"{name} imports what is listed below it: {below}"


def test_a_runs_files_are_all_named() -> None:
    files = re.findall(r"^    ([\w.]+/?)  ", Run.__doc__ or "", re.MULTILINE)
    assert len(files) >= 15
    for path in (README, CHINESE):
        assert [file for file in files if f"`{file}`" not in path.read_text()] == []
