"""Names beyond ASCII: files are UTF-8 whatever the locale, and what a terminal or a path cannot
spell stops nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.evaluation import evaluate
from ganvas.runs.run import Run
from helpers.common import TRAIN
from helpers.judged import Pooled

CAT = "猫"
STRANGE = os.fsdecode(b"run-\xff")


def test_no_file_of_a_run_is_in_the_locales_encoding(
    tiny_run: Run, copy: Callable[[Run], Path], environment: dict[str, str]
) -> None:
    """Python itself warns where a file is opened in the locale's encoding."""
    program = (
        "import sys, warnings\nfrom ganvas.runs import request\nfrom ganvas.runs.run import"
        " Run\nwarnings.simplefilter('error', EncodingWarning)\nrun, line = Run.open(sys.argv[1]),"
        " {'per_class': {chr(0x732b):"
        " 1}}\nrun.append_log(run.read_log()[-1:])\nrun.append_metrics(str(line).replace(chr(39),"
        " chr(34)))\nassert run.read_metrics() =="
        " [line]\nrun.rewind_log(1000)\nrequest.read_config(run.path / 'recipe.json', None)"
    )
    command = [sys.executable, "-X", "warn_default_encoding", "-c", program, str(copy(tiny_run))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_terminal_that_cannot_spell_a_class(pictures: Path, environment: dict[str, str]) -> None:
    (pictures / "cat").rename(pictures / CAT)
    program = """
import contextlib, sys
from ganvas import cli
for options in ([], ["--json"]):
    with contextlib.suppress(SystemExit):
        cli.main([*"data inspect pictures --recipe mlp/tiny".split(), *options])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"PYTHONIOENCODING": "latin-1"},
        cwd=pictures.parent,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    text, _, document = done.stdout.partition(b"{")
    assert rb"\u732b" in text
    assert CAT.encode() in document


@pytest.mark.usefixtures("cache", "steady")
def test_a_run_whose_path_is_no_utf8(
    tiny_run: Run, copy: Callable[..., Path], cli_run: Callable[..., Any]
) -> None:
    try:
        path = copy(tiny_run, STRANGE)
    except OSError:
        pytest.skip("this disk keeps no such names")
    for words in (["evaluate", path], ["report", path], [*TRAIN, "--out", f"{STRANGE}-2"]):
        assert "the path's bytes are no UTF-8" in cli_run(*words).error
    sheet, extractor = Path(os.fsdecode(b"\xff.png")), Pooled().extractor()
    found = evaluate.evaluate(
        tiny_run.generator_file, n=20, extractor=extractor, copies=True, out=sheet, quiet=True
    )
    assert sheet.exists()
    assert json.loads(found.to_json())["copies"]["sheet"] == r"\xff.png"
    assert r"run-\xff" in json.loads(cli_run("runs", path, "--json").out)[0]["run"]
    error = cli_run("train", "--from", path, "--images", 16).error
    assert "the path's bytes are no UTF-8, so no run could note it: rename it" in error
