"""Narrations that fail, what becomes of their pieces, and what a narration costs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from dataclasses import replace

import pytest

from llmbench import (
    BudgetExceeded,
    ParamError,
    UnsavedError,
)
from llmbench.catalog import BudgetLimits
from tests.conftest import CANARY
from tests.media_calls import lines
from tests.narration_calls import (  # noqa: F401 - fixtures are used by their names
    SCRIPT,
    SENTENCES,
    answering,
    check_joined,
    exhausted,
    failing,
    log,
    open_speech,
    samples_of,
    speaker,
)
from tests.servers.chat_server import Received, Step, failure
from tests.servers.speech_provider import text_of

# ---- failures


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit_exceeded"), (503, None)])
def test_only_the_piece_that_met_a_passing_failure_is_asked_for_again(
    open_speech, speaker, log, status, code
):
    seen: list[str] = []

    def once(text: str, step: Step) -> Step:
        seen.append(text)
        fails = text == SENTENCES[1] and seen.count(text) == 1
        return failure(status, code, retry_after="0") if fails else step

    answering(speaker, once)
    response = open_speech().synthesize("narration", SCRIPT)
    check_joined(samples_of(response.audio), SENTENCES)
    assert sorted(seen) == sorted([*SENTENCES, SENTENCES[1]])
    assert [attempt.status_code for attempt in response.attempts] == [status, None]
    (line,) = lines(log)
    assert [attempt["status_code"] for attempt in line["attempts"][:1]] == [status]
    assert line["status"] == "success"


@pytest.mark.parametrize(
    ("outcome", "kind", "times"),
    [
        ("filtered", "content_filter", 1),
        ("rate_limit", "rate_limit", 2),
        ("json_error", "server_error", 1),
        ("empty", "no_media", 1),
        ("no_samples", "no_media", 1),
        ("text_only", "no_media", 1),
        ("cut_off", "malformed", 1),
        ("no_audio", "malformed", 1),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"provider": "google"}], ids=["speech", "gemini"])
def test_a_piece_that_fails_for_good_ends_the_narration_and_is_named(
    open_speech, speaker, log, settings, outcome, kind, times
):
    if "provider" in settings and outcome in ("empty", "no_audio", "json_error"):
        kind = {"empty": "malformed", "no_audio": "no_media", "json_error": "server_error"}[outcome]
        times = 2 if outcome == "json_error" else times
    speaker.outcome = lambda text: outcome if text == SENTENCES[2] else "ok"
    error = exhausted(open_speech(a=settings))
    assert error.kind == kind
    assert str(error.exceptions[-1]).endswith("(piece 3 of 4)")
    assert speaker.spoken.count(SENTENCES[2]) == times
    (line,) = lines(log)
    assert (line["status"], line["error_kind"]) == ("fail", kind)
    assert len(line["attempts"]) == len(error.exceptions) == times


def test_a_text_of_one_piece_names_no_piece(open_speech, speaker):
    speaker.outcome = lambda _: "filtered"
    assert "piece" not in str(exhausted(open_speech(), "あ。").exceptions[-1])


def test_another_voice_speaks_all_of_it_and_only_where_that_is_allowed(open_speech, speaker, log):
    failing("m-a", SENTENCES[2])(speaker)
    client = open_speech(a={"defaults": {"voice": "one"}}, b={"defaults": {"voice": "two"}})
    assert exhausted(client).kind == "model_not_found"
    assert {request.json["model"] for request in speaker.received} == {"m-a"}
    response = client.synthesize("narration", SCRIPT, allow_fallback=True)
    assert response.model == "b"
    check_joined(samples_of(response.audio), SENTENCES, "two")
    asked_of_b = [text_of(request) for request in speaker.received if request.json["model"] == "m-b"]
    assert sorted(asked_of_b) == sorted(SENTENCES)
    assert [attempt.model for attempt in response.attempts] == ["a", "b"]
    relaxed = open_speech(task={"allow_fallback": True}, a={}, b={})
    assert relaxed.synthesize("narration", SCRIPT).model == "b"
    assert lines(log)[-1]["fallback_chain"] == ["a", "b"]


def test_a_narration_whose_key_runs_dry_in_the_middle_goes_on_with_the_next_one(open_speech, speaker):
    variables = {"FIRST": "first-secret-value-1", "SECOND": "second-secret-value-2"}
    answer, spoken = speaker.answer, list[str]()

    def running_dry(request: Received) -> Step:
        if "first" in request.headers["authorization"] and len(spoken) >= 2:
            return failure(402, None, "no credits")
        spoken.append(text_of(request))
        return answer(request)

    speaker.answer = running_dry
    response = open_speech(variables, keys=("FIRST", "SECOND"), a={}).synthesize(
        "narration", SCRIPT, at_once=1
    )
    assert (spoken, response.model) == (list(SENTENCES), "a")
    check_joined(samples_of(response.audio), SENTENCES)


def test_pieces_given_up_on_their_way_make_the_cost_unknown_and_count_at_their_worst(
    open_speech, speaker, log
):
    def blocked(text: str, step: Step) -> Step:
        late = replace(step, delay_s=1.0)
        refusal = failure(400, "content_filter")
        return replace(refusal, delay_s=0.2) if text == SENTENCES[0] else late

    answering(speaker, blocked)
    client = open_speech(a={"price": {"per_million_chars": 1000}})
    worst = client.explain("narration", SCRIPT).worst_case_usd
    client.router._budgets.limits = BudgetLimits(run_usd=worst * 1.5)
    assert exhausted(client, run_id="r", at_once=4).kind == "content_filter"
    assert lines(log)[0]["wasted_cost_usd"] is None
    with pytest.raises(BudgetExceeded):
        client.synthesize("narration", SCRIPT, run_id="r")


def test_pieces_given_up_after_others_came_make_the_cost_unknown(open_speech, speaker, log):
    slow = {SENTENCES[2]: 1.0, SENTENCES[3]: 1.0}
    answering(
        speaker,
        lambda text, step: replace(
            failure(400, "content_filter") if text == SENTENCES[1] else step,
            delay_s=slow.get(text, 0.2 if text == SENTENCES[1] else 0.0),
        ),
    )
    exhausted(open_speech(a={"price": {"per_million_chars": 1000}}), at_once=4)
    (attempt,) = lines(log)[0]["attempts"]
    assert (attempt["cost_usd"], lines(log)[0]["wasted_cost_usd"]) == (None, None)
    assert attempt["cost_source"].startswith("unknown: a request")


def test_a_file_that_cannot_be_written_loses_no_audio_and_no_cost(open_speech, speaker, log, tmp_path):
    out, speak = tmp_path / "made" / "a.wav", speaker.answer

    def removing(request: Received) -> Step:
        shutil.rmtree(out.parent, ignore_errors=True)
        return speak(request)

    speaker.answer = removing
    client = open_speech(a={"price": {"per_million_chars": 1000}}, b={})
    with pytest.raises(UnsavedError, match=r"out: .*a\.wav cannot be written: No such file") as caught:
        client.synthesize("narration", SCRIPT, out=out, allow_fallback=True)
    response = caught.value.response
    assert (response.path, len(speaker.received)) == (None, len(SENTENCES))
    check_joined(samples_of(response.audio), SENTENCES)
    (line,) = lines(log)
    (attempt,) = line["attempts"]
    assert (line["status"], line["error_class"]) == ("fail", "UnsavedError")
    assert attempt["cost_usd"] == line["wasted_cost_usd"] == pytest.approx(sum(map(len, SENTENCES)) / 1000)


def test_the_record_of_a_narration_holds_the_options_that_held_and_no_key(open_speech, tmp_path):
    client = open_speech(
        task={"options": {"split": "sentence", "voice": "one"}}, a={"defaults": {"speed": 1}}
    )
    client.synthesize("narration", f"おはよう。{CANARY}", out=tmp_path / "a.wav", at_once=2)
    record = json.loads((tmp_path / "a.wav.json").read_text(encoding="utf-8"))
    assert record["options"] == {"speed": 1, "split": "sentence", "voice": "one", "at_once": 2}
    assert CANARY not in json.dumps(record)
    assert record["prompt"] == "おはよう。***"


def test_what_the_pieces_before_a_failure_cost_is_counted(open_speech, speaker, log):
    failing("m-a", SENTENCES[3])(speaker)
    client = open_speech(a={"price": {"per_million_chars": 1000}})
    exhausted(client, at_once=1)
    (attempt,) = lines(log)[0]["attempts"]
    assert attempt["cost_usd"] == pytest.approx(sum(map(len, SENTENCES[:3])) / 1000)
    assert lines(log)[0]["wasted_cost_usd"] == pytest.approx(attempt["cost_usd"])


def test_the_deadline_holds_for_the_whole_narration(open_speech, speaker, log):
    answering(speaker, lambda _, step: replace(step, delay_s=0.2))
    started = time.monotonic()
    error = exhausted(open_speech(), "あ。" * 20, at_once=1, timeout=0.7)
    assert time.monotonic() - started < 3
    assert error.kind == "timeout"
    assert len(speaker.received) <= 5
    assert (lines(log)[0]["error_kind"], lines(log)[0]["media"]) == ("timeout", {"modality": "speech"})


def test_one_piece_that_hangs_does_not_outlast_the_deadline(open_speech, speaker):
    answering(speaker, lambda text, step: Step(fault="hang") if text == SENTENCES[1] else step)
    started = time.monotonic()
    assert exhausted(open_speech(), timeout=0.5).kind == "timeout"
    assert time.monotonic() - started < 3


def test_a_cancelled_narration_is_logged_and_leaves_nothing_behind(open_speech, speaker, log, tmp_path):
    answering(speaker, lambda text, step: Step(fault="hang") if text == SENTENCES[3] else step)
    client = open_speech()

    async def give_up() -> None:
        async with client, asyncio.timeout(0.3):
            await client.asynthesize("narration", SCRIPT, out=tmp_path / "made" / "a.wav")

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert [line["error_kind"] for line in lines(log)] == ["cancelled"]
    assert list((tmp_path / "made").iterdir()) == []


def test_a_key_that_is_out_of_quota_rests_and_the_next_one_is_used(open_speech, speaker, log):
    variables = {"FIRST": "first-secret-value-1", "SECOND": "second-secret-value-2"}
    answer = speaker.answer
    speaker.answer = lambda request: (
        failure(402, None, "no credits") if "first" in request.headers["authorization"] else answer(request)
    )
    client = open_speech(variables, keys=("FIRST", "SECOND"), a={})
    response = client.synthesize("narration", SCRIPT, at_once=1)
    assert [attempt.error_kind for attempt in response.attempts] == ["quota", None]
    assert len(speaker.received) == len(SENTENCES) + 1
    said = json.dumps(lines(log))
    assert not any(value in said for value in (*variables.values(), CANARY))
    assert re.search(r"key#\w{4} \(FIRST\) rests", said)


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (" ", {}, "the text is empty"),
        (5, {}, "give a text, not int"),
        ("あ。", {"sped": 2}, "did you mean 'speed'?"),
        ("あ。", {"extra_body": {"input": "x"}}, "extra_body must not set input"),
        ("あ。", {"extra_body": {"voice": "x"}, "voice": "y"}, "keep one"),
        ("あ。", {"speakers": {"A": "x", "B": "y"}}, "speakers"),
        ("あ。", {"format": "mp3", "strict": True}, "strict: a would not take the parameters as they are"),
        ("あ。", {"out": "/proc/nowhere/a.wav"}, "out: "),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_sent(
    open_speech, speaker, log, text, arguments, said
):
    with pytest.raises(ParamError) as caught:
        open_speech().synthesize("narration", text, **arguments)
    assert said in str(caught.value)
    assert speaker.received == []
    assert [line["status"] for line in lines(log)] == ["fail"]


# ---- cost


@pytest.mark.parametrize(
    ("settings", "cost", "source"),
    [
        (
            {"price": {"per_million_chars": 15}},
            sum(map(len, SENTENCES)) * 15e-6,
            "registry:per_million_chars",
        ),
        ({"price": {"per_minute": 0.6}}, sum(map(len, SENTENCES)) * 0.02 * 0.01, "registry:per_minute"),
        (
            {"price": {"input": 1, "output": 10}, "provider": "google"},
            sum(map(len, SENTENCES)) * 11e-6,
            "registry",
        ),
        ({"price": {"input": 1, "output": 10}}, None, "unknown: the reply counts no tokens"),
    ],
)
def test_the_cost_is_by_what_the_provider_bills(open_speech, log, settings, cost, source):
    response = open_speech(a=settings).synthesize("narration", SCRIPT)
    assert response.cost_usd == (None if cost is None else pytest.approx(cost))
    assert response.cost_source == lines(log)[0]["cost_source"] == source


def test_a_budget_is_kept_by_characters_by_minutes_and_by_processor_time(open_speech, speaker):
    client = open_speech(
        a={"price": {"per_million_chars": 1e6}},
        b={"price": {"per_minute": 60}},
        c={"price": {"per_core_hour": 3600}},
        d={},
    )
    worst = {
        model: client.explain("narration", "0123456789", models=model, timeout=10).worst_case_usd
        for model in "abcd"
    }
    assert worst == {"a": pytest.approx(10), "b": pytest.approx(5), "c": pytest.approx(20), "d": None}
    for model in "abcd":
        with pytest.raises(BudgetExceeded) as caught:
            client.synthesize("narration", "0123456789", models=model, budget_usd=4, timeout=10)
    assert "give the model a price per_million_chars or per_minute" in str(caught.value)
    assert speaker.received == []
    assert client.synthesize("narration", "0123456789", models="a", budget_usd=10).cost_usd == 10
