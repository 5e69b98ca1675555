"""Parts that the command lines of these scripts share."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from ganvas.errors import SettingError


class Parser(argparse.ArgumentParser):
    """A parser that raises SettingError for bad input."""

    def error(self, message: str) -> NoReturn:
        raise SettingError(message)


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
