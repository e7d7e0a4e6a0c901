"""The command line: every verb, its exit codes, JSON for machines, and errors in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from llmbench.bench.chain import NOTEBOOKS
from llmbench.cli import app
from tests.sweep_project import (
    ROOT,
    copy_notebooks,
    read_lines,
    stub_provider,
    sweep,
    write_project,
)

VERBS = [
    ["sweep"],
    ["notebook"],
    ["plan"],
    ["decide"],
    ["report"],
    ["explain"],
    ["call"],
    ["image"],
    ["speak"],
    ["query"],
    ["usage"],
    ["migrate"],
    ["apply"],
    ["serve"],
    ["results"],
    ["results", "import"],
    ["rollout"],
    *(["rollout", verb] for verb in ("status", "watch", "stop", "resume")),
    ["telemetry"],
    *(["telemetry", verb] for verb in ("load", "archive", "verify", "report", "import", "export")),
    ["check"],
    ["dataset"],
    *(["dataset", verb] for verb in ("from-log", "import", "split", "check", "scorers")),
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["models", "status"],
]
SAMPLES = [f"question {number}" for number in range(60)]


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub"), (20, 50)) as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory, stub):
    """A project with one finished run; the tests here read it and leave it as it is."""
    project = write_project(tmp_path_factory.mktemp("project"), stub.port, samples=["a", "b", "#prose"])
    sweep(project, run_id="done")
    return project


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def in_process(*args, **options):
    command = [sys.executable, "-m", "llmbench.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def one_line(text):
    assert text.startswith("llmbench: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.removeprefix("llmbench: ").rstrip()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself(verb):
    result = invoke(*verb, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert result.stderr == ""


def test_every_verb_is_tested_here():
    listed = re.findall(r"^│ ([a-z]+) ", invoke("--help").stdout.partition("Commands")[2], flags=re.MULTILINE)
    assert set(listed) == {verb[0] for verb in VERBS}


@pytest.mark.parametrize(
    "args",
    [["nope"], ["sweep", "--limit", "0"], ["call", "x"], ["explain"], ["sweep", "--nope"], []],
    ids=str,
)
def test_wrong_usage_exits_with_2(args):
    assert invoke(*args).exit_code == 2


# ---- errors: one line, exit code 1


def wrong(project, name):
    """Command lines that fail, by what is wrong with them."""
    return {
        "no config": ["check", project.root / "nowhere"],
        "call with a broken config": ["call", "labels", "x", "--configs", project.root / "broken"],
        "unknown model": ["explain", "labels", "--models", "zzz", "--configs", project.configs],
        "unknown plan": ["sweep", "nope", "--project", project.root],
        "unknown task": ["sweep", "small", "--task", "nope", "--project", project.root],
        "missing dataset": ["sweep", project.root / "lost.yaml", "--project", project.root],
        "no plan file": ["sweep", project.root / "nope.yaml", "--project", project.root],
        "no notebooks": ["sweep", "small", "--project", project.root],
        "no run": ["report", "nope", "--project", project.root],
        "no run to query": ["query", "select 1", "--run", "nope", "--project", project.root],
        "bad sql": ["query", "selct 1", "--project", project.root],
        "unknown view": ["query", "select * from nowhere", "--project", project.root],
        "sql that writes": ["query", "drop table raw_results", "--project", project.root],
        "unknown local model": ["models", "pull", "nope"],
    }[name]


WRONG = {
    "no config": "no config folder at",
    "call with a broken config": "llm_router.yaml:2: not valid YAML",
    "unknown model": "zzz: no model, code or unique model id",
    "unknown plan": "no sweep plan nope.yaml",
    "unknown task": "plan 'small' has no task 'nope'; it has: labels",
    "missing dataset": "card.yaml: cannot be read",
    "no plan file": "no sweep plan nope.yaml",
    "no notebooks": "01_sweep.ipynb is missing",
    "no run": "is no run folder: plan.json is missing",
    "no run to query": "nope does not exist",
    "bad sql": "syntax error",
    "unknown view": "nowhere does not exist",
    "sql that writes": "read-only",
    "unknown local model": "no local model is named 'nope'",
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_one_line_on_stderr_and_exit_code_1(project, name):
    (project.root / "broken").mkdir(exist_ok=True)
    (project.root / "broken" / "llm_router.yaml").write_text("providers: [")
    (project.root / "lost.yaml").write_text("name: lost\ncandidates: [alpha]\ntasks: {lost: {}}\n")
    result = invoke(*wrong(project, name))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert WRONG[name].lower() in one_line(result.stderr).lower()


def test_a_process_says_an_error_in_one_line_without_a_traceback(project):
    done = in_process("call", "labels", "#500", "--configs", project.configs)
    assert (done.returncode, done.stdout) == (1, "")
    assert "told to fail with 500" in one_line(done.stderr)


def shipped_project(folder):
    """The shipped files with a ledger and reports of the test's own."""
    for name in ("configs", "datasets", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.parametrize(
    ("package", "args", "said"),
    [
        ("duckdb", ["query", "select 1"], 'this verb needs duckdb: pip install "llmbench[lab]"'),
        ("papermill", ["sweep", "small"], 'this verb needs papermill: pip install "llmbench[lab]"'),
        (
            "xllamacpp",
            ["call", "x", "hi"],
            'the engine of the local models is missing: run `pip install "llmbench[local]"`',
        ),
        (
            "xllamacpp",
            ["sweep", "default", "--task", "caption", "--limit", "1", "--run-id", "never"],
            'the engine of the local models is missing: run `pip install "llmbench[local]"`',
        ),
    ],
)
def test_a_missing_extra_is_named(project, tmp_path, package, args, said):
    """The package's import is refused in the process itself, as where it is not installed."""
    if args[0] == "call":
        args = [*args, "--configs", str(ROOT / "configs"), "--models", "smol_free"]
    elif package == "xllamacpp":
        args = [*args, "--project", str(shipped_project(tmp_path))]
    else:
        args = [*args, "--project", str(project.root)]
        if package == "papermill" and not project.notebooks.exists():
            copy_notebooks(project)
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *a: None if name == {package!r} else found(name, *a)\n"
        f"sys.argv = ['llmbench', *{args!r}]\n"
        "from llmbench.cli import main\n"
        "main()\n"
    )
    environment = dict(os.environ, LLMBENCH_CACHE=str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("note: ")]
    assert said in one_line("".join(told))


# ---- verbs that work


def test_explain_says_where_a_call_would_go(project):
    assert (
        "labels -> tier standard -> alpha > beta"
        in invoke("explain", "labels", "--configs", project.configs).stdout
    )
    facts = json.loads(invoke("explain", "labels", "hi", "--configs", project.configs, "--json").stdout)
    assert facts["candidates"] == ["alpha", "beta"]
    assert facts["bodies"]["beta"]["messages"][-1]["content"] == "hi"


def test_call_prints_the_answer_alone_on_stdout(project):
    where = ("--configs", str(project.configs))
    result = invoke("call", "labels", "hi", *where)
    assert result.stdout == '{"label": "praise"}\n'
    assert "alpha · standard" in result.stderr
    facts = json.loads(
        invoke("call", "labels", "hi", "--models", "beta", "--json", "--configs", project.configs).stdout
    )
    assert (facts["model"], facts["usage"]["output_tokens"]) == ("beta", 3)
    piped = CliRunner().invoke(
        app, ["call", "labels", "-", "--configs", str(project.configs)], input="from a pipe"
    )
    assert piped.stdout == '{"label": "praise"}\n'


def test_query_answers_as_a_table_and_as_json(project):
    sql = "select model, n, mean_score from mart_candidates order by model"
    args = ("query", sql, "--run", "done", "--project", project.root)
    table = invoke(*args)
    assert "alpha" in table.stdout
    rows = json.loads(invoke(*args, "--json").stdout)
    assert [(row["model"], row["n"]) for row in rows] == [("alpha", 3), ("beta", 3)]
    wide = ", ".join(f"'{letter * 30}' as {letter * 30}" for letter in "abcdefgh")
    cut = invoke("query", f"select {wide}", "--project", project.root).stdout
    assert all(letter * 30 in cut for letter in "abcdefgh"), "a pipe has no edge to cut columns at"


def test_query_gives_a_terminal_no_commands_that_a_stored_text_holds(project):
    sql = "select chr(27) || '[2J' || chr(8238) || chr(13) || 'x' as \"a\"\"\x1bb\", null as nothing"
    table = invoke("query", sql, "--run", "done", "--project", project.root).stdout
    assert "␛[2J⟨U+202E⟩␍x" in table
    assert not {"\x1b", "\r", "\u202e"} & set(table)
    assert "None" not in table


def test_query_mentions_lines_that_are_no_records(project, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("no json\n")
    result = invoke("query", "select 1 as one", "--log", log, "--project", project.root, "--json")
    assert json.loads(result.stdout) == [{"one": 1}]
    assert "1 lines are no records (first: line 1)" in result.stderr.replace("\n", " ")


def test_check_counts_and_exits_with_what_it_found(project, tmp_path):
    good = json.loads(invoke("check", project.configs, "--json").stdout)
    assert good["ok"] is True
    (tmp_path / "llm_router.yaml").write_text("providrs: {}\n")
    result = invoke("check", tmp_path, "--json")
    assert result.exit_code == 1
    (finding,) = [f for f in json.loads(result.stdout)["findings"] if f["severity"] == "error"]
    assert (finding["path"], finding["line"]) == ("llm_router.yaml", 1)
    assert "did you mean 'providers'?" in invoke("check", tmp_path).stdout


def test_models_are_listed_with_where_they_answer(project):
    rows = json.loads(invoke("models", "list", "--configs", project.configs, "--json").stdout)
    assert [(row["model"], row["tiers"], row["can_be_called"]) for row in rows] == [
        ("alpha", ["standard"], True),
        ("beta", ["standard"], True),
    ]
    assert "alpha-1" in invoke("models", "list", "--configs", project.configs).stdout
    local = json.loads(invoke("models", "status", "--json").stdout)
    assert {row["model"] for row in local} == {"smollm2-135m", "gemma3-270m", "mei-joe", "kokoro"}
    assert invoke("models", "status").exit_code == 0


# ---- the main job as a process


def test_a_sweep_prints_json_for_machines(tmp_path, stub):
    """A plan as a relative path, and kernels that run in another folder than the person's."""
    project = write_project(tmp_path, stub.port, samples=SAMPLES[:5])
    copy_notebooks(project)
    before = stub.count
    args = ("sweep", "configs/sweeps/small.yaml", "--run-id", "r", "--limit", 4, "--json")
    environment = {name: value for name, value in os.environ.items() if name != "LLM_ROUTER_LOG_PATH"}
    done = in_process(*args, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert (said["run_id"], said["calls"], said["cached"], len(said["sentences"])) == ("r", 8, 0, 1)
    assert stub.count - before == 8
    run_dir = project.reports / "r"
    assert {path.name for path in (run_dir / "notebooks").iterdir()} == set(NOTEBOOKS)
    telemetry = read_lines(tmp_path / "workspaces" / "logs" / "llm_usage.jsonl")
    assert [line["run_id"] for line in telemetry] == ["r"] * 8


@pytest.mark.alone
def test_ctrl_c_in_a_sweep_ends_within_two_seconds_with_130_and_one_line(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=SAMPLES, concurrency=2)
    copy_notebooks(project)
    before = stub.count
    command = [sys.executable, "-m", "llmbench.cli", "sweep", "small", "--project", str(project.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while stub.count < before + 20:
            assert process.poll() is None
            time.sleep(0.01)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
        assert time.monotonic() - pressed < 2
    assert (process.returncode, stdout) == (130, "")
    assert one_line(stderr) == "interrupted; what was answered is kept, run it again to go on"
    time.sleep(0.2)
    seen = stub.count - before
    results = sum(line["type"] == "result" for line in read_lines(project.ledger))
    assert results <= seen <= results + 2, "what was paid for is in the ledger, but for the calls in flight"
    run = sweep(project)
    assert (run.cached, run.calls) == (results, 120 - results)


def test_a_notebook_that_fails_ends_the_sweep_in_one_line_that_names_the_kept_copy(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=SAMPLES[:2])
    copy_notebooks(project, changed={"run_sweep(": "1 / 0"})
    done = in_process("sweep", "small", "--run-id", "r", "--project", project.root)
    assert (done.returncode, done.stdout) == (1, "")
    said = one_line(done.stderr)
    assert "ZeroDivisionError: division by zero" in said
    assert said.endswith(f"the copy is {project.reports / 'r' / 'notebooks' / '01_sweep.failed.ipynb'}")


@pytest.mark.slow
def test_the_whole_chain_of_shipped_notebooks_runs_and_replays(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=SAMPLES[:12])
    copy_notebooks(project, is_short=False)
    args = ("sweep", "small", "--project", project.root)
    first = in_process(*args, "--run-id", "live", cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert "24 calls made now, 0 answers from the ledger" in first.stdout
    seen = stub.count
    calls = project.reports / "live" / "calls.jsonl"
    again = in_process(*args, "--run-id", "again", "--replay", calls, "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["cached"] == 24
    assert stub.count == seen
    rows = [(project.reports / name / "results.jsonl").read_text() for name in ("live", "again")]
    assert rows[0] == rows[1].replace('"run_id": "again"', '"run_id": "live"')
    page = project.reports / "live" / "report.html"
    page.unlink()
    result = invoke("report", "live", "--project", project.root, "--json")
    assert json.loads(result.stdout) == {"report": str(page)}
    assert page.is_file()
