"""The watch: it stops a bad challenger soon, a good one hardly ever, and keeps what a person wrote."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from llmbench.bench.rollout_stops import NO_ENTRY, entries, write_state
from llmbench.bench.rollout_watch import Seen, judge, reason_of, spaced
from llmbench.config.model import Rollout
from llmbench.errors import SweepError
from llmbench.routing.rollout import StopFile, read_stops

START = datetime(2026, 11, 1, tzinfo=UTC)
ALPHA = 0.05


def rollout(failure_rate=0.05, p95_ms=None):
    return Rollout("r", "split", ("d",), 0.5, "r", max_failure_rate=failure_rate, max_p95_ms=p95_ms)


def began(start_s, bad, took_s, key=None, call_id="", late_s=0.0):
    """A call by its beginning, which decides; `late_s` makes the log a little wrong about its end."""
    at = START + timedelta(seconds=start_s + took_s + late_s)
    return Seen(at, bool(bad), 1000.0 * took_s, key, call_id)


def calls(failed, latency=None, key=None, step_s=1.0):
    latency = [100.0] * len(failed) if latency is None else latency
    return [
        began(step_s * at, bad, float(ms) / 1000.0, key and key.format(at))
        for at, (bad, ms) in enumerate(zip(failed, latency, strict=True))
    ]


# ---- what is proved ------------------------------------------------------------------------------------


def test_a_challenger_that_fails_three_in_ten_is_stopped_within_a_hundred_calls():
    draw = np.random.default_rng(1)
    runs = 40
    after = []
    for _ in range(runs):
        (claim,) = judge(rollout(), calls(draw.random(100) < 0.3))
        after.append(claim.is_broken)
    assert sum(after) >= 39


@pytest.mark.parametrize("good", [30, 1000, 5000])
def test_a_challenger_that_breaks_after_a_good_time_is_stopped_soon(good):
    draw = np.random.default_rng(4)
    assert judge(rollout(), calls([False] * good + [True] * 25))[0].is_broken
    assert judge(rollout(), calls([*[False] * good, *(draw.random(120) < 0.3)]))[0].is_broken
    assert not judge(rollout(), calls([*[False] * good, *(draw.random(120) < 0.03)]))[0].is_broken


def test_a_slow_challenger_is_stopped_within_a_hundred_calls():
    draw = np.random.default_rng(2)
    slow = [judge(rollout(None, 4000), calls([False] * 100, draw.lognormal(8, 0.5, 100))) for _ in range(30)]
    assert sum(claim.is_broken for (claim,) in slow) >= 28


@pytest.mark.parametrize("limit", [0.05, 0.2])
def test_a_challenger_at_its_limits_is_stopped_no_oftener_than_alpha_over_all_looks(limit):
    draw = np.random.default_rng(3)
    runs, stopped = 150, 0
    for _ in range(runs):
        failed = draw.random(400) < limit
        latency = np.where(draw.random(400) < 0.05, 9000.0, 1000.0)
        stopped += reason_of(judge(rollout(limit, 4000), calls(failed, latency), alpha=ALPHA)) is not None
    assert stopped <= binom.ppf(0.999, runs, ALPHA)


def test_a_good_challenger_keeps_running_and_its_figures_are_told():
    failure, p95 = judge(rollout(0.05, 4000), calls([False] * 199 + [True], np.linspace(100, 2000, 200)))
    assert (failure.units, failure.broken, failure.share, failure.is_broken) == (200, 1, 0.005, False)
    assert p95.p95_ms == pytest.approx(1905, abs=1)
    assert (p95.broken, p95.allowed, p95.is_broken) == (0, 0.05, False)
    assert failure.needed == p95.needed == pytest.approx(40.0)
    assert reason_of((failure, p95)) is None


def test_one_limit_alone_has_all_of_alpha():
    assert judge(rollout(), calls([False]))[0].needed == pytest.approx(20.0)


def test_a_dead_challenger_is_stopped_after_a_few_calls_and_the_reason_counts_them():
    (claim,) = judge(rollout(), calls([True] * 4))
    assert claim.is_broken
    assert (reason_of((claim,)) or "").startswith("4 of 4 calls failed (allowed 5 %; evidence ")


def test_no_calls_and_no_limits_prove_nothing():
    (claim,) = judge(rollout(), [])
    assert (claim.share, claim.evidence, claim.is_broken) == (None, 1.0, False)
    assert judge(rollout(None, None), calls([True] * 50)) == ()


def test_alpha_is_a_chance():
    with pytest.raises(SweepError, match="alpha is 1"):
        judge(rollout(), [], alpha=1.0)


@given(st.lists(st.booleans(), max_size=80), st.integers(0, 80))
@settings(max_examples=40)
def test_what_was_proved_stays_proved_whatever_comes_later(failed, cut):
    (early,) = judge(rollout(), calls(failed[:cut]))
    (late,) = judge(rollout(), calls(failed))
    assert not early.is_broken or late.is_broken
    assert late.evidence >= early.evidence or late.is_broken


# ---- units ---------------------------------------------------------------------------------------------


def test_of_a_burst_of_one_key_the_first_call_counts():
    burst = calls([True] + [False] * 9, key="same")
    assert spaced(burst) == burst[:1]
    assert len(spaced(burst, 0.0)) == 10
    minutes = calls([True] * 5, key="same", step_s=60.0)
    assert len(spaced(minutes)) == 5
    assert len(spaced(calls([True] * 5))) == 5


def test_one_customer_who_repeats_a_bad_prompt_stops_nothing():
    good = calls([False] * 60, key="u{}")
    bad = calls([True] * 50, key="one", step_s=0.5)
    assert reason_of(judge(rollout(), [*good, *bad])) is None
    assert reason_of(judge(rollout(), [*good, *bad], together_s=0.0)) is not None


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["a", "b", None])), max_size=40), st.randoms())
@settings(max_examples=50)
def test_units_do_not_depend_on_the_order_of_loading(times, random):
    made = [Seen(START + timedelta(seconds=at), False, 1.0, key) for at, key in times]
    shuffled = random.sample(made, len(made))
    assert sorted(map(repr, spaced(made))) == sorted(map(repr, spaced(shuffled)))


def test_of_calls_at_once_the_one_that_began_first_counts_and_not_the_one_that_ended_first():
    slow, quick = began(0.0, False, 30.0, "k"), began(1.0, True, 0.1, "k")
    assert spaced([quick, slow]) == [slow]
    assert spaced([quick, slow], until=START) == []


def test_of_calls_in_one_moment_the_id_decides_and_no_millisecond_of_the_log():
    burst = [began(0.0, at > 4, 1.0, "k", f"c{at}", -0.001 * at) for at in range(8)]
    assert spaced(burst) == burst[:1]
    assert (
        spaced([began(0.0, at > 4, 1.0, None, f"c{at}", -0.001 * at) for at in range(8)])[0].call_id == "c0"
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.booleans(), st.floats(0.05, 60), st.sampled_from(["a", "b", None])),
        max_size=40,
    ),
    st.floats(0, 500),
)
@settings(max_examples=100)
def test_a_later_look_only_adds_units_behind_those_of_an_earlier_one(drawn, look_s):
    made = [began(start, bad, took, key, f"c{at}") for at, (start, bad, took, key) in enumerate(drawn)]
    look = START + timedelta(seconds=look_s)
    ended = [call for call in made if call.at <= look]
    early = spaced(ended, until=look - timedelta(seconds=60.05))
    assert spaced(made)[: len(early)] == early


# ---- calls whose ends hang together with their outcomes ------------------------------------------------


def back_to_back(draw, rate, count=1200, keys=1, bad_s=30.0, good_s=1.0):
    """Each key's next call begins when its last one has ended."""
    made = []
    for key in range(keys):
        start = float(draw.uniform(0, 60))
        for bad in draw.random(count) < rate:
            took = bad_s if bad else good_s * float(draw.lognormal(0, 0.3))
            made.append(began(start, bad, took, f"k{key}", draw.bytes(4).hex()))
            start += took
    return made


def bursts(draw, rate, keys=3, size=12, count=50, bad_s=0.2, good_s=3.0):
    """Every two minutes each key sends many calls at once; what is quick also looks as if it began sooner."""
    made = []
    for at in range(count):
        for key in range(keys):
            for place, bad in enumerate(draw.random(size) < rate):
                took = bad_s if bad else good_s * float(draw.lognormal(0, 0.4))
                start = 120.0 * at + 0.0002 * place
                made.append(began(start, bad, took, f"k{key}", draw.bytes(4).hex(), -0.001 * bad))
    return made


TRAFFIC = {
    "one key, slow failures": back_to_back,
    "one key, quick failures": lambda draw, rate: back_to_back(draw, rate, 3000, bad_s=0.1),
    "five keys, slow failures": lambda draw, rate: back_to_back(draw, rate, 400, keys=5),
    "bursts, quick failures": bursts,
    "bursts, slow failures": lambda draw, rate: bursts(draw, rate, bad_s=30.0),
}


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_a_challenger_at_its_limit_runs_on_whenever_its_failures_end(traffic):
    draw, runs = np.random.default_rng(5), 30
    claims = [judge(rollout(0.1), TRAFFIC[traffic](draw, 0.1))[0] for _ in range(runs)]
    assert sum(claim.is_broken for claim in claims) <= binom.ppf(0.999, runs, ALPHA)
    units, broken = (sum(getattr(claim, name) for claim in claims) for name in ("units", "broken"))
    assert binom.ppf(0.0005, units, 0.1) <= broken <= binom.ppf(0.9995, units, 0.1)


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_a_challenger_that_fails_three_in_ten_is_stopped_whenever_its_failures_end(traffic):
    draw = np.random.default_rng(6)
    claims = [judge(rollout(0.05), TRAFFIC[traffic](draw, 0.3))[0] for _ in range(8)]
    assert sum(claim.is_broken for claim in claims) >= 7, [str(claim) for claim in claims]


def test_calls_that_are_slow_beside_quick_ones_of_their_key_are_seen():
    draw, limit = np.random.default_rng(7), rollout(None, 20_000.0)
    for rate, is_broken in ((0.3, True), (0.04, False)):
        made = bursts(draw, rate, size=8, bad_s=30.0, good_s=2.0)
        assert judge(limit, made)[0].is_broken is is_broken


def test_a_cancelled_call_that_already_broke_the_time_limit_is_slow_and_no_failure():
    cut = [replace(began(at, True, 5.0), is_cut=True) for at in range(10)]
    failure, p95 = judge(rollout(0.05, 4000), cut)
    assert (failure.units, p95.units, p95.broken, p95.is_broken) == (0, 10, 10, True)
    failure, p95 = judge(rollout(0.05, 6000), cut)
    assert (failure.units, p95.units) == (0, 0)


# ---- the stop file -------------------------------------------------------------------------------------


def test_what_the_lab_writes_the_router_reads(tmp_path):
    path = tmp_path / "deep" / "rollouts.json"
    assert write_state(
        path, "r", "stopped", now=START, by="watch", reason="it fails", figures={"alpha": 0.05}
    )
    assert read_stops(path) == {"r": "it fails"}
    assert StopFile(path).stopped("r") == "it fails"
    assert entries(path)["r"] == {
        "state": "stopped",
        "since": "2026-11-01T00:00:00+00:00",
        "by": "watch",
        "reason": "it fails",
        "counts_from": None,
        "figures": {"alpha": 0.05},
    }
    write_state(path, "r", "running", now=START, by="me", reason="mended")
    assert read_stops(path) == {}
    assert entries(path)["r"]["counts_from"] == START.isoformat()


def test_a_change_that_was_based_on_another_entry_is_not_written(tmp_path):
    path = tmp_path / "rollouts.json"
    write_state(path, "r", "running", now=START, by="me", reason="mended")
    assert not write_state(path, "r", "stopped", now=START, by="watch", reason="old news", known=NO_ENTRY)
    assert entries(path)["r"]["state"] == "running"
    assert write_state(path, "r", "stopped", now=START, by="watch", reason="new", known=entries(path)["r"])


def test_writers_at_once_lose_nothing_and_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "rollouts.json"
    write_state(path, "first", "running", now=START, by="t", reason="r")
    names = [f"r{number}" for number in range(40)]
    writers = [
        threading.Thread(target=write_state, args=(path, name, "stopped"), kwargs=FACTS) for name in names
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        json.loads(path.read_text(encoding="utf-8"))
    assert set(read_stops(path)) == set(names)


FACTS = {"now": START, "by": "t", "reason": "r"}


def test_pipes_in_the_place_of_the_stop_file_and_its_lock_keep_nobody_waiting(tmp_path):
    path = tmp_path / "rollouts.json"
    os.mkfifo(path.with_name("rollouts.json.lock"))
    assert write_state(path, "r", "stopped", **FACTS)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SweepError, match="it is no regular file; the router stops every rollout"):
        write_state(path, "r", "stopped", **FACTS)
    with pytest.raises(ValueError, match="no regular file"):
        read_stops(path)


def test_a_file_that_is_no_stop_file_is_never_overwritten(tmp_path):
    path = tmp_path / "rollouts.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SweepError, match=r"rollouts\.json: .*the router stops every rollout until"):
        write_state(path, "r", "running", now=START, by="me", reason="x")
    assert path.read_text(encoding="utf-8") == "{"
