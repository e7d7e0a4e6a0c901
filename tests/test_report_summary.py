"""The summary for a pull request: short, never over the host's limit, and safe from what strangers chose."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmbench.analytics.json_objects import as_object
from llmbench.analytics.story import Story, read_story
from llmbench.analytics.summary import MOST_CHARACTERS, render_summary
from llmbench.analytics.task_story import LanguageRow
from llmbench.analytics.warehouse import open_warehouse
from llmbench.display.language import speaking
from llmbench.visible import visible
from tests.test_render import PAYLOADS

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"
GITHUB_LIMIT = 65_536
COMMANDS = ["llmbench sweep default", "llmbench report example"]
HOSTILE = (
    *PAYLOADS,
    "closes #1",
    "fixes octo/repo#12 and GH-7",
    "@everyone @org/team",
    "</details><script>alert(1)</script>",
    "a\n\n# heading\n```\ncode",
    "| a | b |",
    "https://evil.invalid/x http://evil.invalid www.evil.invalid",
    "`tick` ``two`` $math$ \\# \\@me",
)
NAMES = st.sampled_from(HOSTILE) | st.text(max_size=40)


@cache
def read_example() -> Story:
    with open_warehouse(run_dirs=[EXAMPLE]) as warehouse:
        return read_story(EXAMPLE, warehouse)


@pytest.fixture
def story() -> Story:
    return read_example()


def html_of(summary: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(summary)


def texts_of(html: str) -> list[str]:
    """The pieces of text outside of code, where the host looks for names; a comment parts them."""
    outside = re.sub(r"<(pre|code)\b.*?</\1>", "<code>", html, flags=re.DOTALL)
    return [re.sub("&lt;|&gt;|&quot;|&amp;", "?", piece) for piece in re.split("<[^>]*>", outside)]


def planted(story: Story, name: str, diff: str | None = None) -> Story:
    """The same story with a stranger's text wherever one can stand."""
    tasks = [
        replace(
            task,
            name=name,
            tier=name,
            why_not=name,
            sentence=name,
            facts=as_object({**task.facts, "reference": name, "proposed_model": name, "proposed_tier": name}),
        )
        for task in story.tasks
    ]
    decided = as_object({**story.recommendation, "diff": name if diff is None else diff})
    return replace(
        story, run_id=name, headline=name, warnings=[name], notes=[name], tasks=tasks, recommendation=decided
    )


def test_the_summary_tells_moves_verdicts_intervals_and_the_diff(story):
    text = render_summary(story, COMMANDS)
    assert text.startswith("## Tier report: example\n\n**2 of 6 tasks can move to a cheaper model.**")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 6
    move = r"| fact\_extract | cheap / smol\_json | cheap / **gemma\_free** | +23.3 (−2.1 to +41.0) |"
    assert rows[1].startswith(move)
    assert rows[1].endswith("| **Move** |")
    assert "```diff\ndiff --git a/configs/llm_task_overrides.yaml" in text
    assert "+    models: [az_gpt_6_luna" in text
    assert "```sh\nllmbench sweep default\nllmbench report example\n```" in text


def test_a_normal_run_fits_one_screen_before_what_is_folded(story):
    shown = re.sub(r"<details>.*?</details>", "", render_summary(story, COMMANDS), flags=re.DOTALL)
    assert len([line for line in shown.splitlines() if line]) <= 12


def test_the_summary_is_folded_soundly(story):
    html = html_of(render_summary(story, COMMANDS))
    assert html.count("<details>") == html.count("</details>") == html.count("<summary>") == 3
    assert html.count("<table>") == 1
    assert html.count('<code class="language-diff">') == 1


def test_warnings_stand_above_the_table(story):
    text = render_summary(replace(story, warnings=["2 lines are missing."]), COMMANDS)
    assert text.index("> **Warning:** 2 lines are missing.") < text.index("| task |")


def test_a_run_without_a_change_says_so(story):
    none = as_object({**story.recommendation, "diff": ""})
    text = render_summary(replace(story, recommendation=none), COMMANDS)
    assert "No configuration changes are proposed." in text
    assert "```diff" not in text


def _apart(story: Story, n: int) -> Story:
    """A story whose first move is to a model with 60 and 90 points on so many samples of two languages."""
    task = next(each for each in story.tasks if each.is_change)
    cells = {"ja": (0.6, n), "en": (0.9, 30)}
    row = LanguageRow(task.name, task.proposed.model, "proposed", cells)
    return replace(story, language_rows=[row])


def test_the_summary_warns_of_a_language_in_which_a_proposed_model_was_seen_to_be_weaker(story):
    task = next(each for each in story.tasks if each.is_change)
    text = render_summary(_apart(story, 10), COMMANDS)
    assert "hides differences of 10 points or more, as seen here and not proved" in text
    assert "(Japanese 60.0 on 10 samples, English 90.0 on 30 samples)" in text
    with speaking("ja"):
        told = render_summary(_apart(story, 10), COMMANDS)
    assert "（日本語はサンプル 10 件で 60.0、英語はサンプル 30 件で 90.0）" in told
    assert "hides differences" not in render_summary(_apart(story, 9), COMMANDS), "too few to say"
    current = replace(_apart(story, 10).language_rows[0], model=task.facts["reference"])
    assert "hides differences" not in render_summary(replace(story, language_rows=[current]), COMMANDS)


def test_a_task_without_a_change_shows_nobodys_difference_and_the_order_is_the_reports(story):
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in render_summary(story, COMMANDS).splitlines()
        if line.startswith("| ")
    ][1:]
    assert [row[0].replace("\\", "") for row in rows] == [task.name for task in story.tasks]
    for row, task in zip(rows, story.tasks, strict=True):
        assert (row[3] == "–") == (not task.is_change)


def test_bold_words_of_the_japanese_summary_are_bold(story):
    with speaking("ja"), open_warehouse(run_dirs=[EXAMPLE]) as warehouse:
        told = replace(read_story(EXAMPLE, warehouse), warnings=["数えていません。"])
        html = html_of(render_summary(told, COMMANDS))
    assert "**" not in html
    assert "<strong>タスク 6 件のうち 2 件は、より安いモデルへ移行できます。</strong>" in html


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from(["en", "ja"]))
@example("closes #1", "en")
@example("GH-12 gh-1 a/b#3 @me", "ja")
def test_no_name_calls_a_person_closes_an_issue_or_breaks_out(name, language):
    story = read_example()
    with speaking(language):
        text = render_summary(planted(story, name), [name])
    html = html_of(text)
    assert set(re.findall(r"<(\w+)", html)) <= {
        *("h2", "p", "strong", "blockquote", "table", "thead", "tbody", "tr", "th", "td"),
        *("details", "summary", "pre", "code", "ul", "li"),
    }
    assert html.count("<h2>") == 1
    assert html.count("<details>") == html.count("</details>")
    for piece in texts_of(html):
        assert not re.search(r"@\w|#\d|\bgh-\d|https?://|www\.\w", piece, re.IGNORECASE), piece
    prose = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?i)(close|fix|resolve)[sd]?:?\s+(\w+/\w+)?\\?#\d", prose)
    assert len(html.split("<tr>")) == 1 + 1 + len(story.tasks)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="`~\n+- a\r", max_size=60))
@example("```\n</details>\n@me\n````")
def test_the_fence_is_longer_than_any_in_the_diff(diff):
    html = html_of(render_summary(planted(read_example(), "x", diff), COMMANDS))
    shown = re.search(r'<pre><code class="language-diff">(.*?)</code></pre>', html, re.DOTALL)
    whole = visible(diff).rstrip("\n")
    lines = whole.split("\n") if whole else []
    assert (shown is None) == (not lines)
    if shown is not None:
        assert shown[1].replace("&lt;", "<").replace("&gt;", ">") == "\n".join(lines) + "\n"
    assert html.count("<details>") == 3 - (not lines)


@pytest.mark.parametrize("name", ["@" * 5_000, "\u200b#1" * 3_000, "界" * 100_000, "a|" * 9_000])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_summary_fits_the_hosts_limit_whatever_the_run(story, name, language):
    many = replace(story, tasks=[*story.tasks] * 60)
    diff = "".join(f"+{name[:200]} {number}\n" for number in range(3_000))
    with speaking(language):
        huge = replace(planted(many, name, diff), warnings=[name] * 50, notes=[name] * 50)
        text = render_summary(huge, [name])
        kept = render_summary(replace(many, recommendation=huge.recommendation), COMMANDS)
    for each in (text, kept):
        assert len(each.encode("utf-16-le")) // 2 <= MOST_CHARACTERS < GITHUB_LIMIT
        assert html_of(each).count("<details>") == html_of(each).count("</details>")


def test_what_was_cut_is_said(story):
    many = replace(story, tasks=[*story.tasks] * 60)
    long = as_object({**story.recommendation, "diff": "+line\n" * 500})
    text = render_summary(replace(many, recommendation=long), COMMANDS)
    assert "and 340 more tasks; see report.html" in text
    assert "and 300 more lines; see recommendation.diff" in text
    first = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert all(line.endswith("**Move** |") for line in first)  # what changes is shown first


def test_the_committed_example_is_that_of_today_in_both_languages(tmp_path):
    from llmbench.analytics.render import render_report

    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("notebooks", "figures"))
    render_report(folder)
    for name in ("summary.md", "summary.ja.md", "report.ja.html", "report.ja.md"):
        assert (folder / name).read_bytes() == (EXAMPLE / name).read_bytes(), name
