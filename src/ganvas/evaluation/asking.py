"""What an evaluation was asked for, in words of the command line, so that it can be asked for once more."""

from __future__ import annotations

import os
from typing import Any

from ganvas.data.catalogue import NAMES
from ganvas.evaluation.result import Asked
from ganvas.system.text import readable

K = 5  # neighbours of precision, recall, density and coverage: the command line has no other


def asked(*, k: int = K, flags: dict[str, bool] | None = None, **options: Any) -> Asked:
    """Arguments of `judging.evaluate` as options of `ganvas evaluate`, with paths from the root; None is left out."""
    hindrances = [f"its {name} was an object of Python's" for name, value in options.items() if _is_object(value)]
    hindrances += [f"precision to coverage were taken with k = {k}"] * (k != K)
    words = [
        word
        for name, value in options.items()
        if value is not None and not _is_object(value)
        for word in (_option(name), readable(_word(name, value)))
    ]
    words += [_option(name) for name, is_set in (flags or {}).items() if is_set]
    return Asked(options=tuple(words), hindrance=" and ".join(hindrances))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_object(value: Any) -> bool:
    return not isinstance(value, (str, os.PathLike, int, tuple, type(None)))


def _word(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, int):
        return str(value)
    text = os.fspath(value)
    if name == "extractor":  # KIND:DATA, KIND:PATH or FILE.safetensors
        kind, colon, of = text.partition(":")
        return f"{kind}:{_from_root(of)}" if colon else _from_root(text) if text.endswith(".safetensors") else text
    return _from_root(text)


def _from_root(path: str) -> str:
    return os.path.abspath(path) if os.path.exists(path) and path not in NAMES else path
