"""The parameter guard: canonical parameters x a model's rules -> what is sent, and what was changed.

Nothing is adjusted silently: whatever is not sent verbatim under its canonical name is an Adjustment.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Final

from llmbench.catalog import PARAMETER_ALIASES, PARAMETER_RANGES, PARAMETERS, ModelSpec
from llmbench.errors import ParamError
from llmbench.messages import Adjustment, OutputSchema
from llmbench.routing.thinking import fit_reasoning, require_level
from llmbench.structuring import brief, is_number, meets_strict_rules

CANONICAL: Final = PARAMETERS
ALIASES: Final = PARAMETER_ALIASES
#: Keys of a body that are the router's own; `extra_body` must not replace them.
_RESERVED: Final = ("model", "messages", "stream", "input", "instructions", "contents")
_WHOLE: Final = frozenset({"max_tokens", "top_k", "seed"})
#: JSON layout of llguidance's own extension: without it a small model pads with white space until its
#: limit (measured: 38 tokens instead of 22 for the same record).
_COMPACT: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True)
class Guarded:
    """What goes on the wire for one model: parameters under the model's own names.

    `instruction` is text to append to the system prompt (how a schema is asked for where the wire has
    no field for it); `extra_body` is sent as it is.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    instruction: str | None = None
    adjustments: tuple[Adjustment, ...] = ()


def normalise(options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Adjustment, ...]]:
    """Canonical names and checked types for a call's options.

    Raises:
        ParamError: a name is unknown (with a did-you-mean), given twice under two names, or has a
            value of the wrong type.
    """
    canonical: dict[str, Any] = {}
    adjustments: list[Adjustment] = []
    for name, value in options.items():
        target = ALIASES.get(name, name)
        if target not in CANONICAL and target != "extra_body":
            close = difflib.get_close_matches(name, [*CANONICAL, *ALIASES], n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(CANONICAL)}, extra_body"
            raise ParamError(f"unknown parameter {name!r}; {hint}")
        if value is None:
            continue
        if target in canonical:
            raise ParamError(f"{target} is given twice (once as {name}); keep one")
        canonical[target] = _checked(target, value)
        if target != name:
            adjustments.append(Adjustment(name, "renamed", name, target, "canonical name"))
    return canonical, tuple(adjustments)


def merge(layers: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], tuple[Adjustment, ...]]:
    """Canonical options of several layers, later ones winning, and how the winning ones were renamed.

    Raises:
        ParamError: as `normalise`.
    """
    options: dict[str, Any] = {}
    renamed: dict[str, Adjustment] = {}
    for layer in layers:
        canonical, changes = normalise(layer)
        options |= canonical
        renamed = {name: change for name, change in renamed.items() if name not in canonical}
        renamed |= {str(change.after): change for change in changes}
    return options, tuple(renamed.values())


def _checked(name: str, value: Any) -> Any:
    """The value of a parameter, its type checked; a whole number given as 64.0 becomes 64.

    Raises:
        ParamError: the type is wrong, the value out of range, or nothing that JSON can hold.
    """
    if name in _WHOLE:
        return _whole(name, value)
    if name == "timeout" or name in PARAMETER_RANGES:
        _require_number(name, value)
    if name == "stop":
        stops = [value] if isinstance(value, str) else value
        if not isinstance(stops, (list, tuple)) or not all(isinstance(s, str) and s for s in stops):
            raise ParamError(f"stop must be a text or a list of texts: {value!r:.80}")
    if name == "extra_body":
        if not isinstance(value, Mapping):
            raise ParamError(f"extra_body must be a mapping: {value!r:.80}")
        if taken := [key for key in _RESERVED if key in value]:
            raise ParamError(f"extra_body must not set {', '.join(taken)}: the router does")
        if value.get("store", False) is not False:
            raise ParamError("extra_body must not set store: no answer is stored at a provider; remove it")
    if name != "response_format":  # may be a class; `as_output_schema` checks it
        _require_json(name, value)
    return value


def _require_number(name: str, value: Any) -> None:
    if name == "timeout":
        is_right, wanted = is_number(value) and value > 0, "over 0"
    else:
        least, most = PARAMETER_RANGES[name]
        is_right, wanted = is_number(value) and least <= value <= most, f"from {least:g} to {most:g}"
    if not is_right:
        raise ParamError(f"{name} must be a number {wanted}: {brief(value)}")


def _whole(name: str, value: Any) -> int:
    lowest = {"max_tokens": 1, "top_k": 0}.get(name)
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)  # NumPy's integers too
    whole = int(value) if is_whole or (is_number(value) and value == int(value)) else None
    if whole is None or not is_number(whole) or (lowest is not None and whole < lowest):
        limit = "" if lowest is None else f" of at least {lowest}"
        raise ParamError(f"{name} must be a whole number{limit}: {brief(value)}")
    return whole


def _require_json(name: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ParamError(f"{name} must be plain JSON data: {error}") from error


def guard(
    spec: ModelSpec,
    options: Mapping[str, Any],
    output_schema: OutputSchema | None = None,
    names: Mapping[str, str] | None = None,
) -> Guarded:
    """Fit canonical options to one model.

    Args:
        spec: the model and its rules.
        options: canonical options, as `normalise` returns them.
        output_schema: the JSON Schema the reply must meet, or None.
        names: what the model's wire calls parameters that have another name there.

    Raises:
        ParamError: there is no such level of reasoning, the model's field does not take the value, or no
            thought fits in the output limit.
    """
    params: dict[str, Any] = {}
    changes: list[Adjustment] = []
    for name, value in options.items():
        if name in ("timeout", "response_format", "extra_body"):
            continue  # the call's own business, not the model's
        if name == "reasoning":
            require_level(spec, value)  # a slip is one on a model that does not reason too
        refusal = _refusal(spec, name)
        if refusal is not None:
            changes.append(Adjustment(name, "dropped", value, None, refusal))
            continue
        fitted = _fit(spec, name, value, options, changes)
        own = _own_key(spec, name)
        key = (names or {}).get(own, own)
        if key != name:
            source = "params of the registry" if key == own else f"names of the wire {spec.wire}"
            changes.append(Adjustment(name, "renamed", name, key, f"{spec.key}: {source}"))
        params[key] = fitted
    instruction = None
    if output_schema is not None:
        instruction = _ask_for(spec, output_schema, params, changes)
    extra_body = dict(options.get("extra_body", {}))
    for name, value in extra_body.items():
        if name in params:
            changes.append(Adjustment(name, "dropped", params.pop(name), value, "extra_body says otherwise"))
        changes.append(Adjustment(name, "moved", name, "body", "extra_body"))
    return Guarded(params, extra_body, instruction, tuple(changes))


def _refusal(spec: ModelSpec, name: str) -> str | None:
    """The rule that forbids a parameter for this model, or None."""
    rules = spec.params
    forbidden = {
        "temperature": not rules.allow_temperature,
        "top_p": not rules.allow_top_p,
        "top_k": not rules.allow_top_k,
        "stop": not rules.allow_stop,
        "seed": not rules.allow_seed,
        "presence_penalty": not rules.allow_penalties,
        "frequency_penalty": not rules.allow_penalties,
        "verbosity": not rules.allow_verbosity,
        "reasoning": rules.reasoning_key is None,
        "tools": not spec.capabilities.tools,
        "tool_choice": not spec.capabilities.tools,
    }
    if not forbidden.get(name, False):
        return None
    field_name = {
        "reasoning": "takes no reasoning level (no reasoning_key)",
        "tools": "cannot use tools",
        "tool_choice": "cannot use tools",
    }.get(name)
    rule = "allow_penalties" if name.endswith("_penalty") else f"allow_{name}"
    return f"{spec.key}: {field_name or rule}"


def _fit(
    spec: ModelSpec, name: str, value: Any, options: Mapping[str, Any], changes: list[Adjustment]
) -> Any:
    if name == "max_tokens":
        return _fit_max_tokens(spec, value, changes)
    if name == "reasoning":
        asked = options.get("max_tokens")
        able = spec.capabilities.max_output_tokens
        limit = able if asked is None else _fit_max_tokens(spec, asked, [])
        return fit_reasoning(spec, value, limit, changes)
    return value


def _fit_max_tokens(spec: ModelSpec, value: int, changes: list[Adjustment]) -> int:
    highest, lowest = spec.capabilities.max_output_tokens, spec.params.min_max_tokens
    if highest is not None and value > highest:
        changes.append(
            Adjustment("max_tokens", "clamped", value, highest, f"{spec.key}: max output tokens {highest}")
        )
        return highest
    if value < lowest:
        changes.append(
            Adjustment("max_tokens", "clamped", value, lowest, f"{spec.key}: min_max_tokens {lowest}")
        )
        return lowest
    return value


def _own_key(spec: ModelSpec, name: str) -> str:
    if name == "max_tokens":
        return spec.params.max_tokens_key
    if name == "reasoning":
        return spec.params.reasoning_key or name
    return name


def _ask_for(
    spec: ModelSpec, output_schema: OutputSchema, params: dict[str, Any], changes: list[Adjustment]
) -> str | None:
    """Put the schema where this model takes it; returns an instruction when that is the prompt."""
    support = spec.params.response_format_support
    rule = f"{spec.key}: response_format_support {support}"
    if support == "json_schema":
        params["response_format"] = _schema_field(output_schema, changes)
        return _ask_for_json(spec, output_schema, changes)
    if support == "llguidance":
        schema = json.dumps({**output_schema.schema, "x-guidance": _COMPACT}, ensure_ascii=False)
        # One leading space is allowed: a base model whose prompt ends in "Output:" writes " {" as one token,
        # and a grammar that forbids it costs accuracy.
        params["grammar"] = '%llguidance {}\nstart: " "? %json ' + schema
        changes.append(Adjustment("response_format", "moved", "response_format", "grammar", rule))
        return None
    if support == "none":
        changes.append(Adjustment("response_format", "dropped", output_schema.name, None, rule))
        return None
    if support == "json_object":
        params["response_format"] = {"type": "json_object"}
    changes.append(Adjustment("response_format", "moved", "response_format", "system prompt", rule))
    schema = json.dumps(output_schema.schema, ensure_ascii=False, separators=(",", ":"))
    return f"Answer with one JSON value and nothing else. It must meet this JSON Schema: {schema}"


def _ask_for_json(spec: ModelSpec, output_schema: OutputSchema, changes: list[Adjustment]) -> str | None:
    """The words that go with JSON mode: OpenAI and Azure refuse it where no message has the word "json"."""
    if output_schema.name != "json_object" or spec.wire == "gemini":
        return None
    rule = f"{spec.key}: JSON mode needs the word JSON in the prompt"
    changes.append(Adjustment("response_format", "moved", "response_format", "system prompt", rule))
    return "Answer with one JSON object and nothing else."


def _schema_field(output_schema: OutputSchema, changes: list[Adjustment]) -> dict[str, Any]:
    """The `response_format` of a host that enforces schemas; `strict` only where the schema allows it."""
    if output_schema.name == "json_object":
        return {"type": "json_object"}
    name = _schema_name(output_schema.name)
    if name != output_schema.name:
        rule = "names of schemas: 64 of a-z, A-Z, 0-9, _ and -"
        changes.append(Adjustment("response_format", "renamed", output_schema.name, name, rule))
    inner: dict[str, Any] = {"name": name, "schema": dict(output_schema.schema)}
    strict = output_schema.strict
    if strict is None and meets_strict_rules(output_schema.schema):
        strict = True
    if strict is not None:
        inner["strict"] = strict
    return {"type": "json_schema", "json_schema": inner}


def _schema_name(name: str) -> str:
    """A schema's name as hosts take it: `Box[int]` is `Box_int`, one with nothing that they take `reply`.

    Source: Chat Completions and Responses refuse a name that is not ^[a-zA-Z0-9_-]{1,64}$.
    """
    if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        return name
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_")[:64] or "reply"
