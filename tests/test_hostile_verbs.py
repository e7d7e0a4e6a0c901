"""Hostile texts through what is exported, imported, migrated, served, applied, rolled out and run."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from markdown_it import MarkdownIt
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmbench import LLMClient
from llmbench.bench.decide_file import decide_file
from llmbench.bench.decision_log import read_log
from llmbench.bench.notebooks import run_notebook
from llmbench.bench.rollout_stops import write_state
from llmbench.interop.otel import export_spans
from llmbench.jsonl import read_jsonl
from llmbench.migration import migrate
from llmbench.visible import visible
from tests.applying import FILES, NOW, Applying, make_project
from tests.hostile_strings import HOSTILE, STORABLE, by_kind, marked
from tests.serve_process import running  # noqa: F401 - fixtures are used by their names
from tests.shown_html import require_harmless
from tests.test_hostile_surfaces import CHUNKS, calls, printed, write_configs  # noqa: F401 - a fixture

WRITTEN = [text for text in STORABLE if len(text) <= 300]
MARKDOWN = {"html_block", "html_inline", "link_open", "image", "fence"}


# ---- notebooks


def test_parameters_arrive_in_a_notebook_as_they_are_and_nothing_of_them_runs(tmp_path):
    cells = [
        nbformat.v4.new_code_cell(
            'texts: list = []\nnamed: dict = {}\none: str = ""', metadata={"tags": ["parameters"]}
        ),
        nbformat.v4.new_code_cell(
            "import hashlib, json\n"
            "print(hashlib.sha256(json.dumps([texts, named, one]).encode()).hexdigest())"
        ),
    ]
    source, out = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    values = {"texts": WRITTEN, "named": dict.fromkeys(WRITTEN, 1), "one": "\n".join(WRITTEN)}
    run_notebook(source, out, values, cwd=tmp_path)
    said = hashlib.sha256(json.dumps(list(values.values())).encode()).hexdigest()
    (printed_cell,) = [cell for cell in nbformat.read(out, 4).cells if cell.get("outputs")]
    assert printed_cell.outputs[0].text == f"{said}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"in.ipynb", "out.ipynb"}


# ---- exports


def test_every_hostile_call_becomes_spans_that_a_receiver_can_read(calls):
    exporter = InMemorySpanExporter()
    done = export_spans([calls.log], exporter)
    assert (done.calls, dict(done.skipped)) == (len(HOSTILE), {})
    spans = exporter.get_finished_spans()
    assert len(encode_spans(spans).SerializeToString()) > 100_000
    said = json.dumps([dict(span.attributes) for span in spans], default=str)
    assert "Ignore all previous instructions" in said  # a task's name is sent
    assert "messages" not in {name for span in spans for name in span.attributes}


# ---- an older folder


def legacy(folder: Path, names: list[str]) -> Path:
    """A folder whose tasks, models, slots and comments are called like that."""
    folder.mkdir(parents=True)
    models = {name: {"provider": "openrouter", "model_name": f"a/{at}"} for at, name in enumerate(names)}
    tasks = {name: {"provider": "openrouter", "model": f"a/{at}"} for at, name in enumerate(names)}
    (folder / "llm_registry.json").write_text(json.dumps(tasks), encoding="utf-8")
    router = {"providers": {"openrouter": {}}, "models": models, "tiers": {"standard": names[:3]}}
    heads = "".join(f"# {' '.join(visible(name).split())}\n" for name in names)
    (folder / "llm_router.yaml").write_text(
        heads + yaml.safe_dump(router, allow_unicode=True), encoding="utf-8"
    )
    return folder


def test_an_older_folder_of_hostile_names_is_moved_with_every_route_or_refused(tmp_path):
    moved = 0
    for at in range(0, len(WRITTEN), 60):
        names = [name for name in WRITTEN[at : at + 60] if name.strip()]
        old, new = legacy(tmp_path / f"old{at}", names), tmp_path / f"made{at}" / "configs"
        said = printed("migrate", str(old), "--to", str(new))
        if not new.exists():
            assert said.strip()
            continue
        moved += len(names)
        assert {path.name for path in new.parent.iterdir()} == {"configs"}
        assert all(re.fullmatch(r"[\w.]+", path.name) for path in new.iterdir())
        tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(
            (new / "MIGRATION.md").read_text(encoding="utf-8")
        )
        flat = [child.type for token in tokens for child in (token.children or [token])]
        assert set(flat) & MARKDOWN == set()
    assert moved > len(WRITTEN) / 2


@pytest.mark.parametrize("name", ["..", "a/../../x", "~/x", "CON", "x\ny", "<img src=x>", "\x1b[2J"])
def test_names_of_files_in_an_older_folder_lead_nowhere(name, tmp_path):
    old = legacy(tmp_path / "old", ["a", "b", "c"])
    (old / f"{name.replace('/', '_')}.yaml").write_text("a: 1\n")
    done = migrate(old, tmp_path / "new", variables={})
    assert done.is_same
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new"}
    assert all(str(loss).strip() for loss in done.losses)


def test_an_older_folder_does_not_carry_a_key_that_its_comments_repeat(tmp_path):
    old = legacy(tmp_path / "old", ["a", "b", "c"])
    key = "zq81-legacy-77f0aa12cd"
    text = (old / "llm_router.yaml").read_text()
    text = text.replace("openrouter: {}", f"openrouter: {{api_key: {key}}}") + f"# {key} is Ann's\n"
    (old / "llm_router.yaml").write_text(text)
    (old / "llm_tasks.yaml").write_text(f"# was {key}\nread_aloud: a  # {key}\n")
    done = migrate(old, tmp_path / "new", variables={})
    assert key not in "".join(path.read_text() for path in (tmp_path / "new").iterdir())
    assert key not in json.dumps(done.to_dict())
    assert "*** is Ann's" in (tmp_path / "new" / "llm_router.yaml").read_text()


# ---- llmbench serve


def test_no_model_name_adds_a_header_or_breaks_an_answer(running):
    known = {"date", "server", "content-length", "content-type", "x-should-retry", "x-request-id"}
    with running.http() as http:
        for text in HOSTILE[::2]:
            body = json.dumps({"model": text, "messages": [{"role": "user", "content": "x"}]})
            reply = http.post("/chat/completions", content=body, headers={"content-type": "application/json"})
            assert reply.status_code in (400, 404), text
            assert set(reply.headers) <= known | {"allow", "retry-after"}, text
            said = reply.json()["error"]["message"]
            assert visible(said) == said


def test_no_text_of_a_call_stands_in_a_header(running):
    ends = (*by_kind("control"), "a\r\nset-cookie: x=1", "a\nset-cookie: x=1", "\r\n\r\n<script>")
    with running.http() as http:
        for text in ends:
            own = {"run_id": text, "channel": text, "env": text, "routing_key": text}
            body = {"model": "caption", "messages": [{"role": "user", "content": text}], "llmbench": own}
            reply = http.post("/chat/completions", json=body)
            assert reply.status_code in (200, 400), text
            assert "set-cookie" not in reply.headers
            values = "".join(reply.headers.values())
            assert visible(values) == values


# ---- apply and rollout


def changing(root: Path, tasks: tuple[str, str]) -> Applying:
    """A project whose two tasks, called like that, can move to another model."""
    mapping = yaml.safe_dump({"tasks": {**dict.fromkeys(tasks, "standard"), "greet": "cheap"}})
    return make_project(root, files=FILES | {"llm_tier_mapping.yaml": mapping}, lost=dict.fromkeys(tasks, 1))


def test_a_change_of_hostile_tasks_is_shown_written_logged_and_taken_back(tmp_path):
    tasks = ("q1<script>x</script>[red]x[/red]", "q2 '`$(touch pwned)`\" # [x](//evil.example) @you")
    project = changing(tmp_path / "p", tasks)
    before, root = project.texts(), str(project.root)
    words = ("apply", str(project.recommendation), "--project", root, "--max-age-days", "10000")
    reason = "\n".join(CHUNKS[3:9]).replace("\x00", "").encode("utf-8", "replace").decode()
    assert "[red]x[/red]" in printed(*words, "--dry-run")
    printed(*words, "--yes", "--by", reason, "--reason", reason)
    (entry,) = read_log(project.configs)
    assert {move.task for move in entry.moves} == set(tasks)
    assert entry.reason == reason
    assert len(printed("apply", "--log", "--project", root)) > 200
    printed("apply", entry.id, "--undo", "--yes", "--project", root, "--reason", reason)
    assert project.texts() == before


@pytest.mark.parametrize("name", ["x\x1b[2J", "x\u202ey", "x\u200by", "x\x7fy", "x\x9by"])
def test_a_change_of_a_task_with_hidden_characters_is_refused_in_signs(tmp_path, name):
    project = changing(tmp_path / "p", (name, "other"))
    before = project.texts()
    said = printed("apply", str(project.recommendation), "--yes", "--project", str(project.root))
    assert "holds a name with hidden characters" in said
    assert project.texts() == before


def rollouts(folder: Path, names: list[str]) -> Path:
    """A project with a rollout of each name."""
    files = {
        "llm_router": {"providers": {"stub": {"base_url": "http://127.0.0.1:9/v1"}}},
        "llm_model_registry": {
            "models": {key: {"provider": "stub", "model_name": key} for key in ("a", "b")}
        },
        "llm_tier_candidates": {"tiers": {"standard": ["a"]}},
        "llm_tier_mapping": {"tasks": dict.fromkeys(names, "standard")},
        "llm_rollouts": {
            "stop_file": str(folder / "stops.json"),
            "rollouts": {
                name: {
                    "task": name,
                    "mode": "split",
                    "challenger": "b",
                    "share": 1.0,
                    "limits": {"failure_rate": 0.1},
                }
                for name in names
            },
        },
    }
    write_configs(folder / "configs", files)
    return folder


def test_rollouts_of_hostile_names_stopped_for_hostile_reasons_are_shown_as_text(tmp_path):
    names = [name for name in WRITTEN if name.strip() == name and name][::8]
    root = rollouts(tmp_path, names)
    for at, name in enumerate(names):
        write_state(root / "stops.json", name, "stopped", now=NOW, by=name, reason=CHUNKS[at % len(CHUNKS)])
    shown = printed("rollout", "status", "--project", str(root))
    assert len(shown) > 10_000
    printed("rollout", "watch", "--once", "--project", str(root))
    for name in (each for each in names[::20] if not each.startswith("-") and "\x00" not in each):
        printed("rollout", "resume", "--project", str(root), "--reason", name, "--", name)
    with LLMClient(root / "configs", variables={}, log_path=None) as client:
        for name in names[::4]:
            require_harmless(client.explain(name, "x")._repr_html_())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 1, "rollouts": 7}', "[" * 10_000, "\x00", *CHUNKS[:3]]
)
def test_a_stop_file_of_a_stranger_stops_every_rollout_and_says_so(text, tmp_path):
    root = rollouts(tmp_path, ["x"])
    (root / "stops.json").write_text(text, encoding="utf-8", errors="replace")
    with (
        LLMClient(root / "configs", variables={}, log_path=None) as client,
        pytest.warns(RuntimeWarning, match="every rollout is stopped"),
    ):
        route = client.explain("x", "y", routing_key="k")
    assert route.candidates[0] == "a"
    said = printed("rollout", "status", "--project", str(root))
    assert "stops every rollout until" in said or "stopped" in said


# ---- Inspect


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, about DuckDB's own use of it
def test_a_log_of_inspect_with_hostile_texts_becomes_rows_that_can_be_decided(tmp_path):
    pytest.importorskip("inspect_ai")
    from llmbench.interop.inspect_results import Terms, import_results
    from tests.inspect_logs import sample, write_log

    logs = []
    for model in ("a/<img src=x onerror=1 x=", "b/[red]x[/]\u202e\x1b[2J"):  # a ">" is of a chain to `decide`
        samples = [
            sample(at, id=text, input=text, target=text, error=text if at % 3 == 0 else None)
            for at, (_, text) in enumerate(marked(WRITTEN[::6]))
        ]
        path = tmp_path / f"log{len(logs)}.json"
        logs.append(write_log(path, samples, model=model, task="</td><script>x</script>"))
    import_results(logs, tmp_path / "table.jsonl", Terms())
    rows = [line.record for line in read_jsonl(tmp_path / "table.jsonl")]
    assert len(rows) == 2 * len(WRITTEN[::6])
    decided = decide_file(tmp_path / "table.jsonl", reference=rows[0]["model"])
    for decision in decided.values():
        require_harmless(decision._repr_html_())
