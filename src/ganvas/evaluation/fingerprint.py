"""What a Python object's results depend on, as far as can be seen, as a hash."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
from torch import Tensor, nn

from ganvas.runs.weights import weights_sha256

DEEPEST = 100  # objects within one another that are looked into
OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def identity(of: Any) -> str:
    """SHA-256 (hex) of an object: its weights and source, what it holds, and the globals that it
    names, and so on in these.

    Not seen: a file that it reads, what an installed package does, and what it reaches by
    attributes of other modules.
    """
    return hashlib.sha256(_told(of, {}, 0).encode()).hexdigest()


def _told(of: Any, seen: dict[int, Any], depth: int) -> str:
    """seen: all that was told already, by id, and kept, or another object could get its id."""
    inner = functools.partial(_told, seen=seen, depth=depth + 1)
    if of is None or isinstance(of, (str, bytes, int, float, bool)):
        return repr(of)
    if id(of) in seen:
        return f"see {list(seen).index(id(of))}"
    if depth > DEEPEST:
        return type(of).__qualname__
    seen[id(of)] = of
    if isinstance(of, Tensor):
        return weights_sha256({"": of.detach().cpu().contiguous()})
    if isinstance(of, np.ndarray):
        held = (
            inner(of.tolist()) if of.dtype.hasobject else hashlib.sha256(of.tobytes()).hexdigest()
        )
        return f"{of.dtype} {of.shape} {held}"
    if isinstance(of, (tuple, list)):
        return f"({', '.join(map(inner, of))})"
    if isinstance(of, (set, frozenset)):
        return f"{{{', '.join(sorted(map(repr, of)))}}}"
    if isinstance(of, dict):
        return inner(list(of.items()))
    if isinstance(of, functools.partial):
        return f"partial {inner([of.func, of.args, of.keywords])}"
    if inspect.ismethod(of):
        return f"method {inner([of.__func__, of.__self__])}"
    if inspect.isfunction(of):
        return f"{_source(of)} {inner([_named_in(of), of.__defaults__, of.__kwdefaults__])}"
    if inspect.isclass(of):
        return (
            f"{_source(of)}"
            f" {inner([] if _installed(of) else [*of.__mro__[1:], *_functions(of), _values(of)])}"
        )
    if inspect.ismodule(of) or inspect.isroutine(of):
        return _source(of)
    return f"{inner(type(of))} {inner(_held(of))}"


def _named_in(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function, or one within it, names that is defined outside of it; nothing of an
    installed package's."""
    if _installed(function):
        return {}
    code: CodeType = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    # an empty one has no contents
    held = {name: cell.cell_contents for name, cell in cells if cell != type(cell)()}
    return held | {
        name: function.__globals__[name]
        for name in sorted(_names(code))
        if name in function.__globals__
    }


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(
        *(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType))
    )


def _functions(kind: type) -> list[Any]:
    """Methods, static ones and those of properties, too."""
    bare = [
        getattr(each, "fget", None) or getattr(each, "__func__", each)
        for each in vars(kind).values()
    ]
    return [inspect.unwrap(each) for each in bare if inspect.isfunction(each)]


def _values(kind: type) -> dict[str, Any]:
    """What a class holds beside functions: the text of one that was made at a prompt cannot be had."""
    return {
        name: v
        for name, v in vars(kind).items()
        if not inspect.isfunction(v) and not name.startswith("__")
    }


def _held(of: Any) -> Any:
    """What an object has been given: of a module its weights, buffers and children, too, but not
    what every one has."""
    held = getattr(of, "__dict__", None)
    if held is None:
        return re.sub(" at 0x[0-9a-fA-F]+", "", repr(of))  # NumPy writes capitals
    if not isinstance(of, nn.Module):
        return held
    parts = [dict(each(recurse=False)) for each in (of.named_parameters, of.named_buffers)]
    return [
        *parts,
        dict(of.named_children()),
        {name: v for name, v in held.items() if name not in OF_EVERY_MODULE},
    ]


def _installed(of: Any) -> bool:
    """Whether a function, class or module is Python's own or an installed package's, which versions
    tell."""
    try:
        file = inspect.getsourcefile(of)
    except TypeError:  # not in Python
        return True
    except OSError:  # a class made at a prompt
        return False
    places = sysconfig.get_paths()
    return file is not None and any(
        Path(file).is_relative_to(places[name]) for name in ("stdlib", "purelib", "platlib")
    )


def _source(of: Any) -> str:
    """Its text; of a function that has none of its own, as at a prompt or beside others in a line,
    what it was compiled to."""
    name = getattr(of, "__qualname__", getattr(of, "__name__", type(of).__qualname__))
    text = f"{getattr(of, '__module__', '')}.{name}"
    if _installed(of):
        return text
    try:
        text, has_text = inspect.getsource(of), True
    except (OSError, TypeError):  # made where there is no file, or not in Python
        has_text = False
    if inspect.isfunction(of) and (not has_text or of.__name__ == "<lambda>"):
        text += _compiled(of.__code__)
    return text


def _compiled(code: CodeType) -> str:
    constants = [
        _compiled(each) if isinstance(each, CodeType) else _told(each, {}, 0)
        for each in code.co_consts
    ]
    return f" {code.co_code.hex()} {code.co_names} {constants}"
