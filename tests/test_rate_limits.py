"""What a provider's headers say is left: read from real answers, and from anything else without an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.messages import RateLeft
from llmbench.providers.rate_limits import rate_left

CAPTURES = Path(__file__).parents[2] / "shared" / "wire" / "captures"
LEFT, RESET = "x-ratelimit-remaining", "x-ratelimit-reset"


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({}, None),
        ({"x-ratelimit-limit-requests": "500"}, None),
        ({f"{LEFT}-requests": "many"}, None),
        ({f"{LEFT}-requests": "59", f"{RESET}-requests": "1s"}, RateLeft(59, None, 1.0)),
        ({f"{LEFT}-requests": "0", f"{RESET}-requests": "6m0s"}, RateLeft(0, None, 360.0)),
        ({f"{LEFT}-requests": "7", f"{RESET}-requests": "120ms"}, RateLeft(7, None, 0.12)),
        ({f"{LEFT}-requests": "7", f"{RESET}-requests": "1h2m3.5s"}, RateLeft(7, None, 3723.5)),
        ({f"{LEFT}-requests": "7", f"{RESET}-requests": "20"}, RateLeft(7, None, 20.0)),
        ({f"{LEFT}-requests": "7", f"{RESET}-requests": "soon"}, RateLeft(7, None, None)),
        ({f"{LEFT}-requests": "7", f"{RESET}-requests": "1s later"}, RateLeft(7, None, None)),
        ({f"{LEFT}-tokens": "149984", f"{RESET}-tokens": "6ms"}, RateLeft(None, 149984, None)),
        ({f"{LEFT}-tokens": "0", f"{RESET}-tokens": "6ms"}, RateLeft(None, 0, 0.006)),
        ({f"{LEFT}-requests": "-1", f"{RESET}-requests": "2s"}, RateLeft(0, None, 2.0)),
        ({LEFT: "0", RESET: "1741305660000"}, RateLeft(0, None, 60.0)),
        ({LEFT: "3", RESET: "1741305000000"}, RateLeft(3, None, 0.0)),
    ],
    ids=str,
)
def test_what_is_left_and_when_there_is_more(headers, left):
    found = rate_left(headers, now_s=1741305600.0)
    assert (found and (found.requests, found.tokens, found.reset_s)) == (
        left and (left.requests, left.tokens, left.reset_s)
    )


def test_the_reset_is_that_of_what_is_used_up():
    """The reset of a limit that is not used up says when it is whole again; nobody waits for that."""
    resets = {f"{RESET}-requests": "50s", f"{RESET}-tokens": "2s"}
    for requests, tokens, reset_s in ((9, 0, 2.0), (0, 9, 50.0), (0, 0, 50.0), (9, 9, 50.0)):
        headers = {f"{LEFT}-requests": str(requests), f"{LEFT}-tokens": str(tokens), **resets}
        assert rate_left(headers) == RateLeft(requests, tokens, reset_s, tokens_reset_s=2.0)


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captured answers are not here")
def test_every_captured_answer_is_read_and_those_with_such_headers_say_what_they_say():
    read = {}
    for path in sorted(CAPTURES.glob("*.json")):
        capture = json.loads(path.read_text(encoding="utf-8"))
        response = capture.get("response") if isinstance(capture, dict) else None
        if not isinstance(response, dict) or not isinstance(response.get("headers"), dict):
            continue
        headers = {name.lower(): str(value) for name, value in response["headers"].items()}
        found = rate_left(headers, now_s=0.0)
        assert (found is not None) == any(name.startswith(LEFT) for name in headers), path.name
        if found is not None:
            read[path.stem] = found
            named = headers.get(f"{LEFT}-requests") or headers.get(LEFT)
            assert named is None or found.requests == int(named), path.name
            assert found.reset_s is None or found.reset_s >= 0.0
    assert {name.partition("-")[0] for name in read} >= {"azure", "openai", "openrouter"}


name = st.sampled_from(
    [f"{kind}{suffix}" for kind in (LEFT, RESET) for suffix in ("-requests", "-tokens", "")]
)
duration = st.from_regex(r"([0-9]{1,400}(\.[0-9]+)?(ms|s|m|h|d)){1,3}", fullmatch=True)
number = st.one_of(st.integers(), st.floats()).map(str)


@given(st.dictionaries(name, st.one_of(st.text(), duration, number, st.text("0123456789.e-+msh"))))
def test_no_header_raises_and_no_figure_is_negative_or_no_number(headers):
    found = rate_left(headers)
    if found is not None:
        assert found.requests is None or found.requests >= 0
        assert found.tokens is None or found.tokens >= 0
        assert found.reset_s is None or found.reset_s >= 0.0
