"""The pages of docs/ against the product: fresh, complete, and without a dead link."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import llmbench
from llmbench import errors
from llmbench.bench.datasets.mask_rules import _MaskFile
from llmbench.catalog import Policy
from llmbench.interop.mapping import Mapping
from llmbench.reference.commands import list_verbs
from llmbench.reference.configuration import PARTS, list_sections
from llmbench.reference.marts import list_views
from llmbench.reference.pages import PAGES, write_pages
from llmbench.reference.tables import slug
from llmbench.reference.types_in_words import sections_in
from llmbench.reference.variables import VARIABLES
from llmbench.routing.rollout import Arm
from tests.telemetry_calls import real_lines

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
READERS = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
SECTIONS = [section for prefix, files in PARTS.values() for section in list_sections(prefix, files)]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)


def rows_under(path: Path, heading: str) -> list[list[str]]:
    """The cells of every table between a heading and the next of its level, without heads."""
    level = heading.split(" ", maxsplit=1)[0]
    part = f"\n{text_of(path)}".partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines()]
    return [row for row in cells if len(row) > 1 and row[0].startswith("`")]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_fresh(name):
    assert text_of(DOCS / name) == PAGES[name](), "stale: run `make docs`"


def test_the_pages_are_written_by_one_command(tmp_path):
    assert [path.name for path in write_pages(tmp_path)] == list(PAGES)
    command = [sys.executable, "-m", "llmbench.reference"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (1, "usage: python -m llmbench.reference FOLDER\n")


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_every_key_has_a_meaning(section):
    fields = section.model.model_fields
    assert [name for name, info in fields.items() if not (info.description or "").strip()] == []
    assert section.model.__doc__


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_every_section_stands_somewhere(section):
    is_file = any(section.model in files.values() for _, files in PARTS.values())
    assert is_file or section.places


@pytest.mark.parametrize(
    ("page", "root"), [("datasets.md", _MaskFile), ("interop.md", Mapping)], ids=["masks", "mappings"]
)
def test_every_key_of_the_smaller_files_stands_in_their_page(page, root):
    shapes = {root} | {
        model for info in root.model_fields.values() for model, _ in sections_in(info.annotation)
    }
    words = set(re.findall(r"\w+", text_of(DOCS / page)))
    assert {name.rstrip("_") for shape in shapes for name in shape.model_fields} - words == set()


def test_the_variables_are_those_that_the_code_reads():
    """Names in the code, as texts of their own; the media ones are put together there."""
    code = "\n".join(
        text_of(path) for path in (ROOT / "llmbench").rglob("*.py") if "reference" not in path.parts
    )
    found = set(re.findall(r'"((?:LLM|LLMBENCH|OTEL|SCRIPT|AZURE|OPENAI|OPENROUTER|GEMINI)_[A-Z_]+)"', code))
    found |= set(re.findall(r"\b(OTEL_EXPORTER_OTLP_HEADERS)\b", code))
    found |= {
        f"{kind}_CLIENT_{name}" for kind in ("IMAGE", "SPEECH") for name in ("PROFILE", "FORCE_MODEL_KEY")
    }
    documented = {name.removesuffix("_<TASK>") for name in VARIABLES}
    assert found == documented


KINDS = rows_under(DOCS / "errors.md", "## Kinds")


def test_every_error_kind_is_documented_and_no_other():
    assert [row[0].strip("`") for row in KINDS] == list(errors.ERROR_KINDS)
    assert all(len(row) == 5 and all(row) for row in KINDS)


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row[0].strip("`"))
def test_what_a_kind_does_is_what_the_policy_says(row):
    kind, again, moves = row[0].strip("`"), row[2], row[3]
    policy = Policy()
    assert moves == ("yes" if policy.falls_back_on(kind) else "no")
    for status in re.findall(r"\d+", again):
        assert policy.retries(kind, int(status)) == 1
    if again == "no" and kind not in {
        "auth",
        "model_not_found",
        "connect",
        "empty",
        "malformed",
        "truncated",
    }:
        named = re.findall(r"\b[45]\d\d\b", row[1])
        assert all(policy.retries(kind, int(status)) == 0 for status in named)


def test_every_error_class_is_documented_and_no_other():
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LLMBenchError)
    }
    page = text_of(DOCS / "errors.md")
    assert {row[0].strip("`") for row in rows_under(DOCS / "errors.md", "## Classes")} == classes
    tree = page.partition("## Classes")[2].partition("```\n")[2].partition("```")[0]
    drawn = re.findall(r"^(.*?)(\w+)$", tree, re.MULTILINE)
    assert {name for _, name in drawn} == classes
    for indent, name in drawn[1:]:
        parent = "BenchError" if len(indent) > 4 else "LLMBenchError"
        assert issubclass(getattr(errors, name), getattr(errors, parent))


def documented_fields(heading: str) -> set[str]:
    rows = rows_under(DOCS / "telemetry_fields.md", heading)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return real_lines(tmp_path_factory.mktemp("calls"))


def test_every_field_of_a_real_line_is_documented(lines):
    assert {key for line in lines for key in line} - documented_fields("## The line") == set()
    attempts = [attempt for line in lines for attempt in line["attempts"]]
    assert {key for attempt in attempts for key in attempt} == documented_fields("## An attempt")
    changes = [change for line in lines for change in line["adjustments"]]
    assert {key for change in changes for key in change} == documented_fields("## An adjustment")
    media = [line["media"] for line in lines if "media" in line]
    assert {key for facts in media for key in facts} == documented_fields("## Pictures and speech")


def test_no_field_is_documented_that_no_line_has(lines):
    seen = {key for line in lines for key in line}
    assert documented_fields("## The line") - seen == {"rollout", "dropped_before"}
    arm = Arm("r", "shadow", "challenger", ("m",), of="call", dropped_before=1)
    assert set(arm.as_dict()) == documented_fields("## A rollout")


@pytest.mark.parametrize("folder", ["marts", "staging"])
def test_every_view_says_its_columns(folder):
    for view in list_views(folder):
        assert all((view.grain, view.key, view.columns))
        assert all(meaning for _, meaning in view.columns), view.name


def test_every_verb_and_option_has_a_help():
    for name, verb in list_verbs():
        assert verb.help, name
        bare = [param.name for param in verb.params if not param.help]
        assert bare == [], f"{name}: no help for {bare}"


def test_every_verb_is_named_in_a_written_page():
    written = "\n".join(text_of(path) for path in READERS if path.name not in PAGES)
    missing = [name for name, _ in list_verbs() if name not in written]
    assert missing == []


def test_every_public_name_is_documented_and_no_other():
    rows = rows_under(DOCS / "api.md", "# The Python interface")
    assert sorted(row[0].strip("`") for row in rows) == sorted(llmbench.__all__)


def anchors(path: Path) -> set[str]:
    prose = prose_of(path)
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', prose))
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", prose, re.MULTILINE):
        name, n = slug(heading), 0
        while (name if n == 0 else f"{name}-{n}") in found:
            n += 1
        found.add(name if n == 0 else f"{name}-{n}")
    return found


@pytest.mark.parametrize(
    "path", [*READERS, ROOT / "THIRD_PARTY.md"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{path.name}: no heading for {target}"


@pytest.mark.parametrize("path", READERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_names_a_file_that_is_not_there(path):
    """Paths in code marks, below the folders of this repository."""
    folders = "llmbench|configs|datasets|docs|notebooks|reports/example|reports/bench|tests|benchmarks"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+\.\w+)`", prose_of(path)):
        is_example = re.search(r"\bNAME\b|\.local\.|captions\.yaml", name)
        assert is_example or (ROOT / name).exists(), f"{path.name}: {name}"


def test_every_page_is_linked_from_another():
    targets = {
        (path.parent / target.partition("#")[0]).resolve()
        for path in READERS
        for target in re.findall(r"\]\(([^)\s]+\.md[^)\s]*)\)", text_of(path))
    }
    assert set(DOCS.glob("*.md")) <= targets
