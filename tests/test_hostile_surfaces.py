"""More than 500 hostile texts through every place that keeps or shows a text: none acts, none is lost.

A new surface is one more entry of the two tables: VALUES for what a notebook shows, COMMANDS for what the
command line prints; the fixtures hold a log, a run folder and a project in which every text stands somewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from llmbench import LLMClient
from llmbench.analytics.render import render_report
from llmbench.analytics.usage import usage_report
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.datasets.from_log import LogDraw, draft_from_log
from llmbench.bench.datasets.imports import Import, import_file
from llmbench.bench.decide_file import decide_file
from llmbench.bench.labels import Question, as_html
from llmbench.cli import app
from llmbench.errors import LLMBenchError
from llmbench.jsonl import read_jsonl
from llmbench.providers.base import HttpReply
from llmbench.providers.scripted import ScriptedTransport, chat_reply
from llmbench.visible import visible
from tests.hostile_strings import HOSTILE, NAMES, marked
from tests.run_folders import write_run_folder
from tests.shown_html import Shown, require_harmless

SHORT = [text for text in HOSTILE if len(text) <= 300]
#: Texts joined to about thirty chunks, each text on lines of its own between its marks: one page holds all.
CHUNKS = [
    "\n".join(whole for _, whole in list(marked(SHORT))[at : at + 24]) for at in range(0, len(SHORT), 24)
]
CONFIG = {
    "llm_router": {"providers": {"stub": {"base_url": "http://127.0.0.1:9/v1"}}},
    "llm_model_registry": {
        "models": {"a": {"provider": "stub", "model_name": "m-a", "price": {"input": 1, "output": 1}}}
    },
    "llm_tier_candidates": {"tiers": {"standard": ["a"]}},
}


@dataclass(frozen=True)
class Calls:
    """A log in which each hostile text was a prompt, a reply or an error, a task, a channel and a run id."""

    log: Path
    answers: list[Any]
    routes: list[Any]


def write_configs(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> Calls:
    root = tmp_path_factory.mktemp("calls")
    replies = iter(HOSTILE)
    count = iter(range(10**6))

    def answer(_: object) -> HttpReply:
        text, number = next(replies), next(count)
        if number % 5 == 4:
            failed = {"error": {"message": text, "code": text[:200], "type": text[:80], "param": text[:80]}}
            return HttpReply(
                (400, 401, 404, 422)[number % 4], {"x-request-id": "r"}, json.dumps(failed).encode()
            )
        return chat_reply(text)

    answers, routes = [], []
    options = {"log_path": root / "log.jsonl", "variables": {"LLM_ROUTER_LOG_CONTENT": "1"}}
    configs = write_configs(root / "configs", CONFIG)
    with LLMClient(configs, transport=lambda: ScriptedTransport(answer), **options) as client:
        for text in HOSTILE:
            name = text[:300] or "x"
            try:
                answers.append(client.call(name, text or "x", channel=name, run_id=name, routing_key=name))
            except LLMBenchError as error:
                answers.append(error)
        routes = [client.explain(text, text, channel=text) for text in SHORT[::7]]
    return Calls(root / "log.jsonl", answers, routes)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    folder = write_run_folder(tmp_path_factory.mktemp("run"), samples=len(CHUNKS), plant=CHUNKS)
    render_report(folder.run_dir)
    return folder.run_dir


# ---- telemetry


def test_every_call_is_a_line_that_is_read_back_whole(calls):
    lines = list(read_jsonl(calls.log))
    assert [line.reason for line in lines if line.record is None] == []
    assert len(lines) == len(HOSTILE)
    for line, text in zip(lines, HOSTILE, strict=True):
        assert line.record["messages"][0]["content"] in (text, text or "x") or "***" in json.dumps(
            line.record
        )
    with open_warehouse(telemetry=[calls.log]) as warehouse:
        assert warehouse.rows("select * from quarantine") == []
        found = usage_report(warehouse)
        assert found.whole["calls"] == len(HOSTILE)
        for text in SHORT[::9]:
            task = text[:300].encode("utf-16", "surrogatepass").decode("utf-16", "replace") or "x"
            rows = warehouse.rows("select count(*) as n from stg_calls where task = $task", {"task": task})
            assert rows[0]["n"] >= 1 or "***" in task, repr(task)


def test_a_failure_is_a_typed_error_of_one_line_that_a_terminal_can_be_given(calls):
    failed = [each for each in calls.answers if isinstance(each, LLMBenchError)]
    assert len(failed) >= len(HOSTILE) // 5
    for error in failed:
        assert "\n" not in visible(str(error)) or "\n" in str(error)
        assert repr(error)


# ---- what a notebook shows


VALUES: dict[str, Callable[[Calls], list[Any]]] = {
    "response": lambda calls: [each for each in calls.answers if not isinstance(each, Exception)],
    "route": lambda calls: calls.routes,
}


@pytest.mark.parametrize("name", VALUES)
def test_what_a_notebook_shows_of_a_call_does_nothing(calls, name):
    values = VALUES[name](calls)
    shown = [value._repr_html_() for value in values]
    require_harmless("".join(shown))
    allowed = set().union(*(Shown(each).tags for each in shown[:3]))
    for text in shown:
        assert Shown(text).tags <= allowed | {"details", "summary", "ul", "li", "table", "td"}


def test_a_reply_stands_in_its_page_as_it_came(calls):
    answers = [each for each in calls.answers if not isinstance(each, Exception) and len(each.text) < 300]
    for each in answers:
        require_harmless(each._repr_html_(), [("reply", each.text)])


def test_a_question_to_a_person_shows_both_answers_and_does_nothing():
    for at in range(len(CHUNKS) - 2):
        texts = CHUNKS[at : at + 3]
        page = as_html(Question(1, 2, SHORT[at], texts[0], texts[1], texts[2]))
        require_harmless(page, [(str(n), text) for n, text in enumerate(texts)])


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, about DuckDB's own use of it
def test_a_decision_shows_hostile_names_as_text(run_dir, tmp_path):
    """A ">" in a name would be a chain to this verb; what opens a tag or ends a text is still there."""
    rows = [json.loads(line) for line in (run_dir / "results.jsonl").read_text().splitlines()]
    kept = [
        {**row, "prompt": "", "output": "", "target": "", "model": row["model"].replace(">", "")}
        for row in rows
        if row["task"] == rows[0]["task"]
    ]
    table = tmp_path / "table.jsonl"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    table.write_text(lines, encoding="utf-8", errors="replace")
    decided = decide_file(table, reference=kept[0]["model"])
    assert "<input onfocus" in kept[0]["model"]
    for decision in decided.values():
        require_harmless(decision._repr_html_())
        assert visible(str(decision)) == str(decision)


# ---- pages


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """The same run without a stranger's text."""
    folder = write_run_folder(tmp_path_factory.mktemp("clean"), samples=len(CHUNKS)).run_dir
    render_report(folder)
    return folder


@pytest.mark.parametrize("name", ["report.html", "report.ja.html"])
def test_the_report_holds_every_text_and_is_made_of_nothing_but_its_template(run_dir, clean, name):
    page, plain = ((folder / name).read_text(encoding="utf-8") for folder in (run_dir, clean))
    hostile, usual = Shown(page), Shown(plain)
    assert [each for each in hostile.wrong if each not in usual.wrong] == []
    assert hostile.names - usual.names == set()
    assert visible(page) == page
    flat = " ".join(hostile.text.split())
    lost = [mark for mark, text in marked(SHORT) if " ".join(visible(text).split()) not in flat]
    assert lost == []


@pytest.mark.parametrize("name", ["summary.md", "summary.ja.md", "report.md", "report.ja.md"])
def test_markdown_for_a_pull_request_holds_no_link_image_mention_or_html_of_a_stranger(run_dir, clean, name):
    text = (run_dir / name).read_text(encoding="utf-8")
    found, usual = markdown_tokens(text), markdown_tokens((clean / name).read_text(encoding="utf-8"))
    assert found["html"] - usual["html"] <= {"<!-- -->"}  # what keeps a host from reading a mention
    assert found["links"] == []
    assert len(found["fences"]) == len(usual["fences"])
    assert not re.search(r"(?<![\\\w])@[a-z]", text)
    assert visible(text) == text


def markdown_tokens(text: str) -> dict[str, Any]:
    """The HTML, the links with images, and the code blocks that a host makes of a Markdown text."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    flat = [child for token in tokens for child in (token.children or [token])]
    return {
        "html": {each.content.strip() for each in flat if each.type in ("html_block", "html_inline")},
        "links": [each.content for each in flat if each.type in ("link_open", "image")],
        "fences": [each.content for each in flat if each.type == "fence"],
    }


def test_no_file_is_written_outside_of_the_run_folder(run_dir):
    assert {path.name for path in run_dir.parents[1].iterdir()} <= {"reports", "workspaces"}
    assert {path.name for path in run_dir.parent.iterdir()} <= {run_dir.name}


# ---- the command line


def printed(*words: str, is_text: bool = True) -> str:
    ran = CliRunner().invoke(app, list(words))
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    assert ran.exit_code in (0, 1, 2), ran.output[-500:]
    wrong = [char for char in ran.output if is_text and visible(char) != char]
    assert wrong == [], f"{words[:2]}: {sorted(set(wrong))!r} reached the terminal"
    return ran.output


COMMANDS = {
    "usage": lambda calls: ("usage", "--log", str(calls.log), "--top", "800"),
    "query": lambda calls: (
        "query",
        "select task, channel, error, run_id from stg_calls",
        "--log",
        str(calls.log),
    ),
    "query csv": lambda calls: (
        "query",
        "select task, error, latency_ms from stg_calls",
        "--log",
        str(calls.log),
        "--csv",
    ),
    "query json": lambda calls: (
        "query",
        "select task, error from stg_calls",
        "--log",
        str(calls.log),
        "--json",
    ),
    "verify": lambda calls: ("telemetry", "verify", "--log", str(calls.log)),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_to_the_terminal_is_printed_and_no_markup_is_read(calls, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    is_data = name == "query csv"  # into a pipe it is data, character by character
    said = printed(*COMMANDS[name](calls), is_text=not is_data)
    assert said
    if name in ("usage", "query"):
        assert "[red]x[/red]" in said
        assert "[link=https://evil.example]x[/link]" in said


def test_a_hostile_word_on_the_command_line_is_an_answer_or_one_plain_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_configs(tmp_path / "configs", CONFIG)
    for text in [each for each in NAMES if "\x00" not in each and not each.startswith("-")][::70]:
        if any("\ud800" <= char <= "\udfff" for char in text):
            continue
        printed("explain", text, text)
        printed("decide", text, "--reference", text)


# ---- files that people name


@pytest.mark.parametrize("kind", ["run id", "dataset", "model key"])
def test_a_name_stays_in_its_folder_or_is_refused(kind, tmp_path):
    from llmbench.bench.datasets.draft import check_name
    from llmbench.bench.plan import checked_run_id

    check = {"run id": checked_run_id, "dataset": check_name, "model key": checked_run_id}[kind]
    (tmp_path / "in").mkdir()
    for text in NAMES:
        try:
            name = check(text)
        except LLMBenchError:
            continue
        assert (tmp_path / "in" / name).resolve().parent == (tmp_path / "in").resolve()
        assert re.fullmatch(r"[\w.-]+", name, re.ASCII)


def test_a_config_with_hostile_names_loads_and_explains_or_is_refused(tmp_path):
    said = []
    for number, text in enumerate(NAMES[::6]):
        if any("\ud800" <= char <= "\udfff" for char in text):
            continue
        model = {"provider": text, "model_name": text}
        files = {
            "llm_router": {"providers": {text: {"base_url": "http://127.0.0.1:9/v1"}}},
            "llm_model_registry": {"models": {text: model}},
            "llm_tier_candidates": {"tiers": {text: [text], "standard": [text]}},
            "llm_tier_mapping": {"tasks": {text: text}},
        }
        configs = write_configs(tmp_path / f"c{number}", files)
        try:
            with LLMClient(configs, variables={}, log_path=None) as client:
                require_harmless(client.explain(text, text)._repr_html_())
        except LLMBenchError as error:
            said.append(str(error))
    assert all(each.strip() for each in said)


# ---- datasets


def test_a_log_becomes_a_dataset_whose_files_stay_in_its_folder(calls, tmp_path):
    from llmbench.bench.datasets.draft import write_dataset

    lines = [line.record for line in read_jsonl(calls.log)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({**line, "task": "caption"}) + "\n" for line in lines))
    draft = draft_from_log([log], LogDraw(task="caption", n=2_000, name="drawn", near=1.1))
    write_dataset(draft, tmp_path / "datasets" / "drawn")
    assert len(draft.rows) > 300
    assert {path.name for path in (tmp_path / "datasets").iterdir()} == {"drawn"}


def test_a_file_of_hostile_samples_is_imported(tmp_path):
    path = tmp_path / "samples.jsonl"
    rows = [
        {"id": f"s{at}", "input": text, "target": text} for at, text in enumerate(HOSTILE) if text.strip()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = import_file(path, Import("made", "t"))
    assert len(made.draft.rows) + len(made.skipped) == len(rows)
    assert len(made.draft.rows) > 500
