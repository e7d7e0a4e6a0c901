"""The caller's extra_body, put into a request's body. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmbench.errors import ParamError


def with_extra(
    body: Mapping[str, Any], extra: Mapping[str, Any], where: str = "extra_body"
) -> dict[str, Any]:
    """The body with the keys of extra_body put in, level by level; `where` names the place in errors.

    Raises:
        ParamError: both set the same key; neither is dropped for the other.
    """
    merged = dict(body)
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = with_extra(merged[key], value, f"{where}.{key}")
        elif key in merged:
            raise ParamError(f"{where}.{key}: the router sets it too, from the call; keep one")
        else:
            merged[key] = value
    return merged
