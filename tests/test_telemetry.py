"""The log: whole lines from many processes, nothing acknowledged ever lost, and never a failed call."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.config import read_environment
from llmbench.errors import ProviderError
from llmbench.messages import Attempt, Message, Request, Response, Route, Usage
from llmbench.telemetry import JsonlWriter, Redactor, TelemetryLog, failure_line, read_jsonl, success_line

#: Appends records of growing size until it is killed; prints the number of each one that was acknowledged.
APPENDER = """
import os, sys
from llmbench.telemetry import JsonlWriter
path, name, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
writer = JsonlWriter(path)
for number in range(count):
    writer.append({"by": name, "number": number, "fill": name * size})
    os.write(1, b"%d\\n" % number)
"""


def appender(path: Path, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", APPENDER, str(path), name, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_kept_keys_stay_hidden_however_many_tokens_come_after_them():
    redact = Redactor()
    redact.keep(["the-key-of-a-provider", "short"])
    for number in range(500):
        redact.add(f"token-number-{number:06d}")
    assert redact("with the-key-of-a-provider and token-number-000499") == "with *** and ***"
    assert redact("token-number-000001 is forgotten") == "token-number-000001 is forgotten"


def test_eight_processes_interleave_nothing(tmp_path):
    path = tmp_path / "log.jsonl"
    writers = [appender(path, name, 200, 300) for name in "abcdefgh"]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    for writer in writers:
        writer.stdout.close()
    lines = list(read_jsonl(path))
    assert {line.reason for line in lines} == {None}
    for name in "abcdefgh":
        own = [line.record for line in lines if line.record["by"] == name]
        assert [record["number"] for record in own] == list(range(200))
        assert {record["fill"] for record in own} == {name * 300}


def test_kill_9_in_the_middle_loses_no_acknowledged_record(tmp_path):
    path = tmp_path / "log.jsonl"
    chance, acknowledged = random.Random(7), set()
    for turn in range(4):
        writers = {name: appender(path, name, 100_000, 200_000) for name in (f"{turn}x", f"{turn}y")}
        for writer in writers.values():
            writer.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.1))
        for name, writer in writers.items():
            writer.send_signal(signal.SIGKILL)
            numbers = [0, *map(int, writer.communicate()[0].split())]
            acknowledged |= {(name, number) for number in numbers}
    JsonlWriter(path).append({"by": "last", "number": 0})
    lines = list(read_jsonl(path))
    found = {(line.record["by"], line.record["number"]) for line in lines if line.record}
    assert acknowledged <= found
    assert ("last", 0) in found
    assert len(acknowledged) >= 8


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers()), min_size=1, max_size=4), st.data())
def test_a_torn_line_is_kept_apart_whatever_byte_the_kill_fell_on(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("torn") / "log.jsonl"
    writer = JsonlWriter(path)
    for record in records:
        writer.append(record)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    writer.append({"after": True})
    writer.close()
    kept = whole[:cut].count(b"\n")
    read = [line.record for line in read_jsonl(path) if line.record is not None]
    assert read[:kept] == records[:kept]
    assert read[-1] == {"after": True}


def test_every_line_is_accounted_for_with_its_place(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[2]\nNaN\n\xff\xfe\n{"b": 1e999}\n{"torn": ')
    lines = list(read_jsonl(path))
    assert [(line.number, line.reason) for line in lines] == [
        (1, None), (3, "not_object"), (4, "not_json"), (5, "not_utf8"), (6, "not_json"), (7, "torn"),
    ]  # fmt: skip
    content = path.read_bytes()
    assert all(content[line.offset : line.offset + len(line.raw)] == line.raw for line in lines)


def test_a_lone_surrogate_and_japanese_survive(tmp_path):
    path = tmp_path / "log.jsonl"
    record = {"text": "字幕 \ud83d \\ \n \u2028 end"}
    JsonlWriter(path).append(record)
    assert [line.record for line in read_jsonl(path)] == [record]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_json_cannot_hold_is_a_value_error_and_leaves_no_trace(tmp_path, value):
    path = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match=r"JSON|float"):
        JsonlWriter(path).append({"x": value})
    assert not path.exists()


def test_a_removed_or_rotated_file_is_opened_anew(tmp_path):
    path = tmp_path / "logs" / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    path.rename(path.with_suffix(".1"))
    writer.append({"n": 2})
    path.unlink()
    path.parent.joinpath("log.1").unlink()
    path.parent.rmdir()
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 3}]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_took_the_place_of_is_left_alone(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    path.rename(tmp_path / "log.1")
    JsonlWriter(path).append({"n": 2})
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 2}, {"n": 3}]
    assert [line.record for line in read_jsonl(tmp_path / "log.1")] == [{"n": 1}]


def test_a_forked_child_waits_for_its_parents_lock(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"by": "parent"})
    fcntl.flock(writer._fd, fcntl.LOCK_EX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads make fork warn
        child = os.fork()
    if child == 0:
        writer.append({"by": "child"})
        os._exit(0)
    time.sleep(0.2)  # a child that does not wait is done long before
    os.write(writer._fd, b'{"by": "parent"}\n')
    fcntl.flock(writer._fd, fcntl.LOCK_UN)
    assert os.waitpid(child, 0)[1] == 0
    assert [line.record["by"] for line in read_jsonl(path)] == ["parent", "parent", "child"]


def test_a_short_write_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))  # as a full disk does it
    with pytest.raises(OSError, match="No space left"):
        writer.append({"n": 2})
    monkeypatch.undo()
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 1}, {"n": 3}]


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
    assert [line.record for line in read_jsonl(tmp_path / "log.jsonl")] == [{"n": 1}]


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
    for attempts, cost in (((known, unsent), 0.25), ((known, unpriced), None), ((unsent,), None)):
        assert success_line(REQUEST, answered(*attempts), config_hash="h")["wasted_cost_usd"] == cost
        assert failed(*attempts)["wasted_cost_usd"] == cost


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", True), ("on", True), ("0", False), ("", None), (None, None)]
)
def test_the_environment_switches_content_on_and_off_or_leaves_it_to_the_config(value, wanted):
    variables = {} if value is None else {"LLM_ROUTER_LOG_CONTENT": value}
    assert read_environment(variables).log_content is wanted


def test_a_torn_tail_that_another_writer_left_is_closed_also_after_whole_lines_of_our_own(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    with path.open("ab") as other:
        other.write(b'{"torn": ')
    writer.append({"n": 2})
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 1}, None, {"n": 2}, {"n": 3}]


def test_a_record_that_holds_itself_is_a_value_error(tmp_path):
    record: dict[str, object] = {}
    record["self"] = record
    with pytest.raises(ValueError, match="not a JSON record"):
        JsonlWriter(tmp_path / "log.jsonl").append(record)


def test_the_file_is_json_a_line_with_a_space_after_each_comma(tmp_path):
    path = tmp_path / "log.jsonl"
    JsonlWriter(path).append({"a": 1, "b": [1, 2]})
    assert path.read_text() == '{"a": 1, "b": [1, 2]}\n'
    assert json.loads(path.read_text())
