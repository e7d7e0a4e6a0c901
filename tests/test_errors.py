"""The error tree: one vocabulary, one line a text, and nothing lost on the way between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from llmbench import errors
from llmbench.errors import ERROR_KINDS, ConfigError, FallbackExhausted, ProviderError, RouteError
from llmbench.messages import Attempt


def exhausted() -> FallbackExhausted:
    group = FallbackExhausted(
        "no candidate answered",
        [
            ProviderError("HTTP 429: slow down", kind="rate_limit", status_code=429, retry_after_s=2.0),
            ProviderError("no answer within 1.0 s", kind="timeout", output="half", request_id="r-1"),
        ],
    )
    group.output = "half"
    group.attempts = (Attempt("a", 12.0, error_kind="rate_limit"), Attempt("b", 13.0, error_kind="timeout"))
    return group


def test_the_kinds_are_the_contracts():
    wanted = (
        "connect timeout auth quota model_not_found rate_limit bad_request unsupported_param context_length "
        "content_filter refusal server_error empty malformed truncated invalid_output no_media circuit_open "
        "cancelled"
    )
    assert list(ERROR_KINDS) == wanted.split()


def test_every_error_of_the_tree_is_in_the_drawing_and_has_one_base():
    tree = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert all(issubclass(error, errors.LLMBenchError) for error in tree)
    assert all(error.__name__ in (errors.__doc__ or "") for error in tree)


def through_pickle(error):
    return pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes, as a process pool sends them


@pytest.mark.parametrize("passed", [through_pickle, copy.copy, copy.deepcopy])
def test_an_error_crosses_processes_with_its_attributes(passed):
    config = passed(ConfigError("wrong", path="llm_router.yaml", line=3))
    assert (str(config), config.path, config.line) == ("llm_router.yaml:3: wrong", "llm_router.yaml", 3)
    assert passed(RouteError("none left", [("a", "no key")])).excluded == (("a", "no key"),)
    group = passed(exhausted())
    assert group.kind == "timeout"
    assert [error.status_code for error in group.exceptions] == [429, None]
    assert group.exceptions[1].output == "half"
    assert (group.attempts, group.output) == (exhausted().attempts, "half")
    refused = passed(ProviderError("no", kind="unsupported_param", param="top_k"))
    assert (refused.kind, refused.param) == ("unsupported_param", "top_k")


def test_an_exhausted_call_can_be_taken_apart_by_kind():
    caught = []
    try:
        raise exhausted()
    except* ProviderError as group:
        caught.append(group)
    assert [type(group) for group in caught] == [FallbackExhausted]

    timeouts = exhausted().subgroup(lambda e: isinstance(e, ProviderError) and e.kind == "timeout")
    assert isinstance(timeouts, FallbackExhausted)
    assert [error.kind for error in timeouts.exceptions] == ["timeout"]
    assert (timeouts.attempts, timeouts.output) == (exhausted().attempts, "half")
