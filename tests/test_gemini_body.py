"""The body half of the Gemini wire: turns, parameters, tools and what is refused. No server is needed."""

from __future__ import annotations

import re

import pytest

from llmbench.catalog import ModelSpec
from llmbench.errors import ParamError
from llmbench.prompts import as_messages
from llmbench.providers.gemini import GeminiWire

WIRE = GeminiWire()
SPEC = ModelSpec("g", "google", "gemini-x")
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def body(prompt="hi", params=None, *, instruction=None, extra=None):
    return WIRE.body(SPEC, as_messages(prompt), params or {}, instruction, extra or {})


@pytest.mark.parametrize(
    ("params", "config"),
    [
        ({"thinkingLevel": "HIGH"}, {"thinkingLevel": "HIGH"}),
        ({"thinkingBudget": 300}, {"thinkingBudget": 300}),
        ({"thinkingBudget": -1}, {"thinkingBudget": -1}),
    ],
)
def test_reasoning_goes_by_the_models_rule(params, config):
    assert body(params=params)["generationConfig"] == {"thinkingConfig": config}


def test_what_the_guard_passes_is_in_the_body_even_under_a_name_unknown_here():
    sent = body(params={"verbosity": "low", "seed": 1, "response_format": {"type": "json_object"}})
    assert sent["generationConfig"] == {"verbosity": "low", "seed": 1, "responseMimeType": "application/json"}


def test_system_turns_and_the_instruction_are_one_text():
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    turns.append({"role": "developer", "content": [{"type": "text", "text": "Be kind."}]})
    sent = body(turns, instruction="Answer in JSON.")
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief.\n\nBe kind.\n\nAnswer in JSON."}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert body(instruction="I")["systemInstruction"] == {"parts": [{"text": "I"}]}


def image(url, **more):
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("data:image/jpeg;base64,/9j/", {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}}),
        ("data:image/svg+xml,%3Csvg/%3E", {"inlineData": {"mimeType": "image/svg+xml", "data": "PHN2Zy8+"}}),
        (
            "https://h.test/a.png?x=1",
            {"fileData": {"fileUri": "https://h.test/a.png?x=1", "mimeType": "image/png"}},
        ),
        ("https://h.test/v1beta/files/9", {"fileData": {"fileUri": "https://h.test/v1beta/files/9"}}),
    ],
)
def test_an_image_is_sent_inside_or_by_its_address(url, part):
    assert body([image(url)])["contents"] == [{"role": "user", "parts": [part]}]


def test_the_detail_of_the_images_is_the_resolution_of_the_request():
    low = image("https://h.test/a.png", detail="low")
    assert body([low, low])["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert "generationConfig" not in body([image("https://h.test/a.png", detail="auto")])


def test_a_call_of_a_tool_and_its_results_go_back_as_they_came():
    parts = [
        {"functionCall": {"name": "f", "args": {"q": "日本"}, "id": "fc1"}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g", "args": {}}},
    ]
    calls = WIRE.parse({"candidates": [{"content": {"parts": parts}}]}, {}).tool_calls
    turns = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": list(calls)},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": '{"n": 1}'},
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": "sunny"},
    ]
    assert body(turns)["contents"][1:] == [
        {"role": "model", "parts": parts},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"n": 1}, "id": "fc1"}},
                {"functionResponse": {"name": "g", "response": {"result": "sunny"}}},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "strict", "config"),
    [
        ("auto", False, {"mode": "AUTO"}),
        ("auto", True, {"mode": "VALIDATED"}),
        (None, True, {"mode": "VALIDATED"}),
        ("required", True, {"mode": "ANY"}),
        ("none", False, {"mode": "NONE"}),
        (
            {"type": "function", "function": {"name": "f"}},
            False,
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_the_choice_of_tools_has_its_mode(choice, strict, config):
    tools = [{"type": "function", "function": {"name": "f", "strict": strict}}, {"googleSearch": {}}]
    sent = body(params={"tools": tools, **({} if choice is None else {"tool_choice": choice})})
    assert sent["tools"] == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    assert sent["toolConfig"] == {"functionCallingConfig": config}


def test_extra_body_is_put_in_beside_what_the_call_sets():
    extra = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}, "cachedContent": "c/1"}
    sent = body(params={"thinkingLevel": "LOW", "maxOutputTokens": 5}, extra=extra)
    assert sent["cachedContent"] == "c/1"
    assert sent["generationConfig"] == {
        "maxOutputTokens": 5,
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
    }


TOOL = {"type": "function", "function": {"name": "f", "cache": True}}
CALL = {"id": "c", "function": {"name": "f", "arguments": "[1]"}}


@pytest.mark.parametrize(
    ("prompt", "params", "extra", "said"),
    [
        (
            "x",
            {"thinkingBudget": 0},
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
            "exclude each other",
        ),
        (
            "x",
            {"topP": 1},
            {"generationConfig": {"topP": 0.5}},
            "extra_body.generationConfig.topP: the router",
        ),
        ("x", {}, {"contents": []}, "extra_body.contents: the router"),
        ("x", {"tools": [{"type": "web_search"}]}, {}, "neither a function nor a tool of Gemini"),
        ("x", {"tools": [TOOL]}, {}, "does not know cache"),
        ("x", {"tool_choice": "maybe"}, {}, "no place in a Gemini request"),
        ([{"role": "system", "content": "x"}], {}, {}, "needs a turn besides the system prompt"),
        ([{"role": "user", "content": "x", "name": "Ann"}], {}, {}, "no place for name"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], {}, {}, "not 'input_audio'"),
        ([image("file:///x.png")], {}, {}, "an image is a data:, https: or gs:"),
        ([image("data:,x")], {}, {}, "names no media type"),
        ([image("https://h.test/a", detail="low"), image("https://h.test/b")], {}, {}, "one resolution"),
        ([image("https://h.test/a", detail="original")], {}, {}, "detail 'original'"),
        ([{**image("https://h.test/a"), "role": "system"}, *TALK], {}, {}, "text alone"),
        ([{"role": "tool", "tool_call_id": "c9", "content": "x"}], {}, {}, "made the call 'c9'"),
        ([{"role": "assistant", "content": None, "tool_calls": [CALL]}], {}, {}, "no JSON object"),
    ],
)
def test_what_has_no_place_is_refused_and_never_left_out(prompt, params, extra, said):
    with pytest.raises(ParamError, match=re.escape(said)):
        body(prompt, params, extra=extra)
