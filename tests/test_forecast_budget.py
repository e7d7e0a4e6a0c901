"""What a plan will take in time and money, whether it may start, and what a person sees of it."""

from __future__ import annotations

import dataclasses
import json
import math
import time

import pytest
import yaml
from typer.testing import CliRunner

from llmbench.bench import chain, forecast_page
from llmbench.bench.forecast import Forecast, make_forecast, over_budget
from llmbench.bench.forecast_calls import SPEED_S, Span
from llmbench.bench.plan import Budget
from llmbench.bench.planning import forecast_sweep
from llmbench.catalog import Limits
from llmbench.cli import app
from llmbench.routing.client import LLMClient
from tests.forecast_plans import CALLS, ROOT, cells_of, forecast_of, project_of, result, row, write_ledger
from tests.sweep_project import frozen_plan, open_project_client

# --- time -------------------------------------------------------------------------------------------------


def test_time_is_that_of_the_slowest_limit(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"), samples=60, concurrency=10)
    cells = cells_of(project)
    ledger = write_ledger(tmp_path / "l.jsonl", [result(cell, latency_ms=2000.0) for cell in cells[:20]])
    seconds = {
        limits: forecast_of(project, ledger, limits={} if limits is None else {"stub": limits}).calls.seconds
        for limits in (
            None,
            Limits(concurrency=3),
            Limits(concurrency=30),
            Limits(requests_per_minute=20),
            Limits(tokens_per_minute=600),
        )
    }
    at_ten, at_three, not_thirty, requests, tokens = seconds.values()
    assert at_ten == not_thirty == pytest.approx(100 * 2 / 10)
    assert at_three == pytest.approx(100 * 2 / 3)
    assert requests == pytest.approx(60 * 100 / 20)
    assert tokens == pytest.approx(60 * sum(cell.tokens for cell in cells[20:]) / 600)


@pytest.mark.parametrize(
    ("calls", "turns"),
    [
        (3, 1.0),
        (4, 1.0),
        (9, 2.0),
        (4 + 5 + 6, 3.0),
        (sum(range(4, 64)), 60.0),
        (sum(range(4, 64)) + 640, 70.0),
    ],
)
def test_where_nobody_names_a_limit_each_turn_has_one_call_more_up_to_64(tmp_path, calls, turns):
    found = make_rows(tmp_path, Limits(), calls)
    assert found.seconds == pytest.approx(2.0 * turns)


def make_rows(tmp_path, limits, calls):
    project = project_of(tmp_path, ("alpha", "beta"), concurrency=None)
    rows = [row("alpha", provider="stub", lane="stub", calls=Span(calls, calls, calls), seconds=2.0 * calls)]
    with open_project_client(project) as client:
        plan = dataclasses.replace(frozen_plan(project, client), limits={"stub": limits})
        return make_forecast(plan, rows, client)


def test_an_unmeasured_model_is_as_fast_as_assumed(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"), concurrency=1)
    found = forecast_of(project).calls
    start, a_token = SPEED_S
    assert found.seconds == pytest.approx(24 * start + a_token * found.output.expected)
    assert "assumed speed" in found.rows[0].basis


def test_a_race_waits_for_each_batch_and_each_task(tmp_path):
    plan = {"stop": "decided", "batch": 1, "pilot": 12}
    project = project_of(tmp_path, ("alpha", "beta"), tasks=("one", "two"), concurrency=64, plan=plan)
    found = forecast_of(project).calls
    assert found.seconds == pytest.approx(sum(row.seconds for row in found.rows) / 2)  # one of each model
    whole = forecast_of(project, stop="grid").calls
    assert whole.seconds == pytest.approx(sum(row.seconds for row in whole.rows) / 48)


def test_a_local_server_answers_one_call_at_a_time_and_few_servers_run_at_once():
    project = chain.Project(ROOT)
    with chain.open_client(project, replay=CALLS) as client:
        plan = chain.find_plan(project, "default", chain.Choice(limit=1), client)
        plan = dataclasses.replace(plan, stop="grid")
        rows = [row(name, seconds=s) for name, s in (("a", 10.0), ("b", 20.0), ("c", 30.0), ("d", 40.0))]
        two_at_once = make_forecast(plan, rows, client).seconds
        same = make_forecast(plan, [dataclasses.replace(each, lane="local/a") for each in rows], client)
    assert two_at_once == 50.0  # of 100 in two places
    assert same.seconds == 100.0


# --- budgets ----------------------------------------------------------------------------------------------


def test_a_plan_starts_when_its_fewest_calls_and_expected_dollars_fit():
    plan = Forecast((row("a", calls=Span(5, 8, 10)), row("b")), 1.0)
    assert over_budget(plan, Budget()) is None
    assert over_budget(plan, Budget(usd=4.0, calls=15)) is None
    assert over_budget(plan, Budget(calls=14)) == (
        "it takes at least 15 calls more and its budget has 14 left; raise budget.calls, or ask for fewer "
        "samples, candidates or repeats"
    )
    assert "expected to cost $4.00 more and its budget has $3.99 left" in over_budget(plan, Budget(usd=3.99))
    assert over_budget(plan, Budget(usd=4.0, calls=15), spent_usd=0.5) is not None
    assert over_budget(plan, Budget(usd=4.5, calls=20), spent_usd=0.5, calls=5) is None
    assert over_budget(plan, Budget(calls=20), calls=6) is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"usd": None, "unknown": "unknown: no price for b", "costs_money": True}, "(no price for b)"),
        ({"usd": Span(1.0, 2.0, math.inf), "costs_money": True}, "(its answers have no output limit)"),
    ],
)
def test_a_cost_that_nobody_can_cap_fits_into_no_budget(changes, reason):
    plan = Forecast((row("a"), row("b", **changes)), 1.0)
    assert reason in over_budget(plan, Budget(usd=1000.0))
    assert over_budget(plan, Budget(calls=1000)) is None


def test_a_plan_with_nothing_left_to_call_starts_under_any_budget():
    done = row("a", in_ledger=10, calls=Span(), usd=Span())
    assert over_budget(Forecast((done,), 0.0), Budget(usd=0.0, calls=0)) is None


def test_a_provider_that_charges_needs_a_budget_and_a_local_one_does_not(tmp_path):
    found = forecast_of(project_of(tmp_path, ("alpha", "beta")), budget=Budget())
    assert found.calls.paid_providers == ("stub",)
    assert "calls alpha, beta, which may cost money, and is refused until it has a budget" in found.refusal
    assert found.refusal in found.warnings()
    assert found.refusal in found._repr_html_().replace("&#x27;", "'")


def test_a_plan_above_its_budget_says_so_before_it_is_run(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"))
    assert forecast_of(project, budget=Budget(usd=1.0)).refusal is None
    assert "expected to cost" in forecast_of(project, budget=Budget(usd=1e-6)).refusal
    assert "at least 24 calls" in forecast_of(project, budget=Budget(usd=1.0, calls=23)).refusal


def test_a_free_model_needs_no_budget_and_one_without_a_price_only_on_another_machine(tmp_path):
    free = {name: {"price": {"input": 0.0, "output": 0.0}} for name in ("alpha", "beta")}
    project = project_of(tmp_path / "free", ("alpha", "beta"), registry=free)
    assert forecast_of(project, budget=Budget()).refusal is None
    unpriced = {name: {"price": None} for name in ("alpha", "beta")}
    project = project_of(tmp_path / "open", ("alpha", "beta"), registry=unpriced)
    assert forecast_of(project, budget=Budget()).refusal is None
    far = {"stub": {"base_url": "https://llm.example/v1", "env_api_key": "STUB_KEY"}}
    text = yaml.safe_dump({"providers": far})
    (project.configs / "llm_router.yaml").write_text(text, encoding="utf-8")
    with LLMClient(project.configs, variables={"STUB_KEY": "k"}, log_path=tmp_path / "log") as client:
        plan = dataclasses.replace(frozen_plan(project, client), budget=Budget())
        assert "may cost money" in forecast_sweep(plan, client, project.ledger).refusal


# --- what a person sees -----------------------------------------------------------------------------------


def test_the_verb_begins_with_all_of_it_in_one_line(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"))
    shown = CliRunner().invoke(app, ["plan", "small", "--project", str(project.root)])
    assert shown.exit_code == 0
    first = shown.stdout.splitlines()[0]
    assert first.startswith("24 calls left of 24 · $0.000")
    assert " (low, expected, high) · about " in first
    table = [line for line in shown.stdout.splitlines() if line.startswith("│ labels")]
    assert [line.split("│")[2].strip() for line in table[:2]] == ["alpha", "beta"]


def test_json_has_no_figure_that_is_no_number(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"), registry={"beta": {"price": None}})
    shown = CliRunner().invoke(app, ["plan", "small", "--project", str(project.root), "--json"])

    def refuse(text):
        raise AssertionError(text)

    facts = json.loads(shown.stdout, parse_constant=refuse)["forecast"]
    assert facts["usd"] is None
    assert facts["unknown"] == [facts["rows"][1]["unknown"]]
    assert facts["rows"][0]["usd"]["low"] <= facts["rows"][0]["usd"]["high"]
    assert facts["rows"][0]["kind"] == "answer"


def test_strange_names_and_missing_limits_are_shown_as_text():
    bare = row("<b>m</b>\x1b", task="<i>t</i>", usd=Span(1.0, 2.0, math.inf), output=Span(1, 2, math.inf))
    page = forecast_page.html_table(Forecast((bare, row("b", kind="judge")), 5000.0))
    assert "<b>" not in page
    assert "<i>" not in page
    assert "\x1b" not in page
    assert "2 (1 to no limit)" in page
    assert "t (judge)" in page
    assert "about 83 min" in page
    assert forecast_page.total_line(Forecast((bare,), 8000.0)).endswith(
        "$1.00 – $2.00 – no limit (low, expected, high) · about 2.2 h"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about 1 s"),
        (99.0, "about 99 s"),
        (99.6, "about 2 min"),
        (5969, "about 99 min"),
        (5970, "about 1.7 h"),
    ],
)
def test_time_is_said_no_finer_than_it_is_known(seconds, words):
    assert forecast_page.about(seconds) == words


def test_500_prompts_and_6_models_are_forecast_within_4_seconds_of_cpu(tmp_path):
    project = project_of(tmp_path, tuple("abcdef"), samples=500)
    began = time.process_time()
    found = forecast_of(project)
    assert time.process_time() - began < 4.0
    assert found.calls.planned == 3000


def test_a_judges_questions_are_forecast_beside_the_answers(tmp_path):
    judge = {"model": "gamma", "strategy": "pairwise", "max_tokens": 100}
    plan = {"candidates": ["alpha", "beta"], "tasks": {"labels": {"judge": judge}}}
    project = project_of(tmp_path, ("alpha", "beta", "gamma"), plan=plan)
    found = forecast_of(project).calls
    asked = found.rows[-1]
    assert (asked.kind, asked.model, asked.calls) == ("judge", "gamma", Span(0, 24, 48))  # two orders of 12
    assert asked.output.expected * 1.01 > 24 * 60
    assert asked.input.expected > 24 * 100, "the instructions alone are longer"
    assert asked.usd.expected == pytest.approx((asked.input.expected + 2 * asked.output.expected) * 1e-6)
    assert found.usd.expected > asked.usd.expected
    rubric = {"model": "gamma", "strategy": "rubric"}
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(
        yaml.safe_dump(yaml.safe_load(path.read_text()) | {"tasks": {"labels": {"judge": rubric}}})
    )
    assert forecast_of(project).calls.rows[-1].calls == Span(0, 24, 48)  # each model's answers
