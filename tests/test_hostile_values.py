"""Hostile texts in every value that a notebook shows, and one page of all of them in a real browser."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import nbformat
import pytest

from llmbench import LLMClient
from llmbench.analytics.comparison import compare
from llmbench.analytics.render import render_report
from llmbench.analytics.traffic import open_traffic
from llmbench.analytics.traffic_report import page_text
from llmbench.analytics.verification import verify
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.applied import Applied
from llmbench.bench.decision_log import Entry, Moved
from llmbench.bench.notebook_matrix import MatrixRow, MatrixRun
from llmbench.bench.planning import forecast_sweep
from llmbench.bench.recommendation import Recommendation
from llmbench.cli_telemetry_report import telemetry_report
from llmbench.media import Image, ImageResponse, Piece, SpeechResponse
from llmbench.messages import Response
from llmbench.providers.scripted import ScriptedTransport, chat_reply
from llmbench.visible import visible
from tests.applying import make_project
from tests.hostile_strings import MARK
from tests.run_folders import write_run_folder
from tests.shown_html import Shown, require_harmless
from tests.sweep_project import ROOT, frozen_plan, open_project_client, write_project
from tests.test_hostile_surfaces import CHUNKS, CONFIG, calls, write_configs  # noqa: F401 - a fixture
from tests.test_report_browser import Visit, browser  # noqa: F401 - a fixture is used by its name

PIXEL = b"\x89PNG\r\n\x1a\n"


def renamed(value: Any, names: dict[str, str]) -> Any:
    """The same data with other names wherever one of them is the whole text."""
    if isinstance(value, dict):
        return {renamed(key, names): renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def media_values(text: str, client: LLMClient) -> list[Any]:
    """A picture and a narration of a call in which the text was the prompt, the reply and every name."""
    made = client.call(text[:200], text, channel=text[:200], run_id=text[:200])
    known = {each.name: getattr(made, each.name) for each in dataclasses.fields(Response)}
    image = Image(PIXEL, "image/png", 1, 1, revised_prompt=text, path=Path(text))
    spoken = Piece(0, text, 0.0, 1.0, 24_000)
    return [
        image,
        dataclasses.replace(image, data=PIXEL * 2**20),
        ImageResponse(**known, images=(image,), safety={text: text}),
        SpeechResponse(**known, audio=b"RIFF", mime="audio/wav", pieces=(spoken,)),
        SpeechResponse(**known, path=Path(text)),
    ]


def plan_values(text: str, plan: Any, forecast: Any) -> list[Any]:
    task = dataclasses.replace(plan.tasks[0], task=text, tier=text, chain=(text,), arms=((text, text),))
    tasks = []
    for each in forecast.tasks:
        rows = [
            dataclasses.replace(
                row, task=text, model=text, provider=text, lane=text, unknown=text, basis=(text,)
            )
            for row in each.rows
        ]
        named = {"task": text, "reference": text, "candidates": (text, text), "rows": tuple(rows)}
        tasks.append(dataclasses.replace(each, **named))
    counted = dataclasses.replace(forecast.calls, rows=tasks[0].rows)
    return [
        dataclasses.replace(plan, tasks=(task,), notices=(text,)),
        dataclasses.replace(forecast, name=text, tasks=tuple(tasks), calls=counted, refusal=text),
    ]


def applied(text: str) -> Applied:
    entry = Entry(
        id="20261129T120000Z-1",
        when="2026-11-29T12:00:00Z",
        by=text,
        reason=text,
        action="apply",
        undoes=None,
        run_id=text,
        recommendation_sha256="a" * 64,
        evidence_sha256=None,
        moves=(Moved(text, text, text, text, text, sentence=text),),
        files=((text, None, None),),
        diff=text,
    )
    return Applied(entry, notes=(text,), is_written=True)


def row_of(parameters: dict[str, Any], status: Any, **facts: Any) -> MatrixRow:
    return MatrixRow("a-b", parameters, status, "c" * 64, **facts)


@pytest.fixture(scope="module")
def shown(tmp_path_factory, calls) -> dict[str, list[str]]:
    """What a notebook shows of each kind of value, for texts that hold all the hostile ones."""
    root = tmp_path_factory.mktemp("values")
    found: dict[str, list[str]] = {}

    def keep(kind: str, value: Any) -> None:
        found.setdefault(kind, []).append(value._repr_html_())

    replies = ScriptedTransport(lambda request: chat_reply(request.body["messages"][-1]["content"]))
    configs = write_configs(root / "configs", CONFIG)
    project = write_project(root / "project", 9)
    with (
        LLMClient(configs, transport=lambda: replies, log_path=None, variables={}) as client,
        open_project_client(project) as planner,
    ):
        plan = frozen_plan(project, planner)
        forecast = forecast_sweep(plan, planner, root / "none.jsonl")
        for text in CHUNKS:
            for value in media_values(text, client):
                keep(f"media {type(value).__name__}", value)
            for value in plan_values(text, plan, forecast):
                keep(type(value).__name__, value)
            keep("applied", applied(text))
            rows = (
                row_of({text: text}, "ok", copy="a b'.ipynb", duration_s=1.0),
                row_of({text: [text, {text: text}]}, "failed", error=text),
            )
            keep("matrix", MatrixRun(Path("in.ipynb"), root, rows))
    changed = make_project(root / "applying")
    with open_warehouse(telemetry=[calls.log]) as warehouse:
        for text in CHUNKS[::6]:
            facts = renamed(changed.facts(), dict.fromkeys(("extract", "caption"), text))
            for task in facts["tasks"]:
                task["sentence"] = text
            facts |= {"notes": [text], "diff": text, "judge": {"uncalibrated_tasks": [text]}}
            keep("recommendation", Recommendation(facts))
    with open_warehouse(telemetry=[calls.log]) as warehouse:
        keep("verification", verify(changed.recommendation, warehouse))
    planted = write_run_folder(root / "run", samples=len(CHUNKS), plant=CHUNKS).run_dir
    keep("comparison", compare(planted))
    with open_traffic(log=str(calls.log)) as traffic:
        keep("traffic", traffic)
        for table in (traffic.usage(), traffic.errors(), traffic.fallbacks(), traffic.endings()):
            keep("traffic tables", table)
        for draw in (traffic.draw_costs, traffic.draw_latency, traffic.draw_errors, traffic.draw_fallbacks):
            found.setdefault("traffic figures", []).append(draw()._repr_svg_() or "")
    return found


def test_no_value_acts_and_none_hides_its_texts(shown):
    wrong = {}
    for kind, pages in shown.items():
        for page in pages:
            seen = Shown(page, may_link=True)
            faults = [fault for fault in seen.wrong if not fault.startswith(("<audio>", "<style>"))]
            if faults or visible(page) != page:
                wrong[kind] = (faults or "a control character")[:3]
    assert wrong == {}
    assert len(shown) >= 12


@pytest.mark.parametrize("kind", ["Plan", "SweepForecast", "applied", "matrix"])
def test_every_hostile_text_is_in_what_is_shown(shown, kind):
    page = "".join(shown[kind])
    require_harmless(page, [(chunk[:40], chunk) for chunk in CHUNKS], may_link=True)


def test_the_words_of_a_value_give_a_terminal_no_command(shown, calls):
    for text in CHUNKS:
        value = applied(text)
        assert visible(str(value)) == str(value)
        run = MatrixRun(Path("in.ipynb"), Path(), (row_of({text: text}, "failed", error=text),))
        assert visible(str(run)) == str(run)


def test_a_forecasts_chart_is_a_picture_of_text(tmp_path):
    project = write_project(tmp_path, 9)
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
        forecast = forecast_sweep(plan, client, tmp_path / "none.jsonl")
    for text in CHUNKS:
        svg = plan_values(text, plan, forecast)[1].chart()
        assert {each.tag.rpartition("}")[2] for each in ET.fromstring(svg).iter()} <= {  # noqa: S314 - our own SVG
            *("svg", "style", "title", "desc", "g", "path", "line", "rect", "circle", "text", "tspan"),
            *("polyline", "polygon", "clipPath", "defs"),
        }


def test_a_page_of_a_notebook_keeps_texts_and_takes_out_what_acts():
    for text in CHUNKS:
        outputs = [
            nbformat.v4.new_output("stream", name="stdout", text=text),
            nbformat.v4.new_output("display_data", {"text/html": text, "text/plain": text}),
            nbformat.v4.new_output("display_data", {"text/plain": text}),
            nbformat.v4.new_output("error", ename=text[:90], evalue=text, traceback=[text]),
        ]
        cells = [
            nbformat.v4.new_markdown_cell(text),
            nbformat.v4.new_code_cell("1", outputs=outputs),
        ]
        page = page_text(nbformat.v4.new_notebook(cells=cells), title=text[:90])
        seen = Shown(page, may_link=True)
        head = {"<meta>"}
        assert [each for each in seen.wrong if each not in head and "<meta" not in each] == []
        assert not re.search(
            r"<(script|iframe|img|object|embed|form|link|base)\b", page.partition("<body")[2]
        )


@pytest.mark.slow
def test_the_telemetry_report_of_hostile_calls_acts_nowhere(calls, tmp_path):
    page = telemetry_report(tmp_path, log=str(calls.log), notebook=ROOT / "notebooks" / "05_telemetry.ipynb")
    text = page.read_text(encoding="utf-8")
    assert [each for each in Shown(text).wrong if "<meta" not in each] == []
    assert not re.search(r"<(script|iframe|img|object|embed|form|link|base)\b", text.partition("<body")[2])
    assert visible(text) == text


@pytest.mark.browser
def test_one_page_of_all_values_runs_nothing_loads_nothing_and_says_nothing(shown, browser, tmp_path):
    """Without any policy: what holds here is the escaping alone."""
    body = "".join(page for pages in shown.values() for page in pages)
    whole = f"<!doctype html><meta charset=utf-8><title>all</title><body>{body}<p id=end>the end</p>"
    (tmp_path / "all.html").write_text(whole, encoding="utf-8")
    with Visit(browser, tmp_path / "all.html") as visit:
        visit.page.wait_for_timeout(200)
        require_silence(visit)
        assert visit.page.locator("body > #end").count() == 1
        assert MARK in visit.page.evaluate("document.body.textContent")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["report.html", "report.ja.html"])
def test_a_report_of_all_texts_runs_nothing_loads_nothing_and_says_nothing(browser, tmp_path, name):
    folder = write_run_folder(tmp_path, samples=len(CHUNKS), plant=CHUNKS).run_dir
    render_report(folder, languages=["ja" if ".ja." in name else "en"])
    with Visit(browser, folder / name) as visit:
        visit.poke()
        require_silence(visit)


def require_silence(visit: Visit) -> None:
    page = visit.page
    assert page.evaluate(f"document.documentElement.dataset.{MARK}") is None
    assert page.evaluate("window.__pwned") == []
    assert visit.said == []
    asked = {url.partition("#")[0] for url in visit.asked if not url.startswith("data:")}
    assert asked == {visit.url}
    assert page.evaluate("document.scripts.length") == 0
    assert page.url.partition("#")[0] == visit.url
