"""Users' functions and modules as extractors: their identity, and checks of what they return."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from contextlib import suppress
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

    def one(value: Any) -> str:
        plain = isinstance(value, (str, bytes, int, float, type(None)))
        return repr(value) if plain else type(value).__name__

    def text(value: Any) -> str:
        return str([one(v) for v in value]) if isinstance(value, (tuple, list)) else one(value)

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
        given = f"{'no' if classes else 'their'} probabilities"
        raise DataError(f"{name} has {classes} classes, but gives {given}: both or none")
    rows = _matrix(features, count, None, name)
    if rows.shape[1] == 0:
        shape = f"an array of the shape {tuple(rows.shape)}"
        raise DataError(f"{name} gave no features at all, {shape}: expected (N, D)")
    if probabilities is None:
        return rows, torch.empty(count, 0)
    return rows, _matrix(probabilities, count, classes, name)


def _matrix(output: Any, count: int, columns: int | None, name: str) -> Tensor:
    """Check a float32 matrix: `count` rows, `columns` columns (None: any). Raises DataError."""
    expected = f"({count}, {'D' if columns is None else columns})"
    kind = "None" if output is None else f"a {type(output).__name__} that is no array of numbers"
    with suppress(TypeError, ValueError, RuntimeError):
        made = torch.as_tensor(
            output if isinstance(output, Tensor) else np.ascontiguousarray(output)
        )
        if made.is_complex():
            kind = "complex numbers"
        elif made.ndim == 2 and len(made) == count and columns in (None, made.shape[1]):
            return made.to("cpu", torch.float32)
        else:
            kind = f"an array of the shape {tuple(made.shape)}"
    raise DataError(f"{name} gave {kind} for {count} images: expected an array {expected}")
