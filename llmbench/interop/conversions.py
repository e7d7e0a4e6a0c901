"""Values of foreign logs to values of ours: the look-up by path, and the named conversions. All pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping as AnyMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llmbench.interop.mapping import Convert

#: A name is no longer; a prompt that a mapping takes for a name is refused by it.
LONGEST_NAME: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Epoch numbers from these on are in so many units a second.
_EPOCH_UNITS: Final = ((1e17, 10**9), (1e14, 10**6), (1e11, 10**3))
_YEARS: Final = range(2000, 2101)
_LARGEST: Final = 2**63 - 1  # of the warehouse's whole numbers


class Unmapped(ValueError):
    """A row that makes no telemetry line. `kind` is the reason without what differs from row to row."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


def is_missing(value: Any) -> bool:
    """Whether a source says nothing: null, an empty text, or what PostgreSQL and Python write for null."""
    return value is None or (isinstance(value, str) and value.strip() in ("", r"\N", "None"))


def value_at(row: AnyMapping[str, Any], path: str) -> Any:
    """What stands at a dotted path, None where it leads nowhere.

    A key that has dots itself wins over a way through them. A text on the way that holds JSON is read.
    """
    value: Any = row
    rest = path
    while rest:
        value = opened(value)
        if isinstance(value, AnyMapping) and rest in value:
            return value[rest]
        part, _, rest = rest.partition(".")
        if isinstance(value, AnyMapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def opened(value: Any) -> Any:
    """An object or a list that was written as a text; any other value as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def convert(value: Any, how: Convert, path: str) -> Any:
    """Read a value that is there.

    Raises:
        Unmapped: it cannot be read so.
    """
    if how == "text":
        return as_name(value, path)
    if how == "time":
        return as_time(value, path)
    number = as_number(value, path)
    if how == "seconds_to_ms":
        return round(number * 1000, 3)
    if how == "integer":
        if not number.is_integer() or number > _LARGEST:
            raise Unmapped("not a whole number", f"`{path}` is {_shown(value)}")
        return int(number)
    return number


def as_name(value: Any, path: str) -> str:
    """A name on one line: a text, or a number or truth value as JSON writes it.

    Raises:
        Unmapped: it is an object or a list, or longer than a name can be.
    """
    if isinstance(value, AnyMapping | list):
        raise Unmapped("not a name", f"`{path}` holds {'a list' if isinstance(value, list) else 'an object'}")
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > LONGEST_NAME:
        raise Unmapped("not a name", f"`{path}` has {len(text)} characters, a name at most {LONGEST_NAME}")
    return " ".join(text.split())


def as_number(value: Any, path: str) -> float:
    """A number that is finite and not below zero, also out of a text.

    Raises:
        Unmapped: it is none.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Unmapped("not a number", f"`{path}` is {_shown(value)}")
    if number < 0:
        raise Unmapped("a negative number", f"`{path}` is {_shown(value)}")
    return number


def as_time(value: Any, path: str) -> datetime:
    """A moment in UTC out of ISO 8601 (no zone means UTC) or an epoch number (s, ms, µs or ns by its size).

    A text may have quotes of its own around it: some CSV exports write dates as JSON.

    Raises:
        Unmapped: it is no moment between 2000 and 2100; a day without a time is none.
    """
    text = value.strip().strip('"') if isinstance(value, str) else value
    try:
        is_iso = isinstance(text, str) and not _is_number(text)
        moment = _iso(text) if is_iso else _epoch(as_number(text, path))
    except (Unmapped, ValueError, OverflowError):
        moment = None
    if moment is None or moment.year not in _YEARS:
        raise Unmapped("no time", f"`{path}` is {_shown(value)}")
    return moment


def milliseconds(earlier: datetime, later: datetime, path: str) -> float:
    """From one moment to another.

    Raises:
        Unmapped: the later one comes first.
    """
    gap = (later - earlier) / timedelta(milliseconds=1)
    if gap < 0:
        raise Unmapped("a negative duration", f"`{path}` lies {-gap:g} ms before the start")
    return round(gap, 3)


def iso_utc(moment: datetime) -> str:
    """A moment as telemetry writes it: ISO 8601 with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _iso(text: str) -> datetime | None:
    if len(text) < len("2026-01-01T00"):
        return None  # a day, not a time
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _epoch(number: float) -> datetime:
    per_second = next((unit for least, unit in _EPOCH_UNITS if number >= least), 1)
    return _EPOCH + timedelta(seconds=number / per_second)


def _shown(value: Any) -> str:
    """A value in a message: numbers and short texts as they are, of all others the type and size."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"a text of {len(value)} characters"
    if isinstance(value, AnyMapping | list):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return repr(value)
