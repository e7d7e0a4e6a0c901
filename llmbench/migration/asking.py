"""How a model is asked, whatever the task: wire, API version, headers, and which parameters it takes.

The older side is read from the older flags as they stand, the newer from the config that was built. What
the older folder leaves open counts as what llmbench does with an entry that says nothing of it, or as what
the new entry allows: what a model takes more of loses nothing. What is sent is compared in `kept`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pydantic import ValidationError

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config.build import build_model
from llmbench.config.shapes import ModelShape
from llmbench.migration.values import as_flag, section

#: Older flags by the rule that they are; each is also spelled with `_param` at its end.
_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "allow_temperature": ("allow_temperature",),
    "allow_stop": ("allow_stop",),
    "allow_top_p": ("allow_top_p",),
    "allow_top_k": ("allow_top_k",),
    "allow_seed": ("allow_seed",),
    "allow_verbosity": ("allow_verbosity",),
    "allow_penalties": ("allow_penalties", "allow_presence_penalty", "allow_frequency_penalty"),
    "allow_reasoning_effort": ("allow_reasoning_effort", "allow_reasoning"),
}
#: Rules that stand beside `params`, which wins over them.
_BESIDE_PARAMS: Final = frozenset({"allow_temperature", "allow_stop"})
_WIRES: Final[Mapping[str, str]] = {"gemini": "gemini"}
#: How a form of answer is asked for, the weakest first; a grammar holds a model as a schema does.
_SUPPORTS: Final[Mapping[Any, int]] = {
    "none": 0,
    "prompt": 1,
    "json_object": 2,
    "json_schema": 3,
    "llguidance": 3,
}


def asked_before(
    model: Mapping[Any, Any], provider: Mapping[Any, Any], endpoint: Endpoint, spec: ModelSpec
) -> dict[str, Any]:
    """How an entry of an older registry has its model asked; empty for one of images or speech.

    Args:
        model: the entry.
        provider: the older section of its provider.
        endpoint: the provider in the new folder, for what the older one leaves open.
        spec: the model there, for the same.
    """
    can = section(model.get("capabilities"))
    if can.get("mode") not in (None, "text", "chat") or can.get("image") or can.get("tts"):
        return {}
    wire = _wire(model, endpoint)
    own = model.get("api_version")
    version = model.get("api_version_responses", own) if wire == "responses" else own
    version = version or provider.get("api_version") or provider.get("default_api_version")
    return {**_shared(wire, version, section(provider.get("headers"))), **_rules(model, wire, endpoint, spec)}


def asked_after(spec: ModelSpec, endpoint: Endpoint) -> dict[str, Any]:
    """The same of a model in the new folder."""
    if spec.capabilities.mode != "text":
        return {}
    shared = _shared(spec.wire, spec.api_version or endpoint.api_version, endpoint.headers)
    return {**shared, **_built_rules(spec)}


def _shared(wire: str, version: object, headers: Mapping[Any, Any]) -> dict[str, Any]:
    said = {"wire": wire, "api_version": None if version is None else str(version)}
    return {**said, "headers": {str(name): str(value) for name, value in headers.items()} or None}


def stated_rules(model: Mapping[Any, Any]) -> dict[str, Any]:
    """Each rule that flags of an older entry state: false where two disagree; what is no boolean as it is."""
    params = section(model.get("params"))
    found: dict[str, Any] = {}
    for rule, flags in _FLAGS.items():
        names = [f"{flag}{end}" for flag in flags for end in ("", "_param")]
        inner = [as_flag(params[name]) for name in names if name in params]
        said = [as_flag(model[name]) for name in names if name in model]
        said = inner if inner and rule in _BESIDE_PARAMS else [*inner, *said]
        said = [value for value in said if value is not None]
        if unread := [value for value in said if not isinstance(value, bool)]:
            found[rule] = unread[0]
        elif said:
            found[rule] = all(said)
    if (support := _stated_support(model, params)) is not None:
        found["response_format_support"] = support
    return found


def _stated_support(model: Mapping[Any, Any], params: Mapping[Any, Any]) -> Any:
    """How the older entry says that its model is held to a form of answer; None where it says nothing."""
    if params.get("response_format_support") is not None:
        return params["response_format_support"]
    flag = "allow_response_format"
    given = [as_flag(model[name]) for name in (flag, f"{flag}_param") if name in model]
    if not given:
        return None
    facts = {str(name).removeprefix("supports_") for name in section(model.get("capabilities"))}
    if given[0] is True:
        return None if facts & {"structured_outputs", "json_mode"} else "json_schema"
    return "prompt" if given[0] is False else given[0]


def _wire(model: Mapping[Any, Any], endpoint: Endpoint) -> str:
    if (forced := as_flag(model.get("force_responses"))) or as_flag(model.get("force_chat")):
        return "responses" if forced else "chat"
    if model.get("wire"):
        return str(model["wire"])
    asks = as_flag(model.get("use_responses_api")) or False
    named = {True: "responses", False: "chat"}.get(asks) if isinstance(asks, bool) else None
    return _WIRES.get(endpoint.type) or named or f"use_responses_api: {asks}"


def _rules(model: Mapping[Any, Any], wire: str, endpoint: Endpoint, spec: ModelSpec) -> dict[str, Any]:
    """Each rule: what a flag says; else what such an entry comes to, or what the new one allows beyond it."""
    has_key = section(model.get("params")).get("reasoning_key")
    built = _built_rules(build_model("plain", _without_flags(model, wire, endpoint), endpoint, None))
    now = _built_rules(spec)
    stated = stated_rules(model)
    found: dict[str, Any] = {}
    for rule, usual in built.items():
        if rule in stated and not (rule == "allow_reasoning_effort" and has_key):
            found[rule] = stated[rule]
        elif rule == "response_format_support":
            found[rule] = max(usual, now[rule], key=_SUPPORTS.__getitem__)
        else:
            found[rule] = usual or now[rule]
    return found


def _without_flags(model: Mapping[Any, Any], wire: str, endpoint: Endpoint) -> ModelShape:
    """The entry without its rules; without what the loader refuses, which is listed elsewhere."""
    plain = {"provider": endpoint.name, "wire": wire}
    kept = {key: value for key, value in section(model.get("params")).items() if key == "reasoning_key"}
    for more in ({"capabilities": section(model.get("capabilities")), "params": kept}, {}):
        try:
            return ModelShape.model_validate({**plain, **more})
        except ValidationError:
            continue
    return ModelShape(provider=endpoint.name)


def _built_rules(spec: ModelSpec) -> dict[str, Any]:
    built = asdict(spec.params)
    rules = {rule: built[rule] for rule in (*_FLAGS, "response_format_support") if rule in built}
    return {**rules, "allow_reasoning_effort": spec.params.reasoning_key is not None}
