"""The first hour of a new user, from a clean clone to a change that is verified, timed step by step.

Everything happens in a temporary folder: a clone of this repository's HEAD, its own virtual environment and
an empty home. Standard library only; the steps are the commands that a person would type. Needs Chromium.

    python3 tests/first_hour.py [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 3600
RUN = "first-hour"
#: What a new machine would have too: the way to packages and to trust, nothing of ours.
KEPT = ("PATH", "LANG", "PIP_", "SSL_", "REQUESTS_", "HTTP", "NO_PROXY", "http")

#: Calls as production makes them, of one task, one after the other; run before and after the change.
TRAFFIC = """
import sys
from llmbench import LLMBenchError, LLMClient
from llmbench.bench.dataset import load_dataset

task, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dataset = load_dataset(f"datasets/{task}")
answered = 0
with LLMClient("configs") as client:
    for sample in dataset.samples[first:last]:
        try:
            options = {"max_tokens": 64, **dataset.options_of(sample)}
            client.call(task, dataset.messages(sample), **options)
            answered += 1
        except LLMBenchError as error:
            print(type(error).__name__, str(error)[:100])
print(f"{answered} of {last - first} calls answered")
"""


class Failed(Exception):
    """A step did not do what it says."""


class FirstHour:
    """The commands, in the clone and with the empty home, and how long each step took."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "llmbench"
        self.folder = folder
        self.times: list[tuple[str, float]] = []
        home = folder / "home"
        home.mkdir()
        self._environment = {k: v for k, v in os.environ.items() if k.startswith(KEPT)} | {"HOME": str(home)}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        yield
        self.times.append((name, time.monotonic() - started))

    def run(self, *command: str, codes: Sequence[int] = (0,), cwd: Path | None = None) -> str:
        """A command's output; it must end with one of the codes."""
        print("$", " ".join(part if len(part) < 80 else "…" for part in command), flush=True)
        where = {"cwd": cwd or self.project, "env": self._environment}
        done = subprocess.run(command, **where, text=True, capture_output=True, check=False)
        if done.returncode not in codes:
            said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise Failed(f"{command[:4]} ended with {done.returncode}\n{said}")
        return done.stdout

    def llmbench(self, *words: str, codes: Sequence[int] = (0,)) -> str:
        return self.run(str(self.project / ".venv" / "bin" / "llmbench"), *words, codes=codes)

    def traffic(self, task: str, first: int, last: int) -> None:
        python = str(self.project / ".venv" / "bin" / "python")
        print(self.run(python, "-c", TRAFFIC, task, str(first), str(last)), end="")


def first_hour(hour: FirstHour) -> None:
    """Every step of it.

    Raises:
        Failed: a step did not do what it says.
    """
    with hour.step("clone"):
        clone(hour)
    with hour.step("make sweep (with the installation)"):
        said = hour.run("make", "sweep", f"PLAN=default --run-id {RUN}")
        print("\n".join(said.splitlines()[-2:]))
    with hour.step("move an older config folder in"):
        for old in sorted((hour.project / "tests" / "legacy").iterdir()):
            hour.llmbench("migrate", str(old), "--to", str(hour.folder / "moved" / old.name), "--check")
    with hour.step("open the report"):
        look_at(hour, hour.project / "reports" / RUN / "report.html")
    run_dir, moves = choose(hour)
    task = moves[0]["task"]
    before = configs_of(hour)
    with hour.step("calls before the change"):
        hour.traffic(task, 0, 30)
    with hour.step("apply"):
        print(hour.llmbench("apply", str(run_dir), "--yes", "--by", "first hour", "--reason", "the report"))
    with hour.step("explain shows the new route"):
        for move in moves:
            first = json.loads(hour.llmbench("explain", move["task"], "--json"))["candidates"][0]
            if first != move["proposed_model"]:
                raise Failed(f"{move['task']} goes to {first}, not to {move['proposed_model']}")
            print(f"{move['task']} -> {first}")
    with hour.step("calls after the change"):
        hour.traffic(task, 30, 65)
    with hour.step("telemetry load and verify"):
        hour.llmbench("telemetry", "load")
        page = hour.llmbench("telemetry", "verify", str(run_dir / "recommendation.json"), codes=(0, 1))
        if task not in page:
            raise Failed(f"the page does not speak of {task}:\n{page}")
        print(page)
    with hour.step("undo"):
        hour.llmbench("apply", "--undo", "--yes", "--by", "first hour")
        after = configs_of(hour)
        if after != before:
            changed = [name for name in before if after.get(name) != before[name]]
            raise Failed(f"undo left changes in {changed}")


def clone(hour: FirstHour) -> None:
    """A clean clone of HEAD; where git refuses (no repository, another owner) a copy of the sources."""
    try:
        hour.run("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(hour.project), cwd=hour.folder)
    except (Failed, FileNotFoundError):
        print("no clone to be had: a copy of the working tree")
        shutil.rmtree(hour.project, ignore_errors=True)
        built = shutil.ignore_patterns(
            ".venv*", ".git", ".*_cache", "workspaces", "__pycache__", ".hypothesis"
        )
        shutil.copytree(ROOT, hour.project, ignore=built)


def configs_of(hour: FirstHour) -> dict[str, bytes]:
    """The config files and what is in them."""
    return {path.name: path.read_bytes() for path in sorted((hour.project / "configs").glob("*.yaml"))}


def look_at(hour: FirstHour, page: Path) -> None:
    """Open a page in a real browser: it shows its headline and says nothing on the console.

    Raises:
        Failed: it does not.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        raise Failed("no Chromium on this machine")
    picture = hour.folder / "report.png"
    flags = ("--headless", "--no-sandbox", "--enable-logging=stderr", "--window-size=1100,1320")
    command = [browser, *flags, f"--user-data-dir={hour.folder / 'browser'}", f"--screenshot={picture}"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], text=True, capture_output=True, check=False, timeout=120
    )
    if "Tier report" not in done.stdout or "<h1>" not in done.stdout:
        raise Failed(f"the report does not open: {done.stderr[-2000:]}")
    if "CONSOLE" in done.stderr:
        raise Failed(f"the report speaks on the console: {done.stderr[-2000:]}")


def choose(hour: FirstHour) -> tuple[Path, list[dict[str, Any]]]:
    """The run just made where it proved a move, else the recorded one; and what moves."""
    for name in (RUN, "example"):
        run_dir = hour.project / "reports" / name
        tasks = json.loads((run_dir / "recommendation.json").read_text(encoding="utf-8"))["tasks"]
        moves = [task for task in tasks if task["choice"] != task["reference"]]
        print(f"{name}: {len(moves)} of {len(tasks)} tasks can move")
        if moves:
            return run_dir, moves
    raise Failed("neither the run nor the recorded one proved a move")


def main() -> int:
    """Run the first hour; 0 when every step did what it says within an hour."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    is_kept = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="llmbench-first-hour-"))
    hour = FirstHour(folder)
    try:
        first_hour(hour)
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        for name, seconds in hour.times:
            print(f"{seconds:8.1f} s  {name}")
        total_s = sum(seconds for _, seconds in hour.times)
        print(f"{total_s:8.1f} s  in all")
        if is_kept:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if total_s < LIMIT_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
