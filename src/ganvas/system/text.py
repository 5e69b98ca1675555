"""Words for notes and one-line messages: counts, and names from untrusted files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable


def count(n: int, thing: str) -> str:
    """Format a number of things: '1 picture', '5,000 pictures', '3 classes'."""
    return f"{n:,} {thing}{'' if n == 1 else 'es' if thing.endswith('s') else 's'}"


def printable(name: str) -> str:
    """Escape an untrusted name that would not print on one line."""
    return name if name.isprintable() else ascii(name)


def is_utf8(name: str) -> bool:
    """True if a file's name is valid UTF-8.

    Python keeps other bytes as lone surrogates, which JSON cannot hold.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_utf8(name: str) -> str:
    """The message that refuses a path which is not `is_utf8`."""
    return f"{printable(name)}: the path's bytes are no UTF-8, so no run could note it: rename it"


def readable(path: str | os.PathLike[str]) -> str:
    """Format a path, with bytes that are not UTF-8 as \\xff."""
    name = os.fspath(path)
    return name if is_utf8(name) else os.fsencode(name).decode(errors="backslashreplace")


def first_few(items: Iterable[str], limit: int = 10) -> str:
    """Join the first items by commas, and count the others."""
    listed = [printable(item) for item in items]
    more = f", and {len(listed) - limit:,} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def command(verb: str, *words: str | os.PathLike[str] | None, **options: object) -> str:
    """Return a `ganvas` command line, quoted for a POSIX shell.

    words: positional arguments, or options that are words already; None is left out.
    options: named as in Python: `data_dir` becomes --data-dir, `set_` --set. None, False and ()
        are left out, True gives the bare flag, a list several words, a pair of integers HxW, one
        of floats LOW:HIGH.
    """
    line = ["ganvas", *verb.split(), *(os.fspath(word) for word in words if word is not None)]
    for name, value in options.items():
        if value is None or value is False or value == () or value == []:
            continue
        line.append("--" + name.rstrip("_").replace("_", "-"))
        if isinstance(value, list):
            line += map(str, value)
        elif value is not True:
            line.append(option_value(value))
    return shlex.join(line)


def option_value(value: object) -> str:
    """Write an option's value as the command line takes it: integers HxW, floats LOW:HIGH."""
    if isinstance(value, tuple):
        separator = ":" if any(isinstance(each, float) for each in value) else "x"
        return separator.join(map(option_value, value))
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value)
