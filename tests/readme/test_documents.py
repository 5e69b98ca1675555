"""The documents name only files, options and commands that exist, in plain English."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from ganvas import cli
from helpers.prose import BANNED

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Of torchrun, tensorboard, mypy and benchmarks/*.py.
OTHERS = {
    *("--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-endpoint", "--logdir", "--strict"),
    *("--dry-run", "--render", "--judge", "--only", "--sets", "--rounds", "--seconds"),
}

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


@documents
def test_links_lead_to_files(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        assert "://" in link or (path.parent / link).exists(), link


@documents
def test_paths_in_the_text_exist(path: Path) -> None:
    names = r"(?<![\w/.])(?:docs|src|tests|benchmarks)/[\w/.-]*\w"
    assert [
        name for name in re.findall(names, path.read_text()) if not (ROOT / name).exists()
    ] == []


@documents
def test_the_prose_is_plain(path: Path) -> None:
    text = " ".join(path.read_text().split())
    assert BANNED.findall(text) == []


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options that each command's help lists."""
    found = {}
    for command in ("data inspect", "demo 1d", *cli.app):
        if not command.startswith("-"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                cli.run([*command.split(), "--help"])
            found[command] = set(OPTION.findall(out.getvalue()))
    return found


@documents
def test_commands_and_their_options_exist(path: Path, options: dict[str, set[str]]) -> None:
    text = path.read_text().replace("\\\n", " ")
    code = re.findall(r"^```sh\n(.*?)^```$|`([^`]+)`", text, re.MULTILINE | re.DOTALL)
    known = OTHERS.union(*options.values())
    for line in (line for block, inline in code for line in (*block.splitlines(), inline)):
        assert known.issuperset(OPTION.findall(line)), line
        if call := re.search(r"(?:^|-m )ganvas ((?:data |demo )?\w+)(.*)", line, re.DOTALL):
            assert options.get(call[1], set()).issuperset(OPTION.findall(call[2])), line


def test_the_architecture_names_every_part_of_the_package() -> None:
    package, text = ROOT / "src" / "ganvas", (ROOT / "ARCHITECTURE.md").read_text()
    parts = [f.name for f in package.glob("[a-z]*.py")] + [
        f"{d.name}/" for d in package.glob("[a-z]*/")
    ]
    assert [part for part in parts if not re.search(rf"\b{re.escape(part)}", text)] == []
