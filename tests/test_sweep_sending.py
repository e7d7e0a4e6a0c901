"""How the calls of a sweep go out: fair to the candidates, timed alone, and not to a model that is closed."""

from __future__ import annotations

import statistics
from collections import defaultdict

import pytest

from llmbench.bench.sending import CLOSES_AFTER
from llmbench.errors import ProviderError
from llmbench.providers.scripted import ScriptedTransport
from tests.sweep_project import rows_of, stub_provider, sweep, write_project


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


# ---- accounts that fail


def test_three_refused_keys_in_a_row_close_a_model_and_the_others_go_on(tmp_path):
    samples = [f"text {n}" for n in range(15)]
    project = write_project(tmp_path, 9, samples=samples, concurrency=1)
    refused = ProviderError("HTTP 401: no such key", kind="auth", status_code=401)

    def answer(request):
        return refused if request.body["model"] == "beta-1" else '{"label": "praise"}'

    scripted = ScriptedTransport(answer)
    run = sweep(project, client_options={"transport": lambda: scripted})
    by_model = defaultdict(list)
    for row in rows_of(run):
        by_model[row["model"]].append(row)
    assert {row["status"] for row in by_model["alpha"]} == {"ok"}
    assert {row["status"] for row in by_model["beta"]} == {"harness"}
    calls = [each for each in scripted.asked if each.body["model"] == "beta-1"]
    assert len(calls) == CLOSES_AFTER
    assert run.pending == 15
    (notice,) = [text for text in run.notices if "beta" in text]
    assert notice.startswith("beta was left alone after 3 failures of our account: auth: ")
    assert all(row["error"].startswith(("auth: ", "HTTP 401")) for row in by_model["beta"])


def test_an_answer_in_between_leaves_a_model_open(tmp_path):
    project = write_project(
        tmp_path, 9, models=["alpha"], samples=[f"text {n}" for n in range(12)], concurrency=1
    )
    seen = 0

    def answer(_request):
        nonlocal seen
        seen += 1
        if seen % 3:
            return ProviderError("HTTP 401: no such key", kind="auth", status_code=401)
        return '{"label": "praise"}'

    scripted = ScriptedTransport(answer)
    run = sweep(project, client_options={"transport": lambda: scripted})
    assert len(scripted.asked) == 12
    assert run.pending == 8


# ---- fairness, and what a latency is


def test_a_provider_whose_speed_drifts_hits_all_candidates_alike(tmp_path):
    with stub_provider(tmp_path, (5, 60)) as stub:
        samples = [f"text {n} #drift" for n in range(60)]
        project = write_project(
            tmp_path, stub.port, models=("alpha", "beta", "gamma"), samples=samples, concurrency=6
        )
        run = sweep(project)
        places, times = defaultdict(list), defaultdict(list)
        for place, line in enumerate(stub.requests()):
            places[line["model"]].append(place)
            times[line["model"]].append(line["at"])
    means = [statistics.mean(found) for found in places.values()]
    assert max(means) - min(means) <= 6, "none is sent earlier than the others"
    spans = [statistics.mean(found) for found in times.values()]
    assert max(spans) - min(spans) < 0.1
    latencies = defaultdict(list)
    for row in rows_of(run):
        latencies[row["model"]].append(row["latency_ms"])
    averages = [statistics.mean(found) for found in latencies.values()]
    assert max(averages) / min(averages) < 1.25, averages


def test_a_latency_is_of_the_call_alone_and_a_row_says_whether_it_was_held_back(tmp_path):
    with stub_provider(tmp_path, (50, 60)) as stub:
        samples = ["first", "#dice 3 retry=1;", *(f"text {n}" for n in range(12))]
        project = write_project(tmp_path, stub.port, models=["alpha"], samples=samples, concurrency=4)
        run = sweep(project)
    rows = [row for row in rows_of(run) if row["status"] == "ok"]
    assert len(rows) == 13
    assert all(45 <= row["latency_ms"] < 250 for row in rows), [row["latency_ms"] for row in rows]
    assert all(row["queued_ms"] < 60 for row in rows)
    assert {row["throttled"] for row in rows} == {True, False}


def test_without_refusals_nothing_is_marked_as_held_back(tmp_path, stub):
    run = sweep(write_project(tmp_path, stub.port, concurrency=2))
    assert {row["throttled"] for row in rows_of(run)} == {False}


def test_calls_that_waited_for_their_minute_are_marked(tmp_path, stub, monkeypatch):
    monkeypatch.setattr("llmbench.providers.pacing.WINDOW_S", 0.4)
    plan = {"limits": {"stub": {"requests_per_minute": 4}}}
    run = sweep(write_project(tmp_path, stub.port, models=["alpha"], plan=plan))
    marks = [row["throttled"] for row in rows_of(run)]
    assert 4 <= sum(marks) <= 8
    assert all(row["latency_ms"] < 200 for row in rows_of(run))


def test_a_provider_that_refuses_every_call_is_left_alone_in_the_end(tmp_path, stub, monkeypatch):
    monkeypatch.setattr("llmbench.bench.work.PATIENCE_S", 0.2)
    samples = [f"#429 text {number}" for number in range(200)]
    run = sweep(write_project(tmp_path, stub.port, samples=samples))
    assert (run.pending, run.failed) == (400, 0)
    assert any("stub refused every call for" in notice for notice in run.notices)
    assert {row["status"] for row in rows_of(run)} == {"harness"}
