"""What the telemetry log does in each trouble of a disk: no call fails, and writing goes on by itself."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmbench.jsonl import JsonlWriter, read_jsonl, rotated_parts
from llmbench.telemetry import TelemetryLog

NOBODY, NOT_POSSIBLE = 65534, 77


def records(path: Path) -> list[dict[str, object] | None]:
    return [line.record for line in read_jsonl(path)]


@contextmanager
def trouble(log: TelemetryLog, dropped: int) -> Iterator[None]:
    """So many lines are dropped in here; a warning that comes is not looked at."""
    before = log.dropped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
    assert log.dropped == before + dropped


def in_child(act: Callable[[], None]) -> None:
    """Do it in a forked process of its own, which may give up rights and set limits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have left threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            warnings.simplefilter("ignore", RuntimeWarning)
            act()
        except BaseException as error:  # noqa: BLE001 -- a child that goes on would run the other tests too
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == NOT_POSSIBLE:
        pytest.skip("root may not become another user here, and no permission holds for root")
    assert status == 0


def without_rights(act: Callable[[], None]) -> None:
    """Do it as a user that the permissions of files hold for."""

    def acting() -> None:
        if os.geteuid() == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            except PermissionError:
                os._exit(NOT_POSSIBLE)
        act()

    in_child(acting)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may come to; pytest's own are the owner's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(folder)


# ---- a full disk


def test_a_full_disk_drops_lines_and_the_first_one_after_it_tells_how_many(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TelemetryLog(path)
    log.write({"n": 0})
    log.close()
    path.rename(tmp_path / "kept")
    path.symlink_to("/dev/full")
    with trouble(log, dropped=3):
        for number in range(1, 4):
            log.write({"n": number})
    path.unlink()
    (tmp_path / "kept").rename(path)
    for number in (4, 5):
        log.write({"n": number})
    assert records(path) == [{"n": 0}, {"n": 4, "dropped_before": 3}, {"n": 5}]


def test_a_line_that_only_a_part_of_fits_on_the_disk_is_taken_back_whole(tmp_path):
    """The limit of a process stands for the disk: of the line that passes it the first bytes are written."""
    path = tmp_path / "log.jsonl"

    def act() -> None:
        log = TelemetryLog(path)
        log.write({"n": 0})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # Python ignores SIGXFSZ
        log.write({"n": 1, "fill": "x" * 1000})
        assert path.stat().st_size == len('{"n": 0}\n')
        log.write({"n": 2})  # a small line fits
        log.write({"n": 3, "fill": "x" * 1000})
        assert log.dropped == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        log.write({"n": 4})

    in_child(act)
    assert records(path) == [{"n": 0}, {"n": 2, "dropped_before": 1}, {"n": 4, "dropped_before": 1}]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    try:
        subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("rotate_mb", [None, 0.1])
def test_a_disk_that_fills_up_holds_whole_lines_only_and_is_used_again_when_there_is_room(
    small_disk, rotate_mb
):
    path = small_disk / "log.jsonl"
    log = TelemetryLog(path, rotate_mb=rotate_mb)
    fill = "x" * 30_000
    with trouble(log, dropped=12):
        for number in range(20):
            log.write({"n": number, "fill": fill})
    parts = rotated_parts(path)
    lines = [line for file in (*parts, path) for line in read_jsonl(file)]
    assert [line.record and line.record["n"] for line in lines] == list(range(8))
    assert len(parts) == (0 if rotate_mb is None else 2)
    for part in parts:
        part.unlink()
    if not parts:
        path.write_bytes(b"")
    log.write({"n": 20})
    assert records(path)[-1] == {"n": 20, "dropped_before": 12}
    log.close()


# ---- a file or folder that is gone, or is not to be written


def test_a_file_that_is_removed_while_open_is_made_again_with_its_folder(tmp_path):
    path = tmp_path / "logs" / "deep" / "log.jsonl"
    log = TelemetryLog(path)
    log.write({"n": 0})
    path.unlink()
    log.write({"n": 1})
    assert records(path) == [{"n": 1}]
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    log.write({"n": 2})
    assert records(path) == [{"n": 2}]
    assert log.dropped == 0


def test_a_path_that_is_a_folder_drops_lines_until_it_is_none(tmp_path):
    path = tmp_path / "log.jsonl"
    path.mkdir()
    log = TelemetryLog(path)
    with pytest.warns(RuntimeWarning, match="Is a directory; calls go on"):
        log.write({"n": 0})
    path.rmdir()
    log.write({"n": 1})
    assert records(path) == [{"n": 1, "dropped_before": 1}]


def test_a_file_in_the_place_of_the_folder_drops_lines_until_it_is_gone(tmp_path):
    path = tmp_path / "logs" / "log.jsonl"
    log = TelemetryLog(path)
    log.write({"n": 0})
    path.parent.rename(tmp_path / "away")
    path.parent.write_text("")
    with trouble(log, dropped=2):
        log.write({"n": 1})
        log.write({"n": 2})
    path.parent.unlink()
    log.write({"n": 3})
    assert records(path) == [{"n": 3, "dropped_before": 2}]
    assert records(tmp_path / "away" / "log.jsonl") == [{"n": 0}]


def test_a_writer_that_cannot_look_at_its_path_keeps_nobody_from_the_file(tmp_path):
    path = tmp_path / "logs" / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 0})
    path.parent.rename(tmp_path / "away")
    path.parent.write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        writer.append({"n": 1})
    JsonlWriter(tmp_path / "away" / "log.jsonl", wait_s=0.2).append({"n": 2})
    assert records(tmp_path / "away" / "log.jsonl") == [{"n": 0}, {"n": 2}]


def test_a_read_only_folder_drops_lines_until_it_can_be_written(open_folder):
    path = open_folder / "log.jsonl"

    def act() -> None:
        folder = open_folder / "own"
        folder.mkdir(mode=0o500)
        log = TelemetryLog(folder / "log.jsonl")
        log.write({"n": 0})
        assert log.dropped == 1
        folder.chmod(0o700)
        log.write({"n": 1})
        path.write_bytes((folder / "log.jsonl").read_bytes())

    without_rights(act)
    assert records(path) == [{"n": 1, "dropped_before": 1}]


def test_a_read_only_file_drops_lines_of_who_opens_it_and_not_of_who_has_it_open(open_folder):
    path = open_folder / "log.jsonl"

    def act() -> None:
        early, late = TelemetryLog(path), TelemetryLog(path)
        early.write({"n": 0})
        path.chmod(0o400)
        early.write({"n": 1})
        late.write({"n": 2})
        assert (early.dropped, late.dropped) == (0, 1)
        path.chmod(0o600)
        late.write({"n": 3})

    without_rights(act)
    assert records(path) == [{"n": 0}, {"n": 1}, {"n": 3, "dropped_before": 1}]


def test_a_folder_that_may_not_be_entered_drops_lines_until_it_may(open_folder):
    path = open_folder / "own" / "log.jsonl"

    def act() -> None:
        log = TelemetryLog(path)
        log.write({"n": 0})
        path.parent.chmod(0o000)
        log.write({"n": 1})
        assert log.dropped == 1
        path.parent.chmod(0o700)
        log.write({"n": 2})

    without_rights(act)
    assert records(path) == [{"n": 0}, {"n": 2, "dropped_before": 1}]


def test_a_file_that_cannot_be_renamed_grows_beyond_its_limit_and_is_rotated_when_it_can(open_folder):
    path, seen = open_folder / "own" / "log.jsonl", open_folder / "seen"

    def act() -> None:
        path.parent.mkdir()
        log = TelemetryLog(path, rotate_mb=30 / 2**20)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            log.write({"n": 0})
            path.parent.chmod(0o500)
            for number in range(1, 6):
                log.write({"n": number})
        parts = len(rotated_parts(path))
        path.parent.chmod(0o700)
        threading.Event().wait(1.05)  # it is tried again every second
        log.write({"n": 6})
        lasting = [str(one.message) for one in caught], log.dropped, parts, len(rotated_parts(path))
        seen.write_text(json.dumps(lasting))

    without_rights(act)
    ((message,), dropped, before, after) = json.loads(seen.read_text())
    assert "is as large as log_rotate_mb and cannot be renamed: Permission denied" in message
    assert (dropped, before, after) == (0, 0, 1)
    (part,) = rotated_parts(path)
    assert [record["n"] for record in (*records(part), *records(path))] == list(range(7))


# ---- what is told of it


def test_no_descriptor_left_drops_lines_until_there_is_one(tmp_path):
    path = tmp_path / "log.jsonl"

    def act() -> None:
        log = TelemetryLog(path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))
        log.write({"n": 0})
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        log.write({"n": 1})

    in_child(act)
    assert records(path) == [{"n": 1, "dropped_before": 1}]


def test_each_dropped_line_is_told_of_once_however_many_threads_write(tmp_path):
    path = tmp_path / "log.jsonl"
    path.mkdir()
    log = TelemetryLog(path)
    is_over, start = threading.Event(), threading.Barrier(8)

    def write() -> None:
        start.wait()
        for _ in range(50):
            log.write({})
        is_over.wait()
        for _ in range(50):
            log.write({})

    threads = [threading.Thread(target=write) for _ in range(8)]
    with trouble(log, dropped=400):
        for thread in threads:
            thread.start()
        while log.dropped < 400:
            is_over.wait(0.01)
        path.rmdir()
        is_over.set()
        for thread in threads:
            thread.join()
    told = [record.get("dropped_before", 0) for record in records(path)]
    assert (len(told), sum(told)) == (400, 400)


def test_a_forked_child_does_not_tell_of_what_its_parent_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    path.mkdir()
    log = TelemetryLog(path)
    with trouble(log, dropped=1):
        log.write({"by": "parent"})

    def act() -> None:
        log.write({"by": "child"})
        path.rmdir()
        log.write({"by": "child"})

    in_child(act)
    log.write({"by": "parent"})
    assert records(path) == [{"by": by, "dropped_before": 1} for by in ("child", "parent")]


def test_a_forked_child_waits_for_no_thread_of_its_parents_that_was_writing(tmp_path):
    log = TelemetryLog(tmp_path / "log.jsonl")
    log.write({"n": 0})
    with log._writer._thread_lock:
        in_child(lambda: log.write({"n": 1}))
    assert records(tmp_path / "log.jsonl") == [{"n": 0}, {"n": 1}]


def test_a_call_goes_on_in_every_trouble_and_the_next_line_tells_of_it(open_client, server, tmp_path):
    path = tmp_path / "log.jsonl"
    path.mkdir()
    client = open_client()
    with pytest.warns(RuntimeWarning, match="calls go on without it"):
        assert client.call("caption", "a fox").text
    path.rmdir()
    assert client.call("caption", "a fox").text
    client.call("caption", "a fox")
    assert [record.get("dropped_before") for record in records(path)] == [1, None]
