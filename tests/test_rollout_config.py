"""`llm_rollouts.yaml`: what is wrong in it is said with its line."""

from __future__ import annotations

import pytest

from llmbench.config import inspect_config
from llmbench.config.environment import read_environment
from llmbench.config.model import FILES
from llmbench.errors import ConfigError
from llmbench.messages import Request
from llmbench.routing.resolve import Wanted
from llmbench.routing.setup import open_setup
from tests.test_rollout import FOUR, SPLIT


def findings(three_models, rollouts, **files):
    folder = three_models(**(FOUR | {"llm_rollouts": {"rollouts": rollouts}} | files))
    return [str(finding) for finding in inspect_config(folder)[1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "captoin"}, "names task 'captoin', which no file has; did you mean 'caption'?"),
        ({"task": None, "tier": "chaep"}, "names tier 'chaep', which no file has; did you mean 'cheap'?"),
        ({"challenger": ["d", "aa"]}, "names model 'aa', which no registry has"),
        ({"share": 1.5}, "share: must be a number from 0 to 1, such as 0.1 for a tenth: 1.5"),
        ({"share": True}, "share: must be a number from 0 to 1"),
        ({"mode": "shadow"}, "give budget with usd or calls"),
        ({"mode": "shadow", "budget": {"in_flight": 2}}, "give budget with usd or calls"),
        ({"tier": "cheap"}, "give exactly one of task, tasks and tier"),
        ({"task": None}, "give exactly one of task, tasks and tier"),
        ({"until": "soon"}, "must be a day such as 2026-12-31"),
        ({"until": "2020-01-01"}, "warning: rollout 'small' ended after 2020-01-01"),
        ({"limits": {}}, "warning: rollout 'small' has no limits"),
        ({"limits": {"failure_rate": 0}}, "give one between"),
        ({"challenger": []}, "challenger names no model"),
        ({"mode": "splitt"}, "mode: input should be 'split' or 'shadow'"),
        ({"chalenger": "d"}, "did you mean 'challenger'?"),
    ],
)
def test_what_is_wrong_with_a_rollout_is_said_with_its_line(three_models, change, said):
    section = {key: value for key, value in (SPLIT | change).items() if value is not None}
    listed = findings(three_models, {"small": section})
    assert any(said in finding for finding in listed), listed
    assert all(finding.startswith("llm_rollouts.yaml:") for finding in listed)


@pytest.mark.parametrize(
    "other",
    [{"task": "caption"}, {"task": None, "tasks": ["ocr", "caption"]}, {"task": None, "tier": "cheap"}],
)
def test_two_rollouts_for_one_task_are_an_error(three_models, other):
    section = {key: value for key, value in (SPLIT | other).items() if value is not None}
    mapping = {"llm_tier_mapping": {"tasks": {"caption": "cheap", "ocr": "standard"}}}
    listed = findings(three_models, {"small": SPLIT, "second": section}, **mapping)
    assert any("a call is in one rollout" in finding for finding in listed), listed


def test_a_media_task_is_refused(three_models):
    media = {
        "providers": {"stub": {"base_url": "http://127.0.0.1:1/v1"}},
        "models": {"p": {"provider": "stub"}},
        "tiers": {"image": ["p"]},
        "tasks": {"poster": {"tier": "image"}},
    }
    listed = findings(three_models, {"small": SPLIT | {"task": "poster"}}, image_models=media)
    assert any("rollouts are for text tasks" in finding for finding in listed), listed


def test_shadows_that_could_take_every_place_of_a_provider_are_warned_of(three_models, server):
    router = {"providers": {"stub": {"base_url": server.url, "limits": {"concurrency": 2}}}}
    shadow = SPLIT | {"mode": "shadow", "budget": {"calls": 9}}
    listed = findings(three_models, {"small": shadow}, llm_router=router)
    assert any("calls would wait for them" in finding for finding in listed), listed


@pytest.mark.parametrize(
    ("price", "budget", "is_said"),
    [
        (None, {"usd": 5.0}, True),
        (None, {"usd": 5.0, "calls": 9}, True),
        (None, {"calls": 9}, False),
        ({"input": 1.0, "output": 1.0}, {"usd": 5.0}, False),
        ({"per_core_hour": 0.04}, {"usd": 5.0}, False),
    ],
)
def test_a_budget_of_money_needs_a_price(three_models, price, budget, is_said):
    priced = {} if price is None else {"price": price}
    registry = {"models": FOUR["llm_model_registry"]["models"] | {"d": {"provider": "stub"} | priced}}
    section = SPLIT | {"mode": "shadow", "budget": budget}
    listed = findings(three_models, {"small": section}, llm_model_registry=registry)
    said = "error: rollout 'small' has a usd budget, which needs a price: 'd' has none"
    assert any(said in finding for finding in listed) is is_said, listed


def test_a_route_says_that_a_budget_of_money_leaves_an_unpriced_challenger_unasked(three_models):
    registry = {"models": FOUR["llm_model_registry"]["models"] | {"d": {"provider": "stub"}}}
    section = SPLIT | {"mode": "shadow", "share": 1.0, "budget": {"usd": 5.0}}
    folder = three_models(llm_model_registry=registry, llm_rollouts={"rollouts": {"small": section}})
    config = inspect_config(folder)[0]
    environment = read_environment({"STUB_KEY": "k"})
    setup = open_setup(config, environment, {}, {}, lambda _: None)
    request = Request("caption", (), call_id="c1")
    wanted = Wanted("caption")
    route, arm = setup.rollouts.join(request, wanted, setup.route(wanted), setup.route)
    assert arm is None
    assert "its budget is in USD, and no challenger has a price" in route.reasons[-1]


def test_an_overlay_turns_a_rollout_off(three_models):
    folder = three_models(**FOUR, llm_rollouts={"rollouts": {"small": SPLIT}})
    (folder / "llm_rollouts.local.yaml").write_text("rollouts: {small: {share: 0}}\n", encoding="utf-8")
    config, listed = inspect_config(folder)
    assert (config.rollouts["small"].share, listed) == (0.0, ())


def test_a_folder_without_rollouts_hashes_as_ever(three_models):
    without = inspect_config(three_models(**FOUR))[0].hash
    assert inspect_config(three_models(**FOUR, llm_rollouts="# nothing yet\n"))[0].hash == without
    assert inspect_config(three_models(**FOUR, llm_rollouts={"rollouts": {"s": SPLIT}}))[0].hash != without
    assert "llm_rollouts.yaml" in FILES


def test_a_wrong_rollout_is_no_config(three_models):
    from llmbench.config import load_config

    with pytest.raises(ConfigError, match="did you mean 'caption'"):
        load_config(three_models(**FOUR, llm_rollouts={"rollouts": {"s": SPLIT | {"task": "captoin"}}}))
