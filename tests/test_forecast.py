"""What a plan will take: calls, tokens, dollars and time, from what was measured, else from assumptions."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbench.bench import chain, forecast_page
from llmbench.bench.account import worst_of_call
from llmbench.bench.cells import make_cells
from llmbench.bench.forecast_calls import ENOUGH, Span, forecast_calls
from llmbench.bench.ledger import read_ledger
from llmbench.bench.planning import forecast_sweep
from llmbench.routing.prepare import text_tokens
from tests.forecast_plans import (
    CALLS,
    ROOT,
    calls_of,
    cells_of,
    forecast_of,
    project_of,
    result,
    write_ledger,
)
from tests.sweep_project import frozen_plan, open_project_client, stub_provider, sweep, write_project

# --- low, expected, high ----------------------------------------------------------------------------------

PRICED = ("plain", "steps", "hours", "free", "unpriced")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Models with every kind of price, one of which reasons."""
    return project_of(
        tmp_path_factory.mktemp("mixed"),
        PRICED,
        samples=8,
        registry={
            "steps": {
                "price": {"input": 3.0, "cached_input": 0.3, "output": 15.0, "reasoning": 20.0},
                "capabilities": {"reasoning": True},
            },
            "hours": {"price": {"per_core_hour": 0.04}},
            "free": {"price": {"input": 0.0, "output": 0.0}},
            "unpriced": {"price": None},
        },
    )


ODD = st.one_of(st.none(), st.integers(0, 5000), st.floats(allow_nan=False, allow_infinity=False), st.text())
LINES = st.fixed_dictionaries(
    dict.fromkeys(("latency_ms", "cpu_s", "cost_usd"), ODD)
    | {f"{kind}_tokens": ODD for kind in ("input", "output", "cached", "reasoning")}
    | {"status": st.sampled_from(("ok", "error", "timeout"))}
    | {"cost_source": st.sampled_from(("provider", "registry", "unknown"))}
)


def is_ordered(span):
    return 0 <= span.low <= span.expected <= span.high


@given(st.lists(st.one_of(st.none(), LINES), min_size=40, max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_low_expected_high_are_in_order_and_high_covers_what_the_router_may_reserve(mixed, tmp_path, drawn):
    with open_project_client(mixed) as client:
        plan = frozen_plan(mixed, client)
        cells = list(make_cells(plan, client))
        lines = [result(cell, **facts) for cell, facts in zip(cells, drawn, strict=True) if facts]
        ledger = write_ledger(tmp_path / "ledger.jsonl", lines)
        found = forecast_calls(cells, read_ledger(ledger), client)
        for cell in cells:
            call, route = found[cell.fingerprint], client.explain(**cell.call())
            assert is_ordered(call.input)
            assert is_ordered(call.output)
            assert call.seconds > 0
            assert call.output.high >= 16  # the card's max_tokens
            texts = [turn["content"] for turn in cell.task.dataset.messages(cell.sample)]
            assert call.input.high >= sum(map(text_tokens, texts))
            if call.usd is not None:
                assert is_ordered(call.usd)
                assert call.usd.high >= (worst_of_call(route.worst_case_usd, client.config.policy) or 0.0)
        whole = forecast_sweep(plan, client, ledger).calls
    assert whole.calls.low <= whole.calls.expected <= whole.calls.high == 40 - whole.in_ledger
    assert is_ordered(whole.input)
    assert is_ordered(whole.output)


@given(st.integers(1, 30), st.integers(0, 30), st.sampled_from(("grid", "decided")), st.integers(1, 3))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_race_calls_between_its_pilot_and_the_grid(tmp_path_factory, samples, done, stop, repeats):
    plan = {"stop": stop, "repeats": repeats}
    project = project_of(tmp_path_factory.mktemp("race"), ("alpha", "beta"), samples=samples, plan=plan)
    cells = cells_of(project)
    ledger = write_ledger(project.root / "some.jsonl", [result(cell) for cell in cells[:done]])
    found = forecast_of(project, ledger).calls
    assert found.planned == 2 * samples * repeats
    assert found.in_ledger == min(done, found.planned)
    assert found.calls.high == found.planned - found.in_ledger
    assert 0 <= found.calls.low <= found.calls.expected <= found.calls.high
    if stop == "grid":
        assert found.calls.low == found.calls.high


# --- what was measured ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    """The cells of the committed example run, and the line of each."""
    lines = {line["fingerprint"]: line for line in map(json.loads, CALLS.read_text("utf-8").splitlines())}
    project = chain.Project(ROOT)
    with chain.open_client(project, replay=CALLS) as client:
        plan = chain.find_plan(project, "default", chain.Choice(replay=CALLS, run_id="example"), client)
        cells = [cell for cell in make_cells(plan, client) if cell.fingerprint in lines]
        yield client, cells, lines


@pytest.mark.parametrize("half", [0, 1])
def test_half_of_a_real_run_forecasts_the_other_half(recorded, tmp_path, half):
    """230 calls of two models on six tasks in two languages: tokens, cost and time of the calls not seen."""
    client, cells, lines = recorded
    queues = {}
    for cell in cells:
        queues.setdefault((cell.task.task, cell.model), []).append(cell)
    seen = {cell.fingerprint for queue in queues.values() for cell in queue[half::2]}
    ledger = write_ledger(tmp_path / "ledger.jsonl", [lines[name] for name in seen])
    found = forecast_calls(cells, read_ledger(ledger), client)
    rest = [(found[c.fingerprint], lines[c.fingerprint]) for c in cells if c.fingerprint not in seen]
    assert len(rest) == 115

    def ratio(value, field):
        return math.fsum(map(value, (call for call, _ in rest))) / sum(line[field] for _, line in rest)

    assert ratio(lambda call: call.input.expected, "input_tokens") == pytest.approx(1, abs=0.05)
    assert ratio(lambda call: call.output.expected, "output_tokens") == pytest.approx(1, abs=0.15)
    assert ratio(lambda call: call.usd.expected, "cost_usd") == pytest.approx(1, abs=0.15)
    assert ratio(lambda call: 1000 * call.seconds, "latency_ms") == pytest.approx(1, abs=0.15)
    assert all(call.input.low <= line["input_tokens"] <= call.input.high for call, line in rest)
    assert all(line["output_tokens"] <= call.output.high for call, line in rest)
    assert all(line["cost_usd"] <= call.usd.high for call, line in rest)


def test_without_a_call_of_them_the_assumptions_hold_the_real_tokens_of_both_scripts(recorded, tmp_path):
    client, cells, lines = recorded
    found = forecast_calls(cells, read_ledger(tmp_path / "none.jsonl"), client)
    for cell in cells:
        call, line = found[cell.fingerprint], lines[cell.fingerprint]
        assert call.input.low <= line["input_tokens"] <= call.input.high
        assert line["output_tokens"] <= call.output.high
    for lang in ("en", "ja"):  # a vocabulary as large as today's usual ones
        of = [cell for cell in cells if cell.sample.lang == lang and cell.model.startswith("gemma")]
        expected = sum(found[cell.fingerprint].input.expected for cell in of)
        assert expected == pytest.approx(sum(lines[c.fingerprint]["input_tokens"] for c in of), rel=0.15)


def test_too_few_results_are_no_evidence(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"))
    own = [cell for cell in cells_of(project) if cell.model == "alpha"]
    for count in (ENOUGH - 1, ENOUGH):
        lines = [result(cell, output_tokens=14, input_tokens=99) for cell in own[:count]]
        calls = calls_of(project, write_ledger(tmp_path / f"{count}.jsonl", lines))
        alpha = next(call for cell, call in calls if cell.model == "alpha")
        assert (alpha.output.expected == 14) == (count == ENOUGH)
        assert ("its calls" in alpha.basis) == (count == ENOUGH)


def test_calls_that_took_less_than_the_router_estimates_do_not_lower_its_cap(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"))
    lines = [result(cell, input_tokens=1, output_tokens=1) for cell in cells_of(project)]
    for cell, call in calls_of(project, write_ledger(tmp_path / "ledger.jsonl", lines)):
        assert call.input.high + call.output.high == cell.tokens


def test_an_unseen_model_answers_as_long_as_others_did(tmp_path):
    project = project_of(
        tmp_path, ("alpha", "beta", "thinker"), registry={"thinker": {"capabilities": {"reasoning": True}}}
    )
    lines = [result(cell, output_tokens=11) for cell in cells_of(project) if cell.model == "alpha"]
    calls = calls_of(project, write_ledger(tmp_path / "ledger.jsonl", lines))
    found = {cell.model: call for cell, call in calls}
    assert found["beta"].output.expected == 11
    assert found["beta"].basis[0] == "other models' calls"
    assert found["thinker"].output.expected == found["thinker"].output.high == 16
    assert found["thinker"].basis[0] == "the cap: nobody knows how much it reasons"


def test_the_calls_of_a_model_that_reasons_say_nothing_of_another(tmp_path):
    project = project_of(
        tmp_path, ("thinker", "beta"), registry={"thinker": {"capabilities": {"reasoning": True}}}
    )
    lines = [result(cell, output_tokens=15) for cell in cells_of(project) if cell.model == "thinker"]
    calls = calls_of(project, write_ledger(tmp_path / "ledger.jsonl", lines))
    assert {call.basis[0] for cell, call in calls if cell.model == "beta"} == {"the targets' length"}


def test_the_share_of_the_prompt_that_was_cached_makes_it_cheaper(tmp_path):
    price = {"input": 10.0, "cached_input": 1.0, "output": 0.0}
    project = project_of(tmp_path, ("alpha", "beta"), registry={"alpha": {"price": price}})
    lines = [result(cell, input_tokens=100, cached_tokens=50) for cell in cells_of(project)[:12]]
    calls = calls_of(project, write_ledger(tmp_path / "ledger.jsonl", lines))
    alpha = [call.usd.expected for cell, call in calls if cell.model == "alpha"]
    assert sum(alpha) / len(alpha) == pytest.approx(100 * 5.5e-6, rel=0.03)


def test_what_a_provider_says_it_charged_goes_before_its_prices(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"))
    said = {"cost_usd": 0.25, "cost_source": "provider"}
    lines = [result(cell, **said) for cell in cells_of(project) if cell.model == "alpha"]
    calls = calls_of(project, write_ledger(tmp_path / "ledger.jsonl", lines))
    assert {call.usd.expected for cell, call in calls if cell.model == "alpha"} == {0.25}
    assert all(call.usd.expected < 0.001 for cell, call in calls if cell.model == "beta")


def test_a_finished_call_costs_nothing_more(tmp_path):
    with stub_provider(tmp_path) as stub:
        project = write_project(tmp_path / "p", stub.port)
        sweep(project)
    found = forecast_of(project)
    assert (found.calls.planned, found.calls.in_ledger) == (24, 24)
    assert found.calls.calls == found.calls.input == found.calls.output == found.calls.usd == Span()
    assert found.calls.seconds == 0.0
    assert found.refusal is None
    assert forecast_page.total_line(found.calls) == "0 calls left of 24"


def test_a_variant_of_a_model_is_priced_and_measured_as_that_model(tmp_path):
    project = project_of(tmp_path, ("alpha", "beta"))
    cells = cells_of(project)
    alpha = [cell for cell in cells if cell.model == "alpha"]
    hot = [
        dataclasses.replace(
            c, model="alpha[temperature=0.7]", base="alpha", fingerprint=f"hot-{c.fingerprint}"
        )
        for c in alpha
    ]
    ledger = write_ledger(tmp_path / "l.jsonl", [result(cell, output_tokens=13) for cell in alpha])
    with open_project_client(project) as client:
        found = forecast_calls([*alpha, *hot], read_ledger(ledger), client)
    assert {found[cell.fingerprint].output.expected for cell in hot} == {13}
