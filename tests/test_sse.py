"""Server-sent events: the same events come of the same bytes, however a network cuts them."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ProviderError
from llmbench.providers import base
from llmbench.providers.sse import event_object, events


async def _chunks(parts):
    for part in parts:
        yield part


def decode(*parts: bytes) -> list[str]:
    async def main() -> list[str]:
        return [event async for event in events(_chunks(parts))]

    return asyncio.run(main())


STREAM = (
    ': hello\r\n\r\ndata: {"a": "字幕\u2028"}\r\n\r\nevent: x\rdata: one\rdata: two\r\r'
    "data: a\r\ndata: b\r\n\r\ndata:three\n\n\n"
)
EVENTS = ['{"a": "字幕\u2028"}', "one\ntwo", "a\nb", "three"]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12))
def test_a_chunk_may_end_anywhere(cuts):
    whole = STREAM.encode()
    places = [0, *sorted(cuts), len(whole)]
    parts = [whole[start:end] for start, end in itertools.pairwise(places)]
    assert decode(*parts) == EVENTS


def test_every_byte_may_be_a_chunk_of_its_own():
    assert decode(*(bytes([byte]) for byte in STREAM.encode())) == EVENTS


@pytest.mark.parametrize(
    "keep_alive",
    [
        b": OPENROUTER PROCESSING\n\n",
        b":\n\n",
        b"data: : keepalive\n\n",
        b"data:\n\n",
        b"data\n\n",
        b"data: \r\n\r\n",
        b"event: ping\n\n",
        b"retry: 3000\nid: 7\n\n",
        b"\n\n\n",
        b"\r\n\r\n",
    ],
)
def test_a_keep_alive_is_no_event(keep_alive):
    assert decode(keep_alive, b"data: 1\n\n", keep_alive, b"data: 2\n\n", keep_alive) == ["1", "2"]


def test_a_comment_inside_an_event_does_not_end_it():
    assert decode(b"data: a\n: still here\ndata: b\n\n") == ["a\nb"]


def test_only_the_first_space_after_the_colon_is_taken_away_and_a_field_that_begins_alike_is_another():
    assert decode(b"data:{}\n\ndatas: 1\n\ndata: a: b\ndata:  c\n\n") == ["{}", "a: b\n c"]


def test_the_last_event_needs_no_blank_line_and_no_line_end():
    assert decode(b"data: 1\n\ndata: 2") == ["1", "2"]
    assert decode(b"data: 1\n\ndata: 2\n") == ["1", "2"]


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    assert decode(b"\xef\xbb", b"\xbfdata: 1\n\n") == ["1"]


def test_a_broken_character_costs_no_more_than_itself():
    assert decode(b'data: "\xff"\n\n') == ['"\ufffd"']


def test_a_stream_without_end_is_left_at_the_cap(monkeypatch):
    monkeypatch.setattr(base, "MAX_REPLY_BYTES", 100)
    assert len(decode(*[b"data: 12\n\n"] * 10)) == 10
    with pytest.raises(ProviderError) as caught:
        decode(*[b"x" * 10] * 11)
    assert caught.value.kind == "malformed"


def test_an_event_that_is_no_json_object_is_malformed_and_quoted():
    assert event_object("[DONE]") is None
    assert event_object('{"a": 1}') == {"a": 1}
    for wrong in ("[1]", "null", "{", "NaN", '{"a": NaN}', "done"):
        with pytest.raises(ProviderError, match="not a JSON object") as caught:
            event_object(wrong)
        assert caught.value.kind == "malformed"
