"""The turns of a conversation as clients write them, checked, in the form that the router takes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbench.messages import ROLES
from llmbench.serve.problems import refused
from llmbench.serve.reading import require_known

#: Keys of a turn. The last three come back in answers of OpenAI's library; null, or empty, they say nothing.
_KEYS: Final = (
    *("role", "content", "name", "tool_calls", "tool_call_id", "refusal"),
    *("annotations", "audio", "function_call"),
)
_SCHEMES: Final = ("data:", "https:")


def read_turns(value: object) -> list[dict[str, Any]]:
    """The `messages` of a Chat Completions request.

    Raises:
        Problem: 400, with the place of what is wrong.
    """
    if not isinstance(value, list) or not value:
        raise refused("messages", "give a list of at least one message")
    return [_turn(turn, f"messages[{index}]") for index, turn in enumerate(value)]


def _turn(turn: object, where: str) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise refused(where, "a message is an object with role and content")
    require_known(turn, _KEYS, f"{where}.")
    if turn.get("role") not in ROLES:
        raise refused(f"{where}.role", f"{turn.get('role')!r:.40} is none of {', '.join(ROLES)}")
    for name in _KEYS[-3:]:
        if turn.get(name):
            raise refused(f"{where}.{name}", "this endpoint does not take that", "unsupported_param")
    kept = {name: turn[name] for name in _KEYS[:-3] if turn.get(name) is not None}
    for name in ("name", "tool_call_id", "refusal"):
        if not isinstance(kept.get(name, ""), str):
            raise refused(f"{where}.{name}", "must be a text")
    if kept["role"] == "tool" and "tool_call_id" not in kept:
        raise refused(f"{where}.tool_call_id", "a tool's answer names the call that it answers")
    calls = _calls(kept.pop("tool_calls", None), f"{where}.tool_calls")
    said = kept.pop("refusal", None)  # an earlier answer that refused: its words are what was said
    content = kept.get("content")
    content = said if content is None else read_content(content, f"{where}.content", _part)
    if content is None and not calls:
        raise refused(f"{where}.content", "must be a text or a list of parts")
    return {**kept, "content": "" if content is None else content, **({"tool_calls": calls} if calls else {})}


def read_content(
    content: object, where: str, read_part: Callable[[Mapping[str, Any], str], dict[str, Any]]
) -> str | list[dict[str, Any]]:
    """The content of a turn: a text, or parts that each dialect reads in its own way.

    Raises:
        Problem: 400, it is neither, or a part has no type; whatever `read_part` raises.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise refused(where, "must be a text or a list of parts")
    parts = []
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise refused(f"{where}[{index}]", "a part is an object with a type")
        parts.append(read_part(part, f"{where}[{index}]"))
    return parts


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    if kind == "image_url":
        image = part.get("image_url")
        return picture(image if isinstance(image, dict) else {"url": image}, f"{where}.image_url")
    if kind in ("text", "refusal"):
        raise refused(where, f"its {kind} must be a text")
    raise refused(where, f"parts are text and image_url here, not {kind!r:.40}", "unsupported_param")


def picture(image: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A picture as a content part: its data, or an address that the provider reads.

    Raises:
        Problem: 400, it has no address of these kinds.
    """
    require_known(image, ("url", "detail"), f"{where}.")
    url, detail = image.get("url"), image.get("detail")
    if not isinstance(url, str) or not url.lower().startswith(_SCHEMES):
        raise refused(f"{where}.url", "a picture is a data: or https: address")
    if detail is not None and not isinstance(detail, str):
        raise refused(f"{where}.detail", "must be a text such as low or high")
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def _calls(calls: object, where: str) -> list[dict[str, Any]]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise refused(where, "must be a list")
    return [_call(call, f"{where}[{index}]") for index, call in enumerate(calls)]


def _call(call: object, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict) or call.get("type") != "function":
        raise refused(where, "a call has an id, the type function, and a function with name and arguments")
    return tool_call(call.get("id"), function.get("name"), function.get("arguments"), where)


def tool_call(call_id: object, name: object, arguments: object, where: str) -> dict[str, Any]:
    """A model's call of a tool, in the Chat Completions form.

    Raises:
        Problem: 400, a part of it is no text.
    """
    if not isinstance(call_id, str) or not isinstance(name, str) or not isinstance(arguments, str):
        raise refused(where, "id, name and arguments of a call must be texts")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def read_tools(value: object) -> list[dict[str, Any]]:
    """The `tools` of a Chat Completions request.

    Raises:
        Problem: 400, one is no function.
    """
    if not isinstance(value, list):
        raise refused("tools", "must be a list")
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(value)]


def _tool(tool: object, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise refused(where, "tools are functions here: {type: function, function: {name, parameters}}")
    require_known(tool, ("type", "function"), f"{where}.")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise refused(f"{where}.function", "must be an object with a name")
    return function_tool(function, f"{where}.function")


def function_tool(function: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A tool in the Chat Completions form, of what names and describes its function.

    Raises:
        Problem: 400, a key is unknown or has a wrong value.
    """
    require_known(function, ("name", "description", "parameters", "strict"), f"{where}.")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise refused(f"{where}.name", "a function has a name")
    for key, kind in (("description", str), ("parameters", dict), ("strict", bool)):
        if function.get(key) is not None and not isinstance(function[key], kind):
            raise refused(f"{where}.{key}", f"must be of the type {kind.__name__}")
    return {"type": "function", "function": {key: each for key, each in function.items() if each is not None}}


def read_choice(choice: object, function: object) -> str | dict[str, Any]:
    """The `tool_choice` of a request.

    Args:
        choice: what the request says.
        function: where a choice that names a function has its `name`: it differs between the dialects.

    Raises:
        Problem: 400, it is neither a word nor a function.
    """
    if choice in ("auto", "none", "required"):
        return str(choice)
    is_function = isinstance(choice, dict) and choice.get("type") == "function"
    if is_function and isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "function", "function": {"name": function["name"]}}
    raise refused("tool_choice", "must be auto, none, required or one function by its name")
