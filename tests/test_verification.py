"""A promise is held against the telemetry after a change; the verdicts are what the traffic was made for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.analytics.known_logs import find_logs
from llmbench.analytics.verification import Verification, verify
from llmbench.analytics.warehouse import open_warehouse

START = datetime(2026, 11, 2, tzinfo=UTC)
CHANGE = START + timedelta(days=5)
OLD, NEW = "big", "small"
PROMISED = {"cost_usd_per_1000": 0.5, "p95_ms": 1_000.0, "failure_rate": 0.01, "failures": 1, "n": 100}


def a_call(at: datetime, model: str = NEW, **changes: Any) -> dict[str, Any]:
    """One line of a call that a model answered at once."""
    line = {
        "schema": 1,
        "status": "success",
        "timestamp": at.isoformat(timespec="milliseconds"),
        "call_id": f"{at.timestamp():.3f}-{changes.get('task', 'sort')}-{changes.get('run_id')}",
        "task": "sort",
        "model": model,
        "fallback_chain": [model],
        "latency_ms": 500.0,
        "usage": {"input_tokens": 100, "output_tokens": 20, "cached_tokens": 0, "reasoning_tokens": 0},
        "cost_usd": 0.0005,
        "finish_reason": "stop",
        "attempts": [{"model": model, "latency_ms": 500.0}],
        "run_id": None,
    }
    return {**line, **changes}


def a_failure(line: Mapping[str, Any], kind: str = "server_error") -> dict[str, Any]:
    """The same call, failed."""
    model = line["fallback_chain"][0]
    tried = [{"model": model, "error_kind": kind, "latency_ms": 90.0}]
    return {**line, "status": "fail", "model": None, "cost_usd": None, "error_kind": kind, "attempts": tried}


def traffic(
    start: datetime,
    days: float,
    model: str = NEW,
    *,
    per_hour: int = 8,
    seed: int = 1,
    cost: float = 0.5,
    p95_ms: float = 1_000.0,
    failing: float = 0.01,
    cut: float = 0.02,
    **changes: Any,
) -> Iterator[dict[str, Any]]:
    """Calls with known true values: dollars per 1,000, p95 of a lognormal, shares of failed and cut ones."""
    random = np.random.default_rng(seed)
    scale = np.exp(np.log(p95_ms) - 0.5 * 1.6449)
    for number in range(round(days * 24 * per_hour)):
        at = start + timedelta(hours=(number + 0.5) / per_hour)
        line = a_call(
            at,
            model,
            latency_ms=float(scale * np.exp(0.5 * random.normal())),
            cost_usd=float(cost / 1_000 * random.uniform(0.6, 1.4)),
            finish_reason="length" if random.random() < cut else "stop",
            **changes,
        )
        yield a_failure(line) if random.random() < failing else line


def old_traffic(days: float = 5, **changes: Any) -> Iterator[dict[str, Any]]:
    return traffic(START, days, OLD, seed=7, **{"cost": 5.0, "p95_ms": 2_000.0, **changes})


def a_task(task: str = "sort", **changes: Any) -> dict[str, Any]:
    chosen = {"model": NEW, "arm": [NEW], "p95_interval_ms": [800.0, None], **PROMISED, **changes}
    entry = {"task": task, "reference": OLD, "proposed_model": NEW, "outcome": "promote", "choice": NEW}
    return {**entry, "candidates": [{"model": OLD, "arm": [OLD], "n": 100}, chosen]}


def a_recommendation(folder: Path, *tasks: Mapping[str, Any], **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recommendation.json"
    path.write_text(json.dumps({"schema": 2, "run_id": "r1", "tasks": list(tasks or [a_task()]), **changes}))
    return path


def write_log(path: Path, *parts: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for part in parts for line in part))
    return path


def write_results(folder: Path, *, calls: int = 100, cut: int = 2, input_tokens: int = 100) -> None:
    """The sweep's own rows of the chosen model: so many calls, so many cut off."""
    row = {
        "schema": 1,
        "run_id": "r1",
        "task": "sort",
        "model": NEW,
        "repeat": 0,
        "status": "ok",
        "score": 1.0,
    }
    row |= {"latency_ms": 500.0, "input_tokens": input_tokens, "output_tokens": 20, "cost_usd": 0.0005}
    rows = [
        {**row, "sample_id": f"s{at}", "finish_reason": "length" if at < cut else "stop"}
        for at in range(calls)
    ]
    write_log(folder / "results.jsonl", rows)


def verified(
    folder: Path, *parts: Iterable[Mapping[str, Any]], tasks: Iterable[Mapping[str, Any]] = (), **options: Any
) -> Verification:
    """Verify a recommendation, the usual one if not given, against these calls."""
    path = a_recommendation(folder / "run", *tasks)
    log = write_log(folder / "log.jsonl", *parts)
    run_dirs = [path.parent] if (path.parent / "results.jsonl").exists() else []
    with open_warehouse(telemetry=find_logs([log]), run_dirs=run_dirs) as opened:
        return verify(path, opened, **options)


Check = Callable[..., Verification]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`verified` in a folder of the test's own."""
    return partial(verified, tmp_path)


def verdicts(page: Verification, task: str = "sort") -> dict[str, str]:
    return {measure.name: measure.verdict for measure in page[task].measures}


def test_a_promise_that_holds_is_kept(check, tmp_path):
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run")
    page = check(old_traffic(), traffic(CHANGE, 20, failing=0.008, cut=0.015))
    assert verdicts(page) == {
        "cost_usd_per_1000": "kept",
        "wasted_usd_per_1000": "not_promised",
        "p95_ms": "kept",
        "model_failures": "kept",
        "attempt_failures": "not_promised",
        "call_failures": "kept",
        "unusable_answers": "kept",
    }
    assert (page["sort"].state, page.is_broken, page.intervals) == ("kept", False, 5)


def test_a_doubled_price_breaks_the_cost_and_nothing_else(check):
    page = check(old_traffic(), traffic(CHANGE, 10, cost=1.0))
    assert [name for name, verdict in verdicts(page).items() if verdict == "broken"] == ["cost_usd_per_1000"]
    cost = page["sort"]["cost_usd_per_1000"]
    assert cost.low < 1.0 < cost.high
    assert cost.limit == pytest.approx(0.55)
    assert page.is_broken


def test_slow_answers_break_the_p95_and_nothing_else(check):
    page = check(old_traffic(), traffic(CHANGE, 10, p95_ms=2_000))
    assert [name for name, verdict in verdicts(page).items() if verdict == "broken"] == ["p95_ms"]


def test_answers_that_run_into_their_time_limit_count_as_slower_than_it(check):
    late = (
        {**each, "error_kind": "timeout", "latency_ms": 100.0} for each in traffic(CHANGE, 10, failing=0.2)
    )
    page = check(old_traffic(), late)
    p95 = page["sort"]["p95_ms"]
    assert (p95.verdict, p95.observed) == ("broken", float("inf"))
    assert "cut off" in str(page)
    assert '"observed": null' in json.dumps(page.to_dict(), allow_nan=False)


def test_a_steady_rise_of_five_points_breaks_the_failure_rate(check):
    page = check(old_traffic(), traffic(CHANGE, 10, failing=0.06))
    broken = [name for name, verdict in verdicts(page).items() if verdict == "broken"]
    assert broken == ["model_failures", "call_failures"]


def test_one_outage_of_twenty_minutes_breaks_nothing(check):
    outage = CHANGE + timedelta(hours=11), CHANGE + timedelta(hours=11, minutes=20)
    for days in (0.75, 1, 2, 10):
        calls = (
            a_failure(each) if outage[0] <= datetime.fromisoformat(each["timestamp"]) < outage[1] else each
            for each in traffic(CHANGE, days, per_hour=60, failing=0.005)
        )
        page = check(old_traffic(), calls)
        assert not page.is_broken, days
    assert page["sort"]["call_failures"].calls_effective < page["sort"]["call_failures"].calls


def test_calls_are_told_in_hours_and_from_five_days_on_in_days(check):
    for days, said in ((4, " in 96 h "), (5, " in 5 days ")):
        page = check(old_traffic(), traffic(CHANGE, days, failing=0.0))
        assert said in str(page)
        assert page["sort"]["call_failures"].days == (None if days < 5 else days)
        assert page["sort"]["call_failures"].hours == 24 * days


def test_what_a_fallback_caught_is_a_failure_of_the_model_and_not_of_the_call(check):
    def caught(line: dict[str, Any]) -> dict[str, Any]:
        tries = [{"model": NEW, "error_kind": "rate_limit", "latency_ms": 10.0}] * 2
        tries.append({"model": OLD, "latency_ms": 400.0})
        return {
            **line,
            "model": OLD,
            "fallback_chain": [NEW, OLD],
            "attempts": tries,
            "wasted_cost_usd": 0.001,
        }

    calls = [
        caught(line) if at % 10 == 0 else line for at, line in enumerate(traffic(CHANGE, 10, failing=0.0))
    ]
    page = check(old_traffic(), calls)["sort"]
    assert page["model_failures"].verdict == "broken"
    assert page["model_failures"].observed == pytest.approx(0.1)
    assert page["attempt_failures"].observed == pytest.approx(0.2 / 1.1)
    assert (page["call_failures"].verdict, page["call_failures"].observed) == ("kept", 0.0)
    assert page["wasted_usd_per_1000"].observed == pytest.approx(0.1)


def test_cut_answers_are_compared_with_the_sweeps_own_share(check, tmp_path):
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run", calls=1_000, cut=20)
    measure = check(old_traffic(), traffic(CHANGE, 10, cut=0.12))["sort"]["unusable_answers"]
    assert (measure.verdict, measure.promised, measure.limit) == ("broken", 0.02, pytest.approx(0.03))


def test_rows_of_another_run_in_the_same_folder_promise_nothing(check, tmp_path):
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run")
    path = tmp_path / "run" / "results.jsonl"
    path.write_text(path.read_text().replace('"r1"', '"r2"'))
    found = verdicts(check(old_traffic(), traffic(CHANGE, 2)))
    assert found["unusable_answers"] == "not_promised"


def test_without_the_sweeps_rows_unusable_answers_are_not_promised(check):
    measure = check(old_traffic(), traffic(CHANGE, 10, cut=0.12))["sort"]["unusable_answers"]
    assert measure.verdict == "not_promised"
    assert "--run-dir" in " ".join(measure.notes)


def test_too_few_calls_leave_every_promise_open_and_say_how_many_more(check):
    page = check(old_traffic(), traffic(CHANGE, 1, per_hour=1, cost=5.0))
    assert set(verdicts(page).values()) == {"open", "not_promised"}
    assert page["sort"]["cost_usd_per_1000"].more_calls == 30 - page["sort"]["cost_usd_per_1000"].calls
    assert not page.is_broken


def test_an_open_promise_says_about_how_many_more_calls_would_tell(check):
    near = check(old_traffic(), traffic(CHANGE, 4, failing=0.012))["sort"]["call_failures"]
    assert near.verdict == "open"
    more = near.more_calls / (24 * 8)
    assert 1 < more < 200
    later = check(old_traffic(), traffic(CHANGE, 4 + 2 * more, failing=0.012))["sort"]["call_failures"]
    assert later.verdict == "kept"


def test_calls_of_sweeps_in_the_same_log_count_for_nothing(check):
    sweep = list(traffic(CHANGE, 10, cost=50.0, p95_ms=9_000, failing=0.5, run_id="r1", cell="c"))
    alone = check(old_traffic(), traffic(CHANGE, 10))
    beside = check(old_traffic(), traffic(CHANGE, 10), sweep)
    assert beside.to_dict() == alone.to_dict()
    assert check(old_traffic(), sweep)["sort"].state == "not_applied"


def test_longer_prompts_than_the_sweeps_are_said_with_the_cost_at_its_lengths(check, tmp_path):
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run", input_tokens=100)

    def priced(at: int, line: dict[str, Any]) -> dict[str, Any]:
        sent, got = 300 + at % 50, 20 + at % 7
        usage = {"input_tokens": sent, "output_tokens": got, "cached_tokens": 0}
        return {**line, "usage": usage, "cost_usd": sent * 1e-6 + got * 2e-6}

    calls = [priced(at, line) for at, line in enumerate(traffic(CHANGE, 10, failing=0.0))]
    notes = " ".join(check(old_traffic(), calls)["sort"]["cost_usd_per_1000"].notes)
    assert "324 input tokens a call against 100" in notes
    assert "$0.140 per 1,000" in notes  # 100 at 1e-6 and 20 at 2e-6
    flat = [{**line, "cost_usd": 0.0005 + at % 5 * 1e-4} for at, line in enumerate(calls)]
    assert "cannot be told" in " ".join(check(old_traffic(), flat)["sort"]["cost_usd_per_1000"].notes)


def test_tasks_with_japanese_names_are_found_and_shown(check):
    name = "見出し作成"
    page = check(old_traffic(task=name), traffic(CHANGE, 10, task=name, cost=1.0), tasks=[a_task(name)])
    assert page[name]["cost_usd_per_1000"].verdict == "broken"
    assert f"{name}: moved from big to small" in str(page)


def test_each_interval_of_a_page_of_more_tasks_is_wider(check):
    calls = [list(part) for part in (old_traffic(), traffic(CHANGE, 5))]
    one = check(*calls)
    others = [
        {**line, "task": "other", "call_id": f"o{at}"} for at, line in enumerate([*calls[0], *calls[1]])
    ]
    two = check(*calls, others, tasks=[a_task(), a_task("other")])
    assert two.intervals == 2 * one.intervals
    width = [page["sort"]["call_failures"].high for page in (one, two)]
    assert width[1] > width[0]


def test_the_promised_quality_is_named_and_said_to_be_unchecked(check):
    text = str(check(old_traffic(), traffic(CHANGE, 2), tasks=[a_task(quality=0.767)]))
    assert "telemetry has no scores, so the promised 76.7 points of 100 cannot be checked here" in text
    assert "--task sort` and sweep small against big" in text


def test_a_chain_is_promised_as_a_whole_and_found_by_its_first_model(check):
    chain = {**a_task(model="small > tiny", arm=[NEW, "tiny"]), "choice": "small > tiny"}
    found = verdicts(check(old_traffic(), traffic(CHANGE, 20, failing=0.005), tasks=[chain]))
    assert (found["model_failures"], found["call_failures"]) == ("not_promised", "kept")


def test_calls_that_their_caller_gave_up_are_no_failures(check):
    calls = [
        a_failure(line, "cancelled") if at % 5 == 0 else line
        for at, line in enumerate(traffic(CHANGE, 10, failing=0.0))
    ]
    page = check(old_traffic(), calls)["sort"]
    assert (page["call_failures"].observed, page["model_failures"].observed) == (0.0, 0.0)


def test_calls_without_a_known_cost_are_not_measured(check):
    calls = ({**line, "cost_usd": None} for line in traffic(CHANGE, 5))
    assert verdicts(check(old_traffic(), calls))["cost_usd_per_1000"] == "not_measured"


def test_a_broken_promise_that_rested_on_few_calls_says_so(check):
    few = a_task(failure_rate=0.0, failures=0, n=20)
    notes = check(old_traffic(), traffic(CHANGE, 10, failing=0.06), tasks=[few])["sort"][
        "call_failures"
    ].notes
    assert "the promise rested on few calls" in " ".join(notes)


def test_older_lines_without_attempts_are_measured_by_their_chain(check):
    def older(line: dict[str, Any]) -> dict[str, Any]:
        old = {key: line[key] for key in ("status", "task", "latency_ms", "call_id", "cost_usd")}
        moment = datetime.fromisoformat(line["timestamp"]).timestamp()
        return old | {"chain": line["fallback_chain"], "selected_model": line["model"], "ts": moment}

    page = check(map(older, old_traffic()), map(older, traffic(CHANGE, 10, failing=0.06)))
    assert page["sort"]["model_failures"].verdict == "broken"
    assert page["sort"]["attempt_failures"].verdict == "not_measured"
