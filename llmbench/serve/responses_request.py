"""The Responses dialect: a request as a call of the router. Pure; nothing is stored between calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmbench.serve.chat import Ask, with_as_is
from llmbench.serve.problems import refused
from llmbench.serve.reading import FLAG, TEXT, checked, own_arguments, require_inert, require_known, with_user
from llmbench.serve.turns import function_tool, picture, read_choice, read_content, tool_call

_PARAMS: Final = ("max_output_tokens", "temperature", "top_p")
_AS_IS: Final = ("parallel_tool_calls", "prompt_cache_key", "service_tier")
_UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "background": (False,),
    "conversation": (),
    "include": ([],),
    "max_tool_calls": (),
    "metadata": ({},),
    "previous_response_id": (),
    "prompt": (),
    "prompt_cache_retention": (),
    "safety_identifier": (),
    "store": (False,),
    "stream_options": ({"include_obfuscation": False}, {}),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
_KNOWN: Final = (
    *("model", "input", "instructions", "stream", "user", "llmbench", "tools", "tool_choice", "text"),
    *("reasoning", *_PARAMS, *_AS_IS, *_UNSUPPORTED),
)
#: What an answer repeats of its request.
_ECHOED: Final = ("tools", "tool_choice", "parallel_tool_calls")
_TEXTS: Final = ("input_text", "output_text", "text")


def read_response(body: Mapping[str, Any]) -> Ask:
    """A Responses request.

    Raises:
        Problem: 400; a parameter that is unknown or cannot be kept is of the kind unsupported_param.
    """
    require_known(body, _KNOWN)
    require_inert(body, _UNSUPPORTED)
    arguments = with_user(own_arguments(body), body)
    arguments |= {name: body[name] for name in _PARAMS if body.get(name) is not None}
    arguments |= _text_options(body.get("text")) | _reasoning(body.get("reasoning"))
    if body.get("instructions") not in (None, ""):
        arguments["system"] = checked(body, {"instructions": TEXT})["instructions"]
    if body.get("tools"):
        arguments["tools"] = _tools(body["tools"])
    if body.get("tool_choice") is not None:
        choice = body["tool_choice"]
        arguments["tool_choice"] = read_choice(choice, choice)
    return Ask(
        model=body.get("model"),
        prompt=_turns(body.get("input")),
        arguments=with_as_is(arguments, body),
        is_stream=checked(body, {"stream": FLAG}).get("stream", False),
        echo={name: body[name] for name in _ECHOED if body.get(name) is not None},
    )


def _text_options(text: object) -> dict[str, Any]:
    """Verbosity and the form of the answer, as Chat Completions has them."""
    if text is None:
        return {}
    if not isinstance(text, dict):
        raise refused("text", "must be an object")
    require_known(text, ("format", "verbosity"), "text.")
    options = checked(text, {"verbosity": TEXT}, "text.")
    form = text.get("format")
    if form is None:
        return options
    if not isinstance(form, dict):
        raise refused("text.format", "must be an object with a type")
    if form.get("type") == "json_schema":
        inner = {name: value for name, value in form.items() if name != "type" and value is not None}
        require_known(inner, ("name", "schema", "strict", "description"), "text.format.")
        return {**options, "response_format": {"type": "json_schema", "json_schema": inner}}
    if form.get("type") not in ("text", "json_object"):
        raise refused("text.format.type", "must be text, json_object or json_schema")
    return {**options, "response_format": {"type": form["type"]}}


def _reasoning(reasoning: object) -> dict[str, Any]:
    if reasoning is None:
        return {}
    if not isinstance(reasoning, dict):
        raise refused("reasoning", "must be an object")
    require_known(reasoning, ("effort", "summary", "generate_summary"), "reasoning.")
    if reasoning.get("summary") or reasoning.get("generate_summary"):
        raise refused("reasoning.summary", "thoughts are not handed on", "unsupported_param")
    effort = checked(reasoning, {"effort": TEXT}, "reasoning.")
    return {"reasoning": effort["effort"]} if effort else {}


def _tools(tools: object) -> list[dict[str, Any]]:
    if not isinstance(tools, list):
        raise refused("tools", "must be a list")
    found = []
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise refused(where, "tools are functions here: {type: function, name, parameters}")
        found.append(function_tool({key: each for key, each in tool.items() if key != "type"}, where))
    return found


# ---- input items


def _turns(given: object) -> list[dict[str, Any]]:
    if isinstance(given, str) and given:
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise refused("input", "give a text, or a list of at least one item")
    turns: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        turn = _item(item, f"input[{index}]")
        if _is_call(turn) and turns and turns[-1]["role"] == "assistant":
            turns[-1].setdefault("tool_calls", []).extend(turn["tool_calls"])  # one turn of the model
        else:
            turns.append(turn)
    return turns


def _is_call(turn: Mapping[str, Any]) -> bool:
    return bool(turn.get("tool_calls"))


def _item(item: object, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise refused(where, "an item is an object")
    kind = item.get("type", "message")
    if kind == "message":
        return _message(item, where)
    if kind == "function_call":
        call = tool_call(item.get("call_id"), item.get("name"), item.get("arguments"), where)
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        output, call_id = item.get("output"), item.get("call_id")
        if not isinstance(call_id, str):
            raise refused(f"{where}.call_id", "a tool's answer names the call that it answers")
        return {"role": "tool", "tool_call_id": call_id, "content": _content(output, f"{where}.output")}
    raise refused(
        where,
        f"items are messages, function_call and function_call_output here, not {kind!r:.40}",
        "unsupported_param",
    )


def _message(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    require_known(item, ("type", "role", "content", "id", "status", "phase"), f"{where}.")
    role = item.get("role")
    if role not in ("user", "system", "developer", "assistant"):
        raise refused(f"{where}.role", f"{role!r:.40} is none of user, system, developer, assistant")
    return {"role": role, "content": _content(item.get("content"), f"{where}.content")}


def _content(content: object, where: str) -> str | list[dict[str, Any]]:
    parts = read_content(content, where, _part)
    if isinstance(parts, str):
        return parts
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part["type"]
    said = part.get("refusal") if kind == "refusal" else part.get("text")
    if kind in (*_TEXTS, "refusal"):
        if not isinstance(said, str):
            raise refused(where, "its text must be a text")
        return {"type": "text", "text": said}
    if kind == "input_image":
        require_known(part, ("type", "image_url", "detail"), f"{where}.")
        return picture({"url": part.get("image_url"), "detail": part.get("detail")}, where)
    raise refused(where, f"parts are input_text and input_image here, not {kind!r:.40}", "unsupported_param")
