"""Trees of JSON and TOML, checked and converted to dataclasses of settings."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from ganvas.errors import RunError, SettingError, nearest

AnyCard = TypeVar("AnyCard")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences of two settings trees, as "train.batch=64, not 32" (old, not new)."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{path}={before.get(path)}, not {after.get(path)}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
    ]


def convert(tree: Any, kind: type, where: str) -> Any:
    """Convert a tree to the dataclass `kind`, checking names, types, ranges and finite numbers.

    where: path of the tree, for messages. Raises SettingError.
    """
    _check_names(tree, kind, where)
    for path, value in leaves({where: tree}):
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingError(f"{path}={value}: expected a finite number")
    try:
        return msgspec.convert(_worded(tree, kind), kind)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        within = at.strip("`").removeprefix("$")
        choices = _choices(kind, within) if "enum value" in message else []
        if choices:
            message = f"{message.rpartition(' ')[2]} is none of {', '.join(choices)}"
        raise SettingError(f"{where}{within}: {message[0].lower()}{message[1:]}") from None


def _worded(tree: Any, kind: type) -> Any:
    """Turn numbers into words where only words fit: TOML reads `precision=32` as a number."""
    if not dataclasses.is_dataclass(kind) or not isinstance(tree, dict):
        return tree
    hints = typing.get_type_hints(kind)
    # type(): a bool is an int, but no number here
    numbers = [name for name, part in tree.items() if type(part) is int]
    words = [name for name in numbers if set(map(type, _words(hints[name]))) == {str}]
    return tree | {name: str(tree[name]) for name in words}


def _words(kind: Any) -> tuple[Any, ...]:
    """The choices of a Literal; () for other types."""
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def _choices(kind: Any, path: str) -> list[str]:
    """The words allowed for the setting at a path, such as ".lr.shape", in the dataclass `kind`."""
    for name in path.split(".")[1:]:
        parts = [part for part in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(part)]
        if not parts or name not in (hints := typing.get_type_hints(parts[0])):
            return []
        kind = hints[name]
    return [str(word) for part in (kind, *typing.get_args(kind)) for word in _words(part)]


def _check_names(tree: Any, kind: Any, where: str) -> None:
    # msgspec ignores unknown names in dataclasses
    if not dataclasses.is_dataclass(kind) or not isinstance(tree, dict):
        return
    hints = typing.get_type_hints(kind)
    for name, part in tree.items():
        if name not in hints:
            # a config file's own settings have no path
            prefix = "" if where.startswith("--") else f"{where}."
            known = [f"{prefix}{hint}" for hint in sorted(hints)]
            hint = nearest(f"{prefix}{name}", known)
            raise SettingError(f"unknown setting {where}.{name}: {hint}")
        # a dataclass, or one choice of a union
        for inner in (hints[name], *typing.get_args(hints[name])):
            _check_names(part, inner, f"{where}.{name}")


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested settings with its dotted path."""
    for name, value in tree.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from leaves(value, path)
        else:
            yield path, list(value) if isinstance(value, tuple) else value


def parse_card(text: str | bytes, kind: type[AnyCard], newest: int, origin: str) -> AnyCard:
    """Parse a card, a dataclass kept as JSON with the number of its format.

    Raises RunError, naming `origin`, for anything else and for formats above `newest`.
    """
    try:
        plain = msgspec.json.decode(text)
        number = plain.get("format") if isinstance(plain, dict) else None
        if isinstance(number, int) and number > newest:
            formats = f"format {number}, this ganvas reads up to {newest}"
            raise RunError(f"{origin} has {formats}: upgrade ganvas")
        return msgspec.convert(plain, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"{origin} is damaged or not ganvas's: {error}") from None
