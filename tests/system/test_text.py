"""The command lines that messages and pages suggest."""

from __future__ import annotations

import shlex
from pathlib import Path

from ganvas.system.text import command


def test_a_command_has_its_words_first_and_then_its_options() -> None:
    line = command("train", "mlp/relu", out=Path("runs/a"), data_dir=None, minutes=2.5, seed=0)
    assert line == "ganvas train mlp/relu --out runs/a --minutes 2.5 --seed 0"


def test_options_are_spelled_as_on_the_command_line() -> None:
    line = command("tune", None, data_dir="d", from_="r", size=(50, 70), flip=True, fresh=False)
    assert line == "ganvas tune --data-dir d --from r --size 50x70 --flip"


def test_a_list_is_several_words_and_an_empty_one_is_left_out() -> None:
    assert command("train", set_=["lr=1", "batch=2"]) == "ganvas train --set lr=1 batch=2"
    assert command("train", set_=[], size=()) == "ganvas train"


def test_whatever_a_shell_would_split_or_expand_is_quoted() -> None:
    line = command("evaluate", "my run", data="it's $HOME", extractor="self:a b")
    assert shlex.split(line)[2:] == ["my run", "--data", "it's $HOME", "--extractor", "self:a b"]
    assert command("data inspect", "my images") == "ganvas data inspect 'my images'"
