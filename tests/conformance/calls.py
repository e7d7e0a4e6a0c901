"""The calls that our client and an official SDK make side by side, one list a dialect.

Each is written twice: as a caller of llmbench says it (`prompt`, `options`), and as a user of the official
SDK does (`sdk`, keyword arguments). What is compared is what leaves, in test_requests.py.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da63fcff1f0002eb01f5f4cfe1960000000049454e44ae426082"
)
DATA_URL = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
PHOTO_URL = "https://photos.example/a.png"
SYSTEM, ASK = "簡潔に。Be terse.", "What is 6*7?"
#: What llmbench adds in JSON mode: hosts refuse it where no message has the word.
JSON_MODE = "Answer with one JSON object and nothing else."
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["answer", "score"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"answer": {"type": "string"}}}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
#: What every server here answers: it meets both schemas.
RECORD = '{"answer":"42","score":1}'


@dataclass(frozen=True)
class Call:
    """One call in both tongues."""

    name: str
    sdk: Mapping[str, Any]
    prompt: str | Sequence[Mapping[str, Any]] = ASK
    options: Mapping[str, Any] = field(default_factory=dict)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def image(url: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def tool(name: str = "get_weather", **more: Any) -> dict[str, Any]:
    function = {"name": name, "description": "The weather of a city.", "parameters": CITY}
    return {"type": "function", "function": {**function, **more}}


def asked(number: int, city: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'}
    return {"id": f"call_{number}", "type": "function", "function": function}


USER = said("user", ASK)
TALK = [said("system", SYSTEM), USER, said("assistant", "42."), said("user", "And 7*8?")]
LOOK = [said("user", [words("What is this?"), image(DATA_URL, detail="low")])]
LOOK_FAR = [said("user", [words("Compare."), image(PHOTO_URL), image(DATA_URL), words("Which is red?")])]
WEATHER = [
    said("user", "Weather in Oslo?"),
    said("assistant", None, tool_calls=[asked(1, "Oslo")]),
    said("tool", '{"sky": "clear"}', tool_call_id="call_1"),
]
WEATHERS = [
    said("user", "Weather in Oslo and Bergen?"),
    said("assistant", "Let me see.", tool_calls=[asked(1, "Oslo"), asked(2, "Bergen")]),
    said("tool", '{"sky": "clear"}', tool_call_id="call_1"),
    said("tool", "rain", tool_call_id="call_2"),
    said("user", "In one word?"),
]
PICK = {"type": "function", "function": {"name": "get_weather"}}


def schema_form(schema: Mapping[str, Any] = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


# ---- Chat Completions: OpenAI, Azure


def chat_calls(limit: str = "max_completion_tokens") -> list[Call]:
    """Calls of the Chat Completions dialect; `limit` is the name of the output limit."""
    strict = schema_form(strict=True)
    everything = {
        "messages": [said("system", SYSTEM), *LOOK],
        limit: 512,
        "reasoning_effort": "low",
        "seed": 7,
        "verbosity": "low",
        "tools": [tool(strict=True)],
        "tool_choice": "auto",
        "response_format": strict,
    }
    return [
        Call("minimal", {"messages": [USER]}),
        Call("system-user", {"messages": [said("system", SYSTEM), USER]}, [said("system", SYSTEM), USER]),
        Call("developer", {"messages": [said("developer", SYSTEM), USER]}, [said("developer", SYSTEM), USER]),
        Call("multi-turn", {"messages": TALK}, TALK),
        Call("named-user", {"messages": [said("user", ASK, name="ann")]}, [said("user", ASK, name="ann")]),
        Call("image-data", {"messages": LOOK}, LOOK),
        Call("images-https", {"messages": LOOK_FAR}, LOOK_FAR),
        Call(
            "tools-auto",
            {"messages": [USER], "tools": [tool()], "tool_choice": "auto"},
            options={"tools": [tool()], "tool_choice": "auto"},
        ),
        Call(
            "tools-strict-required",
            {"messages": [USER], "tools": [tool(strict=True)], "tool_choice": "required"},
            options={"tools": [tool(strict=True)], "tool_choice": "required"},
        ),
        Call(
            "tool-picked",
            {"messages": [USER], "tools": [tool(), tool("other")], "tool_choice": PICK},
            options={"tools": [tool(), tool("other")], "tool_choice": PICK},
        ),
        Call(
            "tool-result",
            {"messages": WEATHER, "tools": [tool()]},
            WEATHER,
            {"tools": [tool()]},
        ),
        Call("tool-results", {"messages": WEATHERS, "tools": [tool()]}, WEATHERS, {"tools": [tool()]}),
        Call("limit", {"messages": [USER], limit: 64}, options={"max_tokens": 64}),
        Call("effort", {"messages": [USER], "reasoning_effort": "low"}, options={"reasoning": "low"}),
        Call("effort-none", {"messages": [USER], "reasoning_effort": "none"}, options={"reasoning": "none"}),
        Call(
            "sampling",
            {"messages": [USER], "temperature": 0.2, "top_p": 0.9, "seed": 7},
            options={"temperature": 0.2, "top_p": 0.9, "seed": 7},
        ),
        Call(
            "penalties",
            {"messages": [USER], "presence_penalty": 0.1, "frequency_penalty": -0.1},
            options={"presence_penalty": 0.1, "frequency_penalty": -0.1},
        ),
        Call("stop", {"messages": [USER], "stop": ["\n\n", "終"]}, options={"stop": ["\n\n", "終"]}),
        Call("stop-text", {"messages": [USER], "stop": "\n\n"}, options={"stop": "\n\n"}),
        Call(
            "schema-strict",
            {"messages": [USER], "response_format": strict},
            options={"response_format": strict},
        ),
        Call(
            "schema-loose",
            {"messages": [USER], "response_format": schema_form(LOOSE)},
            options={"response_format": schema_form(LOOSE)},
        ),
        Call(
            "json-mode",
            {"messages": [said("system", JSON_MODE), USER], "response_format": {"type": "json_object"}},
            options={"response_format": {"type": "json_object"}},
        ),
        Call("verbosity", {"messages": [USER], "verbosity": "low"}, options={"verbosity": "low"}),
        Call(
            "extra",
            {"messages": [USER], "user": "u1", "parallel_tool_calls": False},
            options={"extra_body": {"user": "u1", "parallel_tool_calls": False}},
        ),
        Call(
            "everything",
            everything,
            [said("system", SYSTEM), *LOOK],
            {
                "max_tokens": 512,
                "reasoning": "low",
                "seed": 7,
                "verbosity": "low",
                "tools": [tool(strict=True)],
                "tool_choice": "auto",
                "response_format": strict,
            },
        ),
    ]


# ---- OpenRouter: Chat Completions with its own additions


def openrouter_calls() -> list[Call]:
    routing = {"order": ["deepinfra"], "require_parameters": True}
    own = [
        Call(
            "effort",
            {"messages": [USER], "reasoning": {"effort": "low"}},
            options={"reasoning": "low"},
        ),
        Call(
            "effort-none",
            {"messages": [USER], "reasoning": {"effort": "none"}},
            options={"reasoning": "none"},
        ),
        Call("top-k", {"messages": [USER], "top_k": 40}, options={"top_k": 40}),
        Call(
            "routing",
            {"messages": [USER], "provider": routing, "models": ["a/b", "c/d"]},
            options={"extra_body": {"provider": routing, "models": ["a/b", "c/d"]}},
        ),
    ]
    #: The SDK's request type has no field for these.
    lacking = {"verbosity", "effort", "effort-none", "everything"}
    return [call for call in chat_calls("max_tokens") if call.name not in lacking] + own


# ---- Responses: OpenAI, Azure


def _flat(chat_tool: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    return {"type": "function", **chat_tool["function"], "strict": strict}


def _input(role: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def _text(text: str) -> dict[str, str]:
    return {"type": "input_text", "text": text}


def _called(number: int, city: str) -> dict[str, str]:
    function = asked(number, city)["function"]
    return {"type": "function_call", "call_id": f"call_{number}", **function}


def _output(number: int, output: str) -> dict[str, str]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": output}


def responses_calls() -> list[Call]:
    look = [
        _input(
            "user", _text("What is this?"), {"type": "input_image", "image_url": DATA_URL, "detail": "low"}
        )
    ]
    far = [
        _input(
            "user",
            _text("Compare."),
            {"type": "input_image", "image_url": PHOTO_URL},
            {"type": "input_image", "image_url": DATA_URL},
            _text("Which is red?"),
        )
    ]
    talk = [said("user", ASK), said("assistant", "42."), said("user", "And 7*8?")]
    weathers = [
        said("user", "Weather in Oslo and Bergen?"),
        said("assistant", "Let me see."),
        _called(1, "Oslo"),
        _called(2, "Bergen"),
        _output(1, '{"sky": "clear"}'),
        _output(2, "rain"),
        said("user", "In one word?"),
    ]
    flat = {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
    loose = {"type": "json_schema", "name": "answer", "schema": LOOSE}
    picked = {"type": "function", "name": "get_weather"}
    return [
        Call("minimal", {"input": ASK}),
        Call("system-user", {"instructions": SYSTEM, "input": ASK}, [said("system", SYSTEM), USER]),
        Call("developer", {"input": [said("developer", SYSTEM), USER]}, [said("developer", SYSTEM), USER]),
        Call("multi-turn", {"instructions": SYSTEM, "input": talk}, TALK),
        Call("image-data", {"input": look}, LOOK),
        Call("images-https", {"input": far}, LOOK_FAR),
        Call(
            "tools-auto",
            {"input": ASK, "tools": [_flat(tool(), strict=False)], "tool_choice": "auto"},
            options={"tools": [tool()], "tool_choice": "auto"},
        ),
        Call(
            "tools-strict-required",
            {"input": ASK, "tools": [_flat(tool(), strict=True)], "tool_choice": "required"},
            options={"tools": [tool(strict=True)], "tool_choice": "required"},
        ),
        Call(
            "tool-picked",
            {"input": ASK, "tools": [_flat(tool(), strict=False)], "tool_choice": picked},
            options={"tools": [tool()], "tool_choice": PICK},
        ),
        Call(
            "tool-result",
            {
                "input": [
                    said("user", "Weather in Oslo?"),
                    _called(1, "Oslo"),
                    _output(1, '{"sky": "clear"}'),
                ],
                "tools": [_flat(tool(), strict=False)],
            },
            WEATHER,
            {"tools": [tool()]},
        ),
        Call(
            "tool-results",
            {"input": weathers, "tools": [_flat(tool(), strict=False)]},
            WEATHERS,
            {"tools": [tool()]},
        ),
        Call("limit", {"input": ASK, "max_output_tokens": 64}, options={"max_tokens": 64}),
        Call("effort", {"input": ASK, "reasoning": {"effort": "low"}}, options={"reasoning": "low"}),
        Call("effort-none", {"input": ASK, "reasoning": {"effort": "none"}}, options={"reasoning": "none"}),
        Call(
            "sampling",
            {"input": ASK, "temperature": 0.2, "top_p": 0.9},
            options={"temperature": 0.2, "top_p": 0.9},
        ),
        Call(
            "schema-strict",
            {"input": ASK, "text": {"format": flat}},
            options={"response_format": schema_form(strict=True)},
        ),
        Call(
            "schema-loose",
            {"input": ASK, "text": {"format": loose}},
            options={"response_format": schema_form(LOOSE)},
        ),
        Call(
            "json-mode",
            {"instructions": JSON_MODE, "input": ASK, "text": {"format": {"type": "json_object"}}},
            options={"response_format": {"type": "json_object"}},
        ),
        Call("verbosity", {"input": ASK, "text": {"verbosity": "low"}}, options={"verbosity": "low"}),
        Call(
            "extra",
            {"input": ASK, "user": "u1", "include": ["reasoning.encrypted_content"]},
            options={"extra_body": {"user": "u1", "include": ["reasoning.encrypted_content"]}},
        ),
        Call(
            "everything",
            {
                "instructions": SYSTEM,
                "input": look,
                "max_output_tokens": 512,
                "reasoning": {"effort": "low"},
                "text": {"format": flat, "verbosity": "low"},
                "tools": [_flat(tool(), strict=True)],
                "tool_choice": "auto",
                "store": False,
            },
            [said("system", SYSTEM), *LOOK],
            {
                "max_tokens": 512,
                "reasoning": "low",
                "verbosity": "low",
                "response_format": schema_form(strict=True),
                "tools": [tool(strict=True)],
                "tool_choice": "auto",
            },
        ),
    ]
