"""How a model is asked, whatever the task: wire, API version, headers, and which parameters it takes.

The older side is read from the older flags as they stand, the newer from the config that was built. What
the older folder leaves open counts as what llmbench does with an entry that says nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pydantic import ValidationError

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config.build import build_model
from llmbench.config.shapes import ModelShape
from llmbench.migration.values import section

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


def asked_before(model: Mapping[Any, Any], provider: Mapping[Any, Any], endpoint: Endpoint) -> dict[str, Any]:
    """How an entry of an older registry has its model asked; empty for one of images or speech.

    Args:
        model: the entry.
        provider: the older section of its provider.
        endpoint: the provider in the new folder, for what the older one leaves open.
    """
    can = section(model.get("capabilities"))
    if can.get("mode") not in (None, "text", "chat") or can.get("image") or can.get("tts"):
        return {}
    wire = _wire(model, endpoint)
    own = model.get("api_version")
    version = model.get("api_version_responses", own) if wire == "responses" else own
    version = version or provider.get("api_version") or provider.get("default_api_version")
    return {**_shared(wire, version, section(provider.get("headers"))), **_rules(model, wire, endpoint)}


def asked_after(spec: ModelSpec, endpoint: Endpoint) -> dict[str, Any]:
    """The same of a model in the new folder."""
    if spec.capabilities.mode != "text":
        return {}
    shared = _shared(spec.wire, spec.api_version or endpoint.api_version, endpoint.headers)
    return {**shared, **_built_rules(spec)}


def _shared(wire: str, version: object, headers: Mapping[Any, Any]) -> dict[str, Any]:
    said = {"wire": wire, "api_version": None if version is None else str(version)}
    return {**said, "headers": {str(name): str(value) for name, value in headers.items()} or None}


def _wire(model: Mapping[Any, Any], endpoint: Endpoint) -> str:
    if model.get("force_responses") or model.get("force_chat"):
        return "responses" if model.get("force_responses") else "chat"
    if model.get("wire"):
        return str(model["wire"])
    return _WIRES.get(endpoint.type) or ("responses" if model.get("use_responses_api") is True else "chat")


def _rules(model: Mapping[Any, Any], wire: str, endpoint: Endpoint) -> dict[str, Any]:
    """Each rule: what a flag says, false where two disagree; else what such an entry comes to."""
    params = section(model.get("params"))
    found = _built_rules(build_model("plain", _without_flags(model, wire, endpoint), endpoint, None))
    for rule, flags in _FLAGS.items():
        names = [f"{flag}{end}" for flag in flags for end in ("", "_param")]
        inner = [params[name] for name in names if name in params]
        said = [model[name] for name in names if name in model]
        said = inner if inner and rule in _BESIDE_PARAMS else [*inner, *said]
        said = [value for value in said if isinstance(value, bool)]
        if said and not (rule == "allow_reasoning_effort" and params.get("reasoning_key")):
            found[rule] = all(said)
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
    rules = {rule: built[rule] for rule in _FLAGS if rule in built}
    return {**rules, "allow_reasoning_effort": spec.params.reasoning_key is not None}
