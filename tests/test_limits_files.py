"""Bombs, endless files, lines of 100 MB and deep nesting: refused in words, with little memory and time."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from llmbench import bounded
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.dataset import load_dataset
from llmbench.bench.datasets.mask_rules import mask_rules
from llmbench.bench.ledger import read_ledger
from llmbench.bench.plan_file import read_plan_file
from llmbench.bench.run_decisions import read_run
from llmbench.config import load_config
from llmbench.config.yaml_source import parse_yaml
from llmbench.errors import LLMBenchError
from llmbench.interop.importers import import_log, load_mapping
from llmbench.jsonl import read_jsonl
from llmbench.providers.base import HttpReply, payload_of
from llmbench.structuring import loads_strictly
from tests.run_folders import telemetry_lines, write_run_folder
from tests.sweep_project import ROOT, write_project

MIB = 2**20
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "a: " + "[" * 3_000 + "]" * 3_000 + "\n"
TWICE = "models: {}\nmodels: {}\n"
HUGE_NUMBER = "a: " + "9" * 5_000 + "\n"
HUGE_KEY = "9" * 5_000 + ": a\n"
ODD_KEY = "? !!int \u00b2\n: a\n"
OBJECT = "a: !!python/object/apply:os.system ['true']\n"


@pytest.fixture
def within() -> Iterator[None]:
    """The test's own work takes less than ten seconds of CPU."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < 10


def yaml_readers(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    project = write_project(folder, 9)
    card = folder / "datasets" / "labels"
    config, plan, rules = (
        project.configs / "llm_router.yaml",
        project.configs / "sweeps" / "small.yaml",
        folder / "r.yaml",
    )
    return {
        "config": (config, lambda: load_config(project.configs)),
        "plan": (plan, lambda: read_plan_file(plan)),
        "card": (card / "card.yaml", lambda: load_dataset(card)),
        "mask rules": (rules, lambda: mask_rules(rules)),
        "mapping": (rules, lambda: load_mapping(rules)),
    }


@pytest.mark.parametrize("name", ["config", "plan", "card", "mask rules", "mapping"])
@pytest.mark.parametrize(
    "text",
    [BOMB, DEEP, TWICE, HUGE_NUMBER, HUGE_KEY, ODD_KEY, OBJECT],
    ids=["bomb", "deep", "twice", "number", "key", "odd key", "object"],
)
def test_a_trap_of_yaml_is_refused_by_every_reader(name, text, tmp_path, within):
    path, read = yaml_readers(tmp_path)[name]
    path.write_text(text)
    with pytest.raises(LLMBenchError, match=path.name):
        read()


@pytest.mark.parametrize("name", ["config", "plan", "card", "mask rules", "mapping"])
def test_a_file_without_an_end_is_refused_by_every_reader(name, tmp_path, within):
    path, read = yaml_readers(tmp_path)[name]
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(100 * MIB)
    with pytest.raises(LLMBenchError, match="over 16 MiB"):
        read()


def test_a_device_without_an_end_is_too_large():
    with pytest.raises(OSError, match="over 1 MiB") as caught:
        bounded.read_bytes(Path("/dev/zero"), MIB)
    assert caught.value.errno == errno.EFBIG


def test_a_bomb_is_counted_and_not_written_out(within):
    with pytest.raises(LLMBenchError, match="aliases expand to more than"):
        parse_yaml(BOMB, "x.yaml")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 50_000, "9" * 10_000, "1e999"]
)
def test_json_beyond_its_limits_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"deep|Expecting|digits|double"):
        loads_strictly(text)
    with pytest.raises(LLMBenchError, match="not a JSON object"):
        payload_of(HttpReply(200, {}, text.encode()))


def test_brackets_in_texts_and_side_by_side_are_not_depth():
    for value in ({"a": "[" * 5_000 + '\\"{'}, [[]] * 5_000, [{"a": [1]}] * 3_000):
        assert loads_strictly(json.dumps(value)) == value


PLAN = {"tasks": {"t": {"prompts": {}, "chain": ["a"], "arms": [["b"]]}}, "margin": 0.1, "alpha": 0.05}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "7", "null\n", '{"tasks": 1}', '{"tasks": {"x": {}}}', "{", "\xff"]
)
def test_a_plan_of_a_run_that_was_changed_is_refused(text, tmp_path):
    folder = write_run_folder(tmp_path, samples=2).run_dir
    (folder / "plan.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LLMBenchError, match=r"plan\.json"):
        read_run(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "7", "null\n", "{", "\xff"])
def test_results_of_a_run_that_were_changed_are_refused(text, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    (tmp_path / "results.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(LLMBenchError, match=r"results\.jsonl"):
        read_run(tmp_path)


# ---- a line of 100 MB


@pytest.fixture(scope="module")
def long_log(tmp_path_factory) -> Path:
    """A log of four calls with a line of 100 MB in its middle."""
    path = tmp_path_factory.mktemp("long") / "log.jsonl"
    lines = [
        json.dumps({**line, "messages": [], "output": "x"}).encode() + b"\n" for line in telemetry_lines(4)
    ]
    with path.open("wb") as file:
        file.write(lines[0] + lines[1] + b'{"schema": 1, "output": "')
        for _ in range(100):
            file.write(b"x" * MIB)
        file.write(b'"}\n' + lines[2] + lines[3])
    return path


def peak_mib(program: str, *words: str) -> float:
    """Run a program in a process of its own; its highest memory, MiB.

    Not by `getrusage`: Linux counts what the process was forked from among its own.
    """
    told = program + "\nprint('peak', open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    ran = subprocess.run(
        [sys.executable, "-c", told, *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2_000:]
    return float(ran.stdout.rpartition("peak ")[2]) / 1024


def test_a_line_of_100_mb_is_passed_over_and_the_lines_around_it_are_read(long_log):
    lines = list(read_jsonl(long_log))
    assert [line.reason for line in lines] == [None, None, "too_long", None, None]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert lines[-1].end == long_log.stat().st_size
    assert all(first.end == second.offset for first, second in pairwise(lines))
    assert max(len(line.raw) for line in lines) < 10_000
    assert [number for number, reason in read_ledger(long_log).bad_lines if reason == "too_long"] == [3]


def test_a_line_of_100_mb_in_a_log_is_set_apart_with_its_place(long_log, tmp_path):
    with open_warehouse(telemetry=[long_log]) as warehouse:
        bad = warehouse.rows("select line_no, reason, length(raw) as kept from quarantine")
        assert bad == [{"line_no": 3, "reason": "too_long", "kept": 4096}]
        assert warehouse.rows("select count(*) as n from stg_calls") == [{"n": 4}]


def test_a_line_of_100_mb_needs_no_memory_of_its_size(long_log):
    program = (
        "import sys\nfrom llmbench.jsonl import read_jsonl\nassert len(list(read_jsonl(sys.argv[1]))) == 5"
    )
    assert peak_mib(program, str(long_log)) < 3 * bounded.MAX_LINE_BYTES / MIB


def test_an_endless_last_line_is_set_apart_and_read_when_it_has_ended(long_log, tmp_path):
    path = tmp_path / "log.jsonl"
    with long_log.open("rb") as file:
        path.write_bytes(file.read(90 * MIB))
    with open_warehouse(telemetry=[path]) as warehouse:
        assert warehouse.rows("select reason from quarantine") == [{"reason": "too_long"}]
        assert warehouse.rows("select count(*) as n from stg_calls") == [{"n": 2}]


def test_a_line_of_100_mb_in_samples_and_exports_is_refused(tmp_path, long_log):
    write_project(tmp_path, 9)
    data = tmp_path / "datasets" / "labels" / "data.jsonl"
    data.write_bytes(b'{"id": "' + b"x" * (100 * MIB) + b'"}\n')
    with pytest.raises(LLMBenchError, match=r"data\.jsonl:1: the line is over 64 MiB"):
        load_dataset(data.parent)
    done = import_log(long_log, load_mapping("litellm"), tmp_path / "out.jsonl")
    assert any("over 64 MiB" in reason for reason in done.reasons)


def test_the_memory_of_this_process_stayed_small():
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 < 4_096


# ---- the page that promises all this


def test_the_sizes_that_the_security_page_names_are_those_of_the_code():
    from llmbench import structuring
    from llmbench.bench import dataset, run_decisions
    from llmbench.config import yaml_source
    from llmbench.interop import inspect_files
    from llmbench.providers import base
    from llmbench.routing import rollout

    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = {
        line.split("|")[1].strip(): line.split("|")[2] for line in page.splitlines() if line.count("|") == 3
    }
    named = {
        "a config, plan, card or rules file": (bounded.MAX_CONFIG_BYTES, f"{yaml_source.MAX_NODES:,} values"),
        "a stop file of rollouts": (rollout._LONGEST_FILE,),
        "a document of a run (`plan.json`, `recommendation.json`), a notebook, a CSV file": (
            bounded.MAX_DOCUMENT_BYTES,
        ),
        "a dataset, `results.jsonl`": (dataset.MAX_DATA_BYTES, run_decisions.MAX_RESULTS_BYTES),
        "one line of JSON lines: logs, ledgers, datasets, exports, recordings": (bounded.MAX_LINE_BYTES,),
        "a reply, its decoded bytes": (base.MAX_REPLY_BYTES,),
        "a log of Inspect": (inspect_files.MAX_JSON_BYTES, inspect_files.MAX_MEMBER_BYTES),
        "nesting of JSON in a reply or a line": (f"{structuring._MOST_DEPTH} levels",),
    }
    for row, limits in named.items():
        for limit in limits:
            assert (limit if isinstance(limit, str) else size(limit)) in rows[row], row
    assert set(named) == {
        row for row in rows if "MiB" in rows[row] or "GiB" in rows[row] or "levels" in rows[row]
    }


def size(limit: int) -> str:
    return f"{limit // 2**30} GiB" if limit >= 2**30 else f"{limit // MIB} MiB"


@pytest.mark.parametrize("name", ["results.jsonl", "data.jsonl", "plan.json"])
def test_a_file_of_a_run_beyond_its_size_is_refused(name, tmp_path, within):
    folder = write_run_folder(tmp_path, samples=2).run_dir
    write_project(tmp_path / "p", 9)
    card = tmp_path / "p" / "datasets" / "labels"
    path = card / name if name == "data.jsonl" else folder / name
    with path.open("r+b") as file:
        file.truncate((2**30 if name.endswith("l") else 256 * MIB) + 1)
    with pytest.raises(LLMBenchError, match=name.replace(".", r"\.")):
        load_dataset(card) if name == "data.jsonl" else read_run(folder)


@pytest.mark.parametrize("figure", [".nan", ".inf", "-.inf"])
def test_a_figure_of_a_schema_that_json_has_none_of_is_refused(figure, tmp_path):
    write_project(tmp_path, 9)
    card = tmp_path / "datasets" / "labels" / "card.yaml"
    text = card.read_text()
    card.write_text(text.replace("output_schema:", f"output_schema:\n  maximum: {figure}", 1))
    assert card.read_text() != text
    with pytest.raises(LLMBenchError, match=r"card\.yaml|schema"):
        load_dataset(card.parent)
