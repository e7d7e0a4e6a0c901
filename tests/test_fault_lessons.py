"""From a provider's words to the options that are left out: the two halves of learning from a 400 fit."""

from __future__ import annotations

import pytest

from llmbench.catalog import ModelSpec, ParamRules
from llmbench.providers.failures import error_from
from llmbench.routing.lessons import Lessons

SENT = {
    "max_tokens": 64,
    "reasoning": "low",
    "temperature": 0.5,
    "top_k": 4,
    "stop": "x",
    "seed": 1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "verbosity": "low",
}


@pytest.mark.parametrize(
    ("said", "param", "refused"),
    [
        ("no", "reasoning.effort", {"reasoning"}),
        ("no", "text.verbosity", {"verbosity"}),
        ("no", "generationConfig.topK", {"top_k"}),
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", None, {"max_tokens"}),
        ("'stop' is not supported with this model.", None, {"stop"}),
        ("Unknown name \"topK\" at 'generation_config': Cannot find field.", None, {"top_k"}),
        ("Unrecognized request arguments supplied: top_k, seed", None, {"top_k", "seed"}),
        (
            "Penalty is not enabled for models/gemini-3-flash",
            None,
            {"presence_penalty", "frequency_penalty"},
        ),
        ("Unknown parameter: 'a_word_that_was_not_sent'.", None, set()),
    ],
)
def test_what_a_provider_refuses_is_what_is_learned(said, param, refused):
    code = "unsupported_parameter" if param else None
    error = error_from(400, {}, {"error": {"message": said, "param": param, "code": code}})
    lessons = Lessons()
    assert lessons.learn("m", error, SENT, ()) is bool(refused)
    applied = lessons.apply(ModelSpec("m", "p", "m"), SENT).applied
    assert set(applied) == set(refused)
    assert lessons.learn("m", error, SENT, applied) is False
    assert lessons.learn("m", error, SENT, ()) is bool(refused), "a request that was under way at that time"


def test_a_refused_schema_is_asked_for_in_the_prompt():
    said = {"error": {"message": "Invalid schema for response_format 'x'", "param": "text.format.schema"}}
    lessons, spec = (
        Lessons(),
        ModelSpec("m", "p", "m", params=ParamRules(response_format_support="json_schema")),
    )
    assert lessons.learn("m", error_from(400, {}, said), SENT, ())
    assert lessons.apply(spec, SENT).spec.params.response_format_support == "prompt"


def test_one_of_two_penalties_is_learned_when_only_one_was_sent():
    said = {"error": {"message": "Penalty is not enabled for models/gemini-3-flash"}}
    for name in ("presence_penalty", "frequency_penalty"):
        lessons = Lessons()
        assert lessons.learn("m", error_from(400, {}, said), {name: 0.1}, ())
        assert set(lessons._refused["m"]) == {name}
