"""Precedence of tier and candidates is the contract's order, whatever subset of places speaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import Candidate, Capabilities, Condition, Endpoint, ModelSpec, Policy
from llmbench.config import Config, Environment, Override, Slot, TaskRule
from llmbench.errors import RouteError
from llmbench.routing.resolve import (
    Wanted,
    option_layers,
    resolve,
    task_policy,
    task_rules,
    tiers_of_tasks,
)

TASK, CHANNEL, ENV = "caption", "CH01", "prod"


def config(**fields) -> Config:
    basic = {
        "folder": Path("configs"), "hash": "0", "endpoints": {"stub": Endpoint("stub")}, "models": {},
        "policy": Policy(), "codes": {}, "tiers": {}, "tier_defaults": {}, "mapping": {}, "channels": {},
        "envs": {}, "channel_envs": {}, "task_overrides": {}, "router_tiers": {}, "router_tasks": {},
        "slots": {}, "default_slot": None, "unknown_task": "standard", "log_path": None,
    }  # fmt: skip
    return Config(**{**basic, **fields})


def spec(key: str, **can) -> ModelSpec:
    return ModelSpec(key, "stub", f"id-{key}", capabilities=Capabilities(**can))


def specs(*keys: str) -> dict[str, ModelSpec]:
    return {key: spec(key) for key in keys}


def listed(*keys: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(key) for key in keys)


def routed(settings: Config, wanted: Wanted | None = None, environment: Environment | None = None):
    wanted = wanted or Wanted(TASK, channel=CHANNEL, env=ENV)
    return resolve(settings, environment or Environment(), wanted, lambda _: None)


# ---- tier

TIER_PLACES = (
    "call", "channel_env", "channel", "env", "task_overrides", "mapping", "router",
)  # fmt: skip


@given(st.sets(st.sampled_from(TIER_PLACES)))
def test_the_tier_comes_from_the_first_place_of_the_contract_that_names_one(speaking):
    def rule(place):
        return {TASK: TaskRule(tier=f"t-{place}")} if place in speaking else {}

    tiers = {f"t-{place}": listed("a") for place in TIER_PLACES} | {"standard": listed("a")}
    settings = config(
        models=specs("a"),
        tiers=tiers,
        channel_envs={(CHANNEL, ENV): Override(tasks=rule("channel_env"))},
        channels={CHANNEL: Override(tasks=rule("channel"))},
        envs={ENV: Override(tasks=rule("env"))},
        task_overrides=rule("task_overrides"),
        mapping={TASK: "t-mapping"} if "mapping" in speaking else {},
        router_tasks=rule("router"),
    )
    tier = "t-call" if "call" in speaking else None
    route = routed(settings, Wanted(TASK, tier=tier, channel=CHANNEL, env=ENV))
    first = next((place for place in TIER_PLACES if place in speaking), None)
    assert route.tier == (f"t-{first}" if first else "standard")
    assert f"tier {route.tier}" in route.reasons[0]
    if first is None:
        assert "is unknown" in route.reasons[0]


def test_an_unknown_task_is_standard_with_a_reason_or_an_error():
    settings = config(models=specs("a"), tiers={"standard": listed("a")}, mapping={"other": "standard"})
    assert routed(settings).reasons[0] == "tier standard: task 'caption' is unknown"
    with pytest.raises(RouteError, match=r"unknown task 'caption'.*known: other"):
        routed(replace(settings, unknown_task="error"))


def test_a_task_that_names_no_tier_is_standard_and_not_unknown():
    for known in (
        {"router_tasks": {TASK: TaskRule()}},
        {"task_overrides": {TASK: TaskRule(options={"seed": 1})}},
        {"channels": {CHANNEL: Override(tasks={TASK: TaskRule(options={"seed": 1})})}},
    ):
        settings = config(models=specs("a"), tiers={"standard": listed("a")}, unknown_task="error", **known)
        assert "names no tier" in routed(settings).reasons[0]


def test_overrides_of_another_channel_do_not_apply():
    settings = config(
        models=specs("a"),
        tiers={"standard": listed("a"), "cheap": listed("a")},
        channels={"CH02": Override(tasks={TASK: TaskRule(tier="cheap")})},
    )
    assert routed(settings).tier == "standard"
    assert routed(settings, Wanted(TASK, channel="CH02")).tier == "cheap"


# ---- candidates

CANDIDATE_PLACES = (
    "call", "force_task", "force", "task:channel_env", "task:channel", "task:env", "task_overrides",
    "router_task", "slot", "default_slot", "tier:channel_env", "tier:channel", "tier:env", "candidates",
    "router_tier",
)  # fmt: skip


@given(st.sets(st.sampled_from(CANDIDATE_PLACES), min_size=1))
def test_the_candidates_come_from_the_first_place_of_the_contract_that_names_some(speaking):
    def names(place):
        return (place, f"{place}+") if place in speaking else ()

    def override(place):
        tiers = {"cheap": listed(*names(f"tier:{place}"))} if f"tier:{place}" in speaking else {}
        rule = {TASK: TaskRule(models=names(f"task:{place}"))} if f"task:{place}" in speaking else {}
        return Override(tasks=rule, tiers=tiers)

    slots = {
        "1": Slot("one", {"cheap": names("slot")} if "slot" in speaking else {}),
        "2": Slot("two", {"cheap": names("default_slot")} if "default_slot" in speaking else {}),
    }
    settings = config(
        models=specs(*(f"{place}{more}" for place in CANDIDATE_PLACES for more in ("", "+"))),
        mapping={TASK: "cheap"},
        channel_envs={(CHANNEL, ENV): override("channel_env")},
        channels={CHANNEL: override("channel")},
        envs={ENV: override("env")},
        task_overrides={TASK: TaskRule(models=names("task_overrides"))},
        router_tasks={TASK: TaskRule(models=names("router_task"))},
        tiers={"cheap": listed(*names("candidates"))},
        router_tiers={"cheap": listed(*names("router_tier"))},
        slots=slots,
        default_slot="2",
    )
    environment = Environment(
        slot="1" if "slot" in speaking else None,
        force_models=names("force"),
        force_task_models={TASK: names("force_task")},
    )
    wanted = Wanted(TASK, models=names("call"), channel=CHANNEL, env=ENV)
    first = next(place for place in CANDIDATE_PLACES if place in speaking)
    if first in ("call", "force_task", "force", "slot"):
        route = routed(settings, wanted, environment)
        assert route.candidates == (first,)
        assert (f"{first}+", "strict choice: allow_fallback is off") in route.excluded
        for allowed in (
            (replace(wanted, allow_fallback=True), environment),
            (wanted, replace(environment, allow_fallback=True)),
        ):
            assert routed(settings, *allowed).candidates == (first, f"{first}+")
    else:
        route = routed(settings, wanted, environment)
        assert route.candidates == (first, f"{first}+")
        assert routed(settings, replace(wanted, allow_fallback=False), environment).candidates == (first,)


def test_a_slot_may_allow_fallback_itself_and_the_call_may_forbid_it():
    settings = config(
        models=specs("a", "b"),
        tiers={"standard": listed("b")},
        slots={"1": Slot("one", {"standard": ("a", "b")}, allow_fallback=True)},
    )
    route = routed(settings, environment=Environment(slot="1"))
    assert (route.candidates, route.slot) == (("a", "b"), "1")
    wanted = Wanted(TASK, allow_fallback=False)
    assert routed(settings, wanted, Environment(slot="1")).candidates == ("a",)


def test_a_slot_that_does_not_exist_is_an_error():
    with pytest.raises(RouteError, match=r"slot '9' is not in llm_model_slots.yaml; known: none"):
        routed(config(), environment=Environment(slot="9"))


def test_strict_keeps_the_first_that_is_left_after_the_filter():
    settings = config(models={"blind": spec("blind"), "eye": spec("eye", vision=True)})
    wanted = Wanted(TASK, models=("blind", "eye"), needs_vision=True)
    assert routed(settings, wanted).candidates == ("eye",)


def test_a_model_may_be_named_by_key_code_or_unique_id():
    settings = config(models=specs("a", "b", "c"), codes={"2": "b"})
    wanted = Wanted(TASK, models=("a", "2", "id-c", "id-a"), allow_fallback=True)
    assert routed(settings, wanted).candidates == ("a", "b", "c")


def test_the_fallback_model_comes_last_and_only_once():
    models = {key: replace(value, fallback_model="z") for key, value in specs("a", "b", "z").items()}
    settings = config(models=models, tiers={"standard": listed("a", "b")})
    assert routed(settings).candidates == ("a", "b", "z")
    assert routed(replace(settings, tiers={"standard": listed("z", "a")})).candidates == ("z", "a")


@pytest.mark.parametrize(
    ("can", "condition", "wanted", "said"),
    [
        ({"mode": "image"}, {}, {}, "its mode is image; the call is text"),
        ({}, {}, {"needs_vision": True}, "cannot see images"),
        ({}, {}, {"needs_tools": True}, "cannot use tools"),
        ({"context_tokens": 100}, {}, {"input_tokens": 90, "output_tokens": 11}, "do not fit its context"),
        ({"context_tokens": 100}, {"min_context_tokens": 101}, {}, "under the tier's 101"),
        ({}, {"min_context_tokens": 1}, {}, "context unknown is under"),
        ({}, {"structured_outputs": True}, {}, "structured_outputs: true"),
        ({"structured_outputs": True}, {"structured_outputs": False}, {}, "structured_outputs: false"),
        ({}, {"reasoning": True}, {}, "reasoning: true"),
        ({"reasoning": True}, {"reasoning": False}, {}, "reasoning: false"),
    ],
)
def test_what_a_candidate_lacks_is_told(can, condition, wanted, said):
    settings = config(
        models={"x": spec("x", **can), "ok": spec("ok", vision=True, tools=True)},
        tiers={"standard": (Candidate("x", Condition(**condition)), Candidate("ok"))},
    )
    route = routed(settings, Wanted(TASK, **wanted))
    assert route.candidates == ("ok",)
    assert said in dict(route.excluded)["x"]


def test_an_empty_result_lists_every_exclusion():
    settings = config(models=specs("a", "b"), tiers={"standard": listed("a", "ghost", "b")})
    with pytest.raises(RouteError) as caught:
        resolve(settings, Environment(), Wanted(TASK), lambda one: f"no key for {one.key}")
    assert dict(caught.value.excluded) == {
        "a": "no key for a",
        "ghost": "no model, code or unique model id of that name",
        "b": "no key for b",
    }
    assert all(name in str(caught.value) for name in ("a: no key", "ghost: no model", "b: no key"))


@pytest.mark.parametrize(
    ("models", "wanted", "kind", "causes"),
    [
        ("short", {"input_tokens": 90}, "context_length", ("context",)),
        ("short keyless", {"input_tokens": 90}, "context_length", ("context", "unreachable")),
        ("short keyless", {"needs_tools": True}, "unsupported_param", ("ability", "ability")),
        (
            "short seeing",
            {"needs_vision": True, "input_tokens": 90},
            "unsupported_param",
            (
                "ability",
                "context",
            ),
        ),
        ("keyless ghost", {}, "model_not_found", ("unreachable", "config")),
    ],
)
def test_an_empty_result_says_what_the_call_asked_too_much(models, wanted, kind, causes):
    known = {
        "short": spec("short", context_tokens=50),
        "seeing": spec("seeing", context_tokens=50, vision=True),
        "keyless": spec("keyless"),
    }
    settings = config(models=known, tiers={"standard": listed(*models.split())})
    with pytest.raises(RouteError) as caught:
        resolve(
            settings,
            Environment(),
            Wanted(TASK, **wanted),
            lambda one: "no key" if one.key == "keyless" else None,
        )
    assert (caught.value.kind, caught.value.causes) == (kind, causes)


def test_a_tier_that_no_file_has_is_an_error():
    with pytest.raises(RouteError, match="tier 'luxury' of task 'caption' is in no file; known: cheap"):
        routed(config(tiers={"cheap": listed("a")}), Wanted(TASK, tier="luxury"))


# ---- options

LAYERS = ("tier", "limit", "model", "router", "task_overrides", "env", "channel", "channel_env")


@given(st.sets(st.sampled_from(LAYERS)))
def test_options_merge_in_the_contracts_order_and_later_ones_win(speaking):
    def options(place):
        return {"max_tokens": LAYERS.index(place) + 1} if place in speaking else {}

    def rule(place):
        return {TASK: TaskRule(options=options(place))}

    limit = LAYERS.index("limit") + 1 if "limit" in speaking else None
    settings = config(
        tier_defaults={"cheap": options("tier")},
        router_tasks=rule("router"),
        task_overrides=rule("task_overrides"),
        envs={ENV: Override(tasks=rule("env"))},
        channels={CHANNEL: Override(tasks=rule("channel"))},
        channel_envs={(CHANNEL, ENV): Override(tasks=rule("channel_env"))},
    )
    model = replace(spec("a"), default_max_tokens=limit, defaults=options("model"))
    merged: dict[str, int] = {}
    for layer in option_layers(settings, Wanted(TASK, channel=CHANNEL, env=ENV), "cheap", model):
        merged |= layer
    last = max((LAYERS.index(place) + 1 for place in speaking), default=None)
    assert merged.get("max_tokens") == last


def test_the_most_specific_rule_speaks_first_and_its_retry_policy_wins():
    settings = config(
        router_tasks={TASK: TaskRule(timeout_s=9, policy={"backoff_sec": 5, "retry_limit": 1})},
        envs={ENV: Override(tasks={TASK: TaskRule(system_prompt="env", policy={"backoff_sec": 2})})},
    )
    wanted = Wanted(TASK, env=ENV)
    assert [rule.system_prompt for rule in task_rules(settings, wanted)] == ["env", None]
    assert task_policy(settings, wanted) == Policy(backoff_sec=2, retry_limit=1)
    assert task_policy(settings, Wanted("other")) == Policy()


def test_every_named_task_has_a_tier_whatever_file_names_it():
    settings = config(
        mapping={"mapped": "cheap", "moved": "cheap"},
        task_overrides={"moved": TaskRule(tier="heavy_reasoning"), "plain": TaskRule()},
        router_tasks={"routed": TaskRule(tier="cheap")},
    )
    assert tiers_of_tasks(settings) == {
        "mapped": "cheap", "moved": "heavy_reasoning", "plain": "standard", "routed": "cheap"
    }  # fmt: skip
