"""Streams through the door: pieces as they come, one telemetry line, and never two models' text."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llmbench import FallbackExhausted, LLMClient, ParamError, ProviderError, RouteError
from llmbench.messages import Usage
from llmbench.providers.scripted import ScriptedTransport, StreamReply, chat_reply, chat_stream_reply

PIECES = ["字幕：", "犬が", "走る。"]


@pytest.fixture
def streaming(three_models, variables, tmp_path):
    """A client whose models answer streams from a script: model id -> its answers in turn."""
    opened = []

    def opening(script, **files):
        waiting = {model: iter(answers) for model, answers in script.items()}
        transport = ScriptedTransport(lambda asked: next(waiting[asked.body["model"]]))
        client = LLMClient(
            three_models(**files),
            variables=variables,
            log_path=tmp_path / "log.jsonl",
            transport=lambda: transport,
        )
        opened.append(client)
        return client, transport

    yield opening
    for client in opened:
        client.close()


def broken(*pieces: str) -> StreamReply:
    return chat_stream_reply(list(pieces), breaks_with=ProviderError("reset", kind="connect"))


def test_the_pieces_come_in_order_and_the_response_tells_the_whole(streaming, log):
    answer = chat_stream_reply(PIECES, usage=Usage(12, 6))
    client, transport = streaming({"m-a": [answer]})
    stream = client.stream("caption", "hi", max_tokens=50)
    assert list(stream) == PIECES
    response = stream.response
    assert (response.text, response.model, response.finish_reason) == ("".join(PIECES), "a", "stop")
    assert response.usage == Usage(12, 6)
    assert response.cost_usd == pytest.approx(24e-6)
    assert 0 < response.ttft_ms <= response.latency_ms
    assert transport.asked[0].body["stream"] is True
    (line,) = log()
    assert (line["status"], line["fallback_chain"], line["ttft_ms"]) == (
        "success",
        ["a"],
        round(response.ttft_ms, 3),
    )


def test_it_works_inside_a_running_loop_and_from_several_threads(streaming):
    client, _ = streaming({"m-a": [chat_stream_reply(PIECES) for _ in range(5)]})

    async def read():
        return [piece async for piece in client.stream("caption", "hi")]

    assert asyncio.run(read()) == PIECES
    read_here = []
    threads = [
        threading.Thread(target=lambda: read_here.append(list(client.stream("caption", "hi"))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert read_here == [PIECES] * 4


def test_a_stream_that_breaks_before_its_first_piece_goes_on_to_the_next_candidate(streaming, log):
    client, _ = streaming({"m-a": [broken()], "m-b": [chat_stream_reply(PIECES)]})
    stream = client.stream("caption", "hi")
    assert "".join(stream) == "".join(PIECES)
    assert stream.response.fallback_chain == ("a", "b")
    assert [attempt.get("error_kind") for attempt in log()[0]["attempts"]] == ["connect", None]


def test_a_stream_that_breaks_later_raises_with_the_text_so_far(streaming, log):
    client, transport = streaming({"m-a": [broken("字幕：", "犬が")]})
    stream = client.stream("caption", "hi")
    read = []
    with pytest.raises(FallbackExhausted) as caught:
        read.extend(stream)
    assert caught.value.output == "字幕：犬が"
    assert len(transport.asked) == 1
    (line,) = log()
    assert (line["status"], line["error_kind"], line["call_id"]) == ("fail", "connect", caught.value.call_id)


def test_a_stream_that_is_left_early_is_one_cancelled_line(streaming, log):
    client, _ = streaming({"m-a": [chat_stream_reply(PIECES)]})
    with client.stream("caption", "hi") as stream:
        assert next(stream) == PIECES[0]
    (line,) = log()
    assert (line["status"], line["error_kind"], line["fallback_chain"]) == ("fail", "cancelled", ["a"])


def test_a_refusal_is_the_text_of_the_stream_unless_the_policy_moves_on(streaming):
    refused = chat_reply("", finish_reason="stop")
    body = refused.body.replace(b'"content": ""', b'"content": null, "refusal": "No."')
    answer = StreamReply([body])
    client, _ = streaming({"m-a": [answer]})
    stream = client.stream("caption", "hi")
    assert list(stream) == ["No."]
    assert stream.response.finish_reason == "refusal"


def test_what_is_wrong_with_the_call_is_said_before_anything_is_sent(streaming):
    client, transport = streaming({})
    with pytest.raises(ParamError, match="did you mean 'temperature'"):
        client.stream("caption", "hi", temprature=0.5)
    with pytest.raises(RouteError):
        list(client.stream("caption", "hi", models="ghost"))
    assert transport.asked == []


def test_explain_shows_the_first_request_of_a_stream_but_for_what_asks_for_pieces(streaming):
    client, transport = streaming({"m-a": [chat_stream_reply(PIECES)]})
    asked = {"max_tokens": 9, "temperature": 0.5}
    list(client.stream("caption", "hi", **asked))
    flags = {"stream": True, "stream_options": {"include_usage": True}}
    assert transport.asked[0].body == {**client.explain("caption", "hi", **asked).bodies["a"], **flags}
