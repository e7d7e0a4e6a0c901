"""What telemetry costs to load and to ask: ratios to DuckDB's own reader and to a plain Python loop.

Every measured step runs in a process of its own. The lines are made by DuckDB, about 300 bytes each.

    python benchmarks/telemetry.py [--lines 5000000] [--out reports/bench/telemetry.md]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MAKE = """
copy (
    with drawn as (
        select i, random() as a, random() as b, random() as c, random() as d from range($lines) as t(i)
    ),
    named as (
        select
            *,
            ['or_small', 'fw_deep', 'az_mini', 'gm_flash', 'gm_pro', 'smol'][1 + floor(a * 6)::int] as model,
            ['caption', 'translate', 'script', 'facts', 'classify', 'narrate', 'thumb', '要約'][
                1 + floor(b * 8)::int] as task,
            c < 0.02 as failed,
            c between 0.02 and 0.06 as fell,
            round(exp(5 + 2 * a + b), 1) as ms
        from drawn
    )
    select
        '{"schema": 1, "status": "' || if(failed, 'fail', 'success') || '", "timestamp": "'
        || strftime(timestamp '2026-10-01' + to_milliseconds((i * 600)::bigint), '%Y-%m-%dT%H:%M:%S.%gZ')
        || '", "call_id": "' || left(md5(i::varchar), 20) || '", "task": "' || task
        || '", "tier": "' || if(b < 0.5, 'cheap', 'standard') || '", "model": '
        || if(failed, 'null', '"' || model || '"') || ', "provider": "p' || (a * 4)::int
        || '", "fallback_chain": [' || if(fell, '"or_big", ', '') || '"' || model
        || '"], "latency_ms": ' || ms
        || ', "usage": {"input_tokens": ' || (d * 1000)::int || ', "output_tokens": ' || (a * 300)::int || '}'
        || if(failed, ', "error_kind": "timeout"', ', "cost_usd": ' || round(d * 0.001, 6))
        || if(fell,
            ', "attempts": [{"model": "or_big", "error_kind": "rate_limit", "status_code": 429, '
            || '"latency_ms": 120.0}, {"model": "' || model || '", "latency_ms": ' || ms || '}]', '')
        || '}'
    from named
    order by i
) to $file (format csv, header false, quote '', escape '', delimiter e'\\x01')
"""


def made(path: Path, lines: int) -> Path:
    """A log of so many lines, always the same. Made by a child: peak memory begins at the parent's."""
    measured("make", path, lines)
    return path


def make(path: str, lines: str) -> None:
    import duckdb

    with duckdb.connect() as con:
        con.execute("set threads = 1; select setseed(0.42)")
        con.execute(MAKE, {"lines": int(lines), "file": path})


def soiled(clean: Path, path: Path) -> Path:
    """The same log with 0.2 % of its lines torn, garbage, of a wrong type, blank or no object."""
    kinds = (
        lambda line: line[:100] + b"\n",
        lambda _: b"\x00\x00garbage\n",
        lambda line: line.replace(b'"latency_ms": ', b'"latency_ms": "slow", "was": '),
        lambda _: b"\n",
        lambda _: b"[1, 2]\n",
    )
    with clean.open("rb") as source, path.open("wb") as out:
        for number, line in enumerate(source):
            out.write(kinds[(number // 500) % 5](line) if number % 500 == 0 else line)
    return path


# ---- what a measured process does ---------------------------------------------------------------------


def read_json(log: str, place: str) -> None:
    """DuckDB's own reader with a fixed schema, into a table."""
    import duckdb

    from llmbench.analytics.telemetry_store import make_tables

    with duckdb.connect(":memory:") as con:
        make_tables(con)
        columns = dict(
            con.execute("select column_name, column_type from (describe telemetry_line)").fetchall()
        )
    with timed("wall_s"), duckdb.connect(place) as con:
        con.execute(
            "create table calls as select * from "
            "read_json($log, format = 'newline_delimited', columns = $columns)",
            {"log": log, "columns": columns},
        )


def load(log: str, store: str) -> None:
    """Our load, then again with nothing new. Imports are not timed, here as in the loop."""
    import duckdb  # noqa: F401

    from llmbench.analytics.telemetry_store import load_store

    with timed("wall_s"):
        found = load_store(Path(store), [log])
    with timed("again_s"):
        load_store(Path(store), [log])
    FIGURES.update(rows=found.calls, quarantined=found.quarantined, blank=found.blank)


def append(log: str, more: str, store: str) -> None:
    """A load of what was appended, its commit and closing included: the first, and the mean of ten."""
    from llmbench.analytics.telemetry_store import load_store

    load_store(Path(store), [log])
    times = []
    for number in range(10):
        with Path(log).open("ab") as out, Path(more).open("rb") as source:
            mark = b'"call_id": "%d-' % number  # new calls: each has an id of its own
            out.writelines(line.replace(b'"call_id": "', mark) for line in source)
        started = time.perf_counter()
        load_store(Path(store), [log])
        times.append(time.perf_counter() - started)
    FIGURES.update(wall_s=times[0], mean_s=statistics.fmean(times))


def ask(store: str) -> None:
    """Every view of telemetry, read to its last row, and the usage report; best of three."""
    from llmbench.analytics.usage import usage_report
    from llmbench.analytics.warehouse import open_warehouse

    with timed("open_s"):
        warehouse = open_warehouse(store=Path(store))
    with warehouse:
        for view in warehouse.views:
            if view.startswith("mart_") or view in ("loads", "quarantine"):
                FIGURES[view] = best(lambda name=view: warehouse.rows(f"from {name}"))
        FIGURES["usage"] = best(lambda: usage_report(warehouse))


def loop(log: str) -> None:
    """The users' old way: a loop over json.loads that counts and adds."""
    models, tasks, chains = Counter[str](), Counter[str](), Counter[str]()
    calls, failures, latency_ms = 0, 0, 0.0
    with timed("wall_s"), Path(log).open(encoding="utf-8") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            calls += 1
            models[record.get("model") or record.get("selected_model") or "(none)"] += 1
            tasks[record.get("task") or "(none)"] += 1
            chain = record.get("fallback_chain") or record.get("chain") or []
            if len(chain) > 1:
                chains[" > ".join(chain)] += 1
            failures += record.get("status") != "success"
            latency_ms += record.get("latency_ms") or 0.0
    FIGURES["rows"] = calls


STEPS = {"make": make, "read_json": read_json, "load": load, "append": append, "ask": ask, "loop": loop}
FIGURES: dict[str, Any] = {}


class timed:  # noqa: N801 -- reads as a verb
    """Seconds of a block, under a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.started, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        FIGURES[self.name] = time.perf_counter() - self.started
        FIGURES[self.name.replace("_s", "_cpu_s")] = time.process_time() - self.cpu


def best(step: Any) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times)


def measured(step: str, *arguments: object) -> dict[str, Any]:
    """The figures of one step in a process of its own, with its peak memory."""
    command = [sys.executable, str(HERE / "telemetry.py"), "--step", step, *map(str, arguments)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


# ---- the report ---------------------------------------------------------------------------------------


def loading(folder: Path, log: Path, lines: int, rounds: int) -> list[str]:
    """Load against read_json, in turn; medians of the rounds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name, place in (("a database file", folder / "own.duckdb"), ("memory", ":memory:")):
            (folder / "own.duckdb").unlink(missing_ok=True)
            found.setdefault(f"read_json into {name}", []).append(measured("read_json", log, place))
        (folder / "store.duckdb").unlink(missing_ok=True)
        found.setdefault("llmbench telemetry load", []).append(measured("load", log, folder / "store.duckdb"))
    own = statistics.median(each["wall_s"] for each in found["read_json into a database file"])
    own_cpu = statistics.median(each["wall_cpu_s"] for each in found["read_json into a database file"])
    rows = [
        "| | wall s | rows/s | of read_json's | CPU s | of read_json's | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in found.items():
        wall, cpu, peak = (
            statistics.median(each[key] for each in figures) for key in ("wall_s", "wall_cpu_s", "peak_mb")
        )
        rows.append(
            f"| {name} | {wall:.1f} | {lines / wall:,.0f} | {own / wall:.2f} | {cpu:.1f} "
            f"| {own_cpu / cpu:.2f} | {peak:.0f} |"
        )
    again = statistics.median(each["again_s"] for each in found["llmbench telemetry load"])
    return [*rows, "", f"Loading again with nothing new: {again * 1000:.0f} ms."]


def growing(folder: Path, log: Path, full_s: float, lines: int) -> list[str]:
    """What one percent more costs."""
    more, grown = folder / "more.jsonl", folder / "grown.jsonl"
    shutil.copy(log, grown)
    with log.open("rb") as source, more.open("wb") as out:
        for _, line in zip(range(lines // 100), source, strict=False):
            out.write(line)
    found = measured("append", grown, more, folder / "grown.duckdb")
    grown.unlink()
    (folder / "grown.duckdb").unlink()
    first, mean = found["wall_s"], found["mean_s"]
    once = f"Loading {lines // 100:,} appended lines: {first:.2f} s, {first / full_s:.1%} of the full load."
    often = (
        f"Ten times in a row: {mean:.2f} s each on average, {mean / full_s:.1%}, since every second one also "
        "rewrites the last rows."
    )
    return [once, often]


def asking(folder: Path) -> list[str]:
    """Every mart over the store."""
    found = measured("ask", folder / "store.duckdb")
    views = sorted(((s, name) for name, s in found.items() if name.startswith("mart_")), reverse=True)
    rows = ["| mart | s |", "|---|---|", *(f"| {name} | {seconds:.2f} |" for seconds, name in views)]
    return [*rows, "", f"The usage report: {found['usage']:.2f} s; opening: {found['open_s']:.2f} s."]


def against_the_loop(folder: Path, rounds: int) -> list[str]:
    """One million lines: the plain loop, our load, our report."""
    log, store = made(folder / "million.jsonl", 1_000_000), folder / "million.duckdb"
    loops, loads, reports, peaks = [], [], [], []
    for _ in range(rounds):
        loops.append(measured("loop", log)["wall_s"])
        store.unlink(missing_ok=True)
        loaded = measured("load", log, store)
        loads.append(loaded["wall_s"])
        peaks.append(loaded["peak_mb"])
        reports.append(measured("ask", store)["usage"])
    old, new, asked = (statistics.median(each) for each in (loops, loads, reports))
    dirty = soiled(log, folder / "dirty.jsonl")
    store.unlink()
    bad = measured("load", dirty, store)
    quick = (
        f"One million lines: the loop {old:.2f} s; the load {new:.2f} s, **{old / new:.1f} times** as fast, "
        f"with a peak of {statistics.median(peaks):.0f} MB; the usage report on what is loaded "
        f"{asked * 1000:.0f} ms, **{old / asked:.0f} times** as fast."
    )
    soil = (
        f"The same with 0.2 % of the lines bad, evenly spread, so that no block is clean: "
        f"{bad['wall_s']:.1f} s ({bad['rows']:,} rows, {bad['quarantined']:,} quarantined, "
        f"{bad['blank']:,} blank), {new / bad['wall_s']:.2f} of the clean log's rows/s."
    )
    return [quick, "", soil]


#: Measured apart: what is missed, and why the load is no faster.
MISSED = (
    "On the two cores of the committed report three targets of speed are missed. The load was to be 4 times",
    "as fast as the plain loop and is 1.8 times: `read_json` into memory alone, with no check or table on",
    "disk, is 3.2 to 4.7 times as fast, and other readers are slower (Polars 2.1 and pyarrow 26: 3.0 CPU",
    "seconds a million lines, DuckDB's 1.5). One percent more was to cost 3 % of the full load and costs",
    "3.1 %. The usage report was to be 50 times as fast as the loop and is 49 times.",
)


def report(lines: int, rounds: int) -> str:
    with tempfile.TemporaryDirectory(prefix="llmbench-") as name:
        folder = Path(name)
        log = made(folder / "llm_usage.jsonl", lines)
        size = log.stat().st_size / 1e9
        parts = loading(folder, log, lines, rounds)
        full_s = statistics.median(
            measured("load", log, folder / f"full-{at}.duckdb")["wall_s"] for at in range(rounds)
        )
        parts += [
            "",
            *growing(folder, log, full_s, lines),
            "",
            *asking(folder),
            "",
            *against_the_loop(folder, rounds),
        ]
    return "\n".join(
        [
            "# What telemetry costs to load and to ask",
            "",
            f"One run on one machine, {lines:,} lines of {size:.2f} GB; medians of {rounds} rounds, each",
            "step in a process of its own. The reader beside ours takes every line for sound; ours keeps bad",
            "ones apart, notes how far it read, and takes no call twice.",
            "",
            *parts,
            "",
            *MISSED,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE.parent / "reports" / "bench" / "telemetry.md")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        name, *arguments = given.step
        STEPS[name](*arguments)
        FIGURES["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(FIGURES))
        return
    text = report(given.lines, given.rounds)
    print(text)
    given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
