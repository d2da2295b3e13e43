"""Options: frozen dataclasses with one line of meaning per field, set by name from text.

Every method, network and section of the configuration declares its options so::

    @dataclass(frozen=True)
    class Options:
        consistency: float = option(0.1, "largest weight of the consistency loss", minimum=0.0)

and they are set by dotted names (``method.consistency=0.2``). What does not fit is refused in one line that names
the key, what is allowed and the nearest name.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from paucis.errors import PaucisError
from paucis.registry import nearest

T = TypeVar("T")


def option(
    default: Any,
    meaning: str,
    *,
    choices: tuple[Any, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    file: bool = False,
) -> Any:
    """A field of an options dataclass: its default, one line of meaning, and what values it may take.

    ``file`` says that it names a file: a run keeps its whole path, since it may go on from another folder.
    """
    meta = {"meaning": meaning, "choices": choices, "minimum": minimum, "maximum": maximum, "file": file}
    return dataclasses.field(default=default, metadata=meta)


@dataclass(frozen=True)
class Described:
    """One option as ``paucis methods`` lists it."""

    name: str
    type: str
    default: Any
    meaning: str
    choices: tuple[Any, ...] | None = None


def describe(options: type[Any]) -> list[Described]:
    """Every option of a dataclass with its type, default and meaning."""
    hints = typing.get_type_hints(options)
    return [
        Described(
            field.name,
            _type_name(hints[field.name]),
            field.default,
            field.metadata.get("meaning", ""),
            field.metadata.get("choices"),
        )
        for field in dataclasses.fields(options)
        if field.default is not dataclasses.MISSING
    ]


def build(options: type[T], values: dict[str, Any], prefix: str = "") -> T:
    """The options dataclass with ``values`` in place of defaults.

    Args:
        options: a dataclass whose fields all have defaults.
        values: field name to value; text is read as the field's type (``0.1``, ``true``, ``none``, ``1,2,3``).
        prefix: what stands before the names in messages, such as ``method.``.

    Raises:
        PaucisError: an unknown name, a wrong type, or a value outside the allowed ones.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(options)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            known = ", ".join(sorted(fields)) or "it has none"
            hint = nearest(f"{prefix}{name}", [f"{prefix}{field}" for field in fields])
            raise PaucisError(f"unknown option '{prefix}{name}'{hint} (options: {known})")
        read[name] = convert(value, hints[name], f"{prefix}{name}")
        _check(read[name], fields[name].metadata, f"{prefix}{name}")
    return options(**read)


def convert(value: Any, hint: Any, key: str) -> Any:
    """``value`` as the type ``hint``; text is parsed, numbers are not rounded silently.

    Raises:
        PaucisError: the value does not fit; the message names ``key`` and the type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    wrong = PaucisError(f"{key}={_shown(value)} is not {_type_name(hint)}")
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            if type(None) in arguments:
                return None
            raise wrong
        for choice in arguments:
            if choice is not type(None):
                try:
                    return convert(value, choice, key)
                except PaucisError:
                    continue
        raise wrong
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise PaucisError(f"{key}={_shown(value)} must be one of {', '.join(map(str, arguments))}")
    if origin is tuple:
        items = value.strip("()[] ").split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            items = [items]
        items = [item.strip() if isinstance(item, str) else item for item in items if item != ""]
        if arguments[-1] is Ellipsis:
            return tuple(convert(item, arguments[0], key) for item in items)
        if len(items) != len(arguments):
            raise wrong
        return tuple(convert(item, kind, key) for item, kind in zip(items, arguments, strict=True))
    return _scalar(value, hint, wrong)


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """``["train.steps=300", "network=vnet"]`` as ``{"train.steps": "300", "network": "vnet"}``.

    Raises:
        PaucisError: an argument without ``=``, or the same key twice.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key or key.startswith("-"):
            raise PaucisError(f"'{argument}' is not understood; options are written key=value, such as train.steps=300")
        if key in values:
            raise PaucisError(f"'{key}' is given twice: keep one of the two")
        values[key] = value
    return values


def _scalar(value: Any, hint: Any, wrong: PaucisError) -> Any:
    if hint is Any:
        return value
    if hint is str:
        if isinstance(value, dict | list):
            raise wrong
        return str(value)
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value) if hint is bool else hint(value)
        except (ValueError, yaml.YAMLError):
            if hint is not int:
                raise wrong from None
            try:
                value = float(value)  # 3e2 is a whole number too
            except ValueError:
                raise wrong from None
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise wrong
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if not math.isfinite(value) or (hint is int and float(value) != int(value)):
        raise wrong
    return hint(value)


def _check(value: Any, metadata: Any, key: str) -> None:
    choices, low, high = metadata.get("choices"), metadata.get("minimum"), metadata.get("maximum")
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item is not None and item not in choices:
            hint = nearest(str(item), [str(choice) for choice in choices])
            raise PaucisError(f"{key}={_shown(item)} must be one of {', '.join(map(str, choices))}{hint}")
        if isinstance(item, int | float) and not isinstance(item, bool):
            if low is not None and item < low:
                raise PaucisError(f"{key}={item} must be at least {low:g}")
            if high is not None and item > high:
                raise PaucisError(f"{key}={item} must be at most {high:g}")


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    if hint in names:
        return names[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments)
    if origin is tuple:
        kinds = [_type_name(argument).split(" ", 1)[-1] for argument in arguments if argument is not Ellipsis]
        return f"a comma-separated list of {kinds[0]}s" if kinds else "a list"
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    return str(getattr(hint, "__name__", hint))
