"""Many processes write one rotated log while some of them are killed: every acknowledged line is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmbench.jsonl import JsonlLine, read_jsonl, rotated_parts

WRITERS, KILLED = "abcdefgh", "beg"
#: Writes the lines of one writer as a router does, those that cost too long a wait once more, and notes the
#: number of each one written in a file of its own. One that is to be killed writes on until it is.
WRITER = """
import itertools, os, random, sys, warnings
from pathlib import Path
from llmbench.telemetry import TelemetryLog
warnings.simplefilter("ignore", RuntimeWarning)
path, name, count, rotate_mb = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
log = TelemetryLog(path, rotate_mb=rotate_mb)
noted = os.open(path.with_name(f"{name}.noted"), os.O_WRONLY | os.O_CREAT)
chance = random.Random(name)
for number in range(count) if count else itertools.count():
    size = int(200 * 1000 ** chance.random() ** 6)
    dropped = -1
    while dropped != log.dropped:
        dropped = log.dropped
        log.write({"by": name, "n": number, "fill": name * size})
    os.pwrite(noted, b"%9d" % number, 0)
"""


def sizes(name: str) -> Iterator[int]:
    """The length of each text that a writer writes: 200 to 200,000, half of them below 222."""
    chance = random.Random(name)
    while True:
        yield int(200 * 1000 ** chance.random() ** 6)


def noted(folder: Path, name: str) -> int:
    """The number of the last line that a writer was told of as written; -1 for none."""
    try:
        return int((folder / f"{name}.noted").read_text() or -1)
    except FileNotFoundError:
        return -1


def write_all(path: Path, count: int, rotate_mb: float) -> None:
    """Let eight processes write so many lines each, and kill three of them when they have about half."""
    chance = random.Random(count)
    turns = {name: int(count * chance.uniform(0.3, 0.7)) for name in KILLED}
    running = {}
    for name in WRITERS:
        arguments = [str(path), name, str(0 if name in KILLED else count), str(rotate_mb)]
        running[name] = subprocess.Popen([sys.executable, "-c", WRITER, *arguments])
    try:
        while turns:
            for name in [name for name, turn in turns.items() if noted(path.parent, name) >= turn]:
                running[name].send_signal(signal.SIGKILL)
                del turns[name]
            time.sleep(0.001)
        ended = {name: process.wait(240) for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert ended == {name: -signal.SIGKILL if name in KILLED else 0 for name in WRITERS}


class Found:
    """The numbers of the whole lines, by writer, in the order of the parts, and all other lines."""

    def __init__(self, path: Path) -> None:
        self.numbers: dict[str, list[int]] = {name: [] for name in WRITERS}
        self.torn: list[bytes] = []
        self.sizes = {name: sizes(name) for name in WRITERS}
        for file in (*rotated_parts(path), path):
            for line in read_jsonl(file):
                self._take(line)

    def _take(self, line: JsonlLine) -> None:
        if line.record is None:
            self.torn.append(line.raw.rstrip(b"\n"))
            return
        name = line.record["by"]
        assert line.record["fill"] == name * next(self.sizes[name])
        self.numbers[name].append(line.record["n"])


def lines_begun(found: Found) -> list[bytes]:
    """The line that each killed writer may have been at."""
    begun = []
    for name in KILLED:
        number, length = len(found.numbers[name]), next(found.sizes[name])
        begun.append(f'{{"by": "{name}", "n": {number}, "fill": "{name * length}"}}'.encode())
    return begun


def check(path: Path, count: int, rotate_mb: float) -> None:
    write_all(path, count, rotate_mb)
    found = Found(path)
    for name in WRITERS:
        last = noted(path.parent, name)
        # each once and in order; of a killed writer at most one more than it was told of
        assert found.numbers[name] in (list(range(last + 1)), list(range(last + 2)))
        assert name in KILLED or found.numbers[name] == list(range(count))
    begun = lines_begun(found)
    assert len(found.torn) <= len(KILLED)
    assert all(sum(line.startswith(torn) for line in begun) == 1 for torn in found.torn)
    parts = rotated_parts(path)
    limit = rotate_mb * 2**20
    assert all(part.stat().st_size <= limit for part in parts)
    assert len(parts) >= sum(file.stat().st_size for file in (*parts, path)) // limit


def test_eight_writers_of_which_three_are_killed_lose_and_double_no_line(tmp_path):
    check(tmp_path / "log.jsonl", 300, 1)


@pytest.mark.slow
def test_eight_writers_of_twenty_thousand_lines_lose_and_double_no_line(tmp_path):
    check(tmp_path / "log.jsonl", 20_000, 64)
