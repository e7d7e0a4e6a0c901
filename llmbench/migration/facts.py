"""What the older folder sends to a model, written into its entry: such a model takes it.

llmbench leaves out what no entry says that a model takes; an older folder has few such facts, and sends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmbench.catalog import REASONING_LEVELS
from llmbench.errors import ParamError
from llmbench.migration.asking import stated_rules
from llmbench.migration.catalogue import MODELS, Catalogue
from llmbench.migration.reading import OPENROUTER
from llmbench.migration.sent import sent_before
from llmbench.migration.tasks import ROUTER, Named
from llmbench.migration.values import section
from llmbench.structuring import as_output_schema

#: Values by the name of their parameter, each once.
Values = dict[str, list[Any]]
#: What an entry is to say besides, by section and key.
Added = dict[tuple[str, str], Any]
_FORM_FACTS: Final = frozenset({"structured_outputs", "json_mode"})
#: The parameter that a key of an entry lets through.
_LETS: Final[Mapping[str, str]] = {
    "reasoning": "reasoning",
    "reasoning_key": "reasoning",
    "response_format_support": "response_format",
    "tools": "tools",
}
_HELD: Final = "holds back every level of thought for the model, also one that a task has in its extra_body"
_LIFTED: Final = "left out of the model's facts, as the older folder sends it the parameter all the same"


def say_what_is_sent(catalogue: Catalogue) -> None:
    """Let each entry say that its model takes what the older folder sends it, unless that forbids it."""
    has_conditions = any(
        section(each).get("reasoning") is not None for each in _listed(catalogue.legacy.data)
    )
    is_raw = _has_raw_level(catalogue.legacy.data)
    for key, sent in _sent(catalogue).items():
        file = MODELS if key in section(catalogue.files.get(MODELS, {}).get("models")) else ROUTER
        entry, older = catalogue.files[file]["models"][key], catalogue.before.model(key)
        can = _can(entry)
        if can.get("mode") not in (None, "text", "chat") or can.get("image") or can.get("tts"):
            continue
        if not older:
            for part, name, value in _lift_limits(entry, sent):
                catalogue.legacy.noted(
                    OPENROUTER, (entry["model_name"],), f"{part}.{name}: {json.dumps(value)}", _LIFTED
                )
        added = {
            **_form(older, entry, sent),
            **_level(older, entry, sent, _wire(catalogue, entry), has_conditions=has_conditions),
            **_tools(older, entry, sent),
        }
        is_held = stated_rules(older).get("allow_reasoning_effort") is False
        if is_held and is_raw and sent.get("reasoning"):
            catalogue.legacy.noted(file, ("models", key, "allow_reasoning_effort"), False, _HELD)
        for (part, name), value in added.items():
            entry[part] = {**section(entry.get(part)), name: value}
            reason = f"added, as the older folder sends the model {_LETS[name]}"
            catalogue.legacy.noted(file, ("models", key, part, name), value, reason)


def _sent(catalogue: Catalogue) -> dict[str, Values]:
    """By key of the new folder, every value that a task sends its text model anywhere."""
    before, questions = catalogue.before, catalogue.before.questions()
    found: dict[str, Values] = {}
    for task in (task for task in before.tasks() if before.media(task) is None):
        seen = set()
        for question in questions:
            candidates = before.candidates(task, question)
            place = (question.channel, question.env, before.tier(task, question), *candidates)
            if place in seen:  # a slot that changes neither models nor tier
                continue
            seen.add(place)
            for asked, options in sent_before(before, task, question).items():
                if key := candidates[asked] or catalogue.key(Named(*asked)):
                    _add(found.setdefault(key, {}), options)
    models = catalogue.models()
    return {key: values for key, values in found.items() if isinstance(models.get(key), Mapping)}


def _add(values: Values, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if value not in values.setdefault(name, []):
            values[name].append(value)


def _listed(value: Any) -> Iterator[Any]:
    """Every candidate of a list below `tiers`, wherever that stands."""
    for key, item in section(value).items():
        for entries in section(item).values() if key == "tiers" else ():
            yield from entries if isinstance(entries, list) else ()
        yield from _listed(item)


def _has_raw_level(value: Any) -> bool:
    """Whether some task asks for a level past every flag, in its `extra_body`."""
    if "reasoning" in section(section(value).get("extra_body")):
        return True
    parts = value if isinstance(value, list) else section(value).values()
    return any(_has_raw_level(part) for part in parts)


def _can(entry: Mapping[Any, Any]) -> dict[str, Any]:
    given = section(entry.get("capabilities"))
    return {str(name).removeprefix("supports_"): value for name, value in given.items()}


def _wire(catalogue: Catalogue, entry: Mapping[str, Any]) -> str:
    """The wire of a model; that of OpenRouter by the provider's name, as it has a field of its own."""
    provider = str(entry.get("provider"))
    host = section(section(catalogue.files.get(ROUTER, {}).get("providers")).get(provider))
    kind = host.get("type") or provider
    stated = "responses" if entry.get("force_responses") else "chat" if entry.get("force_chat") else None
    stated = stated or entry.get("wire")
    if stated is None and kind == "gemini":
        return "gemini"
    if stated == "responses" or (stated is None and entry.get("use_responses_api") is True):
        return "responses"
    return "openrouter" if kind == "openrouter" else str(stated or "chat")


def _lift_limits(entry: dict[str, Any], sent: Values) -> list[tuple[str, str, Any]]:
    """Take out what OpenRouter's list forbids of what is sent all the same: each that is gone."""
    params, can = section(entry.get("params")), section(entry.get("capabilities"))
    rules = dict.fromkeys(
        "allow_penalties" if name.endswith("_penalty") else f"allow_{name}" for name in sent
    )
    gone = [("params", rule, params[rule]) for rule in rules if params.get(rule) is False]
    most = max((each for each in sent.get("max_tokens", []) if isinstance(each, int)), default=0)
    limit = can.get("max_tokens")
    gone += [("capabilities", "max_tokens", limit)] if limit is not None and most > limit else []
    levels = can.get("reasoning_levels")
    words = {each for each in sent.get("reasoning", []) if isinstance(each, str)}
    gone += [("capabilities", "reasoning_levels", levels)] if levels and words - set(levels) else []
    for part, name, _ in gone:
        entry[part] = {key: value for key, value in entry[part].items() if key != name}
    return gone


def _form(older: Mapping[Any, Any], entry: Mapping[str, Any], sent: Values) -> Added:
    """That a model takes a field for the form of its answer, as strong as the strongest that is sent."""
    forms = {form for value in sent.get("response_format", []) if (form := _form_of(value))}
    stated = "response_format_support" in stated_rules(older) or _FORM_FACTS & _can(older).keys()
    has_own = "response_format_support" in section(entry.get("params"))
    can = _can(entry)
    is_enough = can.get("structured_outputs") or (can.get("json_mode") and "json_schema" not in forms)
    if not forms or stated or has_own or is_enough:
        return {}
    return {("params", "response_format_support"): max(forms)}  # json_schema sorts after json_object


def _form_of(value: Any) -> str | None:
    try:
        schema = as_output_schema(value)
    except ParamError:
        return None
    return None if schema is None else "json_object" if schema.name == "json_object" else "json_schema"


def _level(
    older: Mapping[Any, Any], entry: Mapping[str, Any], sent: Values, wire: str, *, has_conditions: bool
) -> Added:
    """That a model takes a level of thought, in a field of its wire.

    The field alone is named where the fact that it reasons would change a route (some candidate's condition
    asks for it), or where the older entry denies the fact: `extra_body` sent the level all the same.
    """
    levels = [
        each for each in sent.get("reasoning", []) if not isinstance(each, str) or each in REASONING_LEVELS
    ]
    stated = stated_rules(older).get("allow_reasoning_effort", True)
    if not levels or stated is not True or section(entry.get("params")).get("reasoning_key"):
        return {}
    can = _can(entry)
    takes = bool(can.get("reasoning") or can.get("reasoning_levels") or entry.get("allow_reasoning_effort"))
    is_fact = not takes and not has_conditions and _can(older).get("reasoning") is None
    fact: Added = {("capabilities", "reasoning"): True} if is_fact else {}
    field = _field(levels, wire, is_named=takes or is_fact)
    return {**fact, ("params", "reasoning_key"): field} if field else fact


def _field(levels: list[Any], wire: str, *, is_named: bool) -> str | None:
    """The field for a level; None where the usual one of the wire serves and the entry's facts lead to it.

    OpenRouter's own object takes words and budgets of every model.
    """
    if wire == "gemini":
        is_budget = all(each == "none" or not isinstance(each, str) for each in levels)
        return "thinkingBudget" if is_budget else "thinkingLevel"
    if wire == "openrouter":
        return "reasoning"
    usual = "reasoning" if wire == "responses" else "reasoning_effort"
    return None if is_named else usual


def _tools(older: Mapping[Any, Any], entry: Mapping[str, Any], sent: Values) -> Added:
    if not sent.get("tools") or "tools" in _can(older) or _can(entry).get("tools"):
        return {}
    return {("capabilities", "tools"): True}
