"""Users' functions and modules as extractors: their identity, and checks of what they return."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganvas.errors import DataError
from ganvas.runs.weights import weights_sha256


def identity(function: Any) -> str:
    """SHA-256 (hex) of a user's extractor: its source and weights, and plain arguments.

    Covered: the source of the function or type, of a module's submodules too; `state_dict()`;
    defaults, arguments of `partial` and attributes, as far as they are plain values. Not covered:
    globals, files, other modules.
    """
    parts: list[str] = []
    while isinstance(function, functools.partial):
        parts.append(_plain({**dict(enumerate(function.args)), **function.keywords}))
        function = function.func
    if inspect.ismethod(function):
        parts.append(function.__name__)
        function = function.__self__
    if inspect.isroutine(function) or inspect.isclass(function):
        defaults = dict(enumerate(getattr(function, "__defaults__", None) or ()))
        keywords = getattr(function, "__kwdefaults__", None) or {}
        parts += [_source(function), _plain({**defaults, **keywords})]
    elif isinstance(function, nn.Module):
        parts += [repr(function), *sorted({_source(type(part)) for part in function.modules()})]
    else:
        parts += [_source(type(function)), _plain(getattr(function, "__dict__", {}))]
    if not inspect.isclass(function) and hasattr(function, "state_dict"):
        state = function.state_dict().items()
        tensors = {name: t.detach().cpu() for name, t in state if isinstance(t, Tensor)}
        parts.append(weights_sha256(tensors))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _plain(values: dict[Any, Any]) -> str:
    """Text of values: numbers, strings and tuples of them as they are, others by their type."""
    plain = (str, bytes, int, float, type(None))

    def text(value: Any) -> str:
        if isinstance(value, (tuple, list)):
            return str([repr(v) if isinstance(v, plain) else type(v).__name__ for v in value])
        return repr(value) if isinstance(value, plain) else type(value).__name__

    return str({key: text(value) for key, value in values.items()})


def _source(of: Any) -> str:
    """Source of a function or class; if Python keeps none, its name and its module file's hash."""
    try:
        return inspect.getsource(of)
    except (OSError, TypeError):
        module = getattr(of, "__module__", None) or ""
        file = Path(getattr(sys.modules.get(module), "__file__", None) or "")
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        return f"{module}.{getattr(of, '__qualname__', of)} {digest}"


def checked_output(output: Any, count: int, classes: int, name: str) -> tuple[Tensor, Tensor]:
    """Check a user's output: float32 features (count, D) and probabilities (count, classes)."""
    pair = isinstance(output, tuple) and len(output) == 2
    features, probabilities = output if pair else (output, None)
    if (probabilities is None) != (classes == 0):
        raise DataError(
            f"{name} has {classes} classes, but gives {'no' if classes else 'their'} probabilities:"
            " both or none"
        )
    rows = _matrix(features, count, None, name)
    if rows.shape[1] == 0:
        raise DataError(
            f"{name} gave no features at all, an array of the shape {tuple(rows.shape)}:"
            " expected (N, D)"
        )
    if probabilities is None:
        return rows, torch.empty(count, 0)
    return rows, _matrix(probabilities, count, classes, name)


def _matrix(output: Any, count: int, columns: int | None, name: str) -> Tensor:
    """Check a float32 matrix: `count` rows, `columns` columns (None: any). Raises DataError."""
    try:
        made = (
            output if isinstance(output, Tensor) else torch.as_tensor(np.ascontiguousarray(output))
        )
        kind = "complex numbers" if made.is_complex() else ""
    except (TypeError, ValueError, RuntimeError):
        kind = (
            "None" if output is None else f"a {type(output).__name__} that is no array of numbers"
        )
    if kind:
        raise DataError(
            f"{name} gave {kind} for {count} images: expected features as an array ({count}, D)"
        )
    width = made.shape[1] if columns is None and made.ndim == 2 else columns
    if made.shape != (count, width):
        expected = f"({count}, {'D' if columns is None else columns})"
        raise DataError(
            f"{name} gave an array of the shape {tuple(made.shape)} for {count} images:"
            f" expected {expected}"
        )
    return made.to("cpu", torch.float32)
