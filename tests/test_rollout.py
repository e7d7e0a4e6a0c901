"""Rollouts: who is in the share, what a call's route says of it, and how the stop file is obeyed."""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench import LLMClient
from llmbench.routing.rollout import LOOK_S, StopFile, place_of
from tests.conftest import models
from tests.servers.chat_server import failure

SPLIT = {
    "task": "caption",
    "mode": "split",
    "challenger": "d",
    "share": 0.5,
    "limits": {"failure_rate": 0.05},
}
FOUR = {"llm_model_registry": {"models": models("a", "b", "c", "d", price={"input": 1.0, "output": 2.0})}}
KEYS = [f"user-{number}" for number in range(40)]
INSIDE = next(key for key in KEYS if place_of("small", key) < 0.5)
OUTSIDE = next(key for key in KEYS if place_of("small", key) >= 0.5)


@pytest.fixture
def stop_file(tmp_path: Path) -> Path:
    return tmp_path / "rollouts.json"


@pytest.fixture
def client_with(open_client, stop_file):
    """A client of models a, b, c in tier cheap and of d, which only rollouts know."""

    def opening(environment=None, files=None, **rollouts):
        said = {"stop_file": str(stop_file), "rollouts": {n: SPLIT | r for n, r in rollouts.items()}}
        return open_client(environment, llm_rollouts=said, **(FOUR | (files or {})))

    return opening


def write_stop(path: Path, **states: str) -> None:
    entries = {name: {"state": state, "reason": "too slow"} for name, state in states.items()}
    written = path.with_suffix(".new")
    written.write_text(json.dumps({"schema": 1, "rollouts": entries}), encoding="utf-8")
    written.replace(path)


# ---- the hash ------------------------------------------------------------------------------------------


@given(st.text(max_size=20), st.text(max_size=40))
@settings(max_examples=200)
def test_a_key_has_one_place_in_the_unit_interval(salt, key):
    assert 0.0 <= place_of(salt, key) < 1.0
    assert place_of(salt, key) == place_of(salt, key)


@given(st.text(max_size=30), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100)
def test_a_larger_share_only_adds_keys(key, one, other):
    small, large = sorted((one, other))
    assert not place_of("s", key) < small or place_of("s", key) < large


def test_places_stay_what_they_are_in_every_release():
    assert [round(place_of("small", key), 6) for key in ("user-1", "", "利用者")] == [
        0.669793,
        0.746554,
        0.104674,
    ]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_share_of_keys_is_in_and_salts_are_independent(share):
    keys = [f"user-{number}" for number in range(20_000)]
    first = {key for key in keys if place_of("one", key) < share}
    second = {key for key in keys if place_of("two", key) < share}
    spread = 4 * (share * (1 - share) / len(keys)) ** 0.5
    assert abs(len(first) / len(keys) - share) < spread
    assert abs(len(first & second) / len(keys) - share**2) < spread


# ---- the route -----------------------------------------------------------------------------------------


def test_a_key_in_the_share_goes_to_the_challenger_first_and_then_the_usual_way(client_with, server, log):
    client = client_with(small={})
    route = client.explain("caption", routing_key=INSIDE)
    assert route.candidates == ("d", "a", "b", "c")
    assert route.reasons[-1] == "rollout small (split 0.5): its routing key is in the share: d first"
    assert set(route.bodies) == {"a", "b", "c", "d"}
    assert client.call("caption", "hi", routing_key=INSIDE).model == "d"
    assert server.models() == ["m-d"]
    assert log()[0]["rollout"] == {
        "name": "small",
        "mode": "split",
        "arm": "challenger",
        "of": None,
        "models": ["d"],
    }
    assert "rollout small" in log()[0]["reason"]


def test_a_key_outside_of_the_share_stays_with_the_control(client_with, server, log):
    client = client_with(small={})
    assert client.explain("caption", routing_key=OUTSIDE).candidates == ("a", "b", "c")
    assert client.call("caption", "hi", routing_key=OUTSIDE).model == "a"
    assert (log()[0]["rollout"]["arm"], log()[0]["rollout"]["of"]) == ("control", None)


def test_a_call_without_a_key_stays_with_the_control_and_in_no_arm(client_with, log):
    client = client_with(small={"share": 1.0})
    response = client.call("caption", "hi")
    assert "no routing key" in response.reason
    assert response.model == "a"
    assert "rollout" not in log()[0]


def test_the_environments_routing_key_counts(client_with):
    client = client_with({"LLM_ROUTING_KEY": INSIDE}, small={})
    assert client.explain("caption").candidates[0] == "d"


def test_a_challenger_that_fails_is_replaced_by_the_usual_candidates(client_with, server, log):
    server.script["m-d"] = [failure(500)]
    client = client_with(small={"share": 1.0}, files={"llm_fallback_policy": {"per_status_retry": {500: 0}}})
    assert client.call("caption", "hi", routing_key="u").model == "a"
    line = log()[0]
    assert (line["fallback_chain"], line["rollout"]["arm"]) == (["d", "a"], "challenger")


def test_a_list_of_challengers_is_a_chain(client_with):
    client = client_with(small={"share": 1.0, "challenger": ["d", "c"]})
    assert client.explain("caption", routing_key="u").candidates == ("d", "c", "a", "b")


def test_a_rollout_of_a_tier_takes_every_task_of_it(client_with):
    client = client_with(small={"task": None, "tier": "cheap", "share": 1.0})
    assert client.explain("caption", routing_key="u").candidates[0] == "d"
    assert client.explain("other", tier="cheap", routing_key="u").candidates[0] == "d"
    assert client.explain("other", routing_key="u").candidates == ("b",)


@pytest.mark.parametrize(
    ("environment", "arguments", "said"),
    [
        ({}, {"models": "b"}, "the call names its models"),
        ({}, {"tier": "standard"}, "the call names another tier than its task has"),
        ({}, {"run_id": "r1", "cell": "c1"}, "belongs to a sweep"),
        ({"LLM_FORCE_MODELS": "b"}, {}, "LLM_FORCE_MODELS names"),
        ({"LLM_FORCE_TASK_MODELS_JSON": '{"caption": "b"}'}, {}, "LLM_FORCE_TASK_MODELS_JSON names"),
        ({"LLM_MODEL_SLOT": "7"}, {}, "LLM_MODEL_SLOT names"),
    ],
)
def test_models_chosen_by_hand_are_left_alone(client_with, log, environment, arguments, said):
    slots = {"llm_model_slots": {"slots": {7: {"tiers": {"cheap": ["b"]}}}}}
    client = client_with(environment, slots, small={"share": 1.0})
    route = client.explain("caption", routing_key="u", **arguments)
    assert "d" not in route.candidates
    assert said in route.reasons[-1]
    client.call("caption", "hi", routing_key="u", **arguments)
    assert "rollout" not in log()[0]


def test_a_call_that_names_the_tasks_own_tier_is_in_its_rollout(client_with, log):
    client = client_with(small={"share": 1.0})
    assert client.explain("caption", routing_key="u", tier="cheap").candidates[0] == "d"
    assert client.call("caption", "hi", routing_key="u", tier="cheap").model == "d"
    assert log()[0]["rollout"]["arm"] == "challenger"


def test_a_default_slot_pins_nothing(client_with):
    slots = {"llm_model_slots": {"default_slot": 7, "slots": {7: {"tiers": {"cheap": ["b"]}}}}}
    client = client_with(None, slots, small={"share": 1.0})
    assert client.explain("caption", routing_key="u").candidates == ("d", "b")


def test_without_fallback_the_challenger_is_asked_alone(client_with):
    route = client_with(small={"share": 1.0}).explain("caption", routing_key="u", allow_fallback=False)
    assert route.candidates == ("d",)
    assert dict(route.excluded)["a"] == "strict choice: allow_fallback is off"


def test_a_challenger_that_cannot_take_the_call_leaves_it_to_the_control(client_with, log):
    registry = {
        "models": FOUR["llm_model_registry"]["models"] | models("d", capabilities={"context_tokens": 5})
    }
    client = client_with(None, {"llm_model_registry": registry}, small={"share": 1.0})
    assert client.explain("caption", "hi", routing_key="u").candidates[0] == "d"
    route = client.explain("caption", "a long prompt " * 50, routing_key="u")
    assert route.candidates == ("a", "b", "c")
    assert "cannot take this call: d: about" in route.reasons[-1]


def test_a_challengers_own_fallback_model_does_not_slip_in(client_with):
    registry = {"models": FOUR["llm_model_registry"]["models"] | models("d", fallback_model="c")}
    client = client_with(None, {"llm_model_registry": registry}, small={"share": 1.0})
    assert client.explain("caption", routing_key="u").candidates == ("d", "a", "b", "c")


def test_a_challenger_that_cannot_reason_is_left_out_where_the_control_can(client_with):
    able = models("a", capabilities={"reasoning": True})
    registry = {"models": FOUR["llm_model_registry"]["models"] | able}
    client = client_with(None, {"llm_model_registry": registry}, small={"share": 1.0})
    route = client.explain("caption", routing_key="u", reasoning="high")
    assert route.candidates == ("a",)
    assert "none of the challengers can reason" in route.reasons[-1]


def test_a_challenger_beyond_the_calls_budget_is_no_arm(client_with, log):
    dear = models("d", price={"input": 1e6, "output": 1e6})
    registry = {"models": FOUR["llm_model_registry"]["models"] | dear}
    client = client_with(None, {"llm_model_registry": registry}, small={"share": 1.0})
    response = client.call("caption", "hi", routing_key="u", budget_usd=0.01, max_tokens=10)
    assert response.model == "a"
    assert "rollout" not in log()[0]


def test_without_a_rollout_a_call_knows_nothing_of_them(open_client, log):
    client = open_client()
    assert client.router.setup().rollouts is None
    client.call("caption", "hi", routing_key="u")
    assert "rollout" not in log()[0]


# ---- until, and the stop file --------------------------------------------------------------------------


def test_an_ended_rollout_changes_nothing(client_with):
    route = client_with(small={"share": 1.0, "until": "2020-01-31"}).explain("caption", routing_key="u")
    assert route.candidates == ("a", "b", "c")
    assert "it ended after 2020-01-31" in route.reasons[-1]
    assert (
        client_with(small={"share": 1.0, "until": "2999-01-31"})
        .explain("caption", routing_key="u")
        .candidates[0]
        == "d"
    )


def test_a_stop_takes_effect_in_a_running_client_within_a_second(client_with, stop_file):
    client = client_with(small={"share": 1.0})
    assert client.call("caption", "hi", routing_key="u").model == "d"
    write_stop(stop_file, small="stopped", other="running")
    began = time.monotonic()
    while client.call("caption", "hi", routing_key="u").model == "d":
        assert time.monotonic() - began < LOOK_S + 2.0
        time.sleep(0.05)
    assert "it is stopped: too slow" in client.explain("caption", routing_key="u").reasons[-1]
    write_stop(stop_file, small="running")
    time.sleep(LOOK_S + 0.1)
    assert client.call("caption", "hi", routing_key="u").model == "d"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 2, "rollouts": {}}',
        '{"schema": 1, "rollouts": {"small": {}}}',
        '{"schema": 1}',
        "\xff",
        "[" * 100_000,
    ],
)
def test_a_stop_file_that_cannot_be_understood_stops_every_rollout_with_one_warning(tmp_path, text):
    path, clock = tmp_path / "stops.json", [0.0]
    path.write_bytes(text.encode("latin-1"))
    stops = StopFile(path, lambda: clock[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(5):
            assert "every rollout is stopped" in (stops.stopped("any") or "")
            clock[0] += 2.0
    assert [str(each.message).count("stops.json") for each in said] == [1]
    write_stop(path)
    clock[0] += 2.0
    assert stops.stopped("any") is None


def test_a_stop_file_that_cannot_be_read_stops_every_rollout(tmp_path):
    path = tmp_path / "stops.json"
    path.mkdir()
    with pytest.warns(RuntimeWarning, match=r"stops\.json cannot be used \(Is a directory\)"):
        assert StopFile(path).stopped("any") is not None


def test_a_stop_file_that_is_a_pipe_keeps_no_caller_waiting(client_with, stop_file):
    os.mkfifo(stop_file)
    client = client_with(small={"share": 1.0})
    with pytest.warns(RuntimeWarning, match="it is no regular file"):
        assert client.call("caption", "hi", routing_key="u").model == "a"


def test_the_stop_file_is_the_projects_wherever_the_process_works(client_with, tmp_path, monkeypatch):
    client = client_with(small={"share": 1.0})
    folder = client.router.setup().config.folder
    assert client.router.setup().rollouts.stops.path == tmp_path / "rollouts.json"
    rollouts = folder / "llm_rollouts.yaml"
    rollouts.write_text(rollouts.read_text(encoding="utf-8").replace(str(tmp_path) + "/", ""), "utf-8")
    linked = tmp_path / "elsewhere" / "linked"
    linked.parent.mkdir()
    linked.symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    for cwd, named in ((folder.parent, folder.name), (tmp_path / "elsewhere", "linked"), (tmp_path, folder)):
        monkeypatch.chdir(cwd)
        write_stop(folder.parent / "rollouts.json", small="stopped")
        with LLMClient(named, variables={"STUB_KEY": "k"}, log_path=tmp_path / "other.jsonl") as other:
            assert "it is stopped" in other.explain("caption", routing_key="u").reasons[-1], cwd


def test_without_a_stop_file_rollouts_run(tmp_path):
    assert StopFile(tmp_path / "none.json").stopped("any") is None


def test_the_stop_file_is_looked_at_once_a_second_and_read_when_it_changed(tmp_path):
    path, clock = tmp_path / "stops.json", [100.0]
    stops = StopFile(path, lambda: clock[0])
    write_stop(path, small="stopped")
    assert stops.stopped("small") == "too slow"
    write_stop(path, small="running")
    clock[0] += 0.9
    assert stops.stopped("small") == "too slow"
    clock[0] += 0.2
    assert stops.stopped("small") is None
    os.utime(path, ns=(1, 1))
    clock[0] += 2
    assert stops.stopped("small") is None
