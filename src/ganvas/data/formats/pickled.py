"""Pickles of plain values and arrays, such as CIFAR's batches, read without unpickling.

A strict interpreter knows the few instructions by which dictionaries, lists, strings, numbers and
NumPy arrays are written, and builds these alone. It refuses every other instruction and every
global but those of NumPy's arrays, which it never calls.
"""

from __future__ import annotations

import math
import pickletools
from typing import Any, NamedTuple

import numpy as np

MAX_STEPS = 20_000_000
MAX_DEPTH = 3  # of dictionaries and tuples within each other that may hold arrays

_MARK = object()
_ARRAY, _DTYPE, _ENCODE, _BUFFER = "array", "dtype", "encode", "buffer"
_GLOBALS = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy.core.numeric _frombuffer": _BUFFER,
    "numpy._core.numeric _frombuffer": _BUFFER,
    "numpy ndarray": "ndarray",
    "numpy dtype": _DTYPE,
    "_codecs encode": _ENCODE,
}
_DTYPES = ("u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8", "f4", "f8")
_CONSTANTS = [
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
]
_FIXED: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Global(NamedTuple):
    """A known global, which stands for itself and is never looked up."""

    kind: str


class _Made:
    """An array or a dtype that waits for its state."""

    def __init__(self, kind: str, code: str = "") -> None:
        self.kind, self.code = kind, code
        self.value: Any = None


def plain_pickle(content: bytes) -> Any:
    """The dictionary, list, string, number or array in a pickle; strings of Python 2 as Latin-1.

    Raises ValueError for anything else.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if step > MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS:,} instructions")
        if opcode.name == "STOP":
            return _finished(stack.pop(), MAX_DEPTH)
        try:
            _step(opcode.name, argument, stack, memo)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"instruction {opcode.name} out of place") from error
    raise ValueError("it ends early")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _CONSTANTS:
        stack.append(argument)
    elif name in ("BINSTRING", "SHORT_BINSTRING"):
        stack.append(argument)  # genops decodes them as Latin-1
    elif name in _FIXED:
        stack.append(_FIXED[name])
    elif name in ("BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if name == "EMPTY_DICT" else [])
    elif name == "MARK":
        stack.append(_MARK)
    elif name in _TUPLES:
        stack.append(_popped(stack, _TUPLES[name]))
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name in ("APPEND", "APPENDS"):
        items = _to_mark(stack) if name == "APPENDS" else [stack.pop()]
        _list(stack[-1]).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = _to_mark(stack) if name == "SETITEMS" else list(_popped(stack, 2))
        _dict(stack[-1]).update(zip(items[::2], items[1::2], strict=True))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        stack.append(_known(argument or " ".join(_popped(stack, 2))))
    elif name == "REDUCE":
        function, arguments = _popped(stack, 2)
        stack.append(_reduced(function, arguments))
    elif name == "BUILD":
        state = stack.pop()
        _build(stack[-1], state)
    elif name not in ("PROTO", "FRAME"):
        raise ValueError(f"instruction {name}, which plain values do not need")


def _popped(stack: list[Any], n: int) -> tuple[Any, ...]:
    if len(stack) < n:
        raise IndexError
    return tuple([stack.pop() for _ in range(n)][::-1])


def _to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _known(name: str) -> _Global:
    if name not in _GLOBALS:
        raise ValueError(f"it asks for {name[:100]}, which is never run")
    return _Global(_GLOBALS[name])


def _reduced(function: Any, arguments: Any) -> Any:
    """A call, done as data alone."""
    if not isinstance(function, _Global):
        raise ValueError("a call of no known global")
    if function.kind == _ENCODE and arguments[1] == "latin1" and isinstance(arguments[0], str):
        return arguments[0].encode("latin1")
    if function.kind == _ARRAY and arguments[0] == _Global("ndarray"):
        return _Made(_ARRAY)
    if function.kind == _DTYPE and arguments[0] in _DTYPES:
        return _Made(_DTYPE, arguments[0])
    if function.kind == _BUFFER:
        content, dtype, shape, order = arguments
        made = _Made(_ARRAY)
        _build(made, (1, shape, dtype, order == "F", bytes(content)))
        return made
    raise ValueError(f"a call of {function.kind} with {str(arguments)[:60]}")


def _build(made: Any, state: Any) -> None:
    if not isinstance(made, _Made) or made.value is not None:
        raise ValueError("a state for no array")
    if made.kind == _DTYPE:
        order = state[1] if state[1] in ("<", ">", "|", "=") else None
        if order is None or any(each is not None for each in state[2:5]):
            raise ValueError("a dtype with fields")
        made.value = np.dtype(order + made.code)
        return
    _, shape, dtype, fortran, content = state
    content = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(dtype, _Made) or dtype.value is None or not isinstance(content, bytes):
        raise ValueError("an array of no numbers")
    if math.prod(shape) * dtype.value.itemsize != len(content) or min(shape, default=0) < 0:
        raise ValueError(f"an array {shape} of {len(content):,} bytes")
    values = np.frombuffer(content, dtype.value)
    made.value = values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _finished(value: Any, depth: int) -> Any:
    """The value with arrays in place of what stood for them."""
    if depth and isinstance(value, dict):
        return {_text(key): _finished(each, depth - 1) for key, each in value.items()}
    if depth and isinstance(value, tuple):
        return tuple(_finished(each, depth - 1) for each in value)
    return _array(value)


def _text(key: Any) -> Any:
    return key.decode("latin1") if isinstance(key, bytes) else key


def _array(value: Any) -> Any:
    if isinstance(value, _Made):
        if value.kind != _ARRAY or value.value is None:
            raise ValueError("an array without content")
        return value.value
    return value
