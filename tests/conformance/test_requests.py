"""Every call leaves us as it leaves the provider's own SDK, up to the documented differences."""

from __future__ import annotations

import pytest

from tests.conformance.calls import Call, chat_calls, openrouter_calls, responses_calls
from tests.conformance.differences import DIFFERENCES, as_ours
from tests.conformance.gemini_calls import budget_calls, gemini_calls
from tests.conformance.places import PLACES, Place

_BY_DIALECT = {
    "chat": chat_calls(),
    "responses": responses_calls(),
    "openrouter": openrouter_calls(),
    "gemini": gemini_calls(),
}
#: What is asked at an address whose bodies another address of the dialect has shown already.
_FEW = ("minimal", "tools-auto", "everything")
_SHOWN_IN_FULL = ("openai-chat", "azure-chat-dated-key", "openai-responses", "azure-responses-dated-key")


def _calls(place: Place) -> list[Call]:
    if place.name == "gemini-v1-budget":
        return budget_calls()
    calls = _BY_DIALECT[place.dialect]
    if place.dialect in ("openrouter", "gemini") or place.name in _SHOWN_IN_FULL:
        return calls
    return [call for call in calls if call.name in _FEW]


CASES = [(place, call) for place in PLACES for call in _calls(place)]


@pytest.mark.parametrize(("place", "call"), CASES, ids=[f"{place.name}-{call.name}" for place, call in CASES])
def test_a_call_leaves_us_as_it_leaves_the_official_sdk(exchanges, place, call):
    theirs, ours = exchanges.both(place, call)
    expected, _ = as_ours(place.name, theirs)
    assert ours == expected


def test_every_documented_difference_is_met_by_some_call(exchanges):
    met = {
        difference.why
        for place, call in CASES
        for difference in as_ours(place.name, exchanges.both(place, call)[0])[1]
    }
    assert met == {difference.why for difference in DIFFERENCES}


def test_there_are_enough_calls_and_each_has_its_own_name():
    names = [f"{place.name}-{call.name}" for place, call in CASES]
    assert len(set(names)) == len(names) >= 60


#: Parameters that every wire writes in a form of its own, all of what they say included.
_FORMS = ("response_format", "tools", "tool_choice", "extra_body")


def _pairs(value):
    """Every name with its value, at any depth of a body."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(inner)


@pytest.mark.parametrize(("place", "call"), CASES, ids=[f"{place.name}-{call.name}" for place, call in CASES])
def test_a_parameter_is_sent_as_it_was_given_or_the_change_is_told(exchanges, place, call):
    route = exchanges.client(place).explain("caption", call.prompt, **call.options)
    sent = list(_pairs(dict(route.bodies["m"])))
    told = {change.param for change in route.adjustments.get("m", ())}
    for name, value in call.options.items():
        is_level = name == "reasoning" and (name, {"effort": value}) in sent  # the object of that name
        assert name in _FORMS or (name, value) in sent or is_level or name in told
