"""The line of a call: no secret, no text that was not asked for, and never a failed call."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest

from llmbench.config import read_environment
from llmbench.errors import ProviderError
from llmbench.jsonl import read_jsonl
from llmbench.messages import Adjustment, Attempt, Message, Request, Response, Route, Usage
from llmbench.telemetry import Redactor, TelemetryLog, failure_line, success_line


def test_kept_keys_stay_hidden_however_many_tokens_come_after_them():
    redact = Redactor()
    redact.keep(["the-key-of-a-provider", "short"])
    for number in range(500):
        redact.add(f"token-number-{number:06d}")
    assert redact("with the-key-of-a-provider and token-number-000499") == "with *** and ***"
    assert redact("token-number-000001 is forgotten") == "token-number-000001 is forgotten"


def lines_to(path: Path | str, count: int = 3) -> TelemetryLog:
    log = TelemetryLog(path)
    for number in range(count):
        log.write({"n": number})
    return log


def test_a_full_disk_is_counted_and_warned_of_once():
    with pytest.warns(RuntimeWarning, match="telemetry cannot be written to /dev/full") as caught:
        log = lines_to("/dev/full")
    assert (log.dropped, len(caught)) == (3, 1)


def test_a_read_only_folder_is_counted_and_warned_of_once(tmp_path):
    tmp_path.chmod(0o500)
    folder = Path("/proc") if os.geteuid() == 0 else tmp_path  # root may write anywhere but there
    with pytest.warns(RuntimeWarning, match="calls go on") as caught:
        log = lines_to(folder / "log.jsonl")
    assert (log.dropped, len(caught)) == (3, 1)


def test_a_file_where_a_folder_should_be_is_counted_and_warned_of_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="calls go on") as caught:
        log = lines_to(tmp_path / "file" / "log.jsonl")
    assert (log.dropped, len(caught)) == (3, 1)


def test_a_line_that_is_no_json_is_dropped_and_the_next_one_written(tmp_path):
    log = TelemetryLog(tmp_path / "log.jsonl")
    with pytest.warns(RuntimeWarning, match="calls go on"):
        log.write({"x": object()})
    log.write({"n": 1})
    assert log.dropped == 1
    assert [line.record for line in read_jsonl(tmp_path / "log.jsonl")] == [{"n": 1, "dropped_before": 1}]


def test_not_even_warnings_as_errors_fail_a_call():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lines_to("/dev/full").dropped == 3


def test_known_values_and_key_shapes_are_hidden_and_model_keys_are_not():
    redact = Redactor(["hunter2hunter2", "hunter2", "tiny"])
    assert redact("key hunter2hunter2, hunter2") == "key ***, ***"
    assert redact("tiny") == "tiny"  # too short to be a key, and too common to hide
    keys = [
        "sk-proj-" + "aB3" * 10,
        "AIza" + "x" * 30,
        "gsk_" + "Z9" * 12,
        "fw_" + "q7" * 12,
        "xai-" + "k" * 20,
    ]
    for key in keys:
        assert redact(f"refused: {key}!") == "refused: ***!"
    assert redact("authorization: Bearer abcdefghijklmnop") == "authorization: Bearer ***"
    for name in ("or_small_instruct_2507", "fw_deep_seek_v3_large", "hf_llama_3_instruct", "gpt-5-mini"):
        assert redact(f"{name}: timeout") == f"{name}: timeout"


def test_a_secret_learnt_on_the_way_is_hidden_too_and_the_newest_stay_known():
    redact = Redactor(["hunter2hunter2"])
    for number in range(100):
        redact.add(f"token-{number:04}")
    redact.add("tiny")
    assert redact("hunter2hunter2 token-0099 token-0050 tiny") == "*** *** *** tiny"
    web_token = "eyJ" + "a" * 30 + "." + "b" * 40 + "." + "c" * 20
    assert redact(f"refused: {web_token}!") == "refused: ***!"


@pytest.mark.parametrize(
    "text", ["-eyJ" * 100_000, "eyJ" * 100_000 + ".", "bearer " * 60_000, "sk-" * 100_000]
)
def test_hiding_takes_linear_time(text):
    started = time.process_time()
    Redactor()(text)
    assert time.process_time() - started < 1


def test_the_warning_is_one_line_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    program = "import sys; from llmbench.telemetry import TelemetryLog; TelemetryLog(sys.argv[1]).write({})"
    command = [sys.executable, "-c", program, str(tmp_path / "file" / "log.jsonl")]
    (line,) = subprocess.run(command, capture_output=True, check=True, text=True).stderr.splitlines()
    assert line.startswith("<llmbench telemetry>:1: RuntimeWarning: telemetry cannot be written to ")
    assert f"File exists: {tmp_path / 'file'}; calls go on" in line
    assert "LLM_ROUTER_LOG_DISABLE=1" in line


SECRET = "hunter2hunter2"
REQUEST = Request(
    "caption",
    (
        Message("system", f"the key is {SECRET}"),
        Message("user", ({"type": "text", "text": f"PROMPT {SECRET}"},), {"name": "ann"}),
    ),
    "c1",
)
ROUTE = Route("caption", "cheap", ("a", "b"), ("tier cheap",))


def answered(*attempts: Attempt) -> Response:
    return Response(f"REPLY {SECRET}", "b", "m-b", "stub", "cheap", "stop", Usage(1, 1), 9.0, None, "unknown",
                    "c1", attempts, (), ROUTE)  # fmt: skip


def failed(*attempts: Attempt, **options) -> dict[str, object]:
    error = ProviderError("cut off", kind="truncated", output=f"REPLY {SECRET}")
    return failure_line(
        REQUEST,
        ROUTE,
        error,
        attempts,
        (),
        latency_ms=9.0,
        config_hash="h",
        redact=Redactor([SECRET]),
        **options,
    )


CUT_OFF = Attempt("a", 5.0, error_kind="truncated", output=f"REPLY {SECRET}")


def test_no_prompt_and_no_reply_is_in_a_line_unless_it_is_switched_on():
    for line in (success_line(REQUEST, answered(CUT_OFF), config_hash="h"), failed(CUT_OFF)):
        assert not {"messages", "output"} & set(line)
        assert "PROMPT" not in json.dumps(line)
        assert "REPLY" not in json.dumps(line)


def test_switched_on_the_texts_are_there_for_replay_without_secrets():
    redact = Redactor([SECRET])
    good = success_line(REQUEST, answered(), config_hash="h", redact=redact, content=True)
    for line in (good, failed(CUT_OFF, content=True)):
        assert line["messages"] == [
            {"role": "system", "content": "the key is ***"},
            {"role": "user", "content": [{"type": "text", "text": "PROMPT ***"}], "name": "ann"},
        ]
        assert line["output"] == "REPLY ***"
    assert failed(Attempt("a", 1.0, error_kind="timeout"), content=True)["output"] is None


def test_what_was_wasted_is_failed_attempts_their_queues_and_every_wait():
    line = success_line(
        REQUEST,
        answered(
            Attempt("a", 5.0, queued_ms=2.0, error_kind="server_error"),
            Attempt("a", 7.0, waited_ms=100.0, error_kind="truncated", usage=Usage(1, 1), cost_usd=0.25),
            Attempt("b", 9.0, waited_ms=50.0, queued_ms=3.0, usage=Usage(1, 1), cost_usd=0.5),
        ),
        config_hash="h",
    )
    assert (line["wasted_ms"], line["wasted_cost_usd"]) == (164.0, 0.25)


def test_a_waste_that_is_not_known_in_full_is_not_given_in_part():
    known = Attempt("a", 1.0, error_kind="truncated", usage=Usage(1, 1), cost_usd=0.25)
    unpriced = Attempt("a", 1.0, error_kind="truncated", usage=Usage(1, 1))
    unsent = Attempt("a", 1.0, error_kind="connect")
    refused = Attempt("a", 1.0, error_kind="server_error", status_code=503)
    unknown = [Attempt("a", 1.0, error_kind=kind) for kind in ("timeout", "cancelled", "malformed")]
    begun = Attempt("a", 1.0, error_kind="server_error", status_code=200)
    wasted = [((known, unsent, refused), 0.25), ((unsent,), None)]
    wasted += [((known, attempt), None) for attempt in (unpriced, begun, *unknown)]
    for attempts, cost in wasted:
        assert success_line(REQUEST, answered(*attempts), config_hash="h")["wasted_cost_usd"] == cost
        assert failed(*attempts)["wasted_cost_usd"] == cost


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", True), ("on", True), ("0", False), ("", None), (None, None)]
)
def test_the_environment_switches_content_on_and_off_or_leaves_it_to_the_config(value, wanted):
    variables = {} if value is None else {"LLM_ROUTER_LOG_CONTENT": value}
    assert read_environment(variables).log_content is wanted


@pytest.mark.parametrize("cut", [8, 12, 23])
def test_the_beginning_of_a_key_at_the_end_of_a_text_is_hidden_where_a_cut_left_it(cut):
    secret = "key+of/the=provider-1234"
    redact = Redactor([secret])
    for spelt in (secret, quote(secret, safe="")):
        assert redact(f"refused: {spelt[:cut]}") == "refused: ***"
        assert redact(f"refused: '{spelt[:cut]}…'") == "refused: '***…'"
    assert redact(f"refused: {secret[:7]}") == f"refused: {secret[:7]}"  # too short to tell from a word
    assert redact(f"refused: {secret[:cut]} and so on") == f"refused: {secret[:cut]} and so on"


def test_a_key_is_known_as_it_stands_in_an_address_and_in_json():
    secret = 'pass "word" of/1+2'
    redact = Redactor([secret])
    redact.add("token/of an hour")
    assert redact(f"?key={quote(secret, safe='')}&x=1") == "?key=***&x=1"
    assert redact(json.dumps({"key": secret})) == '{"key": "***"}'
    assert redact("token%2Fof%20an%20hour") == "***"


def test_a_log_whose_lock_is_never_given_back_drops_the_line(tmp_path):
    path = tmp_path / "log.jsonl"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    started = time.monotonic()
    with pytest.warns(RuntimeWarning, match="another process holds its lock") as caught:
        log = lines_to(path)
    assert time.monotonic() - started < 5
    os.close(fd)
    log.write({"n": 3})
    assert (log.dropped, len(caught)) == (3, 1)
    assert [line.record for line in read_jsonl(path)] == [{"n": 3, "dropped_before": 3}]


CHANGES = (
    Adjustment("stop", "dropped", ["MY WORDS"], None, "a: no stop"),
    Adjustment("tools", "dropped", ({"name": "MY WORDS"}, {}), None, "a: no tools"),
    Adjustment("user", "dropped", "MY WORDS", {"x": "MY WORDS"}, "extra_body says otherwise"),
    Adjustment("reasoning", "clamped", "high", "low", "a: at most low"),
    Adjustment("max_tokens", "clamped", 9000, 100, "a: max output tokens 100"),
    Adjustment("top_k", "renamed", "top_k", "topK", "a: its name here"),
)


def changed(*, content: bool) -> list[tuple[object, object]]:
    error = ProviderError("cut off", kind="truncated")
    line = failure_line(REQUEST, ROUTE, error, (), CHANGES, latency_ms=9.0, config_hash="h",
                        redact=Redactor(), content=content)  # fmt: skip
    return [(change["from"], change["to"]) for change in line["adjustments"]]


def test_of_values_that_hold_texts_the_line_tells_type_and_size():
    assert changed(content=False) == [
        ("list of 1", None),
        ("tuple of 2", None),
        ("8 characters", "mapping of 1"),
        ("high", "low"),
        (9000, 100),
        ("top_k", "topK"),
    ]
    assert changed(content=True) == [(change.before, change.after) for change in CHANGES]


TOLD = 'Once upon a time in 京都 there was\n  a fox who "spoke" to the moon, and nobody heard it.'


def told(said: str, *, content: bool = False, prompt: str = TOLD) -> list[str]:
    request = Request("caption", (Message("user", ({"type": "text", "text": prompt},)),), "c1")
    attempt = Attempt("a", 5.0, error_kind="bad_request", error=said)
    change = Adjustment("top_k", "dropped", 3, None, f"a refused it: {said}")
    line = failure_line(request, ROUTE, ProviderError(said, kind="bad_request"), (attempt,), (change,),
                        latency_ms=9.0, config_hash="h", redact=Redactor(), content=content)  # fmt: skip
    rule = line["adjustments"][0]["rule"].removeprefix("a refused it: ")
    return [line["error"], line["attempts"][0]["error"], rule]


@pytest.mark.parametrize(
    "quoted", [TOLD, " ".join(TOLD.split()), json.dumps(TOLD)[1:-1], TOLD[:44], TOLD[7:60], TOLD[-41:]]
)
def test_what_a_host_quotes_of_the_prompt_is_not_in_the_line(quoted):
    said = f"HTTP 422: input <{quoted}> is too odd"
    assert told(said) == ["HTTP 422: input <(prompt text)> is too odd"] * 3
    assert told(said, content=True)[:2] == [said] * 2


def test_an_error_that_quotes_nothing_stays_as_it_is():
    for said in (
        "HTTP 503: it failed",
        "",
        "HTTP 422: the model m does not support images in a time of need",
    ):
        assert told(said) == [said] * 3


@pytest.mark.parametrize("prompt", ["a" * 1_000_000, "ab c" * 250_000, "".join(map(str, range(180_000)))])
def test_looking_for_the_prompt_takes_linear_time(prompt):
    started = time.process_time()
    assert told(prompt[:3000], prompt=prompt)[0].startswith("(prompt text)")
    assert time.process_time() - started < 2
