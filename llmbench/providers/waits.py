"""The wait that a provider asks for, in seconds, from its answer's headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

#: Stands for a wait without end, in seconds or milliseconds: longer than any deadline, and still a number
#: to reckon with.
ENDLESS: Final = 1e12


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait from `retry-after-ms`, or `retry-after` as seconds or an HTTP date."""
    millis, value = seconds(headers.get("retry-after-ms")), headers.get("retry-after")
    if millis is not None:
        return millis / 1000
    if value is None:
        return None
    if (wait_s := seconds(value)) is not None:
        return wait_s
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - (now or datetime.now(UTC))).total_seconds(), 0.0)


def seconds(text: str | None) -> float | None:
    """A number from 0 to `ENDLESS`, or None where the text is none; "inf" and "1e400" are `ENDLESS`."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else min(max(number, 0.0), ENDLESS)
