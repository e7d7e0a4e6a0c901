"""The official SDKs read what our test servers answer, and read it as we do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from llmbench.errors import ProviderError
from llmbench.messages import Usage
from llmbench.providers.failures import error_from
from llmbench.providers.send import wire_for
from tests.conformance.calls import ASK, USER
from tests.conformance.places import PLACES, Place
from tests.conformance.reading import arguments_of, of_sdk, ours
from tests.servers.answers import (
    CACHED,
    IN,
    OUT,
    REASONING,
    REFUSAL,
    WEATHER_CALL,
    gemini_answer,
    openai_chat_answer,
    openrouter_answer,
    responses_answer,
)
from tests.servers.chat_server import Step
from tests.servers.errors import AZURE_ERRORS, GEMINI_ERRORS, OPENAI_ERRORS, OPENROUTER_ERRORS

PLACE = {place.name: place for place in PLACES}
COUNTED = Usage(IN, OUT, CACHED, REASONING)
CALLED = (arguments_of(WEATHER_CALL),)
#: What the SDK's sending method needs at least.
LEAST = {
    "chat": {"messages": [USER]},
    "openrouter": {"messages": [USER]},
    "responses": {"input": ASK},
    "gemini": {"contents": ASK},
}


@dataclass(frozen=True)
class Answer:
    """One answer: what the SDK must say of it (`theirs` is the finish word) and what we must (`ours`)."""

    case: str
    place: str
    body: dict[str, Any]
    theirs: str
    ours: str
    text: str = ""
    calls: tuple[Any, ...] = ()
    usage: Usage = field(default=COUNTED)


FAILED = {"code": "server_error", "message": "The model failed."}
CALLS = [WEATHER_CALL]
ANSWERS = [
    Answer("success", "openai-chat", openai_chat_answer(), "stop", "stop", "42"),
    Answer("success-azure", "azure-chat-dated-key", openai_chat_answer(azure=True), "stop", "stop", "42"),
    Answer(
        "tool-call",
        "openai-chat",
        openai_chat_answer(None, finish="tool_calls", calls=CALLS),
        "tool_calls",
        "tool_calls",
        calls=CALLED,
    ),
    Answer("refusal", "openai-chat", openai_chat_answer(None, refusal=REFUSAL), "stop", "refusal", REFUSAL),
    Answer("length", "openai-chat", openai_chat_answer("", finish="length"), "length", "length"),
    Answer("empty", "openai-chat", openai_chat_answer(""), "stop", "empty"),
    Answer(
        "filter",
        "azure-chat-v1-bearer",
        openai_chat_answer("", finish="content_filter", azure=True),
        "content_filter",
        "content_filter",
    ),
    Answer("success", "openai-responses", responses_answer(), "completed", "stop", "42"),
    Answer(
        "success-azure",
        "azure-responses-dated-key",
        responses_answer(azure=True),
        "completed",
        "stop",
        "42",
    ),
    Answer(
        "tool-call",
        "openai-responses",
        responses_answer(calls=CALLS),
        "completed",
        "tool_calls",
        calls=CALLED,
    ),
    Answer("refusal", "openai-responses", responses_answer(refusal=REFUSAL), "completed", "refusal", REFUSAL),
    Answer(
        "length",
        "openai-responses",
        responses_answer(None, status="incomplete", reason="max_output_tokens"),
        "max_output_tokens",
        "length",
    ),
    Answer(
        "filter",
        "azure-responses-v1-bearer",
        responses_answer("The ", status="incomplete", reason="content_filter", azure=True),
        "content_filter",
        "content_filter",
        "The ",
    ),
    Answer("empty", "openai-responses", responses_answer(None), "completed", "empty"),
    Answer("success", "openrouter-chat", openrouter_answer(), "stop", "stop", "42"),
    Answer(
        "tool-call",
        "openrouter-chat",
        openrouter_answer(None, finish="tool_calls", calls=CALLS),
        "tool_calls",
        "tool_calls",
        calls=CALLED,
    ),
    Answer(
        "refusal", "openrouter-chat", openrouter_answer(None, refusal=REFUSAL), "stop", "refusal", REFUSAL
    ),
    Answer("length", "openrouter-chat", openrouter_answer("", finish="length"), "length", "length"),
    Answer(
        "filter",
        "openrouter-chat",
        openrouter_answer("", finish="content_filter"),
        "content_filter",
        "content_filter",
    ),
    Answer("success", "gemini-v1", gemini_answer(), "STOP", "stop", "42"),
    Answer("thoughts", "gemini-v1beta", gemini_answer(thought="Hm."), "STOP", "stop", "42"),
    Answer("tool-call", "gemini-v1", gemini_answer(calls=CALLS), "STOP", "tool_calls", calls=CALLED),
    Answer("length", "gemini-v1", gemini_answer(None, finish="MAX_TOKENS"), "MAX_TOKENS", "length"),
    Answer("filter", "gemini-v1", gemini_answer(None, finish="SAFETY"), "SAFETY", "content_filter"),
    Answer(
        "prompt-blocked",
        "gemini-v1",
        gemini_answer(blocked="PROHIBITED_CONTENT"),
        "PROHIBITED_CONTENT",
        "content_filter",
        usage=Usage(IN),
    ),
    Answer("empty", "gemini-v1", gemini_answer(None), "STOP", "empty"),
]


def spec_of(exchanges, place: Place):
    return exchanges.client(place).config.models["m"]


@pytest.mark.parametrize("answer", ANSWERS, ids=[f"{each.place}-{each.case}" for each in ANSWERS])
def test_the_sdk_reads_an_answer_as_we_do(exchanges, answer):
    place = PLACE[answer.place]
    exchanges.answer(Step(answer.body))
    theirs = of_sdk(place.dialect, exchanges.sdk(place).send(**LEAST[place.dialect]))
    mine = ours(wire_for(spec_of(exchanges, place)).parse(answer.body, {}))
    for read, finish in ((theirs, answer.theirs), (mine, answer.ours)):
        assert (read.text, read.finish, read.usage) == (answer.text, finish, answer.usage)
        assert read.calls == answer.calls


def test_a_failed_response_is_an_error_for_us_where_the_sdk_returns_it(exchanges):
    body = responses_answer(status="failed", error=FAILED)
    exchanges.answer(Step(body))
    place = PLACE["openai-responses"]
    result = exchanges.sdk(place).send(**LEAST["responses"])
    assert (result.status, result.error.code) == ("failed", "server_error")
    with pytest.raises(ProviderError, match="The model failed") as caught:
        wire_for(spec_of(exchanges, place)).parse(body, {})
    assert caught.value.kind == "server_error"


def test_an_error_after_generation_began_is_one_for_us_where_openrouters_sdk_drops_it(exchanges):
    body = openrouter_answer("par", error={"code": 502, "message": "Upstream error"})
    exchanges.answer(Step(body))
    place = PLACE["openrouter-chat"]
    assert exchanges.sdk(place).send(**LEAST["openrouter"]).choices[0].finish_reason == "error"
    with pytest.raises(ProviderError, match="HTTP 502: Upstream error") as caught:
        wire_for(spec_of(exchanges, place)).parse(body, {})
    assert caught.value.kind == "server_error"


def test_openrouters_own_cost_is_read_as_its_sdk_reads_it(exchanges):
    body = openrouter_answer()
    exchanges.answer(Step(body))
    place = PLACE["openrouter-chat"]
    reply = wire_for(spec_of(exchanges, place)).parse(body, {})
    assert reply.reported_usd == exchanges.sdk(place).send(**LEAST["openrouter"]).usage.cost == 2.14e-05


# ---- errors

#: The class of each status in the SDKs' own names; Google has two classes for all of them.
_OPENAI = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
}
_OPENROUTER = {
    400: "BadRequestResponseError",
    401: "UnauthorizedResponseError",
    402: "PaymentRequiredResponseError",
    403: "ForbiddenResponseError",
    404: "NotFoundResponseError",
    429: "TooManyRequestsResponseError",
    500: "InternalServerResponseError",
    503: "ServiceUnavailableResponseError",
}
_GEMINI = {**dict.fromkeys((400, 401, 404, 429), "ClientError"), **dict.fromkeys((500, 503), "ServerError")}
#: Cases whose name is not the kind itself.
_KINDS = {
    "unsupported_value": "unsupported_param",
    "auth_flat": "auth",
    "unauthenticated": "auth",
    "overloaded": "server_error",
}
ERRORS = [
    (place, meaning, step, classes[step.status])
    for place, table, classes in (
        ("openai-chat", OPENAI_ERRORS, _OPENAI),
        ("openai-responses", OPENAI_ERRORS, _OPENAI),
        ("azure-chat-dated-key", AZURE_ERRORS, _OPENAI),
        ("azure-responses-dated-key", AZURE_ERRORS, _OPENAI),
        ("openrouter-chat", OPENROUTER_ERRORS, _OPENROUTER),
        ("gemini-v1", GEMINI_ERRORS, _GEMINI),
    )
    for meaning, step in table.items()
]


@pytest.mark.parametrize(
    ("place", "meaning", "step", "name"), ERRORS, ids=[f"{place}-{meaning}" for place, meaning, *_ in ERRORS]
)
def test_the_sdk_raises_an_error_of_the_class_we_mean(exchanges, place, meaning, step, name):
    exchanges.answer(step)
    with pytest.raises(Exception, match=r"\w") as caught:
        exchanges.sdk(PLACE[place]).send(**LEAST[PLACE[place].dialect])
    assert type(caught.value).__name__ == name
    status = getattr(caught.value, "status_code", None) or caught.value.code
    assert status == step.status
    error = error_from(step.status, step.headers, step.body)
    assert error.kind == _KINDS.get(meaning, meaning)
    assert (error.retry_after_s is not None) == (meaning == "rate_limit" or "retryDelay" in str(step.body))
