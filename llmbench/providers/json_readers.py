"""Reading a host's JSON without trust: a value of the wrong type reads as nothing. All pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_mapping(value: object) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """A list, or an empty one."""
    return list(value) if isinstance(value, list | tuple) else []


def as_mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list; what else it holds is passed over."""
    return [item for item in as_list(value) if isinstance(item, Mapping)]


def as_count(value: object) -> int:
    """A count of tokens: a whole number of at least 0, or 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def as_cost(value: object) -> float | None:
    """A cost in USD: a number of at least 0, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value >= 0 else None


def as_text(value: object) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None
