"""Before spending: what a margin needs, what a pool proves at best, and what it costs, with nothing sent."""

from __future__ import annotations

import dataclasses
import json
import math
import socket
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.bench.bounds import most_usd
from llmbench.bench.evidence import Evidence, fewest_units
from llmbench.bench.forecast_calls import Span
from llmbench.bench.planning import FACTORS, forecast_sweep
from llmbench.bench.pools import EQUAL, NEVER_DIFFER, Assumption, Pool, provable_margin, units_for
from llmbench.cli import app
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    stub_provider,
    sweep,
    write_dataset,
    write_project,
)
from tests.tables import smallest_margin

ALPHA = 0.05
HOSTILE = "<b>x</b>"


def texts(count):
    return [f"sample {number}" for number in range(count)]


def closed_port():
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def forecast(project, **choice):
    with open_project_client(project) as client:
        return forecast_sweep(frozen_plan(project, client, **choice), client, project.ledger)


def forecast_with_repeats(project, repeats):
    with open_project_client(project) as client:
        plan = dataclasses.replace(frozen_plan(project, client), repeats=repeats)
        return forecast_sweep(plan, client, project.ledger)


def invoke(project, *args):
    return CliRunner().invoke(app, ["plan", "small", "--project", str(project.root), *map(str, args)])


def files_of(project):
    return {path for path in project.root.rglob("*") if path.is_file()}


# --- the numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "candidates", "bound", "usual"),
    [(0.05, 1, 59, 89), (0.10, 1, 29, 46), (0.03, 1, 99, 140), (0.05, 3, 80, 120), (0.10, 3, 39, 60)],
)
def test_the_fewest_units_lie_between_what_no_method_can_beat_and_what_was_simulated(
    margin, candidates, bound, usual
):
    pool = Pool.of_units(12)
    fewest = units_for(pool, NEVER_DIFFER, margin, alpha=ALPHA / candidates)
    assert bound == math.ceil(math.log(ALPHA / candidates) / math.log1p(-margin))
    assert bound <= fewest <= usual
    assert fewest == fewest_units(margin, alpha=ALPHA / candidates)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 6), st.sampled_from((NEVER_DIFFER, *EQUAL)))
@settings(max_examples=40)
def test_a_larger_pool_never_proves_only_a_larger_margin(n, more, candidates, assumption):
    alpha = ALPHA / candidates
    small = provable_margin(Pool.of_units(n), assumption, alpha=alpha)
    large = provable_margin(Pool.of_units(n + more), assumption, alpha=alpha)
    assert (large or 1.0) <= (small or 1.0)


@given(st.floats(0.03, 0.5), st.integers(1, 8), st.sampled_from((NEVER_DIFFER, *EQUAL)))
@settings(max_examples=40)
def test_more_candidates_never_need_fewer_prompts(margin, candidates, assumption):
    pool = Pool.of_units(10)
    one, other = (units_for(pool, assumption, margin, alpha=ALPHA / k) for k in (candidates, candidates + 1))
    assert one <= other


@given(st.integers(40, 250), st.sampled_from(EQUAL))
@settings(max_examples=20)
def test_the_margin_a_pool_proves_and_the_units_it_needs_are_one_rule_read_both_ways(n, assumption):
    pool = Pool.of_units(n)
    margin = provable_margin(pool, assumption, alpha=ALPHA)
    assert units_for(pool, assumption, margin, alpha=ALPHA) <= n
    assert units_for(pool, assumption, margin - 0.001, alpha=ALPHA) > n


def test_more_disagreement_needs_more_units():
    pool = Pool.of_units(200)
    needed = [units_for(pool, each, 0.05, alpha=ALPHA) for each in (NEVER_DIFFER, *EQUAL)]
    assert needed == sorted(set(needed))


def test_equal_clusters_prove_what_as_many_single_prompts_prove():
    assert provable_margin(Pool(80, (1.0,) * 40), NEVER_DIFFER, alpha=ALPHA) == smallest_margin(
        40, alpha=ALPHA
    )


def test_small_clusters_beside_a_large_one_count_for_less():
    uneven = Pool(44, (1.0, *(0.2,) * 34))
    even = Pool.of_units(35)
    for assumption in (NEVER_DIFFER, *EQUAL):
        assert units_for(uneven, assumption, 0.1, alpha=ALPHA) > units_for(even, assumption, 0.1, alpha=ALPHA)
    assert provable_margin(even, NEVER_DIFFER, alpha=ALPHA) <= 0.1
    assert provable_margin(uneven, NEVER_DIFFER, alpha=ALPHA) > 0.1


@given(st.lists(st.floats(0.1, 1), min_size=8, max_size=60), st.integers(1, 6), st.floats(0.001, 0.5))
@settings(max_examples=30)
def test_no_equal_candidate_proves_more_than_one_that_never_differs(weights, candidates, variance):
    pool = Pool(len(weights) + 1, (1.0, *weights))
    equal = Assumption("seen:x", "x, as seen on 50", 0.0, variance, 50)
    best, found = (provable_margin(pool, each, alpha=ALPHA / candidates) for each in (NEVER_DIFFER, equal))
    assert (best or 1.0) <= (found or 1.0)


def test_a_candidate_that_beats_the_reference_needs_fewer_prompts_than_an_equal_one():
    pool = Pool.of_units(30)
    better = Assumption("seen:x", "x, as seen on 50", 0.3, 0.1, 50)
    assert units_for(pool, better, 0.05, alpha=ALPHA) < units_for(pool, NEVER_DIFFER, 0.05, alpha=ALPHA)
    assert provable_margin(pool, better, alpha=ALPHA) < provable_margin(pool, NEVER_DIFFER, alpha=ALPHA)


def test_a_candidate_that_is_worse_by_the_margin_is_never_proved():
    pool = Pool.of_units(500)
    worse = Assumption("seen:x", "x, as seen on 50", -0.1, 0.2, 50)
    assert units_for(pool, worse, 0.1, alpha=ALPHA) is None
    assert provable_margin(pool, worse, alpha=ALPHA) > 0.1


def test_one_unit_proves_next_to_nothing_and_at_a_small_error_nothing():
    assert provable_margin(Pool.of_units(1), NEVER_DIFFER, alpha=ALPHA) > 0.95
    assert provable_margin(Pool.of_units(1), NEVER_DIFFER, alpha=1e-4) is None


@pytest.mark.parametrize("assumption", EQUAL, ids=lambda each: each.key)
def test_the_planned_units_prove_an_equal_candidate_in_most_simulated_sweeps(assumption):
    """About 80 % is promised; the slack is that of 200 runs and of the plan's approximation."""
    units = units_for(Pool.of_units(1), assumption, 0.1, alpha=ALPHA)
    rng = np.random.default_rng(7)
    half = assumption.variance / 2
    d = rng.choice([-1.0, 0.0, 1.0], p=[half, 1 - 2 * half, half], size=(units, 200))
    evidence = Evidence(np.full(200, 0.9), alpha=ALPHA, budgets=[units])
    evidence.update(d + 0.1)
    assert np.mean(evidence.best >= 1 / ALPHA) >= 0.70


# --- a plan -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unsent(tmp_path_factory):
    """A project whose provider nobody answers for, and which was never swept."""
    plan = {"margin": 0.1, "stop": "decided", "candidates": ["beta", "gamma"]}
    return write_project(
        tmp_path_factory.mktemp("unsent"),
        closed_port(),
        models=("alpha", "beta", "gamma"),
        samples=texts(60),
        plan=plan,
    )


def test_a_forecast_counts_prompts_candidates_and_the_error_of_each(unsent):
    task = forecast(unsent).tasks[0]
    assert (task.pool.prompts, len(task.pool.weights), task.candidates) == (60, 60, ("beta", "gamma"))
    assert task.side == ALPHA / 2
    assert task.needs[0].units == fewest_units(0.1, alpha=ALPHA / 2)
    assert task.needs[0].provable == smallest_margin(60, alpha=ALPHA / 2)
    assert task.can_prove
    assert [row.factor for row in task.pools] == list(FACTORS)
    assert [row.prompts for row in task.pools] == [60, 90, 120, 180, 300]
    assert [row.most_calls for row in task.pools] == [180, 270, 360, 540, 900]


def test_the_most_dollars_are_no_less_than_the_routes_may_hold_back(unsent):
    found = forecast(unsent)
    task = found.tasks[0]
    with open_project_client(unsent) as client:
        plan = frozen_plan(unsent, client)
        dataset = plan.tasks[0].dataset
        asked = {"response_format": dataset.output_schema, "models": ["beta"], **dataset.options}
        worst = [
            most_usd(client, "beta", client.explain("labels", dataset.messages(sample), **asked))
            for sample in plan.tasks[0].samples
        ]
    now = task.pools[0]
    assert 3 * math.fsum(worst) <= now.most_usd <= 9 * math.fsum(worst)  # three models of one price
    assert now.expected_usd < now.most_usd
    assert task.pools[-1].most_usd == pytest.approx(5 * now.most_usd)
    assert found.calls.usd.high == pytest.approx(now.most_usd)
    assert found.calls.usd.expected == pytest.approx(now.expected_usd)


def test_a_pool_too_small_for_a_verdict_is_expected_to_take_the_whole_grid(unsent):
    task = forecast(unsent).tasks[0]
    needed = next(need.prompts for need in task.needs if need.assumption.key == "differ_20")
    assert needed > 60
    assert task.is_undecided
    assert task.pools[0].expected_calls == task.pools[0].most_calls
    larger = task.pools[-1]  # 300 prompts decide the first candidate; the other one gets its pilot
    assert larger.expected_calls == 2 * (10 + 10 * math.ceil((needed - 10) / 10)) + 10
    assert larger.expected_usd < larger.most_usd
    repeated = forecast_with_repeats(unsent, 3).tasks[0].pools[-1]
    assert repeated.expected_calls == 3 * larger.expected_calls


def test_nothing_is_sent_and_nothing_is_written(unsent):
    before = files_of(unsent)
    refused = []
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *args: refused.append(args) or connect(*args))
        patch.setattr(socket.socket, "connect_ex", lambda *args: refused.append(args) or connect_ex(*args))
        assert invoke(unsent).exit_code == 0
    assert refused == []
    assert files_of(unsent) == before


def test_a_model_without_a_price_has_no_dollars_rather_than_zero(tmp_path):
    project = write_project(tmp_path, closed_port(), samples=texts(12), price=None)
    found = forecast(project)
    assert found.rows()[0]["expected_usd"] is None
    assert found.rows()[0]["most_usd"] is None
    assert "–" in invoke(project).stdout
    assert "$0 " not in invoke(project).stdout
    assert "no dollars: unknown: no price for alpha" in invoke(project).stdout


def test_a_task_without_a_candidate_is_forecast_without_a_proof(tmp_path):
    project = write_project(
        tmp_path, closed_port(), samples=texts(12), plan={"candidates": ["alpha"], "stop": "decided"}
    )
    found = forecast(project)
    assert found.tasks[0].needs == ()
    assert not any("NEVER" in text for text in found.warnings())
    assert "no candidate against alpha" in str(found)
    assert found.tasks[0].pools[0].expected_calls == 10  # the pilot
    ET.fromstring(found.chart())  # noqa: S314 - our own picture


def test_a_plan_for_the_whole_grid_expects_the_whole_grid(tmp_path):
    project = write_project(tmp_path, closed_port(), samples=texts(400), plan={"margin": 0.2, "stop": "grid"})
    task = forecast(project).tasks[0]
    assert task.pools[0].expected_calls == task.pools[0].most_calls == 800
    assert not task.is_undecided


def test_repeats_multiply_the_calls_and_not_the_proof(tmp_path):
    project = write_project(tmp_path, closed_port(), samples=texts(30), plan={"repeats": 3})
    task = forecast(project).tasks[0]
    assert task.pools[0].most_calls == task.pools[0].expected_calls == 30 * 2 * 3
    assert task.needs[0].provable == smallest_margin(30, alpha=ALPHA)


# --- what the ledger holds --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A project of 24 prompts, all called."""
    with stub_provider(tmp_path_factory.mktemp("stub")) as stub:
        project = write_project(
            tmp_path_factory.mktemp("swept"),
            stub.port,
            samples=texts(24),
            plan={"margin": 0.1, "stop": "grid"},
        )
        sweep(project)
    return project


def test_measured_costs_replace_the_worst_case_and_finished_calls_cost_nothing_more(swept):
    found = forecast(swept)
    task = found.tasks[0]
    assert [row.in_ledger for row in task.rows] == [24, 24]
    assert found.calls.usd == Span(0.0, 0.0, 0.0)
    now, _, double = task.pools[:3]
    assert (now.expected_usd, now.most_usd) == (0.0, 0.0)
    assert double.expected_usd == pytest.approx(48 * (7 * 1.0 + 3 * 2.0) / 1e6, rel=0.01)
    assert double.most_usd >= double.expected_usd


def test_what_was_seen_of_a_candidate_is_one_more_row(swept):
    task = forecast(swept).tasks[0]
    seen = task.needs[-1]
    assert (seen.assumption.name, seen.assumption.mean) == ("beta, as seen on 24", 0.0)
    assert seen.assumption.variance == 0.0
    assert seen.units >= task.needs[0].units
    assert "beta, as seen on 24" in forecast(swept)._repr_html_()


def test_a_seen_difference_has_the_mean_and_variance_of_the_scores(tmp_path):
    with stub_provider(tmp_path) as stub:
        samples = [*texts(6), "#prose", "#prose too"]
        plan = {"stop": "grid"}
        project = write_project(tmp_path, stub.port, samples=samples, plan=plan)
        sweep(project)
    lines = [json.loads(line) for line in project.ledger.read_bytes().splitlines()]
    for line in lines:  # the reference alone answers those two well
        if line["type"] == "result" and "/alpha/" in line["cell"]:
            line |= {"status": "ok", "output": '{"label": "praise"}'}
    project.ledger.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    seen = forecast(project).tasks[0].needs[-1].assumption
    assert seen.mean == pytest.approx(-0.25)
    assert seen.variance == pytest.approx(np.var([-1.0] * 2 + [0.0] * 6, ddof=1))


# --- what a person sees -----------------------------------------------------------------------------------


def test_the_verb_prints_a_line_a_task_and_the_table_of_larger_pools(unsent):
    result = invoke(unsent)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("180 calls (30 to 180) left of 180 · $")
    line = next(line for line in lines if line.startswith("- "))
    assert line.startswith("- labels: 60 prompts, 2 candidates (beta, gamma) against alpha; 10 points need")
    assert "points at best" in line
    assert line.endswith("of 180 in the whole grid.")
    for size in ("1×", "1.5×", "2×", "3×", "5×"):
        assert any(f" {size} " in line for line in lines)
    assert "NEVER" not in result.stderr


def test_a_pool_that_can_never_prove_the_margin_is_said_loudly(unsent):
    result = invoke(unsent, "--limit", 12)
    assert result.exit_code == 0
    assert result.stderr.count("NEVER") == 1
    assert "NEVER prove a margin of 10 points" in result.stderr
    assert "12 independent clusters" in result.stderr


def test_json_holds_the_same_figures(unsent):
    result = invoke(unsent, "--json", "--limit", 12)
    facts = json.loads(result.stdout)
    task = facts["tasks"]["labels"]
    assert task["pool"] == {"prompts": 12, "clusters": 12}
    assert task["can_prove"] is False
    assert facts["warnings"][-1] == task["warning"]
    assert [row["model"] for row in facts["forecast"]["rows"]] == ["alpha", "beta", "gamma"]
    assert facts["forecast"]["calls"] == {"low": 30, "expected": 36, "high": 36}
    assert task["needs"][0]["units"] == fewest_units(0.1, alpha=ALPHA / 2)
    assert len(task["pools"]) == len(FACTORS)


def test_the_chart_is_one_svg_file_with_every_task(tmp_path):
    project = write_project(tmp_path, closed_port(), tasks=("one", "two"), samples=texts(20))
    path = tmp_path / "chart.svg"
    assert invoke(project, "--chart", path).exit_code == 0
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own picture
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}svg")) == 2
    assert {"one", "two"} <= {text.text for text in root.iter(f"{space}text")}
    assert len(ids := [e.attrib["id"] for e in root.iter() if "id" in e.attrib]) == len(set(ids))


def test_a_chart_that_cannot_be_written_is_an_error_in_one_line(unsent):
    result = invoke(unsent, "--chart", unsent.root / "nowhere" / "chart.svg")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_a_strangers_task_name_stays_text(tmp_path):
    project = write_project(tmp_path, closed_port(), tasks=(HOSTILE,), samples=texts(12), plan={})
    plan = {"name": "small", "candidates": ["alpha", "beta"], "tasks": {HOSTILE: {"dataset": "data"}}}
    (project.configs / "sweeps" / "small.yaml").write_text(json.dumps(plan), encoding="utf-8")
    write_dataset(project.datasets / "data", "data", texts(12))
    found = forecast(project)
    page = found._repr_html_()
    for markup in (page, found.chart()):
        assert HOSTILE not in markup
        assert "&lt;b&gt;x&lt;/b&gt;" in markup
    assert HOSTILE in invoke(project).stdout
