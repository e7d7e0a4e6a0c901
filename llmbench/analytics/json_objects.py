"""Files of a run folder as JSON objects whose absent keys read as None: an older writer leaves some out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmbench.bounded import MAX_DOCUMENT_BYTES, read_text
from llmbench.errors import WarehouseError


class Facts(dict[str, Any]):
    """A JSON object whose absent keys read as None."""

    def __missing__(self, key: str) -> None:
        return None


def read_object(path: Path, advice: str) -> Facts:
    """The JSON object in a file; `advice` says what to do when there is none.

    Raises:
        WarehouseError: the file is missing, unreadable, or holds no JSON object.
    """
    whole = path.absolute()  # a name alone has no folder to tell
    where = f"{whole.name} in {whole.parent.name}"
    try:
        value = json.loads(read_text(path, MAX_DOCUMENT_BYTES), parse_constant=lambda _: None)
    except RecursionError as error:
        raise WarehouseError(f"{where} is nested too deeply: {advice}") from error
    except OSError as error:
        raise WarehouseError(f"{where} cannot be read ({error.strerror or error}): {advice}") from error
    except ValueError as error:
        raise WarehouseError(f"{where} is not JSON ({error}): {advice}") from error
    if not isinstance(value, dict):
        raise WarehouseError(f"{where} is not a JSON object: {advice}")
    return Facts(value)


def as_object(value: object) -> Facts:
    """A value as an object; anything else is an empty one."""
    return Facts(value) if isinstance(value, Mapping) else Facts()


def as_objects(value: object) -> list[Facts]:
    """The objects of a list; anything else is left out."""
    return [Facts(each) for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def as_texts(value: object) -> list[str]:
    """The values of a list as texts; anything else is an empty list."""
    return [str(each) for each in value] if isinstance(value, list) else []


def as_number(value: object) -> float | None:
    """A number, or None for anything else: a text must not stop a report."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
