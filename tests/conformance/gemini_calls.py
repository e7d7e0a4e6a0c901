"""The calls that our client and Google's own make side by side; see calls.py.

The SDK's side uses its dictionaries, not its classes: they take the same way through the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.calls import (
    ASK,
    CITY,
    LOOK,
    LOOK_FAR,
    LOOSE,
    PHOTO_URL,
    PICK,
    PIXEL,
    SCHEMA,
    SYSTEM,
    TALK,
    USER,
    WEATHER,
    WEATHERS,
    Call,
    said,
    schema_form,
    tool,
)

DECLARED = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters_json_schema": CITY,
}
SAFETY = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
PNG = {"inline_data": {"mime_type": "image/png", "data": PIXEL}}


def turn(role: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def _call(city: str, number: int) -> dict[str, Any]:
    return {"function_call": {"name": "get_weather", "args": {"city": city}, "id": f"call_{number}"}}


def _result(response: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"function_response": {"name": "get_weather", "response": response, "id": f"call_{number}"}}


def _tools(mode: str, **more: Any) -> dict[str, Any]:
    choice = {"function_calling_config": {"mode": mode, **more}}
    return {"tools": [{"function_declarations": [DECLARED]}], "tool_config": choice}


def _config(contents: Any = ASK, **config: Any) -> dict[str, Any]:
    return {"contents": contents, "config": config}


def gemini_calls() -> list[Call]:
    """Calls whose model takes a thinking level."""
    talk = [turn("user", {"text": ASK}), turn("model", {"text": "42."}), turn("user", {"text": "And 7*8?"})]
    look = [turn("user", {"text": "What is this?"}, PNG)]
    far = [
        turn(
            "user",
            {"text": "Compare."},
            {"file_data": {"file_uri": PHOTO_URL, "mime_type": "image/png"}},
            PNG,
            {"text": "Which is red?"},
        )
    ]
    weather = [
        turn("user", {"text": "Weather in Oslo?"}),
        turn("model", _call("Oslo", 1)),
        turn("user", _result({"sky": "clear"}, 1)),
    ]
    weathers = [
        turn("user", {"text": "Weather in Oslo and Bergen?"}),
        turn("model", {"text": "Let me see."}, _call("Oslo", 1), _call("Bergen", 2)),
        turn("user", _result({"sky": "clear"}, 1), _result({"result": "rain"}, 2)),
        turn("user", {"text": "In one word?"}),
    ]
    declared = [{"function_declarations": [DECLARED]}]
    json_type = "application/json"
    return [
        Call("minimal", {"contents": ASK}),
        Call("system-user", _config(system_instruction=SYSTEM), [said("system", SYSTEM), USER]),
        Call("multi-turn", _config(talk, system_instruction=SYSTEM), TALK),
        Call("image-data", _config(look, media_resolution="MEDIA_RESOLUTION_LOW"), LOOK),
        Call("images-https", _config(far), LOOK_FAR),
        Call("tools-auto", _config(**_tools("AUTO")), options={"tools": [tool()], "tool_choice": "auto"}),
        Call(
            "tools-strict",
            _config(**_tools("VALIDATED")),
            options={"tools": [tool(strict=True)], "tool_choice": "auto"},
        ),
        Call(
            "tools-required", _config(**_tools("ANY")), options={"tools": [tool()], "tool_choice": "required"}
        ),
        Call("tools-none", _config(**_tools("NONE")), options={"tools": [tool()], "tool_choice": "none"}),
        Call(
            "tool-picked",
            _config(**_tools("ANY", allowed_function_names=["get_weather"])),
            options={"tools": [tool()], "tool_choice": PICK},
        ),
        Call("tool-result", _config(weather, tools=declared), WEATHER, {"tools": [tool()]}),
        Call("tool-results", _config(weathers, tools=declared), WEATHERS, {"tools": [tool()]}),
        Call("limit", _config(max_output_tokens=64), options={"max_tokens": 64}),
        Call(
            "thinking-level",
            _config(thinking_config={"thinking_level": "LOW"}),
            options={"reasoning": "low"},
        ),
        Call(
            "thinking-level-minimal",
            _config(thinking_config={"thinking_level": "MINIMAL"}),
            options={"thinking_level": "minimal"},
        ),
        Call(
            "sampling",
            _config(temperature=0.2, top_p=0.9, top_k=40, seed=7),
            options={"temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7},
        ),
        Call("stop", _config(stop_sequences=["\n\n", "終"]), options={"stop": ["\n\n", "終"]}),
        Call("stop-text", _config(stop_sequences=["\n\n"]), options={"stop": "\n\n"}),
        Call(
            "penalties",
            _config(presence_penalty=0.1, frequency_penalty=-0.1),
            options={"presence_penalty": 0.1, "frequency_penalty": -0.1},
        ),
        Call(
            "schema-strict",
            _config(response_mime_type=json_type, response_json_schema=SCHEMA),
            options={"response_format": schema_form(strict=True)},
        ),
        Call(
            "schema-loose",
            _config(response_mime_type=json_type, response_json_schema=LOOSE),
            options={"response_format": LOOSE},
        ),
        Call(
            "json-mode",
            _config(response_mime_type=json_type),
            options={"response_format": {"type": "json_object"}},
        ),
        Call("safety", _config(safety_settings=SAFETY), options={"extra_body": {"safetySettings": SAFETY}}),
        Call(
            "everything",
            _config(
                look,
                system_instruction=SYSTEM,
                media_resolution="MEDIA_RESOLUTION_LOW",
                max_output_tokens=512,
                thinking_config={"thinking_level": "LOW"},
                temperature=1.0,
                stop_sequences=["\n\n"],
                response_mime_type=json_type,
                response_json_schema=SCHEMA,
                **_tools("AUTO"),
            ),
            [said("system", SYSTEM), *LOOK],
            {
                "max_tokens": 512,
                "reasoning": "low",
                "temperature": 1.0,
                "stop": "\n\n",
                "response_format": schema_form(strict=True),
                "tools": [tool()],
                "tool_choice": "auto",
            },
        ),
    ]


def budget_calls() -> list[Call]:
    """Calls whose model takes a thinking budget (Gemini 2.5)."""
    efforts = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
    calls = [
        Call(
            f"budget-{effort}",
            _config(thinking_config={"thinking_budget": tokens}),
            options={"reasoning": effort},
        )
        for effort, tokens in efforts.items()
    ]
    number = _config(thinking_config={"thinking_budget": 300}, max_output_tokens=4096)
    dynamic = _config(thinking_config={"thinking_budget": -1})
    return [
        *calls,
        Call("budget-number", number, options={"reasoning": 300, "max_tokens": 4096}),
        Call("budget-dynamic", dynamic, options={"reasoning": -1}),
    ]
