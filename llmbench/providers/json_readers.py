"""Reading a host's JSON without trust: a value of the wrong type reads as nothing. All pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: More is no cost of a call, and a whole number beyond a double cannot be reckoned with.
_MOST_USD: Final = 1e12


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
    """A count of tokens: a whole number of at least 0, or 0. No host counts beyond 64 bits."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    return value if is_count else 0  # type: ignore[return-value]  # it is an int, as told above


def as_cost(value: object) -> float | None:
    """A cost in USD: a number of at least 0, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _MOST_USD else None


def as_text(value: object) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None
