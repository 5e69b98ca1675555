"""The shape of the code: where files stand, how long they are, how names and sentences read.

Each test lists its violations as file:line, with what to do about them.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cyclopts import App

from ganvas.cli import app
from helpers.prose import BANNED

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ganvas"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
EVERYTHING = SOURCES + TESTS + BENCHMARKS

TOP = {"recipe", "plan", "overrides", "gan", "objectives", "errors", "version", "cli"}
MAX_FILES = 16  # in a folder
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_NESTING = 4
MAX_LOOP_NESTING = 3  # of the training loop, which people read first

QUANTITY = re.compile(r"(MOST|LEAST|FEW)(_.+)?|.+_(MOST|LEAST|FEW)")
RIDDLE = re.compile(r"\s*(What|Whether|How|Why|Of)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
Table = ast.Dict | ast.List | ast.Tuple | ast.Set


def refuse(violations: list[str], advice: str) -> None:
    """Fail with advice and the list of violations, unless it is empty."""
    if violations:
        lines = [f"{len(violations)} to mend. {advice}:", *violations]
        pytest.fail("\n".join(lines), pytrace=False)


def at(path: Path, line: int, what: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {what}"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def tokens(path: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline))


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each comment."""
    for token in tokens(path):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Module | Definition) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, Function))


def lines_of(function: Function) -> int:
    """Lines from `def` to the last, docstring included, decorators left out."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def nesting(node: ast.AST) -> int:
    """Depth of for, while, if, with and try below a node. An elif counts as its if; a function
    within is counted by itself."""
    depth = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            continue
        block = isinstance(
            child, ast.For | ast.AsyncFor | ast.While | ast.If | ast.With | ast.AsyncWith | ast.Try
        )
        elif_ = isinstance(node, ast.If) and isinstance(child, ast.If) and [child] == node.orelse
        depth = max(depth, nesting(child) + (block and not elif_))
    return depth


def public_names(path: Path) -> Iterator[tuple[str, int]]:
    """Names without underscore that a module itself defines at its top level."""
    for node in parsed(path).body:
        targets: list[ast.expr] = []
        if isinstance(node, Definition):
            yield node.name, node.lineno
        elif isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    yield name.id, node.lineno


def commands(group: App) -> Iterator[tuple[str, App]]:
    """Name and command of every command of the command line, in groups too."""
    for name in group:
        if not name.startswith("-"):
            command = group[name]
            if command.default_command is None:
                yield from commands(command)
            else:
                yield name, command


# Where files stand


def test_the_top_of_the_package_holds_the_contract_alone() -> None:
    known = TOP | {"__init__", "__main__"}
    others = [at(path, 1, path.name) for path in PACKAGE.glob("*.py") if path.stem not in known]
    refuse(others, "Move these modules into the package that they belong to")


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in SOURCES}
    counts = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    crowded = [f"{folder}: {count} files" for folder, count in counts.items() if count > MAX_FILES]
    refuse(crowded, f"Split or merge: at most {MAX_FILES} files a folder")


def test_a_command_leads_to_its_file() -> None:
    lost = []
    for name, command in commands(app):
        module = str(getattr(command.default_command, "__module__", ""))
        room, _, stem = module.rpartition(".")
        if room != "ganvas.commands" or name.replace("-", "_") not in stem:
            lost.append(f"ganvas {name}: defined in {module}")
    refuse(
        lost, "Put each command into a file of ganvas.commands whose name contains the command's"
    )


def test_files_are_short() -> None:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES + TESTS}
    long = [
        at(path, count, f"{count} lines")
        for path, count in counts.items()
        if count > MAX_FILE_LINES
    ]
    refuse(long, f"Split these by what they do: at most {MAX_FILE_LINES} lines a file")


# Names


def test_public_names_mean_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.parent.name == "gans" and path.stem != "__init__":
            continue  # every GAN file defines the same names
        for name, line in public_names(path):
            is_command = path.parent.name == "commands" and path.stem != "options"
            if not name.startswith("_") and not (is_command and name.islower()):
                places.setdefault(name, []).append(at(path, line, name))
    twice = [
        place
        for where in places.values()
        if len({place.partition(":")[0] for place in where}) > 1
        for place in where
    ]
    refuse(
        twice, "Rename until no two modules define one public name, or import it from one of them"
    )


def test_limits_are_named_max_and_min() -> None:
    old = {
        at(path, token.start[0], token.string)
        for path in EVERYTHING
        for token in tokens(path)
        if token.type == tokenize.NAME and QUANTITY.fullmatch(token.string)
    }
    refuse(sorted(old), "Name limits MAX_... and MIN_...")


def test_modules_keep_their_names_when_imported() -> None:
    modules = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
    }
    renamed = []
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                renamed += [
                    at(path, node.lineno, f"{prefix}{alias.name} as {alias.asname}")
                    for alias in node.names
                    if alias.asname not in (None, alias.name) and prefix + alias.name in modules
                ]
    refuse(renamed, "Import the module by its name, or the functions from it")


# Prose


def test_docstrings_say_what_a_caller_gets() -> None:
    riddles = [
        at(path, line, text.splitlines()[0])
        for path in EVERYTHING
        for line, text in docstrings(path)
        if RIDDLE.match(text)
    ]
    refuse(
        riddles, 'Open docstrings with a verb or a noun; "Return True if ..." in place of Whether'
    )


def test_text_is_plain_english() -> None:
    texts = [(path, *found) for path in EVERYTHING for found in docstrings(path)]
    for path in SOURCES:
        texts += [(path, *found) for found in comments(path)]
        texts += [
            (path, node.lineno, node.value)
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    found = {
        at(path, line, match[0])
        for path, line, text in texts
        if (match := BANNED.search(" ".join(text.split())))
    }
    refuse(
        sorted(found), "Say it in the field's terms: a count by its name, the actor of said, told"
    )


def test_only_tables_are_laid_out_by_hand() -> None:
    skips = []
    for path in EVERYTHING:
        tables = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, Table):
                tables.add(node.end_lineno)
            if isinstance(node, Definition):
                tables |= {
                    each.end_lineno
                    for each in node.decorator_list
                    if isinstance(each, ast.Call)
                    and isinstance(each.func, ast.Attribute)
                    and each.func.attr == "parametrize"
                }
        skips += [
            at(path, line, text.strip())
            for line, text in comments(path)
            if re.match(r"\s*(fmt|yapf): ", text)
            and not (text.strip() == "fmt: skip" and line in tables)
        ]
    refuse(skips, "Let the formatter lay this out; fmt: skip is for tables of data at their end")


# Functions


def test_functions_fit_a_screen() -> None:
    long = [
        at(path, function.lineno, f"{function.name}, {lines_of(function)} lines")
        for path in SOURCES
        for function in functions(path)
        if lines_of(function) > MAX_FUNCTION_LINES
    ]
    refuse(long, f"Split these: at most {MAX_FUNCTION_LINES} lines a function")


def test_functions_are_flat() -> None:
    deep = [
        at(path, function.lineno, f"{function.name}, {depth} deep")
        for path in SOURCES
        for function in functions(path)
        if (depth := nesting(function)) > MAX_NESTING
    ]
    refuse(deep, f"Return early, or move the inner block out: at most {MAX_NESTING} deep")


def test_the_training_loop_is_short_and_flat() -> None:
    path = PACKAGE / "training" / "loop.py"
    (loop,) = [function for function in functions(path) if function.name == "train_run"]
    lines, depth = lines_of(loop), nesting(loop)
    where = at(path, loop.lineno, f"train_run, {lines} lines, {depth} deep")
    fits = lines < MAX_FUNCTION_LINES and depth <= MAX_LOOP_NESTING
    refuse([] if fits else [where], "Move set-up and what follows a step into functions")


# Imports


def test_nothing_is_mocked_outside_tests() -> None:
    mocks = [
        at(path, node.lineno, ast.unparse(node))
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Import | ast.ImportFrom) and "unittest" in ast.unparse(node)
    ]
    refuse(mocks, "Pass the thing that is to be replaced as an argument")


def test_the_architecture_shows_the_layers_that_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (rows,) = [each["layers"] for each in contracts["contracts"] if each["type"] == "layers"]
    blocks = re.findall(
        r"^```\w*\n(.*?)^```", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE | re.DOTALL
    )
    block = next((block for block in blocks if "commands" in block), "")
    shown = [" ".join(row.split()) for row in block.splitlines() if row.strip()]
    assert shown == rows, (
        "Repeat the layers of [tool.importlinter] in ARCHITECTURE.md, row by row, in the first"
        ' fenced block that contains "commands"'
    )


@pytest.mark.parametrize("module", ["ganvas", "ganvas.cli"])
def test_torch_is_not_imported_before_it_is_used(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", f"Import torch inside functions: {module} must load at once"
