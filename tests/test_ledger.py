"""The ledger: what was paid for is found again, whatever happened to the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.bench.ledger import Ledger, fingerprint, read_ledger
from llmbench.errors import SweepError

FULL = "/dev/full"


def mark(number, print_=None):
    return {
        "intent_id": f"i{number}",
        "fingerprint": print_ or f"f{number}",
        "cell": f"t/s{number}/m/0",
        "run_id": "r",
    }


def write(path, count):
    with Ledger(path).opened() as ledger:
        for number in range(count):
            ledger.intent(mark(number))
            ledger.result(mark(number), {"status": "ok", "output": f"answer {number}"})


def test_a_missing_ledger_is_an_empty_one(tmp_path):
    state = read_ledger(tmp_path / "none.jsonl")
    assert (state.results, state.pending, state.orphans, state.bad_lines) == ({}, {}, {}, [])


def test_intents_results_and_pending_lines_are_told_apart(tmp_path):
    path = tmp_path / "deep" / "ledger.jsonl"
    with Ledger(path).opened() as ledger:
        for number in range(3):
            ledger.intent(mark(number))
        ledger.result(mark(0), {"status": "error", "error_kind": "server_error"})
        ledger.pending(mark(1), {"status": "harness", "error_kind": "rate_limit"})
        in_memory = ledger.state
    state = read_ledger(path)
    assert state == in_memory
    assert set(state.results) == {"f0"}
    assert state.pending["f1"]["error_kind"] == "rate_limit"
    assert set(state.orphans) == {"i2"}


def test_a_result_ends_the_pending_state_and_the_first_result_wins(tmp_path):
    with Ledger(tmp_path / "l.jsonl").opened() as ledger:
        ledger.pending(mark(1, "f"), {"status": "harness"})
        ledger.result(mark(2, "f"), {"status": "ok", "output": "first"})
        ledger.result(mark(3, "f"), {"status": "ok", "output": "second"})
        ledger.pending(mark(4, "f"), {"status": "harness"})
    state = read_ledger(tmp_path / "l.jsonl")
    assert state.results["f"]["output"] == "first"
    assert state.pending == {}


def test_only_the_wanted_cells_are_kept_in_memory(tmp_path):
    write(tmp_path / "l.jsonl", 50)
    state = read_ledger(tmp_path / "l.jsonl", wanted={"f7", "f8"})
    assert set(state.results) == {"f7", "f8"}


def test_every_prefix_of_a_ledger_keeps_every_whole_line(tmp_path):
    """A killed process can leave any prefix: no line before the tear may be lost."""
    path = tmp_path / "l.jsonl"
    write(path, 4)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        state = read_ledger(path)
        lines = [json.loads(line) for line in whole[:cut].splitlines(keepends=True) if line.endswith(b"\n")]
        kept = {line["fingerprint"] for line in lines if line["type"] == "result"}
        assert kept <= set(state.results)
        tail = whole[:cut].rpartition(b"\n")[2]
        assert len(state.bad_lines) == (tail != b"" and not tail.endswith(b"}"))


def test_an_append_after_a_torn_tail_heals_it(tmp_path):
    path = tmp_path / "l.jsonl"
    write(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with Ledger(path).opened() as ledger:
        assert set(ledger.state.results) == {"f0"}
        assert ledger.state.bad_lines == [(4, "torn")]
        assert set(ledger.state.orphans) == {"i1"}
        ledger.intent(mark(5))
        ledger.result(mark(5), {"status": "ok"})
    state = read_ledger(path)
    assert set(state.results) == {"f0", "f5"}
    assert state.bad_lines == [(4, "not_json")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"type": "result", "fingerprint": "f9"', "not_json"),
        (b"\xff\xfe\x00", "not_utf8"),
        (b"[1, 2]", "not_object"),
        (b'{"hello": "world"}', "foreign"),
        (
            b'{"type": "result", "fingerprint": ["x"], "intent_id": "i", "status": "ok"}',
            "no fingerprint or intent_id",
        ),
        (b'{"type": "result", "fingerprint": "f9", "status": "ok"}', "no fingerprint or intent_id"),
        (b'{"type": "result", "fingerprint": "f9", "intent_id": "i"}', "a result without a known status"),
        (
            b'{"type": "result", "fingerprint": "f9", "intent_id": "i", "status": []}',
            "a result without a known status",
        ),
        (
            b'{"type": "result", "fingerprint": "f9", "intent_id": "i", "status": "ok", "output": 5}',
            "an output that is no text",
        ),
        (b'{"type": "intent", "fingerprint": "f9", "intent_id": 3}', "no fingerprint or intent_id"),
        (b'{"type": ["x"], "fingerprint": "f9", "intent_id": "i"}', "foreign"),
    ],
)
def test_a_foreign_line_is_kept_apart_and_loses_nothing_else(tmp_path, line, reason):
    path = tmp_path / "l.jsonl"
    write(path, 2)
    before = path.read_bytes()
    path.write_bytes(before[: before.index(b"\n") + 1] + line + b"\n\n" + before[before.index(b"\n") + 1 :])
    state = read_ledger(path)
    assert set(state.results) == {"f0", "f1"}
    assert state.bad_lines == [(2, reason)]


@given(garbage=st.lists(st.binary(max_size=40), max_size=6))
def test_no_garbage_between_lines_loses_a_line(tmp_path_factory, garbage):
    path = tmp_path_factory.mktemp("ledger") / "l.jsonl"
    write(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    mixed = b"".join(line + b"".join(part + b"\n" for part in garbage) for line in lines)
    path.write_bytes(mixed)
    assert set(read_ledger(path).results) == {"f0", "f1", "f2"}


def test_a_second_sweep_on_the_same_ledger_is_refused_while_the_first_runs(tmp_path):
    path = tmp_path / "l.jsonl"
    program = (
        "import sys; from pathlib import Path; from llmbench.bench.ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1])).opened(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        for attempt in (Ledger(path).refuse_if_busy, Ledger(path).opened().__enter__):
            with pytest.raises(
                SweepError, match=r"another sweep is writing to .*; wait for it, or use another ledger"
            ):
                attempt()
        holder.stdin.close()
        holder.wait()
    Ledger(path).refuse_if_busy()


def test_the_lock_is_free_again_after_an_error_inside(tmp_path):
    with pytest.raises(RuntimeError), Ledger(tmp_path / "l.jsonl").opened():
        raise RuntimeError
    Ledger(tmp_path / "l.jsonl").refuse_if_busy()


def test_two_ledgers_in_one_folder_do_not_share_a_lock(tmp_path):
    with Ledger(tmp_path / "l.one").opened(), Ledger(tmp_path / "l.two").opened():
        pass


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_is_an_error_that_says_that_nothing_more_is_sent(tmp_path):
    path = tmp_path / "l.jsonl"
    path.symlink_to(FULL)
    ledger = Ledger(path)
    with pytest.raises(SweepError, match="cannot be written: No space left on device; nothing more is sent"):
        ledger.intent(mark(0))
    assert ledger.state.orphans == {}


def test_a_ledger_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SweepError, match="cannot be used"):
        Ledger(tmp_path / "file" / "l.jsonl").refuse_if_busy()
    with pytest.raises(SweepError, match="cannot be read"):
        read_ledger(tmp_path)


IDENTITY = {
    "task": "t",
    "sample_sha256": "s",
    "model": "m",
    "version": "v",
    "body": {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4},
    "repeat": 0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"task": "u"},
        {"sample_sha256": "z"},
        {"model": "n"},
        {"version": "w"},
        {"repeat": 1},
        {"body": IDENTITY["body"] | {"max_tokens": 5}},
        {"body": IDENTITY["body"] | {"temperature": 0}},
        {"body": {k: v for k, v in IDENTITY["body"].items() if k != "max_tokens"}},
    ],
    ids=str,
)
def test_each_part_of_a_cells_identity_changes_its_fingerprint(change):
    assert fingerprint(**(IDENTITY | change)) != fingerprint(**IDENTITY)


def test_the_order_of_keys_does_not_change_a_fingerprint():
    body = dict(reversed(IDENTITY["body"].items()))
    body["messages"] = [dict(reversed(body["messages"][0].items()))]
    assert list(body) != list(IDENTITY["body"])
    assert fingerprint(**(IDENTITY | {"body": body})) == fingerprint(**IDENTITY)
