"""What is left of a provider's rate limits, from the headers of its answer.

Sources: OpenAI's and Azure OpenAI's `x-ratelimit-remaining-requests`, `-remaining-tokens`, `-reset-requests`
and `-reset-tokens` (durations such as `1s`, `6m0s`, `120ms`); OpenRouter's `x-ratelimit-remaining` and
`x-ratelimit-reset` (milliseconds since 1970).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final

from llmbench.messages import RateLeft
from llmbench.providers.waits import seconds

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_KINDS: Final = ("-requests", "-tokens", "")


def rate_left(headers: Mapping[str, str], now_s: float | None = None) -> RateLeft | None:
    """What headers (in lower case) say is left, or None when they say nothing that can be read.

    `now_s` is the time in seconds since 1970; the clock's by default.
    """
    found: dict[str, tuple[int, float | None]] = {}
    for kind in _KINDS:
        left = seconds(headers.get(f"x-ratelimit-remaining{kind}"))
        if left is not None:
            reset = headers.get(f"x-ratelimit-reset{kind}")
            found[kind] = (int(left), _reset_s(reset, time.time() if now_s is None else now_s))
    if not found:
        return None
    requests = found.get("-requests") or found.get("")
    tokens = found.get("-tokens")
    used_up = [each for each in (requests, tokens) if each is not None and each[0] == 0]
    asked = used_up or [each for each in (requests,) if each is not None]  # what is left needs no reset
    known = [wait for _, wait in asked if wait is not None]
    return RateLeft(
        requests=requests[0] if requests else None,
        tokens=tokens[0] if tokens else None,
        reset_s=max(known, default=None),
        tokens_reset_s=tokens[1] if tokens else None,
    )


def _reset_s(text: str | None, now_s: float) -> float | None:
    """Seconds until a reset: a duration, a number of seconds, or a moment in milliseconds since 1970."""
    if text is None:
        return None
    if re.fullmatch(r"\d{12,15}", text):
        return max(int(text) / 1000 - now_s, 0.0)
    if (number := seconds(text)) is not None:
        return number
    parts = _PART.findall(text)
    if not parts or "".join(value + unit for value, unit in parts) != text.strip():
        return None
    return sum(float(value) * _UNITS[unit] for value, unit in parts)
