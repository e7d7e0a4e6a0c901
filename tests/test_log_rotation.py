"""A log that is rotated by size: every line in exactly one part, and each part under one name for good."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmbench.config import Config, load_config
from llmbench.errors import ConfigError
from llmbench.jsonl import JsonlWriter, read_jsonl, rotated_parts
from llmbench.telemetry import TelemetryLog

#: A line of `record` with one digit has 64 bytes.
LINE = 64
PART = re.compile(r"log\.jsonl\.[0-9]{8}T[0-9]{6}Z-[1-9][0-9]*")


def record(number: int) -> dict[str, object]:
    return {"n": number, "fill": "x" * (LINE - 21)}


def numbers(path: Path) -> list[int]:
    return [line.record["n"] for line in read_jsonl(path) if line.record]


def files(path: Path) -> list[Path]:
    return [*rotated_parts(path), *([path] if path.exists() else [])]


def written(path: Path, count: int, limit: int) -> JsonlWriter:
    writer = JsonlWriter(path, rotate_bytes=limit)
    for number in range(count):
        writer.append(record(number))
    return writer


def test_a_line_that_would_take_the_file_beyond_the_limit_goes_into_a_new_one(tmp_path):
    path = tmp_path / "log.jsonl"
    written(path, 7, 3 * LINE)
    assert [numbers(file) for file in files(path)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(PART.fullmatch(part.name) for part in rotated_parts(path))
    assert {file.stat().st_size for file in rotated_parts(path)} == {3 * LINE}
    assert {file.stat().st_mode & 0o777 for file in files(path)} == {0o600}


def test_the_offset_that_append_returns_is_the_one_in_the_new_file(tmp_path):
    writer = JsonlWriter(tmp_path / "log.jsonl", rotate_bytes=2 * LINE)
    assert [writer.append(record(number)) for number in range(5)] == [0, LINE, 0, LINE, 0]


def test_a_line_larger_than_the_limit_has_a_file_of_its_own_and_an_empty_file_is_never_a_part(tmp_path):
    path = tmp_path / "log.jsonl"
    written(path, 3, 10)
    assert [numbers(file) for file in files(path)] == [[0], [1], [2]]


def test_without_a_limit_nothing_is_ever_rotated(tmp_path):
    path = tmp_path / "ledger.jsonl"
    JsonlWriter(path).append({"fill": "x" * 2_000_000})
    JsonlWriter(path).append({"n": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_more_than_nine_parts_of_one_second_are_in_the_order_of_their_writing(tmp_path):
    path = tmp_path / "log.jsonl"
    written(path, 40, LINE)
    assert [number for file in files(path) for number in numbers(file)] == list(range(40))


def test_no_part_is_overwritten_also_where_the_clock_was_set_back(tmp_path):
    path = tmp_path / "log.jsonl"
    later = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y%m%dT%H%M%SZ")
    for name in (f"log.jsonl.{later}-7.zst", f"log.jsonl.{later}-8"):
        (tmp_path / name).write_text("of old")
    written(path, 3, LINE)
    assert [part.name for part in rotated_parts(path)] == [
        f"log.jsonl.{later}-7.zst", *(f"log.jsonl.{later}-{number}" for number in (8, 9, 10)),
    ]  # fmt: skip
    assert (tmp_path / f"log.jsonl.{later}-8").read_text() == "of old"


def test_the_number_of_a_part_that_was_compressed_is_not_taken_again(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = written(path, 2, LINE)
    (part,) = rotated_parts(path)
    part.rename(f"{part}.gz")
    writer.append(record(2))
    compressed, other = rotated_parts(path)
    assert compressed.name == f"{part.name}.gz"
    assert other.name != part.name
    assert numbers(other) == [1]


def test_only_names_of_the_pattern_are_parts_and_a_part_is_named_once(tmp_path):
    stamp = "20261128T213000Z"
    parts = [f"log.jsonl.{stamp}-1", f"log.jsonl.{stamp}-2.zst", f"log.jsonl.{stamp}-10.gz"]
    other = "log.jsonl.20261129T000000Z"
    others = [
        "log.jsonl", "log.jsonl.bak", "log.jsonl.1", other, f"{other}-0", f"{other}-01", f"{other}-1.bz2",
        f"{other}-1.gz.gz", f"{other}-1\n", f"{other}-1\u0661", f"{other}-", f"my.{other}-1",
        f"{other[3:]}-1",
        "logXjsonl.20261129T000000Z-1", "log.jsonl2.20261129T000000Z-1", ".20261129T000000Z-1",
        f"log.jsonl.{stamp}-1.gz",
    ]  # fmt: skip
    for name in (*parts, *others):
        (tmp_path / name).write_text("")
    (tmp_path / f"log.jsonl.{stamp}-3").mkdir()
    assert [part.name for part in rotated_parts(tmp_path / "log.jsonl")] == parts


def test_a_log_that_was_never_written_has_no_parts(tmp_path):
    assert rotated_parts(tmp_path / "nowhere" / "log.jsonl") == []


def test_another_writer_that_holds_the_old_file_open_goes_on_in_the_new_one(tmp_path):
    path = tmp_path / "log.jsonl"
    other = JsonlWriter(path, rotate_bytes=3 * LINE)
    other.append(record(0))
    written(path, 3, 3 * LINE)
    other.append(record(4))
    assert [numbers(file) for file in files(path)] == [[0, 0, 1], [2, 4]]


def test_a_torn_tail_stays_in_the_part_as_it_was(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = written(path, 2, 3 * LINE)
    with path.open("ab") as torn:
        torn.write(b'{"n": 2, "fi')
    before = path.read_bytes()
    writer.append(record(3))
    (part,) = rotated_parts(path)
    assert part.read_bytes() == before
    assert numbers(path) == [3]


def test_a_log_behind_a_symbolic_link_is_rotated_where_it_lies(tmp_path):
    (tmp_path / "far").mkdir()
    link, file = tmp_path / "link.jsonl", tmp_path / "far" / "log.jsonl"
    link.symlink_to(file)
    written(link, 2, LINE)
    JsonlWriter(file, rotate_bytes=LINE).append(record(2))
    assert link.is_symlink()
    assert rotated_parts(link) == rotated_parts(file)
    assert [number for part in files(file) for number in numbers(part)] == [0, 1, 2]


def test_threads_of_one_writer_lose_and_double_nothing(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path, rotate_bytes=10 * LINE)

    def write(first: int) -> None:
        for number in range(first, first + 50):
            writer.append(record(number))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for file in files(path) for number in numbers(file)) == list(range(400))
    assert len(rotated_parts(path)) > 30


# ---- a process that dies on the way

#: Appends a line that rotates, and dies at the n-th thing that Python does with files from there on;
#: prints what it was. Python names these things to whoever audits it.
DYING = """
import os, signal, sys
from llmbench.jsonl import JsonlWriter
path, dies_at = sys.argv[1], int(sys.argv[2])
writer = JsonlWriter(path, rotate_bytes=200)
for number in range(3):
    writer.append({"n": number, "fill": "x" * 43})
seen, is_armed = 0, True
def audit(event, args):
    global seen
    if is_armed and event in ("os.scandir", "os.rename", "open", "os.truncate", "fcntl.flock"):
        seen += 1
        if seen == dies_at:
            os.write(1, event.encode())
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
writer.append({"n": 3, "fill": "x" * 43})
is_armed = False
os.write(1, b"alive")
"""


def test_a_writer_that_is_killed_at_any_step_of_a_rotation_leaves_every_line_in_one_part(tmp_path):
    steps = []
    while "alive" not in steps:
        path = tmp_path / str(len(steps)) / "log.jsonl"
        command = [sys.executable, "-c", DYING, str(path), str(len(steps) + 1)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        steps.append(ran.stdout)
        assert ran.returncode == (0 if ran.stdout == "alive" else -signal.SIGKILL)
        has_last = ran.stdout == "alive" or steps == [*STEPS, "fcntl.flock"]
        survivor = JsonlWriter(path, rotate_bytes=200)
        survivor.append(record(4))
        found = [number for file in files(path) for number in numbers(file)]
        assert found == [0, 1, 2, *([3] if has_last else []), 4]
        assert [number for part in rotated_parts(path) for number in numbers(part)] == [0, 1, 2]
    assert steps == [*STEPS, "fcntl.flock", "alive"]


#: The lock of the old file, what parts there are, its new name, the new file, and its lock.
STEPS = ["fcntl.flock", "os.scandir", "os.rename", "open", "fcntl.flock"]


#: Appends a line that rotates; another program removes the file at the last moment.
BEREFT = """
import os, sys
from pathlib import Path
from llmbench.jsonl import JsonlWriter
path = Path(sys.argv[1])
writer = JsonlWriter(path, rotate_bytes=30)
writer.append({"n": 0, "fill": "x"})
sys.addaudithook(lambda event, args: event == "os.rename" and path.unlink())
writer.append({"n": 1, "fill": "x"})
assert writer.rotation_error is None
"""


def test_a_line_is_not_lost_with_a_file_that_is_removed_within_the_rotation(tmp_path):
    path = tmp_path / "log.jsonl"
    subprocess.run([sys.executable, "-c", BEREFT, str(path)], check=True)
    assert [numbers(file) for file in files(path)] == [[1]]


@pytest.mark.parametrize("is_rotated_after", [True, False])
def test_wherever_the_last_line_is_torn_all_that_was_acknowledged_is_read_back(tmp_path, is_rotated_after):
    last = JsonlWriter(tmp_path / "last").append(record(5))
    whole = (tmp_path / "last").read_bytes()[last:]
    for cut in range(len(whole) + 1):
        path = tmp_path / str(cut) / "log.jsonl"
        written(path, 5, 3 * LINE).close()
        with path.open("ab") as file:
            file.write(whole[:cut])
        limit = 2 * LINE if is_rotated_after else 9 * LINE
        JsonlWriter(path, rotate_bytes=limit).append(record(6))
        found = [number for part in files(path) for number in numbers(part)]
        # without its newline a whole line is read too; nobody was told that it was written
        assert found == [0, 1, 2, 3, 4, *([5] if cut >= len(whole) - 1 else []), 6]
        assert len(rotated_parts(path)) == 1 + is_rotated_after


# ---- the setting


@pytest.fixture
def load_router(write_configs) -> Callable[[str], Config]:
    return lambda defaults: load_config(write_configs(llm_router=f"defaults: {defaults}\n"))


def test_the_config_sets_the_size_and_never_rotates_without(load_router):
    assert load_router("{unknown_task: error}").log_rotate_mb is None
    assert load_router("{log_rotate_mb: }").log_rotate_mb is None
    assert load_router("{log_rotate_mb: 0.5}").log_rotate_mb == 0.5
    assert load_router("{log_rotate_mb: 64}").log_rotate_mb == 64


@pytest.mark.parametrize("value", ["0", "-1", "true", "'64'", "64 MiB", ".inf", ".nan", "[64]"])
def test_a_size_that_is_none_is_refused_with_what_to_write(load_router, value):
    said = r"^llm_router\.yaml:1: defaults\.log_rotate_mb: must be a number above 0, of MiB, such as 64; "
    with pytest.raises(ConfigError, match=said):
        load_router(f"{{log_rotate_mb: {value}}}")


def test_the_telemetry_log_is_rotated_at_mebibytes(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TelemetryLog(path, rotate_mb=0.25)
    for number in range(5):
        log.write({"n": number, "fill": "x" * 131_000})  # two fit in 2**18 bytes, not in 250,000
    assert [numbers(file) for file in files(path)] == [[0, 1], [2, 3], [4]]


def test_a_client_rotates_its_log_as_its_config_says(open_client, server, tmp_path):
    defaults = {"log_rotate_mb": 0.002}  # two lines of a call
    router = {
        "providers": {"stub": {"base_url": server.url, "env_api_key": "STUB_KEY"}},
        "defaults": defaults,
    }
    client = open_client(llm_router=router)
    made = [client.call("caption", "a fox").call_id for _ in range(5)]
    path = tmp_path / "log.jsonl"
    assert [line.record["call_id"] for file in files(path) for line in read_jsonl(file)] == made
    assert rotated_parts(path)


def test_a_size_below_a_byte_is_a_file_a_line(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TelemetryLog(path, rotate_mb=1e-9)
    log.write({"n": 0})
    log.write({"n": 1})
    assert [numbers(file) for file in files(path)] == [[0], [1]]
