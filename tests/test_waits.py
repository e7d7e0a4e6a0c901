"""The wait that a host asks for: seconds that can be reckoned with, whatever the header says."""

from __future__ import annotations

import math

import pytest

from llmbench.providers.waits import ENDLESS, retry_after_s


@pytest.mark.parametrize("text", ["inf", "Infinity", "1e400", "1e300"])
def test_a_wait_without_end_is_longer_than_any_deadline_and_finite(text):
    for headers in ({"retry-after": text}, {"retry-after-ms": text}):
        wait_s = retry_after_s(headers)
        assert wait_s is not None
        assert math.isfinite(wait_s)
        assert wait_s >= ENDLESS / 1000 > 10 * 24 * 3600


@pytest.mark.parametrize(
    ("text", "wait_s"), [("nan", None), ("soon", None), ("-inf", 0), ("-3", 0), ("2.5", 2.5)]
)
def test_other_numbers_mean_what_they_say(text, wait_s):
    assert retry_after_s({"retry-after": text}) == wait_s
